"""One turn of a model against a loopback server that answers with whatever bytes a test likes."""

import asyncio
import copy
import email.utils
import hashlib
import json
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from bot import pricing
from bot.errors import FailureKind, SettingsError, UserError
from bot.llm import Models
from bot.pricing import Usage
from bot.turns import Header, ModelFailure, Reply, estimate, request_hash
from localmodel import Model, Scenario, serve

KEY = "gateway.verysecret~0123456789"
TOOL = {"name": "read_file", "description": "Read.", "input_schema": {"type": "object", "properties": {}}}
HEADER = Header("claude-opus-5-5", "You build.", (TOOL,), 8_000, "medium")
MESSAGES = [{"role": "user", "content": "Begin – now."}]


@dataclass
class Answer:
    """What the server sends for one request, and how it ends: whole, cut, reset, held open or silent."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    end: str = "whole"
    every: float = 0.0
    """Seconds between pings while held open; 0 for none."""


@dataclass
class Sent:
    """One request as it came over the wire."""

    head: str
    body: bytes
    connection: int


class Api:
    """A scripted Messages API on a loopback port; the last answer is repeated."""

    def __init__(self, *answers: Answer):
        self.answers = list(answers)
        self.requests: list[Sent] = []
        self.connections: list[asyncio.StreamWriter] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.gone = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        self.tasks.append(asyncio.current_task())
        number = len(self.connections)
        try:
            while await self.exchange(reader, writer, number):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.gone.set()
            writer.close()

    async def exchange(self, reader, writer, number: int) -> bool:
        """One request and its answer; whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(lines.get("content-length", 0)))
        self.requests.append(Sent(head, body, number))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.end != "silent":
            writer.write(start(answer))
            await writer.drain()
        if answer.end == "reset":
            await asyncio.sleep(0.05)  # what was sent is read before the reset arrives
            writer.transport.abort()
        elif answer.end == "cut":
            writer.close()
        elif answer.end in ("hold", "silent"):
            await self.hold(reader, writer, answer.every)
        return answer.end == "whole"

    async def hold(self, reader, writer, every: float) -> None:
        """Wait until the client goes away."""
        leaving = asyncio.ensure_future(reader.read())
        while not leaving.done():
            await asyncio.wait([leaving], timeout=every or None)
            if every:
                writer.write(chunk(sse({"type": "ping"})))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def start(answer: Answer) -> bytes:
    lines = {"content-type": "text/event-stream; charset=utf-8", "request-id": "req_7", **answer.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    last = b"0\r\n\r\n" if answer.end == "whole" else b""
    whole = f"HTTP/1.1 {answer.status} X\r\n{head}transfer-encoding: chunked\r\n\r\n".encode()
    return whole + chunk(answer.body) + last


def sse(*events: dict) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


def begin(**usage: object) -> dict:
    counts = {"input_tokens": 20, "output_tokens": 1, **usage}
    told = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "usage": counts,
    }
    return {"type": "message_start", "message": {**told, "content": [], "stop_reason": None}}


def block(index: int, content: dict, *deltas: dict) -> list[dict]:
    opened = {"type": "content_block_start", "index": index, "content_block": content}
    pieces = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [opened, *pieces, {"type": "content_block_stop", "index": index}]


def text(index: int, *pieces: str) -> list[dict]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": p} for p in pieces))


def call(index: int, *pieces: str) -> list[dict]:
    opened = {"type": "tool_use", "id": f"toolu_{index}", "name": "read_file", "input": {}}
    return block(index, opened, *({"type": "input_json_delta", "partial_json": p} for p in pieces))


def finish(reason: str | None = "end_turn", output: int = 5, **delta: object) -> list[dict]:
    ending = {
        "type": "message_delta",
        "delta": {"stop_reason": reason, **delta},
        "usage": {"output_tokens": output},
    }
    return [ending, {"type": "message_stop"}]


def stream(*events: dict, end: str = "whole", every: float = 0.0) -> Answer:
    return Answer(sse(*events), end=end, every=every)


HELLO = stream(begin(), *text(0, "Hel", "lo"), *finish())


def error(status: int, kind: str, message: str, code: str | None = None, **headers: str) -> Answer:
    told = {"type": kind, "message": message, "details": {"error_code": code} if code else None}
    body = json.dumps({"type": "error", "error": told}).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(body, status, {"content-type": "application/json", **names})


def page(status: int, html: str) -> Answer:
    return Answer(html.encode(), status, {"content-type": "text/html"})


@asynccontextmanager
async def talking(*answers: Answer, **options: float) -> AsyncIterator[tuple[Models, Api]]:
    """A server with a script and a client of it."""
    api = Api(*answers)
    server = await asyncio.start_server(api.serve, "127.0.0.1", 0)
    api.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    models = Models(api_key=KEY, base_url=api.url, **options)
    try:
        yield models, api
    finally:
        await models.close()
        server.close()
        await server.wait_closed()
        for writer in api.connections:
            writer.close()
        await asyncio.gather(*api.tasks)


def ask(
    *answers: Answer, header: Header = HEADER, turns: int = 1, **options: float
) -> tuple[list[Reply], Api]:
    """The replies to the same turn asked `turns` times, and what the server saw."""

    async def main() -> tuple[list[Reply], Api]:
        async with talking(*answers, **options) as (models, api):
            return [await models.turn(header, MESSAGES) for _ in range(turns)], api

    return asyncio.run(main())


def reply(*events: dict) -> Reply:
    return ask(stream(*events))[0][0]


def failure(answer: Answer, **options: float) -> ModelFailure:
    """The failure that an answer makes of a turn; asked once and only once."""

    async def main() -> ModelFailure:
        async with talking(answer, **options) as (models, api):
            with pytest.raises(ModelFailure) as raised:
                await models.turn(HEADER, MESSAGES)
            assert len(api.requests) == 1
            return raised.value

    return asyncio.run(main())


# What is sent


def test_the_request_is_exactly_what_header_and_messages_say():
    """Thinking adaptive, one marker behind the system text, one that moves; no sampling, no forced tool."""
    sent = ask(HELLO)[1].requests[0].body

    assert sent.decode() == (
        '{"model":"claude-opus-5-5","max_tokens":8000,"stream":true,"thinking":{"type":"adaptive"},'
        '"output_config":{"effort":"medium"},"cache_control":{"type":"ephemeral"},'
        '"tools":[{"name":"read_file","description":"Read.","input_schema":{"type":"object","properties":{}}}],'
        '"system":[{"type":"text","text":"You build.","cache_control":{"type":"ephemeral"}}],'
        '"messages":[{"role":"user","content":"Begin – now."}]}'
    )


def test_the_same_turn_is_the_same_bytes_again():
    _, api = ask(HELLO, turns=3, header=Header.load(HEADER.dump()))
    assert len({sent.body for sent in api.requests} | {ask(HELLO)[1].requests[0].body}) == 1


def test_a_reply_goes_back_as_the_text_it_was_journaled_as():
    """The order of keys, the spelling of numbers and odd characters of a call come back unchanged."""
    first = reply(
        begin(),
        *call(0, '{"z": 1.50, "a": [9007199254740993, "é', '\\u0000\\n"], "": null}'),
        *finish("tool_use"),
    )
    kept = (
        '{"type":"tool_use","id":"toolu_0","name":"read_file",'
        '"input":{"z":1.5,"a":[9007199254740993,"é\\u0000\\n"],"":null}}'
    )
    assert first.message == f'{{"role":"assistant","content":[{kept}]}}'

    async def again() -> bytes:
        async with talking(HELLO) as (models, api):
            await models.turn(HEADER, [*MESSAGES, json.loads(first.message)])
            return api.requests[0].body

    assert asyncio.run(again()).decode().endswith(f",{first.message}]}}")


def test_what_is_journaled_is_never_marked_for_the_cache():
    messages = [{"role": "user", "content": [{"type": "text", "text": "Begin."}]}]
    before = copy.deepcopy((messages, HEADER))

    async def main() -> None:
        async with talking(HELLO) as (models, _):
            await models.turn(HEADER, messages)

    asyncio.run(main())
    assert (messages, HEADER) == before
    assert "cache_control" not in HEADER.dump()


def test_a_model_that_takes_neither_effort_nor_adaptive_thinking_is_sent_neither():
    small = Header("claude-haiku-4-5", "", (), 100, pricing.default_effort("claude-haiku-4-5"))
    body = json.loads(ask(HELLO, header=small)[1].requests[0].body)
    assert body.keys() == {"model", "max_tokens", "stream", "cache_control", "messages"}


def test_the_key_travels_in_its_header_only():
    sent = ask(HELLO)[1].requests[0]
    assert f"Authorization: Bearer {KEY}" in sent.head
    assert sent.head.startswith("POST /v1/messages HTTP/1.1")
    assert KEY.encode() not in sent.body


def test_a_model_without_a_price_is_refused_before_anything_is_sent():
    async def main() -> int:
        async with talking(HELLO) as (models, api):
            with pytest.raises(UserError):
                await models.turn(Header("claude-next", "", (), 1, "", thinking="adaptive"), MESSAGES)
            return len(api.requests)

    assert asyncio.run(main()) == 0


@pytest.mark.parametrize("words", ["\ud800", float("nan"), object()])
def test_a_request_that_is_no_json_is_our_fault(words):
    async def main() -> ModelFailure:
        async with talking(HELLO) as (models, _):
            with pytest.raises(ModelFailure) as raised:
                await models.turn(HEADER, [{"role": "user", "content": words}])
            return raised.value

    assert asyncio.run(main()).kind is FailureKind.BUG


def test_a_header_survives_the_journal():
    assert Header.load(HEADER.dump()) == HEADER
    assert Header.load(HEADER.dump()).dump() == HEADER.dump()
    assert HEADER.digest == hashlib.sha256(HEADER.dump().encode()).hexdigest()


def test_a_header_keeps_how_its_model_thought_when_it_was_frozen():
    """A later price table must not change the bytes of a conversation that goes on."""
    frozen = Header.load(HEADER.dump().replace('"always"', '"extended"'))
    assert "thinking" not in json.loads(ask(HELLO, header=frozen)[1].requests[0].body)


def test_every_part_of_a_turn_is_in_its_hash():
    fields = {"model": "claude-opus-5", "system": "", "tools": (), "max_tokens": 1, "effort": "low"}
    others = [
        Header(**{**json.loads(HEADER.dump()), "tools": (TOOL,), name: value})
        for name, value in fields.items()
    ]
    hashes = {request_hash(header, MESSAGES) for header in [HEADER, *others]}
    assert len(hashes | {request_hash(HEADER, []), request_hash(HEADER, MESSAGES * 2)}) == 8
    assert request_hash(HEADER, copy.deepcopy(MESSAGES)) == ask(HELLO)[0][0].request_hash


def test_the_estimate_of_a_prompt_grows_with_it():
    assert 40 < estimate(HEADER, MESSAGES) < estimate(HEADER, MESSAGES * 9) < 300


def test_the_estimate_counts_a_token_for_each_sign_of_a_dense_script():
    assert estimate(HEADER, [{"role": "user", "content": "書" * 900}]) > 900


# What comes back


def test_a_reply_is_put_together_as_it_was_sent():
    """Thinking without words keeps its signature, and pings, unknown events and deltas leave no trace."""
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    signed = {"type": "signature_delta", "signature": "c2ln"}
    got = reply(
        begin(),
        {"type": "ping"},
        *block(0, thinking, {"type": "progress_delta", "estimated_tokens": 9}, signed),
        {"type": "moon_phase", "index": 4},
        *text(1, "I ", "read – ", "🌙."),
        *call(2, "", '{"path": "a', '.py"}'),
        *call(3),
        *finish("tool_use"),
    )

    assert [content["type"] for content in got.blocks()] == ["thinking", "text", "tool_use", "tool_use"]
    assert got.blocks()[0] == {"type": "thinking", "thinking": "", "signature": "c2ln"}
    assert got.text == "I read – 🌙."
    assert [(c.id, c.name, c.input) for c in got.calls()] == [
        ("toolu_2", "read_file", {"path": "a.py"}),
        ("toolu_3", "read_file", {}),
    ]
    assert (got.stop_reason, got.cut, got.request_id, got.model) == (
        "tool_use",
        False,
        "req_7",
        "claude-opus-5-5",
    )


def test_a_field_the_api_did_not_send_is_not_in_the_message():
    assert reply(begin(), *text(0, "Hi"), *finish()).message == (
        '{"role":"assistant","content":[{"type":"text","text":"Hi"}]}'
    )


def test_events_without_data_are_passed_over():
    body = b": hello\n\nevent: ping\n\n" + sse(begin(), *text(0, "Hi"), *finish())
    assert ask(Answer(body))[0][0].text == "Hi"


def test_unknown_blocks_and_fields_are_kept():
    odd = {"type": "hologram", "data": "x", "caller": {"type": "direct"}}
    assert reply(begin(), *block(0, odd), *finish()).blocks() == [odd]


def test_citations_are_kept_in_order():
    deltas = [{"type": "citations_delta", "citation": {"n": n}} for n in (1, 2)]
    got = reply(begin(), *block(0, {"type": "text", "text": "", "citations": None}, *deltas), *finish())
    assert got.blocks()[0]["citations"] == [{"n": 1}, {"n": 2}]


def test_a_reply_without_content_is_an_empty_message():
    got = reply(begin(), *finish())
    assert (got.blocks(), got.text, got.calls()) == ([], "", [])


def test_usage_is_what_was_told_last_and_is_priced():
    """10 in, 100 read, 30 written for 5 minutes and 20 for an hour, 50 out on Opus 5.5."""
    told = {"cache_read_input_tokens": 100, "cache_creation": {"ephemeral_1h_input_tokens": 20}}
    opened = begin(cache_creation_input_tokens=50, **told)
    ending, stop = finish(output=50)
    ending["usage"] = {"output_tokens": 50, "input_tokens": 10, "cache_read_input_tokens": None}

    got = reply(opened, ending, stop)

    assert got.usage == Usage(10, 50, cache_read=100, cache_write_5m=30, cache_write_1h=20)
    assert got.cost == Decimal("0.00137")


def test_cache_writes_without_a_breakdown_are_for_five_minutes():
    got = reply(begin(cache_creation_input_tokens=50, cache_creation=None), *finish())
    assert got.usage == Usage(20, 5, cache_write_5m=50)


def test_a_large_argument_in_many_pieces_is_quick():
    """Joined once; parsing it anew with each piece would take minutes."""
    pieces = ["{", *(f'"k{n}": "{"x" * 90}", ' for n in range(4_000)), '"end": 1}']
    before = time.process_time()

    got = reply(begin(), *call(0, *pieces), *finish("tool_use"))

    assert len(got.calls()[0].input) == 4_001
    assert time.process_time() - before < 5


def test_a_reply_cut_by_max_tokens_is_kept_with_an_empty_input_for_the_cut_call():
    got = reply(begin(), *call(0, '{"path": "a"}'), *call(1, '{"path": "b'), *finish("max_tokens"))
    assert got.cut
    assert [each.input for each in got.calls()] == [{"path": "a"}, {}]
    assert json.loads(got.message)["content"][1]["input"] == {}


def test_every_event_is_seen_as_it_comes():
    async def main() -> list[str]:
        seen: list[str] = []
        async with talking(stream(begin(), {"type": "ping"}, *text(0, "Hi"), *finish())) as (models, _):
            await models.turn(HEADER, MESSAGES, on_event=lambda event: seen.append(event["type"]))
        return seen

    assert asyncio.run(main())[:4] == ["message_start", "ping", "content_block_start", "content_block_delta"]


def test_turns_share_one_connection():
    _, api = ask(HELLO, turns=3)
    assert [sent.connection for sent in api.requests] == [1, 1, 1]


@pytest.mark.parametrize("end", ["cut", "reset", "hold"])
def test_a_whole_reply_is_not_lost_to_how_the_connection_ends(end):
    answer = stream(begin(), *text(0, "Done"), *finish(), end=end)
    began = time.monotonic()
    assert ask(answer)[0][0].text == "Done"
    assert time.monotonic() - began < 5


# What goes wrong

LONG = "prompt is too long: 208310 tokens > 200000 maximum"
LONG_BEFORE = "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease them"
CREDIT = "Your credit balance is too low to access the Anthropic API."
OWN_LIMIT = "You have reached your specified API usage limits. You will regain access on 2026-12-01."
RATE = "This request would exceed your organization's rate limit of 30,000 input tokens per minute."
ANSWERS = [
    (error(400, "invalid_request_error", LONG), FailureKind.CONTEXT_OVERFLOW),
    (error(400, "invalid_request_error", LONG_BEFORE), FailureKind.CONTEXT_OVERFLOW),
    (error(413, "request_too_large", "Request exceeds the maximum size"), FailureKind.CONTEXT_OVERFLOW),
    (page(413, "<h1>413 Request Entity Too Large</h1>"), FailureKind.CONTEXT_OVERFLOW),
    (error(402, "billing_error", "Your payment failed."), FailureKind.BILLING),
    (error(403, "billing_error", "Your credit balance has run out."), FailureKind.BILLING),
    (error(400, "invalid_request_error", CREDIT), FailureKind.BILLING),
    (error(400, "invalid_request_error", OWN_LIMIT), FailureKind.BILLING),
    (error(429, "rate_limit_error", "Monthly cap.", "enforced_spend_limit_reached"), FailureKind.BILLING),
    (error(429, "rate_limit_error", "Contract.", "contract_spend_limit_reached"), FailureKind.BILLING),
    (error(429, "rate_limit_error", "Too fast a ramp.", "ramp_limit_exceeded"), FailureKind.RATE_LIMITED),
    (error(429, "rate_limit_error", RATE), FailureKind.RATE_LIMITED),
    (page(429, "<h1>Slow down</h1>"), FailureKind.RATE_LIMITED),
    (error(401, "authentication_error", "invalid x-api-key"), FailureKind.AUTH),
    (error(403, "permission_error", "Not this workspace."), FailureKind.AUTH),
    (page(403, "<h1>Forbidden</h1>"), FailureKind.AUTH),
    (error(404, "not_found_error", "model: claude-opus-5-5"), FailureKind.AUTH),
    (page(404, "<h1>nginx</h1>"), FailureKind.AUTH),
    (error(400, "invalid_request_error", "On hold.", "organization_on_hold"), FailureKind.AUTH),
    (error(529, "overloaded_error", "Overloaded"), FailureKind.OVERLOADED),
    (error(503, "api_error", "Unavailable"), FailureKind.OVERLOADED),
    (error(500, "overloaded_error", "Overloaded"), FailureKind.OVERLOADED),
    (error(500, "api_error", "Internal server error"), FailureKind.CONNECTION),
    (
        error(500, "api_error", "Cannot read thinking blocks: spend limit, prompt is too long"),
        FailureKind.CONNECTION,
    ),
    (error(504, "timeout_error", "Timed out"), FailureKind.TIMEOUT),
    (page(502, "<h1>Bad Gateway</h1>"), FailureKind.CONNECTION),
    (page(400, "<h1>Bad Request</h1>"), FailureKind.CONNECTION),
    (error(400, "invalid_request_error", "tools.0.name: too long"), FailureKind.BUG),
    (error(400, "invalid_request_error", "`thinking.type`: disabled is not supported"), FailureKind.BUG),
    (error(422, "invalid_request_error", "max_tokens: 200000 > 128000"), FailureKind.BUG),
]


@pytest.mark.parametrize(("answer", "kind"), ANSWERS, ids=lambda value: str(getattr(value, "status", value)))
def test_an_error_is_named_by_who_must_act_and_costs_nothing(answer, kind):
    got = failure(answer)
    assert got.kind is kind
    assert (got.starts_over, got.wasted, got.request_id) == (False, Usage(), "req_7")


BOUND = "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to another one."
CHANGED = (
    "messages.3: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified."
)
ABSENT = "messages.1.content.0.thinking.signature: Field required"


@pytest.mark.parametrize("words", [BOUND, CHANGED, ABSENT])
@pytest.mark.parametrize("status", [400, 429])
def test_a_history_the_api_does_not_take_back_asks_for_a_new_conversation(words, status):
    """Some gateways say it with 429; waiting would not help."""
    got = failure(error(status, "invalid_request_error", words))
    assert (got.kind, got.starts_over) == (FailureKind.BUG, True)
    assert words[:40] in got.detail


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "37"}, 37),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
        ({"retry_after_ms": "soon", "retry_after": "9"}, 9),
        ({"retry_after": "-3"}, 0),
        ({"retry_after": "9999999"}, 86_400),
        ({"retry_after": "later"}, None),
        ({"retry_after": "nan"}, None),
        ({}, None),
    ],
)
def test_the_wait_asked_for_is_passed_on_and_not_slept(headers, seconds):
    got = failure(error(429, "rate_limit_error", RATE, **headers))
    assert got.retry_after == seconds


def test_a_wait_until_a_date_is_turned_into_seconds():
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    waits = failure(error(529, "overloaded_error", "Overloaded", retry_after=date)).retry_after
    assert waits is not None
    assert 90 < waits < 101


def test_an_unknown_model_is_named():
    got = failure(error(404, "not_found_error", "model: claude-opus-5-5"))
    assert got.detail == "The API at 127.0.0.1 knows no model `claude-opus-5-5`: model: claude-opus-5-5"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", FailureKind.OVERLOADED),
        ("rate_limit_error", FailureKind.RATE_LIMITED),
        ("api_error", FailureKind.CONNECTION),
        ("timeout_error", FailureKind.TIMEOUT),
        ("billing_error", FailureKind.BILLING),
        ("authentication_error", FailureKind.AUTH),
        ("strange_error", FailureKind.BUG),
    ],
)
def test_an_error_within_the_stream_is_named_by_its_type_and_what_came_is_counted(kind, expected):
    """12 characters came after the 20 tokens of input: 4 tokens of output."""
    told = {"type": "error", "error": {"type": kind, "message": "Sorry"}}
    got = failure(stream(begin(), *text(0, "x" * 12)[:2], told))
    assert (got.kind, got.wasted) == (expected, Usage(20, 4))


def test_an_error_event_is_known_by_its_name_alone():
    named = b'event: error\ndata: {"error": {"type": "overloaded_error", "message": "Overloaded"}}\n\n'
    assert failure(Answer(sse(begin()) + named)).kind is FailureKind.OVERLOADED


def test_a_failed_stream_does_not_keep_its_connection():
    async def main() -> None:
        told = {"type": "error", "error": {"type": "api_error", "message": "Sorry"}}
        async with talking(stream(begin(), told, end="hold")) as (models, api):
            with pytest.raises(ModelFailure) as raised:
                await models.turn(HEADER, MESSAGES)
            await asyncio.wait_for(api.gone.wait(), 2)
            assert raised.value.kind is FailureKind.CONNECTION

    asyncio.run(main())


HALF = [begin(cache_read_input_tokens=700), *text(0, "Let me ", "think")[:3]]
BREAKS = {
    "reset": stream(*HALF, end="reset"),
    "missing last chunk": stream(*HALF, end="cut"),
    "clean early end": stream(*HALF),
    "no message_stop": stream(*HALF, *finish()[:1]),
    "no stop_reason": stream(*HALF, *finish(None)),
    "half an event": Answer(sse(*HALF) + b'event: message_delta\ndata: {"type": "mess'),
    "no json": Answer(sse(*HALF) + b"event: message_delta\ndata: {oops\n\n"),
    "no object": Answer(sse(*HALF) + b"event: message_delta\ndata: 7\n\n"),
    "no text": Answer(sse(*HALF) + b'event: x\ndata: {"type": "\xff"}\n\n'),
    "too deep": Answer(sse(*HALF) + b"event: x\ndata: " + b"[" * 200_000 + b"\n\n"),
    "an event of another shape": stream(*HALF, {"type": "content_block_delta", "index": 0, "delta": None}),
    "a delta of no block": stream(
        *HALF, {"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta"}}
    ),
    "a delta that is no text": stream(*HALF, block(0, {}, {"type": "text_delta", "text": 5})[1], *finish()),
}


@pytest.mark.parametrize("answer", BREAKS.values(), ids=BREAKS.keys())
def test_a_stream_that_breaks_is_a_failed_connection_and_what_came_is_counted(answer):
    """12 characters were streamed where the API had told of one token so far: 4."""
    got = failure(answer)
    assert got.kind is FailureKind.CONNECTION
    assert got.wasted.total_input == 720
    assert got.wasted.output_tokens in (4, 5)


@pytest.mark.parametrize(
    "answer", [stream(end="cut"), Answer(end="silent"), Answer(end="hold")], ids=["cut", "silent", "held"]
)
def test_a_request_of_which_the_api_told_nothing_counts_as_read(answer):
    """It may have been billed; nobody can say."""
    assert failure(answer, timeout=0.3).wasted == Usage(estimate(HEADER, MESSAGES))


@pytest.mark.parametrize("status", [400, 429, 500, 529])
def test_an_error_before_the_stream_costs_nothing(status):
    assert failure(error(status, "api_error", "No.")).wasted == Usage()


SPOILT = [
    '{!"a": 1}',
    '["a"]',
    '"a"',
    '{"a": NaN}',
    '{"a": 1e999}',
    '{"a": "\\ud800"}',
    '{"a": ' + "[" * 99_999,
]


@pytest.mark.parametrize("written", SPOILT, ids=lambda value: value[:16])
def test_a_call_whose_input_cannot_be_sent_again_is_asked_for_anew(written):
    got = failure(stream(begin(), *call(0, written), *finish("tool_use", 70)))
    assert (got.kind, got.wasted.output_tokens >= 70) == (FailureKind.CONNECTION, True)


def test_a_refusal_tells_its_category_and_its_cost():
    details = {"type": "refusal", "category": "cyber", "explanation": None}
    got = failure(stream(begin(), *finish("refusal", 9, stop_details=details)))
    assert (got.kind, got.wasted) == (FailureKind.REFUSED, Usage(20, 9))
    assert "(cyber)" in got.detail


def test_a_refusal_without_details_is_a_refusal():
    assert failure(stream(begin(), *text(0, "I"), *finish("refusal"))).kind is FailureKind.REFUSED


def test_a_conversation_that_outgrew_the_window_is_an_overflow():
    """The call that was being written when the window was full is cut, too."""
    got = failure(stream(begin(), *call(0, '{"path": "b'), *finish("model_context_window_exceeded", 9)))
    assert (got.kind, got.wasted) == (FailureKind.CONTEXT_OVERFLOW, Usage(20, 9))


def test_a_page_instead_of_a_stream_is_told_by_its_words():
    html = (
        "<!DOCTYPE html><style>b{}</style><title>Sign in</title>\n<script>alert(1)</script><p>to&nbsp;go on"
    )
    got = failure(page(200, html))
    assert got.kind is FailureKind.CONNECTION
    assert got.detail.endswith("answered 200 with something else than its JSON: Sign in to&nbsp;go on")


def test_an_error_document_with_status_200_is_still_that_error():
    assert failure(error(200, "overloaded_error", "Overloaded")).kind is FailureKind.OVERLOADED


def test_a_long_page_is_cut():
    assert len(failure(page(502, "<p>word " * 50_000)).detail) == 500


def test_silence_before_the_reply_is_a_timeout():
    assert failure(Answer(end="silent"), timeout=0.3).kind is FailureKind.TIMEOUT


def test_a_stream_that_stalls_is_a_timeout_and_what_came_is_counted():
    got = failure(stream(*HALF, end="hold"), timeout=0.3)
    assert (got.kind, got.wasted) == (FailureKind.TIMEOUT, Usage(20, 4, cache_read=700))


def test_pings_do_not_keep_a_turn_alive_for_ever():
    began = time.monotonic()
    got = failure(stream(*HALF, end="hold", every=0.05), timeout=0.3, limit=0.6)
    assert (got.kind, got.wasted.total_input) == (FailureKind.TIMEOUT, 720)
    assert time.monotonic() - began < 4


def test_a_server_that_is_not_there_is_a_failed_connection():
    async def main() -> ModelFailure:
        async with talking(HELLO) as (models, api):
            url = api.url
        models = Models(api_key=KEY, base_url=url)
        with pytest.raises(ModelFailure) as raised:
            await models.turn(HEADER, MESSAGES)
        await models.close()
        return raised.value

    got = asyncio.run(main())
    assert (got.kind, got.wasted) == (FailureKind.CONNECTION, Usage())
    assert "ConnectError" in got.detail


@pytest.mark.parametrize(
    "answer",
    [
        error(401, "authentication_error", f"invalid key {KEY}"),
        page(403, f"<p>Authorization: Bearer {KEY}</p>"),
        page(502, "<p>upstream refused Authorization: bearer eyJhbGciOi.someone.else</p>"),
        error(401, "authentication_error", "invalid sk-ant-api03-verysecret_1"),
        stream(begin(), {"type": "error", "error": {"type": "api_error", "message": f"key {KEY}"}}),
        Answer(b"event: x\ndata: oops " + KEY.encode() + b"\n\n"),
        stream(begin(), *call(0, f'"{KEY}"'), *finish("tool_use")),
        stream(*finish("refusal", stop_details={"explanation": KEY}), begin()),
    ],
)
def test_no_secret_is_in_a_failure_or_its_traceback(answer):
    got = failure(answer)
    told = got.detail + "".join(traceback.format_exception(got))
    assert KEY not in told
    assert "verysecret" not in told
    assert "eyJ" not in told


def test_a_cancelled_turn_closes_its_connection_within_a_second_and_tells_its_cost():
    async def main() -> tuple[float, list[dict]]:
        seen: list[dict] = []
        async with talking(stream(*HALF, end="hold")) as (models, api):
            task = asyncio.create_task(models.turn(HEADER, MESSAGES, on_event=seen.append))
            while len(seen) < len(HALF):
                await asyncio.sleep(0.01)
            began = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(api.gone.wait(), 2)
            return time.monotonic() - began, seen

    seconds, seen = asyncio.run(main())
    assert seconds < 1
    assert seen[-1]["type"] == "cancelled"
    assert Usage.from_dict(seen[-1]["wasted"]) == Usage(20, 4, cache_read=700)


def test_a_cancel_while_waiting_for_the_first_byte_closes_the_connection_too():
    async def main() -> float:
        async with talking(Answer(end="silent")) as (models, api):
            task = asyncio.create_task(models.turn(HEADER, MESSAGES))
            while not api.requests:
                await asyncio.sleep(0.01)
            began = time.monotonic()
            task.cancel()
            await asyncio.wait([task])
            await asyncio.wait_for(api.gone.wait(), 2)
            return time.monotonic() - began

    assert asyncio.run(main()) < 1


def test_turns_run_side_by_side():
    """One slow turn does not hold up another on the same client."""

    async def main() -> str:
        async with talking(Answer(end="silent"), HELLO) as (models, _):
            slow = asyncio.create_task(models.turn(HEADER, MESSAGES))
            await asyncio.sleep(0.1)
            quick = await asyncio.wait_for(models.turn(HEADER, MESSAGES), 5)
            slow.cancel()
            await asyncio.wait([slow])
            return quick.text

    assert asyncio.run(main()) == "Hello"


@pytest.mark.parametrize("key", ["", " ", "sk-ant-1\n", "sk-änt", "a b"])
def test_a_key_no_header_can_carry_stops_the_start_without_being_shown(key):
    with pytest.raises(SettingsError) as refusal:
        Models(api_key=key)
    assert "ANTHROPIC_API_KEY" in str(refusal.value)
    assert not key.strip() or key not in str(refusal.value)


@pytest.mark.parametrize("url", ["example.com", "ftp://example.com", "http://", "http://[::1"])
def test_a_base_url_that_is_none_stops_the_start(url):
    with pytest.raises(SettingsError, match="ANTHROPIC_BASE_URL"):
        Models(api_key=KEY, base_url=url)


def check(answer: Answer) -> dict[str, str]:
    async def main() -> dict[str, str]:
        async with talking(answer) as (models, _):
            return await models.check()

    return asyncio.run(main())


def test_the_models_of_a_key_can_be_asked_for():
    rows = [{"id": "claude-opus-5-5", "lifecycle": "active"}, {"id": "claude-opus-4-5"}, {"odd": 1}]
    body = json.dumps({"data": rows, "has_more": False}).encode()
    answer = Answer(body, headers={"content-type": "application/json"})
    assert check(answer) == {"claude-opus-5-5": "active", "claude-opus-4-5": "unknown"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(401, "authentication_error", f"invalid {KEY}"), FailureKind.AUTH),
        (page(200, "<h1>Sign in</h1>"), FailureKind.CONNECTION),
        (Answer(b"[1]", headers={"content-type": "application/json"}), FailureKind.CONNECTION),
        (Answer(b"{oops", headers={"content-type": "application/json"}), FailureKind.CONNECTION),
        (Answer(b"", headers={"content-type": "application/json"}, end="cut"), FailureKind.CONNECTION),
    ],
)
def test_a_list_of_models_that_cannot_be_had_is_a_failure(answer, kind):
    with pytest.raises(ModelFailure) as raised:
        check(answer)
    assert raised.value.kind is kind
    assert KEY not in raised.value.detail


# Together with the simulated model

STORY = {
    "name": "two turns",
    "conversations": [
        {
            "name": "phase",
            "turns": [
                {"think": "First I look.", "say": "I look.", "use": [{"read_file": {"path": "a.py"}}]},
                {"say": "Done.", "faults": [{"kind": "overloaded_in_stream"}]},
            ],
        }
    ],
}


def test_a_conversation_with_the_simulated_model_goes_on_after_a_fault():
    """It checks each request as the API does: the same prefix, every call answered, signatures unchanged."""
    schema = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    header = Header(
        "claude-opus-5-5", "You build. " * 400, ({**TOOL, "input_schema": schema},), 4_000, "medium"
    )

    async def main(url: str) -> tuple[Reply, ModelFailure, Reply]:
        models = Models(api_key=KEY, base_url=url)
        first = await models.turn(header, MESSAGES)
        result = {"type": "tool_result", "tool_use_id": first.calls()[0].id, "content": "x = 1"}
        messages = [*MESSAGES, json.loads(first.message), {"role": "user", "content": [result]}]
        with pytest.raises(ModelFailure) as raised:
            await models.turn(header, messages)
        second = await models.turn(header, messages)
        await models.close()
        return first, raised.value, second

    with serve(Model(Scenario.parse(STORY))) as server:
        first, fault, second = asyncio.run(main(server.url))
    assert first.calls()[0].input == {"path": "a.py"}
    assert fault.kind is FailureKind.OVERLOADED
    assert fault.wasted.total_input > 0
    assert (second.text, second.stop_reason) == ("Done.", "end_turn")
    assert second.usage.cache_read > 0
    assert 0 < second.cost < first.cost
