"""What GitHub refuses is refused here, with its status and its sentence."""

from typing import Any

import httpx
import pytest

from tests.localhub.conftest import REPO, Place
from tests.localhub.test_flow import commit_file, start_branch


def sentence(answer: httpx.Response) -> str:
    """All that a refusal says."""
    body = answer.json()
    return " ".join([body["message"], *(error.get("message", "") for error in body.get("errors", []))])


def post(place: Place, path: str, body: Any) -> httpx.Response:
    return place.bot().post(f"/repos/{REPO}{path}", json=body)


def test_a_ref_is_created_once(place: Place) -> None:
    body = {"ref": "refs/heads/x", "sha": place.hub.head(REPO)}
    assert post(place, "/git/refs", body).status_code == 201
    again = post(place, "/git/refs", body)
    assert (again.status_code, sentence(again)) == (422, "Reference already exists")


def test_a_ref_moves_forward_unless_forced(place: Place) -> None:
    base = place.hub.head(REPO) or ""
    start_branch(place)
    other = commit_file(place, "b.txt", "b", base)
    path = f"/repos/{REPO}/git/refs/heads/phasegate/issue-1-retry"
    refused = place.bot().patch(path, json={"sha": other})
    assert (refused.status_code, sentence(refused)) == (422, "Update is not a fast forward")
    assert place.bot().patch(path, json={"sha": other, "force": True}).status_code == 200
    assert place.hub.head(REPO, "phasegate/issue-1-retry") == other


def test_a_rule_against_force_holds_even_when_forced(place: Place) -> None:
    base = place.hub.head(REPO) or ""
    sha = start_branch(place)
    place.hub.forbid_force(REPO, "phasegate/*")
    path = f"/repos/{REPO}/git/refs/heads/phasegate/issue-1-retry"
    refused = place.bot().patch(path, json={"sha": base, "force": True})
    assert (refused.status_code, place.hub.head(REPO, "phasegate/issue-1-retry")) == (422, sha)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"ref": "refs/heads/x", "sha": "0" * 39 + "1"}, "Object does not exist"),
        ({"ref": "x", "sha": "0" * 40}, "Reference name must start with 'refs/'"),
        ({"ref": "refs/heads/a..b", "sha": "0" * 40}, "not a valid ref name"),
        ({"ref": "refs/pull/1/head", "sha": "0" * 40}, "not a valid ref name"),
    ],
)
def test_a_malformed_ref_is_refused(place: Place, body: dict[str, str], said: str) -> None:
    answer = post(place, "/git/refs", body)
    assert answer.status_code == 422
    assert said in sentence(answer)


def test_a_missing_ref_neither_moves_nor_goes(place: Place) -> None:
    path = f"/repos/{REPO}/git/refs/heads/none"
    moved = place.bot().patch(path, json={"sha": place.hub.head(REPO)})
    assert (moved.status_code, sentence(moved)) == (422, "Reference does not exist")
    assert place.bot().delete(path).status_code == 422
    assert place.bot().get(f"/repos/{REPO}/git/ref/heads/none").status_code == 404


@pytest.mark.parametrize(
    "path", [".git/config", "a/.GIT/hooks/x", "../x", "/etc/passwd", "a//b", "a/./b", ""]
)
def test_a_path_that_reaches_outside_is_refused(place: Place, path: str) -> None:
    entry = {"path": path, "mode": "100644", "type": "blob", "content": "x"}
    answer = post(place, "/git/trees", {"tree": [entry]})
    assert answer.status_code == 422
    assert "tree.path" in sentence(answer)


def test_workflow_files_need_a_permission_of_their_own(place: Place) -> None:
    entry = {"path": ".github/workflows/ci.yml", "mode": "100644", "type": "blob", "content": "on: push\n"}
    refused = post(place, "/git/trees", {"tree": [entry]})
    assert (refused.status_code, sentence(refused)) == (403, "Resource not accessible by integration")
    assert place.person("maria").post(f"/repos/{REPO}/git/trees", json={"tree": [entry]}).status_code == 201


def test_a_branch_that_brings_in_workflow_files_is_refused(place: Place) -> None:
    sha = place.hub.push_commit(
        REPO, "theirs", {".github/workflows/ci.yml": "on: push\n"}, "ci: x", by="maria"
    )
    start_branch(place)
    body = {"base": "phasegate/issue-1-retry", "head": sha}
    refused = post(place, "/merges", body)
    assert refused.status_code == 422
    assert "without `workflows` permission" in sentence(refused)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"mode": "100600", "content": "x"}, "tree.mode"),
        ({"mode": "100644", "sha": "1" * 40}, "is not a valid blob"),
        ({"mode": "100644", "sha": None}, "GitRPC::BadObjectState"),
        ({"mode": "100644"}, "tree.sha"),
    ],
)
def test_a_malformed_tree_entry_is_refused(place: Place, entry: dict[str, Any], said: str) -> None:
    answer = post(place, "/git/trees", {"tree": [{"path": "a", "type": "blob", **entry}]})
    assert answer.status_code == 422
    assert said in sentence(answer)


def test_trees_keep_modes_and_delete_by_null(place: Place) -> None:
    base = place.hub.commit(REPO, place.hub.head(REPO) or "").tree
    entries = [
        {"path": "tool", "mode": "100755", "type": "blob", "content": "x"},
        {"path": "link", "mode": "120000", "type": "blob", "content": "README.md"},
        {"path": "notifications/send.py", "mode": "100644", "type": "blob", "sha": None},
        {"path": "tests/test_send.py", "mode": "100644", "type": "blob", "sha": None},
    ]
    tree = post(place, "/git/trees", {"base_tree": base, "tree": entries}).json()["sha"]
    files = place.hub.files(REPO, tree)
    assert files == {
        "README.md": "100644",
        "link": "120000",
        "notifications/__init__.py": "100644",
        "run.sh": "100755",
        "tool": "100755",
    }


def test_a_commit_needs_its_tree_and_parents(place: Place) -> None:
    head = place.hub.head(REPO) or ""
    tree = place.hub.commit(REPO, head).tree
    assert post(place, "/git/commits", {"message": "m", "tree": "1" * 40}).status_code == 422
    assert post(place, "/git/commits", {"message": "m", "tree": tree, "parents": [tree]}).status_code == 422
    assert post(place, "/git/commits", {"tree": tree, "parents": [head]}).status_code == 422


def test_a_commit_with_an_author_of_its_own_is_not_signed(place: Place) -> None:
    head = place.hub.head(REPO) or ""
    tree = place.hub.commit(REPO, head).tree
    author = {"name": "Maria", "email": "maria@example.org", "date": "2026-11-22T10:00:00Z"}
    made = post(
        place, "/git/commits", {"message": "m", "tree": tree, "parents": [head], "author": author}
    ).json()
    assert made["verification"] == {
        "verified": False,
        "reason": "unsigned",
        "signature": None,
        "payload": None,
        "verified_at": None,
    }
    assert made["committer"] == author


def test_a_comment_has_a_greatest_length(place: Place) -> None:
    place.hub.open_issue(REPO, title="x", author="maria")
    assert post(place, "/issues/1/comments", {"body": "x" * 65_536}).status_code == 201
    refused = post(place, "/issues/1/comments", {"body": "x" * 65_537})
    assert refused.status_code == 422
    assert "Body is too long (maximum is 65536 characters)" in sentence(refused)


@pytest.mark.parametrize("body", [{}, {"body": "  "}, {"body": 3}])
def test_a_comment_needs_text(place: Place, body: dict[str, Any]) -> None:
    place.hub.open_issue(REPO, title="x", author="maria")
    assert post(place, "/issues/1/comments", body).status_code == 422


def test_a_body_that_is_no_json_is_refused(place: Place) -> None:
    answer = place.bot().post(f"/repos/{REPO}/issues", content=b"{")
    assert (answer.status_code, sentence(answer)) == (400, "Problems parsing JSON")


def test_a_pull_request_is_opened_once(place: Place) -> None:
    start_branch(place)
    body = {"title": "x", "head": "acme:phasegate/issue-1-retry", "base": "main"}
    assert post(place, "/pulls", body).status_code == 201
    again = post(place, "/pulls", body)
    assert again.status_code == 422
    assert "A pull request already exists for acme:phasegate/issue-1-retry." in sentence(again)


def test_a_pull_request_needs_a_branch_with_commits(place: Place) -> None:
    missing = post(place, "/pulls", {"title": "x", "head": "none", "base": "main"})
    assert missing.json()["errors"] == [{"resource": "PullRequest", "code": "invalid", "field": "head"}]
    place.hub.set_branch(REPO, "same", place.hub.head(REPO) or "", by="maria")
    same = post(place, "/pulls", {"title": "x", "head": "same", "base": "main"})
    assert "No commits between main and same" in sentence(same)


def test_drafts_are_refused_where_the_plan_has_none(place: Place) -> None:
    start_branch(place)
    place.hub.repository(REPO).drafts_allowed = False
    body = {"title": "x", "head": "phasegate/issue-1-retry", "base": "main", "draft": True}
    refused = post(place, "/pulls", body)
    assert refused.status_code == 422
    assert sentence(refused) == "Draft pull requests are not supported in this repository."
    assert post(place, "/pulls", body | {"draft": False}).status_code == 201


def test_a_check_run_needs_a_commit_and_an_app_with_the_permission(place: Place) -> None:
    assert post(place, "/check-runs", {"name": "x", "head_sha": "1" * 40}).status_code == 403
    app = place.hub.create_app("checker", permissions={"checks": "write"})
    place.hub.install(app, REPO)
    place.installation = max(place.hub.state.installations)
    refused = post(place, "/check-runs", {"name": "x", "head_sha": "1" * 40})
    assert (refused.status_code, sentence(refused)) == (422, f"No commit found for SHA: {'1' * 40}")
    wrong = {"name": "x", "head_sha": place.hub.head(REPO), "conclusion": "splendid"}
    assert post(place, "/check-runs", wrong).status_code == 422


def test_an_unknown_commit_has_no_checks(place: Place) -> None:
    answer = place.bot().get(f"/repos/{REPO}/commits/{'1' * 40}/check-runs")
    assert (answer.status_code, sentence(answer)) == (422, f"No commit found for SHA: {'1' * 40}")


def test_a_conflict_is_told_once_computed(place: Place) -> None:
    start_branch(place, "README.md", "theirs\n")
    number = post(place, "/pulls", {"title": "x", "head": "phasegate/issue-1-retry", "base": "main"}).json()[
        "number"
    ]
    path = f"/repos/{REPO}/pulls/{number}"
    assert [place.bot().get(path).json()["mergeable"] for _ in range(2)] == [None, True]
    place.hub.push_commit(REPO, "main", {"README.md": "ours\n"}, "docs: ours", by="maria")
    place.hub.push_commit(REPO, "phasegate/issue-1-retry", {"x": "x"}, "feat: x", by="maria")
    assert [place.bot().get(path).json()["mergeable"] for _ in range(2)] == [None, False]
    merged = place.bot().put(f"{path}/merge", json={})
    assert merged.status_code == 405
    conflict = post(place, "/merges", {"base": "phasegate/issue-1-retry", "head": "main"})
    assert (conflict.status_code, sentence(conflict)) == (409, "Merge conflict")


def test_unknown_paths_and_methods_are_not_found(place: Place) -> None:
    assert place.bot().get("/nothing").status_code == 404
    assert place.bot().delete(f"/repos/{REPO}/issues/1").status_code == 404
    assert place.bot().get(f"/repos/{REPO}/issues/99").status_code == 404
