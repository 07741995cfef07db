"""The models there are, their limits, and what each refuses."""

from dataclasses import dataclass
from typing import Any, Literal

from localmodel.errors import ApiError

Thinking = Literal["always", "default", "asked"]


@dataclass(frozen=True)
class Spec:
    """One model: its limits in tokens, when it thinks, and what it takes."""

    name: str
    thinking: Thinking = "default"
    context: int = 1_000_000
    max_output: int = 128_000
    preserved: bool = False  # a changed prefix makes earlier thinking invalid
    adaptive: bool = True  # takes adaptive thinking
    budgets: bool = False  # takes thinking with a budget, and shows its thinking unless told not to
    effort: bool = True  # takes an effort
    system_role: bool = True  # takes `system` messages in mid-conversation


def _middle(name: str) -> Spec:
    return Spec(name, "asked", budgets=True, system_role=False)


def _old(name: str, *, effort: bool = False) -> Spec:
    return Spec(
        name,
        "asked",
        context=200_000,
        max_output=64_000,
        adaptive=False,
        budgets=True,
        effort=effort,
        system_role=False,
    )


MODELS = {
    spec.name: spec
    for spec in (
        Spec("claude-fable-5-2", "always", preserved=True),
        Spec("claude-mythos-5-2", "always", preserved=True),
        Spec("claude-opus-5-5", "always", preserved=True),
        Spec("claude-sonnet-5-5", preserved=True),
        Spec("claude-haiku-5-5", preserved=True),
        Spec("claude-fable-5-1", "always", preserved=True),
        Spec("claude-mythos-5-1", "always", preserved=True),
        Spec("claude-fable-5", "always"),
        Spec("claude-mythos-5", "always"),
        Spec("claude-opus-5"),
        Spec("claude-sonnet-5"),
        Spec("claude-opus-4-8", "asked"),
        Spec("claude-opus-4-7", "asked", system_role=False),
        Spec("claude-mythos-preview", system_role=False),
        _middle("claude-opus-4-6"),
        _middle("claude-sonnet-4-6"),
        _old("claude-haiku-4-5"),
        _old("claude-haiku-4-5-20251001"),
        _old("claude-opus-4-5", effort=True),
        _old("claude-opus-4-5-20251101", effort=True),
        _old("claude-sonnet-4-5"),
        _old("claude-sonnet-4-5-20250929"),
    )
}


def find(name: object) -> Spec:
    """Return the model of that name, or raise the API's 404."""
    if not isinstance(name, str) or name not in MODELS:
        raise ApiError(404, "not_found_error", f"model: {name}")
    return MODELS[name]


def describe(spec: Spec) -> dict[str, Any]:
    """Return the entry of `GET /v1/models` for this model."""
    return {
        "type": "model",
        "id": spec.name,
        "display_name": spec.name.replace("claude", "Claude").replace("-", " ").title(),
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": spec.context,
        "max_tokens": spec.max_output,
        "deprecated_at": None,
        "retires_at": None,
    }


def thinks(body: dict[str, Any]) -> bool:
    """Say whether the model thinks on this request."""
    asked = (body.get("thinking") or {}).get("type")
    spec = find(body["model"])
    if asked is None:
        return spec.thinking != "asked"
    return bool(asked != "disabled")


def shows_thinking(body: dict[str, Any]) -> bool:
    """Say whether thinking comes back as text; newer models send only the signature unless asked."""
    display = (body.get("thinking") or {}).get("display")
    if display is None:
        return find(body["model"]).budgets
    return bool(display == "summarized")
