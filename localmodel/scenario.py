"""Scenarios: what the model says, written down as data.

A file holds `name`, `pace` (seconds: `first_byte`, `between`) and `conversations`. A conversation
answers the requests that fit its `when` (`tool` among the request's tools, `says` and `also` found in
the first message, `model` found in the model's name, `nth` distinct conversation of these); the first
that fits wins. Its `turns` are taken by the number of assistant messages in the request. A turn may
`think`, `say`, `use` tools in order, `stop` for another reason, come after a `delay`, serve `faults`
first, and `expect` certain results of the tools before it.
In tool inputs `@file:path` is the content of a file beside the scenario, and `@@` is one `@`.
"""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from localmodel.faults import Fault

StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "model_context_window_exceeded"
]


class ScenarioError(Exception):
    """A scenario file cannot be read. The message names the file, the place in it and what is wrong."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Pace(_Part):
    """How fast replies come, in seconds: before the first event, and between deltas."""

    first_byte: float = Field(default=0.0, ge=0)
    between: float = Field(default=0.0, ge=0)


class When(_Part):
    """Which requests a conversation answers; what is not given fits everything."""

    tool: str | None = None
    says: str | None = None
    also: str | None = None
    model: str | None = None
    nth: int | None = Field(default=None, ge=1)

    @field_validator("says", "also", "model")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        return _checked(pattern)

    def fits(self, tools: set[str], words: str, model: str) -> bool:
        """Say whether a request fits, `nth` left aside; `words` is its first user message."""
        searched = ((self.says, words), (self.also, words), (self.model, model))
        return (self.tool is None or self.tool in tools) and all(
            pattern is None or re.search(pattern, text) for pattern, text in searched
        )


class Expect(_Part):
    """What the results of the previous turn's tools must look like."""

    last_result: str | None = None
    is_error: bool | None = None

    @field_validator("last_result")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        return _checked(pattern)


class Turn(_Part):
    """One reply: thinking (if the model asked for thinks), text, tool calls; what goes wrong before it."""

    think: str | None = None
    say: str | None = Field(default=None, min_length=1)
    use: list[dict[str, dict[str, JsonValue]]] = []
    stop: StopReason | None = None
    delay: float = Field(default=0.0, ge=0)
    faults: list[Fault] = []
    expect: Expect | None = None

    @field_validator("use")
    @classmethod
    def _one_tool_each(cls, use: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for entry in use:
            if len(entry) != 1:
                raise ValueError(f"one tool per entry, not {len(entry)}: {', '.join(entry) or 'nothing'}")
        return use

    @model_validator(mode="after")
    def _broken_json_needs_a_tool(self) -> Self:
        if not self.use and any(fault.kind == "bad_json" for fault in self.faults):
            raise ValueError("bad_json needs a tool in `use`")
        return self


class Conversation(_Part):
    """The turns of one conversation and the requests it answers."""

    name: str
    when: When = When()
    turns: list[Turn] = Field(min_length=1)


class Scenario(_Part):
    """Everything the simulated model says in one story."""

    name: str
    pace: Pace = Pace()
    conversations: list[Conversation]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [conversation.name for conversation in self.conversations]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two conversations are called `{name}`")
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a YAML file; `@file:` contents are relative to it. Raises ScenarioError."""
        try:
            data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ScenarioError(f"{path.name}: {error}") from error
        return cls.parse(data, folder=path.parent, source=path.name)

    @classmethod
    def parse(cls, data: object, *, folder: Path | None = None, source: str = "scenario") -> Self:
        """Read plain data, with `@file:` contents relative to `folder`. Raises ScenarioError."""
        try:
            return cls.model_validate(_with_files(data, folder, source))
        except ValidationError as error:
            raise ScenarioError("; ".join(f"{source}: {_sentence(e)}" for e in error.errors())) from error


class _Loader(yaml.SafeLoader):
    """Reads YAML as usual, but refuses a key that is given twice instead of forgetting the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(
                    problem=f"key `{key}` is given twice", problem_mark=node.start_mark
                )
        return super().construct_mapping(node, deep)


def _checked(pattern: str | None) -> str | None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


def _sentence(error: Mapping[str, Any]) -> str:
    """Say in one sentence where the file is wrong and why."""
    place = ""
    for part in error["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}"
    place = place.lstrip(".") or "top level"
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown key"
    return f"{place}: {error['msg'].removeprefix('Value error, ')}"


def _with_files(data: object, folder: Path | None, source: str) -> object:
    """Put in the contents that the tool inputs of every turn name."""
    if not isinstance(data, dict) or not isinstance(data.get("conversations"), list):
        return data
    conversations = [_conversation(entry, folder, source) for entry in data["conversations"]]
    return {**data, "conversations": conversations}


def _conversation(entry: object, folder: Path | None, source: str) -> object:
    if not isinstance(entry, dict) or not isinstance(entry.get("turns"), list):
        return entry
    turns = [
        {**turn, "use": _filled(turn["use"], folder, source)}
        if isinstance(turn, dict) and "use" in turn
        else turn
        for turn in entry["turns"]
    ]
    return {**entry, "turns": turns}


def _filled(value: object, folder: Path | None, source: str) -> object:
    """Replace `@file:path` by the file's text and `@@` by `@`, in strings at any depth."""
    if isinstance(value, dict):
        return {key: _filled(inner, folder, source) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, folder, source) for inner in value]
    if not isinstance(value, str):
        return value
    if value.startswith("@@"):
        return value[1:]
    if not value.startswith("@file:"):
        return value
    name = value.removeprefix("@file:")
    if folder is None:
        raise ScenarioError(f"{source}: `@file:{name}` needs a scenario that lies in a folder")
    try:
        with (folder / name).open(encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{source}: cannot read `@file:{name}`: {error}") from error
