"""A reply is bound to the words before it: a changed prefix is refused, a moved breakpoint is not."""

from collections.abc import Callable
from typing import Any

import anthropic
import pytest

from tests.localmodel.talk import JSON, Start, Talk, request

READ = {"use": [{"read_file": {"path": "a.py"}}]}
THINK = {"think": "Hm.", **READ}
BOUND = (
    r"messages\.1\.content\.0: Invalid `signature` in `thinking` block\. The block is bound to a different"
)


def change_first_message(talk: Talk) -> JSON:
    talk.messages[0] = {"role": "user", "content": "Phase 1 of 5: begin."}
    return {}


def change_system(talk: Talk) -> JSON:
    return {"system": "You build well."}


def change_tools(talk: Talk) -> JSON:
    return {"tools": [*request()["tools"], {"name": "extra", "input_schema": {"type": "object"}}]}


def reorder_tools(talk: Talk) -> JSON:
    return {"tools": request()["tools"][::-1]}


@pytest.mark.parametrize("change", [change_first_message, change_system, change_tools, reorder_tools])
@pytest.mark.parametrize("turn", [THINK, READ], ids=["thinking", "tool call"])
def test_a_changed_prefix_is_refused(start: Start, change: Callable[[Talk], JSON], turn: JSON) -> None:
    """With or without a thinking block in the reply."""
    talk = start(turn, turn)
    talk.go_on()
    changes = change(talk)

    with pytest.raises(anthropic.BadRequestError, match=BOUND):
        talk.ask(**changes)

    assert talk.model.requests[-1].outcome == "invalid"


@pytest.mark.parametrize("place", ["result", "input"])
def test_an_earlier_turn_cannot_be_edited(start: Start, place: str) -> None:
    talk = start(THINK, THINK, READ)
    talk.go_on()
    talk.go_on()
    if place == "result":
        talk.messages[2]["content"][0]["content"] = "[cleared]"
    else:
        talk.messages[1]["content"][1]["input"] = {"path": "b.py"}

    with pytest.raises(
        anthropic.BadRequestError, match=r"messages\.3\.content\.0: .* different conversation"
    ):
        talk.ask()


def test_the_order_of_keys_in_a_tool_input_counts(start: Start) -> None:
    edit = {"use": [{"edit_file": {"path": "a", "old_str": "b", "new_str": "c"}}]}
    talk = start(edit, READ, READ)
    talk.go_on()
    talk.go_on()
    block = talk.messages[1]["content"][0]
    block["input"] = dict(sorted(block["input"].items()))

    with pytest.raises(anthropic.BadRequestError, match="bound to a different conversation"):
        talk.ask()


def test_a_thinking_block_cannot_be_left_out(start: Start) -> None:
    talk = start(THINK, THINK, READ)
    talk.go_on()
    talk.go_on()
    del talk.messages[1]["content"][0]

    with pytest.raises(anthropic.BadRequestError, match="bound to a different conversation"):
        talk.ask()


@pytest.mark.parametrize("changed", [{"thinking": "Aha."}, {"signature": "AAAA"}, {"signature": "no!"}])
def test_a_thinking_block_cannot_be_changed(start: Start, changed: JSON) -> None:
    talk = start(THINK, THINK)
    talk.go_on()
    talk.messages[1]["content"][0].update(changed)

    with pytest.raises(anthropic.BadRequestError, match=r"Invalid `signature` in `thinking` block'"):
        talk.ask()


@pytest.mark.parametrize(
    "changes",
    [
        {"cache_control": None},
        {"system": [{"text": "You build.", "type": "text"}]},
        {"system": "You build."},
        {"max_tokens": 2000, "output_config": {"effort": "low"}},
    ],
)
def test_what_is_not_part_of_the_prefix_may_change(start: Start, changes: dict[str, Any]) -> None:
    talk = start(THINK, THINK)
    talk.go_on()

    assert talk.ask(**changes).stop_reason == "tool_use"


def test_another_model_drops_the_thinking_without_a_word(start: Start) -> None:
    talk = start(THINK, THINK)
    talk.go_on()

    assert talk.ask(model="claude-fable-5-2", system="You build well.").stop_reason == "tool_use"


def test_older_models_do_not_check_the_prefix(start: Start) -> None:
    talk = start(THINK, THINK)
    talk.go_on(model="claude-opus-5")

    assert talk.ask(model="claude-opus-5", system="You build well.").stop_reason == "tool_use"


def test_a_block_of_one_conversation_is_foreign_in_another(start: Start) -> None:
    talk = start(THINK, THINK)
    talk.go_on()
    first = talk.messages
    talk.messages = [{"role": "user", "content": "Another."}, *first[1:]]

    with pytest.raises(anthropic.BadRequestError, match=BOUND):
        talk.ask()
