"""Each fault goes wrong as it says, once as often as asked, and is gone when switched off."""

import time

import httpx
import pytest

from tests.localhub.conftest import REPO, Inbox, Place
from tests.localhub.test_flow import start_branch


def test_the_next_answers_fail_and_then_no_more(place: Place) -> None:
    place.hub.faults.fail(r"/issues/1$", 502, method="GET", count=2)
    place.hub.open_issue(REPO, title="x", author="maria")
    bot = place.bot()
    assert bot.get(f"/repos/{REPO}").status_code == 200
    assert [bot.get(f"/repos/{REPO}/issues/1").status_code for _ in range(3)] == [502, 502, 200]


def test_an_answer_can_be_lost_after_the_work(place: Place) -> None:
    place.hub.open_issue(REPO, title="x", author="maria")
    place.hub.faults.fail("/comments", 502, method="POST", after=True)
    answer = place.bot().post(f"/repos/{REPO}/issues/1/comments", json={"body": "once"})
    assert answer.status_code == 502
    assert [comment.body for comment in place.hub.comments(REPO, 1)] == ["once"]


def test_a_secondary_limit_is_told_by_its_message_only(place: Place) -> None:
    place.hub.faults.secondary_limit("/issues")
    answer = place.bot().get(f"/repos/{REPO}/issues")
    assert answer.status_code == 403
    assert "secondary rate limit" in answer.json()["message"]
    assert "retry-after" not in answer.headers
    assert answer.headers["x-ratelimit-remaining"] != "0"


def test_retry_after_is_sent(place: Place) -> None:
    place.hub.faults.retry_after("", 7)
    answer = place.bot().get(f"/repos/{REPO}")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


def test_graphql_faults_go_by_the_name_of_the_field(place: Place) -> None:
    place.hub.faults.fail("/graphql updateRefs", 502)
    query = "mutation($input: UpdateRefsInput!) {\n  updateRefs(input: $input) { clientMutationId }\n}"
    assert place.bot().post("/graphql", json={"query": "{ viewer { login } }"}).status_code == 200
    assert place.bot().post("/graphql", json={"query": query}).status_code == 502


def test_a_server_that_is_down_answers_a_page(place: Place) -> None:
    place.hub.faults.down = True
    answer = place.bot().get(f"/repos/{REPO}")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html")
    place.hub.faults.down = False
    assert place.bot().get(f"/repos/{REPO}").status_code == 200


def test_slow_answers_are_slow(place: Place) -> None:
    place.hub.faults.slow.append(("/issues", 0.2))
    started = time.monotonic()
    place.bot().get(f"/repos/{REPO}/issues")
    assert time.monotonic() - started >= 0.2


def test_dropped_deliveries_are_only_in_the_log(place: Place, inbox: Inbox) -> None:
    place.hub.faults.drop_deliveries = True
    place.hub.open_issue(REPO, title="x", author="maria")
    place.hub.wait_idle()
    assert inbox.received == []
    assert (place.hub.deliveries[-1].status, place.hub.deliveries[-1].reason) == (0, "timed out")


def test_doubled_deliveries_arrive_twice_with_one_guid(place: Place, inbox: Inbox) -> None:
    place.hub.faults.double_deliveries = True
    place.hub.open_issue(REPO, title="x", author="maria")
    place.hub.wait_idle()
    first, second = inbox.received
    assert first[0]["x-github-delivery"] == second[0]["x-github-delivery"]


def test_shuffled_deliveries_all_arrive(place: Place, inbox: Inbox) -> None:
    place.hub.faults.shuffle_deliveries = True
    for number in range(12):
        place.hub.open_issue(REPO, title=str(number), author="maria")
    place.hub.wait_idle()
    sent = [d.guid for d in place.hub.deliveries if d.event == "issues"]
    got = [headers["x-github-delivery"] for headers, _ in inbox.received]
    assert sorted(got) == sorted(sent)
    assert got != sent


def test_a_zombie_suite_stays_queued_without_runs(place: Place) -> None:
    place.hub.faults.zombie_suite = True
    sha = start_branch(place)
    suites = place.bot().get(f"/repos/{REPO}/commits/{sha}/check-suites").json()["check_suites"]
    assert [(s["app"]["slug"], s["status"], s["latest_check_runs_count"]) for s in suites] == [
        ("zombie-ci", "queued", 0)
    ]


def test_an_unchanged_answer_is_304_for_the_one_who_got_it(place: Place) -> None:
    bot, maria = place.bot(), place.person("maria")
    tag = bot.get(f"/repos/{REPO}").headers["etag"]
    assert bot.get(f"/repos/{REPO}", headers={"If-None-Match": tag}).status_code == 304
    assert maria.get(f"/repos/{REPO}", headers={"If-None-Match": tag}).status_code == 200
    place.hub.open_issue(REPO, title="x", author="maria")
    assert bot.get(f"/repos/{REPO}", headers={"If-None-Match": tag}).status_code == 200


def test_lists_are_walked_by_link(place: Place) -> None:
    place.hub.open_issue(REPO, title="x", author="maria")
    for number in range(5):
        place.hub.comment(REPO, 1, str(number), by="maria")
    bot, url, seen = place.bot(), f"/repos/{REPO}/issues/1/comments?per_page=2", []
    while url:
        answer = bot.get(url)
        seen += [comment["body"] for comment in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    assert seen == ["0", "1", "2", "3", "4"]
    assert set(answer.links) == {"prev", "first"}


def test_requests_are_logged_with_who_asked(place: Place) -> None:
    place.bot().get(f"/repos/{REPO}/issues", params={"state": "all"})
    place.client().get("/nothing")
    said = [(r.method, r.path, r.status, r.who) for r in place.hub.requests]
    assert said == [
        ("GET", f"/repos/{REPO}/issues?state=all", 200, "phasegate[bot]"),
        ("GET", "/nothing", 404, ""),
    ]


@pytest.mark.parametrize("path", [f"/repos/{REPO}", "/rate_limit"])
def test_limits_are_told_on_every_answer(place: Place, path: str) -> None:
    headers: httpx.Headers = place.bot().get(path).headers
    assert headers["x-ratelimit-limit"] == "5000"
    assert int(headers["x-ratelimit-reset"]) > time.time()
