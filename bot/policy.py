"""Every knob of a repository: `.github/phasegate.yml` in, a `Policy` or a sentence per fault out. Pure."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

from bot import pricing
from bot.errors import UserError

FILE = ".github/phasegate.yml"
MAX_BYTES = 64 * 1024
MAX_DEPTH = 16
MAX_FAULTS = 20
PROTECTED = (".github/**", ".gitlab-ci.yml", ".circleci/**", "Jenkinsfile", ".git*")
"""Patterns no policy can take away: what runs with the repository's secrets, and Git's own files."""


NO_CHARACTER = "an escape stands for no character."


def _pattern(text: str) -> str:
    if text.startswith(("/", "!", "~")) or "\\" in text or ".." in text.split("/"):
        raise ValueError("must be a path or pattern inside the repository, from its top")
    return text


def _dollars(value: Any) -> Any:
    # By way of text, so that 0.1 stays 0.1.
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, Field(min_length=1, max_length=1000)]
Pattern = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_pattern)]
Model = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$", max_length=200)]
CheckName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$", max_length=64)]
Dollars = Annotated[Decimal, BeforeValidator(_dollars), Field(gt=0, allow_inf_nan=False)]


def _unset(stands_for: str, description: str) -> Any:
    """Return a field that is None until written; `stands_for` says what counts then."""
    return Field(None, description=description, json_schema_extra={"stands_for": stands_for})


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: Any) -> Any:
        # A key with nothing after it is as good as absent: the lines below it are often commented out.
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


class Models(_Section):
    """Which model does what."""

    planner: Model | None = _unset("settings", "the model that writes plans")
    executor: Model | None = _unset("settings", "the model that writes phases")
    verifier: Model | None = _unset("settings", "the model that verifies a finished build")
    ladder: Annotated[tuple[Model, ...], Field(min_length=1)] | None = _unset(
        "settings", "the models that advice chooses from, weakest first"
    )


class Budgets(_Section):
    """What builds may cost, in US dollars."""

    build_usd: Dollars | None = _unset("settings", "the most one build may cost; counts where it is lower")
    phase_usd: Dollars | None = _unset("settings", "the most one phase may cost; counts where it is lower")


class Checks(_Section):
    """When the checks of a commit count as complete."""

    required: tuple[Text, ...] = Field(
        (), description="checks that must be green, besides those the base branch's rules require"
    )
    settle: Annotated[float, Field(gt=0, le=3600)] | None = _unset(
        "settings", "seconds that a set of checks must stay unchanged to count as complete"
    )
    timeout: Annotated[float, Field(gt=0, le=10080)] | None = _unset(
        "settings", "minutes that a build waits for its checks"
    )
    when_none: Literal["ask", "allow"] = Field("ask", description="what follows when no check shows up")


class Scope(_Section):
    """How far a phase may reach beyond its plan."""

    grow: int = Field(3, ge=0, le=50, description="further paths that a phase may be granted when it asks")
    siblings: bool = Field(
        True, description="whether tests and lock files beside an allowed file are allowed"
    )


class Policy(_Section):
    """The repository's own rules; every key is optional."""

    models: Models = Models()
    budgets: Budgets = Budgets()
    max_phases: int = Field(8, ge=1, le=50, description="the most phases of a plan")
    line_cap: int = Field(400, ge=1, le=10000, description="the most changed lines of a phase")
    approve: Literal["always", "small-auto", "each_phase"] = Field(
        "always", description="what a person approves: every plan, all but small plans, or each phase as well"
    )
    untrusted_authors: Literal["each_phase", "plan_only"] = Field(
        "plan_only", description="what a person approves where the issue's author has no write permission"
    )
    repairs: int = Field(2, ge=0, le=10, description="further attempts at a phase whose checks are red")
    repair_style: Literal["replace", "append"] = Field(
        "replace", description="whether a repair replaces the red commit or adds one"
    )
    draft: bool = Field(True, description="whether the pull request is a draft until the build is done")
    checks: Checks = Checks()
    protected: tuple[Pattern, ...] = Field(
        (),
        description=f"patterns that no phase may touch, besides {', '.join(f'`{one}`' for one in PROTECTED)}",
    )
    scope: Scope = Scope()
    run_checks: dict[CheckName, Text] = Field(
        {}, max_length=20, description="commands that the model may run in a sandbox, by name"
    )
    instructions: tuple[Pattern, ...] = Field(
        ("AGENTS.md", "CLAUDE.md", ".github/copilot-instructions.md"),
        description="files of the repository that tell the model how to work",
    )
    update_branch: Literal["never", "before_phase", "at_end"] = Field(
        "never", description="when the base branch is merged into the build's branch"
    )


class _Fault(Exception):
    """One thing wrong with the file, and the line it stands on."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def _number(thing: Any) -> int:
    """Return the line that an event or node of PyYAML begins on."""
    return int(thing.start_mark.line) + 1


class _Loader(yaml.SafeLoader):
    """Reads one plain document: no anchors that multiply, no tags that construct, no bottomless nesting."""

    # Only the core of YAML 1.2: in 1.1 `no` is false, `1:30` is ninety and `010` is eight.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node, or raise _Fault for what a policy has no use for."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise _Fault(_number(event), "anchors and aliases (`&`, `*`) cannot be used here.")
        if getattr(event, "tag", None) is not None:
            raise _Fault(_number(event), "tags (`!`) cannot be used here; put the text in quotes.")
        if self.depth >= MAX_DEPTH:
            raise _Fault(_number(event), "this is nested too deeply.")
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _form, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]{1,18}$", list("-+0123456789")),
    ("float", r"^[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18})$", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_form), _first)

SCALARS: dict[str, Any] = {
    "tag:yaml.org,2002:null": lambda text: None,
    "tag:yaml.org,2002:bool": lambda text: text.lower() == "true",
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": float,
}

Lines = dict[tuple[str | int, ...], int]
"""The line of each value by its place in the document."""


def parse(text: str) -> Policy:
    """Return the policy that the file's text states; UserError lists every fault with its line."""
    lines: Lines = {}
    faults: list[tuple[int, str]] = []
    try:
        node = _compose(text)
        data = {} if node is None else _plain(node, (), lines, faults)
        policy = Policy.model_validate({} if data is None else data)
    except _Fault as fault:
        faults = [(fault.line, str(fault))]
    except ValidationError as error:
        told = error.errors(include_url=False)
        faults += [(_line(fault["loc"], lines), _sentence(fault["loc"], fault)) for fault in told]
    if not faults:
        return policy
    rows = [f"- `{FILE}` line {line}: {reason}" for line, reason in sorted(set(faults))]
    if len(rows) > MAX_FAULTS:
        rows[MAX_FAULTS:] = [f"- and {len(rows) - MAX_FAULTS} more."]
    raise UserError("\n".join(["I cannot read this repository's policy, so nothing runs:", "", *rows]))


def _compose(text: str) -> yaml.Node | None:
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise _Fault(1, "the file is larger than 64 KiB.")
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _Fault(line, "there is a character that YAML does not allow.") from None
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _Fault(mark.line + 1 if mark else 1, _syntax(error.problem or "")) from None
    except (ValueError, OverflowError):
        # PyYAML does not check the number of an escape such as "\UFFFFFFFF".
        raise _Fault(loader.line + 1, NO_CHARACTER) from None


def _syntax(problem: str) -> str:
    if "\\t" in problem:
        return "a tab; indent with spaces."
    if "another document" in problem:
        return "a second document begins; the file holds one."
    return f"this is not YAML: {_code(problem)}."


def _plain(node: yaml.Node, place: tuple[str | int, ...], lines: Lines, faults: list[tuple[int, str]]) -> Any:
    """Return the node as plain data, with the line of each value; a key written twice is a fault."""
    lines.setdefault(place, _number(node))
    if isinstance(node, yaml.ScalarNode):
        return SCALARS.get(node.tag, str)(_text(node))
    if isinstance(node, yaml.SequenceNode):
        return tuple(_plain(item, (*place, at), lines, faults) for at, item in enumerate(node.value))
    data: dict[str, Any] = {}
    for key, value in node.value:
        line, name = _number(key), _text(key)
        if name in data:
            faults.append((line, f"{_code(name)} is written a second time."))
        lines[(*place, name)] = line
        data[name] = _plain(value, (*place, name), lines, faults)
    return data


def _text(node: yaml.Node) -> str:
    if not isinstance(node.value, str):
        raise _Fault(_number(node), "a key must be a plain word.")
    if re.search(r"[\x00\ud800-\udfff]", node.value):
        raise _Fault(_number(node), NO_CHARACTER)
    return node.value


def _line(place: tuple[str | int, ...], lines: Lines) -> int:
    while place not in lines and place:
        place = place[:-1]
    return lines.get(place, 1)


def _sentence(place: tuple[str | int, ...], fault: Mapping[str, Any]) -> str:
    keys = [part for part in place if isinstance(part, str) and part != "[key]"]
    item = f"item {place[-1] + 1} of " if place and isinstance(place[-1], int) else ""
    name = item + _code(".".join(keys))
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(place)
    if not place:
        return "the file must hold keys and values, such as `line_cap: 300`."
    if kind in NEEDS:
        return f"{name} must be {NEEDS[kind]}."
    if kind == "literal_error":
        return f"{name} must be {context['expected']}.".replace("'", "`")
    if kind == "value_error":
        return f"{name} {context['error']}."
    reason = re.sub(r"^(Input|String|Tuple|Dictionary|Decimal input) should", "must", fault["msg"])
    return f"{name} {_clean(reason)}."


NEEDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "is_instance_of": "a number",
    "bool_type": "`true` or `false`",
    "string_type": "text; put it in quotes",
    "tuple_type": "a list, each item on a line of its own after `- `",
    "dict_type": "a section: its keys stand below it, indented",
    "model_type": "a section: its keys stand below it, indented",
    "model_attributes_type": "a section: its keys stand below it, indented",
    "string_too_short": "something, not empty",
    "string_pattern_mismatch": "a plain name of letters, digits and `.` `-` `_`",
}


def _unknown(place: tuple[str | int, ...]) -> str:
    section: Any = Policy
    for part in place[:-1]:
        section = section.model_fields[part].annotation
    near = difflib.get_close_matches(str(place[-1])[:60], section.model_fields, n=1)
    hint = f" Did you mean `{'.'.join([*map(str, place[:-1]), near[0]])}`?" if near else ""
    return f"{_code('.'.join(map(str, place)))} is not a key I know.{hint}"


def _clean(text: str) -> str:
    return "".join(char for char in text if char.isprintable() and char not in "`@<>[]")[:200]


def _code(text: str) -> str:
    """Return a stranger's words as inline code, in which no mention, link or markup acts."""
    clean = "".join(char for char in text if char.isprintable() and char != "`")
    return f"`{clean[:80]}`" if clean.strip() else "an empty key"


class Defaults(Protocol):
    """The settings of the process that a policy may change."""

    @property
    def planner_model(self) -> str:
        """The model that writes plans."""

    @property
    def executor_model(self) -> str:
        """The model that writes phases."""

    @property
    def verifier_model(self) -> str:
        """The model that verifies."""

    @property
    def model_ladder(self) -> tuple[str, ...]:
        """The models of advice, weakest first."""

    @property
    def build_budget_usd(self) -> Decimal:
        """The cap of a build."""

    @property
    def phase_budget_usd(self) -> Decimal:
        """The cap of a phase."""

    @property
    def max_turns(self) -> int:
        """The cap of model calls per attempt."""

    @property
    def checks_settle_seconds(self) -> float:
        """How long checks must stay unchanged."""

    @property
    def checks_poll_seconds(self) -> float:
        """How often checks are read."""

    @property
    def checks_timeout_minutes(self) -> float:
        """How long checks are waited for."""


@dataclass(frozen=True)
class Rules:
    """What counts for one repository: its policy over the settings. Times are seconds, budgets US dollars."""

    planner_model: str
    executor_model: str
    verifier_model: str
    ladder: tuple[str, ...]
    build_budget: Decimal
    phase_budget: Decimal
    max_turns: int
    max_phases: int
    line_cap: int
    approve: Literal["always", "small-auto", "each_phase"]
    untrusted_authors: Literal["each_phase", "plan_only"]
    repairs: int
    repair_style: Literal["replace", "append"]
    draft: bool
    checks_required: tuple[str, ...]
    """Named by the policy; those of the base branch's rules come on top."""
    settle: float
    timeout: float
    poll: float
    when_none: Literal["ask", "allow"]
    protected: tuple[str, ...]
    scope_grow: int
    scope_siblings: bool
    run_checks: Mapping[str, str]
    instructions: tuple[str, ...]
    update_branch: Literal["never", "before_phase", "at_end"]


def effective(policy: Policy, settings: Defaults) -> Rules:
    """Return the rules that count: the policy's where it speaks, but never a higher budget."""
    models, budgets, checks = policy.models, policy.budgets, policy.checks
    build_budget = min(budgets.build_usd or settings.build_budget_usd, settings.build_budget_usd)
    phase_budget = min(budgets.phase_usd or settings.phase_budget_usd, settings.phase_budget_usd)
    minutes = settings.checks_timeout_minutes if checks.timeout is None else checks.timeout
    return Rules(
        planner_model=models.planner or settings.planner_model,
        executor_model=models.executor or settings.executor_model,
        verifier_model=models.verifier or settings.verifier_model,
        ladder=models.ladder or settings.model_ladder,
        build_budget=build_budget,
        phase_budget=min(phase_budget, build_budget),
        max_turns=settings.max_turns,
        max_phases=policy.max_phases,
        line_cap=policy.line_cap,
        approve=policy.approve,
        untrusted_authors=policy.untrusted_authors,
        repairs=policy.repairs,
        repair_style=policy.repair_style,
        draft=policy.draft,
        checks_required=policy.checks.required,
        settle=settings.checks_settle_seconds if checks.settle is None else checks.settle,
        timeout=minutes * 60,
        poll=settings.checks_poll_seconds,
        when_none=checks.when_none,
        protected=tuple(dict.fromkeys([*PROTECTED, *policy.protected])),
        scope_grow=policy.scope.grow,
        scope_siblings=policy.scope.siblings,
        run_checks=dict(policy.run_checks),
        instructions=policy.instructions,
        update_branch=policy.update_branch,
    )


def check(rules: Rules) -> None:
    """Refuse rules that ask for what is not built yet, rather than run without it, or for a model of no known price."""
    asked = [
        ("approve: each_phase", rules.approve == "each_phase"),
        ("untrusted_authors: each_phase", rules.untrusted_authors == "each_phase"),
        ("run_checks", bool(rules.run_checks)),
    ]
    if missing := [f"`{key}`" for key, wanted in asked if wanted]:
        raise UserError(f"`{FILE}` asks for {', '.join(missing)}, which I cannot do yet. Take it out.")
    for model in (rules.planner_model, rules.executor_model, rules.verifier_model, *rules.ladder):
        pricing.window(model)


def schema() -> str:
    """Return the keys of the policy file as a Markdown table: key, default, meaning."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in Policy.model_fields.items():
        section = field.default
        if isinstance(section, BaseModel):
            inner = type(section).model_fields.items()
            rows += [_row(f"{name}.{key}", inner_field) for key, inner_field in inner]
        else:
            rows.append(_row(name, field))
    return "\n".join(rows) + "\n"


def _row(key: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra
    default = field.default
    if isinstance(extra, dict):
        shown = str(extra["stands_for"])
    elif isinstance(default, bool):
        shown = f"`{default}`".lower()
    elif isinstance(default, tuple):
        shown = ", ".join(f"`{one}`" for one in default) or "none"
    else:
        shown = f"`{default}`" if default != {} else "none"
    others = [f"`{one}`" for one in get_args(field.annotation) if isinstance(one, str) and one != default]
    allowed = f"{shown}, or {', '.join(others)}" if others else shown
    return f"| `{key}` | {allowed} | {field.description} |"
