"""The worker: one event loop in a thread of its own, on which everything that talks to GitHub or a model runs."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

import structlog

from bot import bugs, builds, inbox, outbox, phases, planning, reconcile, store, verdicts, verification
from bot.errors import AttemptFailed, BotError, Denied, FailureKind, Missing, Rejected, Transient
from bot.parts import Parts
from bot.routing import Router
from bot.tables import Attempt, now

_TICK = 5.0
"""Seconds after which inbox and outbox are looked through even if no bell rang."""

_DRAIN_SECONDS = 25.0

_log = structlog.get_logger(__name__)

_KINDS: dict[str, Callable[[Parts, int], Awaitable[None]]] = {
    "plan": planning.run,
    "phase": phases.run,
    "repair": phases.run,
    "verify": verification.run,
}


class Worker:
    """Owns the loop; drains inbox and outbox, looks at gates, runs attempts."""

    def __init__(self, router: Router) -> None:
        self._work = inbox.Inbox(router)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._tasks: list[asyncio.Task[None]] = []
        self._looks: dict[int, asyncio.Task[None]] = {}
        self._again: set[int] = set()
        self._busy: set[int] = set()
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._asked: datetime | None = None
        self._started = False

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, work: Coroutine[Any, Any, Any], timeout: float | None = None) -> Any:
        """Run `work` on the worker's loop from another thread and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def start_loop(self) -> None:
        """Start the thread; what is made for the loop can now be made on it."""
        self._thread.start()

    def stop_loop(self) -> None:
        """End the thread and close its loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def start(self, parts: Parts) -> None:
        """Begin to work: the engine dispatches, inbox and outbox are drained, live builds are looked through."""
        self.call(parts.github.start())
        parts.engine.start(
            self.loop,
            attempt=lambda attempt_id: self.attempt(parts, attempt_id),
            look=lambda build_id, number: self._timer(parts, build_id, number),
        )
        self.call(self._begin(parts))
        self._started = True

    @property
    def ready(self) -> bool:
        """Whether the worker was started and every one of its loops still runs."""
        return self._started and not any(task.done() for task in self._tasks)

    async def _begin(self, parts: Parts) -> None:
        for name, work in (
            ("inbox", self._inbox),
            ("outbox", self._outbox),
            ("gates", self._gates),
            ("reconcile", self._reconcile),
        ):
            self._tasks.append(asyncio.create_task(work(parts), name=name))

    def close(self, parts: Parts) -> None:
        """Let running calls come to their end, stop, and close what was opened."""
        self._started = False
        parts.draining.set()
        self.call(self._drained(parts))
        parts.engine.close()
        self.call(self._end(parts))
        self.stop_loop()

    async def _drained(self, parts: Parts) -> None:
        """Wait until no attempt is inside a model call, for a while."""
        deadline = self.loop.time() + _DRAIN_SECONDS
        while self._busy - parts.parked and self.loop.time() < deadline:
            await asyncio.sleep(0.05)

    async def _end(self, parts: Parts) -> None:
        tasks = [*self._tasks, *self._work.lines, *self._looks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await parts.models.close()
        await parts.github.close()

    async def _inbox(self, parts: Parts) -> None:
        await _rounds(parts, parts.bells.inbox, lambda: self._work.take_up(parts), loop="inbox")

    async def _outbox(self, parts: Parts) -> None:
        await _rounds(parts, parts.bells.outbox, lambda: outbox.drain(parts), loop="outbox")

    async def _gates(self, parts: Parts) -> None:
        while True:
            self._look_soon(parts, await parts.bells.gates.get())

    def _look_soon(self, parts: Parts, build_id: int) -> None:
        """Look at a gate now; one look at a time, and once more if news came meanwhile."""
        running = self._looks.get(build_id)
        if running is not None and not running.done():
            self._again.add(build_id)
            return
        self._again.discard(build_id)
        task = asyncio.create_task(self._look(parts, build_id))
        self._looks[build_id] = task
        task.add_done_callback(lambda done: self._looked(parts, build_id, done))

    def _looked(self, parts: Parts, build_id: int, done: asyncio.Task[None]) -> None:
        if self._looks.get(build_id) is done:
            del self._looks[build_id]
        if build_id in self._again and not done.cancelled():
            self._look_soon(parts, build_id)

    async def _look(self, parts: Parts, build_id: int, by: str = "event") -> None:
        await self._watch(parts, build_id, reconcile.look(parts, build_id, by=by), "gate")

    async def _timer(self, parts: Parts, build_id: int, number: int) -> None:
        await self._watch(parts, build_id, reconcile.look_by_timer(parts, build_id, number), "timer")

    async def _watch(self, parts: Parts, build_id: int, look: Awaitable[None], loop: str) -> None:
        """Await a look at a gate; a mistake of ours pauses the build, but none that a closing client causes."""
        bug = await bugs.guarded(_calm(look), build=build_id, loop=loop)
        if bug is not None and not parts.draining.is_set():
            name = type(bug).__name__
            await bugs.guarded(parts.database.run(verdicts.broke, parts, build_id, name), build=build_id)

    async def _reconcile(self, parts: Parts) -> None:
        await bugs.guarded(_calm(reconcile.greet(parts)), loop="greet")
        while True:
            await bugs.guarded(_calm(reconcile.recover(parts)), loop="reconcile")
            await bugs.guarded(_calm(self._fetch_missed(parts)), loop="redelivery")
            await asyncio.sleep(parts.settings.reconcile_seconds)

    async def _fetch_missed(self, parts: Parts) -> None:
        started = now()
        await reconcile.fetch_missed(parts, self._asked)
        self._asked = started

    async def attempt(self, parts: Parts, attempt_id: int) -> None:
        """Run one attempt to its end; however it fails, the build hears of it."""
        # A second run of the same attempt waits its turn, and finds what the first one left.
        async with self._turns.setdefault(attempt_id, asyncio.Lock()):
            await self._attempt(parts, attempt_id)

    async def _attempt(self, parts: Parts, attempt_id: int) -> None:
        attempt: Attempt = await parts.database.ask(store.attempt, attempt_id)
        if attempt.outcome:
            return
        self._busy.add(attempt_id)
        try:
            failure = await self._try(parts, attempt)
        finally:
            self._busy.discard(attempt_id)
        if failure is not None:
            _log.info("attempt failed", attempt=attempt_id, kind=failure.kind, detail=failure.detail)
            await parts.database.run(builds.attempt_failed, parts, attempt_id, failure)

    async def _try(self, parts: Parts, attempt: Attempt) -> AttemptFailed | None:
        try:
            bug = await bugs.guarded(
                _failing(_KINDS[attempt.kind](parts, attempt.id or 0)), attempt=attempt.id
            )
        except AttemptFailed as failure:
            return failure
        return (
            AttemptFailed(FailureKind.BUG, f"{type(bug).__name__} in attempt {attempt.id}.") if bug else None
        )


async def _failing(work: Awaitable[None]) -> None:
    """Await `work`; what GitHub or Git said no to becomes a failure of the attempt."""
    try:
        await work
    except AttemptFailed:
        raise
    except Transient as error:
        raise AttemptFailed(FailureKind.CONNECTION, str(error), retry_after=error.retry_after) from error
    except (Denied, Missing, Rejected) as error:
        raise AttemptFailed(FailureKind.DENIED, str(error)) from error
    except BotError as error:
        raise AttemptFailed(FailureKind.BLOCKED, str(error)) from error


async def _calm(work: Awaitable[object]) -> None:
    """Await `work`; what GitHub refused or could not do now is found again by the next round."""
    try:
        await work
    except BotError as error:
        _log.warning("later", error=str(error))


async def _rounds(
    parts: Parts, bell: asyncio.Event, work: Callable[[], Awaitable[object]], *, loop: str
) -> None:
    """Do `work` whenever the bell rings or something is due, for ever; an error costs one round."""
    while True:
        bell.clear()
        if await bugs.guarded(_round(parts, bell, work), loop=loop):
            await _bell(bell, _TICK)


async def _round(parts: Parts, bell: asyncio.Event, work: Callable[[], Awaitable[object]]) -> None:
    began = now()
    await _calm(work())
    await _bell(bell, await _pause(parts, began))


async def _pause(parts: Parts, since: datetime) -> float:
    """Return how long nothing is due that was not due at `since` already."""
    due = await parts.database.ask(store.next_due, since)
    return _TICK if due is None else min(max((due - now()).total_seconds(), 0.05), _TICK)


async def _bell(bell: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await bell.wait()
    except TimeoutError:
        return
