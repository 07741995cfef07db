"""GraphQL: the few queries and mutations that bots use, answered in GitHub's shape."""

import base64
from collections.abc import Callable
from typing import Any

from localhub import refs
from localhub.graphql_text import Document, Field, GraphQLSyntaxError, fill, read_document
from localhub.objects import GitRefused, RefUpdate, TreeEdit
from localhub.payloads_pulls import mergeable, pull_of
from localhub.pulls import set_draft, set_pull_state
from localhub.records import ZERO, CheckRun, CheckSuite, Comment, Issue, Json, Repository, User
from localhub.refusals import Refusal
from localhub.rest import Answer, Call, resolve
from localhub.rest_git import check_path, store_commit
from localhub.state import node_id, stamp

REASONS = ("SPAM", "ABUSE", "OFF_TOPIC", "OUTDATED", "DUPLICATE", "RESOLVED", "LOW_QUALITY")


class GraphQLRefusal(Exception):
    """An entry of `errors`: its type and message."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _forbidden() -> GraphQLRefusal:
    return GraphQLRefusal("FORBIDDEN", "Resource not accessible by integration")


def answer(call: Call) -> Answer:
    """Answer one GraphQL request; errors of fields come back with status 200."""
    if not call.caller.token and not call.caller.user:
        raise Refusal(401, "This endpoint requires you to be authenticated.")
    try:
        document = read_document(str(call.json.get("query") or ""))
    except GraphQLSyntaxError as error:
        return Answer(
            {"errors": [{"message": f"Parse error: {error}", "extensions": {"code": "parseError"}}]}
        )
    variables = document.defaults | (call.json.get("variables") or {})
    data: Json = {}
    errors: list[Json] = []
    roots = MUTATIONS if document.kind == "mutation" else QUERIES
    for field in document.fields:
        try:
            data[field.alias] = _root(call, document, field, roots, variables)
        except GraphQLRefusal as refusal:
            data[field.alias] = None
            errors.append(_error(refusal.kind, field, str(refusal)))
        except Refusal as refusal:
            data[field.alias] = None
            kinds = {403: "FORBIDDEN", 404: "NOT_FOUND"}
            message = "; ".join(str(e.get("message", "")) for e in refusal.errors) or refusal.message
            errors.append(_error(kinds.get(refusal.status, "UNPROCESSABLE"), field, message))
    body: Json = {"data": data}
    return Answer(body | ({"errors": errors} if errors else {}))


def _error(kind: str, field: Field, message: str) -> Json:
    return {"type": kind, "path": [field.alias], "locations": [{"line": 1, "column": 1}], "message": message}


Root = Callable[[Call, dict[str, Any]], Any]


def _root(
    call: Call, document: Document, field: Field, roots: dict[str, Root], variables: dict[str, Any]
) -> Any:
    if field.name not in roots:
        kind = "Mutation" if roots is MUTATIONS else "Query"
        raise GraphQLRefusal("undefinedField", f"Field '{field.name}' doesn't exist on type '{kind}'")
    arguments = fill(field.arguments, variables)
    if roots is MUTATIONS:
        arguments = arguments.get("input")
        if not isinstance(arguments, dict):
            raise GraphQLRefusal(
                "missingRequiredArguments", f"Field '{field.name}' is missing argument 'input'"
            )
    return _select(roots[field.name](call, arguments), field.selections, document, variables)


def _select(value: Any, selections: list[Field], document: Document, variables: dict[str, Any]) -> Any:
    """Return what is selected of a value; functions among its fields are called with their arguments."""
    if isinstance(value, list):
        return [_select(item, selections, document, variables) for item in value]
    if not isinstance(value, dict):
        return value
    shown: Json = {}
    for field in selections:
        if field.name == "...":
            fragment = document.fragments.get(field.alias, field)
            if fragment.on in ("", value.get("__typename")):
                shown |= _select(value, fragment.selections, document, variables)
            continue
        if field.name not in value:
            kind = value.get("__typename", "Object")
            raise GraphQLRefusal("undefinedField", f"Field '{field.name}' doesn't exist on type '{kind}'")
        found = value[field.name]
        if callable(found):
            found = found(fill(field.arguments, variables))
        shown[field.alias] = _select(found, field.selections, document, variables)
    return shown


# Types, as dictionaries of fields.


def _actor(user: User) -> Json:
    name = user.login.removesuffix("[bot]")
    return {"__typename": user.type, "login": name, "id": node_id("U", user.id), "databaseId": user.id}


def _repository(call: Call, repository: Repository) -> Json:
    name = repository.default_branch

    def numbered(arguments: Json, pull: bool) -> Json:
        issue = repository.issues.get(arguments.get("number") or 0)
        if not issue or bool(issue.pull) != pull:
            kind = "a PullRequest" if pull else "an Issue"
            raise GraphQLRefusal(
                "NOT_FOUND", f"Could not resolve to {kind} with the number of {arguments['number']}."
            )
        return _pull(call, repository, issue) if pull else _issue(call, repository, issue)

    return {
        "__typename": "Repository",
        "id": node_id("R", repository.id),
        "databaseId": repository.id,
        "name": repository.name,
        "nameWithOwner": repository.full_name,
        "isPrivate": repository.private,
        "url": f"{call.state.url}/{repository.full_name}",
        "owner": _actor(repository.owner),
        "defaultBranchRef": lambda _: _ref(repository, f"refs/heads/{name}"),
        "ref": lambda arguments: _ref(repository, arguments.get("qualifiedName") or ""),
        "object": lambda arguments: _object(repository, arguments),
        "pullRequest": lambda arguments: numbered(arguments, True),
        "issue": lambda arguments: numbered(arguments, False),
    }


def _ref(repository: Repository, name: str) -> Json | None:
    full = name if name.startswith("refs/") else f"refs/heads/{name}"
    sha = repository.objects.resolve(full)
    if not sha:
        return None
    prefix = "/".join(full.split("/")[:2]) + "/"
    return {
        "__typename": "Ref",
        "id": node_id("REF", f"{repository.id}:{full}"),
        "name": full.removeprefix(prefix),
        "prefix": prefix,
        "target": _object(repository, {"oid": sha}),
    }


def _object(repository: Repository, arguments: Json) -> Json | None:
    name = arguments.get("oid") or resolve(repository, str(arguments.get("expression") or "")) or ""
    kind = repository.objects.kind(name)
    if not kind:
        return None
    found: Json = {
        "__typename": kind.title(),
        "oid": repository.objects.resolve(name),
        "id": node_id("C", name),
    }
    commit = repository.objects.commit(name) if kind == "commit" else None
    if commit:
        found |= {"message": commit.message, "messageHeadline": commit.subject}
        found["committedDate"] = lambda _: commit.committer.time
    return found


def _issue(call: Call, repository: Repository, issue: Issue) -> Json:
    return {
        "__typename": "Issue",
        "id": node_id("I", issue.id),
        "databaseId": issue.id,
        "number": issue.number,
        "title": issue.title,
        "body": issue.body,
        "state": issue.state.upper(),
        "author": _actor(issue.author),
        "createdAt": stamp(issue.created_at),
        "url": f"{call.state.url}/{repository.full_name}/issues/{issue.number}",
    }


def _pull(call: Call, repository: Repository, issue: Issue) -> Json:
    pull = pull_of(issue)
    words = {None: "UNKNOWN", True: "MERGEABLE", False: "CONFLICTING"}
    return _issue(call, repository, issue) | {
        "__typename": "PullRequest",
        "id": node_id("PR", issue.id),
        "state": "MERGED" if pull.merged else issue.state.upper(),
        "isDraft": pull.draft,
        "merged": pull.merged,
        "mergeable": lambda _: words[mergeable(call.state, repository, pull, asked=True)],
        "headRefName": pull.head_ref,
        "headRefOid": pull.head_sha,
        "baseRefName": pull.base_ref,
        "baseRefOid": pull.base_sha,
        "url": f"{call.state.url}/{repository.full_name}/pull/{issue.number}",
    }


def _comment(comment: Comment) -> Json:
    return {
        "__typename": "IssueComment",
        "id": node_id("IC", comment.id),
        "databaseId": comment.id,
        "body": comment.body,
        "author": _actor(comment.author),
        "isMinimized": bool(comment.minimized),
        "minimizedReason": comment.minimized.lower() or None,
    }


# Queries.


def _no_node(identifier: object) -> GraphQLRefusal:
    return GraphQLRefusal("NOT_FOUND", f"Could not resolve to a node with the global id of '{identifier}'")


def _find(call: Call, identifier: object) -> tuple[Repository | None, Any]:
    """Return what a global id stands for and its repository, where the caller may see it."""
    found = call.state.nodes.get(str(identifier))
    if isinstance(found, Repository):
        found = (found, found)
    if isinstance(found, tuple):
        if not call.caller.sees(found[0]):
            raise _no_node(identifier)
        return found
    if found is None:
        raise _no_node(identifier)
    return None, found


def _query_repository(call: Call, arguments: Json) -> Json:
    name = f"{arguments.get('owner')}/{arguments.get('name')}"
    found = call.state.repositories.get(name.lower())
    if not found or not call.caller.sees(found):
        raise GraphQLRefusal("NOT_FOUND", f"Could not resolve to a Repository with the name '{name}'.")
    return _repository(call, found)


def _query_node(call: Call, arguments: Json) -> Json:
    repository, found = _find(call, arguments.get("id"))
    if isinstance(found, User):
        return _actor(found)
    if isinstance(found, Comment):
        return _comment(found)
    if repository and isinstance(found, Repository):
        return _repository(call, found)
    if repository and isinstance(found, Issue):
        return _pull(call, repository, found) if found.pull else _issue(call, repository, found)
    if isinstance(found, CheckRun | CheckSuite):
        kind = type(found).__name__
        return {
            "__typename": kind,
            "id": arguments.get("id"),
            "databaseId": found.id,
            "status": found.status.upper(),
        }
    raise _no_node(arguments.get("id"))


def _query_viewer(call: Call, arguments: Json) -> Json:
    return _actor(call.actor.user) | {"login": call.actor.user.login}


def _query_limit(call: Call, arguments: Json) -> Json:
    return {"__typename": "RateLimit", "limit": 5000, "cost": 1, "remaining": 4999, "used": 1}


QUERIES: dict[str, Root] = {
    "repository": _query_repository,
    "node": _query_node,
    "viewer": _query_viewer,
    "rateLimit": _query_limit,
}


# Mutations.


def _on_repository(call: Call, arguments: Json) -> Repository:
    repository, found = _find(call, arguments.get("repositoryId"))
    if not repository or not isinstance(found, Repository):
        raise _no_node(arguments.get("repositoryId"))
    if not call.caller.may(repository, "contents", "write"):
        raise _forbidden()
    return repository


def _moved(repository: Repository, wanted: Json) -> tuple[RefUpdate, bool]:
    """Return one asked ref update; refuses one whose `beforeOid` is not where the ref is."""
    name, after = refs.check_name(wanted.get("name")), str(wanted.get("afterOid") or "")
    now = repository.objects.resolve(name) or ZERO
    before = wanted.get("beforeOid")
    if before is not None and before != now:
        at = "does not exist" if now == ZERO else f"is at {now}"
        raise GraphQLRefusal(
            "UNPROCESSABLE", f"Could not update the reference {name}: expected {before}, but it {at}"
        )
    if len(after) != 40 or (after != ZERO and not repository.objects.kind(after)):
        raise GraphQLRefusal("UNPROCESSABLE", f"The object {after} does not exist")
    if after == ZERO and name == f"refs/heads/{repository.default_branch}":
        raise GraphQLRefusal("UNPROCESSABLE", "Cannot delete the default branch")
    return RefUpdate(name, now, after), wanted.get("force") is True


def _update_refs(call: Call, arguments: Json) -> Json:
    repository = _on_repository(call, arguments)
    wanted = arguments.get("refUpdates") or []
    if not wanted:
        raise GraphQLRefusal("UNPROCESSABLE", "refUpdates can't be blank")
    pairs = [_moved(repository, item) for item in wanted]
    forced = [update.ref for update, force in pairs if force]
    updates = [update for update, _ in pairs if update.before != update.after]
    refs.move(call.state, repository, updates, call.actor, forced=forced, permissions=call.permissions)
    return {"__typename": "UpdateRefsPayload", "clientMutationId": arguments.get("clientMutationId")}


def _pull_request(call: Call, arguments: Json) -> tuple[Repository, Issue]:
    repository, found = _find(call, arguments.get("pullRequestId"))
    if not repository or not isinstance(found, Issue) or not found.pull:
        raise _no_node(arguments.get("pullRequestId"))
    if not call.caller.may(repository, "pull_requests", "write"):
        raise _forbidden()
    return repository, found


def _pull_payload(call: Call, arguments: Json, repository: Repository, issue: Issue) -> Json:
    return {
        "__typename": "PullRequestPayload",
        "clientMutationId": arguments.get("clientMutationId"),
        "pullRequest": _pull(call, repository, issue),
    }


def _mark_ready(call: Call, arguments: Json) -> Json:
    repository, issue = _pull_request(call, arguments)
    if call.state.faults.ready_refused and call.caller.app:
        raise _forbidden()
    set_draft(call.state, repository, issue, False, call.actor)
    return _pull_payload(call, arguments, repository, issue)


def _convert_to_draft(call: Call, arguments: Json) -> Json:
    repository, issue = _pull_request(call, arguments)
    if not repository.drafts_allowed:
        raise GraphQLRefusal("UNPROCESSABLE", "Draft pull requests are not supported in this repository.")
    set_draft(call.state, repository, issue, True, call.actor)
    return _pull_payload(call, arguments, repository, issue)


def _close_pull(call: Call, arguments: Json) -> Json:
    repository, issue = _pull_request(call, arguments)
    set_pull_state(call.state, repository, issue, "closed", call.actor)
    return _pull_payload(call, arguments, repository, issue)


def _minimize(call: Call, arguments: Json) -> Json:
    reason = arguments.get("classifier")
    if reason not in REASONS:
        raise GraphQLRefusal("argumentLiteralsIncompatible", f"{reason} is not a ReportedContentClassifiers")
    return _set_minimized(call, arguments, str(reason), "minimizedComment")


def _unminimize(call: Call, arguments: Json) -> Json:
    return _set_minimized(call, arguments, "", "unminimizedComment")


def _set_minimized(call: Call, arguments: Json, reason: str, key: str) -> Json:
    repository, found = _find(call, arguments.get("subjectId"))
    if not repository or not isinstance(found, Comment):
        raise _no_node(arguments.get("subjectId"))
    allowed = [call.caller.may(repository, name, "write") for name in ("issues", "pull_requests")]
    if not any(allowed):
        raise _forbidden()
    found.minimized = reason
    return {
        "__typename": "MinimizePayload",
        "clientMutationId": arguments.get("clientMutationId"),
        key: _comment(found),
    }


def _commit_on_branch(call: Call, arguments: Json) -> Json:
    branch = arguments.get("branch") or {}
    if branch.get("id"):
        raise GraphQLRefusal("UNPROCESSABLE", "Name the branch by repositoryNameWithOwner and branchName")
    repository = call.state.repositories.get(str(branch.get("repositoryNameWithOwner")).lower())
    if not repository or not call.caller.may(repository, "contents", "write"):
        raise _forbidden()
    ref = refs.check_name("refs/heads/" + str(branch.get("branchName")).removeprefix("refs/heads/"))
    before = repository.objects.resolve(ref)
    if not before:
        raise GraphQLRefusal("NOT_FOUND", f"No ref found for {ref}")
    expected = arguments.get("expectedHeadOid")
    if before != expected:
        message = f'Expected branch to point to "{expected}" but it did not. Pull and try again.'
        raise GraphQLRefusal("STALE_DATA", message)
    call.params = {"owner": repository.owner.login, "repo": repository.name}
    sha = _store_changes(call, repository, before, arguments)
    refs.move(call.state, repository, [RefUpdate(ref, before, sha)], call.actor, permissions=call.permissions)
    page = f"{call.state.url}/{repository.full_name}/commit/{sha}"
    commit = (_object(repository, {"oid": sha}) or {}) | {"url": page}
    return {
        "clientMutationId": arguments.get("clientMutationId"),
        "commit": commit,
        "ref": _ref(repository, ref),
    }


def _store_changes(call: Call, repository: Repository, before: str, arguments: Json) -> str:
    changes, message = arguments.get("fileChanges") or {}, arguments.get("message") or {}
    edits = [TreeEdit(check_path(item["path"]), "", "", None) for item in changes.get("deletions") or []]
    for item in changes.get("additions") or []:
        sha = repository.objects.write("blob", base64.b64decode(item["contents"]))
        edits.append(TreeEdit(check_path(item["path"]), "100644", "blob", sha))
    try:
        tree = repository.objects.write_tree(repository.objects.resolve(f"{before}^{{tree}}"), edits)
    except GitRefused as error:
        raise GraphQLRefusal("UNPROCESSABLE", str(error)) from error
    text = "\n\n".join(part for part in (message.get("headline"), message.get("body")) if part)
    return store_commit(call, tree, [before], text)


MUTATIONS: dict[str, Root] = {
    "updateRefs": _update_refs,
    "markPullRequestReadyForReview": _mark_ready,
    "convertPullRequestToDraft": _convert_to_draft,
    "closePullRequest": _close_pull,
    "minimizeComment": _minimize,
    "unminimizeComment": _unminimize,
    "createCommitOnBranch": _commit_on_branch,
}
