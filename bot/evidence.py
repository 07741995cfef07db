"""What CI says about a commit: all of it for the gate to judge, and what is red made fit for a model to read."""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from bot import gate, sanitize, store, verdicts
from bot.errors import BotError, Denied, Missing, Rejected
from bot.gate import GateRules, Observation, Verdict
from bot.github import Repository
from bot.github_facts import PullFacts
from bot.parts import Parts
from bot.reports import CheckRun, Required, WorkflowRun
from bot.results import Outcome, Result
from bot.tables import Build, PhaseState, now

_LIMIT = 20_000
"""Characters of evidence a model is given."""
_ANNOTATIONS = 20
_LEVELS = {"failure": 0, "warning": 1, "notice": 2}
"""What makes a check red comes first."""
_LOG_LINES = 120
_STAMP = re.compile(r"^\ufeff?\d{4}-\d\d-\d\dT[\d:.]+Z ")
_CLOSING = re.compile(r"</(?=\s*evidence)", re.IGNORECASE)
_STEP, _ERROR = "##[group]Run ", "##[error]"


@dataclass(frozen=True)
class Case:
    """What a look at the gate begins with: the phase whose commit should be the head of the branch."""

    build: Build
    phase: PhaseState
    rules: GateRules
    required: tuple[Required, ...]
    base_red: frozenset[str]
    previous: Verdict | None


def case_of(db: Session, parts: Parts, build: Build, phase: PhaseState) -> Case:
    """Return what the gate of a phase is judged by, as it is stored now."""
    rules = parts.rules(build)
    released = {r["check"] for r in store.read_list(build.released) if r["check"]}
    return Case(
        build=build,
        phase=phase,
        rules=GateRules(
            settle=rules.settle,
            poll=rules.poll,
            timeout=rules.timeout,
            when_none=rules.when_none,
            released=frozenset(released),
        ),
        required=tuple(Required(name) for name in rules.checks_required),
        base_red=frozenset(verdicts.red_on_base(db, build)),
        previous=gate.decode(json.loads(phase.verdict)) if phase.verdict else None,
    )


async def observe(parts: Parts, case: Case) -> Observation:
    """Read all that GitHub says about the judged commit."""
    build, sha = case.build, verdicts.judged(case.phase)
    repository = parts.repository(build)
    problems: list[str] = []

    async def read(name: str, work: Any, default: Any, *, fine: tuple[type[BotError], ...] = ()) -> Any:
        try:
            return await work
        except (Missing, Denied, Rejected) as error:
            if not isinstance(error, fine):
                problems.append(f"{name}: {error}")
            return default

    # First, so that no check is older than the run it belongs to: what a re-run replaces would still count.
    # Actions may be switched off or not granted; a list that came back cut is unread all the same.
    runs = await read("workflow runs", repository.workflow_runs(sha), None, fine=(Missing, Denied))
    head, checks, statuses, required, workflows, pull, own = await asyncio.gather(
        repository.branch_head(build.branch),
        read("check runs", repository.check_runs(sha), []),
        read("statuses", repository.statuses(sha), []),
        read("rules", repository.required_checks(build.base_branch), []),
        read("workflow files", repository.has_workflows(sha), False),
        read("pull request", _pull(repository, build), None),
        parts.github.app(),
    )
    if runs is not None and _began_meanwhile(checks, runs):
        runs = await read("workflow runs", repository.workflow_runs(sha), None, fine=(Missing, Denied))
        checks = await read("check runs", repository.check_runs(sha), [])
    return Observation(
        sha=sha,
        head=head,
        pushed_at=case.phase.pushed_at or now(),
        own_app_id=own.id,
        pr_opened_at=build.pull_opened_at,
        checks=tuple(checks),
        statuses=tuple(statuses),
        runs=tuple(runs or ()),
        required=(*case.required, *required),
        has_workflows=workflows,
        draft=pull.draft if pull else False,
        mergeable=pull.mergeable if pull else None,
        base_red=case.base_red,
        complete=not problems,
        problem="; ".join(problems),
    )


def _began_meanwhile(checks: Sequence[CheckRun], runs: Sequence[WorkflowRun]) -> bool:
    """Tell whether a job of Actions belongs to a run that was not there yet when the runs were read."""
    listed = {run.suite_id for run in runs}
    return any(check.of_actions and check.suite_id not in listed for check in checks)


async def _pull(repository: Repository, build: Build) -> PullFacts | None:
    return await repository.pull(build.pull_request) if build.pull_request else None


async def gather(parts: Parts, build: Build, phase: PhaseState) -> str:
    """Return why CI is red on a phase's commit now, without secrets; nothing where it no longer is.

    At most 20,000 characters. What is red on the base too is left out, where anything else is red.
    """
    case = await parts.database.ask(case_of, parts, build, phase)
    seen = await observe(parts, case)
    verdict, _ = gate.judge(seen, case.previous, case.rules, now())
    red = reds(verdict.results)
    if not red and seen.complete:
        return ""
    own = [result for result in red if result.name not in case.base_red] or red
    checks = {f"check:{check.id}": check for check in seen.checks}
    room = _LIMIT // max(len(own), 1)
    secrets = parts.settings.secrets
    told = [await _section(parts.repository(build), result, checks.get(result.key)) for result in own]
    # Output is plain text more often than Markdown, so nothing of it but what nobody can see is taken out.
    sections = [sanitize.cut(sanitize.redact(sanitize.strip_invisible(text), secrets), room) for text in told]
    # A tag that closes what surrounds the evidence would let it speak as if it were the task.
    text = _CLOSING.sub(r"<\\/", "\n\n".join(sections))
    return sanitize.cut(text, _LIMIT) or "CI was red; what it said can no longer be read."


def reds(results: Sequence[Result]) -> list[Result]:
    """Return the results that are red."""
    return [result for result in results if result.outcome is Outcome.RED]


async def _section(repository: Repository, result: Result, check: CheckRun | None) -> str:
    """Return what one red result says: its own words, its remarks at lines, and the end of its log."""
    lines = [f"## {result.name}: {result.said}"]
    if check is None:
        return "\n".join([*lines, result.summary])
    lines += [check.title, check.summary, check.text]
    try:
        remarks = await repository.annotations(check.id)
    except BotError:
        remarks = []
    worst = sorted(remarks, key=lambda r: _LEVELS.get(r.level, len(_LEVELS)))[:_ANNOTATIONS]
    lines += [f"- {r.path}:{r.line}: {f'{r.title} {r.message}'.strip()}" for r in worst]
    lines.append(await _log_tail(repository, check.id))
    return "\n".join(line for line in lines if line)


async def _log_tail(repository: Repository, check_id: int) -> str:
    """Return how the failing step of an Actions job ended, whose id is its check run's; nothing for other Apps'."""
    try:
        log = await repository.job_log(check_id)
    except BotError:
        return ""
    lines = [_STAMP.sub("", line) for line in log.splitlines()]
    end = max((n for n, line in enumerate(lines) if line.startswith(_ERROR)), default=len(lines) - 1) + 1
    step = max((n for n, line in enumerate(lines[:end]) if line.startswith(_STEP)), default=0)
    return "Log:\n" + "\n".join(lines[max(step, end - _LOG_LINES) : end]) if lines else ""
