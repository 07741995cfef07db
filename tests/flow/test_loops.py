"""The worker's loops outlive what goes wrong in one round, and readiness says when one does not."""

import asyncio
from collections.abc import Callable

import httpx
import sqlalchemy as sa

from bot.main import Bot
from tests.world import World

NewWorld = Callable[..., World]


def running_bot(world: World) -> Bot:
    """Return the bot that runs in this world."""
    assert world.bot is not None
    return world.bot


def ready(world: World) -> bool:
    """Whether the bot says that it works."""
    return httpx.get(f"{world.bot_url}/readyz", verify=False).status_code == 200


def rename(world: World, before: str, after: str) -> None:
    """Rename a table under the running bot."""
    with running_bot(world).parts.database.engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {before} RENAME TO {after}"))


def goes_round(world: World) -> None:
    """Wait until inbox and outbox have each begun a round and ended one."""
    bot = running_bot(world)
    bells = bot.parts.bells

    async def ring() -> None:
        bells.inbox.set()
        bells.outbox.set()

    for _ in range(2):
        # A bell is cleared where a round begins: the second time, the first round is over.
        bot.worker.call(ring())
        world.wait(lambda: not bells.inbox.is_set() and not bells.outbox.is_set(), "a round")


def test_the_bot_goes_on_by_itself_when_the_database_answers_again(world: World) -> None:
    rename(world, "phasegate_delivery", "hidden")
    assert not ready(world)
    goes_round(world)
    rename(world, "hidden", "phasegate_delivery")
    assert ready(world)

    world.labels()
    world.until("awaiting_approval")


def test_a_loop_that_ended_makes_the_bot_unready(world: World) -> None:
    """Whatever ended it: nothing that is kept would be worked off."""
    assert ready(world)
    loop = running_bot(world).worker.loop
    for task in asyncio.all_tasks(loop):
        if task.get_name() == "inbox":
            loop.call_soon_threadsafe(task.cancel)
    world.wait(lambda: not ready(world), "the bot to be unready")
