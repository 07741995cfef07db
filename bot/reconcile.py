"""Asks GitHub how things stand and feeds the answer to advance(): by event, by timer and at start-up."""

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlmodel import Session

from bot import builds, comments, evidence, following, gate, outbox, records, store, verdicts
from bot.engine import RECOVERIES, Fate
from bot.errors import AttemptFailed, BotError, Denied, FailureKind, Missing, Rejected, Transient
from bot.evidence import Case
from bot.gate import Observation, Verdict
from bot.github import Repository
from bot.parts import Parts
from bot.reports import WorkflowRun
from bot.results import Outcome, names
from bot.states import State
from bot.tables import now

_REDELIVERY = timedelta(days=3)
"""GitHub redelivers no further back."""
_OVERLAP = timedelta(minutes=10)

_log = structlog.get_logger(__name__)

_GATED = (State.RUNNING, State.AWAITING_CHECKS, State.VERIFYING)
"""States in which the head of the branch is what the build waits for or builds on."""
_MENDABLE = (
    FailureKind.CHECKS_RED,
    FailureKind.CHECKS_NONE,
    FailureKind.CHECKS_TIMEOUT,
    FailureKind.CONFLICT,
)
"""Pauses at a gate that a person's push may end."""


async def look(parts: Parts, build_id: int, *, by: str = "timer") -> None:
    """Judge the gate of the branch's head, and move where the verdict says so; what was not told is asked again.

    One look at a time: what another one is about to do would look undone.
    """
    async with _alone(parts, build_id):
        await _look(parts, build_id, by)


def _alone(parts: Parts, build_id: int) -> asyncio.Lock:
    return parts.looking.setdefault(build_id, asyncio.Lock())


async def _look(parts: Parts, build_id: int, by: str) -> None:
    case = await parts.database.ask(_case, parts, build_id)
    if case is None:
        return
    try:
        await _judge(parts, case, by)
    except Transient as error:
        _log.warning("gate unread", build=build_id, error=str(error))
        await parts.database.run(_look_again, parts, build_id, error.retry_after or case.rules.poll)
    except BotError as error:
        _log.warning("gate unread", build=build_id, error=str(error))
        await parts.database.run(_unread, parts, case, str(error), by)


async def _judge(parts: Parts, case: Case, by: str) -> None:
    seen = await evidence.observe(parts, case)
    verdict, again = gate.judge(seen, case.previous, case.rules, now())
    build_id, number = case.build.id or 0, case.phase.number
    _log.info("verdict", build=build_id, sha=verdict.sha, outcome=verdict.outcome, reason=verdict.reason)
    if case.build.state == State.DONE:
        await _look_back(parts, case, verdict)
    elif verdict.outcome is Outcome.MOVED:
        await following.follow_head(parts, case.build, seen.head, by=by)
    elif case.build.state != State.AWAITING_CHECKS:
        await parts.database.run(verdicts.reconsider, parts, build_id, number, verdict, at=now(), by=by)
    elif await _run_again(parts, case, seen, verdict):
        await parts.database.run(_look_again, parts, build_id, case.rules.poll)
    else:
        await parts.database.run(verdicts.conclude, parts, build_id, number, verdict, again, by=by)


async def _look_back(parts: Parts, case: Case, verdict: Verdict) -> None:
    """Say of a finished build that its checks turned red, as long as its pull request is open."""
    number = case.build.pull_request
    if verdict.outcome is not Outcome.RED or number is None:
        return
    if (await parts.repository(case.build).pull(number)).state == "open":
        await parts.database.run(verdicts.say_red_after, parts, case.build.id or 0, verdict)


async def look_by_timer(parts: Parts, build_id: int, number: int) -> None:
    """Look at a gate when its timer fires, unless a newer timer was set."""
    async with _alone(parts, build_id):
        build = await parts.database.ask(store.build, build_id)
        if build.look == number:
            await _look(parts, build_id, "timer")


def _case(db: Session, parts: Parts, build_id: int) -> Case | None:
    """Return the case of the phase whose commit is the head of the branch; None where no gate answers for it."""
    build = store.build(db, build_id)
    done = build.state == State.DONE and store.notice(db, verdicts.red_after_key(build)) is None
    if build.state not in _GATED and not done:
        return None
    phase = builds.judged_phase(db, build)
    if phase is None or verdicts.judged(phase) != build.head:
        return None
    return evidence.case_of(db, parts, build, phase)


def _unread(db: Session, parts: Parts, case: Case, problem: str, by: str) -> None:
    """Judge a commit of which GitHub refused to tell us, so that this does not go on for ever in silence."""
    sha = verdicts.judged(case.phase)
    seen = Observation(sha, None, pushed_at=now(), own_app_id=0, complete=False, problem=problem)
    verdict, again = gate.judge(seen, case.previous, case.rules, now())
    verdicts.conclude(db, parts, case.build.id or 0, case.phase.number, verdict, again, by=by)


def _look_again(db: Session, parts: Parts, build_id: int, wait: float) -> None:
    build = store.build(db, build_id)
    if build.state == State.AWAITING_CHECKS:
        builds.schedule_look(db, parts, build, wait)


async def _run_again(parts: Parts, case: Case, seen: Observation, verdict: Verdict) -> bool:
    """Run red or interrupted workflow runs once more before anything is paid or asked; whether to wait for that.

    Only where the App was granted it, which the manifest does not ask for.
    """
    runs = [] if case.phase.reruns else _to_run_again(case, seen, verdict)
    repository = parts.repository(case.build)
    if not runs or not await repository.may_rerun():
        return False
    if any(run.status != "completed" for run in runs):
        # GitHub runs nothing again that has not come to its end.
        return (now() - seen.pushed_at).total_seconds() < case.rules.timeout
    if not await parts.database.run(_claim_rerun, case, verdict, runs):
        return True
    done = [await _rerun(repository, run) for run in runs]
    return any(done)


def _to_run_again(case: Case, seen: Observation, verdict: Verdict) -> list[WorkflowRun]:
    """Return the runs behind what is red or ended without a result; none where running them again cannot help."""
    if verdict.outcome not in (Outcome.RED, Outcome.INTERRUPTED):
        return []
    keys = {r.key for r in verdict.results if r.outcome is verdict.outcome and r.name not in case.base_red}
    suites = {f"check:{check.id}": check.suite_id for check in seen.checks}
    found = {key: [run for run in seen.runs if run.key == key] for key in keys}
    found |= {key: [r for r in seen.runs if r.suite_id == suites[key]] for key in keys & suites.keys()}
    if not all(found.values()):
        return []  # another App's check stays as it is, whatever Actions say
    return list({run.id: run for runs in found.values() for run in runs}.values())


async def _rerun(repository: Repository, run: WorkflowRun) -> bool:
    try:
        await repository.rerun_failed(run.id)
    except (Denied, Missing, Rejected) as error:
        _log.info("no re-run", run=run.id, error=str(error))
        return False
    return True


def _claim_rerun(db: Session, case: Case, verdict: Verdict, runs: list[WorkflowRun]) -> bool:
    """Count the one re-run of a commit before it is asked for; False where another look has done so.

    The verdict remembers what is run again: until GitHub shows that, the old results look like new ones.
    """
    phase = store.phase(db, case.build.id or 0, case.phase.number)
    if phase.reruns or verdicts.judged(phase) != verdicts.judged(case.phase):
        return False
    phase.reruns = 1
    waiting = replace(
        verdict,
        outcome=Outcome.PENDING,
        reason=f"Run again: {names(run.name for run in runs)}.",
        waiting_since=now(),
        rerun=tuple(run.key for run in runs),
    )
    phase.verdict = json.dumps(gate.encode(waiting))
    return True


async def fetch_missed(parts: Parts, asked: datetime | None) -> None:
    """Ask GitHub to send again what never arrived since we last `asked`, at most three days back.

    The first time in a process that is since the newest delivery we have.
    """
    known = asked or await parts.database.ask(store.newest_delivery) or now()
    since = max(known - _OVERLAP, now() - _REDELIVERY)
    for delivery in await parts.github.missed_deliveries(since.strftime("%Y-%m-%dT%H:%M:%SZ")):
        _log.info("redelivery asked", delivery=delivery)
        await parts.github.redeliver(delivery)


async def recover(parts: Parts) -> None:
    """Find what a crash or a lost event left behind: attempts without a run, gates without a look."""
    for build in await parts.database.ask(store.working_builds):
        if build.attempt is not None:
            await _recover(parts, build.attempt)
    for build in await parts.database.ask(store.live_builds):
        if build.head and build.state in _GATED:
            parts.bells.ring_gate(build.id or 0)


async def greet(parts: Parts) -> None:
    """Say once, on each build that waits for a person, that it was found again and how to go on."""
    for build in await parts.database.ask(store.live_builds):
        if build.state == State.PAUSED:
            await parts.database.run(_found, parts, build.id or 0)


def _found(db: Session, parts: Parts, build_id: int) -> None:
    build = store.build(db, build_id)
    view = records.record(db, parts, build)
    key = f"build={build_id} found={len(view['moves'])}"
    if store.notice(db, key) is None:
        outbox.say(db, parts, build, key, comments.found(view))


async def _recover(parts: Parts, attempt_id: int) -> None:
    """Hand an attempt out again whose run is lost; one that ended the process each time is parked."""
    runs = (await parts.database.ask(store.attempt, attempt_id)).runs
    fate = await asyncio.to_thread(parts.engine.fate, attempt_id, runs)
    if fate is Fate.GONE:
        await parts.database.run(_redispatch, parts, attempt_id, runs)
    elif fate is Fate.GIVEN_UP:
        why = f"The process ended {RECOVERIES} times or more while this attempt ran."
        await parts.database.run(_park, parts, attempt_id, runs, why)


def _redispatch(db: Session, parts: Parts, attempt_id: int, runs: int) -> None:
    """Hand an attempt out again, unless it was handed out since its run was looked up."""
    attempt = store.attempt(db, attempt_id)
    build = store.build(db, attempt.build_id)
    if build.attempt == attempt_id and attempt.runs == runs:
        _log.warning("attempt without a run", build=build.id, attempt=attempt_id)
        builds.redispatch(db, parts, build)


def _park(db: Session, parts: Parts, attempt_id: int, runs: int, why: str) -> None:
    if store.attempt(db, attempt_id).runs == runs:
        builds.attempt_failed(db, parts, attempt_id, AttemptFailed(FailureKind.BUG, why))


async def notice_push(parts: Parts, build_id: int) -> None:
    """Follow what was pushed to a build's branch; one that is paused at its gate goes on with what mends it."""
    build = await parts.database.ask(store.build, build_id)
    if build.state != State.PAUSED:
        await look(parts, build_id, by="push")
    elif build.left == State.AWAITING_CHECKS and build.failure in _MENDABLE:
        head = await parts.repository(build).branch_head(build.branch)
        if head is not None and head != build.head and await following.is_ahead(parts, build, head):
            await parts.database.run(following.adopt, parts, build, head, by="push")
