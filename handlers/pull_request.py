"""What happens to the build's pull request happens to the build."""

from sqlmodel import Session

from bot import builds, comments, orders, reconcile, store
from bot.events import Event, ours_branch
from bot.parts import Parts
from bot.routing import Router
from bot.states import Trigger
from bot.tables import Build

router = Router()


@router.on("pull_request.closed", when=ours_branch)
async def end(event: Event, parts: Parts) -> None:
    """End the build when its pull request was merged; pause it when it was closed, and say so if by its branch."""
    build = await parts.database.ask(_build_of, event)
    if build is not None and event.at("pull_request", "merged") is not True:
        # Deleting a branch closes its pull request; what is said is the cause, whichever news comes first.
        await reconcile.notice_push(parts, build.id or 0)
    await parts.database.run(_end, parts, event)


def _build_of(db: Session, event: Event) -> Build | None:
    """Return the live build of a pull request; a branch of that name may be left over from another build."""
    build = store.build_on(db, event.repository_id or 0, event.text("pull_request", "head", "ref"))
    number = event.number("pull_request", "number")
    return build if build is not None and build.pull_request == number else None


def _end(db: Session, parts: Parts, event: Event) -> None:
    build = _build_of(db, event)
    if build is None:
        return
    if event.at("pull_request", "merged") is True:
        builds.advance(db, parts, build, Trigger.MERGED, by=event.sender_login)
    else:
        why = comments.why_stopped("pull_closed", event.sender_login)
        orders.stop(db, parts, build, why, event.sender_login, reopens=True)
