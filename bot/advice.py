"""Failure kind and history → what to do next: wait by itself, or pause and say what a person may reply. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from bot import pricing
from bot.errors import FailureKind as K

LONGEST_WAIT = 3600.0
"""Seconds; who asks for more is told to a person instead."""

_HEALS = {K.RATE_LIMITED: 10, K.OVERLOADED: 10, K.CONNECTION: 8, K.TIMEOUT: 3}
"""What passes by itself, and how often in a row it is waited for; a timeout may have been paid each time."""

Reply = tuple[str, str]
"""(exact line, what it does)"""


@dataclass(frozen=True)
class Budget:
    """The budget that is nearest to its end, the build's or a phase's, in USD."""

    name: str
    left: Decimal
    cap: Decimal
    """What the operator allows."""
    lowered: bool
    """The policy allows less."""


@dataclass(frozen=True)
class History:
    """What advice hangs on besides the kind: plain values about the work that failed."""

    model: str
    """Who was at work."""
    work: str = "phase"
    """plan, phase, repair, verify, or gate for what no attempt did."""
    phase: int = 0
    tried: tuple[str, ...] = ()
    """Models whose attempts at this failed, this one included."""
    red: int = 0
    """How many commits of this phase came back red."""
    kept: int = 0
    """Files whose edits are kept."""
    clears_at: str = ""
    """When a limit clears, as people read it."""
    paths: str = ""
    """What a person may `/allow`."""
    budget: Budget | None = None


@dataclass(frozen=True)
class Advice:
    """What is said about a failure: what happened, and the lines one may reply with, the best one first."""

    happened: str
    replies: tuple[Reply, ...]


def advise(kind: K, history: History, ladder: Sequence[str]) -> Advice:
    """Return what to do about a failure of `kind`; `ladder` names the models to choose from, weakest first."""
    happened = _HAPPENED[kind]
    if kind is K.CHECKS_RED and history.red > 1:
        happened = f"CI is still red after {history.red - 1} repair{'s' if history.red > 2 else ''}"
    replies = _REPLIES[kind](history, tuple(ladder))
    # A repair that failed leaves a commit that is red, and a person may know why that is no matter.
    release = (_RELEASE,) if history.work == "repair" else ()
    return Advice(happened, (*replies, *release, _CANCEL))


def delay(kind: K, waits: int, retry_after: float | None) -> float | None:
    """Return after how many seconds the attempt goes on by itself, or None where a person is needed.

    `waits` is how often in a row it waited already; `retry_after` is what the other side asked for.
    """
    if waits >= _HEALS.get(kind, 0):
        return None
    if retry_after is not None:
        return max(retry_after, 1.0) if retry_after <= LONGEST_WAIT else None
    return min(2.0 ** (waits + 1), 300.0)


def stronger(model: str, ladder: Sequence[str], tried: Sequence[str] = ()) -> str | None:
    """Return the next model up the ladder that was not tried; the strongest for a model that is not on it."""
    place = ladder.index(model) + 1 if model in ladder else max(len(ladder) - 1, 0)
    return next((each for each in ladder[place:] if each not in tried), None)


def another(model: str, ladder: Sequence[str], tried: Sequence[str] = ()) -> str | None:
    """Return a neighbour on the ladder, the stronger one where there is one; one not tried where there is one."""
    below = ladder[: ladder.index(model)] if model in ladder else ladder
    for avoided in (tried, ()):
        weaker = (each for each in reversed(below) if each not in avoided and each != model)
        if found := stronger(model, ladder, avoided) or next(weaker, None):
            return found
    return None


def cheaper(model: str, ladder: Sequence[str], left: Decimal | None = None) -> str | None:
    """Return the dearest model of the ladder that costs less than `model`; None where no price says so.

    With `left`, in USD, only one of which a long call could still be paid.
    """
    room = _price(model) if left is None else left
    below = [(p, each) for each in ladder if (p := _price(each)) and p < _price(model) and p <= room]
    return max(below)[1] if below else None


def roomier(model: str, ladder: Sequence[str]) -> str | None:
    """Return the first model of the ladder with a larger context window than `model`'s."""
    return next((each for each in ladder if _window(each) > _window(model) > 0), None)


def _price(model: str) -> Decimal:
    return pricing.project(model, 50_000, 32_000) if pricing.known(model) else Decimal(0)


def _window(model: str) -> int:
    return pricing.window(model) if pricing.known(model) else 0


_HAPPENED: dict[K, str] = {
    K.RATE_LIMITED: "the model's rate limit did not clear",
    K.OVERLOADED: "the model's service stayed overloaded",
    K.CONTEXT_OVERFLOW: "the conversation outgrew the model's context window",
    K.TIMEOUT: "the model did not answer in time, several times in a row",
    K.CONNECTION: "the connection failed several times in a row",
    K.OUT_OF_TURNS: "the attempt used up its turns",
    K.OUT_OF_BUDGET: "the next call could pass the budget",
    K.NO_FINISH: "the model stopped without finishing",
    K.STUCK: "the model went round in circles",
    K.REFUSED: "the model refused to go on",
    K.BLOCKED: "the work is blocked",
    K.SCOPE: "the work needs a file outside this phase's allowed paths",
    K.TOO_LARGE: "the change is larger than the phase's line cap",
    K.TESTS_WEAKENED: "the change weakens tests",
    K.CHECKS_RED: "CI is red",
    K.CHECKS_NONE: "no check reported on the commit",
    K.CHECKS_TIMEOUT: "CI did not come to an end in time",
    K.AUTH: "the model's service refuses our key",
    K.BILLING: "the model account's credit or spend limit is used up",
    K.BAD_PLAN: "the plan could not be used",
    K.BAD_POLICY: "`.github/phasegate.yml` cannot be used",
    K.DENIED: "GitHub refused what this needs",
    K.CONFLICT: "the branch moved without us",
    K.GAPS: "not every requirement is met",
    K.STOPPED: "it was stopped",
    K.BUG: "Phasegate itself made a mistake; the log has the details",
}

_CANCEL: Reply = ("/cancel", "ends the build")
_SKIP: Reply = ("/skip-checks why this is fine", "goes on without them, on your word")
_RELEASE: Reply = ("/skip-checks why this is fine", "goes on although checks are red, on your word")
_OTHERWISE: Reply = ("/revise-plan what to do differently", "plans the rest anew with your words")


def _again(history: History) -> str:
    """Return what `/resume` does, where nothing special is to be said of it."""
    match history.work:
        case "plan":
            return "plans again"
        case "verify":
            return "checks the requirements again"
        case "gate":
            return "looks at the checks again"
    if history.kept:
        return (
            f"goes on from its edits in {history.kept} file{'' if history.kept == 1 else 's'}, which are kept"
        )
    return "tries again"


def _with(model: str | None, kind: str) -> list[Reply]:
    return [(f"/resume model={model}", f"goes on with {kind} model")] if model else []


def _afresh(history: History) -> list[Reply]:
    return [("/retry", "does it again from the beginning, without those edits")] if history.kept else []


def _split(history: History) -> Reply:
    if history.work not in ("phase", "repair"):
        return _OTHERWISE
    return (
        f"/revise-plan split phase {history.phase}",
        "plans the rest in smaller phases; finished ones stand",
    )


def _busy(history: History, ladder: tuple[str, ...]) -> list[Reply]:
    best = f", best after {history.clears_at}" if history.clears_at else ""
    other = another(history.model, ladder, history.tried)
    return [*_with(other, "another"), ("/resume", f"{_again(history)}{best}")]


def _overflow(history: History, ladder: tuple[str, ...]) -> list[Reply]:
    larger = roomier(history.model, ladder)
    again: Reply = ("/resume", f"{_again(history)}, in a new conversation")
    return [*_with(larger, "a roomier"), again, _split(history)]


def _timeout(history: History, ladder: tuple[str, ...]) -> list[Reply]:
    other = another(history.model, ladder, history.tried)
    return [("/resume", _again(history)), *_with(other, "another")]


def _weak(history: History, ladder: tuple[str, ...]) -> list[Reply]:
    """A stronger model may do what this one could not; where none is left, the work must become smaller."""
    upward = _with(stronger(history.model, ladder, history.tried), "a stronger")
    return [*upward, ("/resume", _again(history)), *_afresh(history), *([] if upward else [_split(history)])]


def _large(history: History, ladder: tuple[str, ...]) -> list[Reply]:
    upward = _with(stronger(history.model, ladder, history.tried), "a stronger")
    return [_split(history), *upward, ("/resume", _again(history)), *_afresh(history)]


def _refused(history: History, ladder: tuple[str, ...]) -> list[Reply]:
    other = another(history.model, ladder, history.tried)
    return [*_with(other, "another"), ("/resume", _again(history)), _OTHERWISE]


def _blocked(history: History, ladder: tuple[str, ...]) -> list[Reply]:
    upward = _with(stronger(history.model, ladder, history.tried), "a stronger")
    return [("/resume", f"{_again(history)}, once that is mended"), _OTHERWISE, *upward]


def _budget(history: History, ladder: tuple[str, ...]) -> list[Reply]:
    budget, raised = history.budget, "once the operator of this bot has raised the budget"
    if budget and budget.lowered:
        raised = f"once a larger {budget.name} budget is merged into `.github/phasegate.yml`, up to ${budget.cap:.2f}"
    elif budget:
        raised = f"once the operator of this bot has raised `{budget.name.upper()}_BUDGET_USD`"
    weaker = cheaper(history.model, ladder, budget.left if budget else None)
    return [*_with(weaker, "a cheaper"), ("/resume", f"{_again(history)}, {raised}")]


def _scope(history: History, _ladder: tuple[str, ...]) -> list[Reply]:
    allow = f"/allow {history.paths or 'path/to/file'}"
    return [(allow, "allows it for this phase and goes on"), ("/resume", f"{_again(history)}, without it")]


def _red(history: History, ladder: tuple[str, ...]) -> list[Reply]:
    upward = _with(stronger(history.model, ladder, history.tried), "a stronger")
    repair: Reply = ("/resume", "has the model repair it from the evidence")
    first = [*upward, repair] if history.red > 1 else [repair, *upward]
    return [*first, _RELEASE]


def _unchecked(_history: History, _ladder: tuple[str, ...]) -> list[Reply]:
    return [("/resume", "looks at the checks again"), _SKIP]


def _none(_history: History, _ladder: tuple[str, ...]) -> list[Reply]:
    """A repository without CI would be asked in every phase."""
    allow = "`checks: {when_none: allow}` merged into `.github/phasegate.yml`"
    return [
        (
            "/resume",
            f"looks at the checks again; with {allow}, goes on without any, here and in later phases",
        ),
        _SKIP,
    ]


def _shut_out(history: History, ladder: tuple[str, ...]) -> list[Reply]:
    other = another(history.model, ladder, history.tried)
    closed = (
        [(f"/resume model={other}", "tries another model, if only this one is closed to us")] if other else []
    )
    return [("/resume", f"{_again(history)}, once the operator of this bot has mended that"), *closed]


def _unpaid(history: History, _ladder: tuple[str, ...]) -> list[Reply]:
    return [("/resume", f"{_again(history)}, once the operator of this bot has mended that")]


def _denied(history: History, _ladder: tuple[str, ...]) -> list[Reply]:
    if history.work != "gate":
        return [("/resume", f"{_again(history)}, once that is mended")]
    # Most often a permission was not granted; meanwhile a person may know better what CI says.
    return [("/resume", f"{_again(history)}, once the operator of this bot has mended that"), _SKIP]


def _bad_plan(history: History, ladder: tuple[str, ...]) -> list[Reply]:
    upward = _with(stronger(history.model, ladder, history.tried), "a stronger")
    return [
        *upward,
        ("/resume", "plans again"),
        ("/revise-plan what to do differently", "plans again with your words"),
    ]


def _mended(what: str) -> Callable[[History, tuple[str, ...]], list[Reply]]:
    return lambda history, _ladder: [("/resume", f"{_again(history)}, {what}")]


_REPLIES: dict[K, Callable[[History, tuple[str, ...]], list[Reply]]] = {
    K.RATE_LIMITED: _busy,
    K.OVERLOADED: _busy,
    K.CONTEXT_OVERFLOW: _overflow,
    K.TIMEOUT: _timeout,
    K.CONNECTION: lambda history, _ladder: [("/resume", _again(history))],
    K.OUT_OF_TURNS: _weak,
    K.OUT_OF_BUDGET: _budget,
    K.NO_FINISH: _weak,
    K.STUCK: _weak,
    K.REFUSED: _refused,
    K.BLOCKED: _blocked,
    K.SCOPE: _scope,
    K.TOO_LARGE: _large,
    K.TESTS_WEAKENED: _weak,
    K.CHECKS_RED: _red,
    K.CHECKS_NONE: _none,
    K.CHECKS_TIMEOUT: _unchecked,
    K.AUTH: _shut_out,
    K.BILLING: _unpaid,
    K.BAD_PLAN: _bad_plan,
    K.BAD_POLICY: _mended("once the file is right"),
    K.DENIED: _denied,
    K.CONFLICT: lambda _history, _ladder: [("/resume", "takes the branch as it stands now")],
    K.GAPS: lambda _history, _ladder: [("/approve-plan", "builds the proposed follow-up phases")],
    K.STOPPED: lambda history, _ladder: [("/resume", _again(history))],
    K.BUG: lambda history, _ladder: [("/resume", _again(history))],
}
