"""What of CI's reports counts, and as what: the newest of each, every word of GitHub in a table. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.reports import CheckRun, Required, Status, WorkflowRun


class Outcome(StrEnum):
    """What the gate says."""

    GREEN = "green"
    RED = "red"
    PENDING = "pending"
    PERSON = "person"
    INTERRUPTED = "interrupted"
    NONE = "none"
    CONFLICT = "conflict"
    TIMED_OUT = "timed_out"
    MOVED = "moved"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Result:
    """One line of a verdict: a check, status or workflow run and how it counts."""

    name: str
    outcome: Outcome
    said: str
    """GitHub's own word: success, failure, in_progress, …"""
    url: str = ""
    summary: str = ""
    required: bool = False
    key: str = ""


# What a completed check or workflow run counts as; a word that is not here needs a person.
CONCLUSIONS: dict[str, Outcome] = {
    "success": Outcome.GREEN,
    "neutral": Outcome.GREEN,
    "skipped": Outcome.GREEN,
    "failure": Outcome.RED,
    "timed_out": Outcome.RED,
    "startup_failure": Outcome.RED,
    "action_required": Outcome.PERSON,
    "cancelled": Outcome.INTERRUPTED,
    "stale": Outcome.INTERRUPTED,
}

# What a check or workflow run that is not completed counts as; a word that is not here needs a person.
STATUSES: dict[str, Outcome] = {
    "queued": Outcome.PENDING,
    "requested": Outcome.PENDING,
    "pending": Outcome.PENDING,
    "in_progress": Outcome.PENDING,
    "waiting": Outcome.PERSON,
}

# What a commit status counts as; a word that is not here needs a person.
STATES: dict[str, Outcome] = {
    "success": Outcome.GREEN,
    "pending": Outcome.PENDING,
    "expected": Outcome.PENDING,
    "failure": Outcome.RED,
    "error": Outcome.RED,
}

SUMMARY_CHARS = 4_000
NAMES_SHOWN, NAME_CHARS = 5, 100
# What ends the name of a check in a command, or hides it.
END = re.compile(r'["“”„]|<!--')

# A workflow (its id, or its name where GitHub gives none) and the event that ran it.
Workflow = tuple[str, str]


@dataclass(frozen=True)
class Seen:
    """A current result before releases, with what required checks and workflow runs are matched by."""

    result: Result
    # None for a workflow run, which is no check and satisfies no required one.
    app_id: int | None = None
    suite_id: int | None = None


def workflow_of(run: WorkflowRun) -> Workflow:
    """Return what a run and the runs that replace it have in common."""
    return str(run.workflow_id or run.name), run.event


def current_runs(runs: Iterable[WorkflowRun]) -> dict[Workflow, WorkflowRun]:
    """Return the run that speaks for each workflow and event: its newest attempt, unfinished before finished.

    A run that was skipped as a whole replaces none that ran: a label added to a PR starts many of those.
    """
    latest = {run.id: run for run in sorted(runs, key=lambda run: run.run_attempt)}.values()
    ranked = sorted(latest, key=lambda run: (run.status != "completed", run.conclusion != "skipped", run.id))
    return {workflow_of(run): run for run in ranked}


def current_checks(checks: Iterable[CheckRun], suites: Mapping[int, Workflow]) -> list[CheckRun]:
    """Return the newest check per App, workflow (or suite) and name; ids grow, `started_at` may be empty.

    Between runs of one workflow a skipped job replaces none that ran, as in `current_runs`.
    """
    newest = {(c.app_id, c.suite_id, c.name): c for c in sorted(checks, key=lambda check: check.id)}
    ranked = sorted(newest.values(), key=lambda check: (check.conclusion != "skipped", check.id))
    return list({(c.app_id, suites.get(c.suite_id or 0, c.suite_id), c.name): c for c in ranked}.values())


def weigh(status: str, conclusion: str | None) -> tuple[Outcome, str]:
    """Return what a check or workflow run counts as, and the word that says so."""
    if status != "completed":
        return STATUSES.get(status, Outcome.PERSON), status or "no status"
    word = conclusion or "no conclusion"
    return CONCLUSIONS.get(word, Outcome.PERSON), word


def see_check(check: CheckRun, run: WorkflowRun | None) -> Seen:
    """Weigh a check; what an earlier attempt of the unfinished `run` left behind is still to come."""
    outcome, said = weigh(check.status, check.conclusion)
    if run is not None and outcome is not Outcome.GREEN and left_over(check, run):
        outcome = Outcome.PENDING
    text = "\n".join(part for part in (check.title, check.summary) if part)[:SUMMARY_CHARS]
    result = Result(check.name, outcome, said, check.url, text, key=f"check:{check.id}")
    return Seen(result, check.app_id, check.suite_id)


def left_over(check: CheckRun, run: WorkflowRun) -> bool:
    """Tell whether `run`, which still goes on, is about to replace this check."""
    goes_on = weigh(run.status, run.conclusion)[0] is Outcome.PENDING
    # GitHub's times are whole seconds, so the same second is no proof of a newer attempt.
    earlier_attempt = run.run_attempt > 1 and "" < check.started_at <= run.started_at
    return goes_on and (run.awaited or check.suite_id != run.suite_id or earlier_attempt)


def see_status(status: Status) -> Seen:
    """Weigh a commit status."""
    outcome, text = STATES.get(status.state, Outcome.PERSON), status.description[:SUMMARY_CHARS]
    key = f"status:{status.id}"
    return Seen(Result(status.context, outcome, status.state, status.url, text, key=key), status.app_id)


def see_run(run: WorkflowRun, checks: Sequence[Seen], released: frozenset[str]) -> list[Seen]:
    """Weigh a workflow run; it adds nothing where its checks say the same.

    A released check excuses its run too, but never one that still runs: more checks may follow.
    """
    outcome, said = weigh(run.status, run.conclusion)
    silent = released if outcome is Outcome.PENDING else frozenset()
    heard = {one.result.outcome for one in checks if one.result.name not in silent}
    if outcome in heard or (outcome is Outcome.GREEN and checks):
        return []
    return [Seen(Result(run.name, outcome, said, run.url, key=run.key))]


def satisfies(seen: Seen, need: Required) -> bool:
    """Tell whether a result is one of those a required check asks for."""
    return seen.app_id is not None and seen.result.name == need.name and need.app_id in (None, seen.app_id)


# Words for a person.


def shown(need: Required) -> str:
    """Name a required check, with its App where it must be of one."""
    return quoted(need.name) + (f" of App {need.app_id}" if need.app_id is not None else "")


def absent(need: Required, seen: Iterable[Seen]) -> str:
    """Name a required check that nothing satisfies, and what of that name is there instead."""
    others = {one.app_id for one in seen if one.result.name == need.name} - {None}
    if not others:
        return shown(need)
    if 0 in others:
        return f"{shown(need)} (it is there as a commit status, whose App GitHub does not tell)"
    return f"{shown(need)} (it is there from another App)"


def without(checks: Iterable[str]) -> str:
    """Say how a person goes on without some checks for the whole build; nothing where there are none.

    The line must work as it stands: it is never cut, and no name is offered that a line cannot hold.
    """
    writable = [
        name for name in dict.fromkeys(checks) if quoted(name, None) == f"`{name}`" and not END.search(name)
    ]
    ways = names((f'`/skip-checks "{name}" why this is fine`' for name in writable), quote=False)
    return f" To go on without, reply {ways}." if ways else ""


def quoted(name: str, limit: int | None = NAME_CHARS) -> str:
    """Put a name between backticks; a name is written by others and may hold backticks and line breaks."""
    return f"`{' '.join(name.replace('`', ' ').split())[:limit]}`"


def names(texts: Iterable[str], *, quote: bool = True) -> str:
    """List names, the first few of many."""
    every = [quoted(text) if quote else text for text in texts]
    more = len(every) - NAMES_SHOWN
    return ", ".join(every[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def listed(results: Iterable[Result]) -> str:
    """List results with GitHub's word for each."""
    return names((f"{quoted(result.name)} ({quoted(result.said)[1:-1]})" for result in results), quote=False)
