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
}
"""Value → the tags it stands in, where they do not bear its own name."""


def fill(name: str, **values: Any) -> str:
    """Return `prompts/<name>.md` filled with `values`; jinja2.UndefinedError where one is missing."""
    shut = {key: _shut(key, value) for key, value in values.items()}
    return _ENVIRONMENT.get_template(f"{name}.md").render(shut).strip()


def _shut(name: str, value: Any) -> Any:
    """Return a text that cannot close the tag it stands in; all else as it is."""
    if not isinstance(value, str):
        return value
    return re.sub(rf"<(?=/\s*(?:{'|'.join(_TAGS.get(name, (name,)))})\b)", "&lt;", value, flags=re.IGNORECASE)
