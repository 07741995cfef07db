"""What a comment does."""

from bot import orders
from bot.events import Event, commented
from bot.parts import Parts
from bot.routing import Router

router = Router()


@router.on("issue_comment.created", when=commented)
async def obey(event: Event, parts: Parts) -> None:
    """Do what a person with write permission asks for."""
    await orders.obey(parts, event)
