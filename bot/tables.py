"""The tables: facts only; what can be computed from them is not stored."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel


class _Utc(sa.TypeDecorator[datetime]):
    """Aware times in, aware times out: SQLite forgets the zone."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.replace(tzinfo=UTC) if value else None


class _Money(sa.TypeDecorator[Decimal]):
    """Exact USD as text: SQLite would make it a float."""

    impl = sa.String(40)
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Any) -> str | None:
        return None if value is None else format(value, "f")

    def process_result_value(self, value: str | None, dialect: Any) -> Decimal | None:
        return None if value is None else Decimal(value)


def now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


def _text(*, nullable: bool = False) -> Any:
    return Field(default=None if nullable else "", sa_type=sa.Text, nullable=nullable)


def _moment() -> Any:
    return Field(default_factory=now, sa_type=_Utc, nullable=False)


def _maybe(*, index: bool = False) -> Any:
    return Field(default=None, sa_type=_Utc, nullable=True, index=index)


def _usd() -> Any:
    return Field(default=Decimal(0), sa_type=_Money, nullable=False)


class Delivery(SQLModel, table=True):
    """One webhook request, kept before it is answered; the inbox."""

    __tablename__ = "phasegate_delivery"

    guid: str = Field(primary_key=True, max_length=64)
    event: str
    action: str = ""
    repository: str = Field(default="", index=True)
    body: bytes = Field(sa_type=sa.LargeBinary)
    received_at: datetime = _moment()
    handled_at: datetime | None = _maybe(index=True)
    not_before: datetime | None = _maybe()
    tries: int = 0
    obeyed: bool = False
    """The command in it was carried out; handled once more, only the sign of that is given."""
    error: str = _text()


class Build(SQLModel, table=True):
    """One issue being built."""

    __tablename__ = "phasegate_build"
    __table_args__ = (sa.Index("ix_phasegate_build_issue", "repository_id", "issue"),)

    id: int | None = Field(default=None, primary_key=True)
    installation_id: int
    repository_id: int
    repository: str
    """Full name, owner/name."""
    issue: int
    state: str
    opened_by: str
    """Login of the person whose word started it."""
    branch: str = Field(index=True)
    base_branch: str = ""
    base: str = ""
    """Commit the branch starts at."""
    head: str = ""
    """Where the branch stood when we last left it; empty until the first commit."""
    pull_request: int | None = Field(default=None, index=True)
    pull_opened_at: datetime | None = _maybe()
    phase: int = 0
    """Number of the phase at work or waited for; 0 before the first."""
    attempt: int | None = None
    """The attempt that runs, in a working state."""
    look: int = 0
    """Number of the gate timer that counts; older ones find a larger number and do nothing."""
    policy: str = _text()
    """The policy file as read when the plan was made."""
    feedback: str = _text()
    """What `/revise-plan` asked for, for the next plan."""
    failure: str = ""
    """Failure kind of the present pause; empty when not paused by a failure."""
    left: str = ""
    """State a pause left."""
    trusts_head: bool = False
    """A person said `/resume` after the branch was forced elsewhere: where it stands now is where it shall stand."""
    released: str = _text()
    """JSON list of {check, phase, by, reason}: gates a named person took responsibility for."""
    granted: str = _text()
    """JSON object phase number → paths `/allow` added."""
    created_at: datetime = _moment()
    ended_at: datetime | None = _maybe()


class PlanVersion(SQLModel, table=True):
    """One numbered version of a plan, with the issue as the planner saw it."""

    __tablename__ = "phasegate_plan"

    build_id: int = Field(foreign_key="phasegate_build.id", primary_key=True)
    version: int = Field(primary_key=True)
    hash: str
    plan: str = _text()
    title: str = _text()
    issue_body: str = _text()
    base: str = ""
    flagged: str = _text()
    """JSON list of allowed patterns that match nothing."""
    red_on_base: str = _text()
    """JSON list of checks that are red on the base already."""
    created_at: datetime = _moment()
    approved_by: str = ""
    approved_at: datetime | None = _maybe()


class PhaseState(SQLModel, table=True):
    """What became of one phase of the newest plan."""

    __tablename__ = "phasegate_phase"

    build_id: int = Field(foreign_key="phasegate_build.id", primary_key=True)
    number: int = Field(primary_key=True)
    older_attempt: int = 0
    """Attempts at this number up to this id were made for an older plan, at another phase."""
    base: str = ""
    """Commit below what a repair may replace: where the phase started, or what came on top of it since."""
    commit: str = ""
    """The phase's commit; the newest one after a repair."""
    judged: str = ""
    """Commit the gate judges: the phase's own, or a person's on top of it."""
    pushed_at: datetime | None = _maybe()
    reruns: int = 0
    """How often its red checks were run again before a repair was paid."""
    summary: str = _text()
    decisions: str = _text()
    """JSON list of sentences."""
    verdict: str = _text()
    """The gate's newest verdict as JSON."""
    released_by: str = ""
    release_reason: str = _text()
    finished_at: datetime | None = _maybe()


class Attempt(SQLModel, table=True):
    """One try at a phase, at planning or at verification."""

    __tablename__ = "phasegate_attempt"

    id: int | None = Field(default=None, primary_key=True)
    build_id: int = Field(foreign_key="phasegate_build.id", index=True)
    kind: str
    phase: int = 0
    number: int = 1
    """Counts within its phase (or its kind, for plan and verify)."""
    model: str
    base: str = ""
    conversation: int = 1
    header: str = _text()
    """The frozen request header as JSON text: system, tools, model, effort, limits."""
    opening: str = _text()
    """The first user message, as JSON text of its content."""
    follows: int | None = None
    """The earlier attempt whose edits this one starts from; they are read from its journal."""
    finish: str = _text()
    """The accepted result of its last tool call, as JSON."""
    commit: str = ""
    """Commit object made for it, possibly before the branch moved."""
    runs: int = 0
    """How often it was handed to the engine; makes each engine run's name unique."""
    resumes_at: datetime | None = _maybe()
    """When a waiting attempt goes on by itself."""
    waits: int = 0
    """How often in a row it waited for something that heals by itself."""
    outcome: str = ""
    """Empty while it runs; then done, failed or stopped."""
    failure: str = ""
    detail: str = _text()
    wasted_usd: Decimal = _usd()
    """Paid for replies that never arrived whole."""
    created_at: datetime = _moment()
    started_at: datetime | None = _maybe()
    first_request_at: datetime | None = _maybe()
    ended_at: datetime | None = _maybe()


class Turn(SQLModel, table=True):
    """One paid model call and the tool results that follow it: the journal."""

    __tablename__ = "phasegate_turn"

    attempt_id: int = Field(foreign_key="phasegate_attempt.id", primary_key=True)
    conversation: int = Field(primary_key=True)
    n: int = Field(primary_key=True)
    reply: str = _text()
    """The assistant message as the JSON text it was."""
    results: str | None = _text(nullable=True)
    """The user message that answers it, as JSON text; None until the tools ran."""
    stop_reason: str = ""
    cut: bool = False
    request_hash: str = ""
    request_id: str = ""
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cost_usd: Decimal = _usd()
    created_at: datetime = _moment()


class Move(SQLModel, table=True):
    """One move of a build: the story, in order."""

    __tablename__ = "phasegate_move"

    id: int | None = Field(default=None, primary_key=True)
    build_id: int = Field(foreign_key="phasegate_build.id", index=True)
    at: datetime = _moment()
    before: str
    after: str
    trigger: str
    by: str
    """A login, `delivery <guid>`, `timer` or `attempt <id>`."""
    detail: str = _text()


class Notice(SQLModel, table=True):
    """One comment of ours: what it shall say, and whether it says so yet; the outbox."""

    __tablename__ = "phasegate_notice"

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True, max_length=200)
    build_id: int | None = Field(default=None, foreign_key="phasegate_build.id", index=True)
    installation_id: int
    repository_id: int
    repository: str
    issue: int
    body: str = _text()
    revision: int = 1
    posted: int = 0
    """The revision GitHub shows."""
    comment_id: int | None = None
    begun: bool = False
    """A create may have reached GitHub; look for it before the next."""
    tries: int = 0
    not_before: datetime | None = _maybe()
    error: str = _text()
    created_at: datetime = _moment()
