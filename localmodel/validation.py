"""What the API demands of a request before a model sees it."""

import json
import re
from collections.abc import Mapping
from typing import Any

from localmodel import dialogue, signatures
from localmodel.catalogue import Spec, find
from localmodel.errors import ApiError, invalid
from localmodel.prompt import JSON, markers, segments
from localmodel.schemas import check_strict

VERSIONS = ("2023-01-01", "2023-06-01", "2026-10-21")
MAX_BODY = 32 * 1024 * 1024
_PARAMETERS = {
    *("cache_control", "container", "diagnostics", "inference_geo", "max_tokens", "messages", "metadata"),
    *("model", "output_config", "service_tier", "speed", "stop_sequences", "stream", "system", "thinking"),
    *("tool_choice", "tools", "user_profile_id", "workspace_id"),
}
_TOOL_FIELDS = {
    *("allowed_callers", "cache_control", "defer_loading", "description", "eager_input_streaming"),
    *("input_examples", "input_schema", "name", "strict", "type"),
}
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise the API's 401 or 400 for missing or wrong headers; names are lower case."""
    bearer = headers.get("authorization", "").removeprefix("Bearer ").strip()
    if not bearer and not headers.get("x-api-key"):
        raise ApiError(401, "authentication_error", "x-api-key header is required")
    version = headers.get("anthropic-version")
    if not version:
        raise invalid("anthropic-version: header is required")
    if version not in VERSIONS:
        raise invalid(f'anthropic-version: "{version}" is not a valid version')


def read(raw: bytes) -> JSON:
    """Return the body as JSON, or raise the API's 400 or 413."""
    if len(raw) > MAX_BODY:
        raise ApiError(413, "request_too_large", "Request exceeds the maximum size")
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise invalid(f"The request body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise invalid("The request body is not valid JSON: not an object")
    return body


def check(body: JSON) -> None:
    """Raise the API's refusal for the first thing in a request that it would not take."""
    for name in ("model", "messages", "max_tokens"):
        if name not in body:
            raise invalid(f"{name}: Field required")
    for name in sorted(body.keys() - _PARAMETERS):
        raise invalid(f"{name}: Extra inputs are not permitted")
    spec = find(body["model"])
    if body.get("stream") is not True:
        raise invalid("stream: Input should be true; only streams are answered here")
    _check_max_tokens(body["max_tokens"], spec)
    _check_thinking(body.get("thinking"), body["max_tokens"], spec)
    _check_output(body.get("output_config"), spec)
    _check_tools(body.get("tools") or [])
    _check_tool_choice(body, spec)
    dialogue.check(body)
    _check_breakpoints(body)
    signatures.check(body)
    size = sum(segment.tokens for segment in segments(body))
    if size > spec.context:
        raise invalid(f"prompt is too long: {size} tokens > {spec.context} maximum")


def _check_max_tokens(limit: Any, spec: Spec) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise invalid("max_tokens: Input should be a valid integer")
    if limit < 1:
        raise invalid("max_tokens: Input should be greater than or equal to 1")
    if limit > spec.max_output:
        raise invalid(
            f"max_tokens: {limit} > {spec.max_output}, which is the maximum allowed number of output tokens "
            f"for {spec.name}"
        )


def _check_thinking(asked: Any, max_tokens: int, spec: Spec) -> None:
    if asked is None:
        return
    kind = asked.get("type") if isinstance(asked, dict) else None
    if kind not in ("adaptive", "enabled", "disabled", "between_tools"):
        raise invalid("thinking.type: Input should be 'adaptive', 'between_tools', 'disabled' or 'enabled'")
    if (kind == "enabled" and not spec.budgets) or (kind == "disabled" and spec.thinking == "always"):
        raise invalid(
            f'"thinking.type.{kind}" is not supported for this model. Use "thinking.type.adaptive" and '
            '"output_config.effort" to control thinking behavior.'
        )
    if kind == "adaptive" and not spec.adaptive:
        raise invalid("adaptive thinking is not supported on this model")
    if kind == "enabled":
        budget = asked.get("budget_tokens")
        if not isinstance(budget, int) or budget < 1024:
            raise invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if budget >= max_tokens:
            raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`")
    if asked.get("display") not in (None, "summarized", "omitted"):
        raise invalid(f"thinking.{kind}.display: Input should be 'summarized' or 'omitted'")


def _check_output(config: Any, spec: Spec) -> None:
    if config is None:
        return
    if not isinstance(config, dict):
        raise invalid("output_config: Input should be a valid dictionary")
    for name in sorted(config.keys() - {"effort", "format"}):
        raise invalid(f"output_config.{name}: Extra inputs are not permitted")
    effort = config.get("effort")
    if effort is not None and effort not in _EFFORTS:
        raise invalid(f"output_config.effort: Input should be one of {', '.join(_EFFORTS)}")
    if effort is not None and not spec.effort:
        raise invalid("This model does not support the effort parameter.")
    if config.get("format") is not None:
        schema = config["format"].get("schema") if isinstance(config["format"], dict) else None
        check_strict(schema, "output_config.format.schema")


def _check_tools(tools: Any) -> None:
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise invalid("tools: Input should be a valid list of dictionaries")
    for index, tool in enumerate(tools):
        _check_tool(tool, f"tools.{index}")
    names = [tool["name"] for tool in tools]
    if len(names) != len(set(names)):
        raise invalid("tools: Tool names must be unique.")


def _check_tool(tool: JSON, place: str) -> None:
    if not isinstance(tool.get("name"), str):
        raise invalid(f"{place}.custom.name: Field required")
    if not _NAME.fullmatch(tool["name"]):
        raise invalid(f"{place}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
    if tool.get("type") not in (None, "custom"):
        return  # a tool whose schema the API knows itself
    for name in sorted(tool.keys() - _TOOL_FIELDS):
        raise invalid(f"{place}.custom.{name}: Extra inputs are not permitted")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise invalid(f"{place}.custom.input_schema: Field required")
    if schema.get("type") != "object":
        raise invalid(f"{place}.custom.input_schema.type: Input should be 'object'")
    if tool.get("strict"):
        check_strict(schema, f"{place}.custom")


def _check_tool_choice(body: JSON, spec: Spec) -> None:
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind not in ("auto", "any", "tool", "none"):
        raise invalid("tool_choice: Input tag should be one of 'auto', 'any', 'tool', 'none'")
    if not body.get("tools"):
        raise invalid("tool_choice: may only be specified while providing tools.")
    if kind not in ("any", "tool"):
        return
    if spec.thinking == "always" or (body.get("thinking") or {}).get("type") == "enabled":
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "tool" and choice.get("name") not in [tool["name"] for tool in body["tools"]]:
        raise invalid(f"tool_choice.name: Tool '{choice.get('name')}' not found in provided tools")


def _check_breakpoints(body: JSON) -> None:
    found = markers(body)
    if len(found) > 4:
        raise invalid(f"A maximum of 4 blocks with cache_control may be provided. Found {len(found)}.")
    short = False
    for place, control in found:
        if not isinstance(control, dict) or control.get("type") != "ephemeral":
            raise invalid(f"{place}.cache_control.type: Input should be 'ephemeral'")
        ttl = control.get("ttl") or "5m"
        if ttl not in ("5m", "1h"):
            raise invalid(f"{place}.cache_control.ephemeral.ttl: Input should be '5m' or '1h'")
        if ttl == "1h" and short:
            raise invalid(
                f"{place}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
                "cache_control block. Note that blocks are processed in the following order: "
                "`tools`, `system`, `messages`."
            )
        short = short or ttl == "5m"
