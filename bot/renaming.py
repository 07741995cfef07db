"""A repository keeps its id when it is renamed or handed over; what is stored of it follows the name it has now."""

import structlog

from bot import store
from bot.errors import Denied, Missing, Rejected
from bot.events import Event
from bot.parts import Parts

_log = structlog.get_logger(__name__)


async def follow(parts: Parts, event: Event) -> None:
    """Let builds and comments of a repository bear its present name, where an event bears another than they do.

    Which of the two is newer, GitHub is asked: a delivery may come late.
    """
    number = event.repository_id or 0
    known = await parts.database.ask(store.names, number)
    if not known or known == {event.repository}:
        return
    try:
        found = await parts.github.repository(event.installation_id or 0, event.repository, number).facts()
    except (Denied, Missing, Rejected) as error:
        _log.info("name not asked", repository=event.repository, error=str(error))
        return
    if found.id == number:
        await parts.database.run(store.rename, number, found.full_name)
        _log.info("renamed", before=sorted(known), after=found.full_name)
