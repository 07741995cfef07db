"""From the text of a comment to a `Command`: all that people can tell the bot, and its help. Pure."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bot.errors import UserError
from bot.sanitize import strip_invisible

# A comment that is never closed hides the rest of the text only where it begins a line.
UNCLOSED = re.compile(r"^ {0,3}<!--", re.MULTILINE)
# Four spaces begin code, and a second slash makes it a path.
SLASH_WORD = re.compile(r" {0,3}/([A-Za-z][^\s/]{0,39})(?:\s+(.*))?", re.DOTALL)
HASH = re.compile(r"[0-9a-f]{7,64}")
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}")
CHECK = re.compile(r"""["“”„]([^"“”„]+)["“”](?:\s+(.*))?""")
PATH = re.compile(r"""`[^`]*`|"[^"]*"|[^\s,]\S*""")
MAX_PATHS = 20
NEAR = 0.8
"""How alike a word must be to one of ours; any lower, and `/approve` or `/all` of other bots would be."""


@dataclass(frozen=True)
class Command:
    """What one comment asks for; fields that its word does not use are empty."""

    word: str
    model: str = ""
    hash: str = ""
    paths: tuple[str, ...] = ()
    check: str = ""
    """The check named by `/skip-checks`; empty means all that hold the build up."""
    reason: str = ""
    text: str = ""
    number: int = 0


class _Wrong(Exception):
    """The arguments do not fit; the message is the sentence that says why."""


@dataclass(frozen=True)
class Form:
    """How one command is written, what it does, and how its arguments are read."""

    arguments: str
    does: str
    read: Callable[[str], dict[str, Any]]
    several_lines: bool = False
    """Its text may go on over the lines that follow."""


def _read_nothing(arguments: str) -> dict[str, Any]:
    if arguments:
        raise _Wrong("It takes nothing after it.")
    return {}


def _read_hash(arguments: str) -> dict[str, Any]:
    value = arguments.strip("`").lower()
    if value and not HASH.fullmatch(value):
        raise _Wrong("What follows can only be the plan's hash, as it stands under the plan.")
    return {"hash": value}


def _read_model(arguments: str) -> dict[str, Any]:
    if not arguments:
        return {}
    name, _, model = arguments.partition("=")
    if name.lower() == "model" and MODEL.fullmatch(model.strip("`")):
        return {"model": model.strip("`")}
    if MODEL.fullmatch(arguments):
        raise _Wrong(f"A model is given as {_code('model=' + arguments)}.")
    raise _Wrong("What follows can only be a model.")


def _read_text(arguments: str) -> dict[str, Any]:
    if not arguments:
        raise _Wrong("Say what the plan should do differently.")
    return {"text": arguments}


def _read_paths(arguments: str) -> dict[str, Any]:
    paths = tuple(dict.fromkeys(_read_path(token) for token in PATH.findall(arguments)))
    if not 0 < len(paths) <= MAX_PATHS:
        raise _Wrong(f"Name one to {MAX_PATHS} paths, with spaces between them.")
    return {"paths": paths}


def _read_path(token: str) -> str:
    path = token.rstrip(",").strip('`"').removeprefix("./")
    if not path or len(path) > 300 or re.search(r"[\x00-\x1f\x7f\\]", path):
        raise _Wrong(f"{_code(token)} is not a path I can read.")
    if path.startswith(("/", "~", "!")) or {"..", "."} & set(path.split("/")):
        raise _Wrong(f"{_code(token)} must be a path inside the repository, from its top.")
    if path.endswith("/"):
        raise _Wrong(f"For everything in a folder write {_code(path + '**')}.")
    return path


def _read_release(arguments: str) -> dict[str, Any]:
    named = CHECK.fullmatch(arguments)
    if named is None and arguments.startswith(('"', "“", "„")):
        raise _Wrong("A check's name stands between two quotation marks.")
    # A name that we quoted ourselves is kept from calling anybody by a character that nobody sees.
    check, reason = (
        (strip_invisible(named.group(1)).strip(), named.group(2) or "") if named else ("", arguments)
    )
    if not reason.strip() or (named and not check):
        raise _Wrong("It needs a reason: you answer for the checks that are skipped.")
    return {"check": check, "reason": reason.strip()}


FORMS: dict[str, Form] = {
    "approve-plan": Form("[hash]", "starts the newest plan, or only the plan with this hash", _read_hash),
    "revise-plan": Form("text", "asks for another plan that heeds the text", _read_text, several_lines=True),
    "resume": Form(
        "[model=id]", "goes on from the last good commit, with another model if given", _read_model
    ),
    "retry": Form(
        "[model=id]", "does the failed attempt again from its beginning, without its edits", _read_model
    ),
    "allow": Form("path…", "lets the phase touch further paths or patterns, and goes on", _read_paths),
    "skip-checks": Form(
        '["check"] reason', "goes on although checks are not green; you answer for it", _read_release
    ),
    "pause": Form("", "stops what runs; its edits are kept", _read_nothing),
    "cancel": Form("", "ends the build for good", _read_nothing),
    "build": Form("", "starts a build of this issue and sets the label", _read_nothing),
    "status": Form("", "says where the build stands", _read_nothing),
    "help": Form("", "shows this list", _read_nothing),
}
"""Every command; parser, near misses and help all read this table."""


def parse(body: str) -> Command | None:
    """Return the command of a comment, None when it is not for us; UserError says how it is written right."""
    lines = _visible(re.sub(r"\r\n?", "\n", body)).split("\n")
    first = next((at for at, line in enumerate(lines) if line.strip()), None)
    found = None if first is None else SLASH_WORD.fullmatch(lines[first])
    if first is None or found is None:
        return None
    word, arguments, rest = found.group(1).lower(), (found.group(2) or "").strip(), lines[first + 1 :]
    form = FORMS.get(word)
    if form is None:
        _refuse_near_miss(word, arguments)
        return None
    try:
        if form.several_lines:
            arguments = "\n".join([arguments, *rest]).strip()
        elif any(line.strip() for line in rest):
            raise _Wrong("A comment holds one command on one line and nothing else.")
        return Command(word, **form.read(arguments))
    except _Wrong as wrong:
        raise UserError(f"I cannot read this `/{word}`. {wrong} Write it so: {_usage(word)}.") from None


def _visible(body: str) -> str:
    """Return the text without HTML comments; searched by hand, for a pattern takes quadratic time here."""
    kept, at = "", 0
    while (start := body.find("<!--", at)) >= 0:
        end = body.find("-->", start + 4)
        if end < 0:
            hides = UNCLOSED.search(body, at)
            return kept + body[at : hides.start() if hides else None]
        kept, at = kept + body[at:start], end + 3
    return kept + body[at:]


def _refuse_near_miss(word: str, arguments: str) -> None:
    """Raise UserError where the word, alone or with the next one, is close to one of ours."""
    joined = "-".join([word, *arguments.split()[:1]]).lower()[:60]
    for candidate in (word, joined):
        near = difflib.get_close_matches(candidate, FORMS, n=1, cutoff=NEAR)
        if near:
            known = ", ".join(f"`/{name}`" for name in FORMS)
            raise UserError(
                f"I don't know {_code('/' + word)}. Did you mean {_usage(near[0])}? I know: {known}."
            )


def _usage(word: str) -> str:
    return f"`{f'/{word} {FORMS[word].arguments}'.rstrip()}`"


def _code(text: str) -> str:
    """Return a stranger's words as inline code, in which no mention, link or markup acts."""
    clean = "".join(char for char in text if char.isprintable() and char != "`")
    return f"`{clean[:60]}`"


def help_text() -> str:
    """Return all commands as a Markdown list."""
    rows = [f"- {_usage(word)} {form.does}" for word, form in FORMS.items()]
    return "\n".join(["I know these commands, one per comment and on its first line:", "", *rows, ""])
