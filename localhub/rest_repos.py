"""REST: repositories, who may do what there, files, commits, branches, rules and merges of branches."""

import base64
from typing import Any

from localhub.merges import merge_branch
from localhub.objects import EMPTY_TREE, Commit
from localhub.payloads import full_repository_json, user_json
from localhub.payloads_git import commit_json, file_json, stats_json
from localhub.records import Json, Repository
from localhub.refusals import Refusal, not_found
from localhub.rest import Answer, Call, Routes, resolve
from localhub.rest_git import wants_raw
from localhub.state import stamp

routes = Routes()


@routes.on("GET", "/repos/{owner}/{repo}", "metadata:read")
def get_repository(call: Call) -> Answer:
    """Return the repository."""
    body = full_repository_json(call.state, call.repository)
    user = call.caller.user
    if user:
        body["permissions"] = permissions_json(call.repository.role(user))
    return Answer(body)


def permissions_json(role: str) -> Json:
    """Return what a role includes."""
    order = ("read", "triage", "write", "maintain", "admin")
    rank = order.index(role) if role in order else -1
    names = ("pull", "triage", "push", "maintain", "admin")
    return {name: rank >= position for position, name in enumerate(names)}


@routes.on("GET", "/repos/{owner}/{repo}/collaborators/{user}/permission", "metadata:read")
def get_permission(call: Call) -> Answer:
    """Return an account's permission (maintain counts as write, triage as read) and its real role."""
    user = call.state.user(call.params["user"])
    if user.type != "User":
        raise Refusal(404, f"{user.login} is not a user")
    role = call.repository.role(user)
    permission = {"maintain": "write", "triage": "read"}.get(role, role)
    account = user_json(call.state, user) | {"permissions": permissions_json(role), "role_name": role}
    return Answer({"permission": permission, "role_name": role, "user": account})


# Files.


def _ref(call: Call) -> str:
    ref = call.query.get("ref") or call.repository.default_branch
    found = resolve(call.repository, ref)
    if not found:
        raise Refusal(404, f"No commit found for the ref {ref}")
    return found


def _content_json(call: Call, path: str, sha: str, kind: str, size: int, ref: str) -> Json:
    repository = call.repository
    url = f"{call.state.api_url}/repos/{repository.full_name}/contents/{path}?ref={ref}"
    git_kind = "trees" if kind == "dir" else "blobs"
    git = f"{call.state.api_url}/repos/{repository.full_name}/git/{git_kind}/{sha}"
    page = f"{call.state.url}/{repository.full_name}/blob/{ref}/{path}"
    raw = f"{call.state.url}/{repository.full_name}/raw/{ref}/{path}"
    return {
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": sha,
        "size": size,
        "url": url,
        "html_url": page,
        "git_url": git,
        "download_url": raw if kind == "file" else None,
        "type": kind,
        "_links": {"self": url, "git": git, "html": page},
    }


@routes.on("GET", "/repos/{owner}/{repo}/contents/{path:path}", "contents:read")
def get_contents(call: Call) -> Answer:
    """Return a file as base64 (or raw), or the list of a folder."""
    return _contents(call, call.params["path"].strip("/"))


@routes.on("GET", "/repos/{owner}/{repo}/contents", "contents:read")
def get_root_contents(call: Call) -> Answer:
    """Return the list of the top folder."""
    return _contents(call, "")


def _contents(call: Call, path: str) -> Answer:
    objects, ref = call.repository.objects, _ref(call)
    shown = call.query.get("ref") or call.repository.default_branch
    found = objects.read(f"{ref}:{path}")
    if not found:
        raise not_found()
    if found.kind == "tree":
        entries = objects.tree(found.sha) or []
        sizes = objects.sizes(entry.sha for entry in entries if entry.kind == "blob")
        prefix = f"{path}/" if path else ""
        kinds = {"120000": "symlink", "160000": "submodule", "040000": "dir"}
        return Answer(
            [
                _content_json(
                    call, prefix + e.path, e.sha, kinds.get(e.mode, "file"), sizes.get(e.sha, 0), shown
                )
                for e in entries
            ]
        )
    if wants_raw(call):
        return Answer(found.data, headers={"Content-Type": "application/vnd.github.raw+json; charset=utf-8"})
    folder, _, name = path.rpartition("/")
    entry = next((e for e in objects.tree(f"{ref}:{folder}") or [] if e.path == name), None)
    body = _content_json(call, path, found.sha, "file", len(found.data), shown)
    if entry and entry.mode == "120000":
        return Answer(body | {"type": "symlink", "target": found.data.decode(errors="replace")})
    too_large = len(found.data) > 1_000_000
    text = "" if too_large else base64.encodebytes(found.data).decode()
    return Answer(body | {"content": text, "encoding": "none" if too_large else "base64"})


# Commits and branches.


@routes.on("GET", "/repos/{owner}/{repo}/commits", "contents:read")
def list_commits(call: Call) -> Answer:
    """List the commits of a branch, newest first, that touched `path` if given."""
    head = call.commit(call.query.get("sha") or call.repository.default_branch)
    shas = call.repository.objects.history(head.sha, call.query.get("path", ""), limit=1000)
    return call.listing(shas, lambda sha: commit_json(call.state, call.repository, call.commit(sha)))


@routes.on("GET", "/repos/{owner}/{repo}/commits/{ref:path}", "contents:read")
def get_commit(call: Call) -> Answer:
    """Return a commit with its files; `sha` as the accepted type answers only its name."""
    commit = call.commit(call.params["ref"])
    if "vnd.github.sha" in call.headers.get("accept", ""):
        return Answer(commit.sha, headers={"Content-Type": "application/vnd.github.sha; charset=utf-8"})
    before = commit.parents[0] if commit.parents else EMPTY_TREE
    changes = call.repository.objects.diff(before, commit.sha)
    body = commit_json(call.state, call.repository, commit)
    body["stats"] = stats_json(changes)
    body["files"] = [file_json(call.state, call.repository, commit.sha, change) for change in changes]
    return Answer(body)


@routes.on("GET", "/repos/{owner}/{repo}/compare/{base:path}\\.\\.\\.{head:path}", "contents:read")
def compare(call: Call) -> Answer:
    """Compare two commits: which is ahead, the commits between, the changed files since they parted."""
    objects, repository = call.repository.objects, call.repository
    ends = [resolve(repository, call.params[name].rpartition(":")[2]) for name in ("base", "head")]
    commits = [objects.commit(end) if end else None for end in ends]
    base, head = commits
    if not base or not head:
        raise not_found()
    fork = objects.merge_base(base.sha, head.sha)
    if not fork:
        raise Refusal(404, "No common ancestor between the two commits.")
    ahead, behind = objects.between(base.sha, head.sha), objects.between(head.sha, base.sha)
    words = {
        (True, True): "diverged",
        (True, False): "ahead",
        (False, True): "behind",
        (False, False): "identical",
    }
    page = f"{repository.full_name}/compare/{base.sha}...{head.sha}"
    chosen, headers = call.page(ahead)
    changes = objects.diff(fork, head.sha)

    def show(commit: Commit) -> Json:
        return commit_json(call.state, repository, commit)

    body = {
        "url": f"{call.state.api_url}/repos/{page}",
        "html_url": f"{call.state.url}/{page}",
        "permalink_url": f"{call.state.url}/{page}",
        "diff_url": f"{call.state.url}/{page}.diff",
        "patch_url": f"{call.state.url}/{page}.patch",
        "base_commit": show(base),
        "merge_base_commit": show(call.commit(fork)),
        "status": words[bool(ahead), bool(behind)],
        "ahead_by": len(ahead),
        "behind_by": len(behind),
        "total_commits": len(ahead),
        "commits": [show(call.commit(sha)) for sha in chosen],
        "files": [file_json(call.state, repository, head.sha, change) for change in changes[:300]],
    }
    return Answer(body, headers=headers)


@routes.on("GET", "/repos/{owner}/{repo}/branches", "contents:read")
def list_branches(call: Call) -> Answer:
    """List the branches."""
    rows = sorted(call.repository.objects.refs("refs/heads/").items())

    def show(row: tuple[str, str]) -> Json:
        name = row[0].removeprefix("refs/heads/")
        url = f"{call.state.api_url}/repos/{call.repository.full_name}/commits/{row[1]}"
        return {
            "name": name,
            "commit": {"sha": row[1], "url": url},
            "protected": _protected(call.repository, name),
        }

    return call.listing(rows, show)


def _protected(repository: Repository, branch: str) -> bool:
    return bool(repository.required_checks) and branch == repository.default_branch


@routes.on("GET", "/repos/{owner}/{repo}/branches/{branch:path}/protection", "administration:read")
def get_protection(call: Call) -> Answer:
    """Refuse with 404: branches are protected by rulesets here, not by classic protection."""
    raise Refusal(404, "Branch not protected")


@routes.on("GET", "/repos/{owner}/{repo}/branches/{branch:path}", "contents:read")
def get_branch(call: Call) -> Answer:
    """Return a branch with its newest commit."""
    name = call.params["branch"]
    commit = call.repository.objects.commit(f"refs/heads/{name}")
    if not commit:
        raise Refusal(404, "Branch not found")
    url = f"{call.state.api_url}/repos/{call.repository.full_name}/branches/{name}"
    page = f"{call.state.url}/{call.repository.full_name}/tree/{name}"
    protected = _protected(call.repository, name)
    contexts = list(call.repository.required_checks) if protected else []
    checks: Json = {
        "enforcement_level": "non_admins" if protected else "off",
        "contexts": contexts,
        "checks": [{"context": context, "app_id": None} for context in contexts],
    }
    body: Json = {
        "name": name,
        "commit": commit_json(call.state, call.repository, commit),
        "_links": {"self": url, "html": page},
        "protected": protected,
        "protection": {"enabled": protected, "required_status_checks": checks},
        "protection_url": f"{url}/protection",
    }
    return Answer(body)


@routes.on("GET", "/repos/{owner}/{repo}/rules/branches/{branch:path}", "metadata:read")
def list_rules(call: Call) -> Answer:
    """List the rules that hold for a branch, whether it exists or not."""
    return call.listing(_rules(call.repository, call.params["branch"]), lambda rule: rule)


def _rules(repository: Repository, branch: str) -> list[Json]:
    source = {"ruleset_source_type": "Repository", "ruleset_source": repository.full_name, "ruleset_id": 1}
    rules: list[Json] = []
    if repository.required_checks and branch == repository.default_branch:
        parameters: dict[str, Any] = {
            "strict_required_status_checks_policy": False,
            "do_not_enforce_on_create": False,
            "required_status_checks": [{"context": name} for name in repository.required_checks],
        }
        rules.append({"type": "required_status_checks", **source, "parameters": parameters})
    if repository.forbids_force(branch):
        rules.append({"type": "non_fast_forward", **source})
    return rules


@routes.on("POST", "/repos/{owner}/{repo}/merges", "contents:write")
def merge(call: Call) -> Answer:
    """Merge `head` into branch `base`: 201 with the commit, 204 with nothing to merge, 409 on conflict."""
    repository = call.repository
    base, head = call.text("base", "Merge"), call.text("head", "Merge")
    if not repository.objects.resolve(f"refs/heads/{base}"):
        raise Refusal(404, "Base does not exist")
    found = resolve(repository, head)
    if not found:
        raise Refusal(404, "Head does not exist")
    message = call.json.get("commit_message") or f"Merge {head} into {base}"
    sha = merge_branch(call.state, repository, base, found, message, call.actor, call.permissions)
    if not sha:
        return Answer(status=204)
    return Answer(commit_json(call.state, repository, call.commit(sha)), 201)


@routes.on("GET", "/users/{user}", "open")
def get_user(call: Call) -> Answer:
    """Return an account with its public profile."""
    user = call.state.user(call.params["user"])
    empty = dict.fromkeys(("name", "company", "blog", "location", "email", "hireable", "bio"))
    counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
    when = {"created_at": stamp(user.created_at), "updated_at": stamp(user.created_at)}
    return Answer(user_json(call.state, user) | empty | counts | when)
