"""The tools given to the model: their schemas, and what each does to a workspace."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot import sanitize, scope
from bot.errors import AttemptFailed, FailureKind, UserError
from bot.scope import Contract
from bot.turns import CHANGES as CHANGES
from bot.workspace import Workspace

REFUSED = "Not accepted yet:"
"""How the answer to a finishing call begins whose work is not accepted."""

_LONGEST = 40_000
"""Characters of one tool result; more is cut in the middle."""

_Json = dict[str, Any]

_STRING: _Json = {"type": "string"}
_STRINGS: _Json = {"type": "array", "items": _STRING}
_INTEGER: _Json = {"type": "integer"}
_BOOLEAN: _Json = {"type": "boolean"}


def _object(**properties: _Json) -> _Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _tool(name: str, description: str, **properties: _Json) -> _Json:
    return {"name": name, "description": description, "input_schema": _object(**properties), "strict": True}


_PHASE = _object(
    title=_STRING,
    layer={
        "type": "string",
        "enum": ["data", "logic", "api", "interface", "integration", "docs", "other"],
    },
    goal=_STRING,
    deliverables=_STRINGS,
    out_of_scope=_STRINGS,
    allowed_paths=_STRINGS,
    criteria=_STRINGS,
    serves=_STRINGS,
    test_approach=_STRING,
    estimated_lines=_INTEGER,
)

_READING = (
    _tool(
        "list_files",
        "List the repository's files whose path matches a glob such as `src/**/*.py`; an empty pattern lists all.",
        pattern=_STRING,
    ),
    _tool(
        "search",
        "Search file contents with an extended regular expression, in the files whose path matches `path` "
        "(a glob; empty = everywhere).",
        pattern=_STRING,
        path=_STRING,
    ),
    _tool(
        "read_file",
        "Read a file, from `start_line` to `end_line`; 0 means from the start or to the end.",
        path=_STRING,
        start_line=_INTEGER,
        end_line=_INTEGER,
    ),
)

_WRITING = (
    _tool(
        "edit_file",
        "Replace `old_str`, which must occur exactly once in the file, by `new_str`. Read the file first.",
        path=_STRING,
        old_str=_STRING,
        new_str=_STRING,
    ),
    _tool("create_file", "Create a new file.", path=_STRING, content=_STRING, executable=_BOOLEAN),
    _tool("delete_file", "Delete a file.", path=_STRING),
    _tool("move_file", "Move a file.", from_path=_STRING, to_path=_STRING),
    _tool(
        "request_scope",
        "Ask for a path outside this phase's allowed paths, with the reason. A few are granted at once.",
        path=_STRING,
        reason=_STRING,
    ),
    _tool(
        "report_blocked", "End the phase because it cannot be done; say why, for a person.", reason=_STRING
    ),
    _tool(
        "finish_phase",
        "End the phase: what was done, decisions later phases must know, and the commit message "
        "(a conventional commit: subject of at most 72 characters, body that says why).",
        summary=_STRING,
        decisions=_STRINGS,
        commit_subject=_STRING,
        commit_body=_STRING,
    ),
)

_PLAN = _tool(
    "submit_plan",
    "Submit the plan.",
    summary=_STRING,
    requirements={"type": "array", "items": _object(id=_STRING, text=_STRING)},
    assumptions=_STRINGS,
    open_questions=_STRINGS,
    risks=_STRINGS,
    feature_flag=_STRING,
    phases={"type": "array", "items": _PHASE},
)

_VERIFICATION = _tool(
    "submit_verification",
    "Submit what you found for every requirement and every criterion.",
    findings={
        "type": "array",
        "items": _object(
            requirement=_STRING,
            criterion=_STRING,
            verdict={"type": "string", "enum": ["met", "partly", "not_met"]},
            phase=_INTEGER,
            evidence={"type": "array", "items": _object(path=_STRING, line=_INTEGER)},
            note=_STRING,
        ),
    },
    conflicts=_STRINGS,
    ambiguities=_STRINGS,
    follow_up_phases={"type": "array", "items": _PHASE},
)

PLANNING = (*_READING, _PLAN)
WRITING = (*_READING, *_WRITING)
VERIFYING = (*_READING, _VERIFICATION)


@dataclass(frozen=True)
class Answer:
    """What a tool says to the model."""

    text: str
    is_error: bool = False
    finished: bool = False
    """The attempt is over: this call's input is its result."""


@dataclass
class Toolbox:
    """The tools of one attempt on its workspace; `finish` judges the call that would end it.

    `finish(input)` returns the reasons why it is not accepted; no reason means the attempt is over.
    """

    workspace: Workspace
    finishing: str
    finish: Callable[[Mapping[str, Any]], list[str]]
    contract: Contract | None = None
    result: dict[str, Any] = field(default_factory=dict)

    def execute(self, name: str, given: Mapping[str, Any]) -> Answer:
        """Do what the model asked for; what it did wrong comes back as an error it can act on."""
        tool = _DOES.get(name)
        try:
            if name == self.finishing:
                _check(name, given)
                return self._finish(given)
            if tool is None or (self.contract is None and tool not in _READS):
                raise UserError(f"There is no tool {name!r} here.")
            _check(name, given)
            return Answer(sanitize.cut(tool(self, **given), _LONGEST))
        except UserError as error:
            return Answer(str(error), is_error=True)

    def replay(self, name: str, given: Mapping[str, Any]) -> None:
        """Do again what was done before a crash: the change, or the scope that was granted."""
        if name in CHANGES:
            change(self.workspace, name, given)
        elif name == "request_scope" and self.contract is not None:
            self.contract = scope.grant(given["path"], self.contract)

    def _finish(self, given: Mapping[str, Any]) -> Answer:
        reasons = self.finish(given)
        if reasons:
            lines = "\n".join(f"- {reason}" for reason in reasons)
            return Answer(f"{REFUSED}\n{lines}", is_error=True)
        self.result = dict(given)
        return Answer("Accepted.", finished=True)

    def _permit(self, *paths: str) -> None:
        if self.contract is None:
            raise UserError("Nothing may be written here.")
        for path in paths:
            if reason := scope.refusal(path, self.contract, self.workspace.paths()):
                raise UserError(reason)

    def list_files(self, pattern: str) -> str:
        """List files by glob."""
        entries = self.workspace.list(pattern)
        marks = {"symlink": " (symlink, not followed)", "submodule": " (submodule, not followed)"}
        lines = [f"{entry.path}{marks.get(entry.kind, '')}" for entry in entries]
        return "\n".join(lines) or f"No file matches {pattern!r}."

    def search(self, pattern: str, path: str) -> str:
        """Search contents by extended regular expression."""
        hits = self.workspace.search(pattern, path)
        return "\n".join(f"{hit.path}:{hit.line}: {hit.text}" for hit in hits) or "Nothing found."

    def read_file(self, path: str, start_line: int, end_line: int) -> str:
        """Read a file or some lines of it, each with its number."""
        text = self.workspace.read(path)
        # Only \n ends a line, as for `search` and for the evidence of a verification.
        lines = text.removesuffix("\n").split("\n") if text else []
        first, last = max(start_line, 1), end_line if end_line > 0 else len(lines)
        if lines and first > len(lines):
            raise UserError(f"{path} has {len(lines)} lines.")
        if lines and last < first:
            raise UserError(f"Line {last} lies before line {first}.")
        return (
            "\n".join(f"{n}\t{lines[n - 1]}" for n in range(first, min(last, len(lines)) + 1))
            or "(empty file)"
        )

    def edit_file(self, path: str, old_str: str, new_str: str) -> str:
        """Replace the one place where `old_str` stands."""
        self._permit(path)
        _edit(self.workspace, path, old_str, new_str)
        return f"Edited {path}."

    def create_file(self, path: str, content: str, executable: bool) -> str:
        """Create a file that does not exist yet."""
        self._permit(path)
        _create(self.workspace, path, content, executable)
        return f"Created {path}."

    def delete_file(self, path: str) -> str:
        """Delete a file."""
        self._permit(path)
        self.workspace.delete(path)
        return f"Deleted {path}."

    def move_file(self, from_path: str, to_path: str) -> str:
        """Move a file; both places must be allowed."""
        self._permit(from_path, to_path)
        self.workspace.move(from_path, to_path)
        return f"Moved {from_path} to {to_path}."

    def request_scope(self, path: str, reason: str) -> str:
        """Grant a path nobody else owns, or end the attempt: only a person may allow it then."""
        if self.contract is None:
            raise UserError("Nothing may be written here.")
        try:
            self.contract = scope.grant(path, self.contract)
        except UserError as error:
            detail = f"It asks for `{path}`: {reason}\n{error}"
            raise AttemptFailed(FailureKind.SCOPE, detail, paths=path) from error
        return f"You may write {path} in this phase."

    def report_blocked(self, reason: str) -> str:
        """End the attempt because the model cannot go on."""
        raise AttemptFailed(FailureKind.BLOCKED, reason)


_DOES: dict[str, Callable[..., str]] = {
    "list_files": Toolbox.list_files,
    "search": Toolbox.search,
    "read_file": Toolbox.read_file,
    "edit_file": Toolbox.edit_file,
    "create_file": Toolbox.create_file,
    "delete_file": Toolbox.delete_file,
    "move_file": Toolbox.move_file,
    "request_scope": Toolbox.request_scope,
    "report_blocked": Toolbox.report_blocked,
}
_WORD = re.compile(r"\w+")
_READS = (Toolbox.list_files, Toolbox.search, Toolbox.read_file)


_SCHEMAS: dict[str, _Json] = {tool["name"]: tool["input_schema"] for tool in WRITING}
"""What is checked here; a plan and a verification are judged, with reasons, by who reads them."""


def _check(name: str, given: Mapping[str, Any]) -> None:
    """Raise UserError where a call has other fields than its schema: not every server holds the model to it."""
    if name in _SCHEMAS and not _fits(_SCHEMAS[name], given):
        raise UserError(f"The fields of {name} are not as its schema says.")


def _fits(schema: _Json, value: Any) -> bool:
    match schema["type"]:
        case "object":
            own = schema["properties"]
            same = isinstance(value, Mapping) and set(value) == set(own)
            return same and all(_fits(own[name], value[name]) for name in own)
        case "array":
            return isinstance(value, list) and all(_fits(schema["items"], item) for item in value)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case _:
            return isinstance(value, str)


def change(workspace: Workspace, name: str, given: Mapping[str, Any]) -> None:
    """Make one of the CHANGES; UserError where it does not fit."""
    match name:
        case "edit_file":
            _edit(workspace, given["path"], given["old_str"], given["new_str"])
        case "create_file":
            _create(workspace, given["path"], given["content"], given["executable"])
        case "delete_file":
            workspace.delete(given["path"])
        case "move_file":
            workspace.move(given["from_path"], given["to_path"])


def _edit(workspace: Workspace, path: str, old: str, new: str) -> None:
    before = workspace.read(path)
    if not old:
        raise UserError("old_str is empty; to make a new file use create_file.")
    found = before.count(old)
    if found != 1:
        raise UserError(_not_once(path, before, old, found))
    workspace.write(path, before.replace(old, new, 1))


def _create(workspace: Workspace, path: str, content: str, executable: bool) -> None:
    if workspace.exists(path):
        raise UserError(f"{path} exists already; use edit_file, or delete_file first.")
    workspace.write(path, content, executable)


def _not_once(path: str, content: str, old: str, found: int) -> str:
    """Say why an edit did not apply, with the lines that come nearest."""
    if found:
        return (
            f"old_str stands {found} times in {path}; give more of its surroundings so that it stands once."
        )
    lines, wanted = (
        content.splitlines(),
        next((line.strip() for line in old.splitlines() if line.strip()), ""),
    )
    words = set(_WORD.findall(wanted))
    best = max(range(len(lines)), key=lambda n: len(words & set(_WORD.findall(lines[n]))), default=None)
    if best is None:
        return f"old_str does not stand in {path}; the file is empty."
    near = "\n".join(f"{n + 1}\t{lines[n]}" for n in range(max(best - 2, 0), min(best + 3, len(lines))))
    return f"old_str does not stand in {path}. The nearest lines are:\n{near}"
