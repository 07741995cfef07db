"""World files: users, repositories, checks and issues of a demo, read from YAML."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from localhub.hub import Hub
from localhub.records import App, Issue, Json, Repository, User

PERMISSIONS = {
    "metadata": "read",
    "actions": "read",
    "checks": "read",
    "statuses": "read",
    "contents": "write",
    "issues": "write",
    "pull_requests": "write",
}
EVENTS = (
    "issues",
    "issue_comment",
    "pull_request",
    "pull_request_review",
    "push",
    "check_run",
    "check_suite",
    "status",
    "workflow_run",
)


@dataclass(frozen=True)
class World:
    """What a world file made."""

    app: App
    users: list[User]
    repositories: list[Repository]
    issues: list[tuple[Repository, Issue]]


def load(hub: Hub, path: Path, webhook_url: str = "", webhook_secret: str = "") -> World:
    """Create everything a world file describes; raises ValueError or KeyError for one that makes no sense."""
    described = yaml.safe_load(path.read_text())
    if not isinstance(described, dict):
        raise ValueError(f"{path} is not a mapping")
    wanted = described.get("app") or {}
    app = hub.create_app(
        wanted.get("slug", "phasegate"),
        webhook_url,
        webhook_secret,
        wanted.get("permissions") or PERMISSIONS,
        wanted.get("events") or EVENTS,
    )
    users = [hub.create_user(login) for login in described.get("users") or []]
    rows: list[Mapping[str, Any]] = described.get("repositories") or []
    repositories = [_repository(hub, row, path.parent) for row in rows]
    for repository in repositories:
        hub.install(app, repository.full_name)
    opened = [pair for row in rows for pair in _issues(hub, row, path.parent)]
    return World(app, users, repositories, opened)


def _repository(hub: Hub, row: Mapping[str, Any], folder: Path) -> Repository:
    name = row["name"]
    source = folder / row["source"] if row.get("source") else None
    repository = hub.create_repository(
        name,
        source,
        row.get("default_branch", "main"),
        private=row.get("private", False),
        drafts_allowed=row.get("drafts_allowed", True),
    )
    for login, role in (row.get("permissions") or {}).items():
        hub.grant(name, login, role)
    for label in row.get("labels") or []:
        hub.create_label(name, label)
    if row.get("checks"):
        hub.add_checks(name, row["checks"], on_default=row.get("checks_on_default", False))
    hub.require_checks(name, row.get("required_checks") or [])
    return repository


def _issues(hub: Hub, row: Mapping[str, Any], folder: Path) -> list[tuple[Repository, Issue]]:
    opened = []
    for wanted in row.get("issues") or []:
        file = wanted.get("body_file")
        body = (folder / file).read_text() if file else wanted.get("body", "")
        labels = wanted.get("labels") or []
        made = hub.open_issue(
            row["name"], title=wanted["title"], body=body, author=wanted["author"], labels=labels
        )
        opened.append((hub.repository(row["name"]), made))
    return opened


def summary(world: World, url: str, key_file: Path) -> Json:
    """Return what a caller has to know of a served world."""
    return {
        "url": url,
        "api_url": f"{url}/api/v3",
        "app_id": world.app.id,
        "app_slug": world.app.slug,
        "private_key_file": str(key_file),
        "webhook_secret": world.app.webhook_secret,
        "users": {user.login: {"token": user.token} for user in world.users},
        "repositories": [repository.full_name for repository in world.repositories],
        "issues": [
            {"repository": repository.full_name, "number": issue.number, "title": issue.title}
            for repository, issue in world.issues
        ],
    }
