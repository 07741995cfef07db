"""What the embedded GitHub remembers: plain records, read by tests and shown as JSON elsewhere."""

import fnmatch
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from localhub.objects import Objects

Json = dict[str, Any]

ZERO = "0" * 40
ROLES = ("none", "read", "triage", "write", "maintain", "admin")


@dataclass(eq=False)
class User:
    """A person, an organisation or an App's bot; `token` is a personal access token for the REST API."""

    id: int
    login: str
    type: str
    token: str
    created_at: datetime

    @property
    def email(self) -> str:
        """The no-reply address that ties a commit to this account."""
        return f"{self.id}+{self.login}@users.noreply.github.com"


@cache
def _key(number: int) -> rsa.RSAPrivateKey:
    """Make one key for each number in a process: its hubs number their Apps alike, and never meet."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(eq=False)
class App:
    """A GitHub App; `webhook_url` may be set at any time."""

    id: int
    slug: str
    owner: User
    bot_user: User
    permissions: dict[str, str]
    events: list[str]
    webhook_url: str
    webhook_secret: str
    created_at: datetime

    @property
    def key(self) -> rsa.RSAPrivateKey:
        """The App's RSA key, made when first asked for because making one is slow."""
        return _key(self.id)

    @cached_property
    def private_key(self) -> str:
        """The App's private key as PEM text, as GitHub hands it out for download."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ).decode()

    @property
    def client_id(self) -> str:
        """The identifier that may stand as `iss` in the App's JWT instead of the number."""
        return f"Iv23li{self.id:014d}"


@dataclass(eq=False)
class Label:
    """A label of a repository."""

    id: int
    name: str
    color: str = "ededed"
    description: str = ""


@dataclass(eq=False)
class Reaction:
    """One account's reaction to an issue or a comment."""

    id: int
    content: str
    user: User
    created_at: datetime


@dataclass(eq=False)
class Comment:
    """A comment on an issue or pull request; `app` is set when an App wrote it."""

    id: int
    body: str
    author: User
    app: App | None
    created_at: datetime
    updated_at: datetime
    reactions: list[Reaction] = field(default_factory=list)
    minimized: str = ""

    @property
    def user(self) -> User:
        """The author, as GitHub's JSON calls them."""
        return self.author


@dataclass(eq=False)
class Pull:
    """What makes an issue a pull request; head and base are branches of the same repository."""

    head_ref: str
    head_sha: str
    base_ref: str
    base_sha: str
    draft: bool = False
    merged: bool = False
    merged_at: datetime | None = None
    merged_by: User | None = None
    merge_sha: str | None = None
    asked_mergeable: tuple[str, str] = ("", "")


@dataclass(eq=False)
class Issue:
    """An issue, or a pull request when `pull` is set; both share one row of numbers."""

    id: int
    number: int
    title: str
    body: str
    author: User
    app: App | None
    created_at: datetime
    updated_at: datetime
    state: str = "open"
    state_reason: str | None = None
    closed_at: datetime | None = None
    closed_by: User | None = None
    labels: list[str] = field(default_factory=list)
    assignees: list[User] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    reactions: list[Reaction] = field(default_factory=list)
    reviews: list["Review"] = field(default_factory=list)
    pull: Pull | None = None

    @property
    def user(self) -> User:
        """The author, as GitHub's JSON calls them."""
        return self.author

    @property
    def draft(self) -> bool:
        """Whether this is a draft pull request."""
        return self.pull is not None and self.pull.draft

    @property
    def merged(self) -> bool:
        """Whether this is a merged pull request."""
        return self.pull is not None and self.pull.merged

    @property
    def head_ref(self) -> str:
        """The pull request's branch, empty for an issue."""
        return self.pull.head_ref if self.pull else ""

    @property
    def head_sha(self) -> str:
        """The pull request's newest commit, empty for an issue."""
        return self.pull.head_sha if self.pull else ""


@dataclass(eq=False)
class Review:
    """A submitted review of a pull request; `state` is APPROVED, CHANGES_REQUESTED or COMMENTED."""

    id: int
    author: User
    state: str
    body: str
    commit_id: str
    submitted_at: datetime


@dataclass(eq=False)
class CheckSuite:
    """All check runs of one App for one commit."""

    id: int
    app: App
    head_sha: str
    head_branch: str | None
    created_at: datetime
    updated_at: datetime
    status: str = "queued"
    conclusion: str | None = None
    before: str = ZERO
    runs: list["CheckRun"] = field(default_factory=list)


@dataclass(eq=False)
class CheckRun:
    """One check of one App on one commit; `output` holds title, summary and text."""

    id: int
    name: str
    suite: CheckSuite
    status: str
    conclusion: str | None
    started_at: datetime | None
    completed_at: datetime | None
    external_id: str = ""
    details_url: str = ""
    title: str | None = None
    summary: str | None = None
    text: str | None = None
    annotations: list[Json] = field(default_factory=list)

    @property
    def app(self) -> App:
        """The App that reported it."""
        return self.suite.app

    @property
    def head_sha(self) -> str:
        """The commit it judges."""
        return self.suite.head_sha


@dataclass(eq=False)
class Status:
    """One legacy commit status; the newest of a context counts."""

    id: int
    sha: str
    context: str
    state: str
    description: str
    target_url: str
    creator: User
    created_at: datetime


@dataclass(eq=False)
class WorkflowRun:
    """One run of a workflow of GitHub Actions; its jobs are check runs of the Actions App."""

    id: int
    name: str
    head_sha: str
    head_branch: str | None
    event: str
    status: str
    conclusion: str | None
    run_number: int
    run_attempt: int
    suite: CheckSuite
    created_at: datetime
    updated_at: datetime
    jobs: list["Job"] = field(default_factory=list)
    started_at: datetime | None = None
    """When its newest attempt started, if that is not the first."""


@dataclass(eq=False)
class Job:
    """One job of a workflow run; `check` carries its state, `log` what it printed."""

    check: CheckRun
    attempt: int
    log: str
    steps: list[Json] = field(default_factory=list)


@dataclass(eq=False)
class CheckCommand:
    """One entry of the CI App: a command to run in a checkout, for at most `timeout` seconds."""

    name: str
    command: str
    timeout: float = 120


@dataclass(eq=False)
class Repository:
    """A repository: its Git objects on disk, everything else in memory."""

    id: int
    owner: User
    name: str
    default_branch: str
    private: bool
    drafts_allowed: bool
    objects: Objects
    created_at: datetime
    pushed_at: datetime
    roles: dict[str, str] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    suites: list[CheckSuite] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    workflow_runs: list[WorkflowRun] = field(default_factory=list)
    commands: list[CheckCommand] = field(default_factory=list)
    checks_on_default: bool = False
    ci_enabled: bool = True
    required_checks: list[str] = field(default_factory=list)
    no_force: list[str] = field(default_factory=list)
    verified: set[str] = field(default_factory=set)
    next_number: int = 1

    @property
    def full_name(self) -> str:
        """`owner/name`, as URLs and payloads write it."""
        return f"{self.owner.login}/{self.name}"

    @property
    def pulls(self) -> list[Issue]:
        """Its pull requests, oldest first."""
        return [issue for issue in self.issues.values() if issue.pull]

    def role(self, user: User) -> str:
        """Return the role of an account here: a grant, or `read` where everyone may read."""
        if user is self.owner:
            return "admin"
        return self.roles.get(user.login.lower(), "none" if self.private else "read")

    def forbids_force(self, branch: str) -> bool:
        """Whether a rule forbids force pushes to a branch."""
        return any(fnmatch.fnmatchcase(branch, pattern) for pattern in self.no_force)

    def allows(self, user: User, role: str) -> bool:
        """Whether an account has at least this role."""
        return ROLES.index(self.role(user)) >= ROLES.index(role)


@dataclass(eq=False)
class Installation:
    """An App on an account's repositories."""

    id: int
    app: App
    account: User
    repositories: list[Repository]
    created_at: datetime
    permissions: dict[str, str]
    suspended_at: datetime | None = None


@dataclass(eq=False)
class Delivery:
    """One webhook request: what was sent, and what came back (`status` 0 when nothing did)."""

    id: int
    guid: str
    event: str
    action: str | None
    app: App
    installation_id: int | None
    repository_id: int | None
    body: Json
    raw: bytes
    delivered_at: datetime
    redelivery: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    reason: str = "pending"
    duration: float = 0.0
    response_headers: dict[str, str] = field(default_factory=dict)
    response_body: str = ""
    done: bool = False


@dataclass(frozen=True)
class Actor:
    """Who does something: an account, and the App it acts through."""

    user: User
    app: App | None = None
