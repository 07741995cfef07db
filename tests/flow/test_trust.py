"""A policy's word counts for those who may write; for anybody else's issue a person approves the plan."""

from collections.abc import Callable

import pytest

from tests.flow.gated import POLICY, triggers
from tests.world import BODY, World, small

NewWorld = Callable[..., World]


def of(world: World, author: str) -> World:
    """Go on with an issue that somebody opened."""
    issue = world.hub.open_issue(world.repository, title="Cache the count", body=BODY, author=author)
    world.number = issue.number
    return world


@pytest.fixture
def automatic(new_world: NewWorld) -> World:
    """A world whose policy lets small plans begin by themselves, and whose plan is small."""
    return new_world(small(), files={POLICY: "approve: small-auto\n"})


def test_a_small_plan_for_an_issue_of_a_writer_begins_by_itself(automatic: World) -> None:
    with of(automatic, "maria").running():
        automatic.labels()
        record = automatic.until("done")

        assert "plan_accepted" in triggers(automatic)
        assert record["plan"]["approved_by"] == "policy"


def test_a_small_plan_for_an_issue_of_a_stranger_waits_for_a_person(automatic: World) -> None:
    """Whoever set the label: the words the plan was made from are the stranger's."""
    with of(automatic, "guest").running():
        automatic.labels()
        record = automatic.until("awaiting_approval")
        assert record["plan"]["approved_by"] is None

        automatic.says("/approve-plan")
        assert automatic.until("done")["plan"]["approved_by"] == "maria"


def test_a_plan_of_an_author_who_lost_the_right_to_write_waits_for_a_person(automatic: World) -> None:
    automatic.hub.create_user("otto")
    automatic.hub.grant(automatic.repository, "otto", "write")
    world = of(automatic, "otto")
    world.hub.grant(world.repository, "otto", "read")
    with world.running():
        world.labels()
        world.until("awaiting_approval")


def test_a_policy_that_asks_to_confirm_the_diffs_of_strangers_is_answered_and_nothing_runs(
    new_world: NewWorld,
) -> None:
    world = new_world(small(), files={POLICY: "untrusted_authors: each_phase\n"})
    with world.running():
        world.labels()
        assert world.until("paused")["failure"] == "bad_policy"
        assert "`untrusted_authors: each_phase`, which I cannot do yet" in world.comments[-1]
