"""The main job: label, plan, approve, phases as commits gated by CI, a verified pull request."""

from tests.world import World


def test_a_labelled_issue_becomes_a_verified_pull_request(world: World) -> None:
    """Two phases, two commits, two green checks, one matrix."""
    world.approves()
    record = world.until("done", "paused")

    assert record["state"] == "done", world.story()
    assert [commit.message.splitlines()[0] for commit in world.branch()] == [
        "feat(tally): add part 1",
        "feat(tally): add part 2",
    ]
    assert not world.hub.pulls(world.repository)[0].pull.draft
    assert "| Requirement |" in world.comments[-1]
