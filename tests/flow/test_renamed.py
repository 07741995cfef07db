"""A repository gets another name while it is built, over HTTP."""

from tests.flow.gated import two, until_head

NEW = "acme/abacus"


def renamed(world):
    """Have the repository renamed."""
    world.hub.rename_repository(world.repository, "abacus")
    world.repository = NEW


def test_a_build_follows_its_repository_to_another_name_and_comes_to_its_end(new_world):
    """Git follows no redirect, so the name must be the present one before the next fetch."""
    with two(new_world) as world:
        renamed(world)
        first = world.reports()
        world.wait(lambda: world.head != first, "the second phase")
        until_head(world, world.head)
        world.reports()
        record = world.until("done")

    assert record["repository"] == NEW
    assert f"{world.hub_url}/{NEW}/commit/{first}" in world.comments[0]


def test_a_delivery_that_comes_late_does_not_bring_the_former_name_back(new_world):
    with two(new_world, reconcile_seconds=0.5) as world:
        world.hub.faults.drop_deliveries = True
        world.said = world.says("/status")
        world.hub.wait_idle()
        renamed(world)
        world.hub.faults.drop_deliveries = False
        world.reports("failure", name="docs")
        world.wait(lambda: world.stored().repository == NEW, "the new name")
        world.wait(lambda: "+1" in world.signs, "the late command")
        world.settle()
        assert world.stored().repository == NEW
