"""What happens to the build's pull request happens to the build."""

from sqlmodel import Session

from bot import builds, comments, orders, reconcile, store
from bot.events import Event, ours_branch
from bot.parts import Parts
from bot.routing import Router
from bot.states import Trigger

router = Router()


@router.on("pull_request.closed", when=ours_branch)
async def end(event: Event, parts: Parts) -> None:
    """End the build when its pull request was merged; pause it when it was closed, and say so if by its branch."""
    branch = event.text("pull_request", "head", "ref")
    build = await parts.database.ask(store.build_on, event.repository_id or 0, branch)
    if build is not None and event.at("pull_request", "merged") is not True:
        # Deleting a branch closes its pull request; what is said is the cause, whichever news comes first.
        await reconcile.notice_push(parts, build.id or 0)
    await parts.database.run(_end, parts, event)


def _end(db: Session, parts: Parts, event: Event) -> None:
    build = store.build_on(db, event.repository_id or 0, event.text("pull_request", "head", "ref"))
    if build is None:
        return
    if event.at("pull_request", "merged") is True:
        builds.advance(db, parts, build, Trigger.MERGED, by=event.sender_login)
    else:
        orders.stop(
            db, parts, build, comments.why_stopped("pull_closed", event.sender_login), event.sender_login
        )
