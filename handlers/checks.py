"""What news of CI does: it only wakes the gate, which asks GitHub how things stand."""

from bot import store
from bot.events import Event, branches, ours_branch
from bot.parts import Parts
from bot.routing import Router

router = Router()


@router.on(
    "check_run.created",
    "check_run.completed",
    "check_suite.completed",
    "status",
    "workflow_run.requested",
    "workflow_run.completed",
    when=ours_branch,
)
async def wake(event: Event, parts: Parts) -> None:
    """Have the gates of the builds on these branches looked at now; a green one may turn red, even after the end."""
    for branch in branches(event):
        place = (event.repository_id or 0, branch)
        build = await parts.database.ask(store.build_on, *place) or await parts.database.ask(
            store.done_on, *place
        )
        if build is not None and build.head:
            parts.bells.ring_gate(build.id or 0)
