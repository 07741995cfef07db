"""Commits, trees, refs, changed files and comparisons as GitHub's JSON."""

from collections.abc import Sequence
from datetime import UTC, datetime

from localhub.objects import Commit, FileChange, Person
from localhub.payloads import user_json
from localhub.records import Json, Repository
from localhub.state import State, node_id

SIGNATURE = (
    "-----BEGIN PGP SIGNATURE-----\n\n"
    "bG9jYWxodWI6IG5vdCBhIHJlYWwgc2lnbmF0dXJlLCBvbmx5IGl0cyBwbGFjZQ==\n"
    "-----END PGP SIGNATURE-----"
)


def person_json(person: Person) -> Json:
    """Return the author or committer of a commit, its time in UTC."""
    moment = datetime.fromtimestamp(person.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"name": person.name, "email": person.email, "date": moment}


def verification_json(repository: Repository, commit: Commit) -> Json:
    """Return whether GitHub vouches for a commit: it does for the ones it signed itself."""
    verified = commit.sha in repository.verified
    reason = "valid" if verified else "unknown_key" if commit.signature else "unsigned"
    return {
        "verified": verified,
        "reason": reason,
        "signature": commit.signature or None,
        "payload": f"tree {commit.tree}\n" if commit.signature else None,
        "verified_at": person_json(commit.committer)["date"] if verified else None,
    }


def git_commit_json(state: State, repository: Repository, commit: Commit) -> Json:
    """Return a commit as the Git database API tells it."""
    api = f"{state.api_url}/repos/{repository.full_name}/git"
    page = f"{state.url}/{repository.full_name}/commit"
    parents = [{"sha": p, "url": f"{api}/commits/{p}", "html_url": f"{page}/{p}"} for p in commit.parents]
    return {
        "sha": commit.sha,
        "node_id": node_id("C", commit.sha),
        "url": f"{api}/commits/{commit.sha}",
        "html_url": f"{page}/{commit.sha}",
        "author": person_json(commit.author),
        "committer": person_json(commit.committer),
        "tree": {"sha": commit.tree, "url": f"{api}/trees/{commit.tree}"},
        "message": commit.message,
        "parents": parents,
        "verification": verification_json(repository, commit),
    }


def commit_json(state: State, repository: Repository, commit: Commit) -> Json:
    """Return a commit as the commits API lists it."""
    api = f"{state.api_url}/repos/{repository.full_name}"
    page = f"{state.url}/{repository.full_name}/commit"
    author, committer = state.account_at(commit.author.email), state.account_at(commit.committer.email)
    return {
        "sha": commit.sha,
        "node_id": node_id("C", commit.sha),
        "commit": {
            "author": person_json(commit.author),
            "committer": person_json(commit.committer),
            "message": commit.message,
            "tree": {"sha": commit.tree, "url": f"{api}/git/trees/{commit.tree}"},
            "url": f"{api}/git/commits/{commit.sha}",
            "comment_count": 0,
            "verification": verification_json(repository, commit),
        },
        "url": f"{api}/commits/{commit.sha}",
        "html_url": f"{page}/{commit.sha}",
        "comments_url": f"{api}/commits/{commit.sha}/comments",
        "author": user_json(state, author) if author else None,
        "committer": user_json(state, committer) if committer else None,
        "parents": [
            {"sha": p, "url": f"{api}/commits/{p}", "html_url": f"{page}/{p}"} for p in commit.parents
        ],
    }


def file_json(state: State, repository: Repository, commit: str, change: FileChange) -> Json:
    """Return one changed file with its patch; binary files have none."""
    body: Json = {
        "sha": change.sha,
        "filename": change.path,
        "status": change.status,
        "additions": change.additions,
        "deletions": change.deletions,
        "changes": change.additions + change.deletions,
        "blob_url": f"{state.url}/{repository.full_name}/blob/{commit}/{change.path}",
        "raw_url": f"{state.url}/{repository.full_name}/raw/{commit}/{change.path}",
        "contents_url": f"{state.api_url}/repos/{repository.full_name}/contents/{change.path}?ref={commit}",
    }
    if change.patch:
        body["patch"] = change.patch
    if change.previous:
        body["previous_filename"] = change.previous
    return body


def stats_json(changes: Sequence[FileChange]) -> Json:
    """Return the sums of added and removed lines."""
    added, removed = sum(c.additions for c in changes), sum(c.deletions for c in changes)
    return {"additions": added, "deletions": removed, "total": added + removed}


def ref_json(state: State, repository: Repository, ref: str, sha: str) -> Json:
    """Return a ref and the object it points to."""
    kind = repository.objects.kind(sha) or "commit"
    api = f"{state.api_url}/repos/{repository.full_name}/git"
    return {
        "ref": ref,
        "node_id": node_id("REF", f"{repository.id}:{ref}"),
        "url": f"{api}/{ref}",
        "object": {"sha": sha, "type": kind, "url": f"{api}/{kind}s/{sha}"},
    }


def push_commit_json(
    state: State, repository: Repository, commit: Commit, changed: Sequence[tuple[str, str]]
) -> Json:
    """Return a commit as a push event lists it; `changed` holds (status letter, path)."""
    people = {}
    for role, person in (("author", commit.author), ("committer", commit.committer)):
        account = state.account_at(person.email)
        people[role] = {"name": person.name, "email": person.email} | (
            {"username": account.login} if account else {}
        )
    moment = datetime.fromtimestamp(commit.committer.time, UTC).isoformat()
    return {
        "id": commit.sha,
        "tree_id": commit.tree,
        "distinct": True,
        "message": commit.message,
        "timestamp": moment,
        "url": f"{state.url}/{repository.full_name}/commit/{commit.sha}",
        **people,
        "added": [path for letter, path in changed if letter == "A"],
        "removed": [path for letter, path in changed if letter == "D"],
        "modified": [path for letter, path in changed if letter not in "AD"],
    }
