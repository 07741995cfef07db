"""The tables and the migrations that make them: from nothing and from every older revision."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

import bot.migrations
from bot import main, tables
from bot.store import Database
from bot.tables import Attempt, Build
from tests.unit.story_bench import NOON, database, tell

CONFIG = Config()
CONFIG.set_main_option("script_location", str(bot.migrations.__path__[0]))
SCRIPTS = ScriptDirectory.from_config(CONFIG)
REVISIONS = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]

Columns = dict[str, dict[str, bool]]
"""Table → column → whether it takes rows that do not name it."""


@pytest.fixture
def empty() -> Iterator[sa.Connection]:
    """An empty database, and a transaction on it."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def upgrade(connection: sa.Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(bot.migrations.__path__[0]))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def differences(connection: sa.Connection) -> list[Any]:
    """Return what the models have and the database has not, or the other way round."""
    context = MigrationContext.configure(connection, opts={"include_name": bot.migrations.ours})
    return list(compare_metadata(context, SQLModel.metadata))


def columns(connection: sa.Connection) -> Columns:
    seen = sa.inspect(connection)
    return {
        table: {c["name"]: c["nullable"] or c["default"] is not None for c in seen.get_columns(table)}
        for table in seen.get_table_names()
        if table.startswith(bot.migrations.PREFIX)
    }


def unsafe(before: Columns, after: Columns) -> list[str]:
    """Return the columns that a step adds to a table, or tightens there, so that an older bot's rows do not fit."""
    return [
        f"{table}.{name}"
        for table in before.keys() & after.keys()
        for name, optional in after[table].items()
        if not optional and before[table].get(name, True)
    ]


def fill(connection: sa.Connection) -> dict[str, int]:
    """Insert one row into every table, whatever its columns are, and return how many rows each has."""
    known = sa.MetaData()
    known.reflect(connection)
    values = {int: 1, str: "1", bytes: b"1", bool: True, datetime: NOON.replace(tzinfo=None)}
    for table in known.sorted_tables:
        if table.name.startswith(bot.migrations.PREFIX):
            connection.execute(
                table.insert().values({c.name: values[c.type.python_type] for c in table.columns})
            )
    return counts(connection)


def counts(connection: sa.Connection) -> dict[str, int]:
    return {
        table: connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one()
        for table in columns(connection)
    }


def test_migrating_an_empty_database_gives_exactly_the_models(empty: sa.Connection) -> None:
    upgrade(empty, "head")

    assert differences(empty) == []
    assert set(columns(empty)) == set(SQLModel.metadata.tables)


def test_a_difference_would_be_seen(empty: sa.Connection) -> None:
    upgrade(empty, "head")
    empty.execute(sa.text("ALTER TABLE phasegate_build DROP COLUMN head"))
    empty.execute(sa.text("CREATE TABLE phasegate_other (id INTEGER)"))

    assert [change[0] for change in differences(empty)] == ["remove_table", "add_column"]


def test_the_tables_of_the_engine_are_left_alone(empty: sa.Connection) -> None:
    empty.execute(sa.text("CREATE TABLE workflow_status (id INTEGER)"))
    upgrade(empty, "head")

    assert differences(empty) == []


def test_the_revisions_are_one_line_and_the_newest_is_the_head() -> None:
    assert SCRIPTS.get_bases() == [REVISIONS[0]]
    assert SCRIPTS.get_heads() == [REVISIONS[-1]]
    assert sorted(REVISIONS) == REVISIONS


@pytest.mark.parametrize("revision", REVISIONS)
def test_no_step_adds_a_column_that_older_rows_do_not_fit(empty: sa.Connection, revision: str) -> None:
    """While an update rolls out, the version before still writes rows that do not name the new columns."""
    before: Columns = {}
    if revision != REVISIONS[0]:
        upgrade(empty, REVISIONS[REVISIONS.index(revision) - 1])
        before = columns(empty)
    upgrade(empty, revision)

    assert unsafe(before, columns(empty)) == []


def test_a_column_that_older_rows_do_not_fit_would_be_seen() -> None:
    before = {"build": {"id": False, "note": True}}

    assert unsafe(before, {"build": {"id": False, "note": True, "new": True}, "other": {"id": False}}) == []
    assert unsafe(before, {"build": {"id": False, "note": True, "new": False}}) == ["build.new"]
    assert unsafe(before, {"build": {"id": False, "note": False}}) == ["build.note"]


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_filled_database_of_any_revision_is_brought_up_to_date(empty: sa.Connection, revision: str) -> None:
    upgrade(empty, revision)
    before = fill(empty)
    upgrade(empty, "head")

    assert differences(empty) == []
    assert before
    assert {table: counts(empty)[table] for table in before} == before


def test_the_bot_itself_migrates_at_its_start_and_twice_is_once(tmp_path: Path) -> None:
    opened = Database(f"sqlite:///{tmp_path}/a.db")
    main.migrate(opened)
    main.migrate(opened)
    with opened.engine.connect() as connection:
        assert differences(connection) == []
    opened.close()


def test_every_table_of_ours_bears_our_prefix() -> None:
    assert all(name.startswith(bot.migrations.PREFIX) for name in SQLModel.metadata.tables)


# --- what is stored comes back as it was


def test_times_come_back_aware_and_in_utc(tmp_path: Path) -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))
    with database(tmp_path) as opened:
        with opened.transaction() as db:
            tell(db).ended_at = elsewhere
        with opened.reading() as db:
            stored = db.get_one(Build, 1)

    assert stored.ended_at == NOON
    assert stored.ended_at is not None
    assert stored.ended_at.tzinfo is UTC
    assert stored.pull_opened_at is None


def test_money_comes_back_exactly(tmp_path: Path) -> None:
    amounts = [Decimal(text) for text in ("0", "0.1", "0.000000125", "12345678.123456789", "1E-9")]
    with database(tmp_path) as opened, opened.transaction() as db:
        tell(db)
        for amount in amounts:
            db.get_one(Attempt, 1).wasted_usd = amount
            db.flush()
            db.expire_all()
            assert db.get_one(Attempt, 1).wasted_usd == amount


def test_now_is_in_utc() -> None:
    assert tables.now().tzinfo is UTC
