"""The life of a build: every state, every trigger and every legal move. Pure.

Rule 1: everything that decides what follows what lives in this table. Rule 2: this file does not know
who asks; a late or foreign trigger is no move, which is a normal answer.
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a build stands."""

    PLANNING = "planning"
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"
    AWAITING_CHECKS = "awaiting_checks"
    VERIFYING = "verifying"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


class Trigger(StrEnum):
    """What happened."""

    PLAN_READY = "plan_ready"
    PLAN_ACCEPTED = "plan_accepted"
    APPROVED = "approved"
    REVISED = "revised"
    COMMITTED = "committed"
    CHECKS_GREEN = "checks_green"
    LAST_CHECKS_GREEN = "last_checks_green"
    CHECKS_RED = "checks_red"
    CHECKS_STUCK = "checks_stuck"
    CHECKS_REOPENED = "checks_reopened"
    REPAIR_DUE = "repair_due"
    ADOPTED = "adopted"
    CHECKS_RELEASED = "checks_released"
    LAST_CHECKS_RELEASED = "last_checks_released"
    VERIFIED = "verified"
    GAPS_FOUND = "gaps_found"
    ATTEMPT_WAITS = "attempt_waits"
    ATTEMPT_FAILED = "attempt_failed"
    PLANNING_RESUMED = "planning_resumed"
    PHASE_RESUMED = "phase_resumed"
    REPAIR_RESUMED = "repair_resumed"
    APPROVAL_RESUMED = "approval_resumed"
    GATE_RESUMED = "gate_resumed"
    VERIFICATION_RESUMED = "verification_resumed"
    BRANCH_LOST = "branch_lost"
    STOPPED = "stopped"
    MERGED = "merged"
    CANCELLED = "cancelled"


class Work(StrEnum):
    """What a move starts."""

    PLAN = "plan"
    PHASE = "phase"
    REPAIR = "repair"
    VERIFY = "verify"
    GATE = "gate"
    SAME = "same"
    """The attempt that ran goes on from its journal, after a delay."""


@dataclass(frozen=True)
class Move:
    """One legal move: the next state and the work it starts, if any."""

    to: State
    starts: Work | None = None


LIVE = tuple(state for state in State if state not in (State.DONE, State.CANCELLED))
"""States in which a build is not over."""

WORKING = (State.PLANNING, State.RUNNING, State.VERIFYING)
"""States in which exactly one attempt runs."""

_S, _T = State, Trigger

_FAILURES: dict[State, dict[Trigger, Move]] = {
    state: {_T.ATTEMPT_WAITS: Move(state, Work.SAME), _T.ATTEMPT_FAILED: Move(_S.PAUSED)} for state in WORKING
}
_ENDINGS = {
    _T.STOPPED: Move(_S.PAUSED),
    _T.MERGED: Move(_S.DONE),
    _T.CANCELLED: Move(_S.CANCELLED),
}
_RELEASES = {
    _T.CHECKS_RELEASED: Move(_S.RUNNING, Work.PHASE),
    _T.LAST_CHECKS_RELEASED: Move(_S.VERIFYING, Work.VERIFY),
}
# What happens to the branch while the next work is being done.
_OVERTAKEN = {
    _T.CHECKS_REOPENED: Move(_S.AWAITING_CHECKS, Work.GATE),
    _T.ADOPTED: Move(_S.AWAITING_CHECKS, Work.GATE),
    _T.BRANCH_LOST: Move(_S.PAUSED),
}
_OWN: dict[State, dict[Trigger, Move]] = {
    _S.PLANNING: {
        _T.PLAN_READY: Move(_S.AWAITING_APPROVAL),
        _T.PLAN_ACCEPTED: Move(_S.RUNNING, Work.PHASE),
    },
    _S.AWAITING_APPROVAL: {
        _T.APPROVED: Move(_S.RUNNING, Work.PHASE),
        _T.REVISED: Move(_S.PLANNING, Work.PLAN),
    },
    _S.RUNNING: {
        _T.COMMITTED: Move(_S.AWAITING_CHECKS, Work.GATE),
        **_OVERTAKEN,
    },
    _S.AWAITING_CHECKS: {
        _T.CHECKS_GREEN: Move(_S.RUNNING, Work.PHASE),
        _T.LAST_CHECKS_GREEN: Move(_S.VERIFYING, Work.VERIFY),
        _T.REPAIR_DUE: Move(_S.RUNNING, Work.REPAIR),
        _T.ADOPTED: Move(_S.AWAITING_CHECKS, Work.GATE),
        _T.CHECKS_RED: Move(_S.PAUSED),
        _T.CHECKS_STUCK: Move(_S.PAUSED),
        _T.BRANCH_LOST: Move(_S.PAUSED),
        **_RELEASES,
    },
    _S.VERIFYING: {
        _T.VERIFIED: Move(_S.DONE),
        _T.GAPS_FOUND: Move(_S.PAUSED),
        **_OVERTAKEN,
    },
    _S.PAUSED: {
        _T.APPROVED: Move(_S.RUNNING, Work.PHASE),
        _T.REVISED: Move(_S.PLANNING, Work.PLAN),
        _T.PLANNING_RESUMED: Move(_S.PLANNING, Work.PLAN),
        _T.PHASE_RESUMED: Move(_S.RUNNING, Work.PHASE),
        _T.REPAIR_RESUMED: Move(_S.RUNNING, Work.REPAIR),
        _T.ADOPTED: Move(_S.AWAITING_CHECKS, Work.GATE),
        _T.APPROVAL_RESUMED: Move(_S.AWAITING_APPROVAL),
        _T.GATE_RESUMED: Move(_S.AWAITING_CHECKS, Work.GATE),
        _T.VERIFICATION_RESUMED: Move(_S.VERIFYING, Work.VERIFY),
        **_RELEASES,
    },
}

MOVES: dict[State, dict[Trigger, Move]] = {
    state: ({**_OWN.get(state, {}), **_FAILURES.get(state, {}), **_ENDINGS} if state in LIVE else {})
    for state in State
}
"""The table, whole: what a state has not, it does not answer to."""

# A build that is paused already has nothing left to stop.
del MOVES[State.PAUSED][Trigger.STOPPED]


def move(state: State, trigger: Trigger) -> Move | None:
    """Return the move, or None where the trigger no longer applies."""
    return MOVES[state].get(trigger)


def mermaid() -> str:
    """Draw the table as the Mermaid chart of the README."""
    lines = ["stateDiagram-v2", "    [*] --> planning: label"]
    for state, moves in MOVES.items():
        arrows: dict[State, list[str]] = {}
        for trigger, step in moves.items():
            if step.to is not State.CANCELLED and trigger not in (Trigger.STOPPED, Trigger.MERGED):
                arrows.setdefault(step.to, []).append(trigger.value)
        lines += [f"    {state} --> {to}: {', '.join(triggers)}" for to, triggers in arrows.items()]
    lines += [
        "    note right of paused: any live state pauses on stopped,\\nends on merged (done) or cancelled",
        "    done --> [*]",
        "    cancelled --> [*]",
    ]
    return "\n".join(lines)
