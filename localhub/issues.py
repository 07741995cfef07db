"""What happens to issues, comments, labels and reactions, whoever asks for it, with the events it causes."""

from localhub.payloads import REACTIONS, comment_json, issue_json, label_json
from localhub.records import Actor, Comment, Issue, Json, Label, Reaction, Repository, User
from localhub.refusals import invalid
from localhub.state import State, node_id
from localhub.webhooks import emit

MAXIMUM = 65_536


def check_body(resource: str, body: object) -> str:
    """Return a body that GitHub would store; refuses one that is no text or too long."""
    if body is None:
        return ""
    if not isinstance(body, str):
        raise invalid(resource, "body")
    if len(body) > MAXIMUM:
        message = f"Body is too long (maximum is {MAXIMUM} characters)"
        raise invalid(resource, "data", "unprocessable", message)
    return body


def check_title(resource: str, title: object) -> str:
    """Return a title that GitHub would store; refuses an empty or overlong one."""
    if not isinstance(title, str) or not title.strip():
        raise invalid(resource, "title", "missing_field")
    if len(title) > 256:
        raise invalid(resource, "title", "custom", "title is too long (maximum is 256 characters)")
    return title


def new_issue(state: State, repository: Repository, title: str, body: str, actor: Actor) -> Issue:
    """Add a numbered issue without announcing it."""
    now = state.now()
    number = repository.next_number
    repository.next_number += 1
    issue = Issue(state.next_id(), number, title, body, actor.user, actor.app, now, now)
    repository.issues[number] = issue
    return issue


def open_issue(state: State, repository: Repository, title: object, body: object, actor: Actor) -> Issue:
    """Open an issue."""
    issue = new_issue(state, repository, check_title("Issue", title), check_body("Issue", body), actor)
    state.nodes[node_id("I", issue.id)] = (repository, issue)
    announce(state, repository, issue, "opened", actor)
    return issue


def announce(
    state: State, repository: Repository, issue: Issue, action: str, actor: Actor, extra: Json | None = None
) -> None:
    """Send an `issues` event; pull requests have their own."""
    if not issue.pull:
        content = {"issue": issue_json(state, repository, issue)} | (extra or {})
        emit(state, repository, "issues", action, content, actor)


def edit_issue(
    state: State, repository: Repository, issue: Issue, title: object, body: object, actor: Actor
) -> bool:
    """Change title and body where given (None leaves them) and announce it; says whether anything changed."""
    changes: Json = {}
    if title is not None and title != issue.title:
        changes["title"] = {"from": issue.title}
        issue.title = check_title("Issue", title)
    if body is not None and body != issue.body:
        changes["body"] = {"from": issue.body}
        issue.body = check_body("Issue", body)
    if changes:
        issue.updated_at = state.now()
        announce(state, repository, issue, "edited", actor, {"changes": changes})
    return bool(changes)


def set_issue_state(
    state: State, repository: Repository, issue: Issue, wanted: str, actor: Actor, reason: str | None = None
) -> None:
    """Close or reopen an issue; asking for the state it has does nothing."""
    if wanted not in ("open", "closed"):
        raise invalid("Issue", "state")
    if wanted == issue.state:
        return
    closed = wanted == "closed"
    issue.state = wanted
    issue.state_reason = (reason or "completed") if closed else "reopened"
    issue.closed_at = state.now() if closed else None
    issue.closed_by = actor.user if closed else None
    issue.updated_at = state.now()
    announce(state, repository, issue, "closed" if closed else "reopened", actor)


def make_label(
    state: State, repository: Repository, name: str, color: str = "ededed", description: str = ""
) -> Label:
    """Return the label of a name, made if it is new."""
    key = name.lower()
    if key not in repository.labels:
        repository.labels[key] = Label(state.next_id(), name, color, description)
    return repository.labels[key]


def add_label(state: State, repository: Repository, issue: Issue, name: object, actor: Actor) -> None:
    """Put a label on an issue; one that is there already stays silent."""
    if not isinstance(name, str) or not name.strip() or len(name) > 50:
        raise invalid("Label", "name")
    label = make_label(state, repository, name)
    if label.name in issue.labels:
        return
    issue.labels.append(label.name)
    issue.updated_at = state.now()
    extra = {"label": label_json(state, repository, label)}
    announce(state, repository, issue, "labeled", actor, extra)


def remove_label(state: State, repository: Repository, issue: Issue, name: str, actor: Actor) -> bool:
    """Take a label off an issue; says whether it was there."""
    label = repository.labels.get(name.lower())
    if not label or label.name not in issue.labels:
        return False
    issue.labels.remove(label.name)
    issue.updated_at = state.now()
    extra = {"label": label_json(state, repository, label)}
    announce(state, repository, issue, "unlabeled", actor, extra)
    return True


def _announce_comment(
    state: State,
    repository: Repository,
    issue: Issue,
    comment: Comment,
    action: str,
    actor: Actor,
    old: str | None,
) -> None:
    content = {
        "issue": issue_json(state, repository, issue),
        "comment": comment_json(state, repository, issue, comment),
    }
    if old is not None:
        content["changes"] = {"body": {"from": old}}
    emit(state, repository, "issue_comment", action, content, actor)


def add_comment(state: State, repository: Repository, issue: Issue, body: object, actor: Actor) -> Comment:
    """Comment on an issue or pull request."""
    text = check_body("IssueComment", body)
    if not text.strip():
        raise invalid("IssueComment", "data", "unprocessable", "Body cannot be blank")
    now = state.now()
    comment = Comment(state.next_id(), text, actor.user, actor.app, now, now)
    state.nodes[node_id("IC", comment.id)] = (repository, comment)
    issue.comments.append(comment)
    issue.updated_at = now
    _announce_comment(state, repository, issue, comment, "created", actor, None)
    return comment


def edit_comment(
    state: State, repository: Repository, issue: Issue, comment: Comment, body: object, actor: Actor
) -> None:
    """Change a comment's text."""
    text = check_body("IssueComment", body)
    if not text.strip():
        raise invalid("IssueComment", "data", "unprocessable", "Body cannot be blank")
    if text == comment.body:
        return
    old, comment.body, comment.updated_at = comment.body, text, state.now()
    _announce_comment(state, repository, issue, comment, "edited", actor, old)


def delete_comment(
    state: State, repository: Repository, issue: Issue, comment: Comment, actor: Actor
) -> None:
    """Remove a comment."""
    issue.comments.remove(comment)
    _announce_comment(state, repository, issue, comment, "deleted", actor, None)


def react(state: State, reactions: list[Reaction], content: object, user: User) -> tuple[Reaction, bool]:
    """Add a reaction; returns it and whether it is new, because each account has at most one of a kind."""
    if content not in REACTIONS:
        raise invalid("Reaction", "content")
    for reaction in reactions:
        if reaction.content == content and reaction.user is user:
            return reaction, False
    reaction = Reaction(state.next_id(), str(content), user, state.now())
    reactions.append(reaction)
    return reaction, True
