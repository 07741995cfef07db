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


def printed(record: dict[str, Any]) -> str:
    console = Console(record=True, width=200, file=io.StringIO())
    show.tell(record, console)
    return console.export_text()


def rows(text: str) -> list[list[str]]:
    """Return the cells of every row that was printed in a table."""
    return [
        [cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line[:1] == "│"
    ]


def test_the_head_tells_build_state_branch_and_cost(told: dict[str, Any]) -> None:
    head = printed(told).splitlines()[:3]

    assert head[0] == "Build 1 of acme/tally#1: running"
    assert head[1] == "branch phasegate/issue-1-cache-the-count, pull request 2"
    assert head[2].startswith("cost $0.09, forecast $0.")


def test_every_move_is_printed_with_its_cause(told: dict[str, Any]) -> None:
    found = rows(printed(told))

    assert ["12:00:00.000", "", "planning", "label", "maria", ""] in found
    assert [
        "12:04:00.000",
        "awaiting_checks",
        "running",
        "checks_green",
        "event",
        "All 1 are green.",
    ] in found


def test_every_attempt_is_printed_with_its_turns_tokens_and_cost(told: dict[str, Any]) -> None:
    found = rows(printed(told))

    assert ["1", "plan #1", "claude-sonnet-5-5", "done", "2", "2300/20/2000", "$0.03"] in found
    assert ["2", "phase 1 #1", "claude-sonnet-5-5", "done", "2", "2300/20/2000", "$0.03"] in found
    assert ["3", "phase 2 #1", "claude-sonnet-5-5", "running", "2", "2300/20/2000", "$0.03"] in found


def test_a_failed_attempt_is_printed_with_its_kind(told: dict[str, Any]) -> None:
    told["phases"][1]["attempts"][0].update(outcome="failed", failure="stuck")

    assert "failed: stuck" in [cell for row in rows(printed(told)) for cell in row]


def test_every_verdict_is_printed_with_its_checks(told: dict[str, Any]) -> None:
    lines = [line for line in printed(told).splitlines() if line.startswith("phase ")]

    assert lines == ["phase 1 1111111: green (tests success)"]


def test_what_the_gate_noticed_is_printed_with_the_phase(told: dict[str, Any]) -> None:
    told["phases"][0]["notes"] = ["Released by a person: `lint [x]` (failure)."]

    assert "phase 1, noticed: Released by a person: `lint [x]` (failure)." in printed(told).splitlines()


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
