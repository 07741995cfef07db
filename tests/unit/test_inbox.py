"""The inbox: kept deliveries are handled in order, and what goes wrong with one costs only that one."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from bot import inbox, store
from bot.errors import Denied, Transient
from bot.events import Event, event_of
from bot.parts import Bells, Parts
from bot.routing import Router
from bot.tables import Delivery
from tests.unit.story_bench import database, known
from tests.world import PATIENCE


@dataclass
class Inbox:
    """An inbox on its own: kept deliveries, and a handler that does what a test says."""

    parts: Parts
    lines: list[Any]
    """What was logged."""
    fails: dict[str, Exception] = field(default_factory=dict)
    """Delivery → what its handler raises."""
    waits: dict[str, asyncio.Event] = field(default_factory=dict)
    """Delivery → what its handler waits for."""
    handled: list[str] = field(default_factory=list)

    def keep(self, guid: str, repository: str = "acme/tally") -> None:
        """Keep a comment of issue 1."""
        place = {"id": 7, "full_name": repository}
        body = {"action": "created", "issue": {"number": 1}, "repository": place, "installation": {"id": 5}}
        event = event_of(guid, "issue_comment", json.dumps(body).encode())
        with self.parts.database.transaction() as db:
            assert inbox.keep(db, event, json.dumps(body).encode())

    def box(self) -> inbox.Inbox:
        """Return the inbox with a handler that does what the test says."""
        router = Router()

        @router.on("issue_comment.created")
        async def handle(event: Event, parts: Parts) -> None:
            if wait := self.waits.get(event.delivery):
                await wait.wait()
            self.handled.append(event.delivery)
            if fault := self.fails.get(event.delivery):
                raise fault

        return inbox.Inbox(router)

    def drain(self) -> None:
        """Have the handler called for what waits."""

        async def work_off() -> None:
            box = self.box()
            await box.take_up(self.parts)
            await asyncio.gather(*box.lines)

        asyncio.run(work_off())

    def rows(self) -> dict[str, Delivery]:
        """Return every delivery by its GUID."""
        with self.parts.database.transaction() as db:
            return {row.guid: row for row in db.scalars(sa.select(Delivery))}

    def bugs(self) -> list[tuple[str, str]]:
        """Return what was logged with a traceback, and of which delivery."""
        return [(one["event"], one["delivery"]) for one in self.lines if one.get("exc_info")]

    def said(self) -> list[str]:
        """Return what shall be said in public."""
        with self.parts.database.transaction() as db:
            return [notice.body for notice in store.open_notices(db)]


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Inbox]:
    """An empty inbox that nobody drains but the test."""
    nobody: Any = None
    with database(tmp_path) as opened, closing(asyncio.new_event_loop()) as loop, capture_logs() as lines:
        parts = Parts(known(tmp_path), opened, nobody, nobody, nobody, Bells(loop))
        yield Inbox(parts, lines)


def test_deliveries_of_a_repository_are_handled_in_order_and_once(queue: Inbox) -> None:
    for guid in ("a-000001", "b-000002", "c-000003"):
        queue.keep(guid)
    queue.drain()
    queue.drain()

    assert queue.handled == ["a-000001", "b-000002", "c-000003"]


def test_a_bug_in_a_handler_costs_one_delivery_and_is_said(queue: Inbox) -> None:
    """The next in line is handled, the traceback is in the log, and the person hears of it."""
    queue.fails["a-000001"] = ZeroDivisionError("nobody planned for this")
    queue.keep("a-000001")
    queue.keep("b-000002")
    queue.drain()

    assert queue.handled == ["a-000001", "b-000002"]
    assert all(row.handled_at for row in queue.rows().values())
    assert "ZeroDivisionError" in queue.rows()["a-000001"].error
    assert queue.bugs() == [("bug", "a-000001")]
    assert [text for text in queue.said() if "a-000001" in text]


def test_a_refusal_is_noted_and_costs_one_delivery(queue: Inbox) -> None:
    queue.fails["a-000001"] = Denied("GitHub says no.")
    queue.keep("a-000001")
    queue.keep("b-000002")
    queue.drain()

    assert queue.handled == ["a-000001", "b-000002"]
    assert queue.rows()["a-000001"].error == "GitHub says no."
    assert (queue.bugs(), queue.said()) == ([], [])


def test_an_outage_holds_up_its_own_repository_alone(queue: Inbox) -> None:
    """What follows in the same repository waits its turn; the delivery itself stays kept."""
    queue.fails["a-000001"] = Transient("GitHub is away.")
    queue.keep("a-000001")
    queue.keep("b-000002")
    queue.keep("c-000003", repository="acme/other")
    queue.drain()

    rows = queue.rows()
    assert sorted(queue.handled) == ["a-000001", "c-000003"]
    assert [guid for guid, row in sorted(rows.items()) if row.handled_at] == ["c-000003"]
    assert rows["a-000001"].not_before
    assert rows["a-000001"].tries == 1


def test_a_slow_delivery_keeps_no_other_repository_waiting(queue: Inbox) -> None:
    """Not even one whose first delivery comes later; its own repository's next one waits its turn."""

    async def story() -> None:
        slow = queue.waits["a-000001"] = asyncio.Event()
        box = queue.box()
        queue.keep("a-000001")
        queue.keep("b-000002")
        async with asyncio.timeout(PATIENCE):
            await box.take_up(queue.parts)
            queue.keep("c-000003", repository="acme/other")
            await box.take_up(queue.parts)
            while "c-000003" not in queue.handled:
                await asyncio.sleep(0.01)
            assert queue.handled == ["c-000003"]
            slow.set()
            await asyncio.gather(*box.lines)

    asyncio.run(story())
    assert queue.handled == ["c-000003", "a-000001", "b-000002"]


def test_what_comes_for_a_repository_at_work_is_handled_once_and_in_its_turn(queue: Inbox) -> None:
    async def story() -> None:
        slow = queue.waits["a-000001"] = asyncio.Event()
        box = queue.box()
        queue.keep("a-000001")
        async with asyncio.timeout(PATIENCE):
            await box.take_up(queue.parts)
            queue.keep("b-000002")
            await box.take_up(queue.parts)
            assert len(box.lines) == 1
            slow.set()
            await asyncio.gather(*box.lines)

    asyncio.run(story())
    assert queue.handled == ["a-000001", "b-000002"]


def test_the_end_of_a_line_has_the_inbox_looked_through_again(queue: Inbox) -> None:
    """A delivery that came in that very moment found its repository at work."""

    async def story() -> bool:
        parts = replace(queue.parts, bells=Bells(asyncio.get_running_loop()))
        box = queue.box()
        queue.keep("a-000001")
        await box.take_up(parts)
        async with asyncio.timeout(PATIENCE):
            return await parts.bells.inbox.wait()

    assert asyncio.run(story())


def test_a_repository_that_fails_hides_no_other_however_long_its_line(queue: Inbox) -> None:
    queue.fails["0-000000"] = Transient("GitHub is away.")
    for number in range(250):
        queue.keep(f"{number}-000000")
    queue.drain()
    queue.keep("z-000000", repository="acme/other")
    queue.drain()

    assert queue.handled == ["0-000000", "z-000000"]
