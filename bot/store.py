"""The only SQL. Every function takes the session of the caller's transaction first."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from bot.pricing import Usage
from bot.states import LIVE, WORKING, State
from bot.tables import Attempt, Build, Delivery, Move, Notice, PhaseState, PlanVersion, Turn, now

_PATIENCE = 30.0
"""Seconds a writer waits for another one."""

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """The application's database: SQLite or PostgreSQL, one engine for our tables and the engine's."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sqlite = url.startswith("sqlite")
        self.engine = _engine(url)

    @contextmanager
    def transaction(self, *, patience: float = _PATIENCE) -> Iterator[Session]:
        """Open one transaction; commit at the end, roll back on any error.

        `patience` is how many seconds to wait for another writer of the same SQLite file.
        """
        with Session(self.engine, expire_on_commit=False) as db:
            if self.sqlite:
                milliseconds = int(patience * 1000)
                db.connection().exec_driver_sql(f"PRAGMA busy_timeout={milliseconds}")
                # Take the write lock before the first read, so that nothing read here can be outrun.
                db.connection().exec_driver_sql("BEGIN IMMEDIATE")
            yield db
            db.commit()
            calls = db.info.pop("after", [])
        for call in calls:
            call()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads: it waits for no writer and keeps none waiting."""
        with Session(self.engine, expire_on_commit=False) as db:
            yield db

    async def ask(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(db, …)`, which only reads, in a thread; return what it returns."""

        def whole() -> T:
            with self.reading() as db:
                return work(db, *args, **kwargs)

        return await asyncio.to_thread(whole)

    async def run(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(db, …)` in one transaction, in a thread; return what it returns."""

        def whole() -> T:
            with self.transaction() as db:
                return work(db, *args, **kwargs)

        return await asyncio.to_thread(whole)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


def after_commit(db: Session, call: Callable[[], None]) -> None:
    """Run `call` once this transaction is committed, in the same thread; never if it is rolled back."""
    db.info.setdefault("after", []).append(call)


def _engine(url: str) -> sa.Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_size=20, max_overflow=10, pool_pre_ping=True)
    engine = sa.create_engine(url, pool_size=10, max_overflow=10)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = "IMMEDIATE"
        if sqlite3.sqlite_version_info < (3, 42):
            # DBOS asks unixepoch('subsec'), which older SQLite answers with NULL.
            connection.create_function("unixepoch", 1, lambda _mode: time.time())
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            f"busy_timeout={int(_PATIENCE * 1000)}",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine


# deliveries


def keep_delivery(db: Session, delivery: Delivery) -> bool:
    """Keep a delivery; False where its GUID is known already."""
    if db.get(Delivery, delivery.guid) is not None:
        return False
    db.add(delivery)
    try:
        db.flush()
    except IntegrityError:
        db.rollback()
        return False
    return True


def next_delivery(db: Session, repository: str) -> Delivery | None:
    """Return the oldest delivery of a repository that waits to be handled, whether it is due or not."""
    query = (
        select(Delivery)
        .where(col(Delivery.handled_at).is_(None), Delivery.repository == repository)
        .order_by(col(Delivery.received_at), col(Delivery.guid))
    )
    return db.exec(query.limit(1)).first()


def repositories_due(db: Session) -> list[str]:
    """Return the repositories with deliveries to handle now, the longest waiting first."""
    # Only the first in a line is ever put back, so one that is put back holds its whole line.
    held_until = sa.func.max(Delivery.not_before)
    query = (
        select(Delivery.repository)
        .where(col(Delivery.handled_at).is_(None))
        .group_by(col(Delivery.repository))
        .having(sa.or_(held_until.is_(None), held_until <= now()))
        .order_by(sa.func.min(Delivery.received_at))
    )
    return list(db.exec(query))


def newest_delivery(db: Session) -> datetime | None:
    """Return when the newest delivery was kept, or None."""
    return db.exec(select(sa.func.max(Delivery.received_at))).one()


def delivery(db: Session, guid: str) -> Delivery | None:
    """Return one delivery."""
    return db.get(Delivery, guid)


def close_delivery(db: Session, guid: str, error: str = "") -> None:
    """Note that a delivery was handled, or that it never will be and why."""
    if kept := db.get(Delivery, guid):
        kept.handled_at, kept.error = now(), error


def delay_delivery(db: Session, guid: str, seconds: float, error: str) -> int:
    """Put a delivery back for `seconds`; return how often it was tried."""
    kept = db.get(Delivery, guid)
    if kept is None:
        return 0
    kept.tries += 1
    kept.not_before, kept.error = now() + timedelta(seconds=seconds), error
    return kept.tries


# builds


def add(db: Session, row: Any) -> Any:
    """Insert a row and return it with its id."""
    db.add(row)
    db.flush()
    return row


def build(db: Session, build_id: int) -> Build:
    """Return a build, locked for this transaction; LookupError where there is none."""
    found = db.get(Build, build_id, with_for_update=True)
    if found is None:
        raise LookupError(f"There is no build {build_id}.")
    return found


def allowed_paths(db: Session, build_id: int, number: int) -> tuple[str, ...]:
    """Return the paths a person allowed in a phase."""
    return read_paths(build(db, build_id).granted, number)


def live_build(db: Session, repository_id: int, number: int) -> Build | None:
    """Return the live build of an issue or of its pull request, by either's number."""
    query = (
        select(Build)
        .where(Build.repository_id == repository_id)
        .where(sa.or_(col(Build.issue) == number, col(Build.pull_request) == number))
        .where(col(Build.state).in_(LIVE))
        .order_by(col(Build.id).desc())
    )
    return db.exec(query).first()


def newest_build(db: Session, repository_id: int, number: int) -> Build | None:
    """Return the newest build of an issue or pull request, over or not."""
    query = (
        select(Build)
        .where(Build.repository_id == repository_id)
        .where(sa.or_(col(Build.issue) == number, col(Build.pull_request) == number))
        .order_by(col(Build.id).desc())
    )
    return db.exec(query).first()


def branches(db: Session, repository_id: int) -> set[str]:
    """Return the branches of all builds of a repository, those that are over too."""
    return set(db.exec(select(Build.branch).where(Build.repository_id == repository_id)))


def build_on(db: Session, repository_id: int, branch: str) -> Build | None:
    """Return the live build that owns a branch."""
    query = select(Build).where(Build.repository_id == repository_id, Build.branch == branch)
    return db.exec(query.where(col(Build.state).in_(LIVE))).first()


def done_on(db: Session, repository_id: int, branch: str) -> Build | None:
    """Return the finished build that owned a branch."""
    query = select(Build).where(Build.repository_id == repository_id, Build.branch == branch)
    return db.exec(query.where(Build.state == State.DONE)).first()


def names(db: Session, repository_id: int) -> set[str]:
    """Return the names under which builds know a repository."""
    return set(db.exec(select(Build.repository).where(Build.repository_id == repository_id).distinct()))


def rename(db: Session, repository_id: int, full_name: str) -> None:
    """Have all builds and comments of a repository know it by another name."""
    for table in (Build, Notice):
        query = sa.update(table).where(col(table.repository_id) == repository_id)
        db.connection().execute(query.values(repository=full_name))


def live_builds(
    db: Session, *, installation_id: int | None = None, repository_id: int | None = None
) -> list[Build]:
    """Return live builds, oldest first, of one installation or repository where given."""
    query = select(Build).where(col(Build.state).in_(LIVE)).order_by(col(Build.id))
    if installation_id is not None:
        query = query.where(Build.installation_id == installation_id)
    if repository_id is not None:
        query = query.where(Build.repository_id == repository_id)
    return list(db.exec(query))


def working_builds(db: Session) -> list[Build]:
    """Return builds whose attempt should be running."""
    return list(db.exec(select(Build).where(col(Build.state).in_(WORKING))))


def add_move(db: Session, build_id: int, before: str, after: str, trigger: str, by: str, detail: str) -> None:
    """Append one line to a build's story."""
    db.add(Move(build_id=build_id, before=before, after=after, trigger=trigger, by=by, detail=detail))


def moves(db: Session, build_id: int) -> list[Move]:
    """Return a build's story in order."""
    return list(db.exec(select(Move).where(Move.build_id == build_id).order_by(col(Move.id))))


# plans and phases


def plan(db: Session, build_id: int, version: int | None = None) -> PlanVersion | None:
    """Return one version of a build's plan, the newest by default."""
    query = (
        select(PlanVersion).where(PlanVersion.build_id == build_id).order_by(col(PlanVersion.version).desc())
    )
    if version is not None:
        query = query.where(PlanVersion.version == version)
    return db.exec(query).first()


def phase(db: Session, build_id: int, number: int) -> PhaseState:
    """Return what became of a phase; made on first sight."""
    found = db.get(PhaseState, (build_id, number))
    if found is None:
        found = PhaseState(build_id=build_id, number=number)
        db.add(found)
        db.flush()
    return found


def phases(db: Session, build_id: int) -> list[PhaseState]:
    """Return the phases begun so far, in order."""
    query = select(PhaseState).where(PhaseState.build_id == build_id).order_by(col(PhaseState.number))
    return list(db.exec(query))


def renew_phases(db: Session, build_id: int, first: int) -> None:
    """Forget what became of the phases from number `first` on: a newer plan put others in their places."""
    made = [a for a in attempts(db, build_id) if a.phase >= first]
    newest = max((a.id or 0 for a in made), default=0)
    for number in {a.phase for a in made} | {
        row.number for row in phases(db, build_id) if row.number >= first
    }:
        db.delete(phase(db, build_id, number))
        db.flush()
        db.add(PhaseState(build_id=build_id, number=number, older_attempt=newest))


# attempts and turns


def attempt(db: Session, attempt_id: int) -> Attempt:
    """Return an attempt; LookupError where there is none."""
    found = db.get(Attempt, attempt_id)
    if found is None:
        raise LookupError(f"There is no attempt {attempt_id}.")
    return found


def attempts(db: Session, build_id: int) -> list[Attempt]:
    """Return a build's attempts in order."""
    return list(db.exec(select(Attempt).where(Attempt.build_id == build_id).order_by(col(Attempt.id))))


def attempts_at(db: Session, build_id: int, number: int) -> list[Attempt]:
    """Return the attempts at a phase as it is planned now, repairs included, in order."""
    fact = db.get(PhaseState, (build_id, number))
    older = fact.older_attempt if fact else 0
    return [a for a in attempts(db, build_id) if a.phase == number and (a.id or 0) > older]


def turns(db: Session, attempt_id: int, conversation: int | None = None) -> list[Turn]:
    """Return an attempt's journal in order, of one conversation where given."""
    query = select(Turn).where(Turn.attempt_id == attempt_id)
    if conversation is not None:
        query = query.where(Turn.conversation == conversation)
    return list(db.exec(query.order_by(col(Turn.conversation), col(Turn.n))))


def turns_of_build(db: Session, build_id: int) -> list[Turn]:
    """Return every turn of a build."""
    return list(
        db.exec(
            select(Turn).join(Attempt, col(Attempt.id) == Turn.attempt_id).where(Attempt.build_id == build_id)
        )
    )


def answer_turn(db: Session, attempt_id: int, conversation: int, n: int, results: str) -> None:
    """Journal what a turn's tools answered."""
    turn = db.get(Turn, (attempt_id, conversation, n))
    if turn is not None:
        turn.results = results


def cost(db: Session, build_id: int) -> Decimal:
    """Return what a build has cost so far in USD, waste included."""
    paid = sum((turn.cost_usd for turn in turns_of_build(db, build_id)), Decimal(0))
    return paid + sum((a.wasted_usd for a in attempts(db, build_id)), Decimal(0))


def cost_of_attempt(db: Session, attempt_id: int) -> Decimal:
    """Return what one attempt has cost so far in USD, waste included."""
    paid = sum((turn.cost_usd for turn in turns(db, attempt_id)), Decimal(0))
    return paid + attempt(db, attempt_id).wasted_usd


def cost_of_phase(db: Session, build_id: int, phase: int) -> Decimal:
    """Return what all attempts at one phase, as it is planned now, have cost so far in USD."""
    own = attempts_at(db, build_id, phase)
    return sum((cost_of_attempt(db, a.id) for a in own if a.id), Decimal(0))


def usage(turn: Turn) -> Usage:
    """Return a turn's tokens."""
    return Usage(
        input_tokens=turn.input_tokens,
        output_tokens=turn.output_tokens,
        cache_read=turn.cache_read,
        cache_write_5m=turn.cache_write_5m,
        cache_write_1h=turn.cache_write_1h,
    )


# notices


def notice(db: Session, key: str) -> Notice | None:
    """Return a comment of ours by its key."""
    return db.exec(select(Notice).where(Notice.key == key)).first()


def notices_given_up(db: Session, installation_id: int) -> list[Notice]:
    """Return comments that GitHub would not take from an installation."""
    query = (
        select(Notice)
        .where(Notice.installation_id == installation_id, Notice.error != "")
        .where(col(Notice.posted) >= col(Notice.revision))
        .order_by(col(Notice.id))
    )
    return list(db.exec(query))


def open_notices(db: Session) -> list[Notice]:
    """Return comments that do not yet say what they should, oldest first."""
    query = (
        select(Notice)
        .where(col(Notice.posted) < col(Notice.revision))
        .where(sa.or_(col(Notice.not_before).is_(None), col(Notice.not_before) <= now()))
        .order_by(col(Notice.id))
    )
    return list(db.exec(query))


def next_due(db: Session, after: datetime) -> datetime | None:
    """Return when the next delivery or comment that is put back beyond `after` is due."""
    deliveries = (
        select(sa.func.min(Delivery.not_before))
        .where(col(Delivery.handled_at).is_(None))
        .where(col(Delivery.not_before) > after)
    )
    comments = (
        select(sa.func.min(Notice.not_before))
        .where(col(Notice.posted) < col(Notice.revision))
        .where(col(Notice.not_before) > after)
    )
    moments = [moment for moment in (db.exec(deliveries).one(), db.exec(comments).one()) if moment]
    return min(moments) if moments else None


# small JSON columns


def read_list(text: str) -> list[Any]:
    """Return a JSON list column."""
    return list(json.loads(text)) if text else []


def dump(value: Any) -> str:
    """Return a value as a JSON column keeps it."""
    return json.dumps(value, ensure_ascii=False)


def read_object(text: str) -> dict[str, Any]:
    """Return a JSON object column."""
    return dict(json.loads(text)) if text else {}


def read_paths(text: str, number: int) -> tuple[str, ...]:
    """Return the paths that a JSON column of phase number → paths holds for one phase."""
    return tuple(read_object(text).get(str(number), []))
