"""Every fault arrives at the real client as the API's own failures do."""

import time

import anthropic
import httpx2
import pytest
from pydantic import ValidationError

from localmodel import Fault
from localmodel.faults import KINDS
from tests.localmodel.talk import JSON, Start

WORK = {"say": "I write.", "use": [{"create_file": {"path": "a.py", "content": "x = 1\n" * 50}}]}
REFUSALS: dict[str, tuple[type[anthropic.APIStatusError], int, str]] = {
    "rate_limited": (anthropic.RateLimitError, 429, "rate limit"),
    "overloaded": (anthropic.InternalServerError, 529, "Overloaded"),
    "api_error": (anthropic.InternalServerError, 500, "Internal server error"),
    "prompt_too_long": (
        anthropic.BadRequestError,
        400,
        "prompt is too long: 1008310 tokens > 1000000 maximum",
    ),
    "timeout": (anthropic.APIStatusError, 504, "timed out"),
    "request_too_large": (anthropic.APIStatusError, 413, "exceeds the maximum size"),
    "billing": (anthropic.APIStatusError, 402, "billing"),
    "credit": (anthropic.BadRequestError, 400, "credit balance is too low"),
    "spend_limit": (anthropic.RateLimitError, 429, "You will regain access on"),
    "auth": (anthropic.AuthenticationError, 401, "invalid x-api-key"),
    "permission": (anthropic.PermissionDeniedError, 403, "does not have permission"),
    "not_found": (anthropic.NotFoundError, 404, "model: claude-opus-5-5"),
    "thinking_bound": (anthropic.BadRequestError, 400, "bound to a different conversation"),
}
BREAKS: dict[str, type[Exception]] = {
    "overloaded_in_stream": anthropic.APIStatusError,
    "cut": httpx2.TransportError,
    "bad_json": ValueError,
    "html": AssertionError,
}
STOPS = {
    "refusal": "refusal",
    "max_tokens": "max_tokens",
    "context_window": "model_context_window_exceeded",
    "end_early": None,
    "no_message_stop": "tool_use",
    "stall": "tool_use",
}


def test_every_kind_of_fault_is_tried_here() -> None:
    assert {*REFUSALS, *BREAKS, *STOPS} == {*KINDS}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_is_the_client_s_own_error(start: Start, kind: str) -> None:
    error, status, words = REFUSALS[kind]
    talk = start({**WORK, "faults": [{"kind": kind}]})

    with pytest.raises(error) as caught:
        talk.ask()

    assert caught.value.status_code == status
    assert words in (caught.value.api_message or "")
    assert (caught.value.request_id or "").startswith("req_")
    assert talk.model.requests[-1].outcome == kind
    assert talk.ask().stop_reason == "tool_use"


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_stream_is_the_client_s_own_error(start: Start, kind: str) -> None:
    talk = start({**WORK, "faults": [{"kind": kind}]})

    with pytest.raises(BREAKS[kind]):
        talk.ask()

    assert talk.model.requests[-1].outcome == kind
    assert talk.ask().stop_reason == "tool_use"


@pytest.mark.parametrize("kind", STOPS)
def test_a_stream_may_end_otherwise_than_hoped(start: Start, kind: str) -> None:
    wait = {"seconds": 0.01} if kind == "stall" else {}
    talk = start({**WORK, "faults": [{"kind": kind, **wait}]})

    assert talk.ask().stop_reason == STOPS[kind]
    assert talk.model.requests[-1].outcome == kind
    assert talk.ask().stop_reason == "tool_use"


def test_a_rate_limit_says_how_long_to_wait_only_when_told(start: Start) -> None:
    talk = start({**WORK, "faults": [{"kind": "rate_limited", "retry_after": 37}, {"kind": "rate_limited"}]})

    waits = []
    for _ in range(2):
        with pytest.raises(anthropic.RateLimitError) as caught:
            talk.ask()
        waits.append(caught.value.response.headers.get("retry-after"))

    assert waits == ["37", None]


def test_the_spend_limit_has_its_code_and_no_wait(start: Start) -> None:
    talk = start({**WORK, "faults": [{"kind": "spend_limit"}]})

    with pytest.raises(anthropic.RateLimitError) as caught:
        talk.ask()

    assert caught.value.error_code == "enforced_spend_limit_reached"
    assert "retry-after" not in caught.value.response.headers


def test_a_reset_by_the_server_is_no_early_close_by_the_client(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    talk = start({**WORK, "faults": [{"kind": "cut"}]})

    with pytest.raises(httpx2.ReadError):
        talk.ask()

    assert talk.ask().stop_reason == "tool_use"
    assert [record.closed_at for record in talk.model.requests] == [None, None]
    assert [entry.message for entry in caplog.records if entry.levelname == "ERROR"] == []


def test_an_error_in_the_stream_names_its_type(start: Start) -> None:
    talk = start({**WORK, "faults": [{"kind": "overloaded_in_stream"}]})

    with pytest.raises(anthropic.APIStatusError) as caught:
        talk.ask()

    assert (caught.value.status_code, caught.value.type) == (200, "overloaded_error")


def test_a_fault_is_served_as_often_as_it_says_and_then_the_next(start: Start) -> None:
    faults = [{"kind": "overloaded", "times": 2}, {"kind": "api_error"}]
    talk = start({**WORK, "faults": faults})

    for _ in range(3):
        with pytest.raises(anthropic.InternalServerError):
            talk.ask()
    talk.ask()

    outcomes = [record.outcome for record in talk.model.requests]
    assert outcomes == ["overloaded", "overloaded", "api_error", "replied"]


@pytest.mark.parametrize("kind", ["max_tokens", "context_window"])
def test_a_cut_reply_can_be_kept_and_its_turn_comes_again(start: Start, kind: str) -> None:
    """The cut call is answered with an error; the scenario goes on where it was."""
    talk = start({**WORK, "faults": [{"kind": kind, "times": 2}]}, {"say": "Done."})

    cut = talk.go_on("cut", is_error=True).content[-1]
    talk.go_on("cut", is_error=True)
    whole = talk.go_on().content[-1]

    assert cut.type == whole.type == "tool_use"
    assert cut.input != whole.input == WORK["use"][0]["create_file"]  # type: ignore[index]
    assert talk.ask().stop_reason == "end_turn"


def test_a_refusal_of_the_model_names_its_category(start: Start) -> None:
    reply = start({**WORK, "faults": [{"kind": "refusal", "category": "bio"}]}).ask()

    assert reply.stop_details is not None
    assert reply.stop_details.category == "bio"
    assert reply.content == []


@pytest.mark.parametrize(("after", "blocks"), [(1, 1), (10, 2), (1000, 2)])
def test_a_stream_ends_after_as_many_deltas_as_told(start: Start, after: int, blocks: int) -> None:
    reply = start({**WORK, "faults": [{"kind": "end_early", "after": after}]}).ask()

    assert len(reply.content) == blocks
    assert reply.stop_reason is None


def test_a_stream_may_be_cut_before_its_first_event(start: Start) -> None:
    talk = start({**WORK, "faults": [{"kind": "cut", "after": 0}]})

    with pytest.raises((httpx2.TransportError, anthropic.APIConnectionError)):
        talk.ask()


def test_a_stall_lasts(start: Start) -> None:
    talk = start({**WORK, "faults": [{"kind": "stall", "seconds": 0.2}]})

    before = time.monotonic()
    talk.ask()

    assert time.monotonic() - before >= 0.2


def test_a_client_that_gives_up_on_a_stall_gets_its_own_timeout(start: Start) -> None:
    talk = start({**WORK, "faults": [{"kind": "stall"}]})
    talk.client = talk.client.with_options(timeout=0.2)

    with pytest.raises(httpx2.ReadTimeout):
        talk.ask()

    assert talk.model.requests[-1].outcome == "stall"


@pytest.mark.parametrize(
    ("filters", "hits"),
    [
        ({}, [True, False]),
        ({"turn": 1}, [False, True]),
        ({"conversation": "only", "model": "claude-opus-5-5", "times": 2}, [True, True]),
        ({"conversation": "another"}, [False, False]),
        ({"model": "claude-haiku-5-5"}, [False, False]),
    ],
)
def test_an_injected_fault_meets_the_next_matching_request(
    start: Start, filters: JSON, hits: list[bool]
) -> None:
    talk = start({"use": [{"read_file": {"path": "a"}}]}, {"say": "Done."})
    talk.model.inject("refusal", **filters)

    replies = [talk.ask(), talk.go_on(), talk.ask()][::2] if filters.get("turn") else [talk.ask(), talk.ask()]

    assert [reply.stop_reason == "refusal" for reply in replies] == hits


def test_a_fault_can_be_injected_where_nothing_is_written(start: Start) -> None:
    talk = start()
    talk.model.inject(Fault(kind="overloaded"))
    talk.model.inject("end_early", after=1)

    with pytest.raises(anthropic.InternalServerError):
        talk.ask()

    assert talk.ask().stop_reason is None
    with pytest.raises(anthropic.BadRequestError, match="the empty scenario has no conversation"):
        talk.ask()


def test_an_invalid_request_uses_up_no_fault(start: Start) -> None:
    talk = start({**WORK, "faults": [{"kind": "overloaded"}]})
    with pytest.raises(anthropic.BadRequestError):
        talk.ask(max_tokens=0)

    with pytest.raises(anthropic.InternalServerError):
        talk.ask()


@pytest.mark.parametrize(
    "fields", [{"fault": "flood"}, {"fault": "cut", "seconds": 1}, {"fault": "cut", "when": 1}]
)
def test_a_fault_that_does_not_exist_cannot_be_injected(start: Start, fields: JSON) -> None:
    talk = start(WORK)

    with pytest.raises(ValidationError):
        talk.model.inject(**fields)
