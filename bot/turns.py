"""What a turn is made of: the frozen header, the request's bytes, the reply, and what went wrong instead. Pure.

The SDK costs seconds to import, so `bot.llm`, which calls it, is loaded in the background; others need this only.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from bot import pricing
from bot.errors import AttemptFailed, FailureKind
from bot.pricing import Usage

# Everything before a marker is cached: one stands behind the system text, one moves along by itself.
CACHE = {"type": "ephemeral"}

CHANGES = ("edit_file", "create_file", "delete_file", "move_file")
"""The tools that change the workspace."""

Listener: TypeAlias = Callable[[dict[str, Any]], None]
"""Sees the events of a stream as they come."""


@dataclass(frozen=True)
class Header:
    """What stays the same in every turn of a conversation, byte for byte, whatever is deployed meanwhile."""

    model: str
    system: str
    tools: tuple[dict[str, Any], ...]
    max_tokens: int
    effort: str
    """low, medium, high, xhigh or max; empty for models that take none."""
    thinking: str | None = None
    """As in the price table, where None takes it from; UserError when the table lacks the model."""

    def __post_init__(self) -> None:
        if self.thinking is None:
            object.__setattr__(self, "thinking", pricing.thinking(self.model))

    def dump(self) -> str:
        """The header as JSON text, keys in the order they were built in."""
        return dumps(vars(self))

    @classmethod
    def load(cls, text: str) -> "Header":
        """The header that `dump` wrote."""
        kept = json.loads(text)
        return cls(**{**kept, "tools": tuple(kept["tools"])})

    @property
    def digest(self) -> str:
        """SHA-256 of `dump`, in hex."""
        return _sha256(self.dump())


@dataclass(frozen=True)
class ToolCall:
    """One call of a tool the model asks for."""

    id: str
    name: str
    input: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """A complete reply, paid for; what is journaled."""

    message: str
    """JSON text of the assistant's message, exactly as it must be sent again."""
    stop_reason: str
    usage: Usage
    cost: Decimal
    """USD, at the price of the model that was asked for."""
    request_id: str
    request_hash: str
    model: str
    """The model that answered, in the API's words."""

    @property
    def cut(self) -> bool:
        """Whether `max_tokens` ended the reply; its calls must be answered with an error, not run."""
        return self.stop_reason == "max_tokens"

    def blocks(self) -> list[dict[str, Any]]:
        """The content blocks, a new copy each time; an empty list when the model said nothing."""
        content: list[dict[str, Any]] = json.loads(self.message)["content"]
        return content

    def calls(self) -> list[ToolCall]:
        """The tool calls in the order they were made; a cut call has the input {}."""
        return [ToolCall(b["id"], b["name"], b["input"]) for b in self.blocks() if b["type"] == "tool_use"]

    @property
    def text(self) -> str:
        """What the model said outside of its thinking."""
        return "".join(block["text"] for block in self.blocks() if block["type"] == "text")


class ModelFailure(AttemptFailed):
    """A turn brought no reply; `kind` says why and `wasted` what was paid for it all the same."""

    def __init__(
        self,
        kind: FailureKind,
        detail: str,
        *,
        retry_after: float | None = None,
        wasted: Usage | None = None,
        starts_over: bool = False,
        request_id: str = "",
    ) -> None:
        super().__init__(kind, detail, retry_after=retry_after)
        self.wasted = wasted or Usage()
        """Counted by the API, journaled by nobody; estimated where it was cut off before it told."""
        self.starts_over = starts_over
        """The API refuses the history of this conversation; a new one may go on."""
        self.request_id = request_id


def accepted(reply: str, results: str | None) -> list[tuple[str, dict[str, Any]]]:
    """The tool calls of a journaled turn that were not answered with an error: (name, input)."""
    if results is None:
        return []
    answers = {
        block["tool_use_id"]: block
        for block in json.loads(results)["content"]
        if block["type"] == "tool_result"
    }
    calls = [block for block in json.loads(reply)["content"] if block["type"] == "tool_use"]
    return [
        (call["name"], call["input"])
        for call in calls
        if call["id"] in answers and not answers[call["id"]].get("is_error")
    ]


def request_hash(header: Header, messages: list[dict[str, Any]]) -> str:
    """SHA-256 in hex of all that a turn depends on; equal hashes mean the same request."""
    return _sha256(header.dump() + "\n" + dumps(messages))


def estimate(header: Header, messages: list[dict[str, Any]]) -> int:
    """About how many tokens the prompt of a turn has, rather too many than too few."""
    return math.ceil(len((header.dump() + dumps(messages)).encode("utf-8", "surrogatepass")) / 3)


def dumps(value: object) -> str:
    """Compact JSON text, keys in the order they were built in."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def encode(header: Header, messages: list[dict[str, Any]]) -> bytes:
    """The body of the request. Ours and not the SDK's, so that an update of it cannot change a byte."""
    body: dict[str, Any] = {"model": header.model, "max_tokens": header.max_tokens, "stream": True}
    if header.thinking != "extended":
        body["thinking"] = {"type": "adaptive"}
    if header.effort:
        body["output_config"] = {"effort": header.effort}
    body["cache_control"] = CACHE
    if header.tools:
        body["tools"] = header.tools
    if header.system:
        body["system"] = [{"type": "text", "text": header.system, "cache_control": CACHE}]
    body["messages"] = messages
    return dumps(body).encode()
