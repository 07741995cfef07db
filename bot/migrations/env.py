"""Alembic's door: it works on the connection it is given and leaves DBOS's tables alone."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlmodel import SQLModel

import bot.tables  # noqa: F401  registers the tables
from bot.migrations import ours


def _plain(kind: str, thing: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write our own column types as what the database sees, so that old migrations need no code of ours."""
    if kind != "type" or not isinstance(thing, sa.TypeDecorator):
        return False
    return f"sa.{thing.impl_instance!r}"


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    include_name=ours,
    render_item=_plain,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
