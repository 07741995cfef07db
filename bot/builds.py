"""The only writers of `Build.state`: start(), advance() and what an ended attempt leads to."""

import json
from datetime import timedelta
from decimal import Decimal

import structlog
from sqlmodel import Session

from bot import advice, pricing, records, states, store
from bot.errors import AttemptFailed, FailureKind
from bot.parts import Parts
from bot.plans import Plan
from bot.slugs import free_name
from bot.states import State, Trigger, Work
from bot.tables import Attempt, Build, PhaseState, now

_log = structlog.get_logger(__name__)

_GREEN = (Trigger.CHECKS_GREEN, Trigger.CHECKS_RELEASED)
_LAST = (Trigger.LAST_CHECKS_GREEN, Trigger.LAST_CHECKS_RELEASED)
_STARTS_PHASES = (Trigger.APPROVED, Trigger.PLAN_ACCEPTED)
_REOPENS = (Trigger.CHECKS_REOPENED, Trigger.ADOPTED)
_NEW_WORK = (*_GREEN, *_LAST, *_STARTS_PHASES, Trigger.REVISED)
"""What follows is another piece of work: the model a person named for the one before is not meant for it."""


def start(db: Session, parts: Parts, build: Build) -> Build | None:
    """Start a build of an issue and its planning; None where the issue has a live build already."""
    if store.live_build(db, build.repository_id, build.issue) is not None:
        return None
    build.branch = free_name(build.branch, store.branches(db, build.repository_id))
    build.state = State.PLANNING
    store.add(db, build)
    _record(db, build, "", "label", by=build.opened_by)
    _begin(db, parts, build, Work.PLAN)
    records.refresh(db, parts, build)
    return build


def advance(
    db: Session,
    parts: Parts,
    build: Build,
    trigger: Trigger,
    *,
    by: str,
    detail: str = "",
    failure: FailureKind | None = None,
    model: str = "",
    fresh: bool = False,
    delay: float = 0.0,
) -> bool:
    """Move a build, append the move to its story and start what follows, in the caller's transaction.

    Returns False, and changes nothing, where the trigger no longer applies. `model` overrides the model of the
    work that starts and `fresh` leaves the edits of earlier attempts behind; `delay` is in seconds; `failure` is
    remembered while the build is paused.
    """
    before = State(build.state)
    move = states.move(before, trigger)
    if move is None:
        _log.info("no move", build=build.id, state=before, trigger=trigger, by=by)
        return False
    if move.starts is not Work.SAME:
        _leave(db, parts, build, move.to)
    if trigger in _STARTS_PHASES:
        _enter_plan(db, build)
        fresh = True
    _count_phases(db, build, trigger)
    build.state = move.to
    build.left = before if move.to is State.PAUSED else ""
    build.trusts_head = build.trusts_head and (before is State.PAUSED or move.starts is Work.SAME)
    build.failure = failure or ""
    if move.to not in states.LIVE:
        build.ended_at = now()
    _record(db, build, before, trigger, by=by, detail=detail)
    if move.starts is not None:
        _begin(db, parts, build, move.starts, model=model, fresh=fresh, delay=delay)
    records.refresh(db, parts, build)
    return True


def end_attempt(db: Session, attempt: Attempt, outcome: str, *, failure: str = "", detail: str = "") -> None:
    """Note how an attempt ended."""
    attempt.outcome, attempt.failure, attempt.detail, attempt.ended_at = outcome, failure, detail, now()
    db.add(attempt)


def attempt_failed(db: Session, parts: Parts, attempt_id: int, error: AttemptFailed) -> None:
    """Record a failed attempt: it waits where waiting heals, else the build is paused with advice."""
    attempt = store.attempt(db, attempt_id)
    build = store.build(db, attempt.build_id)
    if build.attempt != attempt_id or build.state not in states.WORKING:
        return
    by = f"attempt {attempt_id}"
    wait = advice.delay(error.kind, attempt.waits, error.retry_after)
    if wait is not None:
        attempt.waits += 1
        attempt.resumes_at = now() + timedelta(seconds=wait)
        why = f"{error.kind}: {error.detail}"
        advance(db, parts, build, Trigger.ATTEMPT_WAITS, by=by, detail=why, delay=wait)
        return
    end_attempt(db, attempt, "failed", failure=error.kind, detail=error.detail)
    advance(db, parts, build, Trigger.ATTEMPT_FAILED, by=by, detail=error.detail, failure=error.kind)
    records.say_paused(db, parts, build, attempt, paths=error.paths, retry_after=error.retry_after)


def redispatch(db: Session, parts: Parts, build: Build) -> None:
    """Hand the attempt of a working build to the engine again, after its run was lost."""
    if build.attempt is not None and build.state in states.WORKING:
        _enqueue(db, parts, build, store.attempt(db, build.attempt), 0.0)


def schedule_look(db: Session, parts: Parts, build: Build, delay: float) -> None:
    """Have the gate looked at `delay` seconds from now; timers set before no longer count."""
    build.look += 1
    parts.engine.enqueue_look(db, _id(build), build.look, delay)


def newest_plan(db: Session, build: Build) -> Plan:
    """Return the newest version of a build's plan."""
    version = store.plan(db, _id(build))
    if version is None:
        raise LookupError(f"Build {build.id} has no plan.")
    return Plan.model_validate_json(version.plan)


def judged_phase(db: Session, build: Build) -> PhaseState | None:
    """Return the newest phase with a commit, whose gate answers for the branch's head; None before the first."""
    pushed = [p for p in store.phases(db, _id(build)) if p.commit and p.number <= build.phase]
    return pushed[-1] if pushed else None


def is_last(db: Session, build: Build) -> bool:
    """Whether the present phase is the last of the plan."""
    return build.phase >= len(newest_plan(db, build).phases)


def spent(db: Session, build: Build) -> Decimal:
    """Return what the build has cost so far in USD."""
    return store.cost(db, _id(build))


def _id(build: Build) -> int:
    if build.id is None:
        raise LookupError("The build is not stored yet.")
    return build.id


def _record(db: Session, build: Build, before: str, trigger: str, *, by: str, detail: str = "") -> None:
    store.add_move(db, _id(build), before, build.state, trigger, by, detail)
    _log.info("move", build=build.id, before=before, after=build.state, trigger=trigger, by=by)


def _leave(db: Session, parts: Parts, build: Build, to: State) -> None:
    """End the attempt that still runs when the build moves on without its word."""
    if build.attempt is None:
        return
    attempt = store.attempt(db, build.attempt)
    if not attempt.outcome:
        end_attempt(db, attempt, "stopped", failure=FailureKind.STOPPED, detail=f"The build became {to}.")
        number = build.attempt
        store.after_commit(db, lambda: parts.engine.stop_attempt(number))
    build.attempt = None


def _enter_plan(db: Session, build: Build) -> None:
    """Go to the first phase of the newest plan that is not finished; what an older plan put there is forgotten."""
    build.phase = 1 + sum(1 for phase in store.phases(db, _id(build)) if phase.finished_at)
    store.renew_phases(db, _id(build), build.phase)
    granted = store.read_object(build.granted)
    build.granted = json.dumps({n: paths for n, paths in granted.items() if int(n) < build.phase})


def _count_phases(db: Session, build: Build, trigger: Trigger) -> None:
    """Finish the present phase and step to the next, or back to it, where the trigger says so."""
    if trigger in _REOPENS and (back := judged_phase(db, build)) is not None:
        build.phase, back.finished_at = back.number, None
    if trigger in _GREEN or trigger in _LAST:
        store.phase(db, _id(build), build.phase).finished_at = now()
    if trigger in _GREEN:
        build.phase += 1
    if trigger is Trigger.GATE_RESUMED:
        # The clock starts anew: what timed out before has its time again.
        store.phase(db, _id(build), build.phase).verdict = ""


def _begin(
    db: Session,
    parts: Parts,
    build: Build,
    work: Work,
    *,
    model: str = "",
    fresh: bool = False,
    delay: float = 0.0,
) -> None:
    if work is Work.GATE:
        schedule_look(db, parts, build, delay)
        number = _id(build)
        store.after_commit(db, lambda: parts.bells.ring_gate(number))
    elif work is Work.SAME and build.attempt is not None:
        _enqueue(db, parts, build, store.attempt(db, build.attempt), delay)
    else:
        attempt = _new_attempt(db, parts, build, work, model, fresh=fresh)
        build.attempt = attempt.id
        _enqueue(db, parts, build, attempt, delay)


def _new_attempt(db: Session, parts: Parts, build: Build, work: Work, model: str, *, fresh: bool) -> Attempt:
    phase = build.phase if work in (Work.PHASE, Work.REPAIR) else 0
    kinds = ("phase", "repair") if phase else (work.value,)
    earlier = [a for a in store.attempts(db, _id(build)) if a.phase == phase and a.kind in kinds]
    last = earlier[-1] if earlier else None
    kept = (
        not fresh and last is not None and last.kind == work.value and last.outcome in ("failed", "stopped")
    )
    return store.add(  # type: ignore[no-any-return]
        db,
        Attempt(
            build_id=_id(build),
            kind=work.value,
            phase=phase,
            number=len(earlier) + 1,
            model=model or _named(db, build) or _model(parts, build, work),
            base=build.head or ("" if work is Work.PLAN else build.base),
            follows=last.id if kept and last else None,
        ),
    )


def named(model: str) -> str:
    """Return the detail of a move by which a person named a model for the work at hand."""
    return f"model={model}" if model else ""


def _named(db: Session, build: Build) -> str:
    """Return the model a person named for the present piece of work; it holds until that is finished."""
    for move in reversed(store.moves(db, _id(build))):
        if move.trigger in _NEW_WORK:
            break
        given = move.detail.removeprefix("model=")
        if given != move.detail and pricing.known(given):
            return given
    return ""


def _model(parts: Parts, build: Build, work: Work) -> str:
    rules = parts.rules(build)
    by_work = {Work.PLAN: rules.planner_model, Work.VERIFY: rules.verifier_model}
    return by_work.get(work, rules.executor_model)


def _enqueue(db: Session, parts: Parts, build: Build, attempt: Attempt, delay: float) -> None:
    attempt.runs += 1
    if attempt.id is not None:
        parts.engine.enqueue_attempt(db, attempt.id, attempt.runs, build.installation_id, delay)


def release(build: Build, *, check: str, by: str, reason: str) -> None:
    """Note that a person took responsibility for a check, or for the present phase's gate as a whole."""
    entry = {"check": check, "phase": build.phase, "by": by, "reason": reason}
    build.released = json.dumps([*store.read_list(build.released), entry])
