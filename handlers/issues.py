"""What a label, or the closing of an issue, does."""

from sqlmodel import Session

from bot import comments, orders, store
from bot.events import Event, labelled_ours
from bot.parts import Parts
from bot.routing import Router

router = Router()


@router.on("issues.labeled", when=labelled_ours)
async def start(event: Event, parts: Parts) -> None:
    """Start a build of the issue, when the label was set by a person with write permission."""
    where = parts.github.repository(event.installation_id or 0, event.repository, event.repository_id or 0)
    if event.sender_type != "User":
        return
    if not await orders.may_command(where, event.sender_login, event.sender_id):
        await parts.database.run(orders.say_no_right, parts, event)
        return
    await parts.database.run(orders.begin, parts, event)


@router.on("issues.closed", "issues.unlabeled", "issues.deleted", "issues.transferred", when=labelled_ours)
async def stop(event: Event, parts: Parts) -> None:
    """Pause the issue's build when the issue is closed or its label is taken away."""
    await parts.database.run(_stop, parts, event)


def _stop(db: Session, parts: Parts, event: Event) -> None:
    build = store.live_build(db, event.repository_id or 0, event.number("issue", "number") or 0)
    if build is not None:
        orders.stop(
            db, parts, build, comments.why_stopped(event.action, event.sender_login), event.sender_login
        )
