"""Stories that reach a gate: CI says only what a test lets it say, and people push when a test lets them."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bot import store
from localhub.faults import FaultRule
from localmodel import Scenario
from tests.world import World, finish, scenario, small

NewWorld = Callable[..., World]

POLICY = ".github/phasegate.yml"
ACTIONS = {
    "metadata": "read",
    "contents": "write",
    "issues": "write",
    "pull_requests": "write",
    "checks": "read",
    "statuses": "read",
    "actions": "write",
}
"""What an operator may grant beyond the manifest, so that workflows can be run again."""

QUICK = {"checks": "", "checks_poll_seconds": 0.3, "checks_settle_seconds": 0.2}


@contextmanager
def waiting(new_world: NewWorld, story: Scenario, **options: Any) -> Iterator[World]:
    """Run a story, its plan approved, until its first commit waits for checks."""
    world = new_world(story, **{**QUICK, **options})
    with world.running():
        world.approves()
        world.until("awaiting_checks")
        yield world


@contextmanager
def one(new_world: NewWorld, *conversations: dict[str, Any], **options: Any) -> Iterator[World]:
    """Run the story of one phase until its commit waits for checks."""
    with waiting(new_world, small(*conversations), **options) as world:
        yield world


@contextmanager
def two(new_world: NewWorld, *conversations: dict[str, Any], **options: Any) -> Iterator[World]:
    """Run the story of two phases until the first commit waits for checks."""
    with waiting(new_world, scenario(*conversations), **options) as world:
        yield world


@contextmanager
def held(world: World, conversation: str, turn: int = 0) -> Iterator[None]:
    """Let the first commit be green, and go on while the model is silent in a later conversation."""
    world.model.inject("stall", conversation=conversation, turn=turn, after=0, seconds=90)
    world.reports()
    world.wait(lambda: stalls(world, conversation), f"a stall in {conversation}")
    world.settle()
    yield
    if world.stored().state not in ("done", "cancelled", "paused"):
        world.says("/cancel")
        world.until("cancelled")


def stalls(world: World, conversation: str) -> bool:
    """Whether the model was asked in a conversation and is silent."""
    return any(r.conversation == conversation and r.outcome == "stall" for r in world.model.requests)


def triggers(world: World) -> list[str]:
    """Return what moved the build so far, in order."""
    assert world.bot is not None
    with world.bot.parts.database.reading() as db:
        return [move.trigger for move in store.moves(db, 1)]


def push(world: World, path: str = "NOTES.md", text: str = "Mine.\n", branch: str = "") -> str:
    """Have maria push a commit to the build's branch, or another; return it."""
    branch = branch or world.branch_name
    return str(world.hub.push_commit(world.repository, branch, {path: text}, "Note", by="maria"))


def until_head(world: World, sha: str) -> None:
    """Wait until the gate waits for the checks of a commit."""

    def there() -> bool:
        build = world.stored()
        return (build.head, build.state) == (sha, "awaiting_checks")

    world.wait(there, f"a gate at {sha}")
    world.settle()


def until_said(world: World, part: str) -> str:
    """Wait until the bot says something, and return the whole comment."""
    world.wait(lambda: any(part in body for body in world.comments), f"a comment with {part!r}")
    return next(body for body in reversed(world.comments) if part in body)


def until_moved(world: World, trigger: str) -> None:
    """Wait until something moved the build."""
    world.wait(lambda: trigger in triggers(world), trigger)


def outlast(world: World, seconds: float = 0.6) -> None:
    """Wait longer than the checks have to settle, and for a whole look at the gate after that."""
    ends = time.monotonic() + seconds
    world.wait(lambda: time.monotonic() > ends, "time")
    _looked(world, 2)


def noticed(world: World) -> None:
    """Wait until what CI said last was looked at, while other work runs: a look begins when the one before is over."""
    seen = len(_looks(world))
    world.reports(name="noise")
    world.settle()
    world.reports(name="noise", rerun=True)
    world.settle()
    world.wait(lambda: len(_looks(world)) >= seen + 2, "looks at the gate")


def _looked(world: World, times: int) -> None:
    seen = len(_looks(world))
    world.wait(lambda: len(_looks(world)) >= seen + times, "looks at the gate")


def _looks(world: World) -> list[Any]:
    return [r for r in world.hub.requests if re.search(r"/commits/\w+/check-runs", r.path)]


def mends(number: int, answer: str, was: str) -> dict[str, Any]:
    """Return a repair's turn that has part <n> return something else."""
    changed = {"path": f"tally/part{number}.py", "old_str": f"return {was}", "new_str": f"return {answer}"}
    subject = {"commit_subject": f"fix(tally): answer {answer}", "summary": f"It answers {answer}."}
    return {"use": [{"edit_file": changed}, finish(number, **subject)]}


class Meanwhile(FaultRule):
    """Has something happen in the moment before a request is answered, once."""

    def __init__(self, method: str, path: str, happens: Callable[[], object]) -> None:
        super().__init__(path, method)
        self._happens = happens

    def matches(self, method: str, path: str) -> bool:
        """Do it on the first request that fits; the request itself goes on as if nothing were."""
        if super().matches(method, path):
            self.count = 0
            self._happens()
        return False
