"""The GitHub calls we make: one `GitHub` per process, one cheap `Repository` handle per repository."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from urllib.parse import quote

import httpx
import structlog

from bot import github_facts as read
from bot.errors import BotError, Denied, Missing, Rejected, Transient
from bot.github_answers import checked_url, decoded
from bot.github_client import Client, Grant
from bot.github_facts import (
    Annotation,
    AppFacts,
    Comment,
    CommitFacts,
    Comparison,
    FileChange,
    IssueFacts,
    Json,
    PermissionFacts,
    PullFacts,
    RepositoryFacts,
)
from bot.github_git import Branches, full_sha, inner_path
from bot.reports import CheckRun, Required, Status, WorkflowRun

__all__ = [
    "Annotation",
    "AppFacts",
    "Comment",
    "CommitFacts",
    "Comparison",
    "FileChange",
    "GitHub",
    "IssueFacts",
    "PermissionFacts",
    "PullFacts",
    "Repository",
    "RepositoryFacts",
]

LOG_TAIL = 64 * 1024
DELIVERY_PAGES = 50
NO_DRAFTS = "Draft pull requests are not supported"
NO_RULES = "Upgrade to GitHub"
WIP = "WIP: "

MARK_READY = """mutation($input: MarkPullRequestReadyForReviewInput!) {
  markPullRequestReadyForReview(input: $input) { pullRequest { isDraft } }
}"""
IS_DRAFT = "query($id: ID!) { node(id: $id) { ... on PullRequest { isDraft } } }"

log = structlog.get_logger(__name__)


class GitHub:
    """One GitHub, seen as our App; open it in the loop that uses it, and close it there."""

    def __init__(
        self,
        *,
        app_id: str,
        private_key: str,
        api_url: str,
        server_url: str,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server_url = str(checked_url("GITHUB_SERVER_URL", server_url)).rstrip("/")
        self._client = Client(
            app_id=app_id, private_key=private_key, api_url=api_url, pause=pause, clock=clock
        )
        self._app: AppFacts | None = None
        self._app_ids: dict[str, int] = {}

    async def start(self) -> None:
        """Ask GitHub who we are: Denied where it does not know the App; an outage does not stop a start."""
        try:
            await self.app()
        except Transient as error:
            log.warning("GitHub cannot be reached yet", error=str(error))

    async def close(self) -> None:
        """Close the connections and forget the tokens."""
        await self._client.close()

    async def app(self) -> AppFacts:
        """Return who we are; remembered as soon as GitHub has told all of it."""
        if self._app:
            return self._app
        raw = await self._client.json("GET", "/app")
        login = f"{raw['slug']}[bot]"
        found = AppFacts(raw["id"], raw["slug"], login, await self._user_id(login))
        self._app = found if found.bot_id else None
        return found

    def repository(self, installation_id: int, full_name: str, repository_id: int) -> "Repository":
        """Return a handle on one repository; nothing is asked yet."""
        return Repository(self, self._client, installation_id, full_name, repository_id)

    async def app_id(self, slug: str, grant: Grant) -> int:
        """Return the id of an App, 0 where GitHub does not tell, as of private Apps of others; asked once."""
        if slug not in self._app_ids:
            try:
                raw = await self._client.json("GET", f"/apps/{quote(slug, safe='')}", grant=grant)
                self._app_ids[slug] = int(raw["id"])
            except (Missing, Denied):
                self._app_ids[slug] = 0
        return self._app_ids[slug]

    async def missed_deliveries(self, since: str) -> list[int]:
        """Return the deliveries since a time (ISO 8601, UTC) of which no try arrived, oldest first."""
        newest: dict[str, int] = {}
        arrived: set[str] = set()
        params: dict[str, str | int] = {"per_page": 100}
        for _ in range(DELIVERY_PAGES):
            answer = await self._client.call("GET", "/app/hook/deliveries", params=params)
            rows = [row for row in decoded(answer) if row["delivered_at"] >= since]
            for row in rows:
                newest.setdefault(row["guid"], row["id"])
                if 200 <= row["status_code"] < 300:
                    arrived.add(row["guid"])
            following = answer.links.get("next", {}).get("url")
            if not rows or following is None:
                break
            params = {"per_page": 100, "cursor": httpx.URL(following).params["cursor"]}
        return [number for guid, number in reversed(newest.items()) if guid not in arrived]

    async def redeliver(self, delivery: int) -> None:
        """Ask GitHub to send a delivery again, under the same GUID."""
        await self._client.call("POST", f"/app/hook/deliveries/{delivery:d}/attempts", repeatable=True)

    async def _user_id(self, login: str) -> int:
        # A JWT is not accepted here; any token is, and on github.com none at all.
        grant = self._client.any_grant()
        try:
            raw = await self._client.json("GET", f"/users/{quote(login)}", grant=grant, as_app=False)
        except BotError as error:
            log.debug("own user not visible", login=login, error=str(error))
            return 0
        return int(raw["id"])


class Repository(Branches):
    """One repository: what is said on its issues, its pull requests, its checks, and its branches."""

    def __init__(
        self, github: GitHub, client: Client, installation_id: int, full_name: str, repository_id: int
    ) -> None:
        super().__init__(client, installation_id, full_name, repository_id)
        self._github = github
        self.clone_url = f"{github.server_url}/{full_name}.git"

    async def git_token(self, *, write: bool = False) -> str:
        """Return a token for git over HTTPS that reads (or writes) the contents of this repository alone."""
        return await self._client.token(self._grants["push" if write else "fetch"])

    async def permission(self, login: str) -> PermissionFacts:
        """Return what an account may do here; an unknown one, or one that is no person, may do nothing."""
        path = f"/collaborators/{quote(login, safe='')}/permission"
        # First, and not below: an installation that is gone says nothing about a person.
        await self._client.token(self._grants["talk"])
        try:
            return read.permission(await self._get(path, purpose="talk"))
        except (Missing, Rejected):
            return PermissionFacts("none", "none", 0)

    async def file(self, path: str, ref: str) -> str | None:
        """Return the text of a file at a commit or branch, None where there is none; Rejected over 1 MB."""
        try:
            raw = await self._get(f"/contents/{quote(inner_path(path))}", ref=ref)
        except Missing:
            return None
        if isinstance(raw, list) or raw.get("type") != "file":
            return None
        if raw.get("encoding") != "base64":
            raise Rejected(f"{path} is too large to be read.")
        return base64.b64decode(raw["content"]).decode(errors="replace")

    async def has_workflows(self, sha: str) -> bool:
        """Return whether the commit has a workflow file."""
        try:
            entries = await self._get("/contents/.github/workflows", ref=full_sha(sha))
        except Missing:
            return False
        names = (entry["name"] for entry in entries) if isinstance(entries, list) else ()
        return any(name.endswith((".yml", ".yaml")) for name in names)

    # Issues and what is said on them

    async def issue(self, number: int) -> IssueFacts:
        """Return an issue or pull request by its number."""
        return read.issue(await self._get(f"/issues/{number:d}"))

    async def comments(self, number: int, *, since: str | None = None) -> list[Comment]:
        """Return the comments of an issue, oldest first; `since` (ISO 8601) keeps those changed after it."""
        options = {"since": since} if since else {}
        return [read.comment(raw) for raw in await self._pages(f"/issues/{number:d}/comments", **options)]

    async def comment(self, number: int, body: str) -> Comment:
        """Post a comment once; after Transient it may stand there, so look before posting it again."""
        return read.comment(await self._talk("POST", f"/issues/{number:d}/comments", {"body": body}))

    async def comment_now(self, comment_id: int) -> Comment:
        """Return a comment as it is now."""
        return read.comment(await self._get(f"/issues/comments/{comment_id:d}"))

    async def edit_comment(self, comment_id: int, body: str) -> None:
        """Replace the text of a comment of ours."""
        await self._talk("PATCH", f"/issues/comments/{comment_id:d}", {"body": body}, repeatable=True)

    async def react(self, comment_id: int, content: str) -> None:
        """React to a comment (eyes, +1, confused, …); GitHub keeps one of each."""
        path = f"/issues/comments/{comment_id:d}/reactions"
        await self._talk("POST", path, {"content": content}, repeatable=True)

    async def label(self, number: int, name: str) -> None:
        """Put a label on an issue; one that is there already is fine."""
        await self._talk("POST", f"/issues/{number:d}/labels", {"labels": [name]}, repeatable=True)

    # Pull requests

    async def pull_of(self, branch: str, *, state: str = "open") -> PullFacts | None:
        """Return the pull request from a branch: an open one first, with `state="all"` else the newest."""
        owner = self.full_name.partition("/")[0]
        raws = await self._pages(
            "/pulls", head=f"{owner}:{branch}", state=state, sort="created", direction="desc"
        )
        # GitHub ignores a `head` it cannot read and lists everything.
        ours = [
            raw for raw in raws if raw["head"]["ref"] == branch and self._is_here(raw["head"].get("repo"))
        ]
        ours.sort(key=lambda raw: (raw["state"] == "open", raw["number"]), reverse=True)
        return read.pull(ours[0]) if ours else None

    async def open_pull(self, *, branch: str, base: str, title: str, body: str, draft: bool) -> PullFacts:
        """Open a pull request, or return the open one; without drafts here, one whose title says "WIP: "."""
        content = {"head": branch, "base": base, "title": title, "body": body, "draft": draft}
        try:
            return read.pull(await self._write("POST", "/pulls", content))
        except Rejected as refusal:
            if draft and NO_DRAFTS in str(refusal):
                return await self.open_pull(
                    branch=branch, base=base, title=WIP + title, body=body, draft=False
                )
            standing = await self.pull_of(branch)
            if standing:
                return standing
            if "head invalid" in str(refusal) and await self.branch_head(branch):
                # The branch was made a moment ago and a part of GitHub has not heard of it.
                raise Transient(str(refusal), retry_after=2) from refusal
            raise

    async def pull(self, number: int) -> PullFacts:
        """Return a pull request by its number."""
        return read.pull(await self._get(f"/pulls/{number:d}"))

    async def edit_pull(self, number: int, *, title: str | None = None, body: str | None = None) -> None:
        """Replace the title or the body of a pull request."""
        content = {key: value for key, value in (("title", title), ("body", body)) if value is not None}
        await self._talk("PATCH", f"/pulls/{number:d}", content, repeatable=True)

    async def reopen_pull(self, number: int) -> None:
        """Reopen a closed pull request; Rejected where GitHub no longer allows that."""
        await self._talk("PATCH", f"/pulls/{number:d}", {"state": "open"}, repeatable=True)

    async def ready_pull(self, node_id: str) -> bool:
        """Make a draft ready for review and return whether it is; GitHub may refuse that to an App."""
        grant = self._grants["write"]
        content = {"input": {"pullRequestId": node_id}}
        try:
            data = await self._client.graphql(grant, MARK_READY, content, repeatable=True)
            found = data["markPullRequestReadyForReview"]["pullRequest"]
        except (Denied, Rejected) as refusal:
            log.info("pull request not made ready", repository=self.full_name, error=str(refusal))
            data = await self._client.graphql(grant, IS_DRAFT, {"id": node_id}, repeatable=True)
            found = data.get("node")
        return bool(found) and not found["isDraft"]

    # Checks

    async def check_runs(self, sha: str) -> list[CheckRun]:
        """Return the latest check runs of a commit, of every App; Rejected where GitHub shows only a part."""
        raws = await self._pages(f"/commits/{full_sha(sha)}/check-runs", key="check_runs", filter="latest")
        return [read.check_run(raw) for raw in raws if raw.get("head_sha", sha) == sha]

    async def statuses(self, sha: str) -> list[Status]:
        """Return the legacy statuses of a commit, newest first, each with its App as far as GitHub tells."""
        found = [read.status(raw) for raw in await self._pages(f"/commits/{full_sha(sha)}/statuses")]
        return [replace(one, app_id=await self._app_of(one)) for one in found]

    async def _app_of(self, status: Status) -> int:
        return await self._github.app_id(status.bot, self._grants["read"]) if status.bot else 0

    async def workflow_runs(self, sha: str) -> list[WorkflowRun]:
        """Return the workflow runs of a commit; Denied or Missing where Actions are off or not granted."""
        raws = await self._pages("/actions/runs", key="workflow_runs", head_sha=full_sha(sha))
        return [read.workflow_run(raw) for raw in raws if raw.get("head_sha", sha) == sha]

    async def required_checks(self, branch: str) -> list[Required]:
        """Return the checks that rules and classic protection require of a branch.

        Denied or Missing where GitHub does not let us read them: that is not the same as none.
        """
        found = await self._checks_of_rules(branch)
        return list(dict.fromkeys(found + await self._classic_checks(f"/branches/{quote(branch, safe='')}")))

    async def annotations(self, check_run_id: int) -> list[Annotation]:
        """Return the remarks of a check run at lines of files."""
        return [
            read.annotation(raw) for raw in await self._pages(f"/check-runs/{check_run_id:d}/annotations")
        ]

    async def job_log(self, job_id: int) -> str:
        """Return the end of the log of an Actions job (its id is its check run's), at most 64 KiB."""
        answer = await self._call("GET", f"/actions/jobs/{job_id:d}/logs", follow=False)
        if answer.has_redirect_location:
            return await self._client.tail(answer.url.join(answer.headers["location"]), LOG_TAIL)
        return str(answer.content[-LOG_TAIL:].decode(errors="replace"))

    async def may_rerun(self) -> bool:
        """Return whether the App was granted to run workflows again (`actions: write`)."""
        try:
            await self._client.token(self._grants["rerun"])
        except (Denied, Rejected):
            return False
        return True

    async def rerun_failed(self, run_id: int) -> None:
        """Run the failed jobs of a workflow run again; Denied without the permission `actions: write`."""
        await self._call("POST", f"/actions/runs/{run_id:d}/rerun-failed-jobs", purpose="rerun")

    async def _checks_of_rules(self, branch: str) -> list[Required]:
        try:
            return read.required_by_rules(await self._pages(f"/rules/branches/{quote(branch, safe='')}"))
        except Denied as refusal:
            # A private repository whose plan has no rules; anybody who may see it may read those it has.
            if NO_RULES in str(refusal):
                return []
            raise
        except Missing:
            # GitHub Enterprise Server before it had rules: where the repository is gone, nothing else is read either.
            return []

    async def _classic_checks(self, path: str) -> list[Required]:
        raw = await self._get(path)
        found = (raw.get("protection") or {}).get("required_status_checks")
        if found is None and raw.get("protected"):
            # The branch usually tells; what it does not, only `administration: read` would, which we do not ask for.
            try:
                found = await self._get(f"{path}/protection/required_status_checks")
            except (Missing, Denied) as error:
                log.info("classic protection not shown", repository=self.full_name, error=str(error))
        return read.required_by_protection(found or {})

    def _is_here(self, repository: Json | None) -> bool:
        return repository is not None and repository["id"] == self.id
