"""What can be made to go wrong: refusals instead of a reply, and replies that break."""

from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from localmodel.catalogue import Spec
from localmodel.errors import ApiError, invalid
from localmodel.signatures import BOUND
from localmodel.streaming import Block, Event, Reply, events

Kind = Literal[
    "rate_limited",
    "overloaded",
    "api_error",
    "timeout",
    "prompt_too_long",
    "request_too_large",
    "billing",
    "credit",
    "spend_limit",
    "auth",
    "permission",
    "not_found",
    "thinking_bound",
    "html",
    "refusal",
    "max_tokens",
    "context_window",
    "bad_json",
    "overloaded_in_stream",
    "cut",
    "end_early",
    "stall",
    "no_message_stop",
]
KINDS: tuple[str, ...] = get_args(Kind)

PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in to go on.</body></html>"

_ERRORS: dict[str, tuple[int, str, str]] = {
    "rate_limited": (429, "rate_limit_error", "This request would exceed your organization's rate limit"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "api_error": (500, "api_error", "Internal server error"),
    "timeout": (504, "timeout_error", "Request timed out"),
    "request_too_large": (413, "request_too_large", "Request exceeds the maximum size"),
    "billing": (402, "billing_error", "Your payment failed. Please check your billing details."),
    "credit": (
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API. "
        "Please go to Plans & Billing to upgrade or purchase credits.",
    ),
    "spend_limit": (
        429,
        "rate_limit_error",
        "You have reached your API usage limit. You will regain access on the first day of next month.",
    ),
    "auth": (401, "authentication_error", "invalid x-api-key"),
    "permission": (403, "permission_error", "Your API key does not have permission to use this resource"),
    "thinking_bound": (400, "invalid_request_error", f"messages.1.content.0: {BOUND}"),
}
_WAITS = ("rate_limited", "overloaded", "api_error", "timeout")
_BREAKS = ("overloaded_in_stream", "cut", "end_early", "stall")
_FIELDS = {"retry_after": _WAITS, "after": _BREAKS, "seconds": ("stall",), "category": ("refusal",)}


class Fault(BaseModel):
    """One thing that goes wrong, `times` times."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Kind
    times: int = Field(default=1, ge=1)
    retry_after: float | None = Field(default=None, ge=0, description="seconds the client is told to wait")
    after: int = Field(default=2, ge=0, description="content deltas that still arrive")
    seconds: float = Field(default=60.0, ge=0, description="how long a stall lasts")
    category: Literal["cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms"] = "cyber"

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        for name in self.model_fields_set & _FIELDS.keys():
            if self.kind not in _FIELDS[name]:
                raise ValueError(f"`{name}` means nothing to {self.kind}, only to {', '.join(_FIELDS[name])}")
        return self

    @property
    def cuts_reply(self) -> bool:
        """Say whether the reply is kept by the client but ends before its time."""
        return self.kind in ("max_tokens", "context_window")


@dataclass(frozen=True)
class Pause:
    """A silence of that many seconds within a stream."""

    seconds: float


@dataclass(frozen=True)
class Reset:
    """The connection is reset."""


Step = Event | Pause | Reset


def refusal(fault: Fault, spec: Spec) -> ApiError | None:
    """Return the error that this fault answers with, or None where it answers 200."""
    if fault.kind == "prompt_too_long":
        text = f"prompt is too long: {spec.context + 8310} tokens > {spec.context} maximum"
        return invalid(text, outcome=fault.kind)
    if fault.kind == "not_found":
        return ApiError(404, "not_found_error", f"model: {spec.name}", outcome=fault.kind)
    if fault.kind not in _ERRORS:
        return None
    status, kind, message = _ERRORS[fault.kind]
    code = "enforced_spend_limit_reached" if fault.kind == "spend_limit" else None
    headers = {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:g}"}
    return ApiError(status, kind, message, outcome=fault.kind, code=code, headers=headers)


def steps(reply: Reply, fault: Fault | None) -> list[Step]:
    """Return the stream of a reply, broken as the fault says."""
    if fault is None:
        return [*events(reply)]
    stream = events(_spoil(reply, fault))
    if fault.kind == "no_message_stop":
        return [*stream[:-1]]
    if fault.kind not in _BREAKS:
        return [*stream]
    before = stream[: _place(stream, fault.after)]
    if fault.kind == "stall":
        return [*before, Pause(fault.seconds), *stream[len(before) :]]
    if fault.kind == "cut":
        return [*before, Reset()]
    if fault.kind == "overloaded_in_stream":
        error = {"error": {"type": "overloaded_error", "message": "Overloaded"}}
        return [*before, Event("error", error)]
    return [*before]


def _place(stream: list[Event], deltas: int) -> int:
    """Return where a stream breaks: behind that many deltas, but always before its `message_delta`."""
    places = [index for index, event in enumerate(stream) if event.name == "content_block_delta"]
    if deltas == 0:
        return 0
    return places[min(deltas, len(places)) - 1] + 1 if places else 1


def _spoil(reply: Reply, fault: Fault) -> Reply:
    if fault.kind == "refusal":
        details = {"type": "refusal", "category": fault.category, "explanation": None}
        return replace(reply, content=(), stop_reason="refusal", stop_details=details)
    if fault.kind == "max_tokens":
        return replace(reply, content=_halved(reply.content), stop_reason="max_tokens")
    if fault.kind == "context_window":
        return replace(reply, content=_halved(reply.content), stop_reason="model_context_window_exceeded")
    if fault.kind == "bad_json":
        return replace(reply, content=tuple(_broken(block) for block in reply.content))
    return reply


def _halved(content: tuple[Block, ...]) -> tuple[Block, ...]:
    """Cut the last block that is not thinking: a tool input then ends in the middle of its JSON."""
    if not content or content[-1].kind == "thinking":
        return content
    last = content[-1]
    return (*content[:-1], replace(last, text=last.text[: max(1, len(last.text) // 2)]))


def _broken(block: Block) -> Block:
    return replace(block, text="{!" + block.text[1:]) if block.kind == "tool_use" else block
