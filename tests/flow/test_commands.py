"""What people say and do, over HTTP: who may, what each command does, and what is left in silence."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.flow.gated import Meanwhile, until_said
from tests.world import LABEL, World, finish, part, planning, scenario, small, verifying, writing

NewWorld = Callable[..., World]

SLOW = {"delay": 60.0, "say": "I am thinking."}
"""A turn that does not come to its end while a test looks on."""
BLOCKED = {"use": [{"report_blocked": {"reason": "The counter is not documented."}}]}


@pytest.fixture
def empty(new_world: NewWorld) -> Iterator[World]:
    """A small story that nobody has begun; CI speaks only when a test lets it."""
    made = new_world(small(), checks="", files={".github/phasegate.yml": "repairs: 0\n"})
    with made.running():
        yield made


@pytest.fixture
def planned(empty: World) -> World:
    """A small build whose plan waits to be approved."""
    empty.labels()
    empty.until("awaiting_approval")
    return empty


@pytest.fixture
def pushed(planned: World) -> World:
    """A small build whose only commit waits for its checks."""
    planned.says("/approve-plan")
    planned.until("awaiting_checks")
    return planned


@pytest.fixture
def red(pushed: World) -> World:
    """A small build that is paused because its checks are red."""
    pushed.reports("failure")
    pushed.until("paused")
    return pushed


# Who may


def test_a_label_by_a_person_without_write_permission_starts_nothing_and_is_answered_once(empty):
    for _ in range(2):
        empty.labels(by="guest")
        empty.settle()
        empty.hub.unlabel(empty.repository, empty.number, LABEL, by="guest")
    empty.settle()

    assert empty.record == {}
    (said,) = empty.comments
    assert said.startswith("guest, only people with write permission can start or steer a build here.")


def test_a_label_set_by_a_bot_starts_nothing_and_is_left_in_silence(empty):
    empty.hub.create_app("renovate")
    empty.hub.grant(empty.repository, "renovate[bot]", "write")
    empty.labels(by="renovate[bot]")
    empty.settle()

    assert (empty.record, empty.comments) == ({}, [])


def test_commands_of_a_person_without_write_permission_get_a_sign_each_and_one_sentence_in_all(planned):
    first = planned.answers("/approve-plan", by="guest")
    assert planned.signs >= {"confused"}
    second = planned.answers("/cancel", by="guest")

    assert planned.signs >= {"confused"}
    assert "+1" not in planned.signs
    assert len(first) == 1
    assert second == []
    assert (planned.state, planned.asked("phase 1")) == ("awaiting_approval", [])


def test_a_person_with_the_role_to_maintain_may_command(planned):
    planned.hub.grant(planned.repository, "guest", "maintain")
    assert planned.answers("/cancel", by="guest") == []
    assert (planned.state, planned.signs) == ("cancelled", {"eyes", "+1"})


# Signs


@pytest.mark.parametrize("status", [403, 422])
def test_a_command_counts_where_github_takes_no_reaction(planned, status):
    """In a locked conversation, or where the author blocked the App."""
    planned.hub.faults.fail("/reactions$", status, method="POST", body={"message": "No."}, count=9)
    assert planned.answers("/cancel") == []
    assert (planned.state, planned.signs) == ("cancelled", set())


def test_a_refused_command_is_answered_where_github_takes_no_reaction(planned):
    planned.hub.faults.fail("/reactions$", 403, method="POST", body={"message": "No."}, count=9)
    (answer,) = planned.answers("/resume")
    assert answer.startswith("`/resume` does not apply")


@pytest.mark.parametrize("status", [403, 422])
def test_a_command_that_github_keeps_from_being_done_is_answered_in_its_words(red, status):
    red.hub.faults.fail("/contents/", status, body={"message": "That is blocked."})
    (answer,) = red.answers("/resume")
    assert answer.startswith("GitHub refused what this needs: That is blocked.")
    assert (red.signs, red.state) == ({"eyes", "confused"}, "paused")


# /approve-plan


def test_a_plan_is_approved_by_its_hash(planned):
    answers = planned.answers(f"/approve-plan {planned.record['plan']['hash'][:7]}")
    planned.until("awaiting_checks")

    assert (answers, planned.signs) == ([], {"eyes", "+1"})
    assert planned.record["plan"]["approved_by"] == "maria"
    assert len(planned.branch()) == 1


def test_another_hash_than_the_newest_plans_is_refused(planned):
    (answer,) = planned.answers("/approve-plan 0123456")

    assert planned.signs == {"eyes", "confused"}
    assert f"`/approve-plan {planned.record['plan']['hash'][:7]}`" in answer
    assert planned.state == "awaiting_approval"


@pytest.mark.parametrize(("what", "edit"), [("title", {"title": "Count less"}), ("text", {"body": "Else."})])
def test_a_plan_is_not_approved_after_the_issue_was_edited(planned, what, edit):
    planned.hub.edit_issue(planned.repository, planned.number, by="maria", **edit)
    (answer,) = planned.answers("/approve-plan")

    assert answer.startswith(f"The issue's {what} was edited after this plan was made")
    assert (planned.signs, planned.state) == ({"eyes", "confused"}, "awaiting_approval")


def test_a_second_and_a_late_approval_get_one_line_that_says_why(pushed):
    (answer,) = pushed.answers("/approve-plan")
    assert answer.startswith("`/approve-plan` does not apply: the build is awaiting checks.")
    pushed.reports()
    pushed.until("done")
    (answer,) = pushed.answers("/approve-plan")
    assert answer.startswith("`/approve-plan` does not apply: the build is done.")
    assert len(pushed.asked("phase 1")) == 1


def test_two_approvals_at_once_start_one_attempt(planned):
    planned.says("/approve-plan")
    planned.says("/approve-plan")
    record = planned.until("awaiting_checks")

    assert [move["trigger"] for move in record["moves"]].count("approved") == 1
    assert len(planned.branch()) == 1


# /revise-plan


def test_a_revised_plan_is_the_next_version_with_another_hash(planned):
    before = planned.record["plan"]
    planned.model.load(small(planning({"use": [{"submit_plan": {**_plan(planned), "summary": "Anew."}}]})))
    planned.answers("/revise-plan Keep it smaller,\nplease.")
    after = planned.until("awaiting_approval")["plan"]

    assert (after["version"], after["summary"]) == (2, "Anew.")
    assert after["hash"] != before["hash"]
    assert "Keep it smaller,\nplease." in planned.opening("plan")


def test_the_comment_of_a_revised_plan_is_folded_and_marked_as_superseded(planned):
    planned.model.load(small(planning({"use": [{"submit_plan": {**_plan(planned), "summary": "Anew."}}]})))
    planned.answers("/revise-plan Keep it smaller.")
    planned.until("awaiting_approval")
    old, new = planned.comments

    assert old.startswith("<details><summary>Plan v1 – superseded by v2</summary>")
    assert new.startswith("### Plan v2")
    (answer,) = planned.answers(f"/approve-plan {_hash_in(old)}")
    assert "is not the newest plan" in answer


def test_an_approval_without_a_hash_never_means_a_plan_that_could_not_be_read_yet(planned):
    planned.hub.faults.fail("/issues/1/comments", 502, method="POST")
    planned.says("/revise-plan Keep it smaller.")
    planned.wait(lambda: (planned.record["plan"]["version"], planned.state) == (2, "awaiting_approval"), "v2")
    answers = planned.answers("/approve-plan")

    assert any("was posted after your comment: read it" in answer for answer in answers)
    assert planned.state == "awaiting_approval"


def test_an_approval_written_while_the_plan_was_made_does_not_mean_a_plan_nobody_had_seen(new_world):
    """Its delivery comes late, and the first plan takes the place of a comment that stood there before."""
    world = new_world(small(), checks="", reconcile_seconds=0.5)

    def approves_blindly() -> None:
        world.hub.faults.drop_deliveries = True
        world.said = world.says("/approve-plan")
        written = world.hub.state.now()
        world.wait(lambda: world.hub.state.now() > written, "the next second of GitHub's clock")

    world.hub.faults.fail_next.append(Meanwhile("GET", r"/commits/\w+/check-runs", approves_blindly))
    with world.running():
        world.labels()
        until_said(world, "Reply `/approve-plan")
        world.hub.faults.drop_deliveries = False
        world.wait(lambda: "confused" in world.signs, "the answer")
        world.settle()

        assert "Plan v1 was posted after your comment: read it" in world.comments[-1]
        assert world.stored().state == "awaiting_approval"
        world.says("/approve-plan")
        world.until("awaiting_checks")


def _plan(world: World) -> dict:
    kept = ("requirements", "assumptions", "open_questions", "risks", "feature_flag", "phases")
    return {name: world.record["plan"][name] for name in kept}


def _hash_in(comment: str) -> str:
    return comment.split("### Plan v1 · `")[1][:7]


# /resume


def test_a_model_of_no_known_price_is_refused_at_once_with_the_list(red):
    (answer,) = red.answers("/resume model=gpt-2")

    assert answer.startswith("I know no price for `gpt-2`. I know: ")
    assert "`claude-opus-5-5`" in answer
    assert (red.signs, red.state) == ({"eyes", "confused"}, "paused")


def test_a_model_named_by_resume_makes_the_next_request(new_world):
    world = new_world(small(writing(1, 1, BLOCKED)), checks="")
    with world.running():
        world.approves()
        world.until("paused")
        world.model.load(small())
        world.answers("/resume model=claude-opus-5-5")
        record = world.until("awaiting_checks")

    assert [r.model for r in world.asked("phase 1")] == ["claude-sonnet-5-5", "claude-opus-5-5"]
    assert [a["model"] for a in record["phases"][0]["attempts"]] == ["claude-sonnet-5-5", "claude-opus-5-5"]


def test_resume_does_not_apply_where_nothing_is_paused(planned):
    (answer,) = planned.answers("/resume")
    assert answer.startswith("`/resume` does not apply: the build is awaiting approval.")


# /allow


def test_a_path_allowed_by_a_person_may_be_written_and_the_build_goes_on_by_itself(new_world):
    edit = {"edit_file": {"path": "README.md", "old_str": "# Tally", "new_str": "# Tally, cached"}}
    world = new_world(small(writing(1, 1, BLOCKED)), checks="")
    with world.running():
        world.approves()
        world.until("paused")
        world.model.load(small(writing(1, 1, {"use": [edit, *part(1), finish(1)]})))
        assert world.answers("/allow README.md") == []
        world.until("awaiting_checks")
        assert world.hub.file(world.repository, world.head, "README.md") == "# Tally, cached\n"


def test_a_path_allowed_while_the_phase_is_written_counts_from_the_next_turn(new_world):
    edit = {"edit_file": {"path": "README.md", "old_str": "# Tally", "new_str": "# Tally, cached"}}
    turns = ({"use": part(1)[:1]}, {"use": [edit, *part(1)[1:], finish(1)]})
    world = new_world(small(writing(1, 1, *turns)), checks="")
    world.model.silent.add("phase 1")
    with world.running():
        world.approves()
        world.wait(lambda: world.model.requests[-1].conversation == "phase 1", "the phase's call")
        assert world.answers("/allow README.md") == []
        assert world.signs == {"eyes", "+1"}
        world.model.silent.clear()
        world.until("awaiting_checks")
        assert world.hub.file(world.repository, world.head, "README.md") == "# Tally, cached\n"

    told = json.dumps(world.asked("phase 1")[-1].body["messages"][-1])
    assert told.count("A person has just allowed more paths in this phase: `README.md`") == 1


def test_no_comment_of_a_person_without_admin_permission_opens_a_protected_path(red):
    (answer,) = red.answers("/allow .github/workflows/ci.yml")
    assert "lies in a protected place, which only a person with admin permission may open" in answer
    assert (red.signs, red.state) == ({"eyes", "confused"}, "paused")


def test_a_path_cannot_be_allowed_before_a_phase_has_begun(planned):
    (answer,) = planned.answers("/allow README.md")
    assert answer.startswith("`/allow` does not apply: the build is awaiting approval.")


# /skip-checks


def test_a_person_may_answer_for_red_checks_and_the_next_phase_starts(new_world):
    world = new_world(scenario(), checks="", files={".github/phasegate.yml": "repairs: 0\n"})
    with world.running():
        world.approves()
        world.until("awaiting_checks")
        world.reports("failure")
        world.until("paused")
        assert world.answers("/skip-checks The runner is broken.") == []
        world.wait(lambda: len(world.branch()) == 2, "the second phase's commit")
        record = world.until("awaiting_checks")

    assert (record["phase"], record["phases"][0]["released_by"]) == (2, "maria")
    move = next(move for move in record["moves"] if move["trigger"] == "checks_released")
    assert (move["by"], move["detail"]) == ("maria", "The runner is broken.")


def test_a_person_may_answer_for_one_check_by_its_name(pushed):
    pushed.reports("failure", name="lint")
    pushed.until("paused")
    pushed.answers('/skip-checks "lint" It is known to be flaky.')
    pushed.until("awaiting_checks")
    pushed.reports("success")
    record = pushed.until("done")

    (told,) = record["released"]
    assert told == {"check": "lint", "phase": 1, "by": "maria", "reason": "It is known to be flaky."}
    assert "lint, released by maria" in pushed.comments[-1]


def test_one_released_check_does_not_release_the_others(pushed):
    pushed.reports("failure", name="lint")
    pushed.reports("failure")
    pushed.until("paused")
    pushed.answers('/skip-checks "lint" It is known to be flaky.')
    pushed.wait(lambda: pushed.record["moves"][-1]["trigger"] == "checks_red", "the gate's second verdict")
    assert pushed.state == "paused"


def test_a_deed_is_not_done_again_when_its_thumb_comes_late(new_world):
    """Done twice, it would release the next phase's checks too."""
    world = new_world(scenario(), checks="")
    with world.running():
        world.approves()
        world.until("awaiting_checks")
        world.hub.faults.slow.append(("/permission$", 1.0))
        world.said = world.says("/skip-checks The runner is broken.")
        world.wait(lambda: world.signs == {"eyes"}, "the first sign")
        world.hub.faults.retry_after("/reactions$", 3, method="POST")
        world.wait(lambda: "+1" in world.signs, "the second sign")
        record = world.until("awaiting_checks", "verifying")

    assert [phase["released_by"] for phase in record["phases"]] == ["maria", None]


def test_checks_are_not_skipped_without_a_reason(red):
    (answer,) = red.answers("/skip-checks")
    assert "It needs a reason" in answer
    assert red.state == "paused"


# /cancel


@pytest.mark.parametrize(
    ("state", "story"),
    [
        ("planning", small(planning(SLOW))),
        ("awaiting_approval", small()),
        ("running", small(writing(1, 1, SLOW))),
        ("awaiting_checks", small()),
        ("verifying", small(verifying(SLOW))),
        ("paused", small(writing(1, 1, BLOCKED))),
    ],
)
def test_a_build_can_be_cancelled_in_every_live_state(new_world, state, story):
    world = new_world(story, checks="true" if state == "verifying" else "")
    with world.running():
        world.labels()
        if state not in ("planning", "awaiting_approval"):
            world.until("awaiting_approval")
            world.says("/approve-plan")
        world.until(state)
        if state in ("planning", "running", "verifying"):
            world.wait(lambda: world.model.open_streams, "a running call")
        answers = world.answers("/cancel")
        world.wait(lambda: not world.model.open_streams, "the call's end")

        assert (answers, world.signs, world.state) == ([], {"eyes", "+1"}, "cancelled")
        assert "Cancelled by maria" in world.comments[0]


def test_a_cancelled_build_cannot_be_resumed(planned):
    planned.answers("/cancel")
    (answer,) = planned.answers("/resume")
    assert answer.startswith("`/resume` does not apply: the build is cancelled.")


# /status and /help


def test_status_is_answered_with_a_comment_of_its_own(pushed):
    (answer,) = pushed.answers("/status")
    assert answer.startswith("Build 1 is **awaiting checks**")
    assert "Phase 1 of 1 waits for its checks in #2." in answer
    assert pushed.signs == {"eyes", "+1"}


def test_status_tells_of_a_build_that_is_over(planned):
    planned.answers("/cancel")
    (answer,) = planned.answers("/status")
    assert answer.startswith("Build 1 is **cancelled**")


def test_help_is_answered_with_every_command_even_without_a_build(empty):
    (answer,) = empty.answers("/help")
    words = ("approve-plan", "revise-plan", "resume", "allow", "skip-checks", "cancel", "status", "help")
    assert all(f"`/{word}" in answer for word in words)


def test_a_command_where_there_is_no_build_says_how_to_start_one(empty):
    (answer,) = empty.answers("/status")
    assert answer.startswith(f"There is no build here. Add the label `{LABEL}`")


# What is no command


def test_a_word_near_one_of_ours_is_answered_with_the_list(planned):
    (answer,) = planned.answers("/aprove-plan")
    assert "Did you mean `/approve-plan [hash]`?" in answer
    assert "`/skip-checks`" in answer
    assert (planned.signs, planned.state) == ({"confused"}, "awaiting_approval")


@pytest.mark.parametrize(
    "text",
    [
        "/deploy production",
        "```\n/approve-plan\n```",
        "    /approve-plan",
        "> /approve-plan",
        "<!-- /approve-plan -->",
        "`/approve-plan`",
        "Please /approve-plan",
        "It looks good.\n/approve-plan",
    ],
)
def test_what_is_no_command_of_ours_is_left_in_silence(planned, text):
    assert planned.answers(text) == []
    assert (planned.signs, planned.state) == (set(), "awaiting_approval")


def test_a_comment_edited_into_a_command_does_nothing(planned):
    planned.answers("It looks good.")
    planned.hub.edit_comment(planned.repository, planned.said, "/approve-plan", by="maria")
    planned.settle()
    assert (planned.signs, planned.state) == (set(), "awaiting_approval")


# On the pull request


def test_commands_work_on_the_thread_of_the_pull_request_too(pushed):
    pull = pushed.record["pull_request"]
    (answer,) = pushed.answers("/status", on=pull)
    assert answer.startswith("Build 1 is **awaiting checks**")
    assert pushed.answers("/cancel", on=pull) == []
    assert (pushed.signs, pushed.state) == ({"eyes", "+1"}, "cancelled")


def test_a_closed_pull_request_pauses_the_build_with_a_sentence(pushed):
    pushed.hub.close_issue(pushed.repository, pushed.record["pull_request"], by="maria")
    pushed.until("paused")
    assert pushed.comments[-1].startswith("Paused: maria closed the pull request. Reply `/resume`")


def test_a_merged_pull_request_ends_the_build(pushed):
    pull = pushed.record["pull_request"]
    pushed.hub.set_draft(pushed.repository, pull, False, by="maria")
    pushed.hub.merge_pull(pushed.repository, pull, by="maria")
    record = pushed.until("done")
    assert (record["moves"][-1]["trigger"], record["ended_by"]) == ("merged", "maria")


# On the issue


@pytest.mark.parametrize(
    ("deed", "said"), [("close", "closed the issue"), ("unlabel", "took the label away")]
)
def test_a_closed_or_unlabelled_issue_pauses_the_build_with_a_sentence(planned, deed, said):
    if deed == "close":
        planned.hub.close_issue(planned.repository, planned.number, by="maria")
    else:
        planned.hub.unlabel(planned.repository, planned.number, LABEL, by="maria")
    planned.until("paused")
    assert planned.comments[-1].startswith(f"Paused: maria {said}. Reply `/resume` to go on")


def labels(world: World) -> list[str]:
    """The labels the issue carries."""
    return list(world.hub.issue(world.repository, world.number).labels)


def test_a_build_started_by_a_command_carries_the_label_and_pauses_with_its_issue(empty):
    empty.answers("/build")
    empty.until("awaiting_approval")
    assert labels(empty) == [LABEL]
    empty.hub.close_issue(empty.repository, empty.number, by="maria")
    empty.until("paused")
    assert empty.record_of(2) == {}


def test_a_build_resumed_after_its_label_was_taken_away_carries_it_again(pushed):
    pushed.hub.unlabel(pushed.repository, pushed.number, LABEL, by="maria")
    pushed.until("paused")
    pushed.answers("/resume", on=pushed.record["pull_request"])
    pushed.until("awaiting_checks")
    assert labels(pushed) == [LABEL]
    pushed.hub.close_issue(pushed.repository, pushed.number, by="maria")
    pushed.until("paused")
    assert pushed.record_of(2) == {}


def test_a_label_that_cannot_be_set_keeps_no_build_from_its_start(empty):
    empty.hub.faults.fail("/labels$", 403, method="POST", body={"message": "No."})
    empty.answers("/build")
    assert empty.signs == {"eyes", "+1"}
    empty.until("awaiting_approval")
    assert labels(empty) == []


def test_a_plan_that_was_stopped_before_its_approval_still_waits_for_it_when_resumed(planned):
    planned.hub.close_issue(planned.repository, planned.number, by="maria")
    planned.until("paused")
    planned.answers("/resume")

    assert (planned.signs, planned.state) == ({"eyes", "+1"}, "awaiting_approval")
    planned.says("/approve-plan")
    assert planned.until("awaiting_checks")


def test_resume_never_builds_a_revised_plan_that_nobody_approved(red):
    """Its first phase has begun, so the build knows a phase to go on with."""
    red.answers("/revise-plan Smaller, please.")
    red.until("awaiting_approval")
    red.hub.close_issue(red.repository, red.number, by="maria")
    red.until("paused")
    red.answers("/resume")

    assert red.state == "awaiting_approval"
    assert red.record["plan"]["approved_by"] is None
    assert len(red.branch()) == 1


def test_a_running_call_is_aborted_when_the_issue_is_closed(new_world):
    world = new_world(small(writing(1, 1, SLOW)), checks="")
    with world.running():
        world.approves()
        world.wait(lambda: world.model.requests[-1].conversation == "phase 1", "the phase's call")
        world.hub.close_issue(world.repository, world.number, by="maria")
        record = world.until("paused")
        world.wait(lambda: not world.model.open_streams, "the call's end")

    assert record["phases"][0]["attempts"][0]["outcome"] == "stopped"


def installation(world: World) -> int:
    """The id of the installation of ours."""
    (ours,) = [one for one in world.hub.state.installations.values() if one.app.slug == "phasegate"]
    return int(ours.id)


def test_an_uninstalled_app_cancels_its_builds(pushed):
    pushed.hub.uninstall(installation(pushed))
    record = pushed.until("cancelled")
    assert record["moves"][-1]["detail"].endswith(" uninstalled the App")


def test_a_repository_taken_away_from_the_app_cancels_its_build(pushed):
    pushed.hub.remove_from_installation(installation(pushed), pushed.repository)
    record = pushed.until("cancelled")
    assert record["moves"][-1]["detail"].endswith(" took the repository away from the App")


def test_a_suspended_app_pauses_its_builds_and_a_person_resumes_them_when_it_is_back(pushed):
    ours = installation(pushed)
    pushed.hub.suspend(ours)
    pushed.until("paused")
    pushed.hub.suspend(ours, suspended=False)
    pushed.wait(lambda: "suspended the App. Reply `/resume` to go on" in pushed.comments[-1], "the sentence")
    assert "Paused in #2" in pushed.comments[0]

    pushed.answers("/resume")
    pushed.until("awaiting_checks")
    pushed.reports()
    pushed.until("done")


def test_a_second_build_of_the_same_issue_has_a_branch_of_its_own(planned):
    planned.answers("/cancel")
    planned.hub.unlabel(planned.repository, planned.number, LABEL, by="maria")
    planned.labels()
    planned.wait(lambda: planned.record_of(2).get("state") == "awaiting_approval", "the second plan")
    planned.says("/approve-plan")
    planned.wait(lambda: planned.record_of(2)["state"] == "awaiting_checks", "its commit")

    first, second = planned.record_of(1), planned.record_of(2)
    assert second["branch"] == f"{first['branch']}-2"
    assert (first["pull_request"], second["pull_request"]) == (None, 2)


def test_a_label_on_an_issue_that_is_being_built_starts_no_second_build(planned):
    planned.hub.unlabel(planned.repository, planned.number, LABEL, by="maria")
    planned.until("paused")
    planned.labels()
    planned.settle()
    assert (planned.record_of(2), planned.state) == ({}, "paused")
