"""The App's manifest against the code: what it hears of is what is handled, what it may do is what is done."""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import handlers
from bot.github_client import LEVELS, PERMISSIONS
from handlers import ROUTER

ROOT = Path(__file__).parents[2]
BY_THEMSELVES = {"installation", "installation_repositories"}
"""Sent to every App; a manifest cannot list them."""
OPERATORS_CHOICE = {"rerun"}
"""Purposes that work only where the operator grants more than the manifest asks for."""
TOLD_WITH = {
    "issues": "issues",
    "issue_comment": "issues",
    "pull_request": "pull_requests",
    "push": "contents",
    "check_run": "checks",
    "check_suite": "checks",
    "status": "statuses",
    "workflow_run": "actions",
}
"""Event → the permission without which GitHub does not send it."""
MODULES = sorted(module.name for module in pkgutil.iter_modules(handlers.__path__))


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "app.yml").read_text(encoding="utf-8")))


def keys_of(name: str) -> set[str]:
    """Return the event keys that one handler module reacts to."""
    return set(importlib.import_module(f"handlers.{name}").router.keys())


def events() -> set[str]:
    """Return the events that are handled, without their actions."""
    keys = ROUTER.keys()
    return {key.partition(".")[0] for key in keys}


def test_the_app_hears_of_exactly_what_the_handlers_react_to(manifest: dict[str, Any]) -> None:
    assert len(manifest["default_events"]) == len(set(manifest["default_events"]))
    assert set(manifest["default_events"]) == events() - BY_THEMSELVES
    assert events() >= BY_THEMSELVES


@pytest.mark.parametrize("name", MODULES)
def test_every_handler_module_is_in_the_index(name: str) -> None:
    assert keys_of(name)
    assert keys_of(name) <= ROUTER.keys()


def test_each_event_has_one_home():
    """Were a key in two modules, the index could miss one of them unseen."""
    keys = [key for name in MODULES for key in keys_of(name)]

    assert sorted(keys) == sorted(ROUTER.keys())


def test_every_event_handled_is_one_that_github_knows():
    known = {path.stem.partition("__")[0] for path in (ROOT / "tests" / "payloads").glob("*.json")}

    assert events() <= known


def test_the_app_asks_for_exactly_what_its_tokens_are_used_for(manifest: dict[str, Any]) -> None:
    """Each permission at the highest level that some call needs; nothing else, and nothing missing."""
    needed: dict[str, str] = {}
    for purpose, permissions in PERMISSIONS.items():
        if purpose not in OPERATORS_CHOICE:
            for name, level in permissions.items():
                needed[name] = max(needed.get(name, level), level, key=LEVELS.__getitem__)

    assert manifest["default_permissions"] == needed


def test_what_the_operator_may_grant_on_top_is_one_level_of_one_permission(manifest: dict[str, Any]) -> None:
    more = {
        (name, level)
        for purpose in OPERATORS_CHOICE
        for name, level in PERMISSIONS[purpose].items()
        if manifest["default_permissions"].get(name) != level
    }

    assert more == {("actions", "write")}


def test_each_event_comes_with_a_permission_the_app_has(manifest: dict[str, Any]) -> None:
    assert {TOLD_WITH[event] for event in manifest["default_events"]} <= set(manifest["default_permissions"])


@pytest.mark.parametrize("name", ["workflows", "administration", "secrets", "members", "environments"])
def test_what_would_make_the_bot_dangerous_is_never_asked_for(manifest: dict[str, Any], name: str) -> None:
    """Without `workflows` GitHub itself refuses every change of a workflow file."""
    assert name not in manifest["default_permissions"]
    assert all(name not in permissions for permissions in PERMISSIONS.values())


def test_checks_are_read_and_never_written(manifest: dict[str, Any]) -> None:
    """The checks are the gate: whoever can write them can forge it."""
    assert {manifest["default_permissions"][name] for name in ("checks", "statuses", "actions")} == {"read"}


def test_the_app_is_private_and_its_deliveries_go_to_the_intake(manifest: dict[str, Any]) -> None:
    assert manifest["public"] is False
    assert manifest["hook_attributes"]["url"].endswith("/webhooks/github")
    assert manifest["hook_attributes"]["active"] is True
