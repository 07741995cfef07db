"""Advice: what heals by waiting, which model may help, and what a person is told to reply."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import advice, commands, pricing
from bot.advice import Budget, History
from bot.errors import FailureKind as K

HAIKU, SONNET, OPUS, FABLE = "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-2"
SMALL = "claude-haiku-4-5"
"""A model with a context window of 200,000 tokens."""
LADDER = (HAIKU, SONNET, OPUS, FABLE)
WAITS = {K.RATE_LIMITED: 10, K.OVERLOADED: 10, K.CONNECTION: 8, K.TIMEOUT: 3}
"""What heals by waiting, and how often in a row it is waited for."""
PLAIN = History(model=SONNET, phase=2, tried=(SONNET,))


def told(kind: K, ladder: tuple[str, ...] = LADDER, **changes: Any) -> dict[str, str]:
    """Return the lines one may reply with and what each does, `/cancel` left out."""
    replies = advice.advise(kind, replace(PLAIN, **changes), ladder).replies
    assert replies[-1] == ("/cancel", "ends the build")
    return dict(replies[:-1])


def lines(kind: K, ladder: tuple[str, ...] = LADDER, **changes: Any) -> list[str]:
    return list(told(kind, ladder, **changes))


# --- waiting


@pytest.mark.parametrize("kind", list(K))
def test_only_what_passes_by_itself_is_waited_for(kind: K) -> None:
    assert (advice.delay(kind, 0, None) is not None) == (kind in WAITS)
    assert (advice.delay(kind, 0, 5.0) is not None) == (kind in WAITS)


def test_each_wait_is_twice_as_long_up_to_five_minutes() -> None:
    waits = [advice.delay(K.OVERLOADED, waited, None) for waited in range(11)]

    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0, None]


@pytest.mark.parametrize("kind", list(WAITS))
def test_patience_ends(kind: K) -> None:
    """A timeout may have been paid each time, so there is least of it there."""
    assert advice.delay(kind, WAITS[kind] - 1, 1.0) == 1.0
    assert advice.delay(kind, WAITS[kind], 1.0) is None


def test_what_the_other_side_asks_for_is_honoured() -> None:
    assert advice.delay(K.RATE_LIMITED, 0, 42.0) == 42.0
    assert advice.delay(K.RATE_LIMITED, 5, 42.0) == 42.0
    assert advice.delay(K.RATE_LIMITED, 0, 0.0) == 1.0


def test_a_longer_wait_than_an_hour_is_a_persons_matter() -> None:
    assert advice.delay(K.RATE_LIMITED, 0, advice.LONGEST_WAIT) == 3600.0
    assert advice.delay(K.RATE_LIMITED, 0, advice.LONGEST_WAIT + 1) is None


@given(st.sampled_from(list(K)), st.integers(0, 1000), st.none() | st.floats(0, 1e9))
def test_no_wait_is_endless_or_no_wait_at_all(kind: K, waits: int, asked: float | None) -> None:
    wait = advice.delay(kind, waits, asked)

    assert wait is None or 1.0 <= wait <= advice.LONGEST_WAIT


# --- models


def test_a_stronger_model_is_the_next_up_the_ladder() -> None:
    assert [advice.stronger(model, LADDER) for model in LADDER] == [SONNET, OPUS, FABLE, None]


def test_a_model_that_was_tried_is_stepped_over() -> None:
    assert advice.stronger(HAIKU, LADDER, (HAIKU, SONNET)) == OPUS
    assert advice.stronger(HAIKU, LADDER, LADDER) is None


def test_a_model_beside_the_ladder_is_followed_by_its_strongest() -> None:
    assert advice.stronger("foreign", LADDER) == FABLE
    assert advice.stronger("foreign", ()) is None


def test_another_model_is_a_weaker_one_only_at_the_top() -> None:
    assert [advice.another(model, LADDER) for model in LADDER] == [SONNET, OPUS, FABLE, OPUS]
    assert advice.another("only", ("only",)) is None


def test_another_model_is_one_not_tried_while_there_is_one() -> None:
    assert advice.another(FABLE, LADDER, (FABLE, OPUS)) == SONNET
    assert advice.another(OPUS, LADDER, (OPUS, FABLE)) == SONNET
    assert advice.another(OPUS, LADDER, LADDER) == FABLE


def test_a_cheaper_model_is_the_next_below_in_price() -> None:
    assert [advice.cheaper(model, LADDER) for model in LADDER] == [None, HAIKU, SONNET, OPUS]
    assert advice.cheaper("foreign", LADDER) is None


def test_a_roomier_model_has_a_larger_window() -> None:
    assert pricing.window(SMALL) < pricing.window(HAIKU)
    assert advice.roomier(SMALL, LADDER) == HAIKU
    assert advice.roomier(SONNET, LADDER) is None
    assert advice.roomier("foreign", LADDER) is None


# --- what helps


@pytest.mark.parametrize("kind", [K.OUT_OF_TURNS, K.NO_FINISH, K.STUCK, K.TESTS_WEAKENED])
def test_what_a_model_could_not_do_a_stronger_one_may(kind: K) -> None:
    assert lines(kind, kept=2) == [f"/resume model={OPUS}", "/resume", "/retry"]
    assert lines(kind) == [f"/resume model={OPUS}", "/resume"]


@pytest.mark.parametrize("kind", [K.OUT_OF_TURNS, K.NO_FINISH, K.STUCK, K.TESTS_WEAKENED])
def test_what_the_strongest_could_not_do_must_become_smaller(kind: K) -> None:
    assert lines(kind, model=FABLE) == ["/resume", "/revise-plan split phase 2"]


def test_a_stronger_model_is_not_suggested_a_second_time() -> None:
    assert f"/resume model={OPUS}" not in lines(K.STUCK, tried=(SONNET, OPUS))
    assert lines(K.STUCK, tried=(SONNET, OPUS))[0] == f"/resume model={FABLE}"


def test_an_overflow_needs_a_larger_window_or_smaller_phases() -> None:
    assert lines(K.CONTEXT_OVERFLOW, model=SMALL) == [
        f"/resume model={HAIKU}",
        "/resume",
        "/revise-plan split phase 2",
    ]
    assert lines(K.CONTEXT_OVERFLOW) == ["/resume", "/revise-plan split phase 2"]


def test_a_rate_limit_is_left_to_another_model_or_waited_for() -> None:
    said = told(K.RATE_LIMITED, clears_at="14:32 UTC on 22 November")

    assert said == {
        f"/resume model={OPUS}": "goes on with another model",
        "/resume": "tries again, best after 14:32 UTC on 22 November",
    }
    assert lines(K.OVERLOADED, model=FABLE)[0] == f"/resume model={OPUS}"


def test_a_budget_is_raised_or_spent_on_a_cheaper_model() -> None:
    assert lines(K.OUT_OF_BUDGET) == [f"/resume model={HAIKU}", "/resume"]
    assert lines(K.OUT_OF_BUDGET, model=HAIKU) == ["/resume"]


@pytest.mark.parametrize(
    ("left", "models"), [("1", [OPUS]), ("0.5", [SONNET]), ("0.1", [HAIKU]), ("0", []), ("-1", [])]
)
def test_a_cheaper_model_is_offered_only_where_the_budget_pays_for_a_call(
    left: str, models: list[str]
) -> None:
    budget = Budget("build", Decimal(left), Decimal(10), lowered=False)

    assert lines(K.OUT_OF_BUDGET, model=FABLE, budget=budget) == [
        *(f"/resume model={model}" for model in models),
        "/resume",
    ]


@pytest.mark.parametrize(
    ("lowered", "name", "said"),
    [
        (False, "build", "once the operator of this bot has raised `BUILD_BUDGET_USD`"),
        (False, "phase", "once the operator of this bot has raised `PHASE_BUDGET_USD`"),
        (True, "phase", "once a larger phase budget is merged into `.github/phasegate.yml`, up to $3.00"),
    ],
)
def test_a_budget_is_raised_by_who_can(lowered: bool, name: str, said: str) -> None:
    """The policy can only lower what the operator allows."""
    budget = Budget(name, Decimal(0), Decimal(3), lowered)

    assert told(K.OUT_OF_BUDGET, budget=budget)["/resume"] == f"tries again, {said}"


def test_where_no_check_reports_the_policy_that_allows_it_is_named() -> None:
    assert "`checks: {when_none: allow}`" in told(K.CHECKS_NONE)["/resume"]
    assert "when_none" not in str(told(K.CHECKS_TIMEOUT))


def test_ci_that_is_red_once_is_repaired_and_twice_by_a_stronger_model() -> None:
    assert lines(K.CHECKS_RED, red=1)[:2] == ["/resume", f"/resume model={OPUS}"]
    assert lines(K.CHECKS_RED, red=2)[:2] == [f"/resume model={OPUS}", "/resume"]


@pytest.mark.parametrize(
    ("red", "words"),
    [(1, "CI is red"), (2, "CI is still red after 1 repair"), (3, "CI is still red after 2 repairs")],
)
def test_how_often_ci_was_red_is_said(red: int, words: str) -> None:
    assert advice.advise(K.CHECKS_RED, replace(PLAIN, red=red), LADDER).happened == words


def test_a_key_that_is_refused_may_be_good_for_another_model() -> None:
    assert lines(K.AUTH) == ["/resume", f"/resume model={OPUS}"]


def test_without_a_ladder_no_model_is_suggested() -> None:
    assert not any("model=" in line for kind in K for line in lines(kind, ()))


# --- replies


@pytest.mark.parametrize("kind", list(K))
def test_every_failure_has_words_and_a_way_on(kind: K) -> None:
    said = advice.advise(kind, PLAIN, LADDER)

    assert said.happened
    assert not said.happened.endswith(".")
    assert len(said.replies) >= 2
    assert said.replies[-1] == ("/cancel", "ends the build")
    assert all(does for _, does in said.replies)


@pytest.mark.parametrize("work", ["plan", "phase", "repair", "verify", "gate"])
@pytest.mark.parametrize("kind", list(K))
def test_every_reply_is_a_command_the_bot_reads(kind: K, work: str) -> None:
    for line in lines(kind, work=work, paths="src/a.py", kept=1):
        command = commands.parse(line)
        assert command is not None
        assert line.startswith(f"/{command.word}")


@pytest.mark.parametrize("kind", list(K))
def test_no_reply_is_offered_twice(kind: K) -> None:
    replies = advice.advise(kind, PLAIN, LADDER).replies

    assert len({line for line, _ in replies}) == len(replies)


def test_no_two_failures_are_told_in_the_same_words() -> None:
    words = [advice.advise(kind, PLAIN, LADDER).happened for kind in K]

    assert len(set(words)) == len(words)


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        (K.CHECKS_NONE, ["/resume", "/skip-checks why this is fine"]),
        (K.CHECKS_TIMEOUT, ["/resume", "/skip-checks why this is fine"]),
        (K.GAPS, ["/approve-plan"]),
        (K.BAD_PLAN, [f"/resume model={OPUS}", "/resume", "/revise-plan what to do differently"]),
        (K.BILLING, ["/resume"]),
        (K.SCOPE, ["/allow src/a.py", "/resume"]),
        (K.REFUSED, [f"/resume model={OPUS}", "/resume", "/revise-plan what to do differently"]),
        (K.BLOCKED, ["/resume", "/revise-plan what to do differently", f"/resume model={OPUS}"]),
        (K.TOO_LARGE, ["/revise-plan split phase 2", f"/resume model={OPUS}", "/resume"]),
    ],
)
def test_the_replies_fit_the_failure(kind: K, first: list[str]) -> None:
    assert lines(kind, paths="src/a.py")[: len(first)] == first


def test_without_a_path_the_reply_shows_where_one_goes() -> None:
    assert lines(K.SCOPE)[0] == "/allow path/to/file"


@pytest.mark.parametrize(
    ("changes", "does"),
    [
        ({"work": "plan"}, "plans again"),
        ({"work": "verify"}, "checks the requirements again"),
        ({"work": "gate"}, "looks at the checks again"),
        ({"work": "phase"}, "tries again"),
        ({"work": "phase", "kept": 1}, "goes on from its edits in 1 file, which are kept"),
        ({"work": "repair", "kept": 2}, "goes on from its edits in 2 files, which are kept"),
    ],
)
def test_what_resume_does_is_said_for_each_kind_of_work(changes: dict[str, Any], does: str) -> None:
    assert told(K.BUG, **changes)["/resume"] == does


@pytest.mark.parametrize("kind", [K.STUCK, K.OUT_OF_BUDGET, K.SCOPE, K.CONNECTION])
def test_where_a_repair_failed_its_red_commit_may_be_released(kind: K) -> None:
    assert lines(kind, work="repair")[-1] == "/skip-checks why this is fine"
    assert "/skip-checks why this is fine" not in lines(kind)


@pytest.mark.parametrize("work", ["plan", "verify"])
def test_only_a_phase_can_be_split(work: str) -> None:
    assert lines(K.CONTEXT_OVERFLOW, work=work)[-1] == "/revise-plan what to do differently"
