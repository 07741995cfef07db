"""Deliveries are kept before they are answered, and handled in order, one repository at a time."""

import asyncio

import structlog
from sqlmodel import Session

from bot import bugs, comments, outbox, store
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


async def drain(parts: Parts, router: Router) -> int:
    """Handle what waits, in order within each repository; return how many deliveries were taken up."""
    waiting = await parts.database.ask(store.open_deliveries)
    lines: dict[str, list[Delivery]] = {}
    for delivery in waiting:
        lines.setdefault(delivery.repository, []).append(delivery)
    ends = await asyncio.gather(
        *(_work_off(parts, router, line) for line in lines.values()), return_exceptions=True
    )
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return len(waiting)


async def _work_off(parts: Parts, router: Router, line: list[Delivery]) -> None:
    for delivery in line:
        if delivery.not_before is not None and delivery.not_before > now():
            # Later ones wait behind it: a repository's deliveries are handled in order.
            return
        event = event_of(delivery.guid, delivery.event, delivery.body)
        try:
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
            continue
        await parts.database.run(_close, parts, event, bug)


async def _handle(parts: Parts, router: Router, event: Event) -> None:
    if not event.repository and event.name not in _OF_NO_REPOSITORY:
        raise Malformed("The delivery names no repository.")
    for handler in router.handlers(event, parts.settings.label):
        await handler(event, parts)


def _close(db: Session, parts: Parts, event: Event, bug: Exception | None) -> None:
    store.close_delivery(db, event.delivery, repr(bug) if bug else "")
    number = event.number("issue", "number")
    if bug and number and event.installation_id and event.repository_id:
        place = (event.installation_id, event.repository_id, event.repository, number)
        text = comments.bug(f"delivery `{event.delivery}`")
        outbox.say_at(db, parts, f"bug:{event.delivery}", text, place=place)
