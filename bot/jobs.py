"""What every kind of attempt begins with: its facts read once, its first message frozen."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlmodel import Session

from bot import agent, pricing, records, sanitize, store
from bot.agent import Limits
from bot.errors import UserError
from bot.parts import Parts
from bot.plans import Plan
from bot.policy import Rules
from bot.tables import Attempt, Build, PhaseState, PlanVersion, now
from bot.turns import Header
from bot.workspace import Workspace

_MAX_TOKENS = 32_000
_FILES_BUDGET = 40_000
"""Characters of file contents given along with a task."""


@dataclass(frozen=True)
class Job:
    """The facts of one attempt, read in one transaction."""

    build: Build
    attempt: Attempt
    rules: Rules
    version: PlanVersion | None
    plan: Plan | None
    phases: tuple[PhaseState, ...]
    spent: Decimal
    spent_on_phase: Decimal

    @property
    def limits(self) -> Limits:
        """What this attempt may still use up."""
        return Limits(
            turns=self.rules.max_turns,
            phase_usd=self.rules.phase_budget - self.spent_on_phase,
            build_usd=self.rules.build_budget - self.spent,
        )


def read(db: Session, parts: Parts, attempt_id: int) -> Job:
    """Return the facts of an attempt and note that it has begun."""
    attempt = store.attempt(db, attempt_id)
    attempt.started_at = attempt.started_at or now()
    build = store.build(db, attempt.build_id)
    if attempt.resumes_at is not None:
        # It waits no longer, and people see so.
        attempt.resumes_at = None
        records.refresh(db, parts, build)
    version = store.plan(db, attempt.build_id)
    own = store.cost_of_attempt(db, attempt_id)
    on_phase = store.cost_of_phase(db, attempt.build_id, attempt.phase) - own if attempt.phase else Decimal(0)
    return Job(
        build=build,
        attempt=attempt,
        rules=parts.rules(build),
        version=version,
        plan=Plan.model_validate_json(version.plan) if version else None,
        phases=tuple(store.phases(db, attempt.build_id)),
        spent=store.cost(db, attempt.build_id) - own,
        spent_on_phase=on_phase,
    )


async def freeze(
    parts: Parts, job: Job, *, system: str, tools: Sequence[dict[str, Any]], task: str
) -> Attempt:
    """Freeze the request's header and first message, once; a restart finds them as they were."""
    model = job.attempt.model
    header = Header(
        model=model,
        system=system,
        tools=tuple(tools),
        max_tokens=min(_MAX_TOKENS, pricing.max_output(model)),
        effort=pricing.default_effort(model),
    )
    return await parts.database.run(_freeze, job.attempt.id, header.dump(), agent.opening(task))


def _freeze(db: Session, attempt_id: int | None, header: str, opening: str) -> Attempt:
    attempt = store.attempt(db, attempt_id or 0)
    if not attempt.header:
        attempt.header, attempt.opening = header, opening
    return attempt


def finished(job: Job, *, before: int | None = None) -> list[dict[str, Any]]:
    """Return what the finished phases did and decided, for those who build on them."""
    plan = job.plan
    if plan is None:
        return []
    return [
        {
            "number": phase.number,
            "title": plan.phases[phase.number - 1].title,
            "summary": phase.summary,
            "decisions": store.read_list(phase.decisions),
        }
        for phase in job.phases
        if phase.summary and phase.number <= len(plan.phases) and (before is None or phase.number < before)
    ]


def read_files(workspace: Workspace, paths: Iterable[str]) -> list[dict[str, str]]:
    """Return path and content of some files, as far as they fit."""
    shown, room = [], _FILES_BUDGET
    for path in paths:
        try:
            content = workspace.read(path)
        except UserError:
            continue
        if len(content) <= room:
            shown.append({"path": path, "content": content})
            room -= len(content)
    return shown


async def instructions(workspace: Workspace, job: Job) -> list[dict[str, str]]:
    """Return the repository's own instructions for those who work on it."""
    files = await asyncio.to_thread(read_files, workspace, job.rules.instructions)
    return [{**file, "content": sanitize.clean(file["content"])} for file in files]
