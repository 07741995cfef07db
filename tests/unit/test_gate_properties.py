"""What the gate promises whatever CI does: it is never green too early, and it always comes to an answer."""

import json
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.gate import (
    GateRules,
    Observation,
    Verdict,
    decode,
    encode,
    judge,
)
from bot.reports import CheckRun, Required, Status, WorkflowRun
from bot.results import Outcome, Result

SHA, ELSEWHERE = "5" * 40, "6" * 40
START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
ACTIONS, OWN, OTHER = 15368, 77, 99
UNDECIDED = (Outcome.PENDING, Outcome.UNKNOWN)
many = settings(max_examples=200, deadline=None, database=None, derandomize=True)
some = settings(many, max_examples=60)

NAMES = ["lint", "test", "e2e"]
GOOD = {("completed", "success"), ("completed", "neutral"), ("completed", "skipped")}
ENDS = ["success", "neutral", "skipped", "failure", "timed_out", "startup_failure", "action_required"]
ENDS += ["cancelled", "stale", "frobnicated"]
# Success is drawn most often: a world that is hardly ever green tests little.
conclusions = st.one_of(st.just("success"), st.just("success"), st.sampled_from(ENDS))
going = st.sampled_from(["queued", "in_progress", "waiting", "requested", "pending", "dreaming"])
words = st.one_of(conclusions.map(lambda word: ("completed", word)), going.map(lambda word: (word, None)))
states = st.sampled_from(["success", "success", "pending", "failure", "error", "frobnicated"])
names, suites, picks = st.sampled_from(NAMES), st.integers(1, 4), st.integers(0, 9)
apps = st.sampled_from([ACTIONS, ACTIONS, OTHER, OWN])

events = st.one_of(
    st.tuples(st.just("check"), names, apps, suites, words),
    st.tuples(st.just("late check"), names, apps, suites, words),
    st.tuples(st.just("foreign check"), names, apps, suites, words),
    st.tuples(st.just("foreign run"), st.integers(1, 2), suites, words),
    st.tuples(st.just("push"), st.sampled_from([SHA, ELSEWHERE])),
    st.tuples(st.just("finish"), picks, conclusions),
    st.tuples(st.just("finish all")),
    st.tuples(st.just("status"), names, states),
    st.tuples(st.just("late status"), names, states),
    st.tuples(st.just("run"), st.integers(1, 2), suites, words),
    st.tuples(st.just("rerun"), picks),
    st.tuples(st.just("finish run"), picks, conclusions),
    st.tuples(st.just("partial"), st.booleans()),
    st.tuples(st.just("move"), st.sampled_from([SHA, SHA, "6" * 40, None])),
    st.tuples(st.just("wait"), st.sampled_from([0, 5, 30, 31, 60, 700])),
)
gate_rules = st.builds(
    GateRules,
    settle=st.sampled_from([0.0, 30.0]),
    timeout=st.sampled_from([60.0, 600.0]),
    when_none=st.sampled_from(["ask", "allow"]),
    released=st.sampled_from([frozenset(), frozenset(), frozenset({"lint"}), frozenset({"W1"})]),
)
needs = st.builds(Required, names, st.sampled_from([None, ACTIONS]))
blanks = st.builds(
    Observation,
    sha=st.just(SHA),
    head=st.just(SHA),
    pushed_at=st.just(START),
    own_app_id=st.just(OWN),
    pr_opened_at=st.sampled_from([None, START, START + timedelta(seconds=20)]),
    required=st.one_of(st.just(()), st.lists(needs, max_size=2).map(tuple)),
    has_workflows=st.booleans(),
    draft=st.booleans(),
    mergeable=st.sampled_from([None, True, False]),
    base_red=st.sampled_from([frozenset(), frozenset({"lint"})]),
)


@dataclass
class World:
    """CI of one commit, and the one who looks at it."""

    observation: Observation
    now: datetime = START
    newest: int = 1_000
    oldest: int = 1_000
    verdict: Verdict | None = None
    looks: list[tuple[datetime, Verdict, Observation]] = field(default_factory=list)

    def fresh(self, *, late=False):
        """An id above all others, or below them where the result arrives late."""
        self.newest, self.oldest = self.newest + (not late), self.oldest - late
        return self.oldest if late else self.newest

    def add(self, kind, one):
        self.observation = replace(self.observation, **{kind: (*getattr(self.observation, kind), one)})

    def change(self, kind, pick, **fields):
        every = list(getattr(self.observation, kind))
        if every:
            every[pick % len(every)] = replace(every[pick % len(every)], **fields)
            self.observation = replace(self.observation, **{kind: tuple(every)})

    def happen(self, what, *facts):
        """Let one event happen."""
        late, where = what.startswith("late"), self.observation.sha
        if what.startswith("foreign"):
            where = ELSEWHERE if where == SHA else SHA
        match what.removeprefix("late ").removeprefix("foreign "), *facts:
            case "check", name, app, suite, (status, conclusion):
                number = self.fresh(late=late)
                self.add("checks", CheckRun(number, name, app, status, conclusion, suite_id=suite, sha=where))
            case "status", name, state:
                self.add("statuses", Status(self.fresh(late=late), name, state))
            case "run", workflow, suite, (status, conclusion):
                run = WorkflowRun(self.fresh(), f"W{workflow}", status, conclusion, suite_id=suite)
                self.add("runs", replace(run, workflow_id=workflow, sha=where))
            case "push", sha:
                self.observation = replace(
                    self.observation, sha=sha, head=sha, pushed_at=self.now, statuses=()
                )
            case "finish", pick, conclusion:
                self.change("checks", pick, status="completed", conclusion=conclusion)
            case "finish all", *_:
                for kind in ("checks", "runs"):
                    for number in range(len(getattr(self.observation, kind))):
                        self.change(kind, number, status="completed", conclusion="success")
            case "finish run", pick, conclusion:
                self.change("runs", pick, status="completed", conclusion=conclusion)
            case "rerun", pick if self.observation.runs:
                run = self.observation.runs[pick % len(self.observation.runs)]
                again = {"run_attempt": run.run_attempt + 1, "status": "queued", "conclusion": None}
                self.change("runs", pick, **again)
            case "partial", partial:
                self.observation = replace(self.observation, complete=not partial)
            case "move", head:
                self.observation = replace(self.observation, head=head)
            case "wait", seconds:
                self.now += timedelta(seconds=seconds)

    def look(self, rules):
        """Judge what is there now."""
        self.verdict, again = judge(self.observation, self.verdict, rules, self.now)
        self.looks.append((self.now, self.verdict, self.observation))
        return again


def blockers(seen, released):
    """Name every current result that forbids green, found in another way than the gate's own."""
    workflow = {run.suite_id: (run.workflow_id, run.event) for run in seen.runs if run.sha == seen.sha}
    found = []
    own_checks = [check for check in seen.checks if check.sha == seen.sha]
    own_runs = [run for run in seen.runs if run.sha == seen.sha]
    for check in own_checks:
        newer = any(
            (other.app_id, other.name) == (check.app_id, check.name)
            and other.id > check.id
            and workflow.get(other.suite_id, other.suite_id) == workflow.get(check.suite_id, check.suite_id)
            for other in own_checks
        )
        fine = newer or check.app_id == OWN or check.name in released
        found += [] if fine or (check.status, check.conclusion) in GOOD else [check]
    for status in seen.statuses:
        newer = any(other.context == status.context and other.id > status.id for other in seen.statuses)
        found += [] if newer or status.context in released or status.state == "success" else [status]
    for run in own_runs:
        newer = any(
            (other.workflow_id, other.event) == (run.workflow_id, run.event) and other.id > run.id
            for other in own_runs
        )
        excused = run.status in ("completed", "waiting", "dreaming") and any(
            check.suite_id == run.suite_id and check.name in released for check in own_checks
        )
        fine = newer or excused or run.name in released
        found += [] if fine or (run.status, run.conclusion) in GOOD else [run]
    return found


def known(seen, rules):
    """The required checks that nobody released."""
    return [need for need in seen.required if need.name not in rules.released]


def missing(seen, rules):
    """The required checks that nothing has reported."""
    own = [check for check in seen.checks if check.sha == seen.sha]
    reported = {(check.name, check.app_id) for check in own if check.app_id != OWN}
    reported |= {(status.context, None) for status in seen.statuses}
    return [
        need
        for need in known(seen, rules)
        if not any(name == need.name and need.app_id in (None, app) for name, app in reported)
    ]


def seen_twice(world, rules):
    """Tell whether an earlier whole look found the same green set, the settle time ago."""
    _, last, _ = world.looks[-1]
    return any(
        (seen.complete, seen.sha) == (True, world.observation.sha)
        and verdict.fingerprint == last.fingerprint
        and not blockers(seen, rules.released)
        and (world.now - at).total_seconds() >= rules.settle
        for at, verdict, seen in world.looks[:-1]
    )


@many
@given(blanks, gate_rules, st.lists(events, max_size=25))
def test_the_gate_is_never_green_too_early(blank, rules, story):
    """Nothing current may be red, running or unknown, no required check missing, no single look enough."""
    world = World(blank)
    for event in story:
        world.happen(*event)
        world.look(rules)
        seen = world.observation
        if world.verdict.outcome is not Outcome.GREEN:
            continue
        assert seen.head == seen.sha == world.verdict.sha
        assert seen.complete
        assert not blockers(seen, rules.released)
        if world.verdict.results:
            assert not missing(seen, rules)
            assert any(result.said == "success" for result in world.verdict.results)
            assert known(seen, rules) or seen_twice(world, rules)
        else:
            assert rules.when_none == "allow"
            assert not missing(seen, rules)
            assert (world.now - seen.pushed_at).total_seconds() >= 2 * rules.settle


@many
@given(blanks, gate_rules, st.lists(events, max_size=25))
def test_the_gate_comes_to_an_answer_once_ci_is_quiet_and_keeps_it(blank, rules, story):
    world = World(blank)
    for event in story:
        world.happen(*event)
        world.look(rules)
    world.happen("partial", False)

    for _ in range(30):
        again = world.look(rules)
        if again is None or world.verdict.outcome not in UNDECIDED:
            break
        world.now += timedelta(seconds=again)
    outcome = world.verdict.outcome
    assert outcome not in UNDECIDED

    world.now += timedelta(days=1)
    world.look(rules)
    assert world.verdict.outcome is outcome


@some
@given(blanks, gate_rules, st.lists(events, max_size=25))
def test_what_can_never_be_read_in_full_is_not_looked_at_for_ever(blank, rules, story):
    world = World(blank)
    for event in story:
        world.happen(*event)
        world.look(rules)
    world.happen("partial", True)
    world.happen("move", world.observation.sha)

    for _ in range(30):
        again = world.look(rules)
        if again is None:
            break
        world.now += timedelta(seconds=again)
    assert (world.verdict.outcome, again) == (Outcome.UNKNOWN, None)


@some
@given(blanks, gate_rules, st.lists(events, max_size=25))
def test_storing_the_verdict_between_two_looks_changes_nothing(blank, rules, story):
    world = World(blank)
    for event in story:
        world.happen(*event)
        world.look(rules)
        stored = json.loads(json.dumps(encode(world.verdict)))
        assert decode(stored) == world.verdict


@some
@given(blanks, gate_rules, st.lists(events, max_size=25), st.integers(0, 99))
def test_the_order_of_a_listing_does_not_matter(blank, rules, story, seed):
    world = World(blank)
    for event in story:
        world.happen(*event)
    seen, mix = world.observation, random.Random(seed)
    lists = {kind: list(getattr(seen, kind)) for kind in ("checks", "statuses", "runs", "required")}
    mixed = replace(seen, **{kind: tuple(mix.sample(every, len(every))) for kind, every in lists.items()})

    first, again = judge(seen, None, rules, world.now)
    second, also = judge(mixed, None, rules, world.now)

    assert (replace(first, notes=()), again) == (replace(second, notes=()), also)
    assert sorted(map(len, first.notes)) == sorted(map(len, second.notes))


@some
@given(blanks, gate_rules, st.lists(events, max_size=15), names, suites, words)
def test_what_our_own_app_reports_changes_nothing(blank, rules, story, name, suite, word):
    world = World(blank)
    for event in story:
        world.happen(*event)
    before = judge(world.observation, None, rules, world.now)
    world.happen("check", name, OWN, suite, word)

    assert judge(world.observation, None, rules, world.now) == before


@some
@given(st.text(), st.sampled_from(["conclusion", "status", "state"]))
def test_no_word_outside_the_table_is_ever_green(word, place):
    odd = {
        "conclusion": {"checks": (CheckRun(2, "odd", OTHER, "completed", word),)},
        "status": {"checks": (CheckRun(2, "odd", OTHER, word, "success"),)},
        "state": {"statuses": (Status(2, "odd", word),)},
    }[place]
    seen = Observation(SHA, SHA, START, OWN, required=(Required("odd"),), **odd)
    fine = {"conclusion": ("success",), "status": ("completed",), "state": ("success",)}[place]

    verdict, _ = judge(seen, None, GateRules(), START)

    assert (verdict.outcome is Outcome.GREEN) == (word in fine)


@some
@given(st.text(), st.text(), st.integers(1, 12))
def test_names_and_words_written_by_others_cannot_break_out_of_the_sentence(name, word, number):
    checks = (CheckRun(n, f"{name}{n}`\n# {n}", OTHER, "completed", word) for n in range(number))
    seen = Observation(SHA, SHA, START, OWN, checks=tuple(checks))

    verdict, _ = judge(seen, None, GateRules(), START)

    assert "\n" not in verdict.reason
    assert verdict.reason.count("`") % 2 == 0
    assert (f"and {number - 5} more" in verdict.reason) == (number > 5 and word != "success")


def test_a_stored_verdict_of_another_version_can_be_read():
    plain = {"sha": SHA, "outcome": "red", "reason": "", "later": 1}
    lines = [{"name": "t", "outcome": "red", "said": "failure", "later": 1}]

    expected = Verdict(SHA, Outcome.RED, "", results=(Result("t", Outcome.RED, "failure"),))
    assert decode({**plain, "results": lines}) == expected


def test_a_stored_verdict_with_a_foreign_outcome_is_refused():
    with pytest.raises(ValueError, match="purple"):
        decode({"sha": SHA, "outcome": "purple", "reason": ""})
