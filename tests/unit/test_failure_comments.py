"""What is said when something fails: one comment for each kind, word for word."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from bot import advice, comments
from bot.advice import History
from bot.errors import FailureKind as K

URL = "https://github.com/acme/tally"
GOOD = "1" * 40
LADDER = ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-2")
WRITING = History(model="claude-sonnet-5-5", phase=2, tried=("claude-sonnet-5-5",), kept=2)
PLANNING = replace(WRITING, work="plan", phase=0, kept=0)
AT_GATE = replace(WRITING, work="gate", kept=0)
HEAD = "**Paused at phase 2 of 3, “Part 2”: "
COST = f"""\
- Last good commit: [`1111111`]({URL}/commit/{GOOD})
- Cost: $0.03 for this attempt, $0.15 of $10.00 for the build"""


def paused(kind: K, detail: str, history: History = WRITING, **changes: Any) -> str:
    """Return the comment of a failure in phase 2 of 3, after one good commit."""
    given: dict[str, Any] = {
        "where": "phase 2 of 3, “Part 2”",
        "attempt_usd": Decimal("0.03"),
        "last_good": GOOD,
        "repository_url": URL,
        **changes,
    }
    record = {"cost_usd": 0.15, "budget_usd": 10.0}
    return comments.paused(record, advice.advise(kind, history, LADDER), detail=detail, **given)


def comment(happened: str, detail: str, *replies: str, facts: str = COST, head: str = HEAD) -> str:
    """Return the text that is expected, from the parts that differ."""
    quoted = "\n".join(f"> {line}" for line in detail.splitlines())
    listed = "\n".join(f"- {reply}" for reply in (*replies, "`/cancel` – ends the build"))
    return f"{head}{happened}.**\n\n{quoted}\n\n{facts}\n\nReply with one line:\n\n{listed}"


OPUS = "`/resume model=claude-opus-5-5` – goes on with a stronger model"
OTHER = "`/resume model=claude-opus-5-5` – goes on with another model"
KEPT = "`/resume` – goes on from its edits in 2 files, which are kept"
AFRESH = "`/retry` – does it again from the beginning, without those edits"
SPLIT = "`/revise-plan split phase 2` – plans the rest in smaller phases; finished ones stand"
OTHERWISE = "`/revise-plan what to do differently` – plans the rest anew with your words"
OPERATOR = f"{KEPT}, once the operator of this bot has mended that"

SAID: dict[K, tuple[str, str, tuple[str, ...]]] = {
    K.RATE_LIMITED: (
        "The Messages API answered 429 rate_limit_error: Too many tokens.",
        "the model's rate limit did not clear",
        (OTHER, f"{KEPT}, best after 14:32 UTC on 22 November"),
    ),
    K.OVERLOADED: (
        "The Messages API answered 529 overloaded_error: Overloaded",
        "the model's service stayed overloaded",
        (OTHER, f"{KEPT}, best after 14:32 UTC on 22 November"),
    ),
    K.CONTEXT_OVERFLOW: (
        "The Messages API answered 400 invalid_request_error: prompt is too long",
        "the conversation outgrew the model's context window",
        (f"{KEPT}, in a new conversation", SPLIT),
    ),
    K.TIMEOUT: (
        "The model did not answer in time: ReadTimeout",
        "the model did not answer in time, several times in a row",
        (KEPT, OTHER),
    ),
    K.CONNECTION: (
        "The connection to the model failed: ReadError",
        "the connection failed several times in a row",
        (KEPT,),
    ),
    K.OUT_OF_TURNS: (
        "It used all 60 turns.",
        "the attempt used up its turns",
        (OPUS, KEPT, AFRESH),
    ),
    K.OUT_OF_BUDGET: (
        "The next call could cost up to $0.40, and $0.20 are left of the phase's budget.",
        "the next call could pass the budget",
        (
            "`/resume model=claude-haiku-5-5` – goes on with a cheaper model",
            f"{KEPT}, once the operator of this bot has raised the budget",
        ),
    ),
    K.NO_FINISH: ("I think I am done.", "the model stopped without finishing", (OPUS, KEPT, AFRESH)),
    K.STUCK: (
        "It made the same call 4 times with the same result.",
        "the model went round in circles",
        (OPUS, KEPT, AFRESH),
    ),
    K.REFUSED: (
        "The model refused to answer (cyber): it gave no explanation",
        "the model refused to go on",
        (OTHER, KEPT, OTHERWISE),
    ),
    K.BLOCKED: (
        "The issue contradicts itself.",
        "the work is blocked",
        (f"{KEPT}, once that is mended", OTHERWISE, OPUS),
    ),
    K.SCOPE: (
        "It asks for `tally/part3.py`: It must be told there.",
        "the work needs a file outside this phase's allowed paths",
        ("`/allow tally/part3.py` – allows it for this phase and goes on", f"{KEPT}, without it"),
    ),
    K.TOO_LARGE: (
        "The change has 500 lines and the phase may have 400.",
        "the change is larger than the phase's line cap",
        (SPLIT, OPUS, KEPT, AFRESH),
    ),
    K.TESTS_WEAKENED: (
        "The test `test_count` of `tests/test_counter.py` is gone: put it back.",
        "the change weakens tests",
        (OPUS, KEPT, AFRESH),
    ),
    K.AUTH: (
        "The Messages API answered 401 authentication_error: invalid x-api-key",
        "the model's service refuses our key",
        (OPERATOR, "`/resume model=claude-opus-5-5` – tries another model, if only this one is closed to us"),
    ),
    K.BILLING: (
        "The Messages API answered 402 billing_error: Your payment failed.",
        "the model account's credit or spend limit is used up",
        (OPERATOR,),
    ),
    K.DENIED: (
        "Resource not accessible by integration (POST /repos/acme/tally/git/blobs)",
        "GitHub refused what this needs",
        (f"{KEPT}, once that is mended",),
    ),
    K.BUG: (
        "ZeroDivisionError in attempt 3.",
        "Phasegate itself made a mistake; the log has the details",
        (KEPT,),
    ),
}
"""Failure of a phase → detail, what happened, replies."""


@pytest.mark.parametrize("kind", list(SAID))
def test_a_phase_that_failed_is_told_with_its_cause_what_stands_and_what_to_reply(kind: K) -> None:
    detail, happened, replies = SAID[kind]
    history = replace(WRITING, clears_at="14:32 UTC on 22 November", paths="tally/part3.py")

    assert paused(kind, detail, history) == comment(happened, detail, *replies)


LOOK = "`/resume` – looks at the checks again"
SKIP = "`/skip-checks why this is fine` – goes on without them, on your word"
GATE: dict[K, tuple[str, str, tuple[str, ...]]] = {
    K.CHECKS_RED: (
        "Red: `tests` (failure).",
        "CI is still red after 2 repairs",
        (
            OPUS,
            "`/resume` – has the model repair it from the evidence",
            "`/skip-checks why this is fine` – goes on although checks are red, on your word",
        ),
    ),
    K.CHECKS_NONE: (
        "Nothing reported.",
        "no check reported on the commit",
        (
            f"{LOOK}; with `checks: {{when_none: allow}}` merged into `.github/phasegate.yml`, goes on without any, "
            "here and in later phases",
            SKIP,
        ),
    ),
    K.CHECKS_TIMEOUT: ("Not finished within 60 minutes.", "CI did not come to an end in time", (LOOK, SKIP)),
    K.CONFLICT: (
        "The branch was deleted.",
        "the branch moved without us",
        ("`/resume` – takes the branch as it stands now",),
    ),
}
"""Pause at a gate → detail, what happened, replies."""


@pytest.mark.parametrize("kind", list(GATE))
def test_a_gate_that_needs_a_person_is_told_with_its_evidence(kind: K) -> None:
    detail, happened, replies = GATE[kind]
    said = paused(
        kind, detail, replace(AT_GATE, red=3), evidence=[("tests", f"{URL}/runs/1")], attempt_usd=None
    )
    facts = f"- tests: {URL}/runs/1\n{COST.replace('$0.03 for this attempt, ', '')}"

    assert said == comment(happened, detail, *replies, facts=facts)


BEFORE: dict[K, tuple[str, str, tuple[str, ...]]] = {
    K.BAD_PLAN: (
        "- No phase serves requirement R2.",
        "the plan could not be used",
        (
            OPUS,
            "`/resume` – plans again",
            "`/revise-plan what to do differently` – plans again with your words",
        ),
    ),
    K.BAD_POLICY: (
        "`.github/phasegate.yml` line 2: `line_cap` must be a whole number.",
        "`.github/phasegate.yml` cannot be used",
        ("`/resume` – plans again, once the file is right",),
    ),
}
"""Failure of planning → detail, what happened, replies."""


@pytest.mark.parametrize("kind", list(BEFORE))
def test_planning_that_failed_is_told_before_there_is_any_commit(kind: K) -> None:
    detail, happened, replies = BEFORE[kind]
    said = paused(kind, detail, PLANNING, where="planning", last_good="")

    assert said == comment(
        happened, detail, *replies, facts=COST.split("\n")[1], head="**Paused at planning: "
    )


def test_every_kind_of_failure_has_its_exact_text_here() -> None:
    """Gaps have a comment of their own, and what a person stopped says who did."""
    assert {*SAID, *GATE, *BEFORE, K.GAPS, K.STOPPED} == set(K)


# --- waiting


def waiting(**changes: Any) -> dict[str, Any]:
    """Return as much of a record as it takes to say that an attempt waits."""
    wait = {"for": "rate_limited", "until": "2026-11-22T14:32:05.123456+00:00"}
    return {"id": 12, "opened_by": "maria", "state": "planning", "waits": {**wait, **changes}}


def test_before_there_is_a_plan_the_comment_tells_until_when_it_waits() -> None:
    assert (
        comments.planning(waiting())
        == """\
I am reading the repository and will post a plan here. Nothing is written before it is approved. \
It waits for the model's rate limit to clear and goes on by itself at 14:32:05 UTC; \
`/resume model=…` goes on at once with another model.

Build 12 · asked for by maria"""
    )


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("rate_limited", "the model's rate limit to clear"),
        ("overloaded", "the model's service to recover"),
        ("timeout", "the model to answer again"),
        ("connection", "the connection to come back"),
    ],
)
def test_what_is_waited_for_is_said_for_each_kind_that_heals(kind: str, words: str) -> None:
    assert f" It waits for {words} and goes on by itself at " in comments.planning(waiting(**{"for": kind}))


def test_what_does_not_wait_says_nothing_of_it() -> None:
    assert comments.planning({**waiting(), "waits": None}).startswith(
        "I am reading the repository and will post a plan here. Nothing is written before it is approved.\n"
    )


def test_the_end_of_a_long_limit_is_told_with_its_day() -> None:
    assert comments.moment(datetime(2026, 11, 2, 4, 5, 6, tzinfo=UTC)) == "04:05 UTC on 2 November"


# --- found again


def found(*states: str, **changes: Any) -> str:
    """Return what is said on start-up of a build whose phases are in these states."""
    phases = [{"number": number, "state": state} for number, state in enumerate(states, start=1)]
    plan = {"hash": "3f9c1a7" + "0" * 33, "approved_by": "maria"}
    return comments.found({"phases": phases, "plan": plan, "failure": "stuck", **changes})


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (("paused", "waiting"), "no phase done yet. Resume from phase 1? `/resume`"),
        (("done", "paused"), "phase 1 done. Resume from phase 2? `/resume`"),
        (("done", "done", "paused"), "phases 1 and 2 done. Resume from phase 3? `/resume`"),
        (("done", "done", "done", "paused"), "phases 1, 2 and 3 done. Resume from phase 4? `/resume`"),
        (("done", "done"), "phases 1 and 2 done. Resume? `/resume`"),
    ],
)
def test_an_unfinished_build_is_found_again_with_what_is_done(states: tuple[str, ...], said: str) -> None:
    assert found(*states) == f"Found an unfinished build: {said}"


def test_a_build_that_was_never_planned_is_found_again_too() -> None:
    assert found(plan=None) == "Found an unfinished build: no plan yet. Plan again? `/resume`"


def test_proposed_phases_are_what_a_build_with_gaps_waits_for() -> None:
    plan = {"hash": "3f9c1a7" + "0" * 33, "approved_by": None}

    assert (
        found("done", "waiting", plan=plan, failure="gaps")
        == "Found an unfinished build: phases to follow up are proposed. Build them? `/approve-plan 3f9c1a7`"
    )


# --- at the gate, and on the branch


def test_a_gate_that_waits_for_a_person_says_where_to_go_and_that_no_reply_is_needed() -> None:
    assert (
        comments.gate_waits("A person must act: `deploy`.", [("deploy", f"{URL}/runs/1")], number=2)
        == f"""\
**Phase 2 waits for you on GitHub.** A person must act: `deploy`.

- deploy: {URL}/runs/1

The clock stands still; the build goes on by itself when this clears. \
`/skip-checks why this is fine` goes on without it, on your word."""
    )


def test_a_gate_that_waits_without_a_link_says_so_without_a_list() -> None:
    assert "\n\nThe clock stands still" in comments.gate_waits("Press the button.", [], number=2)
    assert "- " not in comments.gate_waits("Press the button.", [], number=2)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            comments.red_after_done("0123456789", [("tests", "https://ci.example/1")]),
            "**The checks of 0123456 turned red after the build was done.** Making a pull request ready starts them "
            "anew. The build is over and nothing more is written: look into it before you merge.\n\n"
            "- tests: https://ci.example/1",
        ),
        (
            comments.base_conflicts("main", ["a.py", "b.py"]),
            "`main` moved, and merging it conflicts. Both sides changed `a.py`, `b.py`. "
            "Merge it by hand, then reply `/resume`.",
        ),
        (
            comments.base_refused("main", [".github/workflows/ci.yml"], "no"),
            "`main` moved, and it changes `.github/workflows/ci.yml`. GitHub lets no App without the permission "
            "`workflows` bring that to another branch. Merge `main` into the branch by hand, then reply `/resume`.",
        ),
        (
            comments.base_refused("main", [], "Repository rule violations found"),
            "`main` moved, and GitHub refuses to merge it: Repository rule violations found. "
            "Mend that, or merge it by hand, then reply `/resume`.",
        ),
        (
            comments.base_conflicts("main", []),
            "`main` moved, and merging it conflicts. Both sides changed files that GitHub does not name. "
            "Merge it by hand, then reply `/resume`.",
        ),
        (
            comments.branch_gone("phasegate/issue-1"),
            "The branch `phasegate/issue-1` was deleted. Restore it, reopen its pull request and reply `/resume`, "
            "or `/cancel`.",
        ),
        (
            comments.pull_closed(2, "state cannot be changed"),
            "#2 is closed, and GitHub does not let me reopen it: state cannot be changed. "
            "Reopen the pull request, then `/resume`.",
        ),
        (
            comments.branch_forced("phasegate/issue-1"),
            "The branch `phasegate/issue-1` was forced to a commit that is not on top of mine. "
            "`/resume` takes it as it stands now, and its checks decide.",
        ),
    ],
)
def test_what_happened_to_the_branch_is_said_in_a_few_words(said: str, sentence: str) -> None:
    assert said == sentence


# --- a person's doing


@pytest.mark.parametrize(
    ("action", "why"),
    [
        ("paused", "maria asked for it"),
        ("closed", "maria closed the issue"),
        ("unlabeled", "maria took the label away"),
        ("pull_closed", "maria closed the pull request"),
        ("suspended", "maria suspended the App"),
    ],
)
def test_what_a_person_stopped_says_who_did_it_and_how_to_go_on(action: str, why: str) -> None:
    said = comments.stopped({"id": 12}, comments.why_stopped(action, "maria"))

    assert said == f"Paused: {why}. Reply `/resume` to go on or `/cancel` to end build 12."


def test_a_closed_pull_request_is_said_to_be_reopened() -> None:
    said = comments.stopped({"id": 12}, "maria closed the pull request", reopens=True)

    assert said.endswith("Reply `/resume` to reopen it and go on or `/cancel` to end build 12.")
