"""What each verdict of the gate leads to: one reaction per row of the design's table."""

import json
from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from bot import builds, comments, gate, outbox, records, store
from bot.errors import FailureKind
from bot.gate import Verdict
from bot.parts import Parts
from bot.results import Outcome, Result
from bot.states import State, Trigger
from bot.tables import Build, PhaseState

_PAUSES = {
    Outcome.NONE: FailureKind.CHECKS_NONE,
    Outcome.TIMED_OUT: FailureKind.CHECKS_TIMEOUT,
    Outcome.UNKNOWN: FailureKind.DENIED,
}
"""Verdicts that end the wait, where they name no next look: only a person can say how to go on."""

_WAITS = (Outcome.PERSON, Outcome.INTERRUPTED, Outcome.CONFLICT)
"""Verdicts that a person must clear on GitHub; the build goes on by itself when they clear."""


def judged(phase: PhaseState) -> str:
    """Return the commit a phase's gate judges: its own, or a person's on top of it."""
    return phase.judged or phase.commit


def conclude(
    db: Session, parts: Parts, build_id: int, number: int, verdict: Verdict, again: float | None, *, by: str
) -> None:
    """Store the verdict on phase `number` and do what it says; a build that moved meanwhile is left alone."""
    build = store.build(db, build_id)
    phase = store.phase(db, build_id, number)
    if build.state != State.AWAITING_CHECKS or build.phase != number or judged(phase) != verdict.sha:
        return
    news = set(verdict.asked).difference(asked_before(phase, verdict.sha))
    phase.verdict = json.dumps(gate.encode(verdict))
    build.trusts_head = False
    poll = parts.rules(build).poll
    if verdict.outcome is Outcome.GREEN:
        last = builds.is_last(db, build)
        trigger = Trigger.LAST_CHECKS_GREEN if last else Trigger.CHECKS_GREEN
        builds.advance(db, parts, build, trigger, by=by, detail=verdict.reason)
    elif verdict.outcome is Outcome.RED:
        _red(db, parts, build, phase, verdict, by)
    elif verdict.outcome in _PAUSES and again is None:
        pause(db, parts, build, Trigger.CHECKS_STUCK, _PAUSES[verdict.outcome], verdict, by=by)
    else:
        if news:
            _ask(db, parts, build, verdict)
        builds.schedule_look(db, parts, build, again if again is not None else poll)


def asked_before(phase: PhaseState, sha: str) -> tuple[str, ...]:
    """Return what a person was asked to clear on a commit and had not cleared when it was last looked at."""
    before = gate.decode(json.loads(phase.verdict)) if phase.verdict else None
    return before.asked if before is not None and before.sha == sha else ()


def reconsider(
    db: Session, parts: Parts, build_id: int, number: int, verdict: Verdict, *, at: datetime, by: str
) -> None:
    """Reopen a gate whose verdict turned while the next work runs on its commit.

    After green, a red result counts until the next commit, anything unfinished only as long as the set had to
    settle; what a person released is left alone. A repair is stopped when nothing is red any more.
    """
    build = store.build(db, build_id)
    phase = store.phase(db, build_id, number)
    attempt = store.attempt(db, build.attempt) if build.attempt is not None else None
    if build.state not in (State.RUNNING, State.VERIFYING) or build.head != verdict.sha or phase.released_by:
        return
    if attempt is None or attempt.commit:
        return  # its commit is being pushed, and will be judged by its own checks
    if phase.finished_at is None:
        turned = bool(verdict.results) and all(r.outcome is Outcome.GREEN for r in verdict.results)
    else:
        fresh = (at - phase.finished_at).total_seconds() <= parts.rules(build).settle
        late = any(r.outcome in (Outcome.PENDING, *_WAITS) for r in verdict.results)
        turned = verdict.outcome is Outcome.RED or (fresh and late)
    if turned:
        builds.advance(db, parts, build, Trigger.CHECKS_REOPENED, by=by, detail=verdict.reason)


def _red(db: Session, parts: Parts, build: Build, phase: PhaseState, verdict: Verdict, by: str) -> None:
    """Repair a red phase while the policy allows it, unless the base is red for the same reason."""
    reds = [result.name for result in verdict.results if result.outcome is Outcome.RED]
    on_base = set(red_on_base(db, build))
    hopeless = bool(reds) and all(name in on_base for name in reds)
    if not hopeless and repairs(db, build) < parts.rules(build).repairs:
        builds.advance(db, parts, build, Trigger.REPAIR_DUE, by=by, detail=verdict.reason)
    else:
        pause(db, parts, build, Trigger.CHECKS_RED, FailureKind.CHECKS_RED, verdict, by=by)


def repairs(db: Session, build: Build) -> int:
    """Return how many repairs of the present phase were pushed, given up, or stopped after a model was asked.

    What stops them is most often a check that turned green meanwhile: one that flaps is not repaired for ever.
    """
    own = store.attempts_at(db, build.id or 0, build.phase)
    return sum(
        1 for one in own if one.kind == "repair" and (one.outcome != "stopped" or one.first_request_at)
    )


def red_on_base(db: Session, build: Build) -> list[str]:
    """Return the checks that were red on the base when the plan was made."""
    version = store.plan(db, build.id or 0)
    return [str(name) for name in store.read_list(version.red_on_base)] if version else []


def _ask(db: Session, parts: Parts, build: Build, verdict: Verdict) -> None:
    """Say what a person must do, with the link; the next look has another number, and so another comment."""
    body = comments.gate_waits(verdict.reason, links(verdict), number=build.phase)
    outbox.say(db, parts, build, f"build={build.id} gate={verdict.sha[:12]} look={build.look}", body)


def say_red_after(db: Session, parts: Parts, build_id: int, verdict: Verdict) -> None:
    """Say once, where the reviewers are, that a finished build turned red."""
    build = store.build(db, build_id)
    body = comments.red_after_done(verdict.sha, links(verdict))
    outbox.say(db, parts, build, red_after_key(build), body, issue=build.pull_request)


def red_after_key(build: Build) -> str:
    """Return the key of the comment that says so."""
    return f"build={build.id} red after done"


def pause(
    db: Session,
    parts: Parts,
    build: Build,
    trigger: Trigger,
    kind: FailureKind,
    verdict: Verdict,
    *,
    by: str,
) -> None:
    """Pause a build at its gate and say why, with the evidence."""
    if builds.advance(db, parts, build, trigger, by=by, detail=verdict.reason, failure=kind):
        records.say_paused(db, parts, build, None, evidence=links(verdict), detail=verdict.reason)


def broke(db: Session, parts: Parts, build_id: int, error: str) -> None:
    """Pause a build whose gate could not be looked at by a mistake of ours, instead of making it again and again."""
    build = store.build(db, build_id)
    why = f"{error} at the gate of phase {build.phase}."
    if builds.advance(db, parts, build, Trigger.CHECKS_STUCK, by="gate", detail=why, failure=FailureKind.BUG):
        records.say_paused(db, parts, build, None, detail=why)


def links(verdict: Verdict) -> list[tuple[str, str]]:
    """Return (name, address) of what a person should look at, worst first."""
    telling: Sequence[Result] = [
        result for result in verdict.results if result.outcome not in (Outcome.GREEN, Outcome.PENDING)
    ]
    found = [(result.name, result.url) for result in telling if result.url]
    return found or ([("Details", verdict.url)] if verdict.url else [])
