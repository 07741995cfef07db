"""From a finished workspace to a commit on the branch: the message, the objects, the compare-and-swap."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from sqlmodel import Session

from bot import sanitize, scope, store
from bot.errors import AttemptFailed, Denied, FailureKind, Moved, Rejected
from bot.github_facts import FileChange
from bot.jobs import Job
from bot.parts import Parts
from bot.scope import Contract
from bot.slugs import branch_name, free_name
from bot.workshop import bring
from bot.workspace import Workspace

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Way:
    """One way to put the result on the branch: a commit on `parent`, which may replace a red one."""

    files: Mapping[str, FileChange | None]
    parent: str
    base_tree: str
    tree: str
    scope_grown: tuple[str, ...]
    replaces: bool = False


async def collect(parts: Parts, job: Job, workspace: Workspace, contract: Contract) -> list[Way]:
    """Return the ways to commit the result, the wanted one first; AttemptFailed where it leaves the contract.

    A repair replaces its phase's red commit where the policy says so and nobody pushed on top of it; where GitHub
    refuses the force, it is appended.
    """
    below = _replaced(job)
    ways = [await asyncio.to_thread(_collect, workspace, contract, "")]
    if below:
        await bring(parts, job.build, below, job.build.branch)
        ways.insert(0, await asyncio.to_thread(_collect, workspace, contract, below))
    return ways


def _replaced(job: Job) -> str:
    """Return the commit below the red one that a repair replaces; nothing where it is to be appended."""
    phase = next((p for p in job.phases if p.number == job.attempt.phase), None)
    if job.attempt.kind != "repair" or job.rules.repair_style != "replace" or phase is None:
        return ""
    # A person's commit on top is never overwritten, nor one below the phase.
    own = phase.commit == job.build.head and phase.judged in ("", phase.commit)
    return phase.base if own else ""


def _collect(workspace: Workspace, contract: Contract, below: str) -> Way:
    """Return the change as the trees say it, not as the tools were told; against `below` where given."""
    tree = workspace.tree()
    outside = [c.path for c in workspace.changes() if scope.refusal(c.path, contract, workspace.paths())]
    if outside:
        touched = ", ".join(outside)
        raise AttemptFailed(FailureKind.SCOPE, f"The change touches {touched}.", paths=" ".join(outside))
    files: dict[str, FileChange | None] = {}
    for change in workspace.changes(below or None):
        gone = change.status == "D"
        files[change.path] = None if gone else FileChange(change.new_mode, workspace.blob(change.new_sha))
    return Way(
        files,
        parent=below or workspace.commit,
        base_tree=workspace.tree_of(below) if below else workspace.base_tree,
        tree=tree,
        scope_grown=contract.granted,
        replaces=bool(below),
    )


async def push(parts: Parts, job: Job, ways: list[Way], result: Mapping[str, Any]) -> str:
    """Make the commit and move the branch to it; what was done before a crash is found and not done again.

    Raises Moved where the branch is not where we left it, AttemptFailed where GitHub refuses the commit.
    """
    for way in ways[:-1]:
        try:
            return await _push(parts, job, way, result)
        except (Rejected, Denied) as error:
            _log.info("force refused", build=job.build.id, error=str(error))
            job.attempt.commit = await parts.database.run(_forget_commit, job.attempt.id)
    try:
        return await _push(parts, job, ways[-1], result)
    except Rejected as error:
        raise AttemptFailed(FailureKind.DENIED, f"GitHub refused the commit: {error}") from error


async def _push(parts: Parts, job: Job, way: Way, result: Mapping[str, Any]) -> str:
    repository, build, attempt = parts.repository(job.build), job.build, job.attempt
    commit = attempt.commit
    if not commit:
        commit = await repository.commit_files(
            parent=way.parent,
            base_tree=way.base_tree,
            files=way.files,
            message=sanitize.redact(
                await parts.database.ask(message, job, result, way), parts.settings.secrets
            ),
            expected_tree=way.tree,
        )
        await parts.database.run(_keep_commit, attempt.id, commit, result)
    if not build.head:
        await _begin_branch(parts, job, commit)
        return commit
    if way.replaces:
        kept = f"refs/phasegate/build-{build.id}/phase-{attempt.phase}/attempt-{attempt.id}"
        await repository.point_ref(kept, build.head)
    await repository.move_branch(build.branch, before=build.head, after=commit, force=way.replaces)
    return commit


async def _begin_branch(parts: Parts, job: Job, commit: str) -> None:
    """Make the build's branch at its first commit; where one of that name is left over, under the next free name."""
    repository, tried = parts.repository(job.build), set[str]()
    while True:
        try:
            await repository.create_branch(job.build.branch, commit)
            return
        except Moved as error:
            if await repository.holds(job.build.branch, commit):
                # Made before a crash; a person pushed on top since, and the gate will see that.
                return
            _log.info("branch left over", build=job.build.id, error=str(error))
            tried.add(job.build.branch)
            job.build.branch = await parts.database.run(_rename, job, tried)


def _rename(db: Session, job: Job, tried: set[str]) -> str:
    build = store.build(db, job.build.id or 0)
    root = branch_name(build.issue, job.version.title if job.version else "")
    build.branch = free_name(root, tried | store.branches(db, build.repository_id))
    return build.branch


def _keep_commit(db: Session, attempt_id: int | None, commit: str, result: Mapping[str, Any]) -> None:
    attempt = store.attempt(db, attempt_id or 0)
    attempt.commit, attempt.finish = commit, store.dump(result)


def _forget_commit(db: Session, attempt_id: int | None) -> str:
    store.attempt(db, attempt_id or 0).commit = ""
    return ""


def message(db: Session, job: Job, result: Mapping[str, Any], way: Way) -> str:
    """Return the commit message: subject, why, decisions, then the trailers."""
    version, attempt, plan = job.version, job.attempt, job.plan
    told = _told(db, job, result) if way.replaces else [result]
    body = [part["commit_body"].strip() for part in told]
    decisions = [item for part in told for item in part["decisions"]]
    if decisions:
        body.append("Decisions:\n" + "\n".join(f"- {item}" for item in decisions))
    if way.scope_grown:
        body.append("Scope grown by: " + ", ".join(way.scope_grown))
    cost = store.cost_of_attempt(db, attempt.id or 0)
    trailers = [
        f"Phasegate-Build: {job.build.id}",
        f"Phasegate-Phase: {attempt.phase}/{len(plan.phases) if plan else 0}",
        f"Phasegate-Plan: v{version.version} {version.hash[:7]}" if version else "",
        f"Phasegate-Attempt: {attempt.id}",
        f"Phasegate-Model: {attempt.model}",
        f"Phasegate-Cost: ${cost:.4f}",
    ]
    subject = told[0]["commit_subject"].strip()
    # A model chose all of it, the paths too; only the trailers are ours.
    chosen = scope.clean_message("\n\n".join([subject, *(part for part in body if part)])).strip()
    return "\n\n".join([chosen, "\n".join(filter(None, trailers))])


def _told(db: Session, job: Job, result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what the replaced attempts said when they finished, in order: one commit stands for all."""
    own = store.attempts_at(db, job.build.id or 0, job.attempt.phase)
    pushed = {a.commit: a for a in own if a.outcome == "done" and a.commit}
    below = _replaced(job)
    told, commit = [result], job.build.head
    while commit != below and (earlier := pushed.get(commit)) is not None:
        told.insert(0, store.read_object(earlier.finish))
        commit = earlier.base
    return told
