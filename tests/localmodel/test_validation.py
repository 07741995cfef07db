"""Requests are refused where the API refuses them, in its words."""

from typing import Any

import pytest

from localmodel import validation
from localmodel.errors import ApiError
from tests.localmodel.talk import JSON, request, tool

HEADERS = {"authorization": "Bearer key", "anthropic-version": "2026-10-21"}
MARK = {"type": "ephemeral"}


def refused(body: JSON) -> ApiError:
    """Return the refusal of a request."""
    with pytest.raises(ApiError) as caught:
        validation.check(body)
    return caught.value


def said(*messages: tuple[str, Any]) -> JSON:
    """Return a request with these messages."""
    return request(messages=[{"role": role, "content": content} for role, content in messages])


def call(name: str = "toolu_1", **changes: Any) -> JSON:
    return {"type": "tool_use", "id": name, "name": "read_file", "input": {}, **changes}


def result(name: str = "toolu_1", **changes: Any) -> JSON:
    return {"type": "tool_result", "tool_use_id": name, "content": "ok", **changes}


def words(text: str = "hello", **changes: Any) -> JSON:
    return {"type": "text", "text": text, **changes}


def with_schema(**schema: Any) -> JSON:
    """Return a request whose one strict tool has this schema."""
    whole = {"type": "object", "properties": {}, "additionalProperties": False, **schema}
    return request(tools=[{"name": "t", "strict": True, "input_schema": whole}])


@pytest.mark.parametrize(
    "body",
    [
        request(),
        request(system="You build.", tools=None, cache_control=None),
        request(
            model="claude-haiku-4-5", max_tokens=64_000, thinking={"type": "enabled", "budget_tokens": 1024}
        ),
        request(model="claude-sonnet-5-5", tool_choice={"type": "any"}, thinking={"type": "disabled"}),
        request(max_tokens=128_000, output_config={"effort": "high"}, tool_choice={"type": "auto"}),
        request(thinking={"type": "adaptive", "display": "summarized"}),
        said(
            ("user", "hi"), ("assistant", [call(), call("toolu_2")]), ("user", [result("toolu_2"), result()])
        ),
        said(
            ("user", "hi"), ("assistant", [call()]), ("user", [result(content=[words()]), words("and go on")])
        ),
        said(("user", "hi"), ("assistant", [call(caller=None)]), ("user", [result(content=None)])),
        said(("user", "hi"), ("system", "The budget changed."), ("assistant", "good"), ("user", "go on")),
        request(tools=[{"type": "bash_20250124", "name": "bash"}]),
    ],
)
def test_what_the_api_takes_is_taken(body: JSON) -> None:
    validation.check(body)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "model: Field required"),
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"messages": None}, "messages: Field required"),
        ({"temperature": 0.5}, "temperature: Extra inputs are not permitted"),
        ({"top_p": 0.5}, "top_p: Extra inputs are not permitted"),
        ({"top_k": 5}, "top_k: Extra inputs are not permitted"),
        ({"stream": False}, "stream: Input should be true"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
        (
            {"max_tokens": 128_001},
            "max_tokens: 128001 > 128000, which is the maximum allowed number of output",
        ),
        ({"model": "claude-haiku-4-5", "max_tokens": 64_001}, "max_tokens: 64001 > 64000"),
        ({"thinking": {"type": "disabled"}}, '"thinking.type.disabled" is not supported for this model'),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            '"thinking.type.enabled" is not supported',
        ),
        ({"thinking": {"type": "deep"}}, "thinking.type: Input should be"),
        ({"thinking": {"type": "adaptive", "display": "loud"}}, "thinking.adaptive.display: Input should be"),
        (
            {"model": "claude-haiku-4-5", "thinking": {"type": "adaptive"}},
            "adaptive thinking is not supported",
        ),
        ({"output_config": {"effort": "huge"}}, "output_config.effort: Input should be one of low"),
        ({"output_config": {"style": "x"}}, "output_config.style: Extra inputs are not permitted"),
        (
            {"output_config": {"format": {"schema": {"type": "object"}}}},
            "output_config.format.schema: For 'obj",
        ),
        ({"model": "claude-haiku-4-5", "output_config": {"effort": "low"}}, "does not support the effort"),
        ({"tool_choice": {"type": "any"}}, "Thinking may not be enabled when tool_choice forces tool use."),
        (
            {"tool_choice": {"type": "tool", "name": "read_file"}},
            "Thinking may not be enabled when tool_choice",
        ),
        (
            {"tool_choice": {"type": "auto"}, "tools": None},
            "tool_choice: may only be specified while providing",
        ),
        ({"tools": [tool("a"), tool("a")]}, "tools: Tool names must be unique."),
        (
            {"tools": [tool("a b")]},
            "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
        ),
        ({"tools": [tool("a" * 65)]}, "tools.0.custom.name: String should match pattern"),
        ({"tools": [{"name": "a"}]}, "tools.0.custom.input_schema: Field required"),
        ({"tools": [{**tool("a"), "color": 1}]}, "tools.0.custom.color: Extra inputs are not permitted"),
        ({"tools": [{"name": "a", "input_schema": {}}]}, "tools.0.custom.input_schema.type: Input should be"),
        ({"system": [words("")]}, "text content blocks must be non-empty"),
        ({"system": [call()]}, "system.0: Input tag 'tool_use' found"),
        ({"messages": []}, "messages: at least one message is required"),
    ],
)
def test_a_wrong_parameter_is_refused(changes: JSON, message: str) -> None:
    refusal = refused(request(**changes))

    assert (refusal.status, refusal.kind) == (400, "invalid_request_error")
    assert message in refusal.message


@pytest.mark.parametrize("model", ["claude-fable-5-2", "claude-fable-5-1", "claude-opus-5-5"])
def test_models_that_always_think_cannot_be_forced_to_a_tool(model: str) -> None:
    assert "tool_choice forces" in refused(request(model=model, tool_choice={"type": "any"})).message


def test_an_unknown_model_is_not_found() -> None:
    refusal = refused(request(model="claude-opus-9"))

    assert (refusal.status, refusal.kind, refusal.message) == (404, "not_found_error", "model: claude-opus-9")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"additionalProperties": True}, "'additionalProperties' must be explicitly set to false"),
        ({"properties": {"a": {"type": "object"}}}, "'additionalProperties' must be explicitly set to false"),
        (
            {"properties": {"a": {"type": "array", "items": {"type": "object"}}}},
            "'additionalProperties' must",
        ),
        ({"properties": {"a": {"anyOf": [{"type": "object"}]}}}, "'additionalProperties' must"),
        (
            {"properties": {"a": {"type": "string", "maxLength": 3}}},
            "For 'string' type, property 'maxLength'",
        ),
        ({"properties": {"a": {"type": "integer", "minimum": 3}}}, "For 'integer' type, property 'minimum'"),
        ({"properties": {"a": {"type": "array", "minItems": 2}}}, "'minItems' values other than 0 or 1"),
        ({"required": ["a"]}, "required property 'a' is not defined"),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}}, "Cannot resolve reference #/$defs/b"),
        (
            {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"anyOf": [{"$ref": "#/$defs/b"}]}}},
            "Circular references are not supported",
        ),
    ],
)
def test_a_strict_tool_needs_a_schema_that_can_be_enforced(schema: JSON, message: str) -> None:
    assert message in refused(with_schema(**schema)).message


def test_a_tool_that_is_not_strict_may_have_an_open_schema() -> None:
    validation.check(request(tools=[{"name": "a", "input_schema": {"type": "object"}}]))


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([("assistant", "hi"), ("user", "hi")], 'first message must use the "user" role'),
        ([("user", "a"), ("user", "b")], 'roles must alternate between "user" and "assistant"'),
        (
            [("user", "a"), ("assistant", "b"), ("assistant", "c"), ("user", "d")],
            'multiple "assistant" roles',
        ),
        ([("user", "a"), ("assistant", "{")], "does not support assistant message prefill"),
        ([("user", "a"), ("tool", "b")], "messages.1.role: Input should be"),
        ([("user", "")], "messages.0: all messages must have non-empty content"),
        ([("user", [])], "messages.0: all messages must have non-empty content"),
        ([("user", 7)], "messages.0.content: Input should be a valid string or list"),
        ([("user", [words("")])], "messages: text content blocks must be non-empty"),
        ([("user", [words(" \n")])], "messages: text content blocks must contain non-whitespace text"),
        ([("user", [words(parsed_output=None)])], "messages.0.content.0.text.parsed_output: Extra inputs"),
        (
            [("user", [call()])],
            "messages.0.content.0: Input tag 'tool_use' found using 'type' does not match",
        ),
        ([("user", [{"type": "text"}])], "messages.0.content.0.text.text: Field required"),
        ([("user", [words(citations=[1])])], "messages.0.content.0.text.citations: Extra inputs"),
        (
            [("user", "a"), ("assistant", [result()]), ("user", "b")],
            "messages.1.content.0: Input tag 'tool_res",
        ),
        (
            [("user", "a"), ("assistant", [{"type": "document", "source": {}}]), ("user", "b")],
            "Input tag 'docu",
        ),
        (
            [("user", "a"), ("assistant", [call(input="{")]), ("user", [result()])],
            "input: Input should be a val",
        ),
        ([("user", "a"), ("assistant", [call("a b")]), ("user", [result("a b")])], "should match pattern"),
        (
            [("user", "a"), ("assistant", "b"), ("system", "c"), ("user", "d")],
            "must immediately follow a user",
        ),
    ],
)
def test_a_wrong_message_is_refused(messages: list[tuple[str, Any]], message: str) -> None:
    assert message in refused(said(*messages)).message


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            "never mind",
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
        ),
        ([words("first"), result()], "were found without `tool_result` blocks immediately after"),
        (
            [result("toolu_2")],
            "messages.2.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_2",
        ),
        ([result(), result()], "messages.2.content.1: each tool_use must have a single result"),
        ([result(content="", is_error=True)], "content cannot be empty if `is_error` is true"),
        (
            [result(is_error="yes")],
            "messages.2.content.0.tool_result.is_error: Input should be a valid boolean",
        ),
        ([result(content=[words("")])], "text content blocks must be non-empty"),
        ([result(content=[call()])], "messages.2.content.0.tool_result.content.0: Input tag 'tool_use'"),
    ],
)
def test_every_tool_call_is_answered_once_and_first(answer: Any, message: str) -> None:
    assert message in refused(said(("user", "a"), ("assistant", [call()]), ("user", answer))).message


def test_two_calls_cannot_share_an_id() -> None:
    body = said(("user", "a"), ("assistant", [call(), call()]), ("user", [result()]))

    assert refused(body).message == "messages: `tool_use` ids must be unique"


def test_an_answer_cannot_come_a_message_late() -> None:
    body = said(
        ("user", "a"), ("assistant", [call()]), ("user", [result()]), ("assistant", "b"), ("user", [result()])
    )

    assert refused(body).message.startswith("messages.4.content.0: unexpected `tool_use_id`")


def test_tool_calls_need_tools() -> None:
    body = said(("user", "a"), ("assistant", [call()]), ("user", [result()]))

    assert "must define tools" in refused({**body, "tools": []}).message


def test_system_messages_are_for_newer_models() -> None:
    body = {**said(("user", "a"), ("system", "b")), "model": "claude-opus-4-7"}

    assert "role 'system' is not supported on this model" in refused(body).message


def test_a_request_has_at_most_four_breakpoints() -> None:
    """The top-level marker counts as one, and so does one inside a tool result."""
    inner = result(content=[words(cache_control=MARK)])
    body = said(("user", [words(cache_control=MARK)]), ("assistant", [call()]), ("user", [inner]))
    validation.check(body)

    body["tools"][0]["cache_control"] = {**MARK, "ttl": "1h"}

    assert refused(body).message == "A maximum of 4 blocks with cache_control may be provided. Found 5."


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ({"type": "ephemeral", "ttl": "1h"}, "a ttl='1h' cache_control block must not come after a ttl='5m'"),
        ({"type": "ephemeral", "ttl": "2h"}, "cache_control.ephemeral.ttl: Input should be '5m' or '1h'"),
        ({"type": "forever"}, "cache_control.type: Input should be 'ephemeral'"),
        ("yes", "cache_control.type: Input should be 'ephemeral'"),
    ],
)
def test_a_wrong_breakpoint_is_refused(control: Any, message: str) -> None:
    body = request(system=[words(cache_control=MARK)], cache_control=control)

    assert message in refused(body).message


def test_a_prompt_beyond_the_window_is_too_long() -> None:
    body = request(model="claude-haiku-4-5", messages=[{"role": "user", "content": "x" * 900_000}])

    assert "prompt is too long: 22" in refused(body).message
    assert refused(body).message.endswith("tokens > 200000 maximum")


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"anthropic-version": "2026-10-21"}, 401, "x-api-key header is required"),
        (
            {"authorization": "Bearer ", "anthropic-version": "2026-10-21"},
            401,
            "x-api-key header is required",
        ),
        ({"x-api-key": "key"}, 400, "anthropic-version: header is required"),
        (
            {**HEADERS, "anthropic-version": "1999-01-01"},
            400,
            'anthropic-version: "1999-01-01" is not a valid',
        ),
    ],
)
def test_wrong_headers_are_refused(headers: dict[str, str], status: int, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        validation.check_headers(headers)

    assert caught.value.status == status
    assert message in caught.value.message


def test_both_kinds_of_credentials_are_taken() -> None:
    validation.check_headers(HEADERS)
    validation.check_headers({"x-api-key": "key", "anthropic-version": "2023-06-01"})


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(ApiError, match="not valid JSON"):
        validation.read(raw)


def test_a_body_beyond_the_limit_is_too_large() -> None:
    with pytest.raises(ApiError) as caught:
        validation.read(b" " * (validation.MAX_BODY + 1))

    assert (caught.value.status, caught.value.kind) == (413, "request_too_large")
