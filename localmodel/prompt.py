"""The prompt in the order the model reads it: tools, system, messages, block by block."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

JSON = dict[str, Any]


@dataclass(frozen=True)
class Segment:
    """One tool, system block or message block, with the digest of everything up to and including it."""

    message: int  # index of its message, -1 for tools and system
    tokens: int
    ttl: str | None  # "5m" or "1h" where a cache breakpoint stands
    digest: str


def blocks(content: Any) -> list[JSON]:
    """Return content as a list of blocks; a string is short for one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return list(content or [])


def text(content: Any) -> str:
    """Return the text of the text blocks, joined by line feeds."""
    return "\n".join(block["text"] for block in blocks(content) if block.get("type") == "text")


def tokens(data: str) -> int:
    """Estimate the tokens of a text: a quarter of its bytes, rounded up."""
    return -(-len(data.encode()) // 4)


def digest(*parts: str) -> str:
    """Return one hexadecimal digest for several texts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def markers(body: JSON) -> list[tuple[str, Any]]:
    """Return place and content of every `cache_control`, unchecked, in the order of the prompt."""
    found = [
        (place, nested["cache_control"])
        for place, _, _, block in _walk(body)
        for nested in (block, *_nested(block))
        if nested.get("cache_control")
    ]
    return [*found, ("request", body["cache_control"])] if body.get("cache_control") else found


def segments(body: JSON) -> list[Segment]:
    """Return the segments of the prompt; a top-level `cache_control` marks the last."""
    chain = hashlib.sha256()
    found: list[Segment] = []
    for _, message, role, block in _walk(body):
        written = json.dumps([role, _bare(block)], ensure_ascii=False, separators=(",", ":"))
        chain.update(written.encode() + b"\n")
        marks = [_ttl(b["cache_control"]) for b in (block, *_nested(block)) if b.get("cache_control")]
        found.append(Segment(message, tokens(written), marks[-1] if marks else None, chain.hexdigest()))
    automatic = body.get("cache_control")
    if automatic and found[-1].ttl is None:
        found[-1] = dataclasses.replace(found[-1], ttl=_ttl(automatic))
    return found


def prefixes(body: JSON) -> list[str]:
    """Return for each message the digest of all that stands before it, and one more for the reply."""
    ends = {segment.message: segment.digest for segment in segments(body)}
    before = [ends.get(-1, "")]
    for index in range(len(body["messages"])):
        before.append(ends.get(index, before[-1]))
    return before


def identity(body: JSON) -> str:
    """Return the digest that tells conversations apart: system, tools and the first message."""
    return prefixes({**body, "messages": body["messages"][:1]})[1]


def _walk(body: JSON) -> Iterator[tuple[str, int, str, JSON]]:
    for index, tool in enumerate(body.get("tools") or []):
        yield f"tools.{index}", -1, "tool", tool
    for index, block in enumerate(blocks(body.get("system"))):
        yield f"system.{index}", -1, "system", block
    for number, message in enumerate(body["messages"]):
        for index, block in enumerate(blocks(message["content"])):
            yield f"messages.{number}.content.{index}", number, message["role"], block


def _nested(block: JSON) -> list[JSON]:
    content = block.get("content")
    return [b for b in content if isinstance(b, dict)] if isinstance(content, list) else []


def _ttl(control: JSON) -> str:
    return str(control.get("ttl") or "5m")


def _bare(block: JSON) -> JSON:
    """Drop what is no content: markers, nulls, the order of a block's own keys (not that of its input)."""
    kept = {key: block[key] for key in sorted(block) if key != "cache_control" and block[key] is not None}
    if kept.get("type") == "tool_result":
        kept["content"] = [_bare(nested) for nested in blocks(kept.get("content"))]
    return kept
