"""Scenario files: what may stand in them, and how a wrong one is refused."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from localmodel import Scenario, ScenarioError

GOOD = """
name: notifications
pace: {first_byte: 0.05, between: 0.0}
conversations:
  - name: plan
    when: {tool: submit_plan}
    turns:
      - think: "Look at the layout first."
        say: "I look."
        use:
          - list_files: {pattern: "**"}
  - name: phase 1
    when: {tool: finish_phase, says: "Phase 1 of \\\\d", also: notif, model: opus, nth: 2}
    turns:
      - use:
          - create_file: {path: app/models.py, content: "@file:phase1/app/models.py", executable: false}
          - create_file: {path: handle, content: "@@file:me"}
        faults:
          - {kind: rate_limited, retry_after: 1}
      - delay: 3
        expect: {last_result: "^ok", is_error: false}
        stop: max_tokens
"""


def test_a_scenario_reads_the_files_it_names(tmp_path: Path) -> None:
    (tmp_path / "phase1/app").mkdir(parents=True)
    (tmp_path / "phase1/app/models.py").write_bytes(b"x = 1\r\n")
    (tmp_path / "notifications.yaml").write_text(GOOD)

    phase = Scenario.load(tmp_path / "notifications.yaml").conversations[1]

    assert phase.turns[0].use[0]["create_file"]["content"] == "x = 1\r\n"
    assert phase.turns[0].use[0]["create_file"]["executable"] is False
    assert phase.turns[0].faults[0].retry_after == 1


def test_two_at_signs_stand_for_one(tmp_path: Path) -> None:
    (tmp_path / "phase1/app").mkdir(parents=True)
    (tmp_path / "phase1/app/models.py").write_text("")
    (tmp_path / "notifications.yaml").write_text(GOOD)

    turn = Scenario.load(tmp_path / "notifications.yaml").conversations[1].turns[0]

    assert turn.use[1]["create_file"]["content"] == "@file:me"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "notifications.yaml").write_text(GOOD)

    with pytest.raises(
        ScenarioError, match=r"notifications\.yaml: cannot read `@file:phase1/app/models\.py`"
    ):
        Scenario.load(tmp_path / "notifications.yaml")


@pytest.mark.parametrize("text", ["name: [", "\tx", "", "- a"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.yaml").write_text(text)

    with pytest.raises(ScenarioError, match=r"^broken\.yaml: "):
        Scenario.load(tmp_path / "broken.yaml")


def test_a_key_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "story.yaml").write_text("name: a\nconversations: []\nname: b\n")

    with pytest.raises(ScenarioError, match="key `name` is given twice"):
        Scenario.load(tmp_path / "story.yaml")


def test_a_missing_scenario_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"^nowhere\.yaml: "):
        Scenario.load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("turn", "sentence"),
    [
        ({"sey": "hi"}, "conversations[0].turns[0].sey: unknown key"),
        ({"faults": [{"kind": "cut", "tiems": 1}]}, "conversations[0].turns[0].faults[0].tiems: unknown key"),
        ({"faults": [{"kind": "earthquake"}]}, "conversations[0].turns[0].faults[0].kind: Input should be"),
        ({"faults": [{"kind": "cut", "seconds": 1}]}, "`seconds` means nothing to cut, only to stall"),
        ({"faults": [{"kind": "bad_json"}]}, "conversations[0].turns[0]: bad_json needs a tool in `use`"),
        ({"use": [{"a": {}, "b": {}}]}, "one tool per entry, not 2: a, b"),
        ({"use": [{"a": {"day": date(2026, 1, 1)}}]}, "use[0].a.day: input was not a valid JSON value"),
        ({"use": [{"a": None}]}, "Input should be a valid dictionary"),
        ({"expect": {"last_result": "("}}, "last_result: not a regular expression"),
        ({"expect": {"says": "x"}}, "expect.says: unknown key"),
        ({"stop": "bored"}, "turns[0].stop: Input should be"),
        ({"delay": "3"}, "turns[0].delay: Input should be a valid number"),
        ({"say": ""}, "turns[0].say: String should have at least 1 character"),
        ({"use": [{"a": {"b": "@file:c"}}]}, "`@file:c` needs a scenario that lies in a folder"),
    ],
)
def test_a_wrong_turn_is_refused_with_its_place(turn: dict[str, Any], sentence: str) -> None:
    data = {"name": "story", "conversations": [{"name": "only", "turns": [turn]}]}

    with pytest.raises(ScenarioError) as refusal:
        Scenario.parse(data)

    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"extra": 1}, "scenario: extra: unknown key"),
        ({"pace": {"slow": 1}}, "pace.slow: unknown key"),
        ({"name": None}, "name: Input should be a valid string"),
        ({"conversations": [{"name": "a", "turns": []}]}, "turns: List should have at least 1 item"),
        ({"conversations": [{"name": "a", "turns": [{}], "when": {"tols": "x"}}]}, "when.tols: unknown key"),
        (
            {"conversations": [{"name": "a", "turns": [{}], "when": {"says": "["}}]},
            "not a regular expression",
        ),
        ({"conversations": [{"name": "a", "turns": [{}]}] * 2}, "two conversations are called `a`"),
    ],
)
def test_a_wrong_scenario_is_refused_with_its_place(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        Scenario.parse({"name": "story", "conversations": [], **changes})

    assert sentence in str(refusal.value)
