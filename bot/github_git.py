"""A repository as GitHub's Git database shows it: refs, trees, commits; and how any repository is asked."""

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import structlog

from bot import github_facts as read
from bot.errors import BotError, Denied, Missing, Moved, Rejected, Transient
from bot.github_answers import decoded
from bot.github_client import PERMISSIONS, Client, Grant
from bot.github_facts import CommitFacts, Comparison, FileChange, Json, RepositoryFacts

PAGE = 100
MAX_PAGES = 100
MAX_RESULTS = 1000
"""What GitHub lists at most of one search, such as the workflow runs of a commit."""
INLINE_FILE = 128 * 1024
INLINE_TOTAL = 2 * 1024 * 1024
"""Bytes of text sent inside one tree call; what is larger goes up as a blob of its own."""
FULL_NAME = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
KEPT_REFS = "refs/phasegate/"
UPDATE_REFS = "mutation($input: UpdateRefsInput!) { updateRefs(input: $input) { clientMutationId } }"

log = structlog.get_logger(__name__)


def repository_path(full_name: str) -> str:
    """Return the API path of a repository; ValueError where the name could lead elsewhere."""
    if not FULL_NAME.fullmatch(full_name) or set(full_name.split("/")) & {".", ".."}:
        raise ValueError(f"not a repository name: {full_name!r}")
    return f"/repos/{full_name}"


def full_sha(sha: str) -> str:
    """Return a SHA that is one, in full; else ValueError."""
    if not SHA.fullmatch(sha):
        raise ValueError(f"not a full commit SHA: {sha!r}")
    return sha


def inner_path(path: str) -> str:
    """Return a path that stays inside a repository; else ValueError."""
    if set(path.split("/")) & {"", ".", ".."}:
        raise ValueError(f"not a path inside a repository: {path!r}")
    return path


class Handle:
    """One repository through one installation; each call takes the narrowest token that will do."""

    def __init__(self, client: Client, installation_id: int, full_name: str, repository_id: int) -> None:
        self._root = repository_path(full_name)
        self.full_name = full_name
        self.id = repository_id
        self._client = client
        self._grants = {purpose: Grant(installation_id, repository_id, purpose) for purpose in PERMISSIONS}

    async def _call(self, method: str, path: str, *, purpose: str = "read", **options: Any) -> Any:
        return await self._client.call(method, self._root + path, grant=self._grants[purpose], **options)

    async def _get(self, path: str, *, purpose: str = "read", **params: str | int) -> Any:
        return decoded(await self._call("GET", path, purpose=purpose, params=params or None))

    async def _talk(self, method: str, path: str, content: Json, *, repeatable: bool = False) -> Any:
        return decoded(await self._call(method, path, purpose="talk", json=content, repeatable=repeatable))

    async def _write(self, method: str, path: str, content: Json) -> Any:
        # Objects are named by their content, and GitHub refuses a second equal ref or pull request.
        return decoded(await self._call(method, path, purpose="write", json=content, repeatable=True))

    async def _pages(
        self, path: str, *, key: str = "", purpose: str = "read", **params: str | int
    ) -> list[dict[str, Any]]:
        """Return the items of all pages; Transient or Rejected where they are not all that there are."""
        found: list[dict[str, Any]] = []
        for page in range(1, MAX_PAGES + 1):
            asked = {**params, "per_page": PAGE, "page": page}
            answer = await self._call("GET", path, purpose=purpose, params=asked)
            body = decoded(answer)
            items = body[key] if key else body
            found += items
            link = answer.headers.get("link", "")
            if not ('rel="next"' in link if link else len(items) == PAGE):
                break
        else:
            raise Rejected(f"{self.full_name}{path} has too many pages to be read.")
        total = body.get("total_count", 0) if key else 0
        if len(found) < total:
            # More than GitHub lists stays so; fewer were lost while pages shifted.
            kind = Rejected if total > MAX_RESULTS else Transient
            raise kind(f"{self.full_name}{path}: {len(found)} of {total} entries were listed.")
        return found


class Branches(Handle):
    """Refs, trees and commits of one repository, made so that anything may be tried twice."""

    _node_id = ""

    async def facts(self) -> RepositoryFacts:
        """Return the repository as it is now."""
        found = read.repository(await self._get(""))
        self._node_id = found.node_id
        return found

    async def branch_head(self, branch: str) -> str | None:
        """Return the commit a branch points to, None where there is no such branch."""
        try:
            raw = await self._get(f"/git/ref/heads/{quote(branch)}")
        except Missing:
            return None
        return str(raw["object"]["sha"])

    async def create_branch(self, branch: str, sha: str) -> None:
        """Make a branch at a commit; fine where it already points there, Moved where it points elsewhere."""
        try:
            await self._write("POST", "/git/refs", {"ref": f"refs/heads/{branch}", "sha": full_sha(sha)})
        except Rejected:
            head = await self.branch_head(branch)
            if head is None:
                raise
            if head != sha:
                raise Moved(f"{branch} is at {head}, not at {sha}.") from None

    async def move_branch(self, branch: str, *, before: str, after: str, force: bool = False) -> None:
        """Move a branch from `before` to `after` in one compare-and-swap; fine where it is at `after`.

        Raises Moved, with nothing written, where it is elsewhere; Rejected or Denied where GitHub refuses.
        """
        if not self._node_id:
            await self.facts()
        update = {"name": f"refs/heads/{branch}", "beforeOid": full_sha(before), "afterOid": full_sha(after)}
        content = {"input": {"repositoryId": self._node_id, "refUpdates": [update | {"force": force}]}}
        try:
            await self._client.graphql(self._grants["write"], UPDATE_REFS, content, repeatable=True)
        except (Rejected, Denied, Missing):
            head = await self.branch_head(branch)
            if head == after:
                return
            if head != before:
                raise Moved(f"{branch} is at {head or 'no commit'}, not at {before}.") from None
            raise

    async def point_ref(self, ref: str, sha: str) -> None:
        """Keep a commit reachable under `refs/phasegate/…`; best effort, a failure is only logged."""
        if not ref.startswith(KEPT_REFS):
            raise ValueError(f"not a ref of ours: {ref}")
        try:
            try:
                await self._write("POST", "/git/refs", {"ref": ref, "sha": full_sha(sha)})
            except Rejected:
                path = f"/git/{quote(ref)}"
                await self._write("PATCH", path, {"sha": full_sha(sha), "force": True})
        except BotError as error:
            log.warning("commit not kept", repository=self.full_name, ref=ref, error=str(error))

    async def commit_files(
        self,
        *,
        parent: str,
        base_tree: str,
        files: Mapping[str, FileChange | None],
        message: str,
        expected_tree: str,
    ) -> str:
        """Make a commit of changed files (None deletes one) and return its SHA; no branch moves.

        Rejected where GitHub's tree is not `expected_tree`: then nothing but loose objects was written.
        """
        room, entries = INLINE_TOTAL, []
        for path, change in sorted(files.items()):
            entry = await self._tree_entry(inner_path(path), change, room)
            room -= len(entry.get("content", ""))
            entries.append(entry)
        tree = await self._write("POST", "/git/trees", {"base_tree": full_sha(base_tree), "tree": entries})
        if tree["sha"] != expected_tree:
            raise Rejected(f"GitHub made the tree {tree['sha']} where {expected_tree} was expected.")
        # No author: only then GitHub signs the commit as the App's own.
        content = {"message": message, "tree": expected_tree, "parents": [full_sha(parent)]}
        made = await self._write("POST", "/git/commits", content)
        signed = (made.get("verification") or {}).get("verified")
        log.info("commit made", repository=self.full_name, sha=made["sha"], signed=signed)
        return str(made["sha"])

    async def commits(self, branch: str, base: str) -> list[CommitFacts]:
        """Return the commits of a branch (or commit) that `base` does not have, newest last."""
        found = await self._pages(_compare(base, branch), key="commits")
        return [read.commit(raw) for raw in found]

    async def commit(self, sha: str) -> CommitFacts:
        """Return one commit."""
        # One file per page: the answer holds the commit's patches, which nobody reads here.
        return read.commit(await self._get(f"/commits/{full_sha(sha)}", per_page=1))

    async def merge(self, branch: str, source: str) -> str | None:
        """Merge `source` into a branch; return the merge commit, None where there was nothing to merge.

        Rejected where the two conflict; nothing was written then.
        """
        content = {"base": branch, "head": source, "commit_message": f"Merge {source} into {branch}"}
        answer = await self._call("POST", "/merges", purpose="write", json=content, repeatable=True)
        return None if answer.status_code == 204 else str(decoded(answer)["sha"])

    async def changed_files(self, base: str, head: str) -> list[str]:
        """Return the paths `head` changed since it left `base`."""
        raw = await self._get(_compare(base, head), per_page=1)
        return [str(file["filename"]) for file in raw.get("files") or []]

    async def compare(self, base: str, head: str) -> Comparison:
        """Return how one commit or branch stands to another."""
        return read.comparison(await self._get(_compare(base, head), per_page=1))

    async def holds(self, branch: str, commit: str) -> bool:
        """Return whether a branch (or commit) is at `commit` or on top of it; not where GitHub has forgotten it."""
        try:
            return (await self.compare(commit, branch)).status in ("ahead", "identical")
        except Missing:
            return False

    async def _tree_entry(self, path: str, change: FileChange | None, room: int) -> dict[str, Any]:
        if change is None:
            # The mode of a deleted entry is asked for and not looked at.
            return {"path": path, "mode": "100644", "type": "blob", "sha": None}
        entry = {"path": path, "mode": change.mode, "type": "blob"}
        if 0 < len(change.content) <= min(INLINE_FILE, room) and b"\0" not in change.content:
            try:
                return entry | {"content": change.content.decode()}
            except UnicodeDecodeError:
                log.debug("binary file goes up as a blob", path=path)
        content = {"content": base64.b64encode(change.content).decode(), "encoding": "base64"}
        return entry | {"sha": (await self._write("POST", "/git/blobs", content))["sha"]}


def _compare(base: str, head: str) -> str:
    return f"/compare/{quote(base, safe='')}...{quote(head, safe='')}"
