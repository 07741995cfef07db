"""DBOS as the engine: it stores, dispatches, delays and recovers short workflows that carry ids.

Our tables are the truth. A workflow here is one re-entrant step that reads its row and goes on from there,
so new code can always pick up what old code started.
"""

import asyncio
import fcntl
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer
from sqlmodel import Session

from bot.errors import SettingsError
from bot.store import Database

NAME = "phasegate"
VERSION = "1"
"""Pinned for ever: DBOS runs only workflows of its own version, and ours read their state from our tables."""

ATTEMPTS, TIMERS = "attempts", "timers"
RECOVERIES = 20
"""How often a run is begun again after its process ended; a run that ends the process must not do so for ever."""

_LIVE = ("ENQUEUED", "PENDING", "DELAYED")
_GIVEN_UP = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"


class Fate(Enum):
    """What became of a run that was handed to DBOS."""

    HELD = "held"
    """Waiting, delayed or running."""
    GONE = "gone"
    """Over, or never kept."""
    GIVEN_UP = "given up"
    """Recovered so often that DBOS does not start it again: its process ended each time."""


class _Cancelled(logging.Filter):
    """Keeps out the tracebacks DBOS logs for runs that we stopped ourselves."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return "cancelled" not in f"{record.getMessage()} {error}".lower()


class Engine:
    """Hands attempts and timers to DBOS and runs what it dispatches on the worker's loop."""

    def __init__(self, database: Database, *, per_installation: int, total: int) -> None:
        self._database = database
        self._limits = (per_installation, total)
        self._running: dict[int, Future[None]] = {}
        self._dbos: DBOS | None = None
        self._client = DBOSClient(
            system_database_engine=database.engine,
            serializer=DBOSPortableJSONSerializer(),
            application_name=NAME,
            lazy=True,
        )

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        attempt: Callable[[int], Awaitable[None]],
        look: Callable[[int, int], Awaitable[None]],
    ) -> None:
        """Migrate DBOS's tables and begin to dispatch onto `loop`.

        Call it outside any event loop, while the identity is held. What a crash left running is dispatched at once.
        """
        _DESK.bind(self, loop, attempt, look)
        logging.getLogger("dbos").addFilter(_Cancelled())
        self._dbos = DBOS(
            config={
                "name": NAME,
                "system_database_engine": self._database.engine,
                "serializer": DBOSPortableJSONSerializer(),
                "application_version": VERSION,
                "executor_id": NAME,
                "max_executor_threads": 64,
                # Nobody here listens, but a stop waits until this sleep is over.
                "notification_listener_polling_interval_sec": 0.25,
                "log_level": "WARNING",
            }
        )
        DBOS.launch()
        per_installation, total = self._limits
        DBOS.register_queue(
            ATTEMPTS,
            partition_concurrency=per_installation,
            global_concurrency=total,
            polling_interval_sec=0.1,
            on_conflict="always_update",
        )
        DBOS.register_queue(
            TIMERS, worker_concurrency=16, polling_interval_sec=0.25, on_conflict="always_update"
        )

    def enqueue_attempt(
        self, db: Session, attempt_id: int, run: int, installation_id: int, delay: float = 0.0
    ) -> None:
        """Hand run `run` of an attempt to the queue, in the caller's transaction, `delay` seconds from now."""
        self._enqueue(
            db, "attempt", ATTEMPTS, _run_name(attempt_id, run), (attempt_id,), delay, installation_id
        )

    def enqueue_look(self, db: Session, build_id: int, look: int, delay: float) -> None:
        """Have the gate of a build looked at `delay` seconds from now, in the caller's transaction."""
        self._enqueue(db, "look", TIMERS, f"look:{build_id}:{look}", (build_id, look), delay)

    def _enqueue(
        self,
        db: Session,
        workflow: str,
        queue: str,
        name: str,
        arguments: tuple[int, ...],
        delay: float,
        partition: int | None = None,
    ) -> None:
        options: dict[str, object] = {
            "workflow_name": workflow,
            "queue_name": queue,
            "workflow_id": name,
            "app_version": VERSION,
        }
        if delay > 0:
            options["delay_seconds"] = delay
        if partition is not None:
            options["queue_partition_key"] = str(partition)
        self._client.enqueue_in_transaction(db, options, *arguments)  # type: ignore[arg-type]

    def fate(self, attempt_id: int, run: int) -> Fate:
        """Return what became of run `run` of an attempt in DBOS's hands."""
        name = _run_name(attempt_id, run)
        found = self._client.list_workflows(workflow_ids=[name], load_input=False, load_output=False)
        status = found[0].status if found else ""
        return Fate.HELD if status in _LIVE else Fate.GIVEN_UP if status == _GIVEN_UP else Fate.GONE

    def stop_attempt(self, attempt_id: int) -> None:
        """Abort the attempt if it runs in this process; its open model call is closed."""
        if future := self._running.get(attempt_id):
            future.cancel()

    def close(self) -> None:
        """Stop dispatching; runs that are not finished are dispatched again by the next start."""
        _DESK.closing = True
        self._stop_polling()
        for future in list(self._running.values()):
            future.cancel()
        DBOS.destroy(workflow_completion_timeout_sec=0)
        self._client.destroy()

    def _stop_polling(self) -> None:
        """Let the queues' threads end first: what they hand to a loop that is closing is never awaited."""
        for event in self._dbos.background_thread_stop_events if self._dbos else ():
            event.set()
        for thread in threading.enumerate():
            if thread.name.startswith("queue-worker-"):
                thread.join(10)

    async def _follow(self, attempt_id: int, work: Future[None]) -> None:
        """Wait for an attempt on the worker's loop; being stopped by us is a normal end."""
        self._running[attempt_id] = work
        try:
            await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            if _DESK.closing:
                # Never finish: the row stays pending and the next start takes it up.
                await asyncio.Event().wait()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        finally:
            if self._running.get(attempt_id) is work:
                del self._running[attempt_id]


class _Desk:
    """Where DBOS's registered functions find the engine of this process."""

    engine: Engine
    loop: asyncio.AbstractEventLoop
    attempt: Callable[[int], Awaitable[None]]
    look: Callable[[int, int], Awaitable[None]]
    closing = False

    def bind(
        self,
        engine: Engine,
        loop: asyncio.AbstractEventLoop,
        attempt: Callable[[int], Awaitable[None]],
        look: Callable[[int, int], Awaitable[None]],
    ) -> None:
        self.engine, self.loop, self.attempt, self.look = engine, loop, attempt, look
        self.closing = False


_DESK = _Desk()


async def _await(work: Awaitable[None]) -> None:
    await work


@DBOS.step(name="drive", preemptible=True)
async def _drive(attempt_id: int) -> None:
    work = asyncio.run_coroutine_threadsafe(_await(_DESK.attempt(attempt_id)), _DESK.loop)
    await _DESK.engine._follow(attempt_id, work)


@DBOS.workflow(name="attempt", max_recovery_attempts=RECOVERIES)
async def _attempt(attempt_id: int) -> None:
    await _drive(attempt_id)


@DBOS.step(name="judge", preemptible=True)
async def _judge(build_id: int, look: int) -> None:
    await asyncio.wrap_future(
        asyncio.run_coroutine_threadsafe(_await(_DESK.look(build_id, look)), _DESK.loop)
    )


@DBOS.workflow(name="look", max_recovery_attempts=RECOVERIES)
async def _look(build_id: int, look: int) -> None:
    await _judge(build_id, look)


def _run_name(attempt_id: int, run: int) -> str:
    return f"attempt:{attempt_id}:{run}"


@contextmanager
def identity(path: Path) -> Iterator[None]:
    """Hold the lock of this worker's identity; SettingsError where another process has it."""
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise SettingsError(
                f"Another phasegate (process {holder}) uses {path.parent}. "
                "Stop it, or give this one its own DATA_DIR."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
