"""REST: the Git database – blobs, trees, commits and refs."""

import base64
import binascii
import re
from datetime import UTC, datetime

from localhub import refs
from localhub.objects import GitRefused, Person, TreeEdit
from localhub.payloads_git import SIGNATURE, git_commit_json, ref_json
from localhub.records import Json, Repository
from localhub.refusals import invalid, not_accessible, not_found, unprocessable
from localhub.rest import Answer, Call, Routes, resolve

routes = Routes()
MODES = {"100644": "blob", "100755": "blob", "120000": "blob", "040000": "tree", "160000": "commit"}
RAW = ("application/vnd.github.raw", "application/vnd.github.raw+json", "application/vnd.github.v3.raw")
TREE_LIMIT = 100_000
GITHUB = ("GitHub", "noreply@github.com")


def wants_raw(call: Call) -> bool:
    """Whether the caller asks for the bytes themselves."""
    return any(kind.strip() in RAW for kind in call.headers.get("accept", "").split(","))


def _url(call: Call, tail: str) -> str:
    return f"{call.state.api_url}/repos/{call.repository.full_name}/git/{tail}"


@routes.on("POST", "/repos/{owner}/{repo}/git/blobs", "contents:write")
def create_blob(call: Call) -> Answer:
    """Store a blob given as utf-8 text or base64."""
    content, encoding = call.text("content", "Blob"), call.json.get("encoding", "utf-8")
    if encoding == "base64":
        try:
            data = base64.b64decode(content.replace("\n", ""), validate=True)
        except binascii.Error as error:
            raise unprocessable("content is not valid Base64") from error
    elif encoding == "utf-8":
        data = content.encode()
    else:
        raise invalid("Blob", "encoding")
    sha = call.repository.objects.write("blob", data)
    return Answer({"sha": sha, "url": _url(call, f"blobs/{sha}")}, 201)


@routes.on("GET", "/repos/{owner}/{repo}/git/blobs/{sha}", "contents:read")
def get_blob(call: Call) -> Answer:
    """Return a blob as base64, or its bytes when asked for raw."""
    sha = call.params["sha"]
    found = call.repository.objects.read(sha) if re.fullmatch(r"[0-9a-f]{40}", sha) else None
    if not found or found.kind != "blob":
        raise not_found()
    if wants_raw(call):
        return Answer(found.data, headers={"Content-Type": RAW[1] + "; charset=utf-8"})
    return Answer(
        {
            "sha": sha,
            "node_id": f"B_{sha}",
            "size": len(found.data),
            "url": _url(call, f"blobs/{sha}"),
            "content": base64.encodebytes(found.data).decode(),
            "encoding": "base64",
        }
    )


def check_path(path: object) -> str:
    """Return a path that may stand in a tree; refuses what would reach outside or into `.git`."""
    if not isinstance(path, str) or not path:
        raise unprocessable("tree.path cannot be blank")
    if path.startswith("/"):
        raise unprocessable("tree.path cannot start with a slash")
    parts = path.split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" or "\0" in part for part in parts):
        raise unprocessable("tree.path contains a malformed path component")
    return path


def _edit(call: Call, item: object) -> TreeEdit:
    if not isinstance(item, dict):
        raise unprocessable("Invalid tree info")
    objects, path, mode = call.repository.objects, check_path(item.get("path")), item.get("mode")
    if item.get("sha", "") is None:
        return TreeEdit(path, "", "", None)
    if mode not in MODES:
        raise unprocessable("tree.mode must be one of 100644, 100755, 040000, 160000 or 120000")
    kind, sha, content = MODES[mode], item.get("sha"), item.get("content")
    if isinstance(content, str) and not sha:
        if kind != "blob":
            raise unprocessable("tree.content is only for blobs")
        return TreeEdit(path, mode, kind, objects.write("blob", content.encode()))
    if not isinstance(sha, str) or not re.fullmatch(r"[0-9a-f]{40}", sha):
        raise unprocessable("Must supply a valid tree.sha")
    if kind != "commit" and objects.kind(sha) != kind:
        raise unprocessable(f"tree.sha {sha} is not a valid {kind}")
    return TreeEdit(path, mode, kind, sha)


@routes.on("POST", "/repos/{owner}/{repo}/git/trees", "contents:write")
def create_tree(call: Call) -> Answer:
    """Make a tree from entries, on top of `base_tree` when given; `sha: null` removes a path."""
    objects, base, items = call.repository.objects, call.json.get("base_tree"), call.json.get("tree")
    if not isinstance(items, list) or not items:
        raise unprocessable("Invalid tree info")
    if base is not None:
        if not isinstance(base, str) or not re.fullmatch(r"[0-9a-f]{40}", base) or objects.tree(base) is None:
            raise unprocessable("base_tree is not a valid tree oid")
        base = objects.resolve(f"{base}^{{tree}}")
    edits = [_edit(call, item) for item in items]
    _guard_workflows(call, base, edits)
    try:
        sha = objects.write_tree(base, edits)
    except GitRefused as error:
        raise unprocessable(str(error)) from error
    return Answer(_tree_json(call, sha, recursive=False), 201)


def _guard_workflows(call: Call, base: str | None, edits: list[TreeEdit]) -> None:
    held = call.permissions
    if held is None or held.get("workflows") == "write":
        return
    for edit in edits:
        if edit.path.startswith(refs.WORKFLOWS) or refs.WORKFLOWS.startswith(edit.path + "/"):
            before = call.repository.objects.resolve(f"{base}:{edit.path}") if base else None
            if edit.sha != before:
                raise not_accessible()


def _tree_json(call: Call, sha: str, recursive: bool) -> Json:
    objects = call.repository.objects
    entries = list(objects.walk(sha)) if recursive else objects.tree(sha) or []
    shown = entries[:TREE_LIMIT]
    sizes = objects.sizes(entry.sha for entry in shown if entry.kind == "blob")
    rows = []
    for entry in shown:
        row: Json = {"path": entry.path, "mode": entry.mode, "type": entry.kind, "sha": entry.sha}
        if entry.kind == "blob":
            row["size"] = sizes.get(entry.sha, 0)
        if entry.kind != "commit":
            row["url"] = _url(call, f"{entry.kind}s/{entry.sha}")
        rows.append(row)
    return {
        "sha": sha,
        "url": _url(call, f"trees/{sha}"),
        "tree": rows,
        "truncated": len(entries) > TREE_LIMIT,
    }


@routes.on("GET", "/repos/{owner}/{repo}/git/trees/{sha:path}", "contents:read")
def get_tree(call: Call) -> Answer:
    """Return a tree by its SHA, a commit or a branch, with everything below it if `recursive` is given."""
    found = resolve(call.repository, call.params["sha"])
    sha = call.repository.objects.resolve(f"{found}^{{tree}}") if found else None
    if not sha:
        raise not_found()
    return Answer(_tree_json(call, sha, recursive="recursive" in call.query))


def _person(call: Call, key: str) -> Person | None:
    wanted = call.json.get(key)
    if wanted is None:
        return None
    if not isinstance(wanted, dict) or not wanted.get("name") or not wanted.get("email"):
        raise unprocessable(f'Invalid request.\n\n"{key}" needs a name and an email.')
    try:
        moment = datetime.fromisoformat(wanted["date"]) if wanted.get("date") else call.state.now()
    except ValueError as error:
        raise unprocessable(f'Invalid request.\n\n"{key}.date" is not a timestamp.') from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    clean = {part: re.sub(r"[<>\n\0]", "", str(wanted[part])) for part in ("name", "email")}
    return Person(clean["name"], clean["email"], int(moment.timestamp()), moment.strftime("%z"))


@routes.on("POST", "/repos/{owner}/{repo}/git/commits", "contents:write")
def create_commit(call: Call) -> Answer:
    """Make a commit; an App that names no author gets its bot as author and GitHub's signature."""
    objects, message, tree = (
        call.repository.objects,
        call.text("message", "Commit"),
        call.text("tree", "Commit"),
    )
    parents = call.json.get("parents") or []
    if objects.kind(tree) != "tree":
        raise unprocessable("Tree SHA does not exist")
    if not isinstance(parents, list) or any(objects.kind(str(parent)) != "commit" for parent in parents):
        raise unprocessable("Parent SHA does not exist or is not a commit object")
    author, committer, signature = (
        _person(call, "author"),
        _person(call, "committer"),
        call.json.get("signature"),
    )
    sha = store_commit(call, tree, parents, message, author, committer, signature or "")
    commit = objects.commit(sha)
    if not commit:
        raise not_found()
    return Answer(git_commit_json(call.state, call.repository, commit), 201)


def store_commit(
    call: Call,
    tree: str,
    parents: list[str],
    message: str,
    author: Person | None = None,
    committer: Person | None = None,
    signature: str = "",
) -> str:
    """Store a commit made through the API and return its SHA, signed where GitHub would sign it."""
    now, user = int(call.state.now().timestamp()), call.actor.user
    mine = Person(user.login, user.email, now)
    signs = call.caller.token is not None and not (author or committer or signature)
    author = author or mine
    committer = committer or (Person(*GITHUB, now) if signs else author)
    text = SIGNATURE if signs else signature
    try:
        sha = call.repository.objects.write_commit(tree, parents, author, committer, message, text)
    except GitRefused as error:
        raise unprocessable(str(error)) from error
    if signs:
        call.repository.verified.add(sha)
    return sha


@routes.on("GET", "/repos/{owner}/{repo}/git/commits/{sha}", "contents:read")
def get_commit(call: Call) -> Answer:
    """Return a commit."""
    sha = call.params["sha"]
    commit = call.repository.objects.commit(sha) if re.fullmatch(r"[0-9a-f]{40}", sha) else None
    if not commit:
        raise not_found()
    return Answer(git_commit_json(call.state, call.repository, commit))


# Refs.


def _ref_answer(call: Call, ref: str, sha: str, status: int = 200) -> Answer:
    return Answer(ref_json(call.state, call.repository, ref, sha), status)


def _named(call: Call) -> str:
    return "refs/" + call.params["ref"]


@routes.on("POST", "/repos/{owner}/{repo}/git/refs", "contents:write")
def create_ref(call: Call) -> Answer:
    """Create a ref."""
    made = refs.create(
        call.state, call.repository, call.json.get("ref"), call.json.get("sha"), call.actor, call.permissions
    )
    return _ref_answer(call, made.ref, made.after, 201)


@routes.on("GET", "/repos/{owner}/{repo}/git/refs/{ref:path}", "contents:read")
@routes.on("GET", "/repos/{owner}/{repo}/git/ref/{ref:path}", "contents:read")
def get_ref(call: Call) -> Answer:
    """Return the ref of exactly this name."""
    sha = call.repository.objects.resolve(_named(call))
    if not sha:
        raise not_found()
    return _ref_answer(call, _named(call), sha)


@routes.on("GET", "/repos/{owner}/{repo}/git/matching-refs/{ref:path}", "contents:read")
def list_matching_refs(call: Call) -> Answer:
    """List the refs whose names start so; none is an empty list."""
    return call.listing(_starting(call.repository, _named(call)), lambda pair: _ref_answer(call, *pair).body)


def _starting(repository: Repository, prefix: str) -> list[tuple[str, str]]:
    return [(name, sha) for name, sha in repository.objects.refs().items() if name.startswith(prefix)]


@routes.on("PATCH", "/repos/{owner}/{repo}/git/refs/{ref:path}", "contents:write")
def update_ref(call: Call) -> Answer:
    """Move a ref, forward only unless `force` is true."""
    force = call.json.get("force") is True
    sha = call.text("sha", "Reference")
    moved = refs.update(call.state, call.repository, _named(call), sha, force, call.actor, call.permissions)
    return _ref_answer(call, moved.ref, moved.after)


@routes.on("DELETE", "/repos/{owner}/{repo}/git/refs/{ref:path}", "contents:write")
def delete_ref(call: Call) -> Answer:
    """Delete a ref."""
    refs.delete(call.state, call.repository, _named(call), call.actor)
    return Answer(status=204)
