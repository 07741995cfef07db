"""Every answer CI can give on a commit, over HTTP, and what the build does then."""

import pytest

from tests.flow.gated import (
    ACTIONS,
    POLICY,
    QUICK,
    held,
    noticed,
    one,
    outlast,
    stalls,
    triggers,
    two,
    until_head,
    until_moved,
    until_said,
)
from tests.world import small

WORKFLOW = {".github/workflows/ci.yml": "on: pull_request\n"}
OWN = {"required": ()}
LATE = {**OWN, "files": WORKFLOW}
"""Nothing names the checks, but there is a workflow, so the first of them is waited for."""


def reruns(world):
    """Return the requests to run a workflow again that GitHub took."""
    return [r for r in world.hub.requests if r.path.endswith("/rerun-failed-jobs") and r.status == 201]


def workflow(world, status, conclusion=None, jobs=(), **more):
    """Report the workflow `ci` on the newest commit; a job is its name and conclusion."""
    told = [{"name": name, "status": "completed", "conclusion": said} for name, said in jobs]
    world.hub.report_workflow_run(world.repository, world.head, "ci", status, conclusion, jobs=told, **more)


# What waits for a person


def test_a_check_that_needs_a_person_is_told_once_with_its_link_and_no_clock_runs(new_world):
    """It waits longer than the timeout, and goes on by itself when the person has acted."""
    with one(new_world, checks_timeout_minutes=0.06) as world:
        world.reports("action_required", name="deploy", details_url="https://ci.example/7")
        comment = until_said(world, "waits for you on GitHub")
        outlast(world, 3.7)
        assert (world.stored().state, len(world.comments)) == ("awaiting_checks", 2)
        assert "A person must act: `deploy` (action_required)." in comment
        assert "- deploy: " in comment

        world.reports(name="deploy")
        outlast(world, 0)
        world.reports()
        world.until("done")


def test_a_workflow_that_waits_for_a_release_goes_on_when_it_was_given(new_world):
    with one(new_world) as world:
        workflow(world, "waiting")
        until_said(world, "`ci` (waiting)")
        workflow(world, "completed", "success", [("tests", "success")])
        world.until("done")


def test_each_new_thing_that_waits_on_one_commit_is_told_once(new_world):
    """The same workflow waits twice, and looks the same both times."""
    with one(new_world) as world:
        workflow(world, "waiting")
        until_said(world, "`ci` (waiting)")
        outlast(world)
        workflow(world, "in_progress")
        outlast(world)
        assert len(world.comments) == 2
        workflow(world, "waiting")
        world.wait(lambda: len(world.comments) == 3, "a second comment")
        world.reports("action_required", name="production")
        assert "`production` (action_required)" in until_said(world, "production")
        outlast(world)
        assert len(world.comments) == 4


def test_a_run_that_was_approved_and_then_skipped_everything_is_told_too(new_world):
    with one(new_world) as world:
        workflow(world, "completed", "action_required")
        until_said(world, "`ci` (action_required)")
        workflow(world, "completed", "skipped", [("tests", "skipped")], run_attempt=2)
        until_said(world, "Nothing succeeded, so nothing was proven")


def test_a_cancelled_run_asks_a_person_where_running_again_was_not_granted(new_world):
    with one(new_world) as world:
        workflow(world, "completed", "cancelled", [("tests", "cancelled")])
        assert "`tests` (cancelled)" in until_said(world, "Ended without a result")
        assert reruns(world) == []
        workflow(world, "completed", "success", [("tests", "success")], run_attempt=2)
        world.until("done")


def test_a_cancelled_run_is_run_again_once_where_that_was_granted_and_then_asks(new_world):
    with one(new_world, permissions=ACTIONS) as world:
        workflow(world, "completed", "cancelled", [("tests", "cancelled")])
        world.wait(lambda: reruns(world), "a re-run")
        outlast(world)
        assert len(world.comments) == 1
        workflow(world, "completed", "cancelled", [("tests", "cancelled")], run_attempt=2)
        until_said(world, "Ended without a result")
        assert len(reruns(world)) == 1


def test_a_stale_check_of_another_app_asks_a_person(new_world):
    with one(new_world, permissions=ACTIONS) as world:
        world.reports("stale")
        assert "`tests` (stale)" in until_said(world, "Ended without a result")
        assert reruns(world) == []


def ready(world):
    """Have maria press the button that makes the pull request no draft."""
    world.hub.set_draft(world.repository, world.record["pull_request"], False, by="maria")


def test_checks_that_were_all_skipped_on_a_draft_go_on_by_themselves_when_it_is_one_no_more(new_world):
    with one(new_world) as world:
        workflow(world, "completed", "skipped", [("tests", "skipped")])
        comment = until_said(world, "Nothing succeeded, so nothing was proven")
        assert "press **Ready for review** there." in comment
        assert "the build goes on by itself when this clears" in comment
        assert world.stored().state == "awaiting_checks"
        ready(world)
        workflow(world, "completed", "success", [("tests", "success")], run_attempt=2)
        world.until("done")


def test_a_draft_that_starts_no_workflow_goes_on_when_it_is_one_no_more_and_a_person_says_so(new_world):
    with one(new_world, files=WORKFLOW, checks_timeout_minutes=0.02, **OWN) as world:
        world.until("paused")
        assert "press **Ready for review** there and reply `/resume`." in world.comments[-1]
        ready(world)
        world.reports()
        world.answers("/resume")
        world.until("done")


def test_checks_that_were_all_skipped_on_no_draft_are_not_blamed_on_it(new_world):
    with one(new_world, files={POLICY: "draft: false\n"}) as world:
        world.reports("skipped")
        assert "Ready for review" not in until_said(world, "Nothing succeeded, so nothing was proven")


def test_a_word_that_nobody_knows_is_not_green(new_world):
    with one(new_world) as world:
        world.reports("delighted")
        assert "Not a word this gate knows: `delighted`" in until_said(world, "waits for you on GitHub")


# What never reports


def test_a_required_check_that_never_reports_is_named_after_the_deadline(new_world):
    with one(new_world, required=("tests", "lint"), checks_timeout_minutes=0.08) as world:
        world.reports()
        world.until("paused")
        assert "required, but never reported: `lint`" in world.comments[-1]
        assert "`/resume` – looks at the checks again" in world.comments[-1]

        world.reports(name="lint")
        world.answers("/resume")
        world.until("done")


def test_a_commit_without_any_check_asks_and_goes_on_by_a_persons_word(new_world):
    with one(new_world, **OWN) as world:
        world.until("paused")
        assert "no check reported on the commit" in world.comments[-1]
        world.answers("/skip-checks There is no CI here.")
        record = world.until("done")
    assert record["phases"][0]["released_by"] == "maria"


def test_a_repository_without_ci_goes_on_by_itself_once_its_policy_says_so(new_world):
    """The comment names the policy, so that a person need not answer in every phase."""
    with one(new_world, **OWN) as world:
        world.until("paused")
        assert "`checks: {when_none: allow}`" in world.comments[-1]
        merged = {POLICY: "checks: {when_none: allow}\n"}
        world.hub.push_commit(world.repository, "main", merged, "No CI here", by="maria")
        world.answers("/resume")
        world.until("done")


def test_a_repository_with_workflows_is_given_its_whole_time_before_that_is_asked(new_world):
    with one(new_world, **LATE) as world:
        outlast(world)
        assert world.stored().state == "awaiting_checks"
        world.reports()
        world.until("done")


def test_the_suite_of_an_app_that_never_reports_is_not_waited_for(new_world):
    world = new_world(small(), **QUICK, **LATE)
    world.hub.faults.zombie_suite = True
    with world.running():
        world.approves()
        world.until("awaiting_checks")
        world.reports()
        world.until("done")


def test_results_of_another_commit_are_ignored(new_world):
    with one(new_world) as world:
        base = world.record["base"]
        world.reports("failure", sha=base)
        world.reports("success", sha=base)
        outlast(world)
        assert world.stored().state == "awaiting_checks"
        world.reports()
        world.until("done")
        assert "checks_red" not in triggers(world)


def test_what_could_not_be_read_is_neither_green_nor_missing(new_world):
    """No check at all would be green by this policy, but the list was never seen."""
    world = new_world(small(), files={POLICY: "checks:\n  when_none: allow\n"}, **QUICK, **OWN)
    with world.running():
        world.labels()
        world.until("awaiting_approval")
        unread = world.hub.faults.fail(r"/commits/\w+/check-runs", 403, body={"message": "No."}, count=999)
        world.says("/approve-plan")
        world.until("awaiting_checks")
        outlast(world)
        assert (world.stored().state, world.record["phases"][0]["verdict"]) == ("awaiting_checks", "unknown")
        unread.count = 0
        world.until("done")


def test_what_can_never_be_read_pauses_with_the_reason_and_is_looked_at_again_on_resume(new_world):
    with one(new_world, checks_timeout_minutes=0.03) as world:
        words = {"message": "Resource not accessible by integration"}
        unread = world.hub.faults.fail(r"/commits/\w+/check-runs", 403, body=words, count=999)
        world.reports()
        world.until("paused")
        comment = world.comments[-1]
        assert "GitHub refused what this needs" in comment
        assert "check runs: Resource not accessible by integration" in comment
        assert (
            "`/resume` – looks at the checks again, once the operator of this bot has mended that" in comment
        )
        assert "`/skip-checks why this is fine`" in comment

        unread.count = 0
        world.answers("/resume")
        world.until("done")


def test_rules_that_may_not_be_read_are_not_taken_for_none(new_world):
    with one(new_world, **LATE) as world:
        unread = world.hub.faults.fail("/rules/branches/", 403, body={"message": "No rules."}, count=999)
        world.reports()
        outlast(world)
        assert (world.stored().state, world.record["phases"][0]["verdict"]) == ("awaiting_checks", "unknown")
        assert "rules: No rules." in world.record["phases"][0]["verdict_reason"]
        unread.count = 0
        world.until("done")


def test_a_branch_that_can_never_be_read_pauses_too(new_world):
    with one(new_world, checks_timeout_minutes=0.03) as world:
        world.hub.faults.fail(r"/git/ref/heads/", 403, body={"message": "No branch for you."}, count=999)
        world.until("paused")
        assert "GitHub could not be read in full: No branch for you." in world.comments[-1]


def test_a_mistake_of_ours_pauses_and_is_owned_up_to_once(new_world):
    """GitHub answers with a list that nobody expected."""
    with one(new_world) as world:
        strange = {"total_count": 1, "check_runs": [{"id": 1}]}
        unread = world.hub.faults.fail(r"/commits/\w+/check-runs", 200, body=strange, count=999)
        world.reports()
        world.until("paused")
        assert "Phasegate itself made a mistake; the log has the details" in world.comments[-1]
        assert "KeyError at the gate of phase 1." in world.comments[-1]
        assert len(world.comments) == 2

        unread.count = 0
        world.answers("/resume")
        world.until("done")


# What comes late


def test_a_workflow_that_is_queued_holds_the_gate_before_its_jobs_are_listed(new_world):
    with one(new_world, **LATE) as world:
        workflow(world, "queued")
        world.reports()
        outlast(world)
        assert world.stored().state == "awaiting_checks"
        workflow(world, "completed", "success", [("build", "success")])
        world.until("done")


def test_a_check_that_appears_after_the_rest_was_green_is_waited_for(new_world):
    """Nothing names the checks here, so the same set has to be seen green twice."""
    with one(new_world, checks_settle_seconds=1.5, **LATE) as world:
        world.reports()
        world.wait(lambda: world.record["phases"][0]["checks"], "a first look at green")
        world.hub.report_check(world.repository, world.head, name="lint", status="in_progress")
        outlast(world, 1.6)
        assert world.stored().state == "awaiting_checks"
        world.reports(name="lint")
        world.until("done")


def test_a_check_that_appears_within_the_settle_time_stops_the_next_phase(new_world):
    with two(new_world, checks_settle_seconds=90) as world, held(world, "phase 2"):
        world.hub.report_check(world.repository, world.head, name="lint", status="in_progress")
        until_moved(world, "checks_reopened")
        assert world.until("awaiting_checks")["phase"] == 1
        world.reports(name="lint")
        until_moved(world, "checks_green")
        world.wait(lambda: len(world.branch()) == 2, "the second commit")


def test_a_check_that_appears_after_the_settle_time_leaves_the_next_phase_alone_until_it_is_red(new_world):
    with two(new_world, checks_settle_seconds=0.1) as world, held(world, "phase 2"):
        world.hub.report_check(world.repository, world.head, name="lint", status="in_progress")
        noticed(world)
        assert world.stored().state == "running"
        world.reports("failure", name="lint")
        until_moved(world, "checks_reopened")


def test_a_late_check_that_is_green_disturbs_nobody(new_world):
    with two(new_world, checks_settle_seconds=90) as world, held(world, "phase 2"):
        world.reports(name="lint")
        noticed(world)
        assert (world.stored().state, stalls(world, "phase 2")) == ("running", True)


# Words of a person


def test_a_check_that_waits_for_a_person_can_be_released_by_its_name(new_world):
    with one(new_world) as world:
        world.reports("action_required", name="deploy")
        until_said(world, "waits for you on GitHub")
        world.answers('/skip-checks "deploy" We never deploy this.')
        world.reports()
        world.until("done")


def test_a_released_check_that_reports_alone_in_a_later_phase_is_not_green(new_world):
    """The others are waited for, then asked for; a person may still go on without any."""
    with two(new_world, checks_timeout_minutes=0.1, **LATE) as world:
        world.answers('/skip-checks "lint" It is known.')
        world.reports()
        world.wait(lambda: len(world.branch()) == 2, "the second commit")
        until_head(world, world.head)
        world.reports("failure", name="lint")
        outlast(world)
        assert world.stored().state == "awaiting_checks"
        world.until("paused")
        assert "No check but those a person released has reported" in world.comments[-1]
        assert "`/skip-checks why this is fine`" in world.comments[-1]
        world.answers("/skip-checks There is no other.")
        world.until("done")


def test_a_released_gate_stays_released_whatever_its_checks_say_later(new_world):
    with two(new_world, files={POLICY: "repairs: 0\n"}) as world:
        world.reports("failure")
        world.until("paused")
        world.model.inject("stall", conversation="phase 2", after=0, seconds=90)
        world.answers("/skip-checks It is the runner.")
        world.wait(lambda: stalls(world, "phase 2"), "the second phase")
        world.reports("failure", rerun=True)
        noticed(world)
        assert (world.stored().state, world.record["phase"]) == ("running", 2)
        world.says("/cancel")
        world.until("cancelled")


def test_a_check_that_is_red_on_the_base_is_told_with_the_plan_and_blocks_until_it_is_released(new_world):
    """Nothing is paid to repair what the phase did not break; the release holds for the whole build."""
    world = new_world(checks="", checks_poll_seconds=0.3, checks_settle_seconds=0.2)
    world.hub.report_check(
        world.repository, world.hub.head(world.repository), name="lint", conclusion="failure"
    )
    with world.running():
        world.approves()
        world.until("awaiting_checks")
        assert "**Red on the base already:** `lint`" in world.comments[0]
        world.reports("failure", name="lint")
        world.until("paused")
        assert '`/skip-checks "lint" why this is fine`' in world.comments[-1]
        assert world.asked("repair 1") == []

        world.answers('/skip-checks "lint" It is known.')
        world.reports()
        world.wait(lambda: len(world.branch()) == 2, "the second commit")
        world.until("awaiting_checks")
        world.reports("failure", name="lint")
        world.reports()
        world.until("done")


def test_a_conflicting_pull_request_is_told_and_goes_on_when_it_no_longer_conflicts(new_world):
    theirs = {"tally/part1.py": "x = 1\n"}
    with one(new_world) as world:
        world.hub.push_commit(world.repository, "main", theirs, "Mine", by="maria")
        assert "the PR conflicts with its base" in until_said(world, "waits for you on GitHub")
        outlast(world)
        world.hub.push_commit(world.repository, "main", {"tally/part1.py": None}, "Not mine", by="maria")
        world.wait(lambda: world.record["phases"][0]["verdict"] == "pending", "a look without the conflict")
        outlast(world)
        world.hub.push_commit(world.repository, "main", theirs, "Mine again", by="maria")
        world.wait(lambda: len(world.comments) == 3, "a second comment")
        world.hub.push_commit(world.repository, "main", {"tally/part1.py": None}, "Not mine", by="maria")
        world.reports()
        world.until("done")


def test_a_conflict_beside_green_checks_is_told_in_the_plans_comment_and_the_record(new_world):
    """Workflows that run on a push are green, and those that run on the pull request never began."""
    with two(new_world) as world:
        world.hub.push_commit(world.repository, "main", {"tally/part1.py": "x = 1\n"}, "Mine", by="maria")
        world.wait(lambda: world.record["phases"][0]["verdict"] == "conflict", "a conflict")
        world.reports()
        until_moved(world, "checks_green")
        world.settle()
        note = "The PR conflicts with its base: its workflows may not have run."
        assert world.record["phases"][0]["notes"] == [note]
        assert f"**Noticed**\n\n- Phase 1: {note}" in world.comments[0]


# Words of the past


@pytest.mark.parametrize("ending", ["success", "failure"])
def test_legacy_statuses_count_like_checks(new_world, ending):
    with one(new_world, required=("ci/old",), files={POLICY: "repairs: 0\n"}) as world:
        world.hub.report_status(world.repository, world.head, "ci/old", "pending")
        outlast(world)
        assert world.stored().state == "awaiting_checks"
        world.hub.report_status(world.repository, world.head, "ci/old", ending, "It said so.")
        world.until("done" if ending == "success" else "paused")


def pin(world, name, app):
    """Let the rules of the base require a check of one App."""
    check = {"context": name, "integration_id": app}
    rule = {"type": "required_status_checks", "parameters": {"required_status_checks": [check]}}
    world.hub.faults.fail("/rules/branches/main", 200, body=[rule], count=999)


def test_a_status_satisfies_a_check_that_is_required_of_the_app_that_set_it(new_world):
    with one(new_world, **LATE) as world:
        app = world.hub.report_check(
            world.repository, world.record["base"], app="old-ci", conclusion="success"
        ).app
        pin(world, "ci/old", app.id)
        world.hub.report_status(world.repository, world.head, "ci/old", "success", by="old-ci[bot]")
        world.until("done")


def test_a_status_whose_app_nobody_knows_is_told_and_can_be_released(new_world):
    """Even a red one: a person who knows better takes it on them, once for the whole build."""
    with one(new_world, **LATE, checks_timeout_minutes=0.1) as world:
        pin(world, "ci/old", 4711)
        world.hub.report_status(world.repository, world.head, "ci/old", "success", by="maria")
        world.reports(name="lint")
        world.until("paused")
        assert "(it is there as a commit status, whose App GitHub does not tell)" in world.comments[-1]
        assert '`/skip-checks "ci/old" why this is fine`' in world.comments[-1]

        world.hub.report_status(world.repository, world.head, "ci/old", "failure", by="maria")
        world.answers('/skip-checks "ci/old" It is our old server.')
        world.until("done")


# After the end


def on_the_pull(world):
    """Return what the bot said on the pull request."""
    return [c.body for c in world.hub.comments(world.repository, 2)]


def test_red_after_done_is_said_once_to_the_reviewers_and_nothing_moves(new_world):
    with one(new_world) as world:
        world.reports()
        world.until("done")
        head = world.reports("failure", name="deploy")
        world.wait(lambda: on_the_pull(world), "a comment on the pull request")
        world.reports("failure", name="docs")
        world.settle()
        (said,) = on_the_pull(world)

        assert f"The checks of {head[:7]} turned red after the build was done." in said
        assert "- deploy: " in said
        assert (world.stored().state, world.head) == ("done", head)


def test_red_after_a_merge_is_left_in_silence(new_world):
    with one(new_world) as world:
        world.reports()
        world.until("done")
        head = world.head
        world.hub.merge_pull(world.repository, 2, by="maria")
        world.reports("failure", name="deploy", sha=head)
        noticed(world)
        assert on_the_pull(world) == []
