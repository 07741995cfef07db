"""A push to one of our branches, by whomever: the gate judges the branch's head, so it looks again."""

from bot import reconcile, store
from bot.events import Event, branches, ours_branch
from bot.parts import Parts
from bot.routing import Router

router = Router()


@router.on("push", when=ours_branch)
async def notice(event: Event, parts: Parts) -> None:
    """Have the build on this branch follow it."""
    for branch in branches(event):
        build = await parts.database.ask(store.build_on, event.repository_id or 0, branch)
        if build is not None:
            await reconcile.notice_push(parts, build.id or 0)
