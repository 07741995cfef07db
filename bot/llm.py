"""One streamed and priced turn of a model over the anthropic SDK: header and messages in, a `Reply` out.

Nothing is tried again here and nothing is kept: whoever calls journals the reply, waits and tries again.
Importing this module costs seconds and 66 MiB, so only the processes that call models import it.
"""

import asyncio
import email.utils
import functools
import json
import math
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

import anthropic
import httpx2

from bot import pricing
from bot.errors import BotError, FailureKind, SettingsError
from bot.pricing import Usage
from bot.turns import Header, Listener, ModelFailure, Reply, dumps, encode, estimate, request_hash

LONGEST_WAIT = 86_400.0
"""Seconds; a server that asks for more is taken to mean a day."""

# Reading the machine's certificates takes longer than all else a client needs; once is enough.
_trust = functools.cache(httpx2.create_ssl_context)


class _GarbledError(BotError):
    """A stream that is no whole reply."""


class _AnswerError(BotError):
    """The other side answered with an error, or with something that is no answer of the API."""

    def __init__(self, status: int, body: object, headers: Mapping[str, str]) -> None:
        super().__init__()
        self.status = status
        error = body.get("error") if isinstance(body, dict) else None
        self.page = not isinstance(error, dict)
        told: dict[str, Any] = error if isinstance(error, dict) else {"message": body}
        details = told.get("details")
        self.type = str(told.get("type") or "")
        self.code = str(details.get("error_code") or "") if isinstance(details, dict) else ""
        self.text = str(told.get("message") or "")
        self.retry_after = _retry_after(headers)
        self.request_id = headers.get("request-id", "")

    def __str__(self) -> str:
        what = "with something else than its JSON" if self.page else self.code or self.type
        return f"The Messages API answered {self.status} {what}: {self.text}"


_FAULTS = (_AnswerError, anthropic.AnthropicError, httpx2.HTTPError, httpx2.StreamError)

_READ = (TimeoutError, _GarbledError, httpx2.ReadTimeout, httpx2.ReadError, httpx2.RemoteProtocolError)
"""Ends of a turn whose request was sent, so that it may have been read and billed."""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the headers, at most LONGEST_WAIT; None where they say nothing of use."""
    seconds = math.nan
    with suppress(KeyError, ValueError):
        seconds = float(headers["retry-after-ms"]) / 1000
    if math.isnan(seconds) and (value := headers.get("retry-after")):
        try:
            seconds = float(value)
        except ValueError:
            with suppress(ValueError):
                seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    return None if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_WAIT)


# The API has no code for most of these; the words are those of its messages, old and new.
_HISTORY = re.compile(
    r"redacted_thinking|`?signature`? in `?thinking|thinking\.signature|`?thinking`? blocks?\b"
    r"|bound to a different conversation",
    re.I,
)
_TOO_LONG = re.compile(
    r"prompt is too long|exceeds? (the )?(context|maximum context|model's context)|input is too long", re.I
)
_MONEY = re.compile(
    r"spend(ing)?[ _]limit|_billing_|not_billable|credit balance|reached your .{0,40}usage limit|regain acc",
    re.I,
)

_WORDS: dict[FailureKind, tuple[str | int, ...]] = {
    FailureKind.AUTH: (401, 403, 404, 407, "authentication_error", "permission_error", "not_found_error"),
    FailureKind.BILLING: (402, "billing_error"),
    FailureKind.CONTEXT_OVERFLOW: (413, "request_too_large"),
    FailureKind.TIMEOUT: (408, 504, "timeout_error"),
    FailureKind.RATE_LIMITED: (429, "rate_limit_error"),
    FailureKind.OVERLOADED: (503, 529, "overloaded_error"),
    FailureKind.CONNECTION: (409, "api_error", "conflict_error"),
}
_KINDS = {word: kind for kind, words in _WORDS.items() for word in words}
"""Statuses and types of errors, and who must act on each."""


def _refuses_history(said: _AnswerError) -> bool:
    """Whether the API does not take back thinking blocks it made; some gateways say so with 429."""
    return said.status < 500 and bool(_HISTORY.search(said.text))


def _judge(said: _AnswerError) -> FailureKind:
    """Who must act on an error answer."""
    if said.status < 500 and _MONEY.search(f"{said.code} {said.text}"):
        return FailureKind.BILLING
    if said.code == "organization_on_hold":
        return FailureKind.AUTH
    if _refuses_history(said):
        return FailureKind.BUG
    if said.status < 500 and _TOO_LONG.search(said.text):
        return FailureKind.CONTEXT_OVERFLOW
    unknown = FailureKind.CONNECTION if said.page or said.status >= 500 else FailureKind.BUG
    return _KINDS.get(said.status) or _KINDS.get(said.type) or unknown


# What streams in pieces, and the field each piece is in.
_PIECES = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


@dataclass
class _Block:
    """One content block while it streams; pieces are joined once, so a long one costs no more per piece."""

    start: dict[str, Any]
    pieces: dict[str, list[str]] = field(default_factory=dict)

    def take(self, delta: dict[str, Any]) -> None:
        """Add one delta; a kind of delta that is not known is progress, not content."""
        kind = delta["type"]
        if kind in _PIECES:
            self.pieces.setdefault(kind, []).append("" + delta[_PIECES[kind]])
        elif kind == "signature_delta":
            self.start["signature"] = delta["signature"]
        elif kind == "citations_delta":
            self.start["citations"] = [*(self.start.get("citations") or []), delta["citation"]]

    def whole(self, *, cut: bool) -> dict[str, Any]:
        """The block as the API would have sent it unstreamed; a cut call's input becomes {}."""
        block = dict(self.start)
        for kind, pieces in self.pieces.items():
            text, name = "".join(pieces), _PIECES[kind]
            if kind == "input_json_delta":
                block["input"] = _tool_input(text, cut=cut)
            else:
                block[name] = (block.get(name) or "") + text
        return block


def _tool_input(text: str, *, cut: bool) -> dict[str, Any]:
    value = None
    with suppress(ValueError, RecursionError):
        value = json.loads(text or "{}")
    if isinstance(value, dict):
        return value
    if cut:
        return {}
    raise _GarbledError(f"The input of a tool call is no JSON object: {text[:80]}")


@dataclass
class _Draft:
    """A reply while it streams."""

    blocks: dict[int, _Block] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    """The usage in the API's words; later events overwrite."""
    model: str = ""
    stop_reason: str | None = None
    stop_details: dict[str, Any] = field(default_factory=dict)
    request_id: str = ""
    ended: bool = False

    def take(self, event: dict[str, Any]) -> None:
        """Add one event of the stream; _GarbledError when it does not fit."""
        try:
            self._take(event)
        except (KeyError, TypeError, AttributeError) as error:
            raise _GarbledError(f"An event of the stream is malformed: {str(event)[:200]}") from error

    def _take(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "message_start":
                self.model = event["message"]["model"]
                self.counts.update(event["message"]["usage"])
            case "content_block_start":
                self.blocks[event["index"]] = _Block(dict(event["content_block"]))
            case "content_block_delta":
                self.blocks[event["index"]].take(event["delta"])
            case "message_delta":
                self.stop_reason = event["delta"].get("stop_reason") or self.stop_reason
                self.stop_details = event["delta"].get("stop_details") or {}
                self.counts.update({n: c for n, c in (event.get("usage") or {}).items() if c is not None})
            case "message_stop":
                self.ended = True

    @property
    def usage(self) -> Usage:
        """What the API counted so far."""
        return Usage.from_api(self.counts)

    @property
    def wasted(self) -> Usage:
        """What a stream that ends here has cost; three characters count as a token where none are told."""
        pieces = [piece for block in self.blocks.values() for each in block.pieces.values() for piece in each]
        streamed = math.ceil(len("".join(pieces)) / 3)
        return self.usage + Usage(output_tokens=max(streamed - self.usage.output_tokens, 0))

    def finish(self) -> str:
        """The assistant's message as JSON text; _GarbledError when the stream was no whole reply."""
        if not self.ended or not self.stop_reason or not self.counts:
            raise _GarbledError("The stream ended before the reply was complete.")
        cut = self.stop_reason in ("max_tokens", "model_context_window_exceeded", "refusal")
        try:
            content = [self.blocks[index].whole(cut=cut) for index in sorted(self.blocks)]
            text = dumps({"role": "assistant", "content": content})
            text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise _GarbledError(f"The reply holds what cannot be sent again: {error}") from error
        return text


class Models:
    """The Messages API. One per process; `close` it in the event loop that used it."""

    def __init__(
        self, *, api_key: str, base_url: str | None = None, timeout: float = 300.0, limit: float = 3600.0
    ) -> None:
        """`timeout`: seconds of silence; `limit`: seconds for a whole turn; no `base_url`: the SDK's own."""
        if not re.fullmatch(r"[!-~]+", api_key):
            raise SettingsError("ANTHROPIC_API_KEY is empty or holds characters no HTTP header can carry.")
        self._key = api_key
        self._limit = limit
        waits = httpx2.Timeout(timeout, connect=min(timeout, 10.0))
        # A turn's tools may run for a minute; a connection kept that long saves the next handshake.
        limits = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=120.0)
        try:
            self._client = anthropic.AsyncAnthropic(
                api_key=api_key,
                base_url=base_url or None,
                timeout=waits,
                max_retries=0,
                http_client=anthropic.DefaultAsyncHttpxClient(timeout=waits, limits=limits, verify=_trust()),
            )
        except httpx2.InvalidURL as error:
            raise SettingsError(f"ANTHROPIC_BASE_URL is no URL: {error}") from error
        if self._client.base_url.scheme not in ("http", "https") or not self._client.base_url.host:
            raise SettingsError("ANTHROPIC_BASE_URL must begin with http:// or https:// and a host.")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def turn(
        self, header: Header, messages: list[dict[str, Any]], *, on_event: Listener | None = None
    ) -> Reply:
        """One call, never tried twice; ModelFailure without a reply, UserError for a model of no known price.

        `on_event` sees every event of the stream as it comes. When the task is cancelled, one of our own
        follows: `{"type": "cancelled", "wasted": {…}}`, the usage to be booked.
        """
        pricing.cost(header.model, Usage())  # a reply that cannot be priced must not be bought
        draft = _Draft()
        tell = on_event or (lambda event: None)
        try:
            body = encode(header, messages)
            digest = request_hash(header, messages)
        except (TypeError, ValueError) as error:
            raise ModelFailure(FailureKind.BUG, f"The request cannot be written as JSON: {error}") from error
        try:
            async with asyncio.timeout(self._limit):
                await self._stream(body, draft, tell)
            return self._reply(header, draft, digest)
        except asyncio.CancelledError:
            tell({"type": "cancelled", "wasted": _paid(draft, header, messages).to_dict()})
            raise
        except (TimeoutError, _GarbledError, *_FAULTS) as error:
            failure = self._explain(error, draft, header.model)
            if isinstance(_cause(error), _READ):
                failure.wasted = _paid(draft, header, messages)
        # Outside of the handler: a traceback would show the words of the cause, which may hold the key.
        raise failure

    async def check(self) -> dict[str, str]:
        """The models this key may use and where each is in its life; ModelFailure when nobody answers."""
        try:
            body = await self._client.get("/v1/models", cast_to=object, options={"params": {"limit": 1000}})
            if not isinstance(body, dict) or not isinstance(body.get("data"), list):
                raise _AnswerError(200, body, {})
            rows = [row for row in body["data"] if isinstance(row, dict) and "id" in row]
            return {row["id"]: row.get("lifecycle") or "unknown" for row in rows}
        except (ValueError, *_FAULTS) as error:
            failure = self._explain(error, _Draft(), "")
        raise failure

    async def _stream(self, body: bytes, draft: _Draft, tell: Listener) -> None:
        """Send the request and put the events into `draft` until the last one."""
        stream = await self._client.post(
            "/v1/messages", content=body, cast_to=object, stream=True, stream_cls=anthropic.AsyncStream[Any]
        )
        async with stream:
            response = stream.response
            draft.request_id = response.headers.get("request-id", "")
            if "text/event-stream" not in response.headers.get("content-type", ""):
                raise _AnswerError(response.status_code, _body(await response.aread()), response.headers)
            async with aclosing(_events(response)) as events:
                async for event in events:
                    draft.take(event)
                    tell(event)
                    if draft.ended:
                        break
                # The reply is paid and whole: how the connection ends must not cost it, only its reuse.
                with suppress(TimeoutError, _GarbledError, *_FAULTS):
                    async with asyncio.timeout(1):
                        async for _ in events:
                            pass

    def _reply(self, header: Header, draft: _Draft, digest: str) -> Reply:
        message = draft.finish()
        stop_reason = str(draft.stop_reason)
        if stop_reason == "refusal":
            category = draft.stop_details.get("category") or "no category"
            words = draft.stop_details.get("explanation") or "it gave no explanation"
            self._fail(FailureKind.REFUSED, f"The model refused to answer ({category}): {words}", draft)
        if stop_reason == "model_context_window_exceeded":
            self._fail(FailureKind.CONTEXT_OVERFLOW, "The conversation outgrew the model's window.", draft)
        return Reply(
            message=message,
            stop_reason=stop_reason,
            usage=draft.usage,
            cost=pricing.cost(header.model, draft.usage),
            request_id=draft.request_id,
            request_hash=digest,
            model=draft.model,
        )

    def _fail(self, kind: FailureKind, detail: str, draft: _Draft) -> NoReturn:
        raise ModelFailure(kind, self._clean(detail), wasted=draft.wasted, request_id=draft.request_id)

    def _explain(self, error: Exception, draft: _Draft, model: str) -> ModelFailure:
        """The failure that an exception of ours, of the SDK or of its HTTP client means."""
        if isinstance(error, anthropic.APIStatusError):
            error = _AnswerError(error.status_code, error.body, error.response.headers)
        if isinstance(error, _AnswerError):
            words = str(error)
            if error.type == "not_found_error" and model:
                words = f"The API at {self._client.base_url.host} knows no model `{model}`: {error.text}"
            return ModelFailure(
                _judge(error),
                self._clean(words),
                retry_after=error.retry_after,
                wasted=draft.wasted,
                starts_over=_refuses_history(error),
                request_id=error.request_id,
            )
        cause = _cause(error)
        reason = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
        kind = FailureKind.CONNECTION
        words = f"The connection to the model failed: {reason}"
        if isinstance(cause, TimeoutError | httpx2.TimeoutException):
            kind, words = FailureKind.TIMEOUT, f"The model did not answer in time: {reason}"
        elif isinstance(cause, _GarbledError):
            words = str(cause)
        return ModelFailure(kind, self._clean(words), wasted=draft.wasted, request_id=draft.request_id)

    def _clean(self, text: str) -> str:
        """The text as one short line without markup and without the key."""
        text = text.replace(self._key, "[key]")[:20_000]
        text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<[a-z!/][^>]*>", " ", text)
        text = re.sub(r"sk-ant-[\w-]+", "[key]", re.sub(r"(?i)\bbearer\s+\S+", "Bearer [key]", text))
        text = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()
        return text if len(text) <= 500 else text[:499] + "…"


def _cause(error: Exception) -> BaseException | None:
    """What lies behind an error of the SDK."""
    return error.__cause__ if isinstance(error, anthropic.APIConnectionError) else error


def _paid(draft: _Draft, header: Header, messages: list[dict[str, Any]]) -> Usage:
    """What a turn cost that ends here; a request of which the API told nothing yet is taken for read."""
    unread = 0 if draft.usage.total_input else estimate(header, messages)
    return draft.wasted + Usage(input_tokens=unread)


def _body(raw: bytes) -> object:
    """An error body: JSON where it is JSON, else its text."""
    text = raw.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return text


async def _events(response: httpx2.Response) -> AsyncGenerator[dict[str, Any], None]:
    """The events of a stream as the API sent them; the two errors above for anything else."""
    try:
        async for sent in anthropic.AsyncStream.raw_events(response):
            if not sent.data:
                continue
            event = sent.json()
            if not isinstance(event, dict):
                raise _GarbledError(f"An event of the stream is no object: {sent.data[:200]}")
            if sent.event == "error" or event.get("type") == "error":
                raise _AnswerError(response.status_code, event, response.headers)
            yield event
    except (ValueError, RecursionError) as error:
        raise _GarbledError(f"The stream is no JSON: {error}") from error
