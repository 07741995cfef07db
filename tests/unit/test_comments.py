"""What is said in public: every sentence as people read it, and nothing a model wrote can act in it."""

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from bot import advice, commands, comments
from bot.advice import History
from bot.errors import FailureKind
from tests.unit.story_bench import FIRST, SECOND, URL, record
from tests.world import phase

HASH = "3f9c1a7" + "0" * 33
STUCK = advice.advise(
    FailureKind.STUCK, History(model="claude-haiku-5-5"), ("claude-haiku-5-5", "claude-sonnet-5-5")
)
TABLE = f"""\
| | Phase | Cost | |
|--|--|--|--|
| 1 | Part 1 | $0.12 | ✅ [`1111111`]({URL}/commit/{FIRST}) |
| 2 | Part 2 | $0.06–0.24 | ✍️ at work |"""


def planned(**changes: Any) -> dict[str, Any]:
    """Return a record whose plan is changed and waits for approval."""
    return record(state="awaiting_approval", plan={**record()["plan"], **changes})


def folded(number: int) -> str:
    return f"""\
<details><summary>Phase {number}: Part {number}</summary>

Add part {number}.

**Delivers**

- tally/part{number}.py: the part
- tests/test_part{number}.py: its test

**Done when**

- Part {number} answers {number}.

**May touch**

- `tally/part{number}.py`
- `tests/test_part{number}.py`

**Not now**

- Everything else.

**Tests:** A unit test.

Serves R{min(number, 2)} · logic · about 20 lines

</details>"""


# --- small words


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0.0, "$0.00"),
        (Decimal("0.000001"), "less than $0.01"),
        (0.0099, "less than $0.01"),
        (0.01, "$0.01"),
        (Decimal("12.5"), "$12.50"),
    ],
)
def test_money_is_shown_in_cents(amount: float | Decimal, text: str) -> None:
    assert comments.usd(amount) == text


def test_a_forecast_is_shown_as_a_range() -> None:
    assert comments.spread([0.1, 0.4]) == "$0.10–0.40"


def test_a_hash_is_shown_by_its_first_seven_digits() -> None:
    assert comments.short(HASH) == "3f9c1a7"


# --- the plan


def test_the_plan_shows_phases_cost_and_how_to_approve_it() -> None:
    waiting = record(state="awaiting_approval", pull_request=None)

    assert (
        comments.plan(waiting, repository_url=URL, details_url="https://bot.example/builds/12.json")
        == f"""\
### Plan v1 · `3f9c1a7`

Add the parts one by one.

{TABLE}

Forecast $0.12–0.48 · cap $10.00 · spent $0.15 · size small

{folded(1)}

{folded(2)}

<details><summary>Requirements, assumptions and risks</summary>

- **R1** `cached_count` gives the same answer
- **R2** it is documented

</details>

Reply `/approve-plan 3f9c1a7` to build it, or `/revise-plan what to change` to have it changed.

[Details](https://bot.example/builds/12.json)"""
    )


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("planning", "A new version of this plan is being made."),
        ("running", "Phase 2 of 2 is being written in #2."),
        ("awaiting_checks", "Phase 2 of 2 waits for its checks in #2."),
        (
            "verifying",
            "All phases are green in #2. Every requirement is being checked against the result.",
        ),
        ("paused", "Paused in #2; the newest comment says why and what to reply."),
        ("done", "Done in #2."),
        ("cancelled", "Cancelled by maria; what was pushed stays in #2."),
    ],
)
def test_the_plan_ends_with_where_the_build_stands(state: str, sentence: str) -> None:
    body = comments.plan(record(state=state, ended_by="maria"), repository_url=URL)

    assert body.rsplit("\n\n", 1)[1] == sentence


def test_without_a_pull_request_none_is_named() -> None:
    body = comments.plan(record(pull_request=None), repository_url=URL)

    assert body.endswith("\n\nPhase 2 of 2 is being written.")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"feature_flag": "cache, off, phase 2"}, "**Feature flag:** cache, off, phase 2"),
        (
            {"red_on_base": ["lint", "types"]},
            "**Red on the base already:** `lint`, `types`. A phase cannot turn green until that is mended, "
            'or released: `/skip-checks "check" why this is fine`.',
        ),
        ({"unmatched": ["src/**"]}, "**Allowed paths that match nothing yet:** `src/**`"),
        ({"open_questions": ["Which?", "When?"]}, "**Open questions**\n\n- Which?\n- When?"),
        ({"assumptions": ["One user."]}, "**Assumptions**\n\n- One user.\n\n</details>"),
        ({"risks": ["It is slow."]}, "**Risks**\n\n- It is slow.\n\n</details>"),
        ({"size": "very_large"}, "spent $0.15 · size very large"),
    ],
)
def test_what_a_reader_should_notice_stands_in_the_plan(changes: dict[str, Any], said: str) -> None:
    shown = comments.plan(planned(**changes), repository_url=URL)

    assert f"{said}\n\n" in shown
    assert said.split("\n")[0] not in comments.plan(planned(), repository_url=URL)


@pytest.mark.parametrize(
    ("state", "sign"),
    [
        ("waiting", "·"),
        ("running", "✍️ at work"),
        ("checking", "⏳ checks"),
        ("paused", "⏸️ paused"),
        ("done", "✅"),
    ],
)
def test_each_state_of_a_phase_has_its_sign(state: str, sign: str) -> None:
    rows = [{**record()["phases"][1], "state": state}]

    assert f"| 2 | Part 2 | $0.06–0.24 | {sign} |" in comments.status(record(phases=rows), repository_url=URL)


def test_an_older_plan_is_folded_away() -> None:
    assert (
        comments.superseded("### Plan v1", version=1, newest=2)
        == """\
<details><summary>Plan v1 – superseded by v2</summary>

### Plan v1

</details>"""
    )


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            "planning",
            "I am reading the repository and will post a plan here. Nothing is written before it is approved.",
        ),
        ("paused", "Planning is paused; the newest comment says why and what to reply."),
        ("cancelled", "Cancelled by guest before there was a plan."),
    ],
)
def test_before_there_is_a_plan_one_comment_says_so(state: str, said: str) -> None:
    body = comments.planning(record(state=state, ended_by="guest"))

    assert body == f"{said}\n\nBuild 12 · asked for by maria"


# --- pauses


def test_a_pause_says_what_failed_what_stands_what_it_cost_and_what_to_reply() -> None:
    assert (
        comments.paused(
            record(),
            STUCK,
            where="phase 2 of 2, “Part 2”",
            detail="It made the same call.\nTwice.",
            evidence=[("tests", f"{URL}/runs/1")],
            attempt_usd=Decimal("0.03"),
            last_good=FIRST,
            repository_url=URL,
        )
        == f"""\
**Paused at phase 2 of 2, “Part 2”: the model went round in circles.**

> It made the same call.
> Twice.

- tests: {URL}/runs/1
- Last good commit: [`1111111`]({URL}/commit/{FIRST})
- Cost: $0.03 for this attempt, $0.15 of $10.00 for the build

Reply with one line:

- `/resume model=claude-sonnet-5-5` – goes on with a stronger model
- `/resume` – tries again
- `/cancel` – ends the build"""
    )


def test_a_pause_leaves_out_what_there_is_not() -> None:
    assert (
        comments.paused(record(), STUCK, where="planning", detail="").split("Reply")[0]
        == """\
**Paused at planning: the model went round in circles.**

- Cost: $0.15 of $10.00 for the build

"""
    )


def test_a_build_that_a_person_stopped_says_how_to_go_on() -> None:
    assert (
        comments.stopped(record(), "maria closed the issue")
        == "Paused: maria closed the issue. Reply `/resume` to go on or `/cancel` to end build 12."
    )


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("closed", "maria closed the issue"),
        ("unlabeled", "maria took the label away"),
        ("deleted", "maria deleted the issue"),
        ("transferred", "maria moved the issue away"),
        ("pull_closed", "maria closed the pull request"),
    ],
)
def test_why_it_stopped_names_who_did_what(action: str, said: str) -> None:
    assert comments.why_stopped(action, "maria") == said


# --- the end


def row(**changes: Any) -> dict[str, Any]:
    given = {
        "requirement": "R1",
        "text": "it is cached",
        "verdict": "met",
        "phase": 1,
        "commit": FIRST,
        "checks": [("tests", f"{URL}/runs/1"), ("released by maria", "")],
        "evidence": [("tally/part1.py", 3)],
    }
    return {**given, **changes}


def test_the_matrix_leads_from_requirement_to_evidence() -> None:
    bare = row(requirement="R2", text="a | b", verdict="partly", phase=2, commit="", checks=[], evidence=[])

    assert (
        comments.matrix([row(), bare], repository_url=URL, head=SECOND)
        == f"""\
| Requirement | Phase, commit, checks, evidence |
|--|--|
| ✅ **R1** it is cached | phase 1 · [`1111111`]({URL}/commit/{FIRST}) · [tests]({URL}/runs/1), released by maria\
<br>[tally/part1.py:3]({URL}/blob/{SECOND}/tally/part1.py#L3) |
| 🟡 **R2** a \\| b | phase 2 |"""
    )


@pytest.mark.parametrize(
    ("verdict", "sign"), [("met", "✅"), ("partly", "🟡"), ("not_met", "❌"), ("odd", "❔")]
)
def test_each_verdict_has_its_sign(verdict: str, sign: str) -> None:
    table = comments.matrix([row(verdict=verdict)], repository_url=URL, head=SECOND)

    assert f"| {sign} **R1** it is cached | phase 1 ·" in table


def test_a_path_with_odd_characters_is_still_a_link() -> None:
    table = comments.matrix([row(evidence=[("pages/[id] a.py", 3)])], repository_url=URL, head=SECOND)

    assert f"[pages/[id] a.py:3]({URL}/blob/{SECOND}/pages/%5Bid%5D%20a.py#L3)" in table


def test_the_end_of_a_build_shows_the_matrix_and_the_cost() -> None:
    assert (
        comments.done(record(), "TABLE", notes=["The README is old."], ready=True)
        == """\
**Done: #2 is ready for review.** Every requirement is matched to a commit and a passing check.

TABLE

**Noticed**

- The README is old.

Cost $0.15 · forecast $0.12–0.48"""
    )


def test_a_person_is_asked_to_press_the_button_where_the_app_may_not() -> None:
    assert (
        comments.done(record(), "TABLE", notes=[], ready=False)
        == """\
**Done: #2 is finished.** Every requirement is matched to a commit and a passing check.

GitHub did not let me mark it ready for review: please press the button.

TABLE

Cost $0.15 · forecast $0.12–0.48"""
    )


def test_gaps_come_with_the_phases_that_would_close_them() -> None:
    assert (
        comments.gaps(record(), "TABLE", notes=["Odd."], follow_up=[phase(3)], hash=HASH, first=3)
        == f"""\
**Not every requirement is met, so the pull request stays a draft.**

TABLE

**Noticed**

- Odd.

Proposed follow-up phases:

{folded(3)}

Reply `/approve-plan 3f9c1a7` to build them, or `/cancel` to end here."""
    )


def test_gaps_without_a_proposal_ask_for_words() -> None:
    assert (
        comments.gaps(record(), "TABLE", notes=[], follow_up=[], hash="", first=3)
        == """\
**Not every requirement is met, so the pull request stays a draft.**

TABLE

Reply `/revise-plan what is missing` to plan the rest, or `/resume` to check again."""
    )


# --- the pull request


@pytest.mark.parametrize(
    ("issue", "title"),
    [
        ("Cache the count", "Cache the count"),
        ("Return Vec<T> & co", "Return Vec<T> & co"),
        ("Ask @maria [skip ci]", "Ask (at)maria (skip ci)"),
        ("Fixes #7", "Fixes issue 7"),
        ("two\nlines", "two lines"),
        ("x" * 300, "x" * 240),
    ],
)
def test_the_pull_requests_title_is_the_issues_as_plain_text(issue: str, title: str) -> None:
    """It becomes a commit's subject where the pull request is squashed."""
    assert comments.pull_title(issue) == title


def test_the_draft_says_what_it_is_for_and_how_far_it_is() -> None:
    assert (
        comments.pull_body(record(), repository_url=URL)
        == f"""\
Builds #1 in 2 phases, one commit each; every commit has passed this repository's own checks before the next is \
written.

{TABLE}

_This draft becomes ready for review when every requirement is met._"""
    )


def test_one_phase_is_not_called_phases() -> None:
    assert comments.pull_body(record(phases=[]), repository_url=URL).startswith("Builds #1 in 0 phases,")
    single = record(phases=record()["phases"][:1])
    assert comments.pull_body(single, repository_url=URL).startswith("Builds #1 in 1 phase,")


def test_the_review_guide_holds_phases_matrix_decisions_and_cost() -> None:
    assert (
        comments.review_guide(
            record(),
            "TABLE",
            decisions={2: ["Second."], 1: ["First."], 3: []},
            notes=["Odd."],
            repository_url=URL,
        )
        == f"""\
Resolves #1 in 2 phases, one commit each, readable one by one.

{TABLE}

### Requirements

TABLE

### Decisions

**Phase 1**

- First.

**Phase 2**

- Second.

**Noticed**

- Odd.

Cost $0.15 · forecast $0.12–0.48"""
    )


# --- answers


def test_status_shows_the_table_and_where_it_stands() -> None:
    assert (
        comments.status(record(), repository_url=URL)
        == f"""\
Build 12 is **running**, spent $0.15.

{TABLE}

Phase 2 of 2 is being written in #2."""
    )


def test_status_before_there_is_a_plan_is_one_line() -> None:
    early = record(state="awaiting_approval", plan=None, phases=[], cost_usd=0)

    assert comments.status(early, repository_url=URL) == "Build 12 is **awaiting approval**, spent $0.00."


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            comments.nothing_here("agent-build"),
            "There is no build here. Add the label `agent-build` to an issue to start one.",
        ),
        (
            comments.no_right("guest"),
            "guest, only people with write permission can start or steer a build here.",
        ),
        (
            comments.too_late("resume", "awaiting_checks"),
            "`/resume` does not apply: the build is awaiting checks.",
        ),
        (
            comments.follow_up_waits("resume", HASH),
            "`/resume` does not apply: the follow-up phases wait for `/approve-plan 3f9c1a7`.",
        ),
        (
            comments.edited_since("title"),
            "The issue's title was edited after this plan was made, so the plan may no longer be what you want. "
            "Reply `/revise-plan heed the edited issue` to have it made anew.",
        ),
        (
            comments.wrong_hash("abcdef0", HASH, 2),
            "`abcdef0` is not the newest plan. That is v2 `3f9c1a7`: `/approve-plan 3f9c1a7`.",
        ),
        (
            comments.newer_plan(2, HASH),
            "Plan v2 was posted after your comment: read it, then reply `/approve-plan 3f9c1a7`.",
        ),
        (
            comments.closed_path(".github/x.yml"),
            "`.github/x.yml` lies in a protected place, which only a person with admin permission may open. "
            "Ask one, or change it yourself.",
        ),
        (
            comments.github_refuses("Resource not accessible"),
            "GitHub refused what this needs: Resource not accessible. Mend that, then give the command again.",
        ),
        (comments.not_an_issue(), "This is a pull request; a build starts from an issue."),
        (comments.unknown_model("gpt", ["a", "b"]), "I know no price for `gpt`. I know: `a`, `b`."),
        (
            comments.bug("inbox"),
            "Something went wrong inside Phasegate (inbox). The operator's log has the details.",
        ),
    ],
)
def test_an_answer_is_one_plain_line(said: str, sentence: str) -> None:
    assert said == sentence


def test_every_sentence_that_can_be_said_is_held_against_its_words() -> None:
    """Here, or among the failures."""
    spoken = {
        name for name, it in vars(comments).items() if getattr(it, "__module__", "") == comments.__name__
    }
    files = [Path(__file__), Path(__file__).with_name("test_failure_comments.py")]
    tried = {name for file in files for name in re.findall(r"comments\.(\w+)\(", file.read_text())}

    assert {name for name in spoken if not name.startswith("_")} == tried


def test_every_line_a_comment_tells_to_reply_is_a_command() -> None:
    bodies = [
        comments.plan(planned(), repository_url=URL),
        comments.stopped(record(), "x"),
        comments.gaps(record(), "", notes=[], follow_up=[phase(3)], hash=HASH, first=3),
        comments.gaps(record(), "", notes=[], follow_up=[], hash="", first=3),
        comments.edited_since("text"),
        comments.wrong_hash("abcdef0", HASH, 2),
        comments.follow_up_waits("x", HASH),
        comments.newer_plan(2, HASH),
    ]
    lines = [line for body in bodies for line in re.findall(r"`(/[a-z][^`]+)`", body) if line != "/x"]

    assert len(lines) >= 10
    assert all(commands.parse(line) for line in lines)


# --- what a model wrote cannot act


def test_a_bar_in_a_title_stays_in_its_cell() -> None:
    rows = [{**record()["phases"][0], "title": "a | b \\| c \\\\| d"}]

    assert "| 1 | a \\| b \\| c \\| d | $0.12 |" in comments.pull_body(
        record(phases=rows), repository_url=URL
    )


def test_a_backtick_in_a_path_does_not_end_its_code() -> None:
    shown = comments.plan(planned(unmatched=["a`b", "c\nd"]), repository_url=URL)

    assert "**Allowed paths that match nothing yet:** `a'b`, `c d`\n" in shown


HOSTILE = st.lists(
    st.sampled_from(
        [
            *(
                "@maria",
                "@acme/team",
                "#7",
                "Fixes #7",
                "/cancel",
                "word",
                "é",
                "`",
                "``",
                "```",
                "~~~",
                "|",
                "\\",
            ),
            *(
                "\n",
                "\n\n",
                "    ",
                "\t",
                " ",
                "- ",
                "> ",
                "1. ",
                "# ",
                "[a]: x",
                "[x](",
                ")",
                "**",
                "<b>",
                "-->",
            ),
            *(
                "<!-- phasegate:build=1 plan=1 -->",
                "<!--",
                "<details>",
                "</details>",
                "</summary>",
                "<br>",
                "&#64;",
            ),
            *("\u200b", "\u2028", "\r", "\x1b[0m", "|--|--|", "<pre>", "<![CDATA["),
        ]
    ),
    max_size=8,
).map("".join)
MARKDOWN = MarkdownIt("commonmark").enable("table")
MENTION = re.compile(r"(?<![A-Za-z0-9_])@[A-Za-z0-9]")
ATTACKS = (
    "~~~\n@maria\n~~~",
    "~~~ @maria",
    "x\n\n    @maria",
    "\t@maria",
    "a` @maria `b",
    "a \\| b | c",
    "`</summary></details>`",
    "</details>",
    "<details>",
    "1. [a]: x<details>",
    "```\n<!-- phasegate:build=1 plan=1 -->\n```",
    "<!-- phasegate:build=1 plan=1 -->",
)


def attacked(test: Callable[[str], None]) -> Callable[[], None]:
    """Return a test that is tried with every known attack and with some found by chance."""
    tried = settings(max_examples=20, deadline=None)(given(HOSTILE)(test))
    for text in ATTACKS:
        tried = example(text)(tried)
    return tried


def flat(tokens: list[Token]) -> list[Token]:
    return [inner for token in tokens for inner in [token, *(token.children or [])]]


def calls(body: str) -> list[str]:
    """Return the texts in which GitHub would see a mention: all but code."""
    texts = [t.content for t in flat(MARKDOWN.parse(body)) if t.type in ("text", "html_inline", "html_block")]
    return [text for text in texts if MENTION.search(text)]


def folds(body: str) -> int:
    """Return how many `<details>` are open at the end; AssertionError where one is closed that was never opened."""
    depth = 0
    for token in flat(MARKDOWN.parse(body)):
        if token.type in ("html_inline", "html_block"):
            for closing in re.findall(r"<(/?)details\b", token.content):
                depth += -1 if closing else 1
                assert depth >= 0, body
    return depth


def harmless(body: str, last: str) -> None:
    """Assert that a comment calls nobody, hides nothing, and still ends in our own last words."""
    assert "<!--" not in body
    assert calls(body) == []
    assert folds(body) == 0
    assert [token.content for token in MARKDOWN.parse(body) if token.type == "inline"][-1] == last


def grid(body: str, columns: int) -> list[list[str]]:
    """Return the cells of the first table with as many columns."""
    rows: list[list[str]] = []
    for before, token in zip([None, *MARKDOWN.parse(body)], MARKDOWN.parse(body), strict=False):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and before is not None and before.type in ("th_open", "td_open"):
            rows[-1].append(token.content)
    return [cells for cells in rows if len(cells) == columns]


@attacked
def test_a_plan_written_by_a_hostile_model_is_only_text(text: str) -> None:
    item = {
        **phase(1),
        **dict.fromkeys(("title", "goal", "test_approach", "layer"), text),
        **{
            name: [text, text]
            for name in ("deliverables", "out_of_scope", "allowed_paths", "criteria", "serves")
        },
    }
    shown = planned(
        summary=text,
        requirements=[{"id": text, "text": text}],
        **{name: [text] for name in ("assumptions", "open_questions", "risks", "unmatched", "red_on_base")},
        feature_flag=text,
        phases=[item, item],
    )
    shown["phases"] = [{**row, "title": text} for row in shown["phases"]]
    body = comments.plan(shown, repository_url=URL)

    harmless(
        body,
        "Reply `/approve-plan 3f9c1a7` to build it, or `/revise-plan what to change` to have it changed.",
    )


@attacked
def test_no_title_breaks_the_table_of_phases(text: str) -> None:
    rows = [{**row, "title": text} for row in record()["phases"]]
    cells = grid(comments.pull_body(record(phases=rows), repository_url=URL), 4)

    assert [(c[0], c[2], c[3][:1]) for c in cells[1:]] == [("1", "$0.12", "✅"), ("2", "$0.06–0.24", "✍")]


@attacked
def test_no_finding_breaks_the_matrix(text: str) -> None:
    rows = [row(requirement=text, text=text, checks=[(text, "")], evidence=[(text, 3)]), row()]
    table = comments.matrix(rows, repository_url=URL, head=SECOND)
    cells = grid(table, 2)

    assert [(c[0][:1], c[1][:20]) for c in cells[1:]] == [("✅", "phase 1 · [`1111111`")] * 2
    assert calls(table) == []
    assert "<!--" not in table


@attacked
def test_a_pause_told_by_a_hostile_model_is_only_text(text: str) -> None:
    said = advice.advise(FailureKind.SCOPE, History(model="x", paths=text), ())
    body = comments.paused(record(), said, where=text, detail=text, evidence=[(text, f"{URL}/runs/1")])

    harmless(body, "`/cancel` – ends the build")


@attacked
def test_a_verification_written_by_a_hostile_model_is_only_text(text: str) -> None:
    follow_up = [{**phase(3), "title": text, "goal": text, "criteria": [text], "allowed_paths": [text]}]
    gaps = comments.gaps(record(), "", notes=[text], follow_up=follow_up, hash=HASH, first=3)
    guide = comments.review_guide(record(), "", decisions={1: [text]}, notes=[text], repository_url=URL)

    harmless(gaps, "Reply `/approve-plan 3f9c1a7` to build them, or `/cancel` to end here.")
    harmless(guide, "Cost $0.15 · forecast $0.12–0.48")


def test_no_text_of_a_pull_request_skips_ci_when_it_is_squashed() -> None:
    """GitHub takes it for the commit's message."""
    text = "Say [skip ci] and ***NO_CI***."
    row = {**record()["phases"][0], "title": text}
    draft = comments.pull_body(record(phases=[row]), repository_url=URL)
    guide = comments.review_guide(record(), text, decisions={1: [text]}, notes=[text], repository_url=URL)

    for body in (draft, guide):
        assert "Say (skip ci) and" in body
        assert "[skip ci]" not in body
        assert "***NO_CI***" not in body
