"""The whole way: issue, comment, commit through the API, pull request, CI, and the events of each."""

from localhub.objects import Commit
from tests.localhub.conftest import REPO, Inbox, Place

BRANCH = "phasegate/issue-1-retry"


def commit_file(place: Place, path: str, text: str, parent: str) -> str:
    """Commit one file through the Git data API and return the commit."""
    bot = place.bot()
    tree = place.hub.commit(REPO, parent).tree
    entries = [{"path": path, "mode": "100644", "type": "blob", "content": text}]
    made = bot.post(f"/repos/{REPO}/git/trees", json={"base_tree": tree, "tree": entries})
    body = {"message": "feat: retry", "tree": made.json()["sha"], "parents": [parent]}
    return bot.post(f"/repos/{REPO}/git/commits", json=body).json()["sha"]


def start_branch(place: Place, path: str = "notifications/retry.py", text: str = "RETRIES = 3\n") -> str:
    """Commit a file on a new branch through the API and return the commit."""
    sha = commit_file(place, path, text, place.hub.head(REPO) or "")
    answer = place.bot().post(f"/repos/{REPO}/git/refs", json={"ref": f"refs/heads/{BRANCH}", "sha": sha})
    assert answer.status_code == 201
    return sha


def test_an_issue_becomes_a_checked_pull_request(place: Place, inbox: Inbox) -> None:
    hub, bot = place.hub, place.bot()
    hub.add_checks(REPO, [{"name": "tests", "command": "python -m pytest -q", "timeout": 60}])
    issue = hub.open_issue(REPO, title="Retry", body="Please retry.", author="maria")
    hub.label(REPO, issue.number, "agent-build", by="maria")
    bot.post(f"/repos/{REPO}/issues/{issue.number}/comments", json={"body": "The plan."})
    sha = start_branch(place)
    wanted = {"title": "Retry", "head": BRANCH, "base": "main", "draft": True}
    pull = bot.post(f"/repos/{REPO}/pulls", json=wanted)
    assert pull.status_code == 201
    hub.wait_idle()
    runs = bot.get(f"/repos/{REPO}/commits/{sha}/check-runs").json()["check_runs"]
    assert [(run["name"], run["conclusion"], run["app"]["slug"]) for run in runs] == [
        ("tests", "success", "local-ci")
    ]
    assert inbox.events() == [
        "issues.opened",
        "issues.labeled",
        "issue_comment.created",
        "push",
        "check_run.created",
        "pull_request.opened",
        "check_run.completed",
        "check_suite.completed",
    ]


def test_a_commit_of_the_app_is_its_bots_and_verified(place: Place) -> None:
    sha = start_branch(place)
    body = place.bot().get(f"/repos/{REPO}/git/commits/{sha}").json()
    commit: Commit = place.hub.commit(REPO, sha)
    assert body["author"]["name"] == "phasegate[bot]"
    assert body["verification"]["verified"] is True
    assert commit.committer.name == "GitHub"
    assert place.hub.file(REPO, sha, "notifications/retry.py") == "RETRIES = 3\n"
    assert place.hub.files(REPO, sha)["run.sh"] == "100755"


def test_a_red_check_names_the_failing_test(place: Place) -> None:
    place.hub.add_checks(REPO, [{"name": "tests", "command": "python -m pytest -q", "timeout": 60}])
    sha = start_branch(place, "notifications/send.py", "def send(to):\n    return None\n")
    place.hub.wait_idle()
    (run,) = place.bot().get(f"/repos/{REPO}/commits/{sha}/check-runs").json()["check_runs"]
    notes = place.bot().get(f"/repos/{REPO}/check-runs/{run['id']}/annotations").json()
    assert run["conclusion"] == "failure"
    assert "1 failed" in run["output"]["title"]
    assert [(note["path"], note["start_line"]) for note in notes] == [("tests/test_send.py", 5)]


def test_a_check_that_hangs_is_stopped(place: Place) -> None:
    place.hub.add_checks(REPO, [{"name": "slow", "command": "sleep 30", "timeout": 0.2}])
    sha = start_branch(place)
    place.hub.wait_idle()
    (run,) = place.hub.check_runs(REPO, sha)
    assert (run.status, run.conclusion) == ("completed", "timed_out")


def test_skip_ci_in_the_message_starts_nothing(place: Place) -> None:
    place.hub.add_checks(REPO, [{"name": "tests", "command": "true"}])
    sha = place.hub.push_commit(REPO, "feature", {"a": "b"}, "docs: x [skip ci]", by="maria")
    place.hub.wait_idle()
    assert place.hub.check_runs(REPO, sha) == []
