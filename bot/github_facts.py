"""What GitHub tells of issues, commits, checks and pull requests: frozen values, read from its JSON. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.reports import CheckRun, Required, Status, WorkflowRun

Json = Mapping[str, Any]

ACTIONS = "github-actions"
"""The slug of the App that runs workflows, on github.com and on GHES."""


@dataclass(frozen=True)
class AppFacts:
    """Who we are: `bot_id` is 0 while GitHub does not show us our own user."""

    id: int
    slug: str
    bot_login: str
    bot_id: int


@dataclass(frozen=True)
class RepositoryFacts:
    """A repository as it is now; `node_id` is its name in GraphQL."""

    id: int
    node_id: str
    default_branch: str
    private: bool
    full_name: str = ""


@dataclass(frozen=True)
class IssueFacts:
    """An issue or, where `is_pull_request`, the issue side of a pull request; times are ISO 8601."""

    number: int
    title: str
    body: str
    state: str
    labels: tuple[str, ...]
    author_login: str
    author_id: int
    author_type: str
    is_pull_request: bool
    html_url: str
    updated_at: str


@dataclass(frozen=True)
class Comment:
    """A comment on an issue; `app_id` is the App it was written through, if any."""

    id: int
    body: str
    author_login: str
    author_id: int
    author_type: str
    app_id: int | None
    created_at: str
    html_url: str
    node_id: str = ""
    updated_at: str = ""


@dataclass(frozen=True)
class PermissionFacts:
    """What a person may do: `permission` is admin, write, read or none; `role` may be a custom one."""

    permission: str
    role: str
    user_id: int


@dataclass(frozen=True)
class FileChange:
    """A file as it shall be: `mode` is 100644, 100755 or 120000 (then `content` is the link's target)."""

    mode: str
    content: bytes


@dataclass(frozen=True)
class CommitFacts:
    """A commit; `author_login` is empty (and `author_id` 0) where GitHub knows no account for its author."""

    sha: str
    message: str
    author_login: str
    tree: str
    parents: tuple[str, ...]
    author_id: int = 0


@dataclass(frozen=True)
class PullFacts:
    """A pull request; `mergeable` is None while GitHub has not worked it out."""

    number: int
    node_id: str
    state: str
    draft: bool
    merged: bool
    mergeable: bool | None
    head_sha: str
    head_ref: str
    base_ref: str
    title: str
    body: str
    html_url: str


@dataclass(frozen=True)
class Annotation:
    """One remark of a check run at a line of a file; `level` is notice, warning or failure."""

    path: str
    line: int
    level: str
    message: str
    title: str


@dataclass(frozen=True)
class Comparison:
    """How `head` stands to `base`: `status` is identical, ahead, behind or diverged."""

    status: str
    ahead_by: int
    behind_by: int
    merge_base: str


def _author(raw: Json) -> tuple[str, int, str]:
    # A deleted account is null in the API and shown as "ghost" on the site.
    user = raw.get("user") or {}
    return user.get("login", "ghost"), user.get("id", 0), user.get("type", "User")


def repository(raw: Json) -> RepositoryFacts:
    """Read a repository object."""
    return RepositoryFacts(
        raw["id"], raw["node_id"], raw["default_branch"], bool(raw["private"]), raw["full_name"]
    )


def issue(raw: Json) -> IssueFacts:
    """Read an issue object; an empty body is null there and "" here."""
    login, user_id, kind = _author(raw)
    labels = (label if isinstance(label, str) else label.get("name") or "" for label in raw["labels"])
    return IssueFacts(
        number=raw["number"],
        title=raw["title"],
        body=raw.get("body") or "",
        state=raw["state"],
        labels=tuple(labels),
        author_login=login,
        author_id=user_id,
        author_type=kind,
        is_pull_request="pull_request" in raw,
        html_url=raw["html_url"],
        updated_at=raw["updated_at"],
    )


def comment(raw: Json) -> Comment:
    """Read an issue comment object."""
    login, user_id, kind = _author(raw)
    through = raw.get("performed_via_github_app") or {}
    return Comment(
        id=raw["id"],
        body=raw.get("body") or "",
        author_login=login,
        author_id=user_id,
        author_type=kind,
        app_id=through.get("id"),
        created_at=raw["created_at"],
        html_url=raw["html_url"],
        node_id=raw.get("node_id", ""),
        updated_at=raw.get("updated_at", ""),
    )


def permission(raw: Json) -> PermissionFacts:
    """Read a collaborator permission object."""
    user = raw.get("user") or {}
    level = raw["permission"]
    return PermissionFacts(level, raw.get("role_name") or level, user.get("id", 0))


def commit(raw: Json) -> CommitFacts:
    """Read a commit object of the REST commits or compare API."""
    author = raw.get("author") or {}
    return CommitFacts(
        sha=raw["sha"],
        message=raw["commit"]["message"],
        author_login=author.get("login", ""),
        tree=raw["commit"]["tree"]["sha"],
        parents=tuple(parent["sha"] for parent in raw["parents"]),
        author_id=author.get("id", 0),
    )


def pull(raw: Json) -> PullFacts:
    """Read a pull request object, full or as listed (lists hold `merged_at` only)."""
    return PullFacts(
        number=raw["number"],
        node_id=raw["node_id"],
        state=raw["state"],
        draft=bool(raw.get("draft")),
        merged=bool(raw.get("merged", raw.get("merged_at"))),
        mergeable=raw.get("mergeable"),
        head_sha=raw["head"]["sha"],
        head_ref=raw["head"]["ref"],
        base_ref=raw["base"]["ref"],
        title=raw["title"],
        body=raw.get("body") or "",
        html_url=raw["html_url"],
    )


def check_run(raw: Json) -> CheckRun:
    """Read a check run; its status and conclusion pass as they are, known to us or not."""
    output, app = raw.get("output") or {}, raw.get("app") or {}
    return CheckRun(
        id=raw["id"],
        name=raw["name"],
        app_id=app.get("id", 0),
        status=raw["status"],
        conclusion=raw.get("conclusion"),
        started_at=raw.get("started_at") or "",
        suite_id=(raw.get("check_suite") or {}).get("id"),
        url=raw.get("html_url") or raw.get("details_url") or "",
        title=output.get("title") or "",
        summary=output.get("summary") or "",
        text=output.get("text") or "",
        of_actions=app.get("slug") == ACTIONS,
        sha=raw.get("head_sha") or "",
    )


def status(raw: Json) -> Status:
    """Read a legacy commit status; of its App GitHub tells the bot's account alone."""
    login, creator_id, kind = _author({"user": raw.get("creator")})
    return Status(
        id=raw["id"],
        context=raw["context"],
        state=raw["state"],
        creator_id=creator_id,
        created_at=raw["created_at"],
        url=raw.get("target_url") or "",
        description=raw.get("description") or "",
        bot=login.removesuffix("[bot]") if kind == "Bot" else "",
    )


def workflow_run(raw: Json) -> WorkflowRun:
    """Read a workflow run; a run whose status GitHub leaves null counts as queued."""
    return WorkflowRun(
        id=raw["id"],
        name=raw.get("name") or raw.get("path") or "",
        status=raw.get("status") or "queued",
        conclusion=raw.get("conclusion"),
        event=raw["event"],
        run_attempt=raw.get("run_attempt", 1),
        suite_id=raw.get("check_suite_id"),
        url=raw["html_url"],
        created_at=raw["created_at"],
        workflow_id=raw.get("workflow_id", 0),
        started_at=raw.get("run_started_at") or "",
        sha=raw.get("head_sha") or "",
    )


def annotation(raw: Json) -> Annotation:
    """Read an annotation of a check run."""
    return Annotation(
        path=raw.get("path") or "",
        line=raw.get("start_line") or 0,
        level=raw.get("annotation_level") or "",
        message=raw.get("message") or "",
        title=raw.get("title") or "",
    )


def comparison(raw: Json) -> Comparison:
    """Read the head of a compare answer."""
    return Comparison(
        raw["status"], raw["ahead_by"], raw["behind_by"], (raw.get("merge_base_commit") or {}).get("sha", "")
    )


def required_by_rules(rules: Sequence[Json]) -> list[Required]:
    """Return the checks that the active rules of a branch require."""
    checks = [
        check
        for rule in rules
        if rule.get("type") == "required_status_checks"
        for check in (rule.get("parameters") or {}).get("required_status_checks", [])
    ]
    return [Required(check["context"], check.get("integration_id")) for check in checks]


def required_by_protection(protection: Json) -> list[Required]:
    """Return the checks that classic branch protection requires; an `app_id` of -1 means any App."""
    if protection.get("enforcement_level") == "off":
        return []
    checks = protection.get("checks")
    if checks is None:
        return [Required(context) for context in protection.get("contexts", [])]
    apps = ((check["context"], check.get("app_id")) for check in checks)
    return [Required(name, app if app and app > 0 else None) for name, app in apps]
