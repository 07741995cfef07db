"""Requests find their turn, and the same request always gets the same reply."""

import json
import time
from typing import Any

import anthropic
import pytest

from localmodel import Model, Request, Scenario
from tests.localmodel.talk import JSON, Start, request, scenario, tool

READ = {"read_file": {"path": "a.py"}}
HEADERS = {"authorization": "Bearer key", "anthropic-version": "2026-10-21"}


def several(**whens: JSON) -> Model:
    """Return a model with a conversation of one turn for each `when`, in order."""
    conversations = [{"name": name, "when": when, "turns": [{"say": name}]} for name, when in whens.items()]
    return Model(Scenario.parse({"name": "story", "conversations": conversations}))


def sent(served: Model, says: str = "Phase 1 of 4", **changes: Any) -> Request:
    """Send a request with that first message and return the model's record of it."""
    body = request(messages=[{"role": "user", "content": says}], **changes)
    served.answer(json.dumps(body).encode(), HEADERS)
    return served.requests[-1]


def test_a_conversation_is_replayed_turn_by_turn(start: Start) -> None:
    talk = start({"say": "I look.", "use": [READ]}, {"use": [READ, {"finish_phase": {}}]}, {"say": "Done."})

    first, second, last = talk.go_on(), talk.go_on(), talk.go_on()

    assert [block.type for block in first.content] == ["text", "tool_use"]
    calls = [(block.name, block.input) for block in second.content if block.type == "tool_use"]
    assert calls == [("read_file", {"path": "a.py"}), ("finish_phase", {})]
    assert [m.stop_reason for m in (first, second, last)] == ["tool_use", "tool_use", "end_turn"]
    records = [(r.conversation, r.turn, r.model, r.outcome) for r in talk.model.requests]
    assert records == [("only", turn, "claude-opus-5-5", "replied") for turn in range(3)]


def test_large_inputs_and_odd_characters_arrive_whole(start: Start) -> None:
    given = {"path": "ä/ü.py", "content": 'x = "\\u0041 \U0001f600"\r\n' * 4000}
    talk = start({"think": "", "use": [{"create_file": given}]})

    reply = talk.ask(thinking={"type": "adaptive", "display": "summarized"})

    assert [block.input for block in reply.content if block.type == "tool_use"] == [given]


def test_the_same_request_gets_the_same_reply_even_from_another_server(start: Start) -> None:
    turns = [{"think": "Hm.", "use": [READ]}, {"think": "So.", "use": [READ, READ]}]
    talk, other = start(*turns), start(*turns)
    talk.go_on()

    reply, repeated = talk.ask(), talk.ask()
    other.messages = talk.messages

    assert reply.to_dict()["content"] == repeated.to_dict()["content"] == other.ask().to_dict()["content"]
    assert reply.id == repeated.id == other.ask().id
    assert talk.model.requests[-1].digest == talk.model.requests[-2].digest


def test_ids_differ_from_turn_to_turn_and_from_call_to_call(start: Start) -> None:
    talk = start(*[{"use": [READ, READ]}] * 2)

    replies = [talk.go_on(), talk.go_on()]

    assert len({reply.id for reply in replies}) == 2
    assert len({block.id for reply in replies for block in reply.content if block.type == "tool_use"}) == 4


def test_a_turn_that_was_never_written_is_refused_by_name(start: Start) -> None:
    talk = start({"use": [READ]})
    talk.go_on()

    with pytest.raises(
        anthropic.BadRequestError, match="scenario `story`, conversation `only`: turn 1 was asked"
    ):
        talk.ask()

    assert talk.model.requests[-1].outcome == "exhausted"
    assert "has only 1" in talk.model.requests[-1].detail


def test_a_request_that_no_conversation_fits_is_refused_with_what_it_held() -> None:
    record = sent(several(plan={"tool": "submit_plan"}), says="Phase 9")

    assert record.outcome == "unmatched"
    assert record.conversation is None
    assert "scenario `story` has no conversation for this request" in record.detail
    assert "tools read_file, finish_phase, first message 'Phase 9'" in record.detail


def test_the_first_fitting_conversation_answers() -> None:
    model = several(
        plan={"tool": "submit_plan"},
        haiku={"model": "haiku"},
        repair={"tool": "finish_phase", "says": r"Phase 1 of \d", "also": "(?i)red check"},
        phase={"tool": "finish_phase", "says": r"Phase 1 of \d"},
        rest={},
    )

    assert sent(model, tools=[tool("submit_plan")]).conversation == "plan"
    assert sent(model, model="claude-haiku-5-5").conversation == "haiku"
    assert sent(model, "Phase 1 of 4. A Red Check!").conversation == "repair"
    assert sent(model, "Phase 1 of 4").conversation == "phase"
    assert sent(model, "Phase 2 of 4").conversation == "rest"


def test_nth_counts_distinct_conversations_not_requests() -> None:
    model = several(first={"says": "^Phase", "nth": 1}, second={"says": "^Phase", "nth": 2}, other={})

    assert sent(model, "Phase 1").conversation == "first"
    assert sent(model, "Phase 1").conversation == "first"
    assert sent(model, "Phase 1, again").conversation == "second"
    assert sent(model, "Phase 1").conversation == "first"
    assert sent(model, "Phase 1, once more").conversation == "other"


def test_nth_is_not_confused_by_a_moved_breakpoint() -> None:
    model = several(first={"nth": 1}, second={"nth": 2})
    sent(model)

    assert sent(model, cache_control=None).conversation == "first"


def test_results_that_a_turn_expects_are_taken(start: Start) -> None:
    talk = start({"use": [READ]}, {"say": "Good.", "expect": {"last_result": "^outside", "is_error": True}})
    talk.go_on("outside the allowed paths", is_error=True)

    assert talk.ask().stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("expect", "result", "is_error"),
    [
        ({"last_result": "^outside"}, "not outside", False),
        ({"is_error": True}, "fine", False),
        ({"is_error": False}, "broken", True),
        ({"last_result": "fine", "is_error": True}, "broken", True),
    ],
)
def test_results_that_a_turn_does_not_expect_are_refused(
    start: Start, expect: JSON, result: str, is_error: bool
) -> None:
    talk = start({"use": [READ]}, {"say": "Good.", "expect": expect})
    talk.go_on(result, is_error=is_error)

    with pytest.raises(anthropic.BadRequestError, match="conversation `only`, turn 1: expected results"):
        talk.ask()

    assert talk.model.requests[-1].outcome == "unexpected"
    assert result in talk.model.requests[-1].detail


def test_another_scenario_can_be_loaded(start: Start) -> None:
    talk = start({"say": "one"})
    talk.ask()

    talk.model.load(scenario({"say": "two"}))

    assert [block.text for block in talk.ask().content if block.type == "text"] == ["two"]


def test_a_stop_reason_can_be_written_down(start: Start) -> None:
    assert start({"use": [READ], "stop": "max_tokens"}).ask().stop_reason == "max_tokens"


def test_a_delayed_turn_comes_late_and_pace_shortens_it(start: Start) -> None:
    turn = {"say": "late", "delay": 10}
    talk = start(model=Model(scenario(turn, pace={"first_byte": 10}), pace=0.01))

    before = time.monotonic()
    talk.ask()

    assert 0.2 <= time.monotonic() - before < 5


def test_deltas_come_at_the_scenario_s_pace(start: Start) -> None:
    talk = start({"say": "x" * 80}, pace={"between": 0.02})

    before = time.monotonic()
    talk.ask()

    assert time.monotonic() - before >= 0.02 * 8
