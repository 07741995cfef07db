"""Planning: a plan that cannot be built goes back to the model twice, and not once more."""

from collections.abc import Callable

from tests.world import World, phase, plan, planning, scenario

NewWorld = Callable[..., World]

UNSERVED = {"use": [{"submit_plan": plan(phase(1))}]}
"""A plan that leaves the second requirement to nobody."""
GOOD = {"use": [{"submit_plan": plan()}]}


def test_a_plan_that_went_back_twice_may_be_good_the_third_time(new_world: NewWorld) -> None:
    world = new_world(scenario(planning(UNSERVED, UNSERVED, GOOD)))
    with world.running():
        world.labels()
        world.until("awaiting_approval")


def test_plans_that_went_back_before_a_restart_count_after_it(new_world: NewWorld) -> None:
    """The third one ends the attempt, although this process has seen but one of them."""
    world = new_world(scenario(planning(UNSERVED, {**UNSERVED, "delay": 1.0}, UNSERVED, GOOD)))
    with world.running():
        world.labels()
        world.wait(lambda: len(world.model.requests) == 2, "the second call")

    with world.running():
        assert world.until("paused")["failure"] == "bad_plan"
    assert [request.turn for request in world.model.requests] == [0, 1, 2]
