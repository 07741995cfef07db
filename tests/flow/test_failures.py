"""What goes wrong, over HTTP: it is answered, healed by waiting, or paused with advice; nothing is lost."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from bot import store
from bot.advice import History, advise
from bot.errors import FailureKind
from tests.world import (
    World,
    create,
    finding,
    finish,
    part,
    phase,
    plan,
    planning,
    repairing,
    scenario,
    small,
    verification,
    verifying,
    writing,
)

NewWorld = Callable[..., World]

GOOD = {"use": [*part(1), finish(1)]}
POLICY = ".github/phasegate.yml"


def submits(*phases: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the planner's turn that submits a plan of these phases."""
    return {"use": [{"submit_plan": plan(*phases, **changes)}]}


def whole(**changes: Any) -> dict[str, Any]:
    """Return the one phase of a small plan."""
    return phase(1, serves=["R1", "R2"], **changes)


def request(path: str) -> dict[str, Any]:
    """Return the call that asks for a further path."""
    return {"request_scope": {"path": path, "reason": "It must be told there."}}


def edit(path: str, old: str, new: str) -> dict[str, Any]:
    """Return an `edit_file` call."""
    return {"edit_file": {"path": path, "old_str": old, "new_str": new}}


@contextmanager
def building(new_world: NewWorld, *conversations: dict[str, Any], **options: Any) -> Iterator[World]:
    """Run the small story with some conversations of its own; CI speaks only when a test lets it."""
    world = new_world(small(*conversations), **{"checks": "", **options})
    with world.running():
        world.labels()
        yield world


@contextmanager
def paused(new_world: NewWorld, *conversations: dict[str, Any], **options: Any) -> Iterator[World]:
    """Run the small story, its plan approved, until it pauses."""
    with building(new_world, *conversations, **options) as world:
        world.until("awaiting_approval")
        world.says("/approve-plan")
        world.until("paused")
        yield world


@contextmanager
def pushed(new_world: NewWorld, *conversations: dict[str, Any], **options: Any) -> Iterator[World]:
    """Run the small story, its plan approved, until its commit waits for checks."""
    with building(new_world, *conversations, **options) as world:
        world.until("awaiting_approval")
        world.says("/approve-plan")
        world.until("awaiting_checks")
        yield world


def finishes(world: World) -> dict[str, Any]:
    """Approve the plan that waits, have CI report on its one commit, and return the record of the done build."""
    world.says("/approve-plan")
    world.until("awaiting_checks")
    world.reports()
    return world.until("done")


# Planning


def test_a_plan_that_cannot_be_built_goes_back_with_the_reasons_until_it_can(new_world):
    unserved, foreign = submits(phase(1)), submits(whole(deliverables=["README.md: told"]))
    with building(new_world, planning(unserved, foreign, submits(whole()))) as world:
        world.until("awaiting_approval")

    first, second = world.told("plan")
    assert "No phase serves requirement R2." in first
    assert "Phase 1: deliverable README.md lies outside its allowed paths." in second


def test_a_third_plan_that_cannot_be_built_pauses_with_the_reasons_and_resume_plans_again(new_world):
    with building(new_world, planning(*[submits(phase(1))] * 3)) as world:
        world.until("paused")
        assert world.comments[-1].startswith("**Paused at planning: the plan could not be used.**")
        assert "No phase serves requirement R2." in world.comments[-1]
        assert "`/resume`" in world.comments[-1]
        world.model.load(small())
        world.answers("/resume")
        assert world.until("awaiting_approval")["plan"]["version"] == 1
        record = finishes(world)
    assert [(a["outcome"], a["failure"]) for a in record["attempts"][:2]] == [
        ("failed", "bad_plan"),
        ("done", None),
    ]


def test_a_plan_that_would_touch_a_protected_path_goes_back(new_world):
    reaching = submits(whole(allowed_paths=["tally/part1.py", "tests/test_part1.py", ".github/**"]))
    with building(new_world, planning(reaching, submits(whole()))) as world:
        world.until("awaiting_approval")
    assert "'.github/**' lies in a protected place" in world.told("plan")[0]


def test_a_policy_that_cannot_be_read_is_answered_with_line_and_reason_and_nothing_runs(new_world):
    with building(new_world, files={POLICY: "draft: true\nline_cap: many\n"}) as world:
        world.until("paused")
        assert f"`{POLICY}` line 2: `line_cap` must be a whole number" in world.comments[-1]
        assert (world.model.requests, world.record["plan"]) == ([], None)

        mended = world.hub.push_commit(world.repository, "main", {POLICY: "line_cap: 300\n"}, "Mend", "maria")
        world.answers("/resume")
        assert world.until("awaiting_approval")["base"] == mended
        assert finishes(world)["attempts"][0]["failure"] == "bad_policy"


# What may be written


def test_a_write_outside_the_allowed_paths_is_refused_and_never_reaches_the_branch(new_world):
    stray = {"use": [create("tally/stray.py", "x = 1\n"), {"delete_file": {"path": "README.md"}}]}
    with pushed(new_world, writing(1, 1, stray, GOOD)) as world:
        assert all("is outside this phase" in answer for answer in world.told("phase 1"))
        files = world.hub.files(world.repository, world.head)
    assert "tally/stray.py" not in files
    assert "README.md" in files


def test_a_path_of_a_later_phase_is_refused_with_its_owner(new_world):
    world = new_world(scenario(writing(1, 2, {"use": [create("tally/part2.py", "")]}, GOOD)), checks="")
    with world.running():
        world.approves()
        world.until("awaiting_checks")
    assert world.told("phase 1")[0].startswith("`tally/part2.py` belongs to phase 2")


def test_what_the_tools_let_through_is_held_back_before_the_commit(new_world):
    """The contract is narrowed behind the attempt's back, after its work was accepted."""
    with building(new_world) as world:
        world.until("awaiting_approval")
        world.hub.faults.retry_after("/git/trees", 3, method="POST")
        world.says("/approve-plan")
        world.wait(lambda: _moved(world, "attempt_waits"), "a wait for GitHub")
        _narrow(world, "tests/test_part1.py")
        world.until("paused")

        assert "The change touches tally/part1.py." in world.comments[-1]
        assert world.head == ""


def _moved(world: World, trigger: str) -> bool:
    return trigger in [move["trigger"] for move in world.record["moves"]]


def _narrow(world: World, *paths: str) -> None:
    assert world.bot is not None
    with world.bot.parts.database.transaction() as db:
        version = store.plan(db, 1)
        assert version is not None
        told = json.loads(version.plan)
        told["phases"][0]["allowed_paths"] = paths
        version.plan = json.dumps(told)


def test_a_protected_path_is_refused_even_where_the_pattern_is_broad(new_world):
    broad = planning(submits(whole(allowed_paths=["**"])))
    protected = {"use": [create(".github/workflows/ci.yml", "on: push\n"), *part(1)]}
    with pushed(new_world, broad, writing(1, 1, protected, {"use": [finish(1)]})) as world:
        assert world.told("phase 1")[0].startswith("`.github/workflows/ci.yml` is protected")
        assert ".github/workflows/ci.yml" not in world.hub.files(world.repository, world.head)


def test_an_edit_that_does_not_match_is_answered_with_the_nearest_lines(new_world):
    allowing = planning(submits(whole(allowed_paths=["tally/*.py", "tests/test_part1.py"])))
    wrong = {"use": [edit("tally/counter.py", "    return size(items)", "")]}
    right = {"use": [edit("tally/counter.py", "return len(items)", "return len(list(items))"), *GOOD["use"]]}
    with pushed(new_world, allowing, writing(1, 1, wrong, right)) as world:
        text = world.hub.file(world.repository, world.head, "tally/counter.py")

    assert "The nearest lines are:" in world.told("phase 1")[0]
    assert "2\t    return len(items)" in world.told("phase 1")[0]
    assert text == "def count(items):\n    return len(list(items))\n"


def test_a_further_path_that_nobody_owns_is_granted_and_told_in_the_commit(new_world):
    asks = {"use": [request("README.md"), edit("README.md", "Tally", "Tally 2"), *GOOD["use"]]}
    with pushed(new_world, writing(1, 1, asks)) as world:
        (commit,) = world.branch()
        assert world.hub.file(world.repository, world.head, "README.md") == "# Tally 2\n"
    assert "Scope grown by: README.md" in commit.message


def test_a_further_path_cannot_make_the_commit_skip_ci_close_an_issue_or_call_anybody(new_world):
    path = "docs/fixes #7 [skip ci] @maria.md"
    asks = {"use": [request(path), create(path, "Hello.\n"), *GOOD["use"]]}
    with pushed(new_world, writing(1, 1, asks)) as world:
        (commit,) = world.branch()
        assert world.hub.file(world.repository, world.head, path) == "Hello.\n"
    assert "Scope grown by: docs/fixes issue 7 (skip ci) (at)maria.md\n" in commit.message
    assert not set(re.findall(r"#7|\[skip ci\]|@maria", commit.message))


def test_a_path_granted_once_stays_granted_when_the_phase_is_resumed(new_world):
    blocked = {"report_blocked": {"reason": "Unsure."}}
    asks = {"use": [request("README.md"), edit("README.md", "Tally", "Tally 2"), blocked]}
    with paused(new_world, writing(1, 1, asks)) as world:
        world.model.load(small())
        world.answers("/resume")
        world.until("awaiting_checks")
        assert world.hub.file(world.repository, world.head, "README.md") == "# Tally 2\n"
        assert "Scope grown by: README.md" in world.branch()[0].message


def test_a_further_path_that_is_refused_pauses_and_is_opened_by_a_persons_word(new_world):
    world = new_world(scenario(writing(1, 2, {"use": [request("tally/part2.py")]})), checks="")
    with world.running():
        world.approves()
        world.until("paused")
        assert "It asks for `tally/part2.py`: It must be told there." in world.comments[-1]
        assert "- `/allow tally/part2.py` – " in world.comments[-1]

        world.model.load(
            scenario(writing(1, 2, {"use": [create("tally/part2.py", "part2 = 2\n"), *GOOD["use"]]}))
        )
        world.answers("/allow tally/part2.py")
        world.until("awaiting_checks")
        assert world.hub.file(world.repository, world.head, "tally/part2.py") == "part2 = 2\n"


# Finishing


LONG = "".join(f"line{n} = {n}\n" for n in range(401))
TEST = "tests/test_counter.py"


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([finish(1)], "Nothing was changed"),
        ([part(1)[0], finish(1)], "The plan promises tests for this phase"),
        ([*part(1), create("tally/long.py", LONG), finish(1)], "the phase may have 400"),
        ([*part(1), edit(TEST, "    assert count([1]) == 1\n", "    count([1])\n"), finish(1)], TEST),
        (
            [*part(1), finish(1, commit_subject="Add part 1")],
            "The commit subject must be `type(scope): what`",
        ),
        ([*part(1), create("tally/key.py", f'KEY = "ghp_{"a1B2" * 9}"\n'), finish(1)], "a GitHub token"),
    ],
    ids=["nothing changed", "no tests", "too many lines", "a weakened test", "a bad subject", "a secret"],
)
def test_a_phase_cannot_finish_while_something_is_wrong(new_world, calls, reason):
    allowing = planning(submits(whole(allowed_paths=["tally/**", "tests/**"])))
    gives_up = {"use": [{"report_blocked": {"reason": "I give up."}}]}
    with paused(new_world, allowing, writing(1, 1, {"use": calls}, gives_up)) as world:
        answer = world.told("phase 1")[-1]
        assert world.head == ""
    assert answer.startswith("Not accepted yet:\n- ")
    assert reason in answer


# The model's service


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "rate_limited", "retry_after": 1.0},
        {"kind": "overloaded", "retry_after": 1.0},
        {"kind": "timeout", "retry_after": 1.0},
        {"kind": "overloaded_in_stream"},
        {"kind": "cut"},
        {"kind": "end_early"},
        {"kind": "html"},
        {"kind": "bad_json"},
    ],
    ids=lambda fault: fault["kind"],
)
def test_what_heals_by_waiting_goes_on_by_itself_from_the_journal(new_world, fault):
    looks = {"use": [{"list_files": {"pattern": ""}}]}
    with building(new_world, planning(looks, {**submits(whole()), "faults": [fault]})) as world:
        record = world.until("awaiting_approval", "paused")

    assert [r.outcome for r in world.model.requests] == ["replied", fault["kind"], "replied"]
    assert [(a["outcome"], a["turns"]) for a in record["attempts"]] == [("done", 2)]
    assert "attempt_waits" in [move["trigger"] for move in record["moves"]]
    assert len(world.comments) == 1


# Each kind: its cause, its comment, and the command that gets the build to done

LOOKS = {"use": [{"list_files": {"pattern": ""}}]}
SONNET, OPUS, HAIKU = "claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5"
WIDE = planning(submits(whole(allowed_paths=["tally/**", "tests/**"])))
WEAKENS = edit("tests/test_counter.py", "    assert count([1]) == 1\n", "    count([1])\n")
DENIES = {"message": "Resource not accessible by integration"}


@dataclass(frozen=True)
class Failure:
    """A phase that fails: what the model does or meets, what is said, and the reply that mends it."""

    name: str
    kind: str
    turns: tuple[dict[str, Any], ...]
    detail: str
    command: str
    conversations: tuple[dict[str, Any], ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    refused: str = ""
    """A path of GitHub's whose next POST is answered 403."""

    def __str__(self) -> str:
        return self.name


def meets(fault: str, kind: str, detail: str, command: str = "/resume", **fields: Any) -> Failure:
    """Return the failure of a phase whose only call meets a fault of the model's service."""
    turn = {**GOOD, "faults": [{"kind": fault, **fields}]}
    return Failure(fault, kind, (turn,), detail, command)


LONG_WAIT = {"retry_after": 7200.0}
FAILURES = [
    meets("rate_limited", "rate_limited", "429 rate_limit_error", f"/resume model={OPUS}", **LONG_WAIT),
    meets("overloaded", "overloaded", "529 overloaded_error", f"/resume model={OPUS}", **LONG_WAIT),
    meets("timeout", "timeout", "504 timeout_error", **LONG_WAIT),
    meets("api_error", "connection", "500 api_error", **LONG_WAIT),
    meets("prompt_too_long", "context_overflow", "prompt is too long"),
    meets("request_too_large", "context_overflow", "413 request_too_large"),
    meets("context_window", "context_overflow", "The conversation outgrew the model's window."),
    meets("refusal", "refused", "The model refused to answer (cyber)", f"/resume model={OPUS}"),
    meets("auth", "auth", "401 authentication_error"),
    meets("permission", "auth", "403 permission_error"),
    meets("not_found", "auth", f"knows no model `{SONNET}`", f"/resume model={OPUS}"),
    meets("billing", "billing", "402 billing_error"),
    meets("credit", "billing", "Your credit balance is too low"),
    meets("spend_limit", "billing", "You will regain access on the first day of next month."),
    meets("thinking_bound", "bug", "bound to a different conversation", times=2),
    Failure(
        "out of turns",
        "out_of_turns",
        (LOOKS, GOOD),
        "It used all 1 turns.",
        f"/resume model={OPUS}",
        options={"max_turns": 1},
    ),
    Failure(
        "out of budget",
        "out_of_budget",
        (GOOD,),
        "are left of the phase's budget.",
        f"/resume model={HAIKU}",
        options={"planner_model": HAIKU, "verifier_model": HAIKU, "phase_budget_usd": 0.3},
    ),
    Failure(
        "out of a policy's budget",
        "out_of_budget",
        (GOOD,),
        "merged into `.github/phasegate.yml`, up to $3.00",
        f"/resume model={HAIKU}",
        options={
            "planner_model": HAIKU,
            "verifier_model": HAIKU,
            "files": {POLICY: "budgets:\n  phase_usd: 0.3\n"},
        },
    ),
    Failure(
        "no finish",
        "no_finish",
        ({"say": "I think I am done."},) * 3,
        "> I think I am done.",
        f"/resume model={OPUS}",
    ),
    Failure("stuck", "stuck", (LOOKS,) * 4, "It made the same call 4 times", f"/resume model={OPUS}"),
    Failure(
        "blocked",
        "blocked",
        ({"use": [{"report_blocked": {"reason": "The issue contradicts itself."}}]},),
        "> The issue contradicts itself.",
        "/resume",
    ),
    Failure(
        "scope",
        "scope",
        ({"use": [request("README.md")]},),
        "It asks for `README.md`: It must be told there.",
        "/allow README.md",
        options={"files": {POLICY: "scope:\n  grow: 0\n"}},
    ),
    Failure(
        "too large",
        "too_large",
        ({"use": [create("tally/long.py", LONG), *GOOD["use"]]}, *[{"use": [finish(1)]}] * 2),
        "> - The change has 408 lines and the phase may have 400",
        "/retry",
        (WIDE,),
    ),
    Failure(
        "tests weakened",
        "tests_weakened",
        ({"use": [WEAKENS, *GOOD["use"]]}, *[{"use": [finish(1)]}] * 2),
        "`tests/test_counter.py` lost 1 of 1 assertions: put them back.",
        "/retry",
        (WIDE,),
    ),
    Failure("denied", "denied", (GOOD,), f"> {DENIES['message']}", "/resume", refused="/git/trees"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_a_phase_that_failed_is_told_with_its_cause_and_mended_by_one_reply(new_world, failure):
    with building(
        new_world, *failure.conversations, writing(1, 1, *failure.turns), **failure.options
    ) as world:
        world.until("awaiting_approval")
        if failure.refused:
            world.hub.faults.fail(failure.refused, 403, method="POST", body=DENIES)
        world.says("/approve-plan")
        record = world.until("paused")
        happened = advise(FailureKind(failure.kind), History(model=SONNET), ()).happened
        assert world.comments[-1].startswith(f"**Paused at phase 1 of 1, “Part 1”: {happened}.**\n\n> ")
        assert failure.detail in world.comments[-1]
        assert f"- `{failure.command}` – " in world.comments[-1]
        assert (record["failure"], record["phases"][0]["state"]) == (failure.kind, "paused")

        world.model.load(small())
        assert world.answers(failure.command) == []
        world.until("awaiting_checks")
        world.reports()
        ended = world.until("done")

    first, second = ended["phases"][0]["attempts"]
    assert (first["outcome"], first["failure"], second["outcome"]) == ("failed", failure.kind, "done")
    assert first["cost_usd"] == record["phases"][0]["attempts"][0]["cost_usd"]


def test_every_kind_of_failure_has_its_story():
    """The last ones are told below, at the gate, and in the tests of the branch, of planning and of pauses."""
    elsewhere = {
        "bad_plan",
        "bad_policy",
        "checks_red",
        "checks_none",
        "checks_timeout",
        "conflict",
        "gaps",
        "stopped",
    }
    assert {failure.kind for failure in FAILURES} | elsewhere == {kind.value for kind in FailureKind}


# CI


def test_red_checks_pause_with_their_link_and_the_last_good_commit(new_world):
    mends = {"use": [edit("tally/part2.py", "return 2", "return 2  # sure"), finish(2)]}
    world = new_world(scenario(repairing(2, 2, mends)), checks="", files={POLICY: "repairs: 0\n"})
    with world.running():
        world.approves()
        world.until("awaiting_checks")
        good = world.reports()
        world.wait(lambda: len(world.branch()) == 2, "the second commit")
        world.until("awaiting_checks")
        world.reports("failure", details_url="https://ci.example/7")
        world.until("paused")
        comment = world.comments[-1]
        assert comment.startswith("**Paused at phase 2 of 2, “Part 2”: CI is red.**")
        assert "- tests: " in comment
        assert f"- Last good commit: [`{good[:7]}`]" in comment
        assert "- `/resume` – has the model repair it from the evidence" in comment

        world.answers("/resume")
        world.until("awaiting_checks")
        world.reports()
        world.until("done")
        assert world.branch()[0].sha == good


def test_a_branch_that_was_deleted_pauses_until_it_is_back(new_world):
    with pushed(new_world) as world:
        head, branch = world.head, world.record["branch"]
        world.hub.delete_branch(world.repository, branch, by="maria")
        world.until("paused")
        assert world.comments[-1].startswith(
            "**Paused at phase 1 of 1, “Part 1”: the branch moved without us.**"
        )
        assert f"> The branch `{branch}` was deleted." in world.comments[-1]

        world.hub.set_branch(world.repository, branch, head, by="maria")
        world.answers("/resume")
        world.until("awaiting_checks")
        world.reports()
        world.until("done")


def test_no_checks_at_all_are_never_silently_green(new_world):
    with paused(new_world, required=()) as world:
        assert "no check reported on the commit" in world.comments[-1]
        assert "`/skip-checks why this is fine`" in world.comments[-1]
        world.answers("/skip-checks There is no CI here.")
        world.until("done")


def test_no_checks_at_all_are_green_where_the_policy_says_so(new_world):
    allow = "checks:\n  when_none: allow\n"
    with building(new_world, required=(), files={POLICY: allow}) as world:
        world.until("awaiting_approval")
        world.says("/approve-plan")
        world.until("done")
    assert not world.hub.pulls(world.repository)[0].draft


def test_checks_that_do_not_end_in_time_pause_and_can_be_looked_at_again(new_world):
    with pushed(new_world, checks_timeout_minutes=0.08, checks_poll_seconds=0.3) as world:
        world.hub.report_check(world.repository, world.head, status="in_progress")
        world.until("paused")
        assert "Not finished within 0.08 minutes" in world.comments[-1]
        world.reports()
        world.answers("/resume")
        world.until("done")


def test_neutral_and_skipped_checks_beside_a_success_are_green(new_world):
    with pushed(new_world) as world:
        world.reports("neutral", name="lint")
        world.reports("skipped", name="docs")
        world.reports()
        world.until("done", "paused")
        assert world.state == "done"


def test_results_of_another_commit_are_ignored(new_world):
    with pushed(new_world) as world:
        world.reports("failure", sha=world.record["base"])
        world.settle()
        assert world.state == "awaiting_checks"
        world.reports()
        record = world.until("done")
    assert "checks_red" not in [move["trigger"] for move in record["moves"]]


def test_a_repository_without_drafts_gets_a_marked_title_until_the_build_is_done(new_world):
    with pushed(new_world, drafts_allowed=False) as world:
        (pull,) = world.hub.pulls(world.repository)
        assert (pull.title, pull.draft) == ("WIP: Cache the count", False)
        world.reports()
        world.until("done")
        assert pull.title == "Cache the count"


# Verification


def judges(*findings: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the verifier's turn with these findings and the criterion of part 1 met."""
    given = [*findings, finding("R1", 1, "Part 1 answers 1.")]
    return {"use": [{"submit_verification": verification(findings=given, **changes)}]}


def again(*findings: dict[str, Any]) -> dict[str, Any]:
    """Return the verifier's second conversation, after a follow-up phase."""
    told = [*findings, finding("R2", 2, "Part 2 answers 2.")]
    return {**verifying(judges(*told)), "name": "verify again", "when": {"says": 'phase number="2"'}}


MET, PARTLY = finding("R1", 1), finding("R2", 1, verdict="partly", note="It is not told anywhere.")


def test_an_unmet_requirement_pauses_with_follow_up_phases_that_a_person_may_approve(new_world):
    gap = verifying(judges(MET, PARTLY, follow_up_phases=[phase(2)]))
    closed = again(MET, finding("R2", 2))
    with pushed(new_world, closed, gap, writing(2, 2)) as world:
        world.reports()
        world.until("paused")
        assert "🟡" in world.comments[-1]
        assert "Phase 2: Part 2" in world.comments[-1]
        assert world.hub.pulls(world.repository)[0].draft

        world.answers("/approve-plan")
        world.wait(lambda: len(world.branch()) == 2, "the follow-up's commit")
        world.until("awaiting_checks")
        world.reports()
        assert world.until("done")["plan"]["version"] == 2
        assert not world.hub.pulls(world.repository)[0].draft


def test_follow_up_phases_wait_for_their_approval_whatever_else_is_said(new_world):
    gap = verifying(judges(MET, PARTLY, follow_up_phases=[phase(2)]))
    with pushed(new_world, gap) as world:
        world.reports()
        world.until("paused")
        (answer,) = world.answers("/resume")
        assert answer.startswith("`/resume` does not apply: the follow-up phases wait for `/approve-plan ")
        assert world.state == "paused"


def test_follow_up_phases_that_cannot_be_built_are_sent_back(new_world):
    reaching = judges(MET, PARTLY, follow_up_phases=[phase(2, allowed_paths=[".github/**"])])
    gap = verifying(reaching, judges(MET, PARTLY, follow_up_phases=[phase(2)]))
    with pushed(new_world, gap) as world:
        world.reports()
        world.until("paused")
    assert "lies in a protected place" in world.told("verify")[0]


def test_a_gap_without_follow_up_phases_can_be_checked_again(new_world):
    with pushed(new_world, verifying(judges(MET, PARTLY))) as world:
        world.reports()
        world.until("paused")
        world.model.load(small())
        world.answers("/resume")
        world.until("done")


def test_evidence_that_does_not_exist_is_sent_back(new_world):
    invented = finding("R2", 1, evidence=[{"path": "tally/part9.py", "line": 1}])
    beyond = finding("R1", 1, evidence=[{"path": "tally/part1.py", "line": 99}])
    honest = judges(MET, finding("R2", 1))
    with pushed(new_world, verifying(judges(beyond, invented), honest)) as world:
        world.reports()
        world.until("done")

    (answer,) = world.told("verify")
    assert "tally/part1.py has no line 99" in answer
    assert "tally/part9.py" in answer
