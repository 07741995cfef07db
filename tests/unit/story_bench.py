"""The story of one build, as rows of a fresh database and as its record."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlmodel import Session, SQLModel

from bot import plans, records, settings
from bot.parts import Bells, Reading
from bot.settings import Settings
from bot.store import Database
from bot.tables import Attempt, Build, Move, PhaseState, PlanVersion, Turn
from tests.world import plan

ROOT = Path(__file__).resolve().parents[2]
URL = "https://github.com/acme/tally"
BASE, FIRST, SECOND = "b" * 40, "1" * 40, "2" * 40
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def known(folder: Path, **given: Any) -> Settings:
    """Return the settings of the example file, with the data in `folder`."""
    key = {"github_private_key": private_key(), "github_private_key_file": None}
    return settings.load(ROOT / ".env.example", **{"data_dir": folder, **key, **given})


@cache
def private_key() -> str:
    """Return the PEM text of a key that exists only for this run."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def reading(folder: Path) -> Reading:
    """Return as much of a bot as it takes to read a record."""
    return Reading(known(folder))


@dataclass(frozen=True)
class Speaking(Reading):
    """As much of a bot as it takes to write down what is to be said."""

    bells: Bells


@contextmanager
def speaking(folder: Path, **given: Any) -> Iterator[Any]:
    """Make as much of a bot as it takes to write down what is to be said."""
    loop = asyncio.new_event_loop()
    try:
        yield Speaking(known(folder, **given), Bells(loop))
    finally:
        loop.close()


@cache
def told() -> str:
    """Return the record of the story as JSON text, made once."""
    with TemporaryDirectory() as name, database(Path(name)) as opened, opened.transaction() as db:
        return json.dumps(records.record(db, reading(Path(name)), tell(db)))


@contextmanager
def database(folder: Path) -> Iterator[Database]:
    """Open a fresh database with our tables."""
    opened = Database(f"sqlite:///{folder}/story.db")
    SQLModel.metadata.create_all(opened.engine)
    try:
        yield opened
    finally:
        opened.close()


def tell(db: Session) -> Build:
    """Store a build whose first phase is done and whose second one is being written; return it."""
    build = Build(
        installation_id=3,
        repository_id=7,
        repository="acme/tally",
        issue=1,
        state="running",
        opened_by="maria",
        branch="phasegate/issue-1-cache-the-count",
        base_branch="main",
        base=BASE,
        head=FIRST,
        pull_request=2,
        phase=2,
        attempt=3,
    )
    db.add(build)
    db.flush()
    read = plans.read(plan())
    db.add(
        PlanVersion(
            build_id=1,
            version=1,
            hash=plans.digest(read, title="Cache the count", body="Please.", base=BASE),
            plan=read.model_dump_json(),
            title="Cache the count",
            issue_body="Please.",
            base=BASE,
            approved_by="maria",
            approved_at=NOON,
        )
    )
    _phases(db)
    for number, (kind, phase, outcome) in enumerate(
        [("plan", 0, "done"), ("phase", 1, "done"), ("phase", 2, "")], start=1
    ):
        _attempt(db, number, kind, phase, outcome)
    _moves(db)
    db.flush()
    return build


def _phases(db: Session) -> None:
    verdict = {
        "sha": FIRST,
        "outcome": "green",
        "results": [
            {"key": "check:1", "name": "tests", "outcome": "green", "said": "success", "url": f"{URL}/r/1"}
        ],
    }
    db.add(
        PhaseState(
            build_id=1,
            number=1,
            base=BASE,
            commit=FIRST,
            summary="Part 1 is there.",
            decisions='["Part 1 is a function."]',
            verdict=json.dumps(verdict),
            finished_at=NOON,
        )
    )
    db.add(PhaseState(build_id=1, number=2, base=FIRST))


def _attempt(db: Session, number: int, kind: str, phase: int, outcome: str) -> None:
    db.add(
        Attempt(
            id=number,
            build_id=1,
            kind=kind,
            phase=phase,
            model="claude-sonnet-5-5",
            base=BASE,
            outcome=outcome,
            started_at=NOON,
            ended_at=NOON + timedelta(minutes=1) if outcome else None,
        )
    )
    db.flush()
    for n in range(2):
        db.add(
            Turn(
                attempt_id=number,
                conversation=1,
                n=n,
                reply="{}",
                input_tokens=100,
                output_tokens=10,
                cache_read=1000,
                cache_write_5m=50,
                cost_usd=Decimal("0.015"),
            )
        )


def _moves(db: Session) -> None:
    story = [
        ("", "planning", "label", "maria", ""),
        ("planning", "awaiting_approval", "plan_ready", "attempt 1", "v1"),
        ("awaiting_approval", "running", "approved", "maria", "v1"),
        ("running", "awaiting_checks", "committed", "attempt 2", FIRST),
        ("awaiting_checks", "running", "checks_green", "event", "All 1 are green."),
    ]
    for minute, (before, after, trigger, by, detail) in enumerate(story):
        at = NOON + timedelta(minutes=minute)
        db.add(Move(build_id=1, at=at, before=before, after=after, trigger=trigger, by=by, detail=detail))


def record(**changes: Any) -> dict[str, Any]:
    """Return the record of a build of two phases, the first done, with as much as comments read; changed."""
    made = plans.read(plan()).model_dump(mode="json")
    shown: dict[str, Any] = {
        "id": 12,
        "issue": 1,
        "state": "running",
        "pull_request": 2,
        "phase": 2,
        "opened_by": "maria",
        "ended_by": "",
        "plan": {
            **made,
            "version": 1,
            "hash": "3f9c1a7" + "0" * 33,
            "size": "small",
            "unmatched": [],
            "red_on_base": [],
        },
        "phases": [
            {
                "number": number,
                "title": f"Part {number}",
                "state": state,
                "commit": commit,
                "notes": [],
                "cost_usd": cost,
                "forecast_usd": [0.06, 0.24],
            }
            for number, state, commit, cost in ((1, "done", FIRST, 0.12), (2, "running", None, 0.0))
        ],
        "cost_usd": 0.15,
        "forecast_usd": [0.12, 0.48],
        "budget_usd": 10.0,
    }
    return {**shown, **changes}
