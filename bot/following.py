"""A branch is also other people's: what they push on top of ours is judged before anything is built on it."""

import re
from collections.abc import Sequence

from sqlmodel import Session

from bot import builds, comments, records, store
from bot.errors import AttemptFailed, Denied, FailureKind, Rejected
from bot.github import CommitFacts, Repository
from bot.parts import Parts
from bot.states import Trigger
from bot.tables import Attempt, Build, now

_MADE = re.compile(r"^Phasegate-Attempt: (\d{1,18})$", re.MULTILINE)
_CONFLICT = 409
_WORKFLOWS = ".github/workflows/"
"""What an App may not bring to a branch without a permission that ours does not ask for."""


async def follow(parts: Parts, build: Build, attempt: Attempt) -> bool:
    """Send a build back to its gate where a person pushed since the last green; whether that was so.

    AttemptFailed where the branch was deleted, or forced to what is not on top of ours.
    """
    if not build.head:
        return False
    head = await parts.repository(build).branch_head(build.branch)
    if head in (build.head, attempt.commit or build.head):
        return False
    if head is None:
        raise AttemptFailed(FailureKind.CONFLICT, comments.branch_gone(build.branch))
    rewritten = await _rewritten(parts, build, head)
    if rewritten is not None and not build.trusts_head:
        raise AttemptFailed(FailureKind.CONFLICT, comments.branch_forced(build.branch))
    await parts.database.run(
        adopt, parts, build, head, by=_by(attempt), attempt=attempt.id, rewritten=rewritten
    )
    return True


async def follow_head(parts: Parts, build: Build, head: str | None, *, by: str) -> None:
    """Adopt what a person pushed on top of ours; pause where the branch was forced elsewhere or deleted."""
    rewritten = await _rewritten(parts, build, head) if head is not None else None
    if head is None or (rewritten is not None and not build.trusts_head):
        await parts.database.run(_lose, parts, build, head, by=by)
    else:
        await parts.database.run(adopt, parts, build, head, by=by, rewritten=rewritten)


async def is_ahead(parts: Parts, build: Build, head: str) -> bool:
    """Whether a commit lies on top of where we left the branch."""
    return await parts.repository(build).holds(head, build.head)


async def _rewritten(parts: Parts, build: Build, head: str) -> Sequence[CommitFacts] | None:
    """Return the commits of a branch that was forced to `head`, oldest first; None where ours are all below it."""
    if await is_ahead(parts, build, head):
        return None
    return await parts.repository(build).commits(head, build.base)


async def freshen(parts: Parts, build: Build, attempt: Attempt) -> bool:
    """Merge the base branch where it moved; whether a merge commit must be judged first."""
    repository = parts.repository(build)
    if not build.head:
        return False
    if (await repository.compare(build.branch, build.base_branch)).ahead_by == 0:
        return False
    try:
        merged = await repository.merge(build.branch, build.base_branch)
    except (Rejected, Denied) as error:
        raise await _unmerged(repository, build, error) from error
    if merged is None:
        return False
    await parts.database.run(adopt, parts, build, merged, by=_by(attempt), attempt=attempt.id)
    return True


async def _unmerged(repository: Repository, build: Build, error: Rejected | Denied) -> AttemptFailed:
    """Return why the base could not be merged: a conflict, a workflow file, or what GitHub says."""
    base = build.base_branch
    theirs = await repository.changed_files(build.branch, base)
    if isinstance(error, Rejected) and error.status == _CONFLICT:
        ours = set(await repository.changed_files(base, build.branch))
        both = [path for path in theirs if path in ours]
        return AttemptFailed(FailureKind.CONFLICT, comments.base_conflicts(base, both))
    workflows = [path for path in theirs if path.startswith(_WORKFLOWS)]
    return AttemptFailed(FailureKind.DENIED, comments.base_refused(base, workflows, str(error)))


def adopt(
    db: Session,
    parts: Parts,
    seen: Build,
    head: str,
    *,
    by: str,
    attempt: int | None = None,
    rewritten: Sequence[CommitFacts] | None = None,
) -> None:
    """Take the branch's head as it is now; the gate judges it before anything is built on it.

    `seen` is the build as it was when the branch was looked at; `attempt` is the one that asks, if any does;
    `rewritten` are the branch's commits where a person forced it.
    """
    build = _unchanged(db, seen, attempt)
    if build is None or (attempt is None and _taken_over(db, build, head)):
        return
    if builds.judged_phase(db, build) is None:
        _start_from(db, parts, build, head)
    elif builds.advance(db, parts, build, Trigger.ADOPTED, by=by, detail=head):
        build.head, build.trusts_head = head, False
        if rewritten is not None:
            _stand_in(db, build, rewritten)
        phase = store.phase(db, build.id or 0, build.phase)
        phase.judged, phase.base, phase.pushed_at = head, head, now()
        phase.verdict, phase.reruns, phase.released_by = "", 0, ""
        records.refresh(db, parts, build)


def _stand_in(db: Session, build: Build, rewritten: Sequence[CommitFacts]) -> None:
    """Let commits that are on the branch stand for the phases whose own are not: amended ones, else the head."""
    on_branch = {commit.sha for commit in rewritten}
    made = {int(n): commit.sha for commit in rewritten for n in _MADE.findall(commit.message)}
    for phase in store.phases(db, build.id or 0):
        if phase.commit and phase.commit not in on_branch:
            own = [made[a.id] for a in store.attempts_at(db, build.id or 0, phase.number) if a.id in made]
            phase.commit = own[-1] if own else build.head


def reopen(db: Session, parts: Parts, attempt: Attempt, *, why: str) -> None:
    """Have the gate looked at again instead of going on with an attempt."""
    build = store.build(db, attempt.build_id)
    if build.attempt == attempt.id:
        builds.advance(db, parts, build, Trigger.CHECKS_REOPENED, by=_by(attempt), detail=why)


def _by(attempt: Attempt) -> str:
    return f"attempt {attempt.id}"


def _unchanged(db: Session, seen: Build, attempt: int | None) -> Build | None:
    """Return the build, unless it moved meanwhile or its attempt is just pushing what was seen."""
    build = store.build(db, seen.id or 0)
    if build.head != seen.head or (attempt is not None and build.attempt != attempt):
        return None
    running = store.attempt(db, build.attempt) if build.attempt is not None else None
    return None if running is not None and running.id != attempt and running.commit else build


def _taken_over(db: Session, build: Build, head: str) -> bool:
    """Whether an attempt runs that takes over this very commit, which one before it pushed as it was stopped."""
    own = store.attempts_at(db, build.id or 0, build.phase)
    return build.attempt is not None and any(one.commit == head and one.outcome != "done" for one in own)


def _start_from(db: Session, parts: Parts, build: Build, head: str) -> None:
    """Build the first phase of a new plan on what lies on the branch, which no phase's gate answers for."""
    if build.attempt is not None:
        build.head, store.attempt(db, build.attempt).base = head, head
        builds.redispatch(db, parts, build)


def _lose(db: Session, parts: Parts, seen: Build, head: str | None, *, by: str) -> None:
    build = _unchanged(db, seen, None)
    if build is None or (head is not None and _taken_over(db, build, head)):
        return
    why = comments.branch_gone(build.branch) if head is None else comments.branch_forced(build.branch)
    if builds.advance(db, parts, build, Trigger.BRANCH_LOST, by=by, detail=why, failure=FailureKind.CONFLICT):
        records.say_paused(db, parts, build, None, detail=why)
