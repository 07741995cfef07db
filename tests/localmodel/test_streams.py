"""The stream of a reply: its events, its thinking and its headers, as the real client reads them."""

from typing import Any

import pytest

from tests.localmodel.talk import JSON, Start, Talk, request

THINKING = {"think": "Look at the layout first.", "say": "I look.", "use": [{"read_file": {"path": "a.py"}}]}
SHOWN = {"type": "adaptive", "display": "summarized"}


async def events(talk: Talk, **changes: Any) -> list[JSON]:
    """Return the raw events of one reply."""
    stream: Any = await talk.client.messages.create(**request(messages=talk.messages, **changes))
    return [event.to_dict() async for event in stream]


def test_events_come_in_the_order_of_the_api(start: Start) -> None:
    talk = start(THINKING)

    seen = talk.run(events(talk, thinking=SHOWN))

    kinds = [event["type"] for event in seen]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 3
    deltas = [event["delta"]["type"] for event in seen if event["type"] == "content_block_delta"]
    assert sorted(set(deltas), key=deltas.index) == [
        "thinking_delta",
        "signature_delta",
        "text_delta",
        "input_json_delta",
    ]
    assert deltas.count("input_json_delta") > 2


def test_thinking_is_shown_when_asked_for(start: Start) -> None:
    block = start(THINKING).ask(thinking=SHOWN).content[0]

    assert block.type == "thinking"
    assert block.thinking == "Look at the layout first."
    assert len(block.signature) > 100


def test_a_stream_can_end_before_its_first_event(start: Start) -> None:
    talk = start({**THINKING, "faults": [{"kind": "end_early", "after": 0}]})

    assert talk.run(events(talk)) == []


def test_thinking_is_hidden_when_asked_to(start: Start) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    talk = start(THINKING)

    def thought(**display: str) -> str:
        reply = talk.ask(model="claude-haiku-4-5", max_tokens=2000, thinking={**thinking, **display})
        return str(reply.to_dict()["content"][0]["thinking"])  # type: ignore[index]

    assert thought() == "Look at the layout first."
    assert thought(display="omitted") == ""


def test_newer_models_keep_their_thinking_to_themselves(start: Start) -> None:
    reply = start(THINKING).ask()

    assert reply.content[0].type == "thinking"
    assert reply.content[0].thinking == ""
    assert reply.usage.output_tokens_details is not None
    assert reply.usage.output_tokens_details.thinking_tokens == 7


@pytest.mark.parametrize(
    ("model", "thinking", "first"),
    [
        ("claude-sonnet-5-5", None, "thinking"),
        ("claude-sonnet-5-5", {"type": "disabled"}, "text"),
        ("claude-haiku-4-5", None, "text"),
    ],
)
def test_a_model_that_does_not_think_sends_no_thinking(
    start: Start, model: str, thinking: JSON | None, first: str
) -> None:
    assert start(THINKING).ask(model=model, thinking=thinking).content[0].type == first


def test_usage_is_cumulative_in_the_last_delta(start: Start) -> None:
    talk = start(THINKING)

    seen = talk.run(events(talk))

    opening, closing = seen[0]["message"]["usage"], seen[-2]["usage"]
    for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"):
        assert closing[name] == opening[name]
    assert opening["cache_creation_input_tokens"] == sum(opening["cache_creation"].values()) > 512
    assert closing["output_tokens"] > opening["output_tokens"]


def test_every_answer_carries_an_id_and_the_rate_limits(start: Start) -> None:
    talk = start(THINKING)

    async def headers() -> dict[str, str]:
        stream: Any = await talk.client.messages.create(**request(messages=talk.messages))
        async with stream:
            return dict(stream.response.headers)

    first, second = talk.run(headers()), talk.run(headers())

    assert first["request-id"].startswith("req_")
    assert first["request-id"] != second["request-id"]
    left = "anthropic-ratelimit-requests-remaining"
    assert int(second[left]) == int(first[left]) - 1
    assert first["content-type"].startswith("text/event-stream")
    assert "anthropic-ratelimit-input-tokens-reset" in first


def test_credentials_of_the_client_are_recorded(start: Start) -> None:
    talk = start(THINKING)
    talk.ask()

    assert talk.model.requests[0].headers["authorization"] == "Bearer test"
    assert talk.model.requests[0].body["max_tokens"] == 1000
