"""Attempts without a run are found and handed out again, but only as they were when they were looked at."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from bot import reconcile, store
from bot.engine import Fate
from bot.parts import Bells, Parts
from bot.store import Database
from tests.unit.story_bench import database, known, tell


class Lossy:
    """An engine that knows of no run; while it looks, the attempt may be handed out by somebody else."""

    def __init__(self, opened: Database, fate: Fate, *, meanwhile: bool) -> None:
        self._opened, self._fate, self._meanwhile = opened, fate, meanwhile
        self.enqueued: list[tuple[int, int]] = []

    def fate(self, attempt_id: int, run: int) -> Fate:
        """Say what became of a run."""
        if self._meanwhile:
            with self._opened.transaction() as db:
                store.attempt(db, attempt_id).runs = run + 1
        return self._fate

    def enqueue_attempt(
        self, _db: Session, attempt_id: int, run: int, _installation: int, _delay: float
    ) -> None:
        """Note what is handed out."""
        self.enqueued.append((attempt_id, run))


def recovered(folder: Path, fate: Fate, *, meanwhile: bool) -> tuple[list[tuple[int, int]], str]:
    """Look after a build whose third attempt runs; return what was handed out and the build's state."""
    nobody: Any = None
    with database(folder) as opened, closing(asyncio.new_event_loop()) as loop:
        with opened.transaction() as db:
            tell(db)
            store.attempt(db, 3).runs = 1
        engine: Any = Lossy(opened, fate, meanwhile=meanwhile)
        asyncio.run(reconcile.recover(Parts(known(folder), opened, engine, nobody, nobody, Bells(loop))))
        with opened.reading() as db:
            return engine.enqueued, store.build(db, 1).state


@pytest.mark.parametrize(
    ("fate", "after"),
    [(Fate.HELD, ([], "running")), (Fate.GONE, ([(3, 2)], "running")), (Fate.GIVEN_UP, ([], "paused"))],
)
def test_a_lost_run_is_replaced_and_a_given_up_one_parks_its_build(
    tmp_path: Path, fate: Fate, after: tuple[list[tuple[int, int]], str]
) -> None:
    assert recovered(tmp_path, fate, meanwhile=False) == after


@pytest.mark.parametrize("fate", [Fate.GONE, Fate.GIVEN_UP])
def test_an_attempt_that_began_to_wait_while_its_run_was_looked_up_is_left_alone(
    tmp_path: Path, fate: Fate
) -> None:
    """It has a newer run by then, and two of them would run it twice."""
    assert recovered(tmp_path, fate, meanwhile=True) == ([], "running")
