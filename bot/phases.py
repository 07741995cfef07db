"""The phase attempt and its repair: written inside a contract, committed through the API, gated by CI."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any

import structlog
from sqlmodel import Session

from bot import (
    agent,
    builds,
    comments,
    commits,
    evidence,
    following,
    jobs,
    outbox,
    prompts,
    records,
    sanitize,
    scope,
    store,
)
from bot.errors import AttemptFailed, BotError, FailureKind, Moved, UserError
from bot.github_facts import PullFacts
from bot.jobs import Job
from bot.parts import Parts
from bot.plans import Phase, Plan
from bot.scope import Contract
from bot.states import State, Trigger
from bot.tables import now
from bot.tools import WRITING, Toolbox
from bot.workshop import apply_earlier, bring, close_workspace, open_workspace
from bot.workspace import Workspace

_log = structlog.get_logger(__name__)


async def run(parts: Parts, attempt_id: int) -> None:
    """Write one phase, or repair it, and push it as one commit; AttemptFailed says why not."""
    job = await parts.database.run(jobs.read, parts, attempt_id)
    plan = job.plan
    if plan is None or not 1 <= job.attempt.phase <= len(plan.phases):
        raise AttemptFailed(FailureKind.BUG, "The plan has no such phase.")
    if await _adopt(parts, job) or await following.follow(parts, job.build, job.attempt):
        return
    found = await _why_red(parts, job)
    if found is None or await _freshen(parts, job):
        return
    workspace = await open_workspace(parts, job.build, job.attempt)
    try:
        kept, granted = await apply_earlier(parts, workspace, job.attempt)
        contract = _regrant(_contract(job, plan), granted)
        toolbox = Toolbox(workspace, "finish_phase", lambda _given: [], contract)
        toolbox.finish = lambda given: _judge(given, toolbox, parts)
        task = await _task(job, plan, workspace, kept, found)
        attempt = await jobs.freeze(parts, job, system=prompts.fill("phase"), tools=WRITING, task=task)
        result = await agent.converse(parts, attempt, toolbox, job.limits)
        ways = await commits.collect(parts, job, workspace, toolbox.contract or contract)
    finally:
        await close_workspace(parts, workspace, job.attempt)
    try:
        commit = await commits.push(parts, job, ways, result)
    except Moved as error:
        # A person pushed meanwhile: their commits are judged first, and the edits are kept.
        if await following.follow(parts, job.build, job.attempt):
            return
        raise AttemptFailed(FailureKind.CONFLICT, str(error)) from error
    await _settle(parts, job, result, commit)


async def _why_red(parts: Parts, job: Job) -> str | None:
    """Return what a repair that begins is told; None, and back to the gate, where CI is no longer red."""
    phase = next((p for p in job.phases if p.number == job.attempt.phase), None)
    if job.attempt.kind != "repair" or job.attempt.header or phase is None:
        return ""
    found = await evidence.gather(parts, job.build, phase)
    if not found:
        await parts.database.run(following.reopen, parts, job.attempt, why="CI is no longer red.")
    return found or None


async def _freshen(parts: Parts, job: Job) -> bool:
    """Bring the branch up to date before a phase begins, where the policy says so; whether that is judged first."""
    if job.attempt.kind != "phase" or job.attempt.header or job.rules.update_branch != "before_phase":
        return False
    return await following.freshen(parts, job.build, job.attempt)


async def _adopt(parts: Parts, job: Job) -> bool:
    """Take over what an earlier attempt pushed in the moment it was stopped; whether there was such a commit.

    Also for `/retry`: what is there is finished and paid, and its checks decide.
    """
    own = await parts.database.ask(store.attempts_at, job.build.id or 0, job.attempt.phase)
    noted = {a.commit for a in own if a.outcome == "done"}
    made = [a for a in own if a.commit and a.outcome and a.commit not in noted]
    for earlier in reversed(made):
        if await parts.repository(job.build).holds(job.build.branch, earlier.commit):
            await _settle(parts, job, json.loads(earlier.finish), earlier.commit)
            return True
    return False


async def _settle(parts: Parts, job: Job, result: Mapping[str, Any], commit: str) -> None:
    """See to the pull request, note the commit and wait for CI."""
    pull = await _open_pull(parts, job)
    await parts.database.run(_committed, parts, job, result, commit, pull)
    await _follow_up(parts, job, pull)


def _contract(job: Job, plan: Plan) -> Contract:
    number = job.attempt.phase
    phase = plan.phases[number - 1]
    owners = {
        pattern: other
        for other, item in reversed(list(enumerate(plan.phases, start=1)))
        if other != number
        for pattern in item.allowed_paths
    }
    return Contract(
        allowed=phase.allowed_paths,
        owners=owners,
        line_cap=job.rules.line_cap,
        grow=job.rules.scope_grow,
        siblings=job.rules.scope_siblings,
        protected=job.rules.protected,
        allowed_by_person=store.read_paths(job.build.granted, number),
        expects_tests=phase.expects_tests and job.attempt.kind == "phase",
    )


def _regrant(contract: Contract, paths: tuple[str, ...]) -> Contract:
    """Return the contract with the further paths that earlier attempts were granted, as far as it still allows."""
    for path in paths:
        with contextlib.suppress(UserError):
            contract = scope.grant(path, contract)
    return contract


def _judge(given: Mapping[str, Any], toolbox: Toolbox, parts: Parts) -> list[str]:
    """Return why a phase may not finish yet."""
    contract, workspace = toolbox.contract, toolbox.workspace
    if contract is None:
        return ["There is no contract."]
    problem = scope.commit_message_problem(given.get("commit_subject", ""), given.get("commit_body", ""))
    reasons = [problem] if problem else []
    changes = workspace.changes()

    def contents(path: str) -> tuple[str | None, str | None]:
        return workspace.content_at_base(path), workspace.content(path)

    return reasons + scope.review(
        changes, contract, contents, paths=workspace.paths(), secrets=parts.settings.secrets
    )


async def _task(job: Job, plan: Plan, workspace: Workspace, kept: list[str], found: str) -> str:
    number = job.attempt.phase
    phase = plan.phases[number - 1]
    version = job.version
    common: dict[str, Any] = {
        "number": number,
        "total": len(plan.phases),
        "phase": phase,
        "line_cap": job.rules.line_cap,
        "turns": job.rules.max_turns,
        "finished": jobs.finished(job, before=number),
        "instructions": await jobs.instructions(workspace, job),
        "files": await asyncio.to_thread(jobs.read_files, workspace, _relevant(plan, number)),
        "kept": "\n".join(f"- {path}" for path in kept),
    }
    if job.attempt.kind == "repair":
        return prompts.fill("repair-task", evidence=found, **common)
    return prompts.fill(
        "phase-task",
        requirements=[item for item in plan.requirements if item.id in phase.serves],
        title=sanitize.clean(version.title if version else ""),
        body=sanitize.clean(version.issue_body if version else ""),
        later=[f"{later.title}: {', '.join(later.deliverables)}" for later in plan.phases[number:]],
        **common,
    )


def _relevant(plan: Plan, number: int) -> list[str]:
    """Return the files a phase integrates with: its own deliverables, then those of the phase before."""
    before: tuple[Phase, ...] = plan.phases[max(number - 2, 0) : number - 1]
    paths = [*plan.phases[number - 1].paths(), *(path for phase in before for path in phase.paths())]
    return list(dict.fromkeys(paths))


async def _open_pull(parts: Parts, job: Job) -> PullFacts:
    """Return the build's pull request, opened as a draft with its first commit."""
    repository, build = parts.repository(job.build), job.build
    if build.pull_request is not None:
        return await repository.pull(build.pull_request)
    title = comments.pull_title(job.version.title if job.version else f"Issue {build.issue}")
    body = await parts.database.run(_pull_body, parts, job)
    return await repository.open_pull(
        branch=build.branch, base=build.base_branch, title=title, body=body, draft=job.rules.draft
    )


def _pull_body(db: Session, parts: Parts, job: Job) -> str:
    build = store.build(db, job.build.id or 0)
    url = records.repository_url(parts, build)
    return outbox.clean(parts, comments.pull_body(records.record(db, parts, build), repository_url=url))


def _committed(
    db: Session, parts: Parts, job: Job, result: Mapping[str, Any], commit: str, pull: PullFacts
) -> None:
    """Note the commit, end the attempt and wait for CI, in one transaction."""
    build = store.build(db, job.build.id or 0)
    attempt = store.attempt(db, job.attempt.id or 0)
    if build.attempt != attempt.id or build.state != State.RUNNING:
        return
    phase = store.phase(db, build.id or 0, attempt.phase)
    phase.base = phase.base or attempt.base
    phase.commit, phase.judged, phase.pushed_at = commit, "", now()
    phase.reruns = 0
    phase.verdict = ""
    if attempt.kind == "phase" or not phase.summary:
        phase.summary = result["summary"]
    phase.decisions = json.dumps([*store.read_list(phase.decisions), *result["decisions"]])
    build.head, build.pull_request = commit, pull.number
    build.pull_opened_at = build.pull_opened_at or now()
    attempt.commit, attempt.finish = commit, store.dump(result)
    builds.end_attempt(db, attempt, "done")
    builds.advance(db, parts, build, Trigger.COMMITTED, by=f"attempt {attempt.id}", detail=commit)


async def _follow_up(parts: Parts, job: Job, pull: PullFacts) -> None:
    """Do what makes the next step quick and the draft readable; none of it may fail the phase."""
    try:
        build = await parts.database.ask(store.build, job.build.id or 0)
        await bring(parts, build, build.head, build.branch)
        body = await parts.database.run(_pull_body, parts, job)
        await parts.repository(build).edit_pull(pull.number, body=body)
    except BotError as error:
        _log.warning("follow-up left out", build=job.build.id, error=str(error))
