"""Names of branches. Pure."""

import itertools
import re
import unicodedata
from collections.abc import Container

from bot.events import PREFIX

_LONGEST = 40


def branch_name(issue: int, title: str) -> str:
    """Return `phasegate/issue-<n>-<slug>`, the slug of at most 40 plain letters, digits and dashes."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST].strip("-")
    return f"{PREFIX}issue-{issue}" + (f"-{slug}" if slug else "")


def free_name(name: str, taken: Container[str]) -> str:
    """Return `name`, or the first of `<name>-2`, `<name>-3`, … that is not taken."""
    names = (name if n == 1 else f"{name}-{n}" for n in itertools.count(1))
    return next(each for each in names if each not in taken)
