"""The parts of a running bot: made in one place, passed on, closed at the end."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

from bot import policy
from bot.engine import Engine
from bot.github import GitHub, Repository
from bot.policy import Rules
from bot.settings import Settings
from bot.store import Database
from bot.tables import Build
from bot.turns import Header, Listener, Reply


class Models(Protocol):
    """What turns a frozen header and a conversation into one reply."""

    async def turn(
        self,
        header: Header,
        messages: list[dict[str, Any]],
        *,
        on_event: Listener | None = None,
    ) -> Reply:
        """Return one whole reply; ModelFailure says what went wrong and what it cost."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass
class Bells:
    """In-process nudges: what a timer would find anyway is found now. Ring them from any thread."""

    loop: asyncio.AbstractEventLoop
    inbox: asyncio.Event = field(default_factory=asyncio.Event)
    outbox: asyncio.Event = field(default_factory=asyncio.Event)
    gates: asyncio.Queue[int] = field(default_factory=asyncio.Queue)

    def ring_inbox(self) -> None:
        """Say that a delivery was kept."""
        self._soon(self.inbox.set)

    def ring_outbox(self) -> None:
        """Say that there is something to say in public."""
        self._soon(self.outbox.set)

    def ring_gate(self, build_id: int) -> None:
        """Say that CI may have news for a build."""
        self._soon(lambda: self.gates.put_nowait(build_id))

    def _soon(self, call: Callable[[], None]) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(call)


@dataclass(frozen=True)
class Reading:
    """As much of the parts as it takes to read what is stored."""

    settings: Settings

    def rules(self, build: Build) -> Rules:
        """Return what the repository's policy and the settings together say for a build."""
        return policy.effective(policy.parse(build.policy), self.settings)


@dataclass(frozen=True)
class Parts(Reading):
    """All that handlers and attempts work with."""

    database: Database
    engine: Engine
    github: GitHub
    models: Models
    bells: Bells
    draining: threading.Event = field(default_factory=threading.Event)
    parked: set[int] = field(default_factory=set)
    """Attempts that wait between two turns for the process to end."""
    looking: WeakValueDictionary[int, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """Build → the lock that whoever looks at its gate holds."""

    def repository(self, build: Build) -> Repository:
        """Return the GitHub repository of a build."""
        return self.github.repository(build.installation_id, build.repository, build.repository_id)

    def attempt_folder(self, attempt_id: int) -> Path:
        """Return the folder an attempt may keep its objects in."""
        return self.settings.data_dir / "attempts" / str(attempt_id)

    def mirror_folder(self, repository_id: int) -> Path:
        """Return the folder of a repository's mirror."""
        return self.settings.data_dir / "mirrors" / f"{repository_id}.git"
