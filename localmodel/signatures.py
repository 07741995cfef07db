"""What binds a reply to the words before it: the signatures of thinking blocks and the ids of tool calls.

The API checks thinking blocks only. Here the ids of tool calls are held to the same rule, so that turns
written without thinking do not let a changed prefix pass.
"""

import base64
import binascii
import re

from localmodel.catalogue import find
from localmodel.errors import invalid
from localmodel.prompt import JSON, blocks, digest, prefixes

BOUND = "Invalid `signature` in `thinking` block. The block is bound to a different conversation."
_CALL = re.compile(r"toolu_01(?:CUT)?([0-9a-f]{4})([0-9a-f]{8})[0-9a-f]{12}")


def sign(model: str, prefix: str, thought: str) -> str:
    """Return the signature of a thought that `model` had after `prefix` (a digest)."""
    return base64.b64encode(f"v1:{digest(model)}:{prefix}:{digest('thought', thought)}".encode()).decode()


def call_id(model: str, prefix: str, content: str, *, cut: bool) -> str:
    """Return the id of a tool call; `content` is a digest that tells it from others after that prefix."""
    return f"toolu_01{'CUT' if cut else ''}{digest(model)[:4]}{prefix[:8]}{digest(prefix, content)[:12]}"


def was_cut(message: JSON) -> bool:
    """Say whether an assistant message is a reply that a fault cut, so that its turn is still to come."""
    return any(
        b["type"] == "tool_use" and b["id"].startswith("toolu_01CUT") for b in blocks(message["content"])
    )


def check(body: JSON) -> None:
    """Raise the API's 400 where a thinking block was changed, or anything before it or before a tool call."""
    before = prefixes(body)
    for number, message in enumerate(body["messages"]):
        for index, block in enumerate(blocks(message["content"])):
            place = f"messages.{number}.content.{index}"
            if block["type"] == "thinking":
                _check_thought(body["model"], block, before[number], place)
            if block["type"] == "tool_use":
                _check_call(body["model"], block["id"], before[number], place)


def _check_thought(model: str, block: JSON, prefix: str, place: str) -> None:
    try:
        read = base64.b64decode(block["signature"], validate=True).decode().split(":")
    except (binascii.Error, ValueError):
        read = []
    if len(read) != 4 or read[3] != digest("thought", block["thinking"]):
        raise invalid(f"{place}: Invalid `signature` in `thinking` block")
    # A block that another model wrote is dropped by the API without a word.
    if find(model).preserved and read[1] == digest(model) and read[2] != prefix:
        raise invalid(f"{place}: {BOUND}")


def _check_call(model: str, name: str, prefix: str, place: str) -> None:
    read = _CALL.fullmatch(name)
    if read is None or not find(model).preserved or read[1] != digest(model)[:4]:
        return
    if read[2] != prefix[:8]:
        raise invalid(f"{place}: {BOUND}")
