"""`phasegate show`: the story of a build on a terminal."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from bot import show
from tests.unit import story_bench


@pytest.fixture
def told() -> dict[str, Any]:
    """The record of the story."""
    return dict(json.loads(story_bench.told()))


def printed(record: dict[str, Any], width: int = 200) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    show.tell(record, console)
    return console.export_text()


def lines(record: dict[str, Any]) -> list[str]:
    return [line.strip() for line in printed(record).splitlines()]


def test_the_head_tells_build_state_branch_and_cost(told: dict[str, Any]) -> None:
    head = lines(told)[:3]

    assert head[0] == "Build 1 of acme/tally#1: running"
    assert head[1] == "branch phasegate/issue-1-cache-the-count, pull request #2"
    assert head[2].startswith("cost $0.09 of $10.00, forecast $0.")


def test_a_paused_build_names_its_failure_in_the_head(told: dict[str, Any]) -> None:
    assert lines({**told, "state": "paused", "failure": "stuck"})[0].endswith(": paused (stuck)")


def test_every_move_is_printed_with_its_day_and_cause(told: dict[str, Any]) -> None:
    found = lines(told)

    first = found.index("12:00:00.000  · → planning (label, by maria)")
    assert found[first - 1] == told["moves"][0]["at"][:10]
    green = found.index("12:04:00.000  awaiting_checks → running (checks_green, by event)")
    assert found[green + 1] == "All 1 are green."


def test_every_attempt_is_printed_with_its_turns_tokens_and_cost(told: dict[str, Any]) -> None:
    found = lines(told)

    for head in ("1  plan #1", "2  phase 1 #1"):
        assert f"{head}, claude-sonnet-5-5: done, $0.03" in found
    running = found.index("3  phase 2 #1, claude-sonnet-5-5: running, $0.03")
    assert found[running + 1] == "2 turns, 2300 tokens in (2000 cached), 20 out"


def test_a_failed_attempt_is_printed_with_its_kind_and_cause(told: dict[str, Any]) -> None:
    told["phases"][1]["attempts"][0].update(outcome="failed", failure="stuck", detail="It went round.")
    found = lines(told)

    failed = found.index("3  phase 2 #1, claude-sonnet-5-5: failed: stuck, $0.03")
    assert found[failed + 2] == "It went round."


def test_every_verdict_is_printed_with_its_checks(told: dict[str, Any]) -> None:
    found = lines(told)

    first = found.index("1  Part 1: done, 1111111, $0.03")
    assert found[first + 1] == "green (tests success)"


def test_what_the_gate_noticed_is_printed_with_the_phase(told: dict[str, Any]) -> None:
    told["phases"][0]["notes"] = ["Released by a person: `lint [x]` (failure)."]

    assert "noticed: Released by a person: `lint [x]` (failure)." in lines(told)


def test_nothing_is_cut_off_on_a_narrow_terminal(told: dict[str, Any]) -> None:
    told["moves"][-1]["detail"] = " ".join(["word"] * 40) + " end"
    text = printed(told, width=60)

    assert max(map(len, text.splitlines())) <= 60
    assert "…" not in text
    assert text.count("word") == 40


def test_what_people_wrote_is_printed_as_they_wrote_it(told: dict[str, Any]) -> None:
    """Square brackets are markup to the terminal's printer, and escape sequences are orders to the terminal."""
    told["moves"][0].update(detail="use [/api] and [bold]", by="renovate[bot]")
    told["moves"][1].update(detail="\x1b]0;title\x07\x1b[31mred")
    told["phases"][0]["checks"][0].update(name="tests [3.11]")
    text = printed(told)

    assert "use [/api] and [bold]" in text
    assert "renovate[bot]" in text
    assert "tests [3.11] success" in text
    assert "\x1b" not in text
    assert "red" in text


def test_a_build_without_a_plan_is_printed_too(told: dict[str, Any]) -> None:
    text = printed({**told, "plan": None, "phases": [], "attempts": [], "moves": [], "pull_request": None})

    assert "pull request –" in text
