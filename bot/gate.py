"""The verdict of CI on exactly one commit: checks, statuses and workflow runs in, one `Verdict` out. Pure."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from bot.reports import CheckRun, Required, Status, WorkflowRun
from bot.results import (
    CONCLUSIONS,
    STATES,
    STATUSES,
    Outcome,
    Result,
    Seen,
    absent,
    current_checks,
    current_runs,
    listed,
    names,
    satisfies,
    see_check,
    see_run,
    see_status,
    weigh,
    without,
    workflow_of,
)


@dataclass(frozen=True)
class Observation:
    """All that GitHub says about one commit at one moment."""

    sha: str
    head: str | None
    """Where the branch points now; None when the branch is gone."""
    pushed_at: datetime
    own_app_id: int
    pr_opened_at: datetime | None = None
    checks: tuple[CheckRun, ...] = ()
    statuses: tuple[Status, ...] = ()
    runs: tuple[WorkflowRun, ...] = ()
    required: tuple[Required, ...] = ()
    """Required checks of the base branch, from its rules and from the policy."""
    has_workflows: bool = False
    """The repository has files under .github/workflows at this commit."""
    draft: bool = True
    mergeable: bool | None = None
    base_red: frozenset[str] = frozenset()
    """Names of checks that are red on the base commit too."""
    complete: bool = True
    """False when any read failed or was cut; then nothing is green and nothing is missing."""
    problem: str = ""


@dataclass(frozen=True)
class GateRules:
    """What the repository's policy and the settings say about the gate; times in seconds."""

    settle: float = 30.0
    poll: float = 60.0
    timeout: float = 3600.0
    when_none: str = "ask"
    released: frozenset[str] = frozenset()
    """Names of checks a named person took responsibility for, for the whole build."""


@dataclass(frozen=True)
class Verdict:
    """The gate's answer for `sha`, with every result that led to it."""

    sha: str
    outcome: Outcome
    reason: str
    """One sentence for a person."""
    url: str = ""
    results: tuple[Result, ...] = ()
    fingerprint: str = ""
    """Hash over ids, attempts and conclusions; equal fingerprints mean the same set was seen."""
    green_since: datetime | None = None
    """When this same fingerprint was first seen all green."""
    waiting_since: datetime | None = None
    """When the clock started; None while it stands still because a person must act."""
    unread_since: datetime | None = None
    """Since when no look could read GitHub in full; None when the last one did."""
    notes: tuple[str, ...] = field(default=())
    rerun: tuple[str, ...] = ()
    """Attempts of workflow runs that GitHub was asked to run again, of which it shows no newer one yet."""
    asked: tuple[str, ...] = ()
    """What a person is asked to clear and has not cleared: keys of results, or a word for the whole commit."""


# CI must act; after any other outcome a person must, and a new wait starts a new clock.
CLOCK_RUNS = frozenset({Outcome.PENDING, Outcome.TIMED_OUT, Outcome.UNKNOWN})

DRAFT_ADVICE = (
    " The PR is a draft; if CI leaves drafts out, press **Ready for review** there{then}. "
    "`draft: false` in `.github/phasegate.yml` makes the next build's PR no draft."
)

# What a person may be asked to clear that no single result stands for.
UNPROVEN, CONFLICTING = "unproven", "conflict"


@dataclass(frozen=True)
class Answer:
    """What one rule of the gate says; `again` is in seconds, None where nothing changes by itself."""

    outcome: Outcome
    reason: str
    url: str = ""
    again: float | None = None


@dataclass(frozen=True)
class Case:
    """All that a rule of the gate may look at."""

    observation: Observation
    rules: GateRules
    now: datetime
    # The previous verdict, if it was about this commit.
    before: Verdict | None
    results: tuple[Result, ...]
    released: tuple[Result, ...]
    # Rules or policy name required checks that are not released.
    required: bool
    # Required checks that nothing has reported yet: as shown to a person → by name.
    missing: Mapping[str, str]
    fingerprint: str

    def having(self, outcome: Outcome) -> tuple[Result, ...]:
        """Return the counted results that count as `outcome`."""
        return tuple(result for result in self.results if result.outcome is outcome)

    @property
    def nothing(self) -> bool:
        """Tell whether CI has said nothing that counts; what a person released proves no more than silence."""
        return not self.results

    @property
    def proven(self) -> bool:
        """Tell whether anything succeeded."""
        return any(result.said == "success" for result in self.results)

    @property
    def clock(self) -> datetime:
        """When the present wait for CI began."""
        started = self.before.waiting_since if self.before else None
        return min(started or self.now, self.now)

    @property
    def overdue(self) -> bool:
        """Tell whether the present wait has lasted the whole timeout."""
        return (self.now - self.clock).total_seconds() >= self.rules.timeout

    @property
    def unread_since(self) -> datetime | None:
        """Since when no look could read GitHub in full; its clock is its own, for the other may stand still."""
        if self.observation.complete:
            return None
        started = self.before.unread_since if self.before else None
        return min(started or self.now, self.now)

    def left(self, seconds: float, since: datetime) -> float:
        """Return how much of `seconds` is left, counted from `since` but never from before CI could start.

        CI can start with the push, or, where it runs on pull requests only, when the PR is opened.
        """
        known = self.observation
        start = max(since, known.pushed_at, known.pr_opened_at or known.pushed_at)
        return max(0.0, seconds - (self.now - start).total_seconds())

    @property
    def green_before(self) -> datetime | None:
        """When an earlier look found these same results all green."""
        if self.before is None or self.before.fingerprint != self.fingerprint:
            return None
        return self.before.green_since and min(self.before.green_since, self.now)

    @property
    def green_since(self) -> datetime | None:
        """When these same results were first seen in full with nothing red, running or missing."""
        all_green = len(self.having(Outcome.GREEN)) == len(self.results)
        whole = self.observation.complete and not self.missing and not self.nothing
        return (self.green_before or self.now) if all_green and whole else None


def judge(
    observation: Observation, previous: Verdict | None, rules: GateRules, now: datetime
) -> tuple[Verdict, float | None]:
    """Say what CI says about `observation.sha`, and in how many seconds to look again (None: no need).

    All datetimes are aware. Without `previous`, or with one about another commit, a new wait begins with a
    new clock. None is no promise: an event may have it judged again, and a re-run may turn it round.
    """
    case = gather(observation, previous, rules, now)
    answer = next(answer for rule in RULES if (answer := rule(case)) is not None)
    verdict = Verdict(
        sha=observation.sha,
        outcome=answer.outcome,
        reason=answer.reason,
        url=answer.url,
        results=case.results,
        fingerprint=case.fingerprint,
        green_since=case.green_since,
        waiting_since=case.clock if answer.outcome in CLOCK_RUNS else None,
        unread_since=case.unread_since,
        notes=noted(case, answer.outcome),
        rerun=tuple(run.key for run in case.observation.runs if run.awaited),
        asked=asked(case, answer.outcome),
    )
    if answer.outcome is Outcome.UNKNOWN and case.before:
        # A partial answer disproves nothing: clock and settle time go on from the last whole one.
        kept = ("fingerprint", "green_since", "waiting_since", "rerun", "asked")
        past = {name: getattr(case.before, name) for name in kept}
        verdict = replace(verdict, **past)
    return verdict, answer.again


def encode(verdict: Verdict) -> dict[str, Any]:
    """Turn a verdict into what JSON can hold; datetimes become ISO 8601."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(verdict), default=datetime.isoformat))
    return plain


def decode(plain: Mapping[str, Any]) -> Verdict:
    """Read what `encode` wrote, by whatever version; a foreign outcome raises ValueError."""
    known = _known(Verdict, plain)
    for moment in ("green_since", "waiting_since", "unread_since"):
        known[moment] = datetime.fromisoformat(plain[moment]) if plain.get(moment) else None
    known["results"] = tuple(Result(**_known(Result, result)) for result in plain.get("results", ()))
    for words in ("notes", "rerun", "asked"):
        known[words] = tuple(plain.get(words, ()))
    return Verdict(**known)


def _known(kind: type[Verdict] | type[Result], plain: Mapping[str, Any]) -> dict[str, Any]:
    # An older version wrote fewer fields, a newer one may have written more.
    known = {name: plain[name] for name in kind.__dataclass_fields__ if name in plain}
    return {**known, "outcome": Outcome(plain["outcome"])}


# What counts: newest results only, our own left out, released ones set aside.


def gather(observation: Observation, previous: Verdict | None, rules: GateRules, now: datetime) -> Case:
    """Sort out what counts for the commit, what a person released and which required checks are missing."""
    before = previous if previous is not None and previous.sha == observation.sha else None
    observation = as_asked(of_its_commit(observation), before, rules, now)
    seen = current_results(observation, rules.released)
    counted = [one for one in seen if one.result.name not in rules.released]
    own = observation.own_app_id
    required = [n for n in observation.required if n.name not in rules.released and n.app_id != own]
    marked = [replace(one.result, required=any(satisfies(one, n) for n in required)) for one in counted]
    results = tuple(sorted(marked, key=lambda result: (result.name, result.key)))
    absentees = [need for need in required if not any(satisfies(one, need) for one in counted)]
    missing = dict(sorted((absent(need, counted), need.name) for need in absentees))
    released = tuple(one.result for one in seen if one.result.name in rules.released)
    mark = fingerprint(observation, results)
    return Case(observation, rules, now, before, results, released, bool(required), missing, mark)


def of_its_commit(observation: Observation) -> Observation:
    """Leave out what GitHub says of any other commit."""
    shas = ("", observation.sha)
    return replace(
        observation,
        checks=tuple(check for check in observation.checks if check.sha in shas),
        runs=tuple(run for run in observation.runs if run.sha in shas),
    )


def as_asked(
    observation: Observation, before: Verdict | None, rules: GateRules, now: datetime
) -> Observation:
    """Take runs that GitHub was asked to run again for going on, until it shows that they do or the time is over."""
    since = before.waiting_since if before else None
    if before is None or since is None or (now - since).total_seconds() >= rules.timeout:
        return observation
    started = {run.id for run in observation.runs if run.key not in before.rerun}
    runs = (
        replace(run, status="requested", conclusion=None, awaited=True)
        if run.key in before.rerun and run.id not in started
        else run
        for run in observation.runs
    )
    return replace(observation, runs=tuple(runs))


def current_results(observation: Observation, released: frozenset[str]) -> list[Seen]:
    """Return the newest checks, statuses and speaking workflow runs of any App but our own."""
    runs = current_runs(observation.runs)
    suites = {run.suite_id: workflow_of(run) for run in observation.runs if run.suite_id is not None}
    speaking = {suite: runs[workflow] for suite, workflow in suites.items()}
    others = [check for check in observation.checks if check.app_id != observation.own_app_id]
    checks = [see_check(one, speaking.get(one.suite_id or 0)) for one in current_checks(others, suites)]
    newest = {status.context: status for status in sorted(observation.statuses, key=lambda status: status.id)}
    seen = [*checks, *(see_status(status) for status in newest.values())]
    for run in runs.values():
        jobs = [one for one in checks if one.suite_id is not None and one.suite_id == run.suite_id]
        seen += see_run(run, jobs, released)
    return [one for one in seen if one.app_id != observation.own_app_id]


def fingerprint(observation: Observation, results: Iterable[Result]) -> str:
    """Hash ids, attempts and words of all that counts; both lists come sorted, whatever order GitHub used."""
    runs = current_runs(observation.runs).values()
    lines = [[result.key, result.said] for result in results]
    lines += [[run.key, weigh(run.status, run.conclusion)[1]] for run in runs]
    return hashlib.sha256(json.dumps([observation.sha, *lines]).encode()).hexdigest()


def noted(case: Case, outcome: Outcome) -> tuple[str, ...]:
    """Say what a person should know that the outcome does not show."""
    known = case.observation
    skipped = [result.name for result in case.results if result.required and result.said == "skipped"]
    own = [need.name for need in known.required if need.app_id == known.own_app_id]
    notes = {
        f"Released by a person: {listed(case.released)}.": bool(case.released),
        f"Required but skipped, which GitHub counts as passed: {names(skipped)}.": bool(skipped),
        f"Required of this App itself, which does not wait for its own: {names(own)}.": bool(own),
        "Nothing was checked: policy `when_none: allow`.": case.nothing and outcome is Outcome.GREEN,
        "The PR conflicts with its base: its workflows may not have run.": known.mergeable is False,
    }
    return tuple(note for note, holds in notes.items() if holds)


def asked(case: Case, outcome: Outcome) -> tuple[str, ...]:
    """Return what a person is asked to clear: what they were asked before, while it stands, and what is new."""
    standing = {one.key for one in case.results if one.outcome in (Outcome.PERSON, Outcome.INTERRUPTED)}
    standing |= set() if case.proven else {UNPROVEN}
    standing |= set() if case.observation.mergeable else {CONFLICTING}
    before = standing.intersection(case.before.asked) if case.before else set()
    if outcome is Outcome.CONFLICT:
        return tuple(sorted({*before, CONFLICTING}))
    if outcome not in (Outcome.PERSON, Outcome.INTERRUPTED):
        return tuple(sorted(before))
    return tuple(sorted({*before, *({one.key for one in case.having(outcome)} or {UNPROVEN})}))


# The rules, in order of severity: the first that has an answer decides.


def moved(case: Case) -> Answer | None:
    """A verdict about a commit that is no longer the head helps nobody."""
    head, sha = case.observation.head, case.observation.sha
    if head == sha or (head is None and not case.observation.complete):
        return None
    where = "is gone" if head is None else f"moved to {head[:7]}"
    return Answer(Outcome.MOVED, f"The branch {where}, so {sha[:7]} is no longer what counts.")


def unread(case: Case) -> Answer | None:
    """What was not read in full is neither green nor missing; it is tried again, but not for ever."""
    if case.unread_since is None:
        return None
    problem = case.observation.problem.strip().rstrip(".") or "a list came back cut"
    reason = f"GitHub could not be read in full: {problem}."
    if (case.now - case.unread_since).total_seconds() < case.rules.timeout:
        return Answer(Outcome.UNKNOWN, reason, again=case.rules.poll)
    return Answer(Outcome.UNKNOWN, f"{reason} It has been so for {case.rules.timeout / 60:g} minutes.")


def nothing_reported(case: Case) -> Answer | None:
    """No results that count: CI may be late, held back by a conflict, or not there."""
    if not case.nothing:
        return None
    known, rules = case.observation, case.rules
    none = "No check but those a person released has" if case.released else "No check has"
    if left := case.left(2 * rules.settle, known.pushed_at):
        return Answer(Outcome.PENDING, f"{none} reported yet.", again=left)
    if known.mergeable is False:
        reason = "No check has started: the PR conflicts with its base, and GitHub runs no CI for such a PR."
        return Answer(Outcome.CONFLICT, reason, again=rules.poll)
    before = case.before
    gave_up = before is not None and not before.results and before.outcome in (Outcome.NONE, Outcome.GREEN)
    if (known.has_workflows or case.required) and not (gave_up or case.overdue):
        return Answer(Outcome.PENDING, f"{none} reported yet, though some must come.", again=rules.poll)
    reason = f"{none} reported on {known.sha[:7]}."
    reason += f" Required: {names(case.missing, quote=False)}." if case.missing else ""
    if rules.when_none == "allow" and not case.missing:
        return Answer(Outcome.GREEN, reason)
    reason += DRAFT_ADVICE.format(then=" and reply `/resume`") if known.has_workflows and known.draft else ""
    return Answer(Outcome.NONE, reason)


def red(case: Case) -> Answer | None:
    """One red result ends the wait, whatever else still runs."""
    reds = case.having(Outcome.RED)
    if not reds:
        return None
    running = len(case.having(Outcome.PENDING))
    reason = f"Red: {listed(reds)}" + (f" ({running} more still running)." if running else ".")
    on_base = sorted({result.name for result in reds} & case.observation.base_red)
    reason += f" Red on the base too: {names(on_base)}.{without(on_base)}" if on_base else ""
    return Answer(Outcome.RED, reason, reds[0].url)


def person(case: Case) -> Answer | None:
    """Something waits for a person, or says a word that only a person can judge."""
    waiting = case.having(Outcome.PERSON)
    if not waiting:
        return None
    words = {result.said for result in waiting}
    strange = sorted(words - CONCLUSIONS.keys() - STATUSES.keys() - STATES.keys())
    reason = f"A person must act: {listed(waiting)}."
    reason += f" Not a word this gate knows: {names(strange)}." if strange else ""
    return Answer(Outcome.PERSON, reason, waiting[0].url, case.rules.poll)


def interrupted(case: Case) -> Answer | None:
    """Something ended without a result and would need a re-run."""
    if not (ended := case.having(Outcome.INTERRUPTED)):
        return None
    reason = f"Ended without a result, to be run again: {listed(ended)}."
    return Answer(Outcome.INTERRUPTED, reason, ended[0].url, case.rules.poll)


def unfinished(case: Case) -> Answer | None:
    """Something still runs, or a required check has not reported: wait, but not for ever."""
    running = case.having(Outcome.PENDING)
    if not running and not case.missing:
        return None
    parts = [f"still running: {names(result.name for result in running)}"] if running else []
    if case.missing:
        parts.append(f"required, but never reported: {names(case.missing, quote=False)}")
    url = running[0].url if running else ""
    if case.overdue:
        reason = f"Not finished within {case.rules.timeout / 60:g} minutes; {'; '.join(parts)}."
        reason += without(case.missing.values())
        return Answer(Outcome.TIMED_OUT, reason, url)
    return Answer(Outcome.PENDING, f"Waiting for CI; {'; '.join(parts)}.", url, case.rules.poll)


def unproven(case: Case) -> Answer | None:
    """Neutral and skipped results prove nothing unless something succeeded beside them."""
    if case.proven:
        return None
    reason = f"Nothing succeeded, so nothing was proven: {listed(case.results)}."
    reason += DRAFT_ADVICE.format(then="") if case.observation.draft else ""
    return unsettled(case) or Answer(Outcome.PERSON, reason, case.results[0].url, case.rules.poll)


def unsettled(case: Case) -> Answer | None:
    """The same results must be seen twice, `settle` seconds apart: late ones are not announced."""
    left = case.left(case.rules.settle, case.green_since or case.now)
    if case.green_before is not None and not left:
        return None
    return Answer(Outcome.PENDING, "Nothing red or running; waiting whether more checks appear.", again=left)


def green(case: Case) -> Answer | None:
    """All that is left: everything that counts is green."""
    if not case.required and (waiting := unsettled(case)):
        return waiting
    reason = f"Everything that counts is green ({len(case.results)})."
    return Answer(Outcome.GREEN, reason, case.results[0].url)


RULES = (moved, unread, nothing_reported, red, person, interrupted, unfinished, unproven, green)
