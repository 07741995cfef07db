"""REST: issues, their comments, labels and reactions."""

from datetime import datetime
from typing import Any

from localhub.issues import (
    add_comment,
    add_label,
    check_body,
    delete_comment,
    edit_comment,
    edit_issue,
    make_label,
    open_issue,
    react,
    remove_label,
    set_issue_state,
)
from localhub.payloads import comment_json, issue_json, label_json, reaction_json
from localhub.pulls import edit_pull, label_pull, set_pull_state
from localhub.records import Comment, Issue, Label, Reaction
from localhub.refusals import Refusal, invalid, not_accessible, not_found
from localhub.rest import Answer, Call, Routes

routes = Routes()
READ = ("issues:read", "pull_requests:read")
WRITE = ("issues:write", "pull_requests:write")


def _issue(call: Call) -> Issue:
    return call.state.issue(call.repository, call.number)


def _comment(call: Call) -> tuple[Issue, Comment]:
    return call.state.comment(call.repository, int(call.params["id"]))


def _shown(call: Call, issue: Issue) -> Answer:
    return Answer(issue_json(call.state, call.repository, issue))


def _since(call: Call, items: list[Any]) -> list[Any]:
    text = call.query.get("since")
    if not text:
        return items
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as error:
        raise invalid("Issue", "since") from error
    return [item for item in items if item.updated_at >= moment]


@routes.on("GET", "/repos/{owner}/{repo}/issues", *READ)
def list_issues(call: Call) -> Answer:
    """List issues and pull requests, newest first, by `state` and `labels`."""
    wanted, labels = call.query.get("state", "open"), call.query.get("labels", "").lower()
    names = {name.strip() for name in labels.split(",") if name.strip()}
    issues = [i for i in reversed(call.repository.issues.values()) if wanted in ("all", i.state)]
    issues = [i for i in issues if names <= {label.lower() for label in i.labels}]
    if call.query.get("creator"):
        issues = [i for i in issues if i.author.login.lower() == call.query["creator"].lower()]
    return call.listing(_since(call, issues), lambda issue: issue_json(call.state, call.repository, issue))


@routes.on("POST", "/repos/{owner}/{repo}/issues", "issues:write")
def create_issue(call: Call) -> Answer:
    """Open an issue."""
    title, body = call.text("title", "Issue"), call.json.get("body")
    issue = open_issue(call.state, call.repository, title, body, call.actor)
    for name in call.json.get("labels") or []:
        add_label(call.state, call.repository, issue, _label_name(name), call.actor)
    return Answer(issue_json(call.state, call.repository, issue), 201)


@routes.on("GET", "/repos/{owner}/{repo}/issues/comments/{id}", *READ)
def get_comment(call: Call) -> Answer:
    """Return one comment."""
    return Answer(comment_json(call.state, call.repository, *_comment(call)))


@routes.on("PATCH", "/repos/{owner}/{repo}/issues/comments/{id}", *WRITE)
def update_comment(call: Call) -> Answer:
    """Change the text of a comment; people without write access only their own."""
    issue, comment = _comment(call)
    _own_or_write(call, comment)
    edit_comment(call.state, call.repository, issue, comment, call.text("body", "IssueComment"), call.actor)
    return Answer(comment_json(call.state, call.repository, issue, comment))


@routes.on("DELETE", "/repos/{owner}/{repo}/issues/comments/{id}", *WRITE)
def remove_comment(call: Call) -> Answer:
    """Delete a comment."""
    issue, comment = _comment(call)
    _own_or_write(call, comment)
    delete_comment(call.state, call.repository, issue, comment, call.actor)
    return Answer(status=204)


def _own_or_write(call: Call, comment: Comment) -> None:
    user = call.caller.user
    if user and comment.author is not user and not call.repository.allows(user, "write"):
        raise Refusal(403, "Must have admin rights to Repository.")


@routes.on("GET", "/repos/{owner}/{repo}/issues/comments", *READ)
def list_all_comments(call: Call) -> Answer:
    """List the comments of all issues, oldest first, changed at or after `since`."""
    pairs = [(issue, comment) for issue in call.repository.issues.values() for comment in issue.comments]
    by_comment = {comment.id: issue for issue, comment in pairs}
    comments = sorted((comment for _, comment in pairs), key=lambda comment: comment.id)
    if call.query.get("direction") == "desc":
        comments.reverse()
    return call.listing(
        _since(call, comments),
        lambda comment: comment_json(call.state, call.repository, by_comment[comment.id], comment),
    )


@routes.on("GET", "/repos/{owner}/{repo}/issues/{number}", *READ)
def get_issue(call: Call) -> Answer:
    """Return one issue or pull request."""
    return _shown(call, _issue(call))


@routes.on("PATCH", "/repos/{owner}/{repo}/issues/{number}", *WRITE)
def update_issue(call: Call) -> Answer:
    """Change title, body, state or labels."""
    state, repository, issue, actor = call.state, call.repository, _issue(call), call.actor
    wanted = call.json
    user = call.caller.user
    if user and issue.author is not user and not repository.allows(user, "triage"):
        raise not_accessible(app=False)
    edit = edit_pull if issue.pull else edit_issue
    body = check_body("Issue", wanted["body"]) if "body" in wanted else None
    edit(state, repository, issue, wanted.get("title"), body, actor)
    if "labels" in wanted:
        _set_labels(call, issue, [_label_name(name) for name in wanted["labels"] or []])
    if wanted.get("state") and issue.pull:
        set_pull_state(state, repository, issue, wanted["state"], actor)
    elif wanted.get("state"):
        set_issue_state(state, repository, issue, wanted["state"], actor, wanted.get("state_reason"))
    return _shown(call, issue)


@routes.on("GET", "/repos/{owner}/{repo}/issues/{number}/comments", *READ)
def list_comments(call: Call) -> Answer:
    """List the comments of an issue, oldest first, changed at or after `since`."""
    issue = _issue(call)
    comments = _since(call, issue.comments)
    return call.listing(comments, lambda comment: comment_json(call.state, call.repository, issue, comment))


@routes.on("POST", "/repos/{owner}/{repo}/issues/{number}/comments", *WRITE)
def create_comment(call: Call) -> Answer:
    """Comment on an issue or pull request."""
    issue = _issue(call)
    comment = add_comment(call.state, call.repository, issue, call.text("body", "IssueComment"), call.actor)
    body = comment_json(call.state, call.repository, issue, comment)
    return Answer(body, 201, {"Location": body["url"]})


# Labels.


def _label_name(value: object) -> str:
    name = value.get("name") if isinstance(value, dict) else value
    if not isinstance(name, str):
        raise invalid("Label", "name")
    return name


def _may_label(call: Call) -> None:
    user = call.caller.user
    if user and not call.repository.allows(user, "triage"):
        raise not_accessible(app=False)


def _put_label(call: Call, issue: Issue, name: str) -> None:
    if issue.pull:
        label_pull(call.state, call.repository, issue, name, call.actor)
    else:
        add_label(call.state, call.repository, issue, name, call.actor)


def _drop_label(call: Call, issue: Issue, name: str) -> bool:
    if issue.pull:
        return label_pull(call.state, call.repository, issue, name, call.actor, remove=True)
    return remove_label(call.state, call.repository, issue, name, call.actor)


def _set_labels(call: Call, issue: Issue, names: list[str]) -> None:
    kept = {name.lower() for name in names}
    for name in [label for label in issue.labels if label.lower() not in kept]:
        _drop_label(call, issue, name)
    for name in names:
        _put_label(call, issue, name)


def _issue_labels(call: Call, issue: Issue) -> Answer:
    labels = [call.repository.labels[name.lower()] for name in issue.labels]
    return call.listing(labels, lambda label: label_json(call.state, call.repository, label))


@routes.on("GET", "/repos/{owner}/{repo}/issues/{number}/labels", *READ)
def list_issue_labels(call: Call) -> Answer:
    """List the labels of an issue."""
    return _issue_labels(call, _issue(call))


@routes.on("POST", "/repos/{owner}/{repo}/issues/{number}/labels", *WRITE)
def add_labels(call: Call) -> Answer:
    """Add labels to an issue; unknown ones are made."""
    _may_label(call)
    issue = _issue(call)
    for name in call.json.get("labels") or []:
        _put_label(call, issue, _label_name(name))
    return _issue_labels(call, issue)


@routes.on("PUT", "/repos/{owner}/{repo}/issues/{number}/labels", *WRITE)
def set_labels(call: Call) -> Answer:
    """Replace the labels of an issue."""
    _may_label(call)
    issue = _issue(call)
    _set_labels(call, issue, [_label_name(name) for name in call.json.get("labels") or []])
    return _issue_labels(call, issue)


@routes.on("DELETE", "/repos/{owner}/{repo}/issues/{number}/labels/{name}", *WRITE)
def delete_label(call: Call) -> Answer:
    """Take one label off an issue; refuses with 404 when it is not there."""
    _may_label(call)
    issue = _issue(call)
    if not _drop_label(call, issue, call.params["name"]):
        raise Refusal(404, "Label does not exist")
    return _issue_labels(call, issue)


@routes.on("GET", "/repos/{owner}/{repo}/labels", *READ)
def list_labels(call: Call) -> Answer:
    """List the labels of the repository."""
    labels = list(call.repository.labels.values())
    return call.listing(labels, lambda label: label_json(call.state, call.repository, label))


@routes.on("GET", "/repos/{owner}/{repo}/labels/{name}", *READ)
def get_label(call: Call) -> Answer:
    """Return one label of the repository."""
    label: Label | None = call.repository.labels.get(call.params["name"].lower())
    if not label:
        raise not_found()
    return Answer(label_json(call.state, call.repository, label))


@routes.on("POST", "/repos/{owner}/{repo}/labels", *WRITE)
def create_label(call: Call) -> Answer:
    """Make a label; refuses one that exists."""
    name = call.text("name", "Label")
    if name.lower() in call.repository.labels:
        raise invalid("Label", "name", "already_exists")
    wanted = call.json
    label = make_label(
        call.state, call.repository, name, wanted.get("color") or "ededed", wanted.get("description") or ""
    )
    return Answer(label_json(call.state, call.repository, label), 201)


# Reactions.


def _list_reactions(call: Call, reactions: list[Reaction]) -> Answer:
    content = call.query.get("content")
    chosen = [reaction for reaction in reactions if content in (None, reaction.content)]
    return call.listing(chosen, lambda reaction: reaction_json(call.state, reaction))


def _add_reaction(call: Call, reactions: list[Reaction]) -> Answer:
    reaction, new = react(call.state, reactions, call.json.get("content"), call.actor.user)
    return Answer(reaction_json(call.state, reaction), 201 if new else 200)


def _delete_reaction(call: Call, reactions: list[Reaction]) -> Answer:
    for reaction in reactions:
        if reaction.id == int(call.params["reaction"]):
            if reaction.user is not call.actor.user:
                raise not_accessible(call.caller.app is not None)
            reactions.remove(reaction)
            return Answer(status=204)
    raise not_found()


@routes.on("GET", "/repos/{owner}/{repo}/issues/comments/{id}/reactions", *READ)
def list_comment_reactions(call: Call) -> Answer:
    """List the reactions to a comment."""
    return _list_reactions(call, _comment(call)[1].reactions)


@routes.on("POST", "/repos/{owner}/{repo}/issues/comments/{id}/reactions", *WRITE)
def add_comment_reaction(call: Call) -> Answer:
    """React to a comment: 201 for a new reaction, 200 for one that is there already."""
    return _add_reaction(call, _comment(call)[1].reactions)


@routes.on("DELETE", "/repos/{owner}/{repo}/issues/comments/{id}/reactions/(?P<reaction>[0-9]{1,18})", *WRITE)
def delete_comment_reaction(call: Call) -> Answer:
    """Take back a reaction to a comment."""
    return _delete_reaction(call, _comment(call)[1].reactions)


@routes.on("GET", "/repos/{owner}/{repo}/issues/{number}/reactions", *READ)
def list_issue_reactions(call: Call) -> Answer:
    """List the reactions to an issue."""
    return _list_reactions(call, _issue(call).reactions)


@routes.on("POST", "/repos/{owner}/{repo}/issues/{number}/reactions", *WRITE)
def add_issue_reaction(call: Call) -> Answer:
    """React to an issue: 201 for a new reaction, 200 for one that is there already."""
    return _add_reaction(call, _issue(call).reactions)


@routes.on("DELETE", "/repos/{owner}/{repo}/issues/{number}/reactions/(?P<reaction>[0-9]{1,18})", *WRITE)
def delete_issue_reaction(call: Call) -> Answer:
    """Take back a reaction to an issue."""
    return _delete_reaction(call, _issue(call).reactions)
