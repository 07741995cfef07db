"""The gate's table, row by row: what every word of GitHub counts as, and what decides when several meet."""

import re
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from bot import commands, results
from bot.gate import GateRules, Observation, Verdict, judge
from bot.reports import CheckRun, Required, Status, WorkflowRun
from bot.results import Outcome, Result
from bot.sanitize import inert

SHA = "5" * 40
START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
ACTIONS, OWN, OTHER = 15368, 77, 99
RULES = GateRules()
ids = count(1)

GREEN, RED, PENDING, PERSON = Outcome.GREEN, Outcome.RED, Outcome.PENDING, Outcome.PERSON
INTERRUPTED, TIMED_OUT, NONE, MOVED = Outcome.INTERRUPTED, Outcome.TIMED_OUT, Outcome.NONE, Outcome.MOVED
CONFLICT, UNKNOWN = Outcome.CONFLICT, Outcome.UNKNOWN


def check(name, conclusion="success", *, status="completed", app=ACTIONS, suite=1, **more):
    """A check run, newer than every one made before."""
    number = more.pop("id", None) or next(ids)
    conclusion = conclusion if status == "completed" else None
    more.setdefault("url", f"https://ci.test/{name}")
    return CheckRun(number, name, app, status, conclusion, suite_id=suite, **more)


def status(context, state="success", **more):
    """A commit status, newer than every one made before."""
    return Status(more.pop("id", None) or next(ids), context, state, url=f"https://ci.test/{context}", **more)


def run(name="CI", conclusion=None, *, status="completed", workflow=5, suite=1, **more):
    """A run of a workflow; without a conclusion it still goes on."""
    number = more.pop("id", None) or next(ids)
    going = status if conclusion or status != "completed" else "in_progress"
    more.setdefault("url", f"https://ci.test/{name}")
    return WorkflowRun(number, name, going, conclusion, suite_id=suite, workflow_id=workflow, **more)


def seen(*reported, **changes):
    """What GitHub says of the commit: any mix of checks, statuses and runs."""
    fields = {
        "sha": SHA,
        "head": SHA,
        "pushed_at": START,
        "own_app_id": OWN,
        "pr_opened_at": START,
        "checks": tuple(one for one in reported if isinstance(one, CheckRun)),
        "statuses": tuple(one for one in reported if isinstance(one, Status)),
        "runs": tuple(one for one in reported if isinstance(one, WorkflowRun)),
    }
    return Observation(**{**fields, **changes})


def after(seconds):
    """The moment so many seconds after the push."""
    return START + timedelta(seconds=seconds)


def look(observation, at=100.0, previous=None, **rules):
    """Judge once, `at` seconds after the push."""
    return judge(observation, previous, GateRules(**rules), after(at))


def settled(observation, at=100.0, **rules):
    """Judge twice, the settle time apart, and return the second verdict."""
    first, _ = look(observation, at, **rules)
    return look(observation, at + GateRules(**rules).settle, first, **rules)[0]


# One word at a time, beside one success.

CONCLUSION_ROWS = {
    **dict.fromkeys(["success", "neutral", "skipped"], GREEN),
    **dict.fromkeys(["failure", "timed_out", "startup_failure"], RED),
    **dict.fromkeys(["cancelled", "stale"], INTERRUPTED),
    "action_required": PERSON,
}
WAITING = dict.fromkeys(["queued", "requested", "pending", "in_progress"], PENDING)
STATUS_ROWS = {**WAITING, "waiting": PERSON}
STATE_ROWS = {"success": GREEN, "pending": PENDING, "expected": PENDING, "failure": RED, "error": RED}


@pytest.mark.parametrize(("word", "outcome"), CONCLUSION_ROWS.items())
def test_a_conclusion_counts_the_same_for_a_check_and_a_run_without_checks(word, outcome):
    assert settled(seen(check("lint"), check("test", word))).outcome is outcome
    assert settled(seen(status("lint"), run(conclusion=word))).outcome is outcome


@pytest.mark.parametrize(("word", "outcome"), STATUS_ROWS.items())
def test_a_status_counts_the_same_for_a_check_and_a_run_without_checks(word, outcome):
    assert settled(seen(check("lint"), check("test", status=word))).outcome is outcome
    assert settled(seen(status("lint"), run(status=word))).outcome is outcome


@pytest.mark.parametrize(("word", "outcome"), STATE_ROWS.items())
def test_a_state_of_a_commit_status_counts_as_the_table_says(word, outcome):
    assert settled(seen(check("lint"), status("ci/test", word))).outcome is outcome


def test_every_word_of_the_tables_has_its_row_here():
    assert (results.CONCLUSIONS, results.STATUSES, results.STATES) == (
        CONCLUSION_ROWS,
        STATUS_ROWS,
        STATE_ROWS,
    )


@pytest.mark.parametrize("word", ["frobnicated", "SUCCESS", "passed", "success ", "", None])
def test_an_unknown_conclusion_needs_a_person_and_is_named(word):
    verdict = settled(seen(check("lint"), check("test", word)))

    assert verdict.outcome is PERSON
    assert "Not a word this gate knows" in verdict.reason
    assert (word or "no conclusion").strip() in verdict.reason


@pytest.mark.parametrize("word", ["", "COMPLETED", "dreaming"])
def test_an_unknown_status_needs_a_person_whatever_the_conclusion(word):
    odd = CheckRun(next(ids), "test", ACTIONS, word, "success", suite_id=1)

    assert settled(seen(check("lint"), odd)).outcome is PERSON


@pytest.mark.parametrize("word", ["SUCCESS", "green", ""])
def test_an_unknown_state_needs_a_person(word):
    assert settled(seen(check("lint"), status("ci", word))).outcome is PERSON


def test_a_conclusion_counts_only_once_the_check_is_completed():
    early = CheckRun(next(ids), "test", ACTIONS, "in_progress", "success", suite_id=1)

    assert settled(seen(check("lint"), early)).outcome is PENDING


# When several meet, the gravest decides.

ORDER = [
    (RED, check("a", "failure")),
    (PERSON, check("b", "action_required")),
    (INTERRUPTED, check("c", "cancelled")),
    (PENDING, check("d", status="queued")),
    (GREEN, check("e")),
]


@pytest.mark.parametrize("worst", range(len(ORDER)))
def test_the_gravest_result_decides(worst):
    present = [result for _, result in ORDER[worst:]]

    assert settled(seen(*present)).outcome is ORDER[worst][0]


@pytest.mark.parametrize("head", ["6" * 40, None])
def test_a_moved_branch_outweighs_everything(head):
    verdict, again = look(seen(check("a", "failure"), head=head, complete=head is None))

    assert (verdict.outcome, again) == (MOVED, None)
    assert ("moved to 6666666" if head else "is gone") in verdict.reason


def test_a_partial_answer_outweighs_every_result():
    verdict, again = look(seen(check("a", "failure"), complete=False, problem="502 on page 2"))

    assert (verdict.outcome, again) == (UNKNOWN, RULES.poll)
    assert "502 on page 2" in verdict.reason


def test_a_head_missing_from_a_partial_answer_is_no_deleted_branch():
    assert look(seen(head=None, complete=False))[0].outcome is UNKNOWN


def test_a_partial_answer_never_times_out_and_never_says_none():
    first, _ = look(seen(complete=False), at=0)

    assert look(seen(complete=False), at=99_999, previous=first)[0].outcome is UNKNOWN


def test_a_partial_answer_is_looked_at_again_until_the_timeout_has_passed():
    """What else is said does not matter: nobody can tell what was left out."""
    clocked, _ = look(seen(check("t", "action_required")), at=0)
    first, again = look(seen(complete=False), at=100, previous=clocked)
    second, also = look(seen(complete=False, problem="403"), at=99 + RULES.timeout, previous=first)
    last, never = look(seen(complete=False, problem="403"), at=100 + RULES.timeout, previous=second)

    assert (again, also, never) == (RULES.poll, RULES.poll, None)
    assert (first.unread_since, last.unread_since) == (after(100), after(100))
    assert last.reason == "GitHub could not be read in full: 403. It has been so for 60 minutes."


def test_one_whole_answer_begins_the_patience_with_partial_ones_anew():
    cut, _ = look(seen(complete=False), at=0)
    whole, _ = look(seen(check("t", status="queued")), at=100, previous=cut)

    assert whole.unread_since is None
    assert look(seen(complete=False), at=RULES.timeout, previous=whole)[1] == RULES.poll


def test_red_is_said_at_once_with_what_still_runs_and_where_to_look():
    verdict, again = look(seen(check("a"), check("z", "failure"), check("b", status="queued")), at=1)

    assert (verdict.outcome, again, verdict.url) == (RED, None, "https://ci.test/z")
    assert "`z` (failure)" in verdict.reason
    assert "1 more still running" in verdict.reason


def test_a_person_is_sent_to_the_first_result_that_waits_for_one():
    verdict, again = look(seen(check("a"), check("deploy", status="waiting")))

    assert (verdict.url, again) == ("https://ci.test/deploy", RULES.poll)


def test_an_interrupted_result_is_named_and_looked_at_again():
    verdict, again = look(seen(check("a"), check("b", "cancelled")))

    assert (verdict.url, again) == ("https://ci.test/b", RULES.poll)
    assert "`b` (cancelled)" in verdict.reason


def asked(observation, previous=None, at=100.0):
    """What a person is asked to clear after this look, and the verdict."""
    verdict, _ = look(observation, at=at, previous=previous)
    return verdict.asked, verdict


def test_what_a_person_was_asked_for_is_remembered_until_it_is_cleared():
    deploy, lint = check("deploy", "action_required", id=7), check("lint", "cancelled", id=8)
    first, verdict = asked(seen(check("a"), deploy))
    again, verdict = asked(seen(check("a"), deploy), verdict)
    cut, verdict = asked(seen(complete=False), verdict)
    both, verdict = asked(seen(check("a"), deploy, lint), verdict)
    after, verdict = asked(seen(check("a"), lint), verdict)
    none, _ = asked(seen(check("a")), verdict)

    assert (first, again, cut, both) == (("check:7",),) * 4
    assert (after, none) == (("check:8",), ())


def test_a_conflict_stands_until_github_says_that_the_pr_can_be_merged():
    conflict, verdict = asked(seen(mergeable=False))
    unsure, verdict = asked(seen(mergeable=None, has_workflows=True), verdict)
    gone, _ = asked(seen(mergeable=True, has_workflows=True), verdict)

    assert (conflict, unsure, gone) == (("conflict",), ("conflict",), ())


def test_that_nothing_was_proven_stands_until_something_succeeds():
    unproven = settled(seen(check("t", "skipped")))
    late, verdict = asked(seen(check("t", "skipped"), check("u", "skipped")), unproven, at=200)
    proven, _ = asked(seen(check("t", "skipped"), check("u")), verdict, at=300)

    assert (unproven.asked, late, proven) == (("unproven",), ("unproven",), ())


# Green beside nothing, required or not.


@pytest.mark.parametrize("word", ["skipped", "neutral"])
def test_results_that_prove_nothing_need_a_person_once_settled(word):
    observation = seen(check("test", word), draft=False)

    assert look(observation)[0].outcome is PENDING
    assert settled(observation).outcome is PERSON
    assert "draft" not in settled(observation).reason


def test_only_skipped_results_on_a_draft_name_what_helps_now_and_what_helps_later():
    reason = settled(seen(check("test", "skipped"), draft=True)).reason

    assert "press **Ready for review** there. " in reason
    assert "`draft: false`" in reason


def test_a_skipped_required_check_is_green_and_noted():
    verdict, _ = look(seen(check("e2e", "skipped"), check("test"), required=(Required("e2e"),)))

    assert verdict.outcome is GREEN
    assert any("`e2e`" in note and "skipped" in note for note in verdict.notes)


def test_a_skipped_required_check_alone_proves_nothing():
    assert settled(seen(check("e2e", "skipped"), required=(Required("e2e"),))).outcome is PERSON


def test_where_required_checks_are_known_green_needs_no_second_look():
    verdict, again = look(seen(check("test"), check("docs"), required=(Required("test"),)), at=1)

    assert (verdict.outcome, again) == (GREEN, None)
    assert [(result.name, result.required) for result in verdict.results] == [("docs", False), ("test", True)]


@pytest.mark.parametrize(
    ("other", "outcome"),
    [
        (check("docs", "failure"), RED),
        (check("docs", status="queued"), PENDING),
        (check("docs", "action_required"), PERSON),
        (check("docs", "cancelled"), INTERRUPTED),
    ],
)
def test_what_is_not_required_blocks_all_the_same(other, outcome):
    assert look(seen(check("test"), other, required=(Required("test"),)))[0].outcome is outcome


def test_a_missing_required_check_is_awaited_then_named():
    observation = seen(check("docs"), required=(Required("test"),))

    first, again = look(observation)
    last, never = look(observation, at=100 + RULES.timeout, previous=first)

    assert (first.outcome, again, first.green_since) == (PENDING, RULES.poll, None)
    assert (last.outcome, never) == (TIMED_OUT, None)
    assert "`test`" in last.reason
    assert "60 minutes" in last.reason


@pytest.mark.parametrize(("app", "outcome"), [(0, PENDING), (OTHER, PENDING), (ACTIONS, GREEN)])
@pytest.mark.parametrize(
    "report", [lambda app: check("test", app=app), lambda app: status("test", app_id=app)]
)
def test_what_is_required_of_one_app_is_not_satisfied_by_another(report, app, outcome):
    assert look(seen(report(app), required=(Required("test", ACTIONS),)))[0].outcome is outcome


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (status("test"), " (it is there as a commit status, whose App GitHub does not tell)"),
        (status("test", app_id=OTHER), " (it is there from another App)"),
        (check("test", app=OTHER), " (it is there from another App)"),
        (run("test", "success"), ""),
    ],
)
def test_what_is_there_instead_of_a_required_check_is_told_when_the_time_is_over(other, told):
    observation = seen(check("docs"), other, required=(Required("test", ACTIONS),))
    first, _ = look(observation)
    last, _ = look(observation, at=100 + RULES.timeout, previous=first)

    assert f"`test` of App {ACTIONS}{told}." in last.reason
    assert last.reason.endswith('To go on without, reply `/skip-checks "test" why this is fine`.')


@pytest.mark.parametrize("state", ["success", "failure", "pending"])
def test_a_release_by_name_ends_the_wait_for_a_pinned_check_that_is_a_status(state):
    observation = seen(check("docs"), status("test", state), required=(Required("test", ACTIONS),))

    assert settled(observation, released=frozenset({"test"})).outcome is GREEN


def test_a_check_and_a_status_of_a_required_name_must_both_be_green():
    assert look(seen(check("t"), status("t", "pending"), required=(Required("t"),)))[0].outcome is PENDING


def test_a_workflow_run_of_that_name_does_not_satisfy_a_required_check():
    observation = seen(check("docs"), run("test", "success", suite=8), required=(Required("test"),))

    assert look(observation)[0].outcome is PENDING


def test_a_required_check_of_our_own_app_is_not_waited_for():
    verdict = settled(seen(check("test"), required=(Required("gate", OWN),)))

    assert verdict.outcome is GREEN
    assert any("`gate`" in note for note in verdict.notes)


# What counts at all.

TURNS = [("failure", "success", GREEN), ("success", "failure", RED)]


@pytest.mark.parametrize(
    "own", [check("gate", app=OWN), check("gate", "failure", app=OWN), status("gate", "failure", app_id=OWN)]
)
def test_what_our_own_app_reported_is_no_result(own):
    verdict, _ = look(seen(own))

    assert (verdict.outcome, verdict.results) == (NONE, ())


@pytest.mark.parametrize(("old", "new", "outcome"), TURNS)
def test_the_newest_of_a_check_counts_in_whatever_order_it_is_listed(old, new, outcome):
    first, second = check("test", old), check("test", new)

    assert settled(seen(second, first)).outcome is outcome
    assert settled(seen(first, second)).outcome is outcome


def test_a_rerun_that_has_not_started_replaces_the_old_result():
    old, queued = check("test", started_at="2026-01-05T12:00:00Z"), check("test", status="queued")

    assert settled(seen(check("lint"), queued, old)).outcome is PENDING


@pytest.mark.parametrize(("old", "new", "outcome"), TURNS)
def test_the_newest_status_of_a_context_counts(old, new, outcome):
    first, second = status("ci", old), status("ci", new)

    assert settled(seen(second, first)).outcome is outcome


@pytest.mark.parametrize("apart", [{"app": OTHER}, {"suite": 2}])
def test_same_named_checks_of_two_apps_or_suites_both_count(apart):
    assert settled(seen(check("test", "failure", **apart), check("test"))).outcome is RED


def test_a_check_of_a_replaced_run_is_replaced_across_suites():
    runs = run(conclusion="failure", suite=1), run(conclusion="success", suite=2)

    assert settled(seen(*runs, check("t", "failure", suite=1), check("t", suite=2))).outcome is GREEN


def test_runs_for_two_events_are_two_runs():
    runs = run(conclusion="failure", suite=1), run(conclusion="success", suite=2, event="pull_request")

    assert settled(seen(*runs, check("t", "failure", suite=1), check("t", suite=2))).outcome is RED


def test_a_later_run_that_skipped_a_job_does_not_hide_its_failure():
    """A label on the PR starts the workflow again, and its jobs are skipped there."""
    runs = run(conclusion="failure", suite=1), run(conclusion="success", suite=2)
    jobs = check("t", "failure", suite=1), check("t", "skipped", suite=2), check("label", suite=2)

    assert settled(seen(*runs, *jobs)).outcome is RED


def test_a_later_run_that_was_skipped_does_not_hide_a_failed_start():
    runs = run(conclusion="startup_failure", suite=1), run(conclusion="skipped", suite=2)

    assert settled(seen(check("t", suite=3), *runs)).outcome is RED


def test_a_failed_job_that_a_later_run_does_not_have_stays_red():
    runs = run(conclusion="failure", suite=1), run(conclusion="success", suite=2)

    assert settled(seen(*runs, check("t", "failure", suite=1), check("u", suite=2))).outcome is RED


def test_an_older_run_that_runs_again_is_waited_for():
    runs = run(run_attempt=2, suite=1), run(conclusion="success", suite=2)

    assert settled(seen(*runs, check("t", suite=1), check("t", suite=2))).outcome is PENDING


def test_a_rerun_that_skips_a_job_replaces_its_failure():
    jobs = check("a"), check("on-failure", "failure"), check("on-failure", "skipped")

    assert settled(seen(run(conclusion="success", run_attempt=2), *jobs)).outcome is GREEN


# Workflow runs beside their checks.


def test_the_highest_attempt_of_a_run_counts():
    attempts = run(id=900, conclusion="failure"), run(id=900, conclusion="success", run_attempt=2)

    assert settled(seen(check("t"), *attempts)).outcome is GREEN
    assert settled(seen(check("t"), *reversed(attempts))).outcome is GREEN


@pytest.mark.parametrize("word", ["queued", "in_progress"])
def test_a_run_whose_checks_are_not_yet_listed_is_pending(word):
    verdict = settled(seen(status("docs"), run(status=word, suite=9)))

    assert verdict.outcome is PENDING
    assert "`CI`" in verdict.reason


def test_a_run_between_two_jobs_is_pending():
    assert settled(seen(run(), check("build"))).outcome is PENDING


def test_a_rerun_is_pending_though_the_old_checks_are_green():
    assert settled(seen(run(run_attempt=2, status="queued"), check("t"))).outcome is PENDING


def test_a_rerun_is_pending_though_the_old_checks_are_red():
    old = check("t", "failure", started_at="2026-01-05T12:00:00Z")
    again = run(run_attempt=2, started_at="2026-01-05T12:30:00Z")

    assert settled(seen(again, old)).outcome is PENDING


def rerun_asked(*runs, at=100.0):
    """The verdict that was stored when these attempts were asked to run again."""
    return Verdict(SHA, PENDING, "", waiting_since=after(at), rerun=tuple(one.key for one in runs))


def test_red_results_of_a_run_that_was_asked_to_run_again_are_pending_until_the_timeout():
    """GitHub takes a while to show the new attempt."""
    first = run(conclusion="failure")
    observation = seen(first, check("t", "failure"), check("u"))
    verdict, again = look(observation, at=200, previous=rerun_asked(first))
    cut, _ = look(seen(complete=False), at=210, previous=verdict)
    late, _ = look(observation, at=99 + RULES.timeout, previous=cut)
    given_up, _ = look(observation, at=100 + RULES.timeout, previous=late)

    assert (verdict.outcome, again, verdict.rerun) == (PENDING, RULES.poll, (first.key,))
    assert (late.outcome, given_up.outcome, given_up.rerun) == (PENDING, RED, ())


def test_the_newer_attempt_of_a_run_that_was_asked_to_run_again_counts():
    first = run(id=900, conclusion="failure")
    second = run(id=900, conclusion="failure", run_attempt=2)
    verdict, _ = look(seen(first, second, check("t", "failure")), previous=rerun_asked(first))

    assert (verdict.outcome, verdict.rerun) == (RED, ())


def test_a_run_that_was_asked_to_run_again_excuses_no_other_run():
    first, other = run(conclusion="failure"), run("Lint", "failure", workflow=6, suite=2)
    verdict, _ = look(seen(first, other, check("t", "failure")), previous=rerun_asked(first))

    assert [(one.name, one.outcome) for one in verdict.results] == [("Lint", RED), ("t", PENDING)]


def test_a_red_check_of_a_running_rerun_is_red():
    new = check("t", "failure", started_at="2026-01-05T12:31:00Z")
    again = run(run_attempt=2, started_at="2026-01-05T12:30:00Z")

    assert look(seen(again, new))[0].outcome is RED


def test_checks_of_a_run_that_a_running_one_replaces_are_pending():
    runs = run(conclusion="cancelled", suite=1), run(suite=2)

    assert settled(seen(*runs, check("t", "cancelled", suite=1))).outcome is PENDING


def test_a_run_adds_nothing_to_checks_that_say_the_same():
    verdict, _ = look(seen(run(conclusion="failure"), check("t", "failure"), check("u")))

    assert [result.name for result in verdict.results] == ["t", "u"]


def test_a_red_run_with_only_green_checks_is_red():
    assert settled(seen(run(conclusion="failure"), check("t"))).outcome is RED


@pytest.mark.parametrize(("word", "outcome"), [("startup_failure", RED), ("action_required", PERSON)])
def test_a_run_that_never_made_a_check_speaks_for_itself(word, outcome):
    verdict, _ = look(seen(run(conclusion=word, suite=9)))

    assert (verdict.outcome, verdict.url) == (outcome, "https://ci.test/CI")


# No results.


@pytest.mark.parametrize(("when_none", "outcome"), [("ask", NONE), ("allow", GREEN), ("anything else", NONE)])
def test_no_results_are_never_silently_green(when_none, outcome):
    early, again = look(seen(), at=20, when_none=when_none)
    late, never = look(seen(), at=60, previous=early, when_none=when_none)

    assert (early.outcome, again) == (PENDING, 40)
    assert (late.outcome, never) == (outcome, None)
    assert any("when_none" in note for note in late.notes) == (outcome is GREEN)


def test_the_wait_for_a_first_result_starts_when_the_pr_is_opened():
    assert look(seen(pr_opened_at=after(500)), at=540) == (look(seen(pr_opened_at=after(500)), at=540)[0], 20)


@pytest.mark.parametrize("expected", [{"has_workflows": True}, {"required": (Required("test"),)}])
def test_where_results_must_come_no_results_wait_for_the_timeout(expected):
    first, again = look(seen(**expected), at=60)
    last, never = look(seen(**expected), at=60 + RULES.timeout, previous=first)

    assert (first.outcome, again) == (PENDING, RULES.poll)
    assert (last.outcome, never) == (NONE, None)
    assert ("`test`" in last.reason) == ("required" in expected)


def test_an_answer_that_nothing_came_stays_when_asked_again():
    observation = seen(has_workflows=True)
    first, _ = look(observation, at=60)
    given_up, _ = look(observation, at=60 + RULES.timeout, previous=first)

    assert look(observation, at=9_000, previous=given_up)[0].outcome is NONE


def test_results_that_vanish_are_waited_for_again():
    was_green = settled(seen(check("t"), has_workflows=True))

    assert look(seen(has_workflows=True), at=200, previous=was_green, when_none="allow")[0].outcome is PENDING


@pytest.mark.parametrize("draft", [True, False])
def test_for_a_draft_that_starts_no_workflow_it_is_told_what_helps(draft):
    observation = seen(has_workflows=True, draft=draft)
    first, _ = look(observation, at=60)

    last, _ = look(observation, at=9_000, previous=first)

    assert ("press **Ready for review** there and reply `/resume`. " in last.reason) is draft


@pytest.mark.parametrize("workflows", [True, False])
def test_a_conflict_explains_that_nothing_started(workflows):
    verdict, again = look(seen(mergeable=False, has_workflows=workflows), at=60)

    assert (verdict.outcome, again) == (CONFLICT, RULES.poll)


def test_a_conflict_is_not_said_before_ci_could_start():
    assert look(seen(mergeable=False), at=59)[0].outcome is PENDING


def test_a_conflict_beside_results_is_only_noted():
    verdict = settled(seen(check("t"), mergeable=False))

    assert verdict.outcome is GREEN
    assert any("conflict" in note for note in verdict.notes)


# Settling.


def test_the_same_green_set_must_be_seen_twice_the_settle_time_apart():
    observation = seen(check("t"))
    first, wait = look(observation, at=100)
    second, rest = look(observation, at=110, previous=first)
    third, never = look(observation, at=130, previous=second)

    assert (first.outcome, wait, first.green_since) == (PENDING, 30, after(100))
    assert (second.outcome, rest, second.green_since) == (PENDING, 20, after(100))
    assert (third.outcome, never) == (GREEN, None)


def test_one_look_is_not_two_even_without_a_settle_time():
    observation = seen(check("t"))
    first, wait = look(observation, settle=0)

    assert (first.outcome, wait) == (PENDING, 0)
    assert look(observation, previous=first, settle=0)[0].outcome is GREEN


@pytest.mark.parametrize(
    "late", [check("u"), check("t"), status("ci"), run(conclusion="success", suite=None, workflow=6)]
)
def test_a_late_result_starts_the_settle_time_anew(late):
    first, _ = look(seen(check("t", id=1)))
    verdict, wait = look(seen(check("t", id=1), late), at=200, previous=first)

    assert (verdict.outcome, wait, verdict.green_since) == (PENDING, 30, after(200))


def test_a_new_attempt_starts_the_settle_time_anew():
    first, _ = look(seen(check("t", id=1), run(id=2, conclusion="success")))
    again = seen(check("t", id=1), run(id=2, conclusion="success", run_attempt=2))

    assert look(again, at=200, previous=first)[0].outcome is PENDING


@pytest.mark.parametrize(("opened", "outcome"), [(110, PENDING), (100, GREEN)])
def test_the_settle_time_starts_no_earlier_than_the_pr(opened, outcome):
    observation = seen(check("t"), pr_opened_at=after(opened))
    first, _ = look(observation, at=90)

    assert look(observation, at=130, previous=first)[0].outcome is outcome


def test_without_a_pr_the_settle_time_starts_with_the_push():
    observation = seen(check("t"), pr_opened_at=None, pushed_at=after(100))
    first, wait = look(observation, at=90)

    assert (first.outcome, wait) == (PENDING, 40)
    assert look(observation, at=130, previous=first)[0].outcome is GREEN


def test_a_partial_answer_neither_counts_as_a_look_nor_undoes_one():
    partial, _ = look(seen(check("t", id=1), complete=False))
    whole, _ = look(seen(check("t", id=1)), at=200, previous=partial)
    cut, _ = look(seen(complete=False), at=210, previous=whole)

    assert (partial.green_since, whole.outcome) == (None, PENDING)
    assert look(seen(check("t", id=1)), at=230, previous=cut)[0].outcome is GREEN


def test_a_green_look_at_another_commit_is_no_look_at_this_one():
    first, _ = look(seen(check("t", id=1)))
    other = "7" * 40

    assert look(seen(check("t", id=1), sha=other, head=other), at=500, previous=first)[0].outcome is PENDING


def test_a_rerun_opens_a_green_verdict_again():
    was_green = settled(seen(check("t")))
    verdict, _ = look(seen(check("t"), check("t", status="queued")), at=9_000, previous=was_green)

    assert (verdict.outcome, verdict.waiting_since) == (PENDING, after(9_000))


# The clock.


def test_the_clock_goes_on_from_look_to_look_and_ends_in_a_timeout():
    observation = seen(check("slow", status="in_progress"))
    first, again = look(observation, at=0)
    second, _ = look(observation, at=3_599, previous=first)
    third, never = look(observation, at=3_600, previous=second)

    assert (first.outcome, again, second.waiting_since) == (PENDING, RULES.poll, START)
    assert (third.outcome, never, third.url) == (TIMED_OUT, None, "https://ci.test/slow")
    assert "`slow`" in third.reason


def test_the_clock_starts_anew_for_another_commit():
    first, _ = look(seen(check("t", status="queued")), at=0)
    other = "7" * 40
    verdict, _ = look(seen(check("t", status="queued"), sha=other, head=other), at=9_000, previous=first)

    assert (verdict.outcome, verdict.waiting_since) == (PENDING, after(9_000))


@pytest.mark.parametrize("word", ["action_required", "failure", "cancelled"])
def test_the_clock_stands_still_while_a_person_must_act_and_then_starts_anew(word):
    first, _ = look(seen(check("t", status="queued")), at=0)
    stopped, _ = look(seen(check("t", word)), at=10, previous=first)
    going, _ = look(seen(check("t", status="queued")), at=9_000, previous=stopped)

    assert stopped.waiting_since is None
    assert (going.outcome, going.waiting_since) == (PENDING, after(9_000))


def test_a_partial_answer_does_not_start_a_clock_that_stands_still():
    stopped, _ = look(seen(check("t", "action_required")), at=0)
    cut, _ = look(seen(complete=False), at=10, previous=stopped)

    assert look(seen(check("t", status="queued")), at=9_000, previous=cut)[0].outcome is PENDING


def test_a_timeout_stays_one_until_ci_has_answered():
    timed_out = look(seen(check("t", status="queued")), at=9_000, previous=look(seen(), at=0)[0])[0]

    assert look(seen(check("t", status="queued")), at=9_900, previous=timed_out)[0].outcome is TIMED_OUT
    assert look(seen(check("t", "failure")), at=9_900, previous=timed_out)[0].outcome is RED


def test_times_of_the_future_are_set_to_now():
    first, _ = look(seen(check("t", id=1)), at=9_999)
    verdict, wait = look(seen(check("t", id=1)), at=100, previous=first)

    assert (verdict.waiting_since, verdict.green_since, wait) == (after(100), after(100), 30)


# Releases and the base.


@pytest.mark.parametrize("gone", [check("lint", "failure"), status("lint", "error"), run("lint", "failure")])
def test_a_released_result_is_ignored_but_noted(gone):
    verdict = settled(seen(gone, check("t", suite=4)), released=frozenset({"lint"}))

    assert verdict.outcome is GREEN
    assert [result.name for result in verdict.results] == ["t"]
    assert any("`lint`" in note for note in verdict.notes)


def test_a_release_is_for_that_name_only():
    assert settled(seen(check("lint2", "failure")), released=frozenset({"lint"})).outcome is RED


def test_a_run_that_is_red_only_by_a_released_check_is_excused():
    observation = seen(run(conclusion="failure"), check("lint", "failure"), check("t"))

    assert settled(observation, released=frozenset({"lint"})).outcome is GREEN


def test_a_running_run_is_not_excused_by_a_released_check_that_runs():
    observation = seen(run(), check("lint", status="in_progress"), check("t"))

    assert settled(observation, released=frozenset({"lint"})).outcome is PENDING


def test_a_released_required_check_is_not_waited_for():
    observation = seen(check("t"), required=(Required("e2e"),))

    assert settled(observation, released=frozenset({"e2e"})).outcome is GREEN


@pytest.mark.parametrize("word", ["success", "failure"])
@pytest.mark.parametrize("expected", [{}, {"has_workflows": True}, {"required": (Required("test"),)}])
def test_a_released_result_alone_is_no_more_than_no_result(word, expected):
    """The other checks may only be late."""
    released = frozenset({"lint"})
    observation = seen(check("lint", word), **expected)
    first, again = look(observation, at=20, released=released)
    second, _ = look(observation, at=60, previous=first, released=released)
    last, never = look(observation, at=60 + RULES.timeout, previous=second, released=released)

    assert (first.outcome, again) == (PENDING, 40)
    assert second.outcome is (PENDING if expected else NONE)
    assert (last.outcome, never) == (NONE, None)
    assert "No check but those a person released has reported on 5555555." in last.reason
    assert any("`lint`" in note for note in last.notes)


def test_a_released_result_alone_is_green_where_the_policy_takes_no_result_for_green():
    assert (
        look(seen(check("lint", "failure")), released=frozenset({"lint"}), when_none="allow")[0].outcome
        is GREEN
    )


@pytest.mark.parametrize("foreign", [check("t", sha="6" * 40), run(conclusion="success", sha="6" * 40)])
def test_what_is_said_of_another_commit_is_no_result(foreign):
    verdict, _ = look(seen(foreign))

    assert (verdict.outcome, verdict.results) == (NONE, ())


def test_red_on_the_base_too_still_blocks_and_names_the_way_out():
    verdict, _ = look(seen(check("lint", "failure"), check("t"), base_red=frozenset({"lint", "t"})))

    assert verdict.outcome is RED
    assert '`/skip-checks "lint" why this is fine`' in verdict.reason
    assert '/skip-checks "t"' not in verdict.reason


@pytest.mark.parametrize(
    "name", ["t", "build / test (3.11, ubuntu)", "n" * 255, "größe ✓ it's #1 (@acme/web)"]
)
def test_a_line_that_is_offered_releases_the_check_it_names(name):
    """However long the name is, and as it is said in public."""
    verdict, _ = look(seen(check(name, "failure"), base_red=frozenset({name})))
    line = re.search(r"`(/skip-checks .*?)`", inert(verdict.reason))

    assert line
    command = commands.parse(line[1])
    assert command
    assert (command.check, command.reason) == (name, "why this is fine")


@pytest.mark.parametrize("name", ['say "hi"', "a`b", "two  spaces", " edge", "“x”", "line\nbreak", "<!-- x"])
def test_no_line_is_offered_that_cannot_hold_the_name(name):
    verdict, _ = look(seen(check(name, "failure"), base_red=frozenset({name})))

    assert "Red on the base too" in verdict.reason
    assert "/skip-checks" not in verdict.reason


# What is shown.


def test_every_counted_result_is_listed_with_its_own_outcome():
    verdict, _ = look(seen(check("b", "failure", id=7, title="2 failed", summary="x"), status("a", id=8)))

    assert verdict.results == (
        Result("a", GREEN, "success", "https://ci.test/a", key="status:8"),
        Result("b", RED, "failure", "https://ci.test/b", "2 failed\nx", key="check:7"),
    )
