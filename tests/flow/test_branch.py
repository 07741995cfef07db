"""The branch is also other people's, over HTTP: what they push is judged and kept, what they force is not undone."""

import pytest

from localhub.objects import Person, TreeEdit
from tests.flow.gated import (
    POLICY,
    QUICK,
    Meanwhile,
    held,
    mends,
    one,
    push,
    stalls,
    triggers,
    two,
    until_head,
    until_moved,
    until_said,
)
from tests.world import repairing, small

MENDED = repairing(1, 1, mends(1, "2", "1"))
CLASH = "tally/part1.py"
MARIA = Person("maria", "maria@example.org", 1_700_000_000)


def shas(world):
    """Return the commits of the branch, oldest first."""
    return [commit.sha for commit in world.branch()]


def merge_policy(when):
    """Return the policy that has the base branch merged."""
    return {POLICY: f"update_branch: {when}\n"}


def base_moves(world, path="CHANGES.md", text="More.\n"):
    """Have maria push to the base branch; return its commit."""
    return push(world, path, text, branch="main")


# Adopted


def test_a_persons_commit_is_adopted_and_judged_while_checks_are_waited_for(new_world):
    with one(new_world) as world:
        ours = world.head
        mine = push(world)
        until_head(world, mine)
        world.reports(sha=ours)
        world.settle()
        assert world.stored().state == "awaiting_checks"
        world.reports()
        world.until("done")
        assert shas(world) == [ours, mine]


def test_a_red_commit_of_a_person_is_repaired_on_top(new_world):
    with one(new_world, MENDED) as world:
        mine = push(world)
        until_head(world, mine)
        world.reports("failure")
        world.wait(lambda: len(world.branch()) == 3, "the repair")
        until_head(world, world.head)
        assert shas(world)[1] == mine


def test_a_persons_commit_stops_the_next_phase_until_it_was_judged(new_world):
    with two(new_world) as world, held(world, "phase 2"):
        mine = push(world)
        until_head(world, mine)
        assert world.record["phase"] == 1
        world.reports()
        world.wait(lambda: len(world.branch()) == 3, "the second phase")
        until_head(world, world.head)
        assert shas(world)[1] == mine
        assert world.hub.file(world.repository, world.head, "NOTES.md") == "Mine.\n"


def test_a_persons_commit_in_the_moment_of_our_push_is_kept_below_it(new_world):
    """The branch moves only from where we left it; our edits are put on top of theirs."""
    pushed = []
    with two(new_world) as world:
        race = Meanwhile("POST", "^/graphql updateRefs", lambda: pushed.append(push(world)))
        world.hub.faults.fail_next.append(race)
        world.reports()
        world.wait(lambda: pushed, "the race")
        until_head(world, pushed[0])
        world.reports()
        world.wait(lambda: len(world.branch()) == 3, "the second phase")
        until_head(world, world.head)
        assert shas(world)[1] == pushed[0]


def test_a_persons_commit_stops_a_repair_until_it_was_judged(new_world):
    with one(new_world, MENDED) as world:
        world.model.inject("stall", conversation="repair 1", after=0, seconds=90)
        red = world.reports("failure")
        world.wait(lambda: stalls(world, "repair 1"), "the repair")
        mine = push(world, CLASH, "def part1():\n    return 1 + 0\n")
        until_head(world, mine)
        world.reports()
        world.until("done")
        assert shas(world) == [red, mine]


def test_a_persons_commit_is_judged_before_the_verification_goes_on(new_world):
    with one(new_world) as world, held(world, "verify"):
        mine = push(world)
        until_head(world, mine)
        world.reports()
        world.until("done")
        assert shas(world)[-1] == mine


def test_a_persons_commit_on_a_red_one_ends_the_pause(new_world):
    with one(new_world, files={POLICY: "repairs: 0\n"}) as world:
        world.reports("failure")
        world.until("paused")
        mine = push(world)
        until_head(world, mine)
        world.reports()
        world.until("done")


def test_a_persons_commit_during_a_pause_of_their_own_is_judged_on_resume(new_world):
    with two(new_world) as world, held(world, "phase 2"):
        world.answers("/pause")
        mine = push(world)
        world.settle()
        assert world.stored().state == "paused"
        world.answers("/resume")
        until_head(world, mine)
        world.reports()
        world.wait(lambda: len(world.branch()) == 3, "the second phase")
        assert shas(world)[1] == mine


# Left over


LEFT = "phasegate/issue-1-cache-the-count"
"""The branch that the issue's first build would have."""


@pytest.mark.parametrize("count", [1, 2])
def test_a_branch_left_over_from_elsewhere_is_not_touched_and_the_build_takes_the_next_free_name(
    new_world, count
):
    """As it is found after the database was lost."""
    world = new_world(small(), **QUICK)
    names = [LEFT, f"{LEFT}-2"][:count]
    left = {name: push(world, branch=name) for name in names}
    with world.running():
        world.approves()
        world.until("awaiting_checks")
        world.reports()
        record = world.until("done")

    assert record["branch"] == f"{LEFT}-{count + 1}"
    assert {name: world.hub.head(world.repository, name) for name in names} == left
    assert len(world.asked("phase 1")) == 1


def test_what_happens_to_the_pull_request_of_a_left_over_branch_is_nothing_to_a_new_build(new_world):
    world = new_world(small(), **QUICK)
    push(world, branch=LEFT)
    old = world.hub.open_pull(world.repository, title="Old", head=LEFT, by="maria").number
    with world.running():
        world.labels()
        world.until("awaiting_approval")
        world.hub.close_issue(world.repository, old, by="maria")
        world.settle()
        assert world.stored().state == "awaiting_approval"


def test_a_branch_made_before_a_crash_is_ours_though_a_person_pushed_on_top_since(new_world):
    world = new_world(small(), **QUICK)
    mine = []
    world.hub.faults.fail("/git/refs$", 502, method="POST", count=4, after=True)
    pushes = Meanwhile("GET", "/git/ref/heads/phasegate", lambda: mine.append(push(world, branch=LEFT)))
    world.hub.faults.fail_next.append(pushes)
    with world.running():
        world.approves()
        world.wait(lambda: mine, "the person's commit")
        until_head(world, mine[0])
        assert world.stored().branch == LEFT
        assert len(world.asked("phase 1")) == 1


# Forced or gone


def forced(world):
    """Have maria force the branch to a commit of hers on the base; return it."""
    world.hub.set_branch(world.repository, "aside", world.record["base"], by="maria")
    other = push(world, text="Other.\n", branch="aside")
    world.hub.set_branch(world.repository, world.branch_name, other, by="maria")
    return other


def test_a_force_push_at_the_gate_pauses_and_resume_takes_the_branch_as_it_stands(new_world):
    with one(new_world) as world:
        other = forced(world)
        world.until("paused")
        assert "was forced to a commit that is not on top of mine" in world.comments[-1]
        assert world.head == other

        world.answers("/resume")
        until_head(world, other)
        world.reports()
        world.wait(lambda: "last_checks_green" in triggers(world), "green")
        assert shas(world) == [other]


def written(world, commit, parent, message):
    """Have maria write a commit anew on another parent, her note beside it; return it."""
    objects = world.hub.repository(world.repository).objects
    note = TreeEdit("NOTES.md", "100644", "blob", objects.write("blob", b"Mine.\n"))
    tree = objects.write_tree(objects.resolve(f"{commit}^{{tree}}"), [note])
    return objects.write_commit(tree, [parent], MARIA, MARIA, message)


@pytest.mark.parametrize("trailers", [True, False], ids=["with our trailers", "with her own words"])
def test_an_amended_commit_stands_for_its_phase_and_the_build_comes_to_its_end(new_world, trailers):
    with one(new_world) as world:
        (ours,) = world.branch()
        message = ours.message if trailers else "Part one\n"
        amended = written(world, ours.sha, world.record["base"], message)
        world.hub.set_branch(world.repository, world.branch_name, amended, by="maria")
        world.until("paused")
        world.answers("/resume")
        until_head(world, amended)
        later = push(world, "LATER.md") if trailers else amended
        until_head(world, later)
        world.reports()
        record = world.until("done")

    assert record["phases"][0]["commit"] == amended
    assert f"[`{amended[:7]}`]" in world.comments[0]
    assert "red before" not in world.comments[0]


def test_a_rebased_branch_keeps_the_commit_of_every_phase(new_world):
    with two(new_world) as world:
        first = world.reports()
        world.wait(lambda: world.head != first, "the second phase")
        until_head(world, world.head)
        base = base_moves(world)
        anew = []
        for commit in world.branch():
            anew.append(written(world, commit.sha, anew[-1] if anew else base, commit.message))
        world.hub.set_branch(world.repository, world.branch_name, anew[-1], by="maria")
        world.until("paused")
        world.answers("/resume")
        until_head(world, anew[-1])
        world.reports()
        record = world.until("done")

    assert [phase["commit"] for phase in record["phases"]] == anew


def test_a_base_merged_by_the_button_is_judged_and_the_build_comes_to_its_end(new_world):
    with one(new_world) as world:
        base_moves(world)
        merge = merges_by_hand(world)
        until_head(world, merge)
        world.reports()
        world.until("done")


def test_only_the_force_push_that_a_person_answered_is_taken(new_world):
    with one(new_world) as world:
        first = forced(world)
        world.until("paused")
        world.answers("/resume")
        until_head(world, first)
        world.hub.set_branch(world.repository, world.branch_name, world.record["base"], by="maria")
        world.until("paused")
        assert "not on top of mine" in world.comments[-1]


@pytest.mark.parametrize("work", ["phase 2", "verify"])
def test_a_force_push_stops_the_work_that_runs(new_world, work):
    with (one if work == "verify" else two)(new_world) as world, held(world, work):
        other = forced(world)
        world.until("paused")
        assert "was forced to a commit that is not on top of mine" in world.comments[-1]
        world.answers("/resume")
        until_head(world, other)


def test_a_force_push_in_the_moment_of_our_push_is_not_undone(new_world):
    others = []
    with two(new_world) as world:
        race = Meanwhile("POST", "^/graphql updateRefs", lambda: others.append(forced(world)))
        world.hub.faults.fail_next.append(race)
        world.reports()
        world.until("paused")
        assert "not on top of mine" in world.comments[-1]
        assert world.head == others[0]


@pytest.mark.parametrize("work", ["", "phase 2"])
def test_a_deleted_branch_pauses_and_goes_on_where_it_was_restored(new_world, work):
    with two(new_world) as world:
        head, branch = world.head, world.branch_name
        if work:
            world.model.inject("stall", conversation=work, after=0, seconds=90)
            world.reports()
            world.wait(lambda: stalls(world, work), "the second phase")
        world.hub.delete_branch(world.repository, branch, by="maria")
        world.until("paused")
        assert f"The branch `{branch}` was deleted." in world.comments[-1]
        assert len(world.comments) == 2

        world.hub.set_branch(world.repository, branch, head, by="maria")
        world.answers("/resume")
        if not work:
            world.until("awaiting_checks")
            world.reports()
        world.wait(lambda: len(world.branch()) == 2, "the second phase")


def test_a_build_whose_branch_is_still_gone_does_not_go_on(new_world):
    with one(new_world) as world:
        world.hub.delete_branch(world.repository, world.branch_name, by="maria")
        world.until("paused")
        (answer,) = world.answers("/resume")
        assert answer.startswith("#2 is closed, and GitHub does not let me reopen it: ")
        assert "Reopen the pull request, then `/resume`." in answer
        assert world.stored().state == "paused"


# Closed


def test_a_closed_pull_request_is_reopened_by_resume_and_becomes_ready(new_world):
    with one(new_world) as world:
        world.hub.close_issue(world.repository, 2, by="maria")
        world.until("paused")
        assert "Reply `/resume` to reopen it and go on" in world.comments[-1]
        assert world.answers("/resume") == []
        world.until("awaiting_checks")
        world.reports()
        world.until("done")
        pull = world.hub.issue(world.repository, 2)
        assert (pull.state, pull.draft) == ("open", False)


def test_where_a_pull_request_stays_closed_for_good_another_takes_its_place(new_world):
    """GitHub reopens none whose branch was forced meanwhile."""
    with one(new_world) as world:
        world.hub.close_issue(world.repository, 2, by="maria")
        world.until("paused")
        gone = {"message": "state cannot be changed. The branch was force-pushed or recreated."}
        world.hub.faults.fail("/pulls/2$", 422, method="PATCH", body=gone, count=9)
        world.answers("/resume")
        world.until("awaiting_checks")
        world.reports()
        record = world.until("done")
        old, new = (world.hub.issue(world.repository, number) for number in (2, 3))

    assert record["pull_request"] == 3
    assert (old.state, new.state, new.title) == ("closed", "open", old.title)
    assert "**Done: #3 is ready for review.**" in world.comments[-1]


def test_a_repair_that_was_stopped_as_it_replaced_the_red_commit_is_no_force_push(new_world):
    with one(new_world, MENDED) as world:
        faults = world.hub.faults
        away = Meanwhile("POST", "^/graphql updateRefs", lambda: faults.fail("/pulls/2$", 502, count=1000))
        faults.fail_next.append(away)
        red = world.reports("failure")
        world.wait(lambda: world.record["waits"], "a wait after the push")
        mended = world.head
        faults.fail_next.clear()
        world.answers("/retry")
        world.reports("success", name="noise")
        until_head(world, mended)
        world.reports()
        world.until("done")
        assert mended != red
        assert "branch_lost" not in triggers(world)
        assert len(world.asked("repair 1")) == 1


# Brought up to date


def test_the_base_is_merged_before_a_phase_and_the_merge_has_its_own_gate(new_world):
    with two(new_world, files=merge_policy("before_phase")) as world:
        ours = world.head
        theirs = base_moves(world)
        world.reports()
        until_moved(world, "adopted")
        until_head(world, world.head)
        merge = world.hub.commit(world.repository, world.head)
        assert merge.parents == (ours, theirs)
        assert world.asked("phase 2") == []

        world.reports()
        world.wait(lambda: world.head != merge.sha, "the second phase")
        assert world.hub.commit(world.repository, world.head).parents == (merge.sha,)


def test_the_base_is_merged_at_the_end_and_judged_before_the_verification(new_world):
    with one(new_world, files=merge_policy("at_end")) as world:
        theirs = base_moves(world)
        world.reports()
        until_moved(world, "adopted")
        until_head(world, world.head)
        assert world.asked("verify") == []
        assert world.hub.commit(world.repository, world.head).parents[1] == theirs
        world.reports()
        world.until("done")


@pytest.mark.parametrize("moves", [True, False], ids=["policy never", "base unmoved"])
def test_nothing_is_merged_without_a_policy_or_a_new_base(new_world, moves):
    with two(new_world, files={} if moves else merge_policy("before_phase")) as world:
        if moves:
            base_moves(world)
        world.reports()
        world.wait(lambda: len(world.branch()) == 2, "the second phase")
        until_head(world, world.head)
        assert "adopted" not in triggers(world)


def test_a_red_merge_is_repaired_on_top_of_it(new_world):
    story = repairing(1, 2, mends(1, "2", "1"))
    with two(new_world, story, files=merge_policy("before_phase")) as world:
        base_moves(world)
        world.reports()
        until_moved(world, "adopted")
        until_head(world, world.head)
        merge = world.reports("failure")
        world.wait(lambda: world.head != merge, "the repair")
        until_head(world, world.head)
        assert world.hub.commit(world.repository, world.head).parents == (merge,)


@pytest.mark.parametrize("when", ["before_phase", "at_end"])
def test_a_base_that_conflicts_pauses_and_names_the_files(new_world, when):
    with (two if when == "before_phase" else one)(new_world, files=merge_policy(when)) as world:
        base_moves(world, CLASH, "x = 1\n")
        base_moves(world)
        world.reports()
        world.until("paused")
        assert f"merging it conflicts. Both sides changed `{CLASH}`." in until_said(world, "conflicts")
        assert len(shas(world)) == 1

        world.hub.push_commit(world.repository, "main", {CLASH: None}, "Take it back", by="maria")
        world.answers("/resume")
        until_moved(world, "adopted")


def merges_by_hand(world):
    """Have maria merge the base into the branch, ours where both changed a file; return the merge commit."""
    objects, head = world.hub.repository(world.repository).objects, world.head
    parents = [head, world.hub.head(world.repository)]
    merge = objects.write_commit(objects.resolve(f"{head}^{{tree}}"), parents, MARIA, MARIA, "Merge main")
    world.hub.set_branch(world.repository, world.branch_name, merge, by="maria")
    return merge


@pytest.mark.parametrize("when", ["before_phase", "at_end"])
def test_a_build_whose_base_was_merged_by_hand_comes_to_its_end(new_world, when):
    with (two if when == "before_phase" else one)(new_world, files=merge_policy(when)) as world:
        base_moves(world, CLASH, "x = 1\n")
        world.reports()
        world.until("paused")
        merge = merges_by_hand(world)
        world.answers("/resume")
        until_head(world, merge)
        world.reports()
        if when == "before_phase":
            world.wait(lambda: world.head != merge, "the second phase")
            until_head(world, world.head)
            world.reports()
        world.until("done")


WORKFLOW = ".github/workflows/ci.yml"


def test_a_base_with_another_workflow_is_merged_by_a_person(new_world):
    """The App has no permission to bring workflow files to a branch, not even those of the base."""
    with one(new_world, files=merge_policy("at_end")) as world:
        base_moves(world, WORKFLOW, "on: push\n")
        world.reports()
        world.until("paused")
        said = until_said(world, "GitHub refused what this needs")
        assert f"`main` moved, and it changes `{WORKFLOW}`." in said
        assert "Merge `main` into the branch by hand, then reply `/resume`." in said
        merge = merges_by_hand(world)
        world.answers("/resume")
        until_head(world, merge)
        world.reports()
        world.until("done")


def test_a_merge_of_the_base_that_a_rule_forbids_is_told_in_githubs_words(new_world):
    with one(new_world, files=merge_policy("at_end")) as world:
        base_moves(world)
        rule = {"message": "Repository rule violations found"}
        world.hub.faults.fail("/merges$", 422, method="POST", body=rule)
        world.reports()
        world.until("paused")
        said = until_said(world, "Repository rule violations found")
        assert "conflict" not in said
        world.answers("/resume")
        until_moved(world, "adopted")
