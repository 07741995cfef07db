"""Names of branches. Pure."""

import re
import unicodedata

from bot.events import PREFIX

_LONGEST = 40


def branch_name(issue: int, title: str) -> str:
    """Return `phasegate/issue-<n>-<slug>`, the slug of at most 40 plain letters, digits and dashes."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST].strip("-")
    return f"{PREFIX}issue-{issue}" + (f"-{slug}" if slug else "")
