"""The pages: everything said and done can be seen, people can act, and no script of a comment runs."""

import json

import httpx
import pytest

from localhub.markdown import render
from tests.localhub.conftest import REPO, TLS, Place
from tests.localhub.test_flow import BRANCH, start_branch


@pytest.fixture
def browser(place: Place) -> httpx.Client:
    client = httpx.Client(base_url=place.url, follow_redirects=True, trust_env=False, verify=TLS)
    place.clients.append(client)
    return client


def test_the_start_page_lists_what_is_open(place: Place, browser: httpx.Client) -> None:
    place.hub.open_issue(REPO, title="Retry <b>", author="maria", labels=["agent-build"])
    page = browser.get("/").text
    assert "Retry &lt;b&gt;" in page
    assert "agent-build" in page
    assert "viewport" in page


def test_a_thread_shows_comments_reactions_and_folded_ones(place: Place, browser: httpx.Client) -> None:
    place.hub.open_issue(REPO, title="Retry", body="| a | b |\n|---|---|\n| 1 | 2 |", author="maria")
    comment = place.hub.comment(REPO, 1, "**bold** <!-- secret tag -->", by="maria")
    place.hub.react(REPO, comment.id, "eyes", by="phasegate[bot]")
    page = browser.get(f"/{REPO}/issues/1").text
    assert "<table>" in page
    assert "<strong>bold</strong>" in page
    assert "secret tag" not in page
    assert "👀" in page


def test_a_pull_request_shows_commits_diffs_and_checks(place: Place, browser: httpx.Client) -> None:
    sha = start_branch(place)
    place.hub.report_check(REPO, sha, name="unit tests", conclusion="failure", summary="bad")
    number = place.hub.open_pull(REPO, title="Work", head=BRANCH, by="maria").number
    page = browser.get(f"/{REPO}/pull/{number}").text
    assert "feat: retry" in page
    assert "+RETRIES = 3" in page
    assert "unit tests" in page
    (run,) = place.hub.check_runs(REPO, sha)
    assert "bad" in browser.get(f"/{REPO}/runs/{run.id}").text
    assert "RETRIES = 3" in browser.get(f"/{REPO}/commit/{sha}").text
    assert "RETRIES = 3" in browser.get(f"/{REPO}/blob/{BRANCH}/notifications/retry.py").text


def test_a_person_comments_labels_and_closes(place: Place, browser: httpx.Client) -> None:
    place.hub.open_issue(REPO, title="Retry", author="maria")
    place.hub.create_label(REPO, "agent-build")
    path = f"/{REPO}/issues/1"
    page = browser.post(f"{path}/comment", data={"as": "maria", "body": "/approve-plan\r\n", "do": "comment"})
    assert page.status_code == 200
    browser.post(f"{path}/label", data={"as": "maria", "name": "agent-build", "do": "add"})
    browser.post(f"{path}/comment", data={"as": "maria", "body": "", "do": "close"})
    issue = place.hub.issue(REPO, 1)
    assert [(c.body, c.author.login) for c in issue.comments] == [("/approve-plan\n", "maria")]
    assert (issue.labels, issue.state) == (["agent-build"], "closed")


def test_a_guest_may_comment_but_not_label(place: Place, browser: httpx.Client) -> None:
    place.hub.open_issue(REPO, title="Retry", author="maria")
    answer = browser.post(f"/{REPO}/issues/1/label", data={"as": "guest", "name": "agent-build", "do": "add"})
    assert answer.status_code == 403
    assert place.hub.issue(REPO, 1).labels == []


def test_a_form_of_another_site_is_refused(place: Place, browser: httpx.Client) -> None:
    place.hub.open_issue(REPO, title="Retry", author="maria")
    data = {"as": "maria", "body": "/approve-plan"}
    answer = browser.post(f"/{REPO}/issues/1/comment", data=data, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert place.hub.comments(REPO, 1) == []


def test_an_app_is_registered_from_its_manifest_and_installed(place: Place) -> None:
    wanted = {
        "name": "My Gate",
        "redirect_url": "http://bot.example/setup/callback",
        "hook_attributes": {"url": "http://127.0.0.1:9/hook"},
        "default_permissions": {"issues": "write"},
        "default_events": ["issues"],
    }
    browser = httpx.Client(base_url=place.url, trust_env=False, verify=TLS)
    place.clients.append(browser)
    sent = {"data": {"manifest": json.dumps(wanted)}, "headers": {"Origin": "http://bot.example"}}
    back = browser.post("/settings/apps/new?state=s1", **sent)
    where = httpx.URL(back.headers["location"])
    assert (where.host, where.params["state"]) == ("bot.example", "s1")
    path = f"/app-manifests/{where.params['code']}/conversions"
    made = place.client().post(path)
    assert (made.status_code, made.json()["slug"]) == (201, "my-gate")
    assert made.json()["pem"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert place.client().post(path).status_code == 404
    browser.post("/apps/my-gate/installations/new", data={"repository": REPO})
    assert place.hub.deliveries[-1].event == "installation"


@pytest.mark.parametrize("path", ["/none/none", f"/{REPO}/issues/9", f"/{REPO}/blob/main/none", "/a/b/c/d"])
def test_what_is_not_there_is_not_found(place: Place, browser: httpx.Client, path: str) -> None:
    assert browser.get(path).status_code == 404


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<details open onclick=alert(1)>x</details>",
        "[x](javascript:alert(1))",
        "<a href='javascript:alert(1)'>x</a>",
        "<!-- <script>alert(1)</script>",
        "a <svg/onload=alert(1)> b",
    ],
)
def test_no_script_of_a_comment_survives(text: str) -> None:
    page = str(render(text))
    for tag in ("<script", "<img", "<a ", "<svg", "<details open o"):
        assert tag not in page


def test_folded_parts_and_tables_inside_work() -> None:
    page = str(render("<details><summary>Phase 1</summary>\n\n| a |\n|---|\n| 1 |\n\n</details>"))
    assert page.startswith("<details><summary>Phase 1</summary>")
    assert "<td>1</td>" in page
    assert page.rstrip().endswith("</details>")
