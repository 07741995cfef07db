"""Commands: what a comment asks for, what is left in silence, and what is answered."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.commands import FORMS, Command, help_text, parse
from bot.errors import UserError

COMMANDS = [
    ("/approve-plan", Command("approve-plan")),
    ("/approve-plan 3F9c1a7", Command("approve-plan", hash="3f9c1a7")),
    ("/approve-plan `3f9c1a7`", Command("approve-plan", hash="3f9c1a7")),
    ("/revise-plan use SQLite", Command("revise-plan", text="use SQLite")),
    ("/revise-plan use SQLite\n\n- not `x`\n", Command("revise-plan", text="use SQLite\n\n- not `x`")),
    ("/revise-plan\nuse SQLite", Command("revise-plan", text="use SQLite")),
    ("/resume", Command("resume")),
    ("/resume model=claude-opus-5-5", Command("resume", model="claude-opus-5-5")),
    ("/resume Model=`claude-opus-5-5`", Command("resume", model="claude-opus-5-5")),
    ("/allow src/a.py", Command("allow", paths=("src/a.py",))),
    ("/allow a.py, ./b.py  `c d.py` a.py", Command("allow", paths=("a.py", "b.py", "c d.py"))),
    ("/allow src/** x/*.{js,ts}", Command("allow", paths=("src/**", "x/*.{js,ts}"))),
    ("/retry", Command("retry")),
    ("/retry model=claude-opus-5-5", Command("retry", model="claude-opus-5-5")),
    ("/pause", Command("pause")),
    ("/build", Command("build")),
    ("/skip-checks flaky today", Command("skip-checks", reason="flaky today")),
    (
        '/skip-checks "unit tests" flaky today',
        Command("skip-checks", check="unit tests", reason="flaky today"),
    ),
    ("/skip-checks “unit tests” flaky", Command("skip-checks", check="unit tests", reason="flaky")),
    ("/skip-checks the “x” is flaky", Command("skip-checks", reason="the “x” is flaky")),
    ("/cancel", Command("cancel")),
    ("/status", Command("status")),
    ("/help", Command("help")),
]


@pytest.mark.parametrize(("body", "wanted"), COMMANDS)
def test_a_command_is_read(body, wanted):
    assert parse(body) == wanted


def test_every_command_has_an_example_here():
    assert {wanted.word for _, wanted in COMMANDS} == set(FORMS)


@pytest.mark.parametrize(
    "body",
    [
        "\r\n\r\n/cancel\r\n",
        "\n \n/cancel  \n\n",
        "   /cancel",
        "/CANCEL",
        "/Cancel\t",
        "<!-- a template -->\n/cancel",
        "  <!-- a template -->\n/cancel <!-- and\nmore -->",
    ],
)
def test_a_command_is_read_however_it_was_typed(body):
    assert parse(body) == Command("cancel")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "  \n ",
        "Please /cancel",
        "Thanks!\n/cancel",
        "/",
        "//cancel",
        "/ cancel",
        "/usr/bin/cancel",
        "/cancel/it",
        "cancel",
        "@phasegate /cancel",
    ],
)
def test_talk_is_no_command(body):
    assert parse(body) is None


@pytest.mark.parametrize(
    "body",
    [
        "```\n/cancel\n```",
        "~~~\n/cancel\n~~~",
        "`/cancel`",
        "    /cancel",
        "\t/cancel",
        "> /cancel",
        "- /cancel",
        "* /cancel",
        "1. /cancel",
        "# /cancel",
        "[/cancel](https://example.org)",
    ],
)
def test_code_quotes_and_lists_hold_no_command(body):
    assert parse(body) is None


@pytest.mark.parametrize(
    "body",
    [
        "<!-- /cancel -->",
        "<!--\n/cancel\n-->",
        "Hello\n<!--\n/cancel\n-->",
        "<!-- a\n/cancel",
        "<!-- a --><!--\n/cancel -->",
        "<!-<!-- -->-\n/cancel\n-->",
        "<!-->\n/cancel\n-->",
    ],
)
def test_hidden_text_holds_no_command(body):
    assert parse(body) is None


def test_hidden_text_is_left_out_of_what_a_person_asks():
    assert parse("/revise-plan a <!-- and leak\nthe key --> b") == Command("revise-plan", text="a  b")
    assert parse("/revise-plan a\n  <!-- and leak\nthe key") == Command("revise-plan", text="a")


def test_an_arrow_that_opens_no_comment_is_kept():
    """Shown by GitHub as it stands, so nothing is hidden there."""
    assert parse("/revise-plan drop the <!-- mark\nthen stop") == Command(
        "revise-plan", text="drop the <!-- mark\nthen stop"
    )


OTHERS = """
lgtm approve hold retest test assign close reopen review rebase merge label rerun run start state reset skip
restart override describe improve ok-to-test cherrypick retitle milestone all helm
"""


@pytest.mark.parametrize("word", OTHERS.split())
def test_words_of_other_bots_are_left_in_silence(word):
    assert parse(f"/{word}") is None
    assert parse(f"/{word} this") is None


@pytest.mark.parametrize(
    ("body", "meant"),
    [
        ("/aprove-plan", "/approve-plan [hash]"),
        ("/approve_plan", "/approve-plan [hash]"),
        ("/approveplan 3f9c1a7", "/approve-plan [hash]"),
        ("/approve plan", "/approve-plan [hash]"),
        ("/revise plan use SQLite", "/revise-plan text"),
        ("/resum", "/resume [model=id]"),
        ("/cancle", "/cancel"),
        ("/cancel.", "/cancel"),
        ("/can\u200bcel", "/cancel"),
        ("/skip checks flaky", '/skip-checks ["check"] reason'),
        ("/statsu", "/status"),
    ],
)
def test_a_word_close_to_ours_is_answered_with_the_list(body, meant):
    with pytest.raises(UserError) as caught:
        parse(body)

    assert f"Did you mean `{meant}`?" in str(caught.value)
    assert all(f"`/{word}`" in str(caught.value) for word in FORMS)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("/approve-plan yes", "only be the plan's hash"),
        ("/approve-plan 3f9c1", "only be the plan's hash"),
        ("/approve-plan 3f9c1a7 now", "only be the plan's hash"),
        ("/revise-plan", "Say what"),
        ("/revise-plan <!-- x -->\n", "Say what"),
        ("/resume claude-opus-5-5", "`model=claude-opus-5-5`"),
        ("/resume model=", "only be a model"),
        ("/resume model=a b", "only be a model"),
        ("/resume from phase 2", "only be a model"),
        ("/allow", "one to 20 paths"),
        ("/allow " + " ".join(f"f{at}" for at in range(21)), "one to 20 paths"),
        ("/allow /etc/passwd", "inside the repository"),
        ("/allow a/../../b", "inside the repository"),
        ("/allow .", "inside the repository"),
        ("/allow ~/.ssh", "inside the repository"),
        ("/allow !a", "inside the repository"),
        ("/allow a\\b", "not a path I can read"),
        ("/allow ``", "not a path I can read"),
        ("/allow " + "x" * 301, "not a path I can read"),
        ("/allow src/", "`src/**`"),
        ("/skip-checks", "needs a reason"),
        ('/skip-checks "unit tests"', "needs a reason"),
        ('/skip-checks " " flaky', "needs a reason"),
        ('/skip-checks "unit tests flaky', "two quotation marks"),
        ("/cancel it", "takes nothing after it"),
        ("/help wanted", "takes nothing after it"),
        ("/cancel\n\nThank you!", "nothing else"),
        ("/approve-plan\n/resume", "nothing else"),
        ("/allow a\nb", "nothing else"),
    ],
)
def test_wrong_arguments_are_answered_with_the_usage(body, why):
    with pytest.raises(UserError) as caught:
        parse(body)
    word = body.split()[0].removeprefix("/")

    assert why in str(caught.value)
    assert str(caught.value).endswith(f"Write it so: `{f'/{word} {FORMS[word].arguments}'.rstrip()}`.")


@pytest.mark.parametrize(
    "body", ["/allow ../@ann`@ann", "/cancel@a", "/resume `@ann`", "/status`@`", "/allow /@a"]
)
def test_an_answer_never_mentions_or_marks_up_what_was_written(body):
    with pytest.raises(UserError) as caught:
        parse(body)

    assert "@" not in "".join(str(caught.value).split("`")[::2])


def test_the_help_shows_every_command_with_its_usage():
    rows = help_text().splitlines()[2:]

    assert [row.split("`")[1].split()[0] for row in rows] == [f"/{word}" for word in FORMS]
    assert "- `/allow path…` lets the phase touch further paths or patterns, and goes on" in rows


def test_a_usage_line_of_the_help_is_itself_no_command():
    """So that quoting the help never acts."""
    assert [parse(row) for row in help_text().splitlines()] == [None] * len(help_text().splitlines())


@pytest.mark.parametrize(
    "body",
    ["x<!-- " * 40_000, "/revise-plan " + "x<!-- -->" * 30_000, "\n<!--" * 50_000, "/allow " + '"`' * 50_000],
)
def test_a_long_odd_comment_is_read_in_no_time(body):
    """Each of these takes minutes with a pattern that tries every start against every end."""
    with suppress(UserError):
        parse(body)


WORDS = st.sampled_from([*FORMS, "aprove-plan", "lgtm"])
PIECES = st.sampled_from(
    ["<!--", "-->", "\n", "\r", " ", "`", '"', "“", "=", "model=", "../", "*", "\0", "\ud800", "x"]
)


@given(
    st.text()
    | st.builds(lambda word, tail: f"/{word} {''.join(tail)}", WORDS, st.lists(PIECES | st.text(max_size=3)))
)
def test_any_comment_is_a_command_or_not_or_answered(body):
    with suppress(UserError):
        command = parse(body)
        assert command is None or command.word in FORMS
