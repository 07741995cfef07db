"""The planning attempt: a reader looks at the repository and submits a plan, which code then judges."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from sqlmodel import Session

from bot import agent, builds, jobs, orders, plans, policy, prompts, records, sanitize, store
from bot.errors import AttemptFailed, Denied, FailureKind, Missing, Rejected, UserError
from bot.github import Repository
from bot.github_facts import IssueFacts
from bot.jobs import Job
from bot.parts import Parts
from bot.plans import Plan
from bot.policy import Rules
from bot.states import Trigger
from bot.tables import PlanVersion
from bot.tools import PLANNING, Toolbox
from bot.workshop import close_workspace, open_workspace
from bot.workspace import Workspace

_RED = ("failure", "timed_out", "startup_failure", "error")
_TRIES = 3
_OVERVIEW_PATHS = 400


async def run(parts: Parts, attempt_id: int) -> None:
    """Make a plan for a build and post it, or raise AttemptFailed."""
    job = await parts.database.run(jobs.read, parts, attempt_id)
    repository = parts.repository(job.build)
    issue = await repository.issue(job.build.issue)
    if not job.attempt.base:
        job = await _settle_base(parts, job)
    workspace = await open_workspace(parts, job.build, job.attempt)
    try:
        told = await parts.database.ask(store.turns, attempt_id)
        submission = _Submission(job, refused=len(agent.refusals(told, "submit_plan")))
        toolbox = Toolbox(workspace, "submit_plan", submission.judge)
        task = await _task(job, workspace, issue)
        attempt = await jobs.freeze(
            parts,
            job,
            system=prompts.fill("plan", max_phases=job.rules.max_phases, line_cap=job.rules.line_cap),
            tools=PLANNING,
            task=task,
        )
        result = await agent.converse(parts, attempt, toolbox, job.limits)
        plan = _with_finished(plans.read(result), job)
        paths = [entry.path for entry in await asyncio.to_thread(workspace.list, "")]
    finally:
        await close_workspace(parts, workspace, job.attempt)
    red = await _red_on(parts, job)
    automatic = await _needs_no_word(repository, job.rules, issue, plan)
    flagged = plans.unmatched(plan, paths)
    await parts.database.run(_post, parts, attempt_id, plan, issue, flagged, red, automatic=automatic)


class _Submission:
    """Judges what the planner submits; the third plan that cannot be built ends the attempt."""

    def __init__(self, job: Job, *, refused: int) -> None:
        """`refused`: how many plans of this attempt were not accepted before this process took it up."""
        self._job = job
        self._tries = refused

    def judge(self, given: Mapping[str, Any]) -> list[str]:
        """Return why the plan is not accepted, or nothing."""
        self._tries += 1
        rules = self._job.rules
        try:
            plan = plans.read(given)
            reasons = plans.problems(
                plan,
                max_phases=rules.max_phases,
                line_cap=rules.line_cap,
                protected=rules.protected,
                finished=len(finished_phases(self._job)),
            )
            reasons += _changed_history(plan, self._job)
        except UserError as error:
            reasons = [str(error)]
        if reasons and self._tries >= _TRIES:
            raise AttemptFailed(FailureKind.BAD_PLAN, "\n".join(f"- {reason}" for reason in reasons))
        return reasons


def finished_phases(job: Job) -> list[int]:
    """Return the numbers of the phases that are finished and stand."""
    return [phase.number for phase in job.phases if phase.finished_at]


def _changed_history(plan: Plan, job: Job) -> list[str]:
    """Return why a revised plan is refused that does not begin with the finished phases."""
    done = finished_phases(job)
    if not done or job.plan is None:
        return []
    kept = [phase.title for phase in job.plan.phases[: len(done)]]
    if [phase.title for phase in plan.phases[: len(done)]] != kept:
        return [f"The finished phases stand and must come first, unchanged: {', '.join(kept)}."]
    if len(plan.phases) == len(done):
        return ["Every phase of this plan is finished already: add what is still to be done."]
    return []


def _with_finished(plan: Plan, job: Job) -> Plan:
    """Return a revised plan whose finished phases are word for word what was approved and built."""
    done = len(finished_phases(job))
    if not done or job.plan is None:
        return plan
    return plan.model_copy(update={"phases": (*job.plan.phases[:done], *plan.phases[done:])})


async def _settle_base(parts: Parts, job: Job) -> Job:
    """Read the policy and fix the base commit: the default branch as it is now, once per build."""
    repository = parts.repository(job.build)
    base_branch = (await repository.facts()).default_branch
    try:
        text = await repository.file(policy.FILE, base_branch) or ""
        policy.check(policy.effective(policy.parse(text), parts.settings))
    except UserError as error:
        raise AttemptFailed(FailureKind.BAD_POLICY, str(error)) from error
    base = await repository.branch_head(base_branch)
    if base is None:
        raise AttemptFailed(FailureKind.BAD_PLAN, f"The branch `{base_branch}` has no commit yet.")
    await parts.database.run(_keep_base, job, text, base_branch, base)
    return await parts.database.run(jobs.read, parts, job.attempt.id or 0)


def _keep_base(db: Session, job: Job, text: str, base_branch: str, base: str) -> None:
    build = store.build(db, job.build.id or 0)
    build.policy, build.base_branch, build.base = text, base_branch, base
    store.attempt(db, job.attempt.id or 0).base = base


async def _task(job: Job, workspace: Workspace, issue: IssueFacts) -> str:
    entries = await asyncio.to_thread(workspace.list, "")
    overview = "\n".join(entry.path for entry in entries[:_OVERVIEW_PATHS])
    if len(entries) > _OVERVIEW_PATHS:
        overview += f"\n… and {len(entries) - _OVERVIEW_PATHS} more files; use list_files."
    done = finished_phases(job)
    return prompts.fill(
        "plan-task",
        repository=job.build.repository,
        base=job.attempt.base,
        number=job.build.issue,
        title=sanitize.clean(issue.title),
        body=sanitize.clean(issue.body),
        instructions=await jobs.instructions(workspace, job),
        overview=overview,
        feedback=sanitize.clean(job.build.feedback),
        finished=", ".join(str(number) for number in done),
        previous=job.plan.model_dump_json(indent=1) if job.plan else "",
    )


async def _red_on(parts: Parts, job: Job) -> list[str]:
    """Return the checks that are red on the base already, as far as they can be read."""
    repository = parts.repository(job.build)
    try:
        checks = await repository.check_runs(job.build.base)
        statuses = await repository.statuses(job.build.base)
    except (Denied, Missing, Rejected):
        return []
    red = {check.name for check in checks if check.conclusion in _RED}
    newest = {status.context: status for status in reversed(statuses)}
    red |= {name for name, status in newest.items() if status.state in _RED}
    return sorted(red)


def _post(
    db: Session,
    parts: Parts,
    attempt_id: int,
    plan: Plan,
    issue: IssueFacts,
    unmatched: list[str],
    red: list[str],
    *,
    automatic: bool,
) -> None:
    """Store the plan as the next version, say it and move on, in one transaction."""
    attempt = store.attempt(db, attempt_id)
    build = store.build(db, attempt.build_id)
    if build.attempt != attempt_id:
        return
    before = store.plan(db, attempt.build_id)
    number = before.version + 1 if before else 1
    version = PlanVersion(
        build_id=attempt.build_id,
        version=number,
        hash=plans.digest(plan, title=issue.title, body=issue.body, base=build.base),
        plan=plan.model_dump_json(),
        title=issue.title,
        issue_body=issue.body,
        base=build.base,
        flagged=json.dumps(unmatched),
        red_on_base=json.dumps(red),
    )
    store.add(db, version)
    builds.end_attempt(db, attempt, "done")
    build.feedback = ""
    records.supersede(db, parts, build, number)
    if automatic:
        version.approved_by = "policy"
    trigger = Trigger.PLAN_ACCEPTED if automatic else Trigger.PLAN_READY
    builds.advance(
        db, parts, build, trigger, by=f"attempt {attempt_id}", detail=f"v{number} {version.hash[:7]}"
    )


async def _needs_no_word(repository: Repository, rules: Rules, issue: IssueFacts, plan: Plan) -> bool:
    """Whether the policy's word is enough: for a small plan, where the issue's author may give it."""
    small = rules.approve == "small-auto" and plans.size(plan) is plans.Size.SMALL
    return small and await orders.may_command(repository, issue.author_login, issue.author_id)
