"""What happens to pull requests: opening, editing, drafts, closing, reviews, and following their branch."""

from localhub.issues import add_label, check_body, check_title, make_label, new_issue, remove_label
from localhub.objects import RefUpdate
from localhub.payloads import label_json, review_json
from localhub.payloads_pulls import pull_json, pull_of, simple_pull_json
from localhub.records import ZERO, Actor, Issue, Json, Pull, Repository, Review
from localhub.refusals import invalid, rejected, unprocessable
from localhub.state import State, node_id
from localhub.webhooks import emit


def announce(
    state: State, repository: Repository, issue: Issue, action: str, actor: Actor, extra: Json | None = None
) -> None:
    """Send a `pull_request` event."""
    content = {"number": issue.number, "pull_request": pull_json(state, repository, issue)} | (extra or {})
    emit(state, repository, "pull_request", action, content, actor)


def _branch(repository: Repository, name: object, field: str) -> tuple[str, str]:
    branch = str(name or "").removeprefix(f"{repository.owner.login}:")
    sha = repository.objects.resolve(f"refs/heads/{branch}") if branch and ":" not in branch else None
    if not sha:
        raise invalid("PullRequest", field)
    return branch, sha


def open_pull(state: State, repository: Repository, wanted: Json, actor: Actor) -> Issue:
    """Open a pull request between two branches of the repository, as `title, body, head, base, draft` say."""
    title, body = (
        check_title("PullRequest", wanted.get("title")),
        check_body("PullRequest", wanted.get("body")),
    )
    base_ref, base_sha = _branch(repository, wanted.get("base"), "base")
    head_ref, head_sha = _branch(repository, wanted.get("head"), "head")
    draft = wanted.get("draft", False) is True
    if draft and not repository.drafts_allowed:
        raise unprocessable("Draft pull requests are not supported in this repository.")
    if not repository.objects.between(base_sha, head_sha, limit=1):
        raise rejected("PullRequest", f"No commits between {base_ref} and {head_ref}")
    for other in repository.pulls:
        pull = pull_of(other)
        if other.state == "open" and (pull.head_ref, pull.base_ref) == (head_ref, base_ref):
            raise rejected(
                "PullRequest", f"A pull request already exists for {repository.owner.login}:{head_ref}."
            )
    issue = new_issue(state, repository, title, body, actor)
    issue.pull = Pull(head_ref, head_sha, base_ref, base_sha, draft=draft)
    state.nodes[node_id("PR", issue.id)] = (repository, issue)
    _keep_head(repository, issue)
    announce(state, repository, issue, "opened", actor)
    return issue


def _keep_head(repository: Repository, issue: Issue) -> None:
    ref = f"refs/pull/{issue.number}/head"
    before = repository.objects.resolve(ref) or ZERO
    if before != pull_of(issue).head_sha:
        repository.objects.update_refs([RefUpdate(ref, before, pull_of(issue).head_sha)])


def edit_pull(
    state: State, repository: Repository, issue: Issue, title: object, body: object, actor: Actor
) -> None:
    """Change title and body where given (None leaves them)."""
    changes: Json = {}
    if title is not None and title != issue.title:
        changes["title"] = {"from": issue.title}
        issue.title = check_title("PullRequest", title)
    if body is not None and body != issue.body:
        changes["body"] = {"from": issue.body}
        issue.body = check_body("PullRequest", body)
    if changes:
        issue.updated_at = state.now()
        announce(state, repository, issue, "edited", actor, {"changes": changes})


def set_pull_state(state: State, repository: Repository, issue: Issue, wanted: object, actor: Actor) -> None:
    """Close or reopen a pull request; one whose branch is gone stays closed."""
    if wanted not in ("open", "closed"):
        raise invalid("PullRequest", "state")
    pull = pull_of(issue)
    if wanted == issue.state:
        return
    if wanted == "open":
        if pull.merged or not repository.objects.resolve(f"refs/heads/{pull.head_ref}"):
            raise rejected(
                "PullRequest", f"state cannot be changed. The {pull.head_ref} branch has been deleted."
            )
        issue.state, issue.closed_at, issue.closed_by = "open", None, None
    else:
        issue.state, issue.closed_at, issue.closed_by = "closed", state.now(), actor.user
    issue.updated_at = state.now()
    announce(state, repository, issue, "reopened" if wanted == "open" else "closed", actor)


def set_draft(state: State, repository: Repository, issue: Issue, draft: bool, actor: Actor) -> None:
    """Make a pull request ready for review, or a draft again."""
    pull = pull_of(issue)
    if pull.draft == draft:
        return
    pull.draft = draft
    issue.updated_at = state.now()
    announce(state, repository, issue, "converted_to_draft" if draft else "ready_for_review", actor)


def label_pull(
    state: State, repository: Repository, issue: Issue, name: str, actor: Actor, remove: bool = False
) -> bool:
    """Put a label on a pull request or take it off, with its event; says whether it changed."""
    had = name.lower() in (label.lower() for label in issue.labels)
    if remove:
        remove_label(state, repository, issue, name, actor)
    else:
        add_label(state, repository, issue, name, actor)
    if had == remove:
        extra = {"label": label_json(state, repository, make_label(state, repository, name))}
        announce(state, repository, issue, "unlabeled" if remove else "labeled", actor, extra)
    return had == remove


def mark_merged(state: State, repository: Repository, issue: Issue, sha: str, actor: Actor) -> None:
    """Close a pull request as merged by a commit."""
    pull = pull_of(issue)
    pull.merged, pull.merged_at, pull.merged_by, pull.merge_sha = True, state.now(), actor.user, sha
    issue.state, issue.closed_at, issue.closed_by, issue.updated_at = (
        "closed",
        state.now(),
        actor.user,
        state.now(),
    )
    announce(state, repository, issue, "closed", actor)


def submit_review(
    state: State, repository: Repository, issue: Issue, verdict: str, body: str, actor: Actor
) -> Review:
    """Record a review and send `pull_request_review.submitted`."""
    sha = pull_of(issue).head_sha
    review = Review(state.next_id(), actor.user, verdict.upper(), body, sha, state.now())
    issue.reviews.append(review)
    content = {
        "review": review_json(state, repository, issue, review) | {"state": review.state.lower()},
        "pull_request": simple_pull_json(state, repository, issue),
    }
    emit(state, repository, "pull_request_review", "submitted", content, actor)
    return review


def follow_branch(state: State, repository: Repository, update: RefUpdate, actor: Actor) -> None:
    """Let open pull requests follow a branch that moved: new head, deleted head, or merged into its base."""
    branch = update.ref.removeprefix("refs/heads/")
    for issue in repository.pulls:
        pull = pull_of(issue)
        if issue.state != "open":
            continue
        if pull.head_ref == branch:
            _head_moved(state, repository, issue, update, actor)
        elif pull.base_ref == branch and update.after != ZERO:
            pull.base_sha = update.after
            if repository.objects.is_ancestor(pull.head_sha, update.after):
                mark_merged(state, repository, issue, update.after, actor)


def _head_moved(state: State, repository: Repository, issue: Issue, update: RefUpdate, actor: Actor) -> None:
    if update.after == ZERO:
        set_pull_state(state, repository, issue, "closed", actor)
        return
    pull_of(issue).head_sha = update.after
    issue.updated_at = state.now()
    _keep_head(repository, issue)
    announce(state, repository, issue, "synchronize", actor, {"before": update.before, "after": update.after})
