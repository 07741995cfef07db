"""Merging: one branch into another, and pull requests into their base."""

from collections.abc import Mapping

from localhub import refs
from localhub.objects import Person, RefUpdate
from localhub.payloads_git import SIGNATURE
from localhub.payloads_pulls import pull_of
from localhub.pulls import mark_merged
from localhub.records import Actor, Issue, Repository
from localhub.refusals import Refusal
from localhub.state import State


def merge_branch(
    state: State,
    repository: Repository,
    base: str,
    head: str,
    message: str,
    actor: Actor,
    permissions: Mapping[str, str] | None = None,
) -> str | None:
    """Merge commit `head` into branch `base`; returns the merge commit, None when nothing is to be merged."""
    objects = repository.objects
    onto = objects.resolve(f"refs/heads/{base}")
    if not onto:
        raise Refusal(404, "Base does not exist")
    if objects.is_ancestor(head, onto):
        return None
    tree = objects.merge_tree(onto, head)
    if not tree:
        raise Refusal(409, "Merge conflict")
    now = int(state.now().timestamp())
    author = Person(actor.user.login, actor.user.email, now)
    committer = Person("GitHub", "noreply@github.com", now)
    sha = objects.write_commit(tree, [onto, head], author, committer, message, SIGNATURE)
    repository.verified.add(sha)
    update = RefUpdate(f"refs/heads/{base}", onto, sha)
    refs.move(state, repository, [update], actor, permissions=permissions)
    return sha


def merge_pull(
    state: State,
    repository: Repository,
    issue: Issue,
    actor: Actor,
    message: str = "",
    permissions: Mapping[str, str] | None = None,
) -> str:
    """Merge a pull request with a merge commit; refuses drafts, closed ones and conflicts with 405."""
    pull = pull_of(issue)
    if issue.state != "open":
        raise Refusal(405, "Pull Request is not mergeable")
    if pull.draft:
        raise Refusal(405, "Pull Request is still a draft")
    if repository.objects.merge_tree(f"refs/heads/{pull.base_ref}", pull.head_sha) is None:
        raise Refusal(405, "Pull Request is not mergeable")
    label = f"{repository.owner.login}/{pull.head_ref}"
    text = message or f"Merge pull request #{issue.number} from {label}\n\n{issue.title}"
    sha = merge_branch(state, repository, pull.base_ref, pull.head_sha, text, actor, permissions)
    if not issue.merged:
        mark_merged(state, repository, issue, sha or pull.head_sha, actor)
    return sha or pull.head_sha
