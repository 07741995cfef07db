"""Alembic environment of the application's own tables."""

from collections.abc import Mapping
from typing import Any

PREFIX = "phasegate_"


def ours(name: str | None, kind: str, parents: Mapping[Any, str | None]) -> bool:
    """Whether a table is ours; DBOS keeps its own in the same database."""
    table = name if kind == "table" else parents.get("table_name")
    return table is None or table.startswith(PREFIX)
