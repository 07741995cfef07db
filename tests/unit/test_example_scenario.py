"""The recorded replies of the examples keep to the contracts that the demo shows."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from wcmatch import glob

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTIFICATIONS = EXAMPLES / "notifications" / "scenario.yml"
CLUMSY = EXAMPLES / "itsdangerous" / "scenario-clumsy.yml"
SCENARIOS = [NOTIFICATIONS, EXAMPLES / "itsdangerous" / "scenario.yml", CLUMSY]
LINE_CAP = 400
CONVENTIONAL = re.compile(r"(feat|fix|docs|refactor|test|chore)(\([a-z-]+\))?!?: [^\s.].{0,60}[^.]")
FIELDS: dict[str, set[str]] = {
    "list_files": {"pattern"},
    "search": {"pattern", "path"},
    "read_file": {"path", "start_line", "end_line"},
    "edit_file": {"path", "old_str", "new_str"},
    "create_file": {"path", "content", "executable"},
    "finish_phase": {"summary", "decisions", "commit_subject", "commit_body"},
    "submit_plan": {
        "summary",
        "requirements",
        "assumptions",
        "open_questions",
        "risks",
        "feature_flag",
        "phases",
    },
    "submit_verification": {"findings", "conflicts", "ambiguities", "follow_up_phases"},
}
PHASE_FIELDS = {
    "title", "layer", "goal", "deliverables", "out_of_scope", "allowed_paths",
    "criteria", "serves", "test_approach", "estimated_lines",
}  # fmt: skip
FINDING_FIELDS = {"requirement", "criterion", "verdict", "phase", "evidence", "note"}
Call = tuple[str, dict[str, Any]]


@cache
def conversations(scenario: Path) -> dict[str, Any]:
    """Load a scenario's conversations by name, in their order."""
    loaded = yaml.safe_load(scenario.read_text("utf-8"))
    return {conversation["name"]: conversation for conversation in loaded["conversations"]}


def calls(scenario: Path, conversation: str) -> Iterator[Call]:
    """Yield the tool calls of one conversation, `@file:` values read."""
    for turn in conversations(scenario)[conversation]["turns"]:
        for use in turn["use"]:
            for tool, fields in use.items():
                yield tool, {name: resolved(scenario, value) for name, value in fields.items()}


def resolved(scenario: Path, value: Any) -> Any:
    """Return the file's content for an `@file:` reference, anything else as it is."""
    if isinstance(value, str) and value.startswith("@file:"):
        return (scenario.parent / value.removeprefix("@file:")).read_text("utf-8")
    return value


def last(scenario: Path, conversation: str) -> Call:
    """Return the call that ends a conversation."""
    return list(calls(scenario, conversation))[-1]


def plan(scenario: Path) -> dict[str, Any]:
    """Return the plan of a scenario."""
    return last(scenario, "plan")[1]


def numbers(scenario: Path) -> range:
    """Return the numbers of the plan's phases."""
    return range(1, len(plan(scenario)["phases"]) + 1)


def allowed(path: str, phase: dict[str, Any]) -> bool:
    """Tell whether the phase may write the path."""
    flags = glob.GLOBSTAR | glob.DOTGLOB | glob.FORCEUNIX
    return bool(glob.globmatch(path, phase["allowed_paths"], flags=flags))


def writes(scenario: Path, number: int) -> list[Call]:
    """Return the edits and new files of a phase, wrong ones included."""
    return [call for call in calls(scenario, f"phase {number}") if call[0] in ("edit_file", "create_file")]


def apply(tree: Path, number: int) -> None:
    """Write one phase of the notifications into `tree`; asserts what the bot's tools would refuse."""
    phase = plan(NOTIFICATIONS)["phases"][number - 1]
    for tool, fields in writes(NOTIFICATIONS, number):
        target = tree / fields["path"]
        assert allowed(fields["path"], phase), fields["path"]
        if tool == "create_file":
            assert not target.exists(), fields["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(fields["content"], "utf-8")
        else:
            text = target.read_text("utf-8")
            assert text.count(fields["old_str"]) == 1, fields
            target.write_text(text.replace(fields["old_str"], fields["new_str"]), "utf-8")


def built(root: Path, *, until: int) -> Path:
    """Return a copy of the sample repository with the phases up to `until` applied."""
    tree = root / "tree"
    shutil.copytree(
        EXAMPLES / "notifications" / "repository", tree, ignore=shutil.ignore_patterns("__pycache__")
    )
    for number in range(1, until + 1):
        apply(tree, number)
    return tree


def run_suite(tree: Path, *only: str) -> subprocess.CompletedProcess[str]:
    """Run the sample repository's own tests, or only these files, every warning an error."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *only]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))
    }
    # The sample needs none of the plugins installed here, and loading them takes longer than its tests.
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("until", [1, 2, 3, 4])
def test_the_sample_repository_is_green_after_every_phase(tmp_path: Path, until: int) -> None:
    tree = built(tmp_path, until=until)

    finished = run_suite(tree)

    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_a_missing_ownership_check_turns_the_sample_repository_red(tmp_path: Path) -> None:
    """The suite that the phases bring is able to fail."""
    tree = built(tmp_path, until=4)
    service = tree / "app/notifications/service.py"
    broken = service.read_text("utf-8").replace("notification.recipient_id != asked_by.stored_id", "False")
    service.write_text(broken, "utf-8")

    finished = run_suite(tree, "tests/test_notifications_routes.py")

    assert finished.returncode == 1
    assert "test_marking_a_foreign_notification_is_answered_403" in finished.stdout


def test_every_evidence_line_shows_something_in_the_final_tree(tmp_path: Path) -> None:
    tree = built(tmp_path, until=4)

    for finding in last(NOTIFICATIONS, "verification")[1]["findings"]:
        assert finding["evidence"]
        for place in finding["evidence"]:
            line = (tree / place["path"]).read_text("utf-8").splitlines()[place["line"] - 1]
            assert line.strip()
            assert line.startswith("def test_") or not place["path"].startswith("tests/"), place


def test_what_the_model_reads_is_there_when_it_reads_it(tmp_path: Path) -> None:
    tree = built(tmp_path, until=0)

    for name in conversations(NOTIFICATIONS):
        for tool, fields in calls(NOTIFICATIONS, name):
            if tool == "read_file":
                assert (tree / fields["path"]).is_file(), (name, fields["path"])
        if name.startswith("phase"):
            apply(tree, int(name.removeprefix("phase ")))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: f"{path.parent.name}-{path.stem}")
class TestEveryScenario:
    """What holds for each recorded build, whatever it builds."""

    def test_each_conversation_is_told_from_the_others(self, scenario: Path) -> None:
        total = len(numbers(scenario))
        told = {name: conversation["when"] for name, conversation in conversations(scenario).items()}

        assert told == {
            "plan": {"tool": "submit_plan"},
            **{
                f"phase {n}": {"tool": "finish_phase", "says": f"Phase {n} of {total}"}
                for n in numbers(scenario)
            },
            "verification": {"tool": "submit_verification"},
        }

    def test_every_call_has_exactly_the_fields_of_its_tool(self, scenario: Path) -> None:
        for name in conversations(scenario):
            for tool, fields in calls(scenario, name):
                assert set(fields) == FIELDS[tool], (name, tool)
        assert all(set(phase) == PHASE_FIELDS for phase in plan(scenario)["phases"])
        findings = last(scenario, "verification")[1]["findings"]
        assert all(set(finding) == FINDING_FIELDS for finding in findings)

    def test_requirements_quote_the_issue(self, scenario: Path) -> None:
        issue = (scenario.parent / "issue.md").read_text("utf-8")

        for requirement in plan(scenario)["requirements"]:
            assert requirement["text"] in issue

    def test_every_requirement_is_served_by_a_phase(self, scenario: Path) -> None:
        served = {name for phase in plan(scenario)["phases"] for name in phase["serves"]}

        assert served == {requirement["id"] for requirement in plan(scenario)["requirements"]}

    def test_every_deliverable_is_written_in_its_phase_and_nothing_else(self, scenario: Path) -> None:
        for number, phase in enumerate(plan(scenario)["phases"], start=1):
            assert all(allowed(path, phase) for path in phase["deliverables"])
            written = {
                fields["path"] for _, fields in writes(scenario, number) if allowed(fields["path"], phase)
            }
            assert written == set(phase["deliverables"])

    def test_a_phase_stays_below_the_line_cap(self, scenario: Path) -> None:
        for number in numbers(scenario):
            texts = [
                text
                for _, fields in writes(scenario, number)
                for name, text in fields.items()
                if name in ("content", "old_str", "new_str")
            ]
            assert sum(len(text.splitlines()) for text in texts) <= LINE_CAP

    def test_every_phase_ends_with_a_conventional_commit_that_says_why(self, scenario: Path) -> None:
        for number in numbers(scenario):
            tool, fields = last(scenario, f"phase {number}")
            assert tool == "finish_phase"
            assert CONVENTIONAL.fullmatch(fields["commit_subject"]), fields["commit_subject"]
            assert len(fields["commit_subject"]) <= 72
            assert fields["commit_body"]

    def test_every_requirement_and_criterion_has_one_finding(self, scenario: Path) -> None:
        findings = last(scenario, "verification")[1]["findings"]
        whole = [finding["requirement"] for finding in findings if not finding["criterion"]]
        parts = [(f["phase"], f["criterion"]) for f in findings if f["criterion"]]

        assert whole == [requirement["id"] for requirement in plan(scenario)["requirements"]]
        assert parts == [
            (number, criterion)
            for number, phase in enumerate(plan(scenario)["phases"], start=1)
            for criterion in phase["criteria"]
        ]

    def test_each_finding_names_a_phase_that_serves_its_requirement(self, scenario: Path) -> None:
        phases = plan(scenario)["phases"]

        for finding in last(scenario, "verification")[1]["findings"]:
            assert finding["requirement"] in phases[finding["phase"] - 1]["serves"]
            assert finding["verdict"] == "met"


def test_only_the_clumsy_scenario_writes_outside_its_paths() -> None:
    outside = {
        (scenario.stem, number, fields["path"])
        for scenario in SCENARIOS
        for number in numbers(scenario)
        for _, fields in writes(scenario, number)
        if not allowed(fields["path"], plan(scenario)["phases"][number - 1])
    }

    assert outside == {("scenario-clumsy", 3, "examples/rotate_keys.py")}


def test_the_clumsy_scenario_first_edits_text_that_no_file_has() -> None:
    tool, fields = writes(CLUMSY, 3)[0]

    assert (tool, fields["path"]) == ("edit_file", "CHANGES.rst")
    assert fields["old_str"].startswith("Version 2.3.0\n")


@pytest.mark.parametrize("folder", ["notifications", "itsdangerous"])
def test_a_world_names_what_it_uses(folder: str) -> None:
    world = yaml.safe_load((EXAMPLES / folder / "world.yml").read_text("utf-8"))

    for repository in world["repositories"]:
        assert set(repository["permissions"]) <= set(world["users"])
        assert set(repository["required_checks"]) <= {check["name"] for check in repository["checks"]}
        for issue in repository["issues"]:
            assert issue["author"] in repository["permissions"]
            assert (EXAMPLES / folder / issue["body_file"]).is_file()
