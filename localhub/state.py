"""Everything the embedded GitHub holds in memory, under one lock, with the look-ups that all parts share."""

import base64
import itertools
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from localhub.faults import Faults
from localhub.records import (
    Actor,
    App,
    CheckRun,
    CheckSuite,
    Comment,
    Delivery,
    Installation,
    Issue,
    Json,
    Repository,
    User,
)
from localhub.refusals import not_found


class Request(NamedTuple):
    """One answered request of the log: when, method, path with query, status and who asked."""

    time: datetime
    method: str
    path: str
    status: int
    who: str


@dataclass
class Token:
    """An installation token: what it may do, where, and until when."""

    value: str
    installation: Installation
    permissions: dict[str, str]
    repositories: list[Repository] | None
    expires_at: datetime
    born: float = field(default_factory=time.time)


@dataclass
class State:
    """The whole world; take `lock` for anything that reads or writes more than one field."""

    data_dir: Path
    url: str = "http://localhub.invalid"
    lock: threading.RLock = field(default_factory=threading.RLock)
    users: dict[str, User] = field(default_factory=dict)
    apps: dict[int, App] = field(default_factory=dict)
    installations: dict[int, Installation] = field(default_factory=dict)
    repositories: dict[str, Repository] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    """Former name in lower case → the present one."""
    tokens: dict[str, Token] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    nodes: dict[str, Any] = field(default_factory=dict)
    manifests: dict[str, App] = field(default_factory=dict)
    outbox: deque[Delivery] = field(default_factory=deque)
    check_jobs: deque[tuple[Repository, CheckSuite]] = field(default_factory=deque)
    wake: Callable[[], None] = lambda: None
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1001))

    @property
    def api_url(self) -> str:
        """Where the REST API answers."""
        return f"{self.url}/api/v3"

    def now(self) -> datetime:
        """Return the time in whole seconds, which is as fine as GitHub tells it."""
        return datetime.now(UTC).replace(microsecond=0)

    def next_id(self) -> int:
        """Return a number never given before."""
        return next(self.numbers)

    def user(self, login: str) -> User:
        """Return the account of a login in any case; refuses with 404."""
        found = self.users.get(login.lower())
        if not found:
            raise not_found()
        return found

    def account_at(self, email: str) -> User | None:
        """Return the account that commits under an address."""
        if email == "noreply@github.com":
            return self.users.get("web-flow")
        return next((user for user in self.users.values() if user.email == email), None)

    def make_user(self, login: str, kind: str = "User", person: bool = False) -> User:
        """Add an account, or return the one of that login; only a `person` gets a token."""
        if login.lower() in self.users:
            return self.users[login.lower()]
        token = "ghp_" + secrets.token_hex(18) if person else ""
        user = User(self.next_id(), login, kind, token, self.now())
        self.users[login.lower()] = user
        self.nodes[node_id("U", user.id)] = user
        return user

    def make_app(
        self,
        slug: str,
        permissions: Mapping[str, str],
        events: Sequence[str] = (),
        webhook_url: str = "",
        webhook_secret: str = "",
    ) -> App:
        """Register an App with its bot account."""
        owner, bot = self.make_user("app-owner"), self.make_user(f"{slug}[bot]", "Bot")
        held = dict(permissions) | {"metadata": "read"}
        made = (self.next_id(), slug, owner, bot, held, list(events), webhook_url, webhook_secret, self.now())
        app = App(*made)
        self.apps[app.id] = app
        return app

    def repository(self, full_name: str) -> Repository:
        """Return the repository `owner/name` in any case; refuses with 404."""
        found = self.repositories.get(full_name.lower())
        if not found:
            raise not_found()
        return found

    def moved_path(self, path: str) -> str | None:
        """Return where a path below the API leads whose repository was renamed."""
        head, owner, name, rest = [*path.lstrip("/").split("/", 3), "", "", ""][:4]
        there = self.moved.get(f"{owner}/{name}".lower()) if head == "repos" else None
        return f"/repos/{there}/{rest}".rstrip("/") if there else None

    def installation_on(self, app: App, repository: Repository) -> Installation | None:
        """Return the App's installation that covers a repository."""
        for installation in self.installations.values():
            if installation.app is app and repository in installation.repositories:
                return installation
        return None

    def installed_on(self, repository: Repository) -> list[Installation]:
        """Return all working installations that cover a repository."""
        found = [i for i in self.installations.values() if repository in i.repositories]
        return [installation for installation in found if not installation.suspended_at]

    def issue(self, repository: Repository, number: int) -> Issue:
        """Return an issue or pull request; refuses with 404."""
        if number not in repository.issues:
            raise not_found()
        return repository.issues[number]

    def comment(self, repository: Repository, comment_id: int) -> tuple[Issue, Comment]:
        """Return a comment and the issue it stands on; refuses with 404."""
        for issue in repository.issues.values():
            for comment in issue.comments:
                if comment.id == comment_id:
                    return issue, comment
        raise not_found()

    def check_run(self, repository: Repository, run_id: int) -> CheckRun:
        """Return a check run; refuses with 404."""
        for suite in repository.suites:
            for run in suite.runs:
                if run.id == run_id:
                    return run
        raise not_found()

    def app_by_slug(self, slug: str) -> App | None:
        """Return the App of a slug."""
        return next((app for app in self.apps.values() if app.slug == slug), None)

    def actor(self, login: str) -> Actor:
        """Return a person as the one who acts; an App's bot acts through its App."""
        user = self.user(login)
        return Actor(user, next((app for app in self.apps.values() if app.bot_user is user), None))


def node_id(kind: str, number: int | str) -> str:
    """Return the opaque identifier that GraphQL uses for a thing."""
    return f"{kind}_" + base64.urlsafe_b64encode(f"localhub:{kind}{number}".encode()).decode().rstrip("=")


def stamp(moment: datetime | None) -> str | None:
    """Return a moment as GitHub writes it, in whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def describe(value: Json) -> Json:
    """Return a copy without keys that hold None."""
    return {key: item for key, item in value.items() if item is not None}
