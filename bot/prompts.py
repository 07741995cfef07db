"""Loads and fills prompts/*.md, strictly: a value that is missing is an error."""

import re
from pathlib import Path
from typing import Any

import jinja2

import prompts

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(prompts.__file__).parent),
    undefined=jinja2.StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=False,
)


_TAGS = {
    "title": ("issue", "title"),
    "body": ("issue", "body"),
    "overview": ("repository",),
    "previous": ("previous_plan",),
    "instructions": ("instructions", "file"),
    "files": ("files", "file"),
    "finished": ("finished_phase",),
    "phases": ("phase",),
}
"""Value → the tags it or its parts stand in, where they do not bear its own name."""


def fill(name: str, **values: Any) -> str:
    """Return `prompts/<name>.md` filled with `values`; jinja2.UndefinedError where one is missing."""
    shut = {key: _shut(value, _TAGS.get(key, (key,))) for key, value in values.items()}
    return _ENVIRONMENT.get_template(f"{name}.md").render(shut).strip()


def _shut(value: Any, tags: tuple[str, ...]) -> Any:
    """Return a value none of whose texts, however deep, can close the tags they stand in; all else as it is."""
    if isinstance(value, str):
        return re.sub(rf"<(?=/\s*(?:{'|'.join(tags)})\b)", "&lt;", value, flags=re.IGNORECASE)
    if isinstance(value, dict):
        return {key: _shut(part, tags) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_shut(part, tags) for part in value]
    return value
