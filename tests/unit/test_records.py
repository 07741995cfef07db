"""The record: a whole build as plain data that other people's programs rely on."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from bot import records, store
from bot.states import State
from bot.tables import Build
from tests.unit import story_bench
from tests.unit.story_bench import BASE, FIRST, NOON, database, reading, tell

CONTRACT = {
    "": "id repository issue state branch pull_request base plan phases moves cost_usd forecast_usd",
    "plan": "version hash size requirements phases",
    "phases": "number title state commit checks attempts",
    "attempts": "number kind model outcome failure turns input_tokens output_tokens cached_tokens cost_usd started_at "
    "ended_at",
    "moves": "at from to trigger by",
}
"""Part of the record → the fields it always has."""


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Session]:
    """A transaction in which the story was told."""
    with database(tmp_path) as opened, opened.transaction() as session:
        tell(session)
        yield session


@pytest.fixture
def build(db: Session) -> Build:
    return store.build(db, 1)


@pytest.fixture
def told() -> dict[str, Any]:
    """The record of the story."""
    return dict(json.loads(story_bench.told()))


@pytest.mark.parametrize("part", list(CONTRACT))
def test_the_record_has_the_fields_of_the_contract(told: dict[str, Any], part: str) -> None:
    places = {"": told, "attempts": told["phases"][0]["attempts"]}
    place = places.get(part) or told[part]
    one = place[0] if isinstance(place, list) else place

    assert set(CONTRACT[part].split()) <= set(one)


def test_what_comments_read_is_in_the_record(told: dict[str, Any]) -> None:
    """The record that the tests of the comments make up has no field that a real one lacks."""
    made_up = story_bench.record()

    assert set(made_up) <= set(told)
    assert set(made_up["plan"]) <= set(told["plan"])
    assert set(made_up["phases"][0]) <= set(told["phases"][0])


def test_the_record_survives_json(db: Session, build: Build, tmp_path: Path, told: dict[str, Any]) -> None:
    assert records.record(db, reading(tmp_path), build) == told


def test_the_record_tells_where_the_build_stands(told: dict[str, Any]) -> None:
    assert told["id"] == 1
    assert (told["repository"], told["issue"], told["pull_request"]) == ("acme/tally", 1, 2)
    assert (told["state"], told["phase"], told["base"], told["head"]) == ("running", 2, BASE, FIRST)
    assert [phase["state"] for phase in told["phases"]] == ["done", "running"]
    assert [phase["commit"] for phase in told["phases"]] == [FIRST, None]
    assert told["phases"][0]["checks"][0]["name"] == "tests"


def test_attempts_stand_with_their_phase_and_the_others_apart(told: dict[str, Any]) -> None:
    assert [attempt["kind"] for attempt in told["attempts"]] == ["plan"]
    assert [[attempt["id"] for attempt in phase["attempts"]] for phase in told["phases"]] == [[2], [3]]
    assert [phase["attempts"][0]["outcome"] for phase in told["phases"]] == ["done", "running"]


def test_an_attempt_counts_its_turns_and_tokens(told: dict[str, Any]) -> None:
    attempt = told["phases"][0]["attempts"][0]

    assert attempt["turns"] == 2
    assert (attempt["input_tokens"], attempt["output_tokens"], attempt["cached_tokens"]) == (2300, 20, 2000)
    assert (attempt["started_at"], attempt["failure"]) == (NOON.isoformat(), None)


def test_money_adds_up_with_what_was_wasted(db: Session, build: Build, tmp_path: Path) -> None:
    store.attempt(db, 2).wasted_usd = Decimal("0.5")
    told = records.record(db, reading(tmp_path), build)

    assert [phase["cost_usd"] for phase in told["phases"]] == [0.53, 0.03]
    assert told["cost_usd"] == 0.59
    assert Decimal(str(told["cost_usd"])) == store.cost(db, 1)


def test_the_forecast_is_the_sum_of_the_phases_forecasts(told: dict[str, Any]) -> None:
    low, high = (sum(phase["forecast_usd"][end] for phase in told["phases"]) for end in (0, 1))

    assert told["forecast_usd"] == pytest.approx([low, high], abs=1e-5)
    assert told["budget_usd"] == 10.0


def test_moves_tell_the_story_in_order(told: dict[str, Any]) -> None:
    assert [move["to"] for move in told["moves"]][:2] == ["planning", "awaiting_approval"]
    assert [move["at"] for move in told["moves"]] == sorted(move["at"] for move in told["moves"])
    assert told["moves"][0]["at"] == NOON.isoformat()


def test_before_there_is_a_plan_the_record_has_none(db: Session, tmp_path: Path) -> None:
    early = Build(
        installation_id=1,
        repository_id=7,
        repository="acme/tally",
        issue=9,
        state="planning",
        opened_by="maria",
        branch="phasegate/issue-9",
    )
    told = records.record(db, reading(tmp_path), store.add(db, early))

    assert told["plan"] is None
    assert (told["phases"], told["attempts"], told["moves"]) == ([], [], [])
    assert (told["cost_usd"], told["forecast_usd"]) == (0.0, [0.0, 0.0])


def test_the_phase_at_work_shows_the_state_of_the_build(db: Session, build: Build, tmp_path: Path) -> None:
    shown = {}
    for state in State:
        build.state = state
        shown[state] = [phase["state"] for phase in records.record(db, reading(tmp_path), build)["phases"]]

    assert {first for first, _ in shown.values()} == {"done"}
    at_work = {State.RUNNING: "running", State.AWAITING_CHECKS: "checking", State.PAUSED: "paused"}
    assert {state: second for state, (_, second) in shown.items()} == {
        state: at_work.get(state, "waiting") for state in State
    }


def test_who_ended_a_build_is_told_only_when_it_is_over(db: Session, build: Build, tmp_path: Path) -> None:
    assert records.record(db, reading(tmp_path), build)["ended_by"] == ""
    build.ended_at = NOON
    store.add_move(db, 1, "running", "cancelled", "cancelled", "guest", "")

    assert records.record(db, reading(tmp_path), build)["ended_by"] == "guest"


def test_the_last_good_commit_is_that_of_the_last_finished_phase(db: Session, build: Build) -> None:
    assert records.last_good(db, build) == FIRST
    store.phase(db, 1, 1).finished_at = None
    assert records.last_good(db, build) == ""


def test_every_text_of_the_record_is_cleared_of_secrets(db: Session, build: Build, tmp_path: Path) -> None:
    """Those of this process and those that look like one, however deep they lie."""
    known = reading(tmp_path)
    planted = f"ghp_{'a1B2' * 9} {known.settings.anthropic_api_key.get_secret_value()}"
    store.attempt(db, 2).detail = f"Attempt: {planted}"
    store.add_move(db, 1, "running", "paused", "attempt_failed", "attempt 2", f"Move: {planted}")
    verdict = {"outcome": "red", "reason": f"Reason: {planted}", "results": [{"title": f"Title: {planted}"}]}
    phase = store.phase(db, 1, 1)
    phase.verdict, phase.decisions = json.dumps(verdict), json.dumps([f"Decision: {planted}"])
    told = json.dumps(records.record(db, known, build))

    for place in ("Attempt", "Move", "Reason", "Title", "Decision"):
        assert f"{place}: [redacted] [redacted]" in told
