"""Deliveries are kept before they are answered, and handled in order, one repository at a time."""

import asyncio

import structlog
from sqlmodel import Session

from bot import bugs, comments, outbox, renaming, store
from bot.errors import BotError, Malformed, Transient
from bot.events import Event, event_of
from bot.parts import Parts
from bot.routing import Router
from bot.tables import Delivery, now

_GIVE_UP_AFTER = 10
_OF_NO_REPOSITORY = ("installation", "installation_repositories")

_log = structlog.get_logger(__name__)


def keep(db: Session, event: Event, body: bytes) -> bool:
    """Keep a delivery; False where its GUID is known already."""
    return store.keep_delivery(
        db,
        Delivery(
            guid=event.delivery, event=event.name, action=event.action, repository=event.repository, body=body
        ),
    )


class Inbox:
    """Works deliveries off: one task for each repository's line, so that a slow one keeps no other waiting."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._lines: dict[str, asyncio.Task[None]] = {}

    @property
    def lines(self) -> list[asyncio.Task[None]]:
        """The lines that are being worked off."""
        return list(self._lines.values())

    async def take_up(self, parts: Parts) -> None:
        """Begin with each repository that has something due and whose line is at rest."""
        for repository in await parts.database.ask(store.repositories_due):
            if repository not in self._lines:
                self._lines[repository] = asyncio.create_task(self._work_off(parts, repository))

    async def _work_off(self, parts: Parts, repository: str) -> None:
        try:
            bug = await bugs.guarded(self._each(parts, repository), repository=repository, loop="inbox")
        finally:
            del self._lines[repository]
        if bug is None:
            # What came while the line ended found it busy.
            parts.bells.ring_inbox()

    async def _each(self, parts: Parts, repository: str) -> None:
        """Handle a repository's deliveries in order, as far as nothing has to wait."""
        while delivery := await parts.database.ask(store.next_delivery, repository):
            if delivery.not_before is not None and delivery.not_before > now():
                # Later ones wait behind it: a repository's deliveries are handled in order.
                return
            await _take(parts, self._router, delivery)


async def _take(parts: Parts, router: Router, delivery: Delivery) -> None:
    try:
        event = event_of(delivery.guid, delivery.event, delivery.body)
        bug = await bugs.guarded(_handle(parts, router, event), delivery=event.delivery, key=event.key)
    except Transient as error:
        wait = error.retry_after or min(2.0 ** (delivery.tries + 1), 300.0)
        tries = await parts.database.run(store.delay_delivery, delivery.guid, wait, str(error))
        _log.warning("delivery delayed", delivery=delivery.guid, seconds=wait, error=str(error))
        if tries < _GIVE_UP_AFTER:
            return
        bug = error
    except BotError as error:
        _log.warning("delivery refused", delivery=delivery.guid, error=str(error))
        await parts.database.run(store.close_delivery, delivery.guid, str(error))
        return
    await parts.database.run(_close, parts, event, bug)


async def _handle(parts: Parts, router: Router, event: Event) -> None:
    if not event.repository and event.name not in _OF_NO_REPOSITORY:
        raise Malformed("The delivery names no repository.")
    if event.repository:
        await renaming.follow(parts, event)
    for handler in router.handlers(event, parts.settings.label):
        await handler(event, parts)


def _close(db: Session, parts: Parts, event: Event, bug: Exception | None) -> None:
    store.close_delivery(db, event.delivery, repr(bug) if bug else "")
    number = event.number("issue", "number")
    if bug and number and event.installation_id and event.repository_id:
        place = (event.installation_id, event.repository_id, event.repository, number)
        text = comments.bug(f"delivery `{event.delivery}`")
        outbox.say_at(db, parts, f"bug:{event.delivery}", text, place=place)
