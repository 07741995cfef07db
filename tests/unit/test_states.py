"""The life of a build: the table of moves, whole and by itself."""

import ast
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bot import worker
from bot.states import LIVE, MOVES, WORKING, State, Trigger, Work, mermaid, move
from tests.unit.story_bench import ROOT

OVER = (State.DONE, State.CANCELLED)


def test_every_state_stands_in_the_table() -> None:
    assert set(MOVES) == set(State)


def test_every_trigger_moves_something() -> None:
    assert {trigger for moves in MOVES.values() for trigger in moves} == set(Trigger)


def test_every_live_state_can_be_cancelled_and_merged() -> None:
    for state in LIVE:
        assert MOVES[state][Trigger.CANCELLED].to is State.CANCELLED
        assert MOVES[state][Trigger.MERGED].to is State.DONE


def test_every_live_state_but_the_paused_one_can_be_stopped() -> None:
    stopped = {state for state in LIVE if Trigger.STOPPED in MOVES[state]}

    assert stopped == set(LIVE) - {State.PAUSED}
    assert all(MOVES[state][Trigger.STOPPED].to is State.PAUSED for state in stopped)


def test_every_state_is_reached_from_planning() -> None:
    reached: set[State] = set()
    ahead = {State.PLANNING}
    while ahead:
        reached |= ahead
        ahead = {step.to for state in ahead for step in MOVES[state].values()} - reached

    assert reached == set(State)


def test_every_live_state_can_still_be_done() -> None:
    """There is no corner that a build cannot leave but by being cancelled or merged."""
    ending = {Trigger.CANCELLED, Trigger.MERGED}
    good = {State.DONE}
    for _ in State:
        good |= {
            s
            for s, moves in MOVES.items()
            for t, step in moves.items()
            if t not in ending and step.to in good
        }

    assert set(LIVE) <= good


def test_every_work_a_move_starts_has_an_attempt_of_its_kind() -> None:
    started = {step.starts for moves in MOVES.values() for step in moves.values() if step.starts}

    assert started == set(Work)
    assert {work.value for work in started - {Work.GATE, Work.SAME}} == set(worker._KINDS)


def test_a_move_into_a_working_state_starts_work_and_no_other_move_starts_an_attempt() -> None:
    """Only so does exactly one attempt run while a build is at work, and none while it waits."""
    for moves in MOVES.values():
        for step in moves.values():
            attempts = step.starts is not None and step.starts is not Work.GATE
            assert attempts == (step.to in WORKING)


def test_waiting_for_checks_starts_with_a_look_at_them() -> None:
    for moves in MOVES.values():
        for step in moves.values():
            assert (step.starts is Work.GATE) == (step.to is State.AWAITING_CHECKS)


def test_only_an_attempt_that_waits_goes_on_as_the_same() -> None:
    same = {(s, t) for s, moves in MOVES.items() for t, step in moves.items() if step.starts is Work.SAME}

    assert same == {(state, Trigger.ATTEMPT_WAITS) for state in WORKING}
    assert all(MOVES[state][Trigger.ATTEMPT_WAITS].to is state for state in WORKING)


def test_a_late_trigger_is_no_move() -> None:
    assert move(State.PLANNING, Trigger.CHECKS_GREEN) is None
    assert move(State.RUNNING, Trigger.APPROVED) is None
    assert move(State.PAUSED, Trigger.STOPPED) is None


def test_the_next_phase_begins_only_after_green_a_release_or_a_persons_word() -> None:
    allowed = {
        State.PLANNING: {Trigger.PLAN_ACCEPTED},
        State.AWAITING_APPROVAL: {Trigger.APPROVED},
        State.AWAITING_CHECKS: {Trigger.CHECKS_GREEN, Trigger.CHECKS_RELEASED},
        State.PAUSED: {Trigger.APPROVED, Trigger.PHASE_RESUMED, Trigger.CHECKS_RELEASED},
    }
    for state, moves in MOVES.items():
        found = {trigger for trigger, step in moves.items() if step.starts is Work.PHASE}
        assert found <= allowed.get(state, set()), state


@given(st.sampled_from(OVER), st.lists(st.sampled_from(list(Trigger)), max_size=20))
def test_a_build_that_is_over_stays_over(state: State, triggers: list[Trigger]) -> None:
    assert [move(state, trigger) for trigger in triggers] == [None] * len(triggers)


@given(st.lists(st.sampled_from(list(Trigger)), max_size=40))
def test_whatever_happens_done_and_cancelled_are_never_left(triggers: list[Trigger]) -> None:
    state, story = State.PLANNING, [State.PLANNING]
    for trigger in triggers:
        step = move(state, trigger)
        state = step.to if step else state
        story.append(state)

    for ended in OVER:
        if ended in story:
            assert set(story[story.index(ended) :]) == {ended}


def writes_state(path: Path) -> bool:
    """Whether a module assigns an attribute named `state`, or makes a Build that has one already."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr == "state" and isinstance(node.ctx, ast.Store):
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            given = {word.arg: word.value for word in node.keywords}
            if node.func.id == "setattr" or (node.func.id == "Build" and ast.unparse(given["state"]) != "''"):
                return True
    return False


def test_the_state_of_a_build_is_written_in_one_module_only() -> None:
    paths = [*(ROOT / "bot").rglob("*.py"), *(ROOT / "handlers").rglob("*.py")]

    assert {str(path.relative_to(ROOT)) for path in paths if writes_state(path)} == {"bot/builds.py"}


def test_the_chart_shows_every_state_and_every_move_that_is_not_an_ending() -> None:
    chart = mermaid()

    for state, moves in MOVES.items():
        assert state in chart
        for trigger, step in moves.items():
            if trigger not in (Trigger.STOPPED, Trigger.MERGED, Trigger.CANCELLED):
                assert re.search(rf"^    {state} --> {step.to}: .*\b{trigger}\b", chart, re.MULTILINE)
