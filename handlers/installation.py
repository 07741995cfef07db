"""Where the App was removed, nothing can go on."""

from sqlmodel import Session

from bot import orders, store
from bot.events import Event, installation
from bot.parts import Parts
from bot.routing import Router

router = Router()


@router.on("installation.deleted", "installation.suspend", when=installation)
async def leave(event: Event, parts: Parts) -> None:
    """Cancel every live build of an installation that is gone."""
    await parts.database.run(_leave, parts, event)


def _leave(db: Session, parts: Parts, event: Event) -> None:
    live = store.live_builds(db, installation_id=event.installation_id or 0)
    orders.end_all(db, parts, live, event.sender_login)


@router.on("installation_repositories.removed", when=installation)
async def leave_some(event: Event, parts: Parts) -> None:
    """Cancel the live builds of repositories the App was removed from."""
    removed = event.at("repositories_removed")
    ids = [one.get("id") for one in removed if isinstance(one, dict)] if isinstance(removed, list) else []
    await parts.database.run(_leave_some, parts, event, ids)


def _leave_some(db: Session, parts: Parts, event: Event, ids: list[object]) -> None:
    live = store.live_builds(db, installation_id=event.installation_id or 0)
    orders.end_all(db, parts, [build for build in live if build.repository_id in ids], event.sender_login)
