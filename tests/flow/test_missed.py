"""Deliveries that never arrived are asked for again."""

from tests.world import World


def test_a_label_set_while_the_bot_was_down_starts_a_build_at_its_next_start(new_world) -> None:
    world: World = new_world()
    world.labels()
    world.hub.wait_idle()

    with world.running():
        world.until("awaiting_approval")

    labelled = [d for d in world.hub.deliveries if d.event == "issues" and d.action == "labeled"]
    assert [d.redelivery for d in labelled] == [False, True]
    assert len({d.guid for d in labelled}) == 1


def test_what_arrived_is_not_asked_for_again(new_world) -> None:
    world: World = new_world(reconcile_seconds=0.2)
    with world.running():
        world.approves()
        world.until("done")

    assert not [
        d for d in world.hub.deliveries if d.redelivery and d.event != "installation" and d.action != "opened"
    ]
