"""The verification attempt: a reader judges the result, and code checks every word of it against facts."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlmodel import Session

from bot import agent, builds, comments, following, jobs, outbox, plans, prompts, records, sanitize, store
from bot.errors import AttemptFailed, FailureKind, UserError
from bot.jobs import Job
from bot.parts import Parts
from bot.plans import Phase, Plan
from bot.policy import Rules
from bot.states import State, Trigger
from bot.tables import Build, PhaseState, PlanVersion
from bot.tools import VERIFYING, Toolbox
from bot.workshop import bring, close_workspace, open_workspace
from bot.workspace import Workspace


class _Evidence(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    line: int


class Finding(BaseModel):
    """What the verifier says about one requirement, or one criterion of a phase that serves it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requirement: str
    criterion: str
    verdict: str
    phase: int
    evidence: tuple[_Evidence, ...]
    note: str


async def run(parts: Parts, attempt_id: int) -> None:
    """Judge a finished build; make its pull request ready, or pause with what is missing."""
    job = await parts.database.run(jobs.read, parts, attempt_id)
    plan = job.plan
    if plan is None:
        raise AttemptFailed(FailureKind.BUG, "There is no plan to verify.")
    if await following.follow(parts, job.build, job.attempt):
        return
    wanted = job.rules.update_branch != "never" and not job.attempt.header
    if wanted and await following.freshen(parts, job.build, job.attempt):
        return
    workspace = await open_workspace(parts, job.build, job.attempt)
    try:
        toolbox = Toolbox(
            workspace, "submit_verification", lambda given: judge(given, plan, workspace, job.rules)
        )
        attempt = await jobs.freeze(
            parts,
            job,
            system=prompts.fill("verify"),
            tools=VERIFYING,
            task=await _task(parts, job, plan, workspace),
        )
        result = await agent.converse(parts, attempt, toolbox, job.limits)
    finally:
        await close_workspace(parts, workspace, job.attempt)
    on_branch = {
        commit.sha for commit in await parts.repository(job.build).commits(job.build.head, job.build.base)
    }
    if await following.follow(parts, job.build, job.attempt):
        return
    await _conclude(parts, job, plan, result, on_branch)


def judge(given: Mapping[str, Any], plan: Plan, workspace: Workspace, rules: Rules) -> list[str]:
    """Return why a verification is not accepted: something unanswered, not there, or not to be built."""
    try:
        findings = read_findings(given)
        follow_up = plans.read_phases(given.get("follow_up_phases", []))
    except UserError as error:
        return [str(error)]
    reasons = _unbuildable(follow_up, plan, rules)
    reasons += [f"No finding for {name} as a whole." for name in _unanswered(findings, plan)]
    reasons += [f"No finding for the criterion {text!r}." for text in _unjudged(findings, plan)]
    for finding in findings:
        where = finding.requirement + (f" ({finding.criterion})" if finding.criterion else "")
        if finding.verdict not in ("met", "partly", "not_met"):
            reasons.append(f"{where}: {finding.verdict!r} is no verdict.")
        if finding.verdict == "met" and not finding.evidence:
            reasons.append(f"{where}: met without evidence.")
        reasons += [f"{where}: {fault}" for e in finding.evidence if (fault := _not_there(e, workspace))]
    return reasons


def _unbuildable(follow_up: tuple[Phase, ...], plan: Plan, rules: Rules) -> list[str]:
    """Return why the proposed phases could not follow those of the plan."""
    if not follow_up:
        return []
    return plans.problems(
        plan.model_copy(update={"phases": (*plan.phases, *follow_up)}),
        max_phases=rules.max_phases,
        line_cap=rules.line_cap,
        protected=rules.protected,
        finished=len(plan.phases),
    )


def read_findings(given: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return the findings of a submission; UserError says what is wrong with it."""
    try:
        return tuple(Finding.model_validate(item) for item in given.get("findings", []))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise UserError("A finding cannot be read: " + "; ".join(faults)) from error


def _unanswered(findings: Sequence[Finding], plan: Plan) -> list[str]:
    answered = {finding.requirement for finding in findings if not finding.criterion}
    return [requirement.id for requirement in plan.requirements if requirement.id not in answered]


def _unjudged(findings: Sequence[Finding], plan: Plan) -> list[str]:
    judged = {finding.criterion.strip() for finding in findings}
    return [text for phase in plan.phases for text in phase.criteria if text.strip() not in judged]


def _not_there(evidence: _Evidence, workspace: Workspace) -> str | None:
    try:
        lines = workspace.read(evidence.path).count("\n") + 1
    except UserError as error:
        return str(error)
    if not 1 <= evidence.line <= lines:
        return f"{evidence.path} has no line {evidence.line}; it has {lines}."
    return None


async def _task(parts: Parts, job: Job, plan: Plan, workspace: Workspace) -> str:
    told = {item["number"]: item for item in jobs.finished(job)}
    phases = [
        {
            "number": number,
            "title": phase.title,
            "serves": ", ".join(phase.serves),
            "summary": told.get(number, {}).get("summary", ""),
            "decisions": told.get(number, {}).get("decisions", []),
            "criteria": phase.criteria,
        }
        for number, phase in enumerate(plan.phases, start=1)
    ]
    await bring(parts, job.build, job.build.base, job.build.base_branch)
    changes = await asyncio.to_thread(workspace.changes, job.build.base)
    version = job.version
    return prompts.fill(
        "verify-task",
        number=job.build.issue,
        title=sanitize.clean(version.title if version else ""),
        body=sanitize.clean(version.issue_body if version else ""),
        requirements=plan.requirements,
        phases=phases,
        changed=[change.path for change in changes],
    )


async def _conclude(parts: Parts, job: Job, plan: Plan, result: dict[str, Any], on_branch: set[str]) -> None:
    findings = read_findings(result)
    released = store.read_list(job.build.released)
    rows = matrix(plan, findings, job.phases, on_branch, released)
    notes = [*result.get("conflicts", []), *result.get("ambiguities", [])]
    met = all(row["verdict"] == "met" for row in rows) and all(f.verdict == "met" for f in findings)
    if not met or result.get("conflicts"):
        await parts.database.run(_gaps, parts, job, plan, rows, notes, result)
        return
    repository = parts.repository(job.build)
    number = job.build.pull_request
    if number is None:
        raise AttemptFailed(FailureKind.BUG, "The build has no pull request.")
    pull = await repository.pull(number)
    ready = not pull.draft or await repository.ready_pull(pull.node_id)
    body = await parts.database.run(_guide, parts, job, rows, notes)
    await repository.edit_pull(number, title=_without_mark(pull.title), body=body)
    await parts.database.run(_done, parts, job, rows, notes, ready)


def _without_mark(title: str) -> str | None:
    """Return the title without the mark of a draft that could not be one, or None where it has none."""
    return title.removeprefix("WIP: ") if title.startswith("WIP: ") else None


def matrix(
    plan: Plan,
    findings: Sequence[Finding],
    phases: Sequence[PhaseState],
    on_branch: set[str],
    released: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Return a row per requirement, its verdict lowered where the facts do not bear it out.

    A requirement is met only when its phases' commits are on the branch and were green, or released by a person.
    """
    facts = {phase.number: phase for phase in phases}
    rows = []
    for requirement in plan.requirements:
        own = [f for f in findings if f.requirement == requirement.id]
        whole = next((f for f in own if not f.criterion), None)
        serving = [n for n, phase in enumerate(plan.phases, start=1) if requirement.id in phase.serves]
        number = whole.phase if whole and whole.phase in serving else (serving[-1] if serving else 0)
        fact = facts.get(number)
        stands = all(
            n in facts and facts[n].commit in on_branch and facts[n].finished_at is not None for n in serving
        )
        said = whole.verdict if whole else "not_met"
        rows.append(
            {
                "requirement": requirement.id,
                "text": requirement.text,
                "verdict": said if stands or said != "met" else "partly",
                "phase": number,
                "commit": fact.commit if fact else "",
                "checks": _checks(fact, released) if fact else [],
                "evidence": [(e.path, e.line) for e in (whole.evidence if whole else ())][:4],
            }
        )
    return rows


def _checks(fact: PhaseState, released: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    verdict = store.read_object(fact.verdict)
    green = [(r["name"], r.get("url", "")) for r in verdict.get("results", []) if r.get("outcome") == "green"]
    if fact.released_by:
        green.append((f"released by {fact.released_by}", ""))
    # A check that is released by name stays so for all phases that follow.
    named = [one for one in released if one["check"] and one["phase"] <= fact.number]
    return green + [(f"{one['check']}, released by {one['by']}", "") for one in named]


def _guide(db: Session, parts: Parts, job: Job, rows: list[dict[str, Any]], notes: list[str]) -> str:
    build = store.build(db, job.build.id or 0)
    url = records.repository_url(parts, build)
    decisions = {phase.number: store.read_list(phase.decisions) for phase in job.phases}
    return outbox.clean(
        parts,
        comments.review_guide(
            records.record(db, parts, build),
            comments.matrix(rows, repository_url=url, head=build.head),
            decisions=decisions,
            notes=notes,
            repository_url=url,
        ),
    )


def _still_ours(db: Session, job: Job) -> Build | None:
    build = store.build(db, job.build.id or 0)
    return build if build.attempt == job.attempt.id and build.state == State.VERIFYING else None


def _done(
    db: Session, parts: Parts, job: Job, rows: list[dict[str, Any]], notes: list[str], ready: bool
) -> None:
    build = _still_ours(db, job)
    if build is None:
        return
    attempt = store.attempt(db, job.attempt.id or 0)
    attempt.finish = json.dumps(rows)
    builds.end_attempt(db, attempt, "done")
    builds.advance(db, parts, build, Trigger.VERIFIED, by=f"attempt {attempt.id}")
    table = comments.matrix(rows, repository_url=records.repository_url(parts, build), head=build.head)
    body = comments.done(records.record(db, parts, build), table, notes=notes, ready=ready)
    outbox.say(db, parts, build, f"build={build.id} done", body)


def _gaps(
    db: Session,
    parts: Parts,
    job: Job,
    plan: Plan,
    rows: list[dict[str, Any]],
    notes: list[str],
    result: dict[str, Any],
) -> None:
    build = _still_ours(db, job)
    if build is None:
        return
    attempt = store.attempt(db, job.attempt.id or 0)
    builds.end_attempt(db, attempt, "done")
    follow_up = plans.read_phases(result.get("follow_up_phases", []))
    hash = _propose(db, parts, job, build, plan, follow_up) if follow_up else ""
    builds.advance(db, parts, build, Trigger.GAPS_FOUND, by=f"attempt {attempt.id}", failure=FailureKind.GAPS)
    view = records.record(db, parts, build)
    table = comments.matrix(rows, repository_url=records.repository_url(parts, build), head=build.head)
    shown = [phase.model_dump(mode="json") for phase in follow_up]
    body = comments.gaps(view, table, notes=notes, follow_up=shown, hash=hash, first=len(plan.phases) + 1)
    outbox.say(db, parts, build, f"build={build.id} gaps={attempt.id}", body)


def _propose(
    db: Session, parts: Parts, job: Job, build: Build, plan: Plan, follow_up: tuple[Phase, ...]
) -> str:
    """Store the plan with its follow-up phases as the next version, to be approved; return its hash."""
    version = job.version
    if version is None:
        return ""
    longer = plan.model_copy(update={"phases": (*plan.phases, *follow_up)})
    hash = plans.digest(longer, title=version.title, body=version.issue_body, base=version.base)
    store.add(
        db,
        PlanVersion(
            build_id=version.build_id,
            version=version.version + 1,
            hash=hash,
            plan=longer.model_dump_json(),
            title=version.title,
            issue_body=version.issue_body,
            base=version.base,
            flagged=version.flagged,
            red_on_base=version.red_on_base,
        ),
    )
    records.supersede(db, parts, build, version.version + 1)
    return hash
