"""A reply as the server-sent events the API streams."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from localmodel.prompt import JSON, tokens
from localmodel.usage import InputUsage

PIECES = 8  # deltas a block is cut into; more would only cost the client time


@dataclass(frozen=True)
class Block:
    """One content block; `text` is its thinking, its text or the JSON of its tool input."""

    kind: Literal["thinking", "text", "tool_use"]
    text: str
    id: str = ""
    name: str = ""
    signature: str = ""
    thought_tokens: int = 0  # what was thought, shown or not


@dataclass(frozen=True)
class Reply:
    """One message of the model, before it is cut into events."""

    id: str
    model: str
    content: tuple[Block, ...]
    stop_reason: str
    usage: InputUsage
    stop_details: JSON | None = None


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    name: str
    data: JSON = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the event as it goes over the wire."""
        data = json.dumps({"type": self.name, **self.data}, ensure_ascii=False)
        return f"event: {self.name}\ndata: {data}\n\n".encode()


def events(reply: Reply) -> list[Event]:
    """Return the whole stream of a reply, in order."""
    found = [Event("message_start", {"message": _opening(reply)})]
    for index, block in enumerate(reply.content):
        found.append(Event("content_block_start", {"index": index, "content_block": _shell(block)}))
        if index == 0:
            found.append(Event("ping"))
        found += [Event("content_block_delta", {"index": index, "delta": delta}) for delta in _deltas(block)]
        found.append(Event("content_block_stop", {"index": index}))
    delta = {"stop_reason": reply.stop_reason, "stop_sequence": None, "stop_details": reply.stop_details}
    found.append(Event("message_delta", {"delta": delta, "usage": _closing_usage(reply)}))
    found.append(Event("message_stop"))
    return found


def _opening(reply: Reply) -> JSON:
    return {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": reply.usage.opening(),
    }


def _shell(block: Block) -> JSON:
    """Return the block as it opens: complete but for its content."""
    if block.kind == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}
    if block.kind == "text":
        return {"type": "text", "text": ""}
    return {"type": "tool_use", "id": block.id, "name": block.name, "input": {}}


def _deltas(block: Block) -> list[JSON]:
    if block.kind == "thinking":
        thoughts: list[JSON] = [
            {"type": "thinking_delta", "thinking": piece} for piece in _pieces(block.text)
        ]
        return [*thoughts, {"type": "signature_delta", "signature": block.signature}]
    if block.kind == "text":
        return [{"type": "text_delta", "text": piece} for piece in _pieces(block.text)]
    return [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *_pieces(block.text)]]


def _pieces(text: str) -> list[str]:
    size = max(8, -(-len(text) // PIECES))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _closing_usage(reply: Reply) -> dict[str, Any]:
    thought = sum(block.thought_tokens for block in reply.content)
    spoken = sum(tokens(block.name + block.text) for block in reply.content if block.kind != "thinking")
    details = {"thinking_tokens": thought}
    return {**reply.usage.counts(), "output_tokens": thought + spoken, "output_tokens_details": details}
