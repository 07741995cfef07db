"""Where the App was removed nothing can go on; where it was suspended nothing can for a while."""

from sqlmodel import Session

from bot import comments, orders, outbox, store
from bot.events import Event, installation
from bot.parts import Parts
from bot.routing import Router

router = Router()


@router.on("installation.deleted", when=installation)
async def leave(event: Event, parts: Parts) -> None:
    """Cancel every live build of an installation that is gone."""
    await parts.database.run(_leave, parts, event)


def _leave(db: Session, parts: Parts, event: Event) -> None:
    live = store.live_builds(db, installation_id=event.installation_id or 0)
    why = comments.why_stopped("uninstalled", event.sender_login)
    orders.end_all(db, parts, live, why, event.sender_login)


@router.on("installation.suspend", when=installation)
async def rest(event: Event, parts: Parts) -> None:
    """Pause every live build of an installation; what is to be said of it waits until the App may speak again."""
    await parts.database.run(_rest, parts, event)


def _rest(db: Session, parts: Parts, event: Event) -> None:
    why = comments.why_stopped("suspended", event.sender_login)
    for build in store.live_builds(db, installation_id=event.installation_id or 0):
        orders.stop(db, parts, build, why, event.sender_login)


@router.on("installation.unsuspend", when=installation)
async def wake(event: Event, parts: Parts) -> None:
    """Say what could not be said meanwhile; a person's `/resume` goes on."""
    await parts.database.run(outbox.say_again, parts, event.installation_id or 0)


@router.on("installation_repositories.removed", when=installation)
async def leave_some(event: Event, parts: Parts) -> None:
    """Cancel the live builds of repositories the App was removed from."""
    removed = event.at("repositories_removed")
    ids = [one.get("id") for one in removed if isinstance(one, dict)] if isinstance(removed, list) else []
    await parts.database.run(_leave_some, parts, event, ids)


def _leave_some(db: Session, parts: Parts, event: Event, ids: list[object]) -> None:
    live = store.live_builds(db, installation_id=event.installation_id or 0)
    gone = [build for build in live if build.repository_id in ids]
    why = comments.why_stopped("removed", event.sender_login)
    orders.end_all(db, parts, gone, why, event.sender_login)
