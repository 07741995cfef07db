"""GraphQL: refs move by compare-and-swap, drafts become ready, comments fold; errors have GitHub's shape."""

import base64
from typing import Any

import pytest

from tests.localhub.conftest import REPO, Place
from tests.localhub.test_flow import BRANCH, commit_file, start_branch

ZERO = "0" * 40
UPDATE = "mutation($input: UpdateRefsInput!) { updateRefs(input: $input) { clientMutationId } }"
READY = """mutation($input: MarkPullRequestReadyForReviewInput!) {
  markPullRequestReadyForReview(input: $input) { pullRequest { isDraft } }
}"""
IS_DRAFT = "query($id: ID!) { node(id: $id) { ... on PullRequest { isDraft } } }"
MINIMIZE = """mutation {
  minimizeComment(input: {subjectId: "%s", classifier: OUTDATED}) { minimizedComment { isMinimized } }
}"""
COMMIT = """mutation($input: CreateCommitOnBranchInput!) {
  createCommitOnBranch(input: $input) { commit { oid } }
}"""
REF = f"refs/heads/{BRANCH}"


def update(place: Place, *updates: dict[str, Any], **permissions: str) -> dict[str, Any]:
    """Move refs as the installation."""
    bot = place.bot(**permissions)
    repository = place.graphql(
        bot,
        "query($o: String!, $n: String!) { repository(owner: $o, name: $n) { id } }",
        o="acme",
        n="notifications",
    )
    wanted = {"repositoryId": repository["data"]["repository"]["id"], "refUpdates": list(updates)}
    return place.graphql(bot, UPDATE, input=wanted)


def test_a_ref_moves_only_from_where_the_caller_saw_it(place: Place) -> None:
    base = place.hub.head(REPO) or ""
    sha = start_branch(place)
    other = commit_file(place, "b.txt", "b", base)
    stale = update(place, {"name": REF, "beforeOid": base, "afterOid": other, "force": True})
    assert stale["data"] == {"updateRefs": None}
    assert stale["errors"][0]["path"] == ["updateRefs"]
    assert stale["errors"][0]["type"]
    assert place.hub.head(REPO, BRANCH) == sha
    moved = update(place, {"name": REF, "beforeOid": sha, "afterOid": other, "force": True})
    assert moved == {"data": {"updateRefs": {"clientMutationId": None}}}
    assert place.hub.head(REPO, BRANCH) == other


def test_refs_move_all_or_none(place: Place) -> None:
    base = place.hub.head(REPO) or ""
    sha = start_branch(place)
    keep = {"name": "refs/phasegate/1/kept", "beforeOid": ZERO, "afterOid": sha}
    wrong = {"name": REF, "beforeOid": base, "afterOid": base, "force": True}
    assert update(place, keep, wrong)["errors"]
    assert "refs/phasegate/1/kept" not in place.hub.refs(REPO)
    right = {"name": REF, "beforeOid": sha, "afterOid": base, "force": True}
    assert "errors" not in update(place, keep, right)
    assert place.hub.refs(REPO, "refs/phasegate/1/kept") == {"refs/phasegate/1/kept": sha}


def test_zero_creates_and_deletes(place: Place) -> None:
    sha = place.hub.head(REPO)
    assert "errors" not in update(place, {"name": REF, "beforeOid": ZERO, "afterOid": sha})
    assert update(place, {"name": REF, "beforeOid": ZERO, "afterOid": sha})["errors"]
    assert "errors" not in update(place, {"name": REF, "beforeOid": sha, "afterOid": ZERO})
    assert place.hub.head(REPO, BRANCH) is None


def test_a_move_that_loses_commits_must_be_forced(place: Place) -> None:
    base = place.hub.head(REPO) or ""
    sha = start_branch(place)
    refused = update(place, {"name": REF, "beforeOid": sha, "afterOid": base})
    assert "not a fast forward" in refused["errors"][0]["message"]


def test_moving_refs_needs_the_contents_permission(place: Place) -> None:
    answer = update(place, {"name": REF, "afterOid": place.hub.head(REPO)}, contents="read")
    assert answer["errors"][0]["type"] == "FORBIDDEN"
    assert answer["errors"][0]["message"] == "Resource not accessible by integration"


def test_a_moved_ref_is_pushed_and_checked(place: Place) -> None:
    place.hub.add_checks(REPO, [{"name": "tests", "command": "true"}])
    sha = place.hub.head(REPO)
    update(place, {"name": REF, "beforeOid": ZERO, "afterOid": sha})
    place.hub.wait_idle()
    assert [d.event for d in place.hub.deliveries][-1] == "check_suite"
    assert [run.conclusion for run in place.hub.check_runs(REPO, sha or "")] == ["success"]


def draft(place: Place) -> dict[str, Any]:
    start_branch(place)
    body = {"title": "x", "head": BRANCH, "base": "main", "draft": True}
    made: dict[str, Any] = place.bot().post(f"/repos/{REPO}/pulls", json=body).json()
    return made


def test_a_draft_becomes_ready_and_a_draft_again(place: Place) -> None:
    bot, made = place.bot(), draft(place)
    wanted = {"pullRequestId": made["node_id"]}
    ready = place.graphql(bot, READY, input=wanted)
    assert ready["data"]["markPullRequestReadyForReview"]["pullRequest"] == {"isDraft": False}
    node = place.graphql(bot, IS_DRAFT, id=made["node_id"])
    assert node == {"data": {"node": {"isDraft": False}}}
    back = READY.replace("markPullRequestReadyForReview", "convertPullRequestToDraft")
    place.graphql(bot, back, input=wanted)
    assert place.hub.issue(REPO, made["number"]).draft


def test_ready_can_be_refused_to_apps(place: Place) -> None:
    made = draft(place)
    place.hub.faults.ready_refused = True
    answer = place.graphql(place.bot(), READY, input={"pullRequestId": made["node_id"]})
    assert answer["errors"][0]["type"] == "FORBIDDEN"
    assert place.hub.issue(REPO, made["number"]).draft


def test_a_comment_is_folded(place: Place) -> None:
    place.hub.open_issue(REPO, title="x", author="maria")
    made = place.bot().post(f"/repos/{REPO}/issues/1/comments", json={"body": "old plan"}).json()
    answer = place.graphql(place.bot(), MINIMIZE % made["node_id"])
    assert answer["data"]["minimizeComment"]["minimizedComment"]["isMinimized"] is True
    assert place.hub.comments(REPO, 1)[0].minimized == "OUTDATED"


def test_a_commit_on_a_branch_is_held_to_its_head(place: Place) -> None:
    sha = start_branch(place)
    wanted: dict[str, Any] = {
        "branch": {"repositoryNameWithOwner": REPO, "branchName": BRANCH},
        "message": {"headline": "feat: more", "body": "why"},
        "expectedHeadOid": "1" * 40,
        "fileChanges": {"additions": [{"path": "b.txt", "contents": base64.b64encode(b"b").decode()}]},
    }
    stale = place.graphql(place.bot(), COMMIT, input=wanted)
    assert stale["errors"][0]["type"] == "STALE_DATA"
    made = place.graphql(place.bot(), COMMIT, input=wanted | {"expectedHeadOid": sha})
    assert place.hub.head(REPO, BRANCH) == made["data"]["createCommitOnBranch"]["commit"]["oid"]
    assert place.hub.file(REPO, BRANCH, "b.txt") == "b"


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ('{ repository(owner: "acme", name: "none") { id } }', "NOT_FOUND"),
        ('{ node(id: "nothing") { id } }', "NOT_FOUND"),
        ("{ nothing { id } }", "undefinedField"),
        ('{ repository(owner: "acme", name: "notifications") { colour } }', "undefinedField"),
    ],
)
def test_errors_come_with_status_200(place: Place, query: str, kind: str) -> None:
    answer = place.bot().post("/graphql", json={"query": query})
    assert answer.status_code == 200
    assert answer.json()["errors"][0]["type"] == kind


def test_fields_can_be_renamed_and_nested(place: Place) -> None:
    query = """query Look($name: String = "notifications") {  # a comment
      mine: repository(owner: "acme", name: $name) {
        ...Names
        defaultBranchRef { name target { ... on Commit { oid } } }
      }
    }
    fragment Names on Repository { nameWithOwner }"""
    answer = place.graphql(place.bot(), query)
    head = {"name": "main", "target": {"oid": place.hub.head(REPO)}}
    assert answer == {"data": {"mine": {"nameWithOwner": REPO, "defaultBranchRef": head}}}


def test_a_text_that_is_no_graphql_is_told(place: Place) -> None:
    assert "Parse error" in place.graphql(place.bot(), "{ viewer {")["errors"][0]["message"]


def test_nobody_may_ask(place: Place) -> None:
    assert place.client().post("/graphql", json={"query": "{ viewer { login } }"}).status_code == 401
