"""Webhooks: signed, ordered, complete, sent to those who may hear, logged and sent again."""

import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest

from localhub.records import Delivery
from localhub.webhooks import hears
from tests.localhub.conftest import REPO, Inbox, Place
from tests.localhub.test_flow import start_branch

NEVER = ["stale", "startup_failure", "brand_new"]


def app_client(place: Place) -> Any:
    now = int(time.time())
    claims = {"iat": now - 60, "exp": now + 540, "iss": str(place.app.id)}
    return place.client("Bearer " + jwt.encode(claims, place.app.private_key, algorithm="RS256"))


def bodies(inbox: Inbox, event: str) -> list[dict[str, Any]]:
    return [json.loads(body) for headers, body in inbox.received if headers["x-github-event"] == event]


def actions(inbox: Inbox, event: str) -> list[str]:
    return [body["action"] for body in bodies(inbox, event)]


def test_every_delivery_is_signed_and_named(place: Place, inbox: Inbox) -> None:
    place.hub.open_issue(REPO, title="Größe ✓", author="maria")
    place.hub.wait_idle()
    (headers, body) = inbox.received[0]
    expected = hmac.new(b"a secret", body, hashlib.sha256).hexdigest()
    assert headers["x-hub-signature-256"] == f"sha256={expected}"
    assert headers["x-hub-signature"].startswith("sha1=")
    assert headers["user-agent"].startswith("GitHub-Hookshot/")
    assert headers["content-type"] == "application/json"
    assert len(headers["x-github-delivery"]) == 36
    assert json.loads(body)["issue"]["title"] == "Größe ✓"


def test_a_body_names_installation_repository_and_sender(place: Place, inbox: Inbox) -> None:
    place.hub.open_issue(REPO, title="x", author="maria")
    place.hub.wait_idle()
    (body,) = bodies(inbox, "issues")
    assert body["installation"]["id"] == place.installation
    assert body["repository"]["full_name"] == REPO
    assert (body["sender"]["login"], body["sender"]["type"]) == ("maria", "User")


def test_issue_events_tell_what_changed(place: Place, inbox: Inbox) -> None:
    hub = place.hub
    hub.open_issue(REPO, title="x", body="old", author="maria")
    hub.label(REPO, 1, "agent-build", by="maria")
    hub.label(REPO, 1, "agent-build", by="maria")
    hub.edit_issue(REPO, 1, body="new", by="guest")
    hub.unlabel(REPO, 1, "agent-build", by="maria")
    hub.close_issue(REPO, 1, by="maria")
    hub.reopen_issue(REPO, 1, by="maria")
    hub.wait_idle()
    assert actions(inbox, "issues") == ["opened", "labeled", "edited", "unlabeled", "closed", "reopened"]
    assert bodies(inbox, "issues")[1]["label"]["name"] == "agent-build"
    assert bodies(inbox, "issues")[2]["changes"] == {"body": {"from": "old"}}


def test_the_bots_own_comments_come_back_marked(place: Place, inbox: Inbox) -> None:
    place.hub.open_issue(REPO, title="x", author="maria")
    place.bot().post(f"/repos/{REPO}/issues/1/comments", json={"body": "plan"})
    place.hub.comment(REPO, 1, "/approve-plan", by="maria")
    place.hub.wait_idle()
    mine, theirs = bodies(inbox, "issue_comment")
    assert mine["comment"]["performed_via_github_app"]["id"] == place.app.id
    assert (mine["sender"]["login"], mine["sender"]["type"]) == ("phasegate[bot]", "Bot")
    assert theirs["comment"]["performed_via_github_app"] is None


def test_a_push_is_told_for_every_way_a_ref_moves(place: Place, inbox: Inbox) -> None:
    base = place.hub.head(REPO) or ""
    sha = start_branch(place)
    place.hub.set_branch(REPO, "phasegate/issue-1-retry", base, by="maria")
    place.hub.delete_branch(REPO, "phasegate/issue-1-retry", by="maria")
    place.hub.wait_idle()
    made, forced, gone = bodies(inbox, "push")
    assert (made["created"], made["before"], made["after"]) == (True, "0" * 40, sha)
    assert [(commit["id"], commit["added"]) for commit in made["commits"]] == [
        (sha, ["notifications/retry.py"])
    ]
    assert (forced["forced"], forced["commits"], forced["pusher"]["name"]) == (True, [], "maria")
    assert (gone["deleted"], gone["head_commit"]) == (True, None)


def test_pull_requests_follow_their_branch(place: Place, inbox: Inbox) -> None:
    hub, bot = place.hub, place.bot()
    start_branch(place)
    body = {"title": "x", "head": "phasegate/issue-1-retry", "base": "main", "draft": True}
    number = bot.post(f"/repos/{REPO}/pulls", json=body).json()["number"]
    sha = hub.push_commit(REPO, "phasegate/issue-1-retry", {"b": "b"}, "feat: b", by="maria")
    hub.set_draft(REPO, number, False, by="maria")
    hub.merge_pull(REPO, number, by="maria")
    hub.wait_idle()
    assert actions(inbox, "pull_request") == ["opened", "synchronize", "ready_for_review", "closed"]
    told = bodies(inbox, "pull_request")
    assert (told[1]["after"], told[1]["pull_request"]["head"]["sha"]) == (sha, sha)
    assert told[3]["pull_request"]["merged"] is True
    assert hub.file(REPO, "main", "b") == "b"


def test_deleting_the_branch_closes_the_pull_request(place: Place) -> None:
    start_branch(place)
    number = place.hub.open_pull(REPO, title="x", head="phasegate/issue-1-retry", by="maria").number
    place.hub.delete_branch(REPO, "phasegate/issue-1-retry", by="maria")
    assert place.hub.issue(REPO, number).state == "closed"
    assert place.hub.refs(REPO)[f"refs/pull/{number}/head"]


def test_reported_checks_reach_the_app(place: Place, inbox: Inbox) -> None:
    hub, sha = place.hub, start_branch(place)
    hub.report_check(REPO, sha, status="in_progress")
    hub.report_check(REPO, sha, conclusion="success")
    hub.report_status(REPO, sha, "legacy", "failure")
    hub.report_workflow_run(REPO, sha, "ci", "in_progress")
    hub.report_workflow_run(REPO, sha, "ci", "completed", "success")
    hub.wait_idle()
    assert inbox.events()[1:] == [
        "check_run.created",
        "check_run.completed",
        "check_suite.completed",
        "status",
        "workflow_run.requested",
        "workflow_run.in_progress",
        "workflow_run.completed",
    ]
    assert bodies(inbox, "check_run")[1]["check_run"]["app"]["slug"] == "other-ci"


@pytest.mark.parametrize("conclusion", NEVER)
def test_any_conclusion_can_be_reported(place: Place, conclusion: str) -> None:
    sha = start_branch(place)
    place.hub.report_check(REPO, sha, conclusion=conclusion)
    body = place.bot().get(f"/repos/{REPO}/commits/{sha}/check-runs").json()
    assert [run["conclusion"] for run in body["check_runs"]] == [conclusion]


def test_a_rerun_replaces_the_latest_and_keeps_all(place: Place) -> None:
    sha = start_branch(place)
    for conclusion in ("failure", "success"):
        place.hub.report_check(REPO, sha, conclusion=conclusion)
    path = f"/repos/{REPO}/commits/{sha}/check-runs"
    seen = {
        name: [
            run["conclusion"] for run in place.bot().get(path, params={"filter": name}).json()["check_runs"]
        ]
        for name in ("latest", "all")
    }
    assert seen == {"latest": ["success"], "all": ["success", "failure"]}


def test_only_those_hear_who_are_subscribed_and_permitted(place: Place) -> None:
    hub = place.hub
    listener = hub.create_app("listener", permissions={"issues": "read"}, events=["issues", "push"])
    found = hub.state.installations[hub.install(listener, REPO)]
    checker = hub.create_app("checker", webhook_url="http://127.0.0.1:1/", permissions={"checks": "write"})
    other = hub.state.installations[hub.install(checker, REPO)]
    assert [hears(found, event) for event in ("issues", "push", "issue_comment")] == [True, False, False]
    assert [hears(other, event) for event in ("check_run", "installation", "issues")] == [True, True, False]


def test_an_app_that_writes_checks_is_asked_for_a_suite(place: Place) -> None:
    app = place.hub.create_app("checker", permissions={"checks": "write"}, events=["check_suite"])
    place.hub.install(app, REPO)
    sha = start_branch(place)
    asked = [d for d in place.hub.deliveries if d.app is app and d.event == "check_suite"]
    suites = place.bot().get(f"/repos/{REPO}/commits/{sha}/check-suites").json()["check_suites"]
    assert [delivery.action for delivery in asked] == ["requested"]
    assert [(suite["app"]["slug"], suite["status"]) for suite in suites] == [("checker", "queued")]


def test_installing_and_removing_is_told(place: Place, inbox: Inbox) -> None:
    place.hub.create_repository("acme/other")
    place.hub.install(place.app, "acme/other")
    place.hub.remove_from_installation(place.installation, "acme/other")
    place.hub.uninstall(place.installation)
    place.hub.wait_idle()
    assert inbox.events() == [
        "installation_repositories.added",
        "installation_repositories.removed",
        "installation.deleted",
    ]
    assert bodies(inbox, "installation_repositories")[0]["repositories_added"][0]["full_name"] == "acme/other"


def test_a_failed_delivery_is_logged_and_sent_again_under_its_guid(place: Place, inbox: Inbox) -> None:
    inbox.status = 503
    place.hub.open_issue(REPO, title="x", author="maria")
    place.hub.wait_idle()
    app = app_client(place)
    (failed,) = app.get("/app/hook/deliveries", params={"status": "failure", "per_page": 1}).json()
    assert (failed["status_code"], failed["event"], failed["action"]) == (503, "issues", "opened")
    inbox.status = 202
    assert app.post(f"/app/hook/deliveries/{failed['id']}/attempts").status_code == 202
    place.hub.wait_idle()
    guids = {headers["x-github-delivery"] for headers, _ in inbox.received}
    assert guids == {failed["guid"]}
    log = app.get("/app/hook/deliveries", params={"status": "success"}).json()
    assert [(row["guid"], row["redelivery"]) for row in log] == [(failed["guid"], True)]


def test_the_delivery_log_is_walked_by_cursor(place: Place, inbox: Inbox) -> None:
    for number in range(5):
        place.hub.open_issue(REPO, title=str(number), author="maria")
    place.hub.wait_idle()
    app, path, seen = app_client(place), "/app/hook/deliveries?per_page=2", []
    while path:
        answer = app.get(path)
        seen += [row["id"] for row in answer.json()]
        path = answer.links.get("next", {}).get("url", "")
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 5


def told(delivery: Delivery) -> tuple[str, str | None, int | None]:
    return delivery.event, delivery.action, delivery.status


def test_an_endpoint_that_is_gone_is_logged(place: Place) -> None:
    place.app.webhook_url = "http://127.0.0.1:9/"
    place.hub.open_issue(REPO, title="x", author="maria")
    place.hub.wait_idle()
    assert told(place.hub.deliveries[-1]) == ("issues", "opened", 502)
