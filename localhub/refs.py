"""Moving refs: the rules a move must keep, the move itself, and everything that follows from a push."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from localhub.objects import GitRefused, RefUpdate
from localhub.payloads_git import push_commit_json
from localhub.pulls import follow_branch
from localhub.records import ZERO, Actor, Json, Repository
from localhub.refusals import Refusal, not_found, unprocessable
from localhub.reports import request_suites, suite_for
from localhub.state import State
from localhub.webhooks import emit

SHOWN = 20
SKIP_WORDS = ("[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]")
_BAD_NAME = re.compile(r"\.\.|[\x00-\x20\x7f~^:?*\[\\]|//|@\{|/\.|\.lock(/|\Z)|[./]\Z")
WORKFLOWS = ".github/workflows"


def check_name(ref: object) -> str:
    """Return a full ref name; refuses one that Git or GitHub would not take."""
    if not isinstance(ref, str) or not ref.startswith("refs/") or ref.count("/") < 2:
        raise unprocessable("Reference name must start with 'refs/' and have at least two slashes")
    if _BAD_NAME.search(ref) or ref.startswith("refs/pull/"):
        raise unprocessable(f"{ref} is not a valid ref name.")
    return ref


def workflow_message(path: str) -> str:
    """Return what GitHub says when an App without `workflows` permission brings a workflow file."""
    return (
        f"refusing to allow a GitHub App to create or update workflow `{path}` without `workflows` permission"
    )


def check_workflows(
    repository: Repository, permissions: Mapping[str, str] | None, sha: str, known: Sequence[str] = ("--all",)
) -> None:
    """Refuse new commits that touch workflow files; `permissions` is None for people, who may."""
    if permissions is None or permissions.get("workflows") == "write" or sha == ZERO:
        return
    path = repository.objects.touched_in_new_commits(sha, WORKFLOWS, known)
    if path:
        raise Refusal(422, workflow_message(path))


def check_move(repository: Repository, update: RefUpdate, force: bool) -> None:
    """Refuse a move that is not a fast forward unless forced, and any force that a rule forbids."""
    if ZERO in (update.before, update.after) or not update.ref.startswith("refs/heads/"):
        return
    if repository.objects.is_ancestor(update.before, update.after):
        return
    if not force:
        raise unprocessable("Update is not a fast forward")
    branch = update.ref.removeprefix("refs/heads/")
    if repository.forbids_force(branch):
        raise unprocessable("Repository rule violations found\n\nCannot force-push to this branch")


def move(
    state: State,
    repository: Repository,
    updates: Sequence[RefUpdate],
    actor: Actor,
    *,
    forced: Collection[str] = (),
    permissions: Mapping[str, str] | None = None,
) -> None:
    """Move refs, all or none, and announce the pushes.

    `forced` names the refs that may lose commits; `permissions` are the App token's, None for a person.
    """
    for update in updates:
        check_move(repository, update, update.ref in forced)
        check_workflows(repository, permissions, update.after)
    try:
        repository.objects.update_refs(updates)
    except GitRefused as error:
        raise Refusal(409, f"Reference update failed: {error}") from error
    announce(state, repository, updates, actor)


def announce(state: State, repository: Repository, updates: Sequence[RefUpdate], actor: Actor) -> None:
    """Let everything follow that a push causes: push event, pull requests, suites and CI."""
    tags = sum(update.ref.startswith("refs/tags/") for update in updates)
    for update in updates:
        if update.before == update.after or not update.ref.startswith(("refs/heads/", "refs/tags/")):
            continue
        repository.pushed_at = state.now()
        # GitHub sends no push event when more than three tags arrive at once.
        if tags <= 3 or not update.ref.startswith("refs/tags/"):
            emit(state, repository, "push", None, push_body(state, repository, update, actor), actor)
        if update.ref.startswith("refs/heads/"):
            _branch_moved(state, repository, update, actor)


def _branch_moved(state: State, repository: Repository, update: RefUpdate, actor: Actor) -> None:
    follow_branch(state, repository, update, actor)
    commit = repository.objects.commit(update.after) if update.after != ZERO else None
    if not commit:
        return
    branch = update.ref.removeprefix("refs/heads/")
    request_suites(state, repository, update.after, branch, update.before, actor)
    if state.faults.zombie_suite:
        zombie = state.app_by_slug("zombie-ci") or state.make_app("zombie-ci", {"checks": "write"})
        suite_for(state, repository, zombie, update.after, branch)
    runs = branch != repository.default_branch or repository.checks_on_default
    if runs and repository.ci_enabled and repository.commands:
        if any(word in commit.message for word in SKIP_WORDS):
            return
        app = state.app_by_slug("local-ci")
        if app:
            state.check_jobs.append((repository, suite_for(state, repository, app, update.after, branch)))
            state.wake()


def push_body(state: State, repository: Repository, update: RefUpdate, actor: Actor) -> Json:
    """Return the content of a push event for one moved ref."""
    created, deleted = update.before == ZERO, update.after == ZERO
    page = f"{state.url}/{repository.full_name}"
    commits: list[Json] = []
    forced = False
    if not deleted:
        known = [update.before] if not created else _other_heads(repository, update)
        listed = repository.objects.names_changed(update.after, known, SHOWN)
        for sha, changed in listed:
            commit = repository.objects.commit(sha)
            if commit:
                commits.append(push_commit_json(state, repository, commit, changed))
        forced = not created and not repository.objects.is_ancestor(update.before, update.after)
    head = next((c for c in commits if c["id"] == update.after), None)
    if not deleted and not head:
        commit = repository.objects.commit(update.after)
        head = push_commit_json(state, repository, commit, []) if commit else None
    body: dict[str, Any] = {
        "ref": update.ref,
        "before": update.before,
        "after": update.after,
        "created": created,
        "deleted": deleted,
        "forced": forced,
        "base_ref": None,
        "compare": f"{page}/compare/{update.before[:12]}...{update.after[:12]}",
        "commits": commits,
        "head_commit": head,
        "pusher": {"name": actor.user.login, "email": actor.user.email},
    }
    return body


def _other_heads(repository: Repository, update: RefUpdate) -> list[str]:
    refs = repository.objects.refs("refs/heads/")
    return [sha for ref, sha in refs.items() if ref != update.ref]


def create(
    state: State,
    repository: Repository,
    ref: object,
    sha: object,
    actor: Actor,
    permissions: Mapping[str, str] | None = None,
) -> RefUpdate:
    """Create a ref; refuses one that exists and an object that does not."""
    name = check_name(ref)
    if not isinstance(sha, str) or len(sha) != 40 or not repository.objects.kind(sha):
        raise unprocessable("Object does not exist")
    if repository.objects.resolve(name):
        raise unprocessable("Reference already exists")
    if name.startswith("refs/heads/") and repository.objects.kind(sha) != "commit":
        raise unprocessable("Reference cannot be updated")
    update = RefUpdate(name, ZERO, sha)
    move(state, repository, [update], actor, permissions=permissions)
    return update


def update(
    state: State,
    repository: Repository,
    name: str,
    sha: object,
    force: bool,
    actor: Actor,
    permissions: Mapping[str, str] | None = None,
) -> RefUpdate:
    """Move an existing ref; refuses what is not a fast forward unless forced."""
    before = repository.objects.resolve(name)
    if not before:
        raise unprocessable("Reference does not exist")
    if not isinstance(sha, str) or len(sha) != 40 or not repository.objects.kind(sha):
        raise unprocessable("Object does not exist")
    change = RefUpdate(name, before, sha)
    move(state, repository, [change], actor, forced=[name] if force else (), permissions=permissions)
    return change


def delete(state: State, repository: Repository, name: str, actor: Actor) -> None:
    """Delete a ref; the default branch stays."""
    before = repository.objects.resolve(name)
    if not before:
        raise unprocessable("Reference does not exist")
    if name == f"refs/heads/{repository.default_branch}":
        raise unprocessable("Cannot delete the default branch")
    if not name.startswith("refs/") or name.startswith("refs/pull/"):
        raise not_found()
    move(state, repository, [RefUpdate(name, before, ZERO)], actor)
