"""Links in the bot's comments lead somewhere."""

import re
from collections.abc import Callable

import httpx

from tests.world import World, small, writing

NewWorld = Callable[..., World]


def test_the_details_that_comments_link_to_are_served(new_world: NewWorld) -> None:
    """With a public address: in the plan's comment, and where a build is paused."""
    blocked = writing(1, 1, {"use": [{"report_blocked": {"reason": "The counter is not documented."}}]})
    world = new_world(small(blocked))
    world.given["public_url"] = f"http://127.0.0.1:{world.port}"
    with world.running():
        world.approves()
        world.until("paused")
        plan, pause = world.comments
        for comment in (plan, pause):
            (link,) = re.findall(r"Details(?:\]\(|: )(http[^\s)]+)", comment)
            assert httpx.get(link, verify=False).json()["id"] == 1
