"""Plans: what the planner submits, whether it can be built, its hash, size and forecast. Pure."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bot import pricing, scope
from bot.errors import UserError
from bot.weakening import is_test

LAYERS = ("data", "logic", "api", "interface", "integration", "docs", "other")

_PATH = re.compile(r"^`?([\w.\-@+\[\]]+(?:/[\w.\-@+\[\]]+)*)`?(?=$|[\s:,(–—-])")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Requirement(_Frozen):
    """One thing the issue asks for, quoted from it."""

    id: str
    text: str


class Phase(_Frozen):
    """One small, separately verifiable step; its number is its place in the plan, from 1."""

    title: str
    layer: str
    goal: str
    deliverables: tuple[str, ...]
    out_of_scope: tuple[str, ...]
    allowed_paths: tuple[str, ...]
    criteria: tuple[str, ...]
    serves: tuple[str, ...]
    test_approach: str
    estimated_lines: int

    def paths(self) -> list[str]:
        """Return the deliverables that are file paths, as written."""
        return [path for text in self.deliverables if (path := _path_of(text))]

    @property
    def expects_tests(self) -> bool:
        """Whether the contract promises tests: a deliverable lies among the tests."""
        return any(is_test(path) for path in self.paths())


class Plan(_Frozen):
    """What the planner submits: requirements and the phases that serve them, in order."""

    summary: str
    requirements: tuple[Requirement, ...]
    assumptions: tuple[str, ...]
    open_questions: tuple[str, ...]
    risks: tuple[str, ...]
    feature_flag: str
    phases: tuple[Phase, ...]

    @property
    def lines(self) -> int:
        """Estimated changed lines of the whole plan."""
        return sum(phase.estimated_lines for phase in self.phases)

    @property
    def files(self) -> int:
        """Number of distinct files the deliverables name."""
        return len({path for phase in self.phases for path in phase.paths()})


class Size(StrEnum):
    """How much a plan asks of a reviewer."""

    SMALL = "small"
    LARGE = "large"
    VERY_LARGE = "very_large"


def read(submitted: Mapping[str, Any]) -> Plan:
    """Return the plan in a `submit_plan` input; UserError names every field that is wrong."""
    try:
        return Plan.model_validate(dict(submitted))
    except ValidationError as error:
        faults = [f"`{'.'.join(map(str, e['loc']))}`: {e['msg']}" for e in error.errors()]
        raise UserError("The plan cannot be read: " + "; ".join(faults)) from error


def read_phases(submitted: Iterable[Mapping[str, Any]]) -> tuple[Phase, ...]:
    """Return the follow-up phases of a verification; UserError names the field that is wrong."""
    try:
        return tuple(Phase.model_validate(dict(phase)) for phase in submitted)
    except ValidationError as error:
        faults = [f"`{'.'.join(map(str, e['loc']))}`: {e['msg']}" for e in error.errors()]
        raise UserError("A follow-up phase cannot be read: " + "; ".join(faults)) from error


def problems(
    plan: Plan, *, max_phases: int, line_cap: int, protected: tuple[str, ...] = (), finished: int = 0
) -> list[str]:
    """Return every reason why the plan cannot be built, one sentence each; `finished` phases stand."""
    found: list[str] = []
    if not plan.requirements:
        found.append("The plan names no requirement: quote what the issue asks for as R1, R2, ….")
    if not plan.phases:
        found.append("The plan has no phase.")
    if len(plan.phases) > max_phases:
        found.append(f"The plan has {len(plan.phases)} phases; at most {max_phases} are allowed.")
    ids = [requirement.id for requirement in plan.requirements]
    found += [
        f"Requirement id {twice} stands twice." for twice in sorted({i for i in ids if ids.count(i) > 1})
    ]
    served = {requirement for phase in plan.phases for requirement in phase.serves}
    found += [f"No phase serves requirement {missing}." for missing in ids if missing not in served]
    for number, phase in enumerate(plan.phases, start=1):
        if number > finished:
            found += [
                f"Phase {number}: {reason}" for reason in _phase_problems(phase, ids, line_cap, protected)
            ]
    return found


def unmatched(plan: Plan, paths: Iterable[str]) -> list[str]:
    """Return allowed patterns that match neither a file of the repository nor a deliverable."""
    known = set(paths) | {path for phase in plan.phases for path in phase.paths()}
    patterns = {pattern for phase in plan.phases for pattern in phase.allowed_paths}
    return sorted(p for p in patterns if not any(scope.matches(path, [p]) for path in known))


def _phase_problems(phase: Phase, ids: list[str], line_cap: int, protected: tuple[str, ...]) -> list[str]:
    found = [
        f"{pattern!r}: {why}" for pattern in phase.allowed_paths if (why := scope.pattern_problem(pattern))
    ]
    if found:
        return found
    if not phase.title.strip() or not phase.goal.strip():
        found.append("it needs a title and a goal.")
    if not phase.allowed_paths:
        found.append("it allows no path, so nothing could be written.")
    if not phase.criteria:
        found.append("it has no criterion, so nobody could tell when it is done.")
    if phase.layer not in LAYERS:
        found.append(f"layer {phase.layer!r} is none of {', '.join(LAYERS)}.")
    found += [f"it serves {name}, which is no requirement." for name in phase.serves if name not in ids]
    found += [
        f"deliverable {path} lies outside its allowed paths."
        for path in phase.paths()
        if not scope.matches(path, phase.allowed_paths)
    ]
    # A pattern is refused when it names a protected place; a broad one is held back at each write instead.
    found += [
        f"{pattern!r} lies in a protected place; only a person may allow that."
        for pattern in (*phase.allowed_paths, *phase.paths())
        if scope.protected(pattern, protected)
    ]
    if not 0 < phase.estimated_lines <= line_cap:
        found.append(f"{phase.estimated_lines} estimated lines; a phase has 1 to {line_cap}. Split it.")
    return found


def _path_of(deliverable: str) -> str | None:
    match = _PATH.match(deliverable.strip())
    if match is None:
        return None
    path = match.group(1)
    return path if "/" in path or re.search(r"\w\.\w+$", path) else None


def digest(plan: Plan, *, title: str, body: str, base: str) -> str:
    """Return the plan's hash: 40 hex digits over the plan, the issue as the planner saw it and the base."""
    whole = {"plan": plan.model_dump(mode="json"), "title": title, "body": body, "base": base}
    text = json.dumps(whole, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def size(plan: Plan) -> Size:
    """Return the size class from the estimated lines and files of the whole plan."""
    if plan.lines <= 120 and plan.files <= 4:
        return Size.SMALL
    if plan.lines <= 1600 and plan.files <= 40:
        return Size.LARGE
    return Size.VERY_LARGE


def forecast(phase: Phase, model: str) -> tuple[Decimal, Decimal]:
    """Return the range in USD one phase is likely to cost with `model`.

    The shape is that of a file-editing conversation: a turn per 30 lines on top of six for finding one's way,
    a prompt of about 12,000 tokens re-read from the cache, and three tokens written per token that stays.
    """
    turns = 6 + phase.estimated_lines // 30
    usage = pricing.Usage(
        input_tokens=600 * turns,
        output_tokens=250 * turns + phase.estimated_lines * 36,
        cache_read=12_000 * turns,
        cache_write_5m=12_000 + 900 * turns,
    )
    middle = pricing.cost(model, usage)
    return middle / 2, middle * 2


def forecast_plan(plan: Plan, model: str, *, after: int = 0) -> tuple[Decimal, Decimal]:
    """Return the range in USD of the phases after number `after`."""
    ranges = [forecast(phase, model) for phase in plan.phases[after:]]
    return sum((low for low, _ in ranges), Decimal(0)), sum((high for _, high in ranges), Decimal(0))
