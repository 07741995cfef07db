"""What the API demands of the list of messages: roles, blocks, and an answer to every tool call."""

import re
from collections.abc import Iterator
from typing import Any

from localmodel.catalogue import find
from localmodel.errors import invalid
from localmodel.prompt import JSON, blocks

# Of each block: fields it must have and their type, fields it may have.
_BLOCKS: dict[str, tuple[dict[str, type], set[str]]] = {
    "text": ({"text": str}, {"cache_control", "citations"}),
    "image": ({"source": dict}, {"cache_control"}),
    "document": ({"source": dict}, {"cache_control", "citations", "context", "title"}),
    "search_result": ({"content": list, "source": str, "title": str}, {"cache_control", "citations"}),
    "thinking": ({"thinking": str, "signature": str}, set()),
    "redacted_thinking": ({"data": str}, set()),
    "tool_use": ({"id": str, "name": str, "input": dict}, {"cache_control", "caller", "toolset_name"}),
    "tool_result": ({"tool_use_id": str}, {"cache_control", "content", "is_error", "toolset_name"}),
}
_ALLOWED = {
    "user": ("text", "image", "document", "search_result", "tool_result"),
    "assistant": ("text", "thinking", "redacted_thinking", "tool_use"),
    "system": ("text",),
    "tool_result": ("text", "image", "document", "search_result"),
}
_TYPE_NAMES: dict[type, str] = {str: "string", dict: "dictionary", list: "list"}
_ID = re.compile(r"[a-zA-Z0-9_-]+")


def check(body: JSON) -> None:
    """Raise the API's 400 for the first fault in the messages or in `system`."""
    messages = body["messages"]
    if not isinstance(messages, list) or not messages:
        raise invalid("messages: at least one message is required")
    for number, message in enumerate(messages):
        _check_message(number, message)
    _check_roles(messages, body)
    _check_system(body.get("system"))
    _check_tool_calls(messages)
    if any(True for _ in _tool_blocks(messages)) and not body.get("tools"):
        raise invalid("Requests which include `tool_use` or `tool_result` blocks must define tools")


def _check_message(number: int, message: Any) -> None:
    place = f"messages.{number}"
    if not isinstance(message, dict):
        raise invalid(f"{place}: Input should be a valid dictionary")
    for key in ("role", "content"):
        if key not in message:
            raise invalid(f"{place}.{key}: Field required")
    for key in message.keys() - {"role", "content"}:
        raise invalid(f"{place}.{key}: Extra inputs are not permitted")
    role, content = message["role"], message["content"]
    if role not in ("user", "assistant", "system"):
        raise invalid(f"{place}.role: Input should be 'user', 'assistant' or 'system'")
    if not isinstance(content, str | list):
        raise invalid(f"{place}.content: Input should be a valid string or list")
    if not content:
        raise invalid(f"{place}: all messages must have non-empty content")
    _check_blocks(content, f"{place}.content", role)


def _check_blocks(content: str | list[Any], place: str, within: str) -> None:
    for index, block in enumerate(blocks(content)):
        _check_block(block, f"{place}.{index}", within)
        if block["type"] == "tool_result":
            _check_result(block, f"{place}.{index}")


def _check_block(block: Any, place: str, within: str) -> None:
    if not isinstance(block, dict):
        raise invalid(f"{place}: Input should be a valid dictionary")
    kind = block.get("type")
    if kind not in _ALLOWED[within]:
        expected = ", ".join(f"'{name}'" for name in _ALLOWED[within])
        raise invalid(
            f"{place}: Input tag '{kind}' found using 'type' does not match any of the expected tags: "
            f"{expected}"
        )
    required, optional = _BLOCKS[kind]
    for name, type_ in required.items():
        if name not in block:
            raise invalid(f"{place}.{kind}.{name}: Field required")
        if not isinstance(block[name], type_):
            raise invalid(f"{place}.{kind}.{name}: Input should be a valid {_TYPE_NAMES[type_]}")
    for name in block.keys() - required.keys() - optional - {"type"}:
        raise invalid(f"{place}.{kind}.{name}: Extra inputs are not permitted")
    _check_text(block, place, within)
    for name in ("id", "tool_use_id"):
        if name in block and not _ID.fullmatch(block[name]):
            raise invalid(f"{place}.{kind}.{name}: String should match pattern '^[a-zA-Z0-9_-]+$'")


def _check_text(block: JSON, place: str, within: str) -> None:
    if block["type"] != "text":
        return
    if not block["text"]:
        raise invalid("messages: text content blocks must be non-empty")
    if not block["text"].strip() and within != "tool_result":
        raise invalid("messages: text content blocks must contain non-whitespace text")
    if block.get("citations") and within != "assistant":
        raise invalid(f"{place}.text.citations: Extra inputs are not permitted")


def _check_result(block: JSON, place: str) -> None:
    content = block.get("content")
    if content is not None and not isinstance(content, str | list):
        raise invalid(f"{place}.tool_result.content: Input should be a valid string or list")
    if not isinstance(block.get("is_error", False), bool):
        raise invalid(f"{place}.tool_result.is_error: Input should be a valid boolean")
    if block.get("is_error") and not content:
        raise invalid(f"{place}.tool_result: content cannot be empty if `is_error` is true")
    if isinstance(content, list):
        _check_blocks(content, f"{place}.tool_result.content", "tool_result")


def _check_roles(messages: list[JSON], body: JSON) -> None:
    if messages[0]["role"] != "user":
        raise invalid('messages: first message must use the "user" role')
    spoken = "assistant"
    for number, message in enumerate(messages):
        role = message["role"]
        if role == "system":
            if not find(body["model"]).system_role:
                raise invalid(f"messages.{number}: role 'system' is not supported on this model")
            if messages[number - 1]["role"] != "user":
                raise invalid(f"messages.{number}: role 'system' must immediately follow a user message")
        elif role == spoken:
            raise invalid(
                'messages: roles must alternate between "user" and "assistant", '
                f'but found multiple "{role}" roles in a row'
            )
        else:
            spoken = role
    if spoken == "assistant":
        raise invalid(
            "This model does not support assistant message prefill. "
            "The conversation must end with a user message."
        )


def _check_system(system: Any) -> None:
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list):
        raise invalid("system: Input should be a valid string or list")
    for index, block in enumerate(system):
        _check_block(block, f"system.{index}", "system")


def _check_tool_calls(messages: list[JSON]) -> None:
    called = [block["id"] for _, block in _tool_blocks(messages) if block["type"] == "tool_use"]
    if len(called) != len(set(called)):
        raise invalid("messages: `tool_use` ids must be unique")
    open_calls: list[str] = []
    for number, message in enumerate(messages):
        if message["role"] == "user":
            _check_results(number, blocks(message["content"]), open_calls)
        if message["role"] != "system":
            open_calls = [b["id"] for b in blocks(message["content"]) if b["type"] == "tool_use"]


def _check_results(number: int, content: list[JSON], calls: list[str]) -> None:
    seen: set[str] = set()
    first: set[str] = set()  # the results that come before anything else
    for index, block in enumerate(content):
        if block["type"] != "tool_result":
            continue
        answered, place = block["tool_use_id"], f"messages.{number}.content.{index}"
        if answered in seen:
            raise invalid(
                f"{place}: each tool_use must have a single result. "
                f"Found multiple `tool_result` blocks with id: {answered}"
            )
        if answered not in calls:
            raise invalid(
                f"{place}: unexpected `tool_use_id` found in `tool_result` blocks: {answered}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        if len(seen) == index:
            first.add(answered)
        seen.add(answered)
    missing = [call for call in calls if call not in first]
    if missing:
        raise invalid(
            f"messages.{number - 1}: `tool_use` ids were found without `tool_result` blocks "
            f"immediately after: {', '.join(missing)}. Each `tool_use` block must have a corresponding "
            "`tool_result` block in the next message."
        )


def _tool_blocks(messages: list[JSON]) -> Iterator[tuple[int, JSON]]:
    for number, message in enumerate(messages):
        for block in blocks(message["content"]):
            if block["type"] in ("tool_use", "tool_result"):
                yield number, block
