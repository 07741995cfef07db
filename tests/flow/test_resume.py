"""A failure costs one phase: what goes on, from where, with which model, and what it costs; over HTTP."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from rich.console import Console

from bot import show
from tests.flow.gated import Meanwhile
from tests.world import (
    World,
    create,
    finish,
    part,
    phase,
    plan,
    planning,
    repairing,
    scenario,
    small,
    writing,
)

NewWorld = Callable[..., World]

POLICY = ".github/phasegate.yml"
SONNET, OPUS, HAIKU = "claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5"
SLOW = {"delay": 60.0, "say": "I am thinking."}
"""A turn that does not come to its end while a test looks on."""
GOOD = {"use": [*part(1), finish(1)]}
BLOCKED = {"use": [{"report_blocked": {"reason": "The counter is not documented."}}]}
LIMITED = {"faults": [{"kind": "rate_limited", "retry_after": 1800.0}]}
"""Makes a turn wait longer than a test, and less long than a person is asked for."""


@contextmanager
def begun(new_world: NewWorld, *conversations: dict[str, Any], **options: Any) -> Iterator[World]:
    """Run the story of one phase, its plan approved; CI speaks only when a test lets it."""
    world = new_world(small(*conversations), **{"checks": "", **options})
    with world.running():
        world.approves()
        yield world


@contextmanager
def stuck_in_the_second(new_world: NewWorld, *turns: dict[str, Any], **options: Any) -> Iterator[World]:
    """Run the story of two phases: the first is done, the second paused."""
    world = new_world(scenario(writing(2, 2, *(turns or (BLOCKED,)))), **{"checks": "", **options})
    with world.running():
        world.approves()
        world.until("awaiting_checks")
        world.reports()
        world.until("paused")
        yield world


def ends(world: World) -> dict[str, Any]:
    """Let CI be green on what waits for it, and wait for the end."""
    world.until("awaiting_checks")
    world.reports()
    return world.until("done")


def attempts(world: World, number: int = 1) -> list[dict[str, Any]]:
    """Return the attempts at one phase, oldest first."""
    return list(world.record["phases"][number - 1]["attempts"])


def speaks(world: World, turn: int = 0) -> None:
    """Wait until the model is in the middle of a turn of phase 1."""
    world.wait(
        lambda: world.model.open_streams and world.model.requests[-1].turn == turn, "a call that is open"
    )


def sticky(world: World) -> str:
    """Return the comment that is edited in place."""
    world.settle()
    return world.comments[0]


# With another model


def test_resume_with_a_model_runs_only_the_failed_phase_and_leaves_the_finished_as_they_are(new_world):
    with stuck_in_the_second(new_world) as world:
        before, (good,), asked = world.record, world.branch(), len(world.model.requests)
        world.model.load(scenario())
        world.answers(f"/resume model={OPUS}")
        record = ends(world)
        first, second = world.branch()

    assert (world.model.requests[asked].conversation, world.model.requests[asked].model) == ("phase 2", OPUS)
    assert len(world.asked("phase 1")) == 2
    assert first.sha == good.sha
    assert f"Phasegate-Model: {OPUS}" in second.message
    assert record["phases"][0] == before["phases"][0]
    failed, done = record["phases"][1]["attempts"]
    assert [(a["model"], a["outcome"]) for a in (failed, done)] == [(SONNET, "failed"), (OPUS, "done")]
    assert failed == before["phases"][1]["attempts"][0]


def test_a_model_named_by_a_person_holds_for_the_repairs_of_its_phase_and_no_longer(new_world):
    mends = {"edit_file": {"path": "tally/part1.py", "old_str": "return 1", "new_str": "return 1  # sure"}}
    world = new_world(scenario(writing(1, 2, BLOCKED)), checks="")
    with world.running():
        world.approves()
        world.until("paused")
        world.model.load(scenario(repairing(1, 2, {"use": [mends, finish(1)]})))
        world.answers(f"/resume model={OPUS}")
        world.until("awaiting_checks")
        red = world.reports("failure")
        world.wait(lambda: world.head != red, "the repair's commit")
        world.until("awaiting_checks")
        world.reports()
        world.wait(lambda: world.record["phase"] == 2, "the next phase")
        world.until("awaiting_checks")
        own = [(a["kind"], a["model"]) for number in (1, 2) for a in attempts(world, number)]

    assert own == [("phase", SONNET), ("phase", OPUS), ("repair", OPUS), ("phase", SONNET)]


def test_the_next_suggestion_is_a_model_that_was_not_tried(new_world):
    idle = writing(1, 1, *[{"say": "I think I am done."}] * 3)
    with begun(new_world, idle) as world:
        world.until("paused")
        assert len(world.asked("phase 1")) == 3
        assert f"- `/resume model={OPUS}` – " in world.comments[-1]
        world.answers(f"/resume model={OPUS}")
        world.until("paused")
        assert "- `/resume model=claude-fable-5-2` – " in world.comments[-1]


# What was edited


@pytest.mark.parametrize(("command", "kept"), [("/resume", True), ("/retry", False)])
def test_edits_before_a_limit_are_where_resume_starts_from_and_retry_does_not(new_world, command, kept):
    noted = create("tally/part1.py", "def part1():\n    return 1  # noted\n")
    with begun(new_world, writing(1, 1, {"use": [noted]}, GOOD), max_turns=1) as world:
        world.until("paused")
        assert "- `/resume` – goes on from its edits in 1 file, which are kept" in world.comments[-1]
        assert "- `/retry` – does it again from the beginning, without those edits" in world.comments[-1]
        world.model.load(small())
        world.answers(command)
        world.until("awaiting_checks")
        text = world.hub.file(world.repository, world.head, "tally/part1.py")
        ends(world)

    assert ("# noted" in text) == kept
    assert ("Its edits are kept" in world.opening("phase 1")) == kept


def test_a_build_that_a_person_paused_goes_on_from_its_edits(new_world):
    with begun(new_world, writing(1, 1, {"use": part(1)[:1]}, SLOW)) as world:
        speaks(world, turn=1)
        (said,) = world.answers("/pause")
        record = world.until("paused")
        assert said.startswith("Paused: maria asked for it. Reply `/resume` to go on")
        assert record["phases"][0]["attempts"][0]["outcome"] == "stopped"

        world.model.load(small(writing(1, 1, {"use": [*part(1)[1:], finish(1)]})))
        world.answers("/resume")
        ends(world)
        assert "tally/part1.py" in world.hub.files(world.repository, world.head)


@pytest.mark.parametrize("number", [1, 2])
def test_a_retry_takes_over_the_commit_that_was_pushed_before_the_stop(new_world, number):
    """It was finished and paid: written once more, it would stand on the branch twice."""
    world = new_world(scenario(), checks="")
    faults, pushing = world.hub.faults, "/git/refs$" if number == 1 else "^/graphql updateRefs"
    away = Meanwhile("POST", pushing, lambda: faults.fail("/pulls(/2)?$", 502, count=1000))
    faults.fail_next.append(away)
    with world.running():
        world.approves()
        if number == 2:
            world.until("awaiting_checks")
            world.reports()
        world.wait(lambda: world.record["waits"], "a wait after the push")
        pushed = world.head
        faults.fail_next.clear()
        assert world.answers("/retry") == []
        world.wait(lambda: world.stored().state == "awaiting_checks", "the gate")
        assert world.head == pushed
        assert len(world.asked(f"phase {number}")) == 2
        record = world.record
        assert (record["phase"], record["phases"][number - 1]["commit"]) == (number, pushed)


# Stopped


@pytest.mark.parametrize(
    "turn",
    [SLOW, {**GOOD, "faults": [{"kind": "stall", "after": 2, "seconds": 60.0}]}],
    ids=["before its first word", "in the middle of a sentence"],
)
def test_a_running_call_is_aborted_by_cancel_within_a_second_and_its_cost_is_recorded(new_world, turn):
    with begun(new_world, writing(1, 1, turn)) as world:
        speaks(world)
        world.says("/cancel")
        record = world.until("cancelled")
        world.wait(lambda: not world.model.open_streams, "the end of the call")
        world.wait(lambda: attempts(world)[0]["cost_usd"], "its cost")
        (attempt,) = attempts(world)
        planned = world.record["attempts"][0]["cost_usd"]
        assert world.record["cost_usd"] == pytest.approx(planned + attempt["cost_usd"], abs=2e-6)

    moved = datetime.fromisoformat(record["moves"][-1]["at"]).timestamp()
    assert world.model.requests[-1].closed_at - moved < 1
    assert (attempt["outcome"], attempt["turns"]) == ("stopped", 0)


# Waiting


@pytest.mark.parametrize("stage", ["planning", "running"])
def test_the_sticky_comment_shows_what_a_waiting_attempt_waits_for_and_until_when(new_world, stage):
    waits = planning(LIMITED) if stage == "planning" else writing(1, 1, LIMITED)
    world = new_world(small(waits), checks="")
    with world.running():
        world.labels()
        if stage == "running":
            world.until("awaiting_approval")
            world.says("/approve-plan")
        world.wait(lambda: world.record.get("waits"), "a wait")
        told, record = sticky(world), world.record

        assert record["state"] == stage
        assert record["waits"]["for"] == "rate_limited"
        at = record["waits"]["until"][11:19]
        assert f"It waits for the model's rate limit to clear and goes on by itself at {at} UTC" in told
        assert len(world.comments) == 1


def test_a_waiting_attempt_goes_on_at_once_where_a_person_says_so(new_world):
    with begun(new_world, writing(1, 1, LIMITED)) as world:
        world.wait(lambda: world.record["waits"], "a wait")
        world.model.load(small())
        assert world.answers(f"/resume model={OPUS}") == []
        ends(world)
        first, second = attempts(world)

    assert (first["outcome"], second["model"], second["outcome"]) == ("stopped", OPUS, "done")


def test_the_sticky_comment_forgets_a_wait_that_is_over(new_world):
    soon = {**SLOW, "faults": [{"kind": "rate_limited", "retry_after": 1.0}]}
    with begun(new_world, writing(1, 1, soon)) as world:
        world.wait(lambda: "It waits" in world.comments[0], "the wait")
        speaks(world)
        world.wait(lambda: "It waits" not in world.comments[0], "the end of it")
        assert "Phase 1 of 1 is being written." in sticky(world)
        world.answers("/cancel")


def test_a_wait_outlives_the_process_and_ends_when_it_was_said_to(new_world):
    world = new_world(
        small(writing(1, 1, {**GOOD, "faults": [{"kind": "rate_limited", "retry_after": 4.0}]})), checks=""
    )
    with world.running():
        world.approves()
        world.wait(lambda: world.record["waits"], "a wait")
        until = datetime.fromisoformat(world.record["waits"]["until"]).timestamp()
    with world.running():
        ends(world)
        (attempt,) = attempts(world)

    limited, answered = [request for request in world.model.requests if request.conversation == "phase 1"]
    assert (limited.outcome, answered.outcome) == ("rate_limited", "replied")
    assert answered.at >= until - 0.1
    assert (attempt["outcome"], attempt["turns"]) == ("done", 1)


# A new start


def test_an_unfinished_build_is_announced_once_on_the_next_start(new_world):
    three = planning({"use": [{"submit_plan": plan(phase(1), phase(2), phase(3, serves=["R2"]))}]})
    phases = [three, writing(1, 3), writing(2, 3, name="phase 2"), writing(3, 3, BLOCKED)]
    world = new_world(scenario(*phases), checks="true")
    with world.running():
        world.approves()
        world.until("paused")
    for _ in range(2):
        with world.running():
            world.wait(lambda: "Found an unfinished build" in world.comments[-1], "the announcement")
            world.settle()

    found = [comment for comment in world.comments if "unfinished build" in comment]
    assert [comment.split("\n")[0] for comment in found] == [
        "Found an unfinished build: phases 1 and 2 done. Resume from phase 3? `/resume`"
    ]


def test_a_build_whose_planning_failed_is_announced_too(new_world):
    world = new_world(small(planning({"faults": [{"kind": "auth"}]})), checks="")
    with world.running():
        world.labels()
        world.until("paused")
    with world.running():
        world.wait(lambda: "no plan yet. Plan again? `/resume`" in world.comments[-1], "the announcement")
        world.model.load(small())
        world.answers("/resume")
        world.until("awaiting_approval")


# Another plan for what is left


def test_a_revised_plan_leaves_finished_phases_as_they_are_and_takes_nothing_from_the_failed_one(new_world):
    half = {"use": [create("tally/part2.py", "HALF = True\n"), *BLOCKED["use"]]}
    reworded = phase(1, goal="Something else.", criteria=["Nothing."])
    smaller = [phase(2, title="Less"), phase(3, serves=["R2"])]
    with stuck_in_the_second(new_world, half) as world:
        before, (good,) = world.record, world.branch()
        again = planning({"use": [{"submit_plan": plan(reworded, *smaller)}]})
        world.model.load(scenario(again, writing(2, 3, name="less")))
        world.answers("/revise-plan split phase 2")
        revised = world.until("awaiting_approval")
        world.says("/approve-plan")
        world.until("awaiting_checks")
        record = world.record

        assert world.branch()[0].sha == good.sha
        assert (
            world.hub.file(world.repository, world.head, "tally/part2.py") == "def part2():\n    return 2\n"
        )

    assert (revised["plan"]["version"], len(revised["plan"]["phases"])) == (2, 3)
    assert revised["plan"]["phases"][0] == before["plan"]["phases"][0]
    assert record["phases"][0] == before["phases"][0]
    assert "split phase 2" in world.opening("plan")
    assert "Its edits are kept" not in world.opening("less")


def test_a_revised_plan_must_leave_something_to_do(new_world):
    with stuck_in_the_second(new_world) as world:
        done = {"use": [{"submit_plan": plan(phase(1, serves=["R1", "R2"]))}]}
        more = {"use": [{"submit_plan": plan()}]}
        world.model.load(scenario(planning(done, more)))
        world.answers("/revise-plan leave it at that")
        world.until("awaiting_approval")

    assert "Every phase of this plan is finished already" in world.told("plan")[-1]


# What a person mends elsewhere


def test_a_budget_that_was_raised_in_the_policy_counts_from_the_next_resume(new_world):
    small_budget = {POLICY: "budgets:\n  phase_usd: 0.3\n"}
    models = {"planner_model": HAIKU, "verifier_model": HAIKU}
    with begun(new_world, files=small_budget, **models) as world:
        assert world.until("paused")["failure"] == "out_of_budget"
        world.hub.push_commit(
            world.repository, "main", {POLICY: "budgets:\n  phase_usd: 2\n"}, "Raise", "maria"
        )
        world.answers("/resume")
        ends(world)


def test_a_policy_that_was_broken_meanwhile_is_answered_and_nothing_runs(new_world):
    with begun(new_world, writing(1, 1, BLOCKED)) as world:
        world.until("paused")
        asked = len(world.model.requests)
        world.hub.push_commit(world.repository, "main", {POLICY: "draft: perhaps\n"}, "Break", "maria")
        (answer,) = world.answers("/resume")
        assert f"`{POLICY}` line 1: `draft` must be `true` or `false`." in answer
        assert (world.signs, world.state) == ({"eyes", "confused"}, "paused")

    assert len(world.model.requests) == asked


def test_a_protected_path_is_opened_by_name_by_a_person_with_admin_permission(new_world):
    path = ".github/dependabot.yml"
    with begun(new_world, writing(1, 1, BLOCKED)) as world:
        world.until("paused")
        world.hub.grant(world.repository, "maria", "admin")
        world.model.load(small(writing(1, 1, {"use": [create(path, "version: 2\n"), *GOOD["use"]]})))
        assert world.answers(f"/allow {path}") == []
        world.until("awaiting_checks")
        assert world.hub.file(world.repository, world.head, path) == "version: 2\n"


# The story


def test_show_tells_each_move_attempt_and_verdict_with_its_cause(new_world):
    with stuck_in_the_second(new_world) as world:
        record = world.record
    console = Console(record=True, width=220, file=io.StringIO())
    show.tell(record, console)
    text = console.export_text()

    assert re.search(r"\(attempt_failed, by attempt 3\) *\n +The counter is not documented\.", text)
    assert re.search(r"\(checks_green, by \w+\) *\n +Everything that counts is green \(1\)\.", text)
    assert f"phase 2 #1, {SONNET}: failed: blocked" in text
    assert re.search(
        r"1  Part 1: done, [0-9a-f]{7}, .*\n +green \(tests success\) – Everything that counts is green", text
    )
