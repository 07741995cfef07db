"""How GitHub is reached: tokens, retries, limits, and what an answer means."""

import asyncio

import httpx
import pytest
import respx
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bot.errors import Denied, Missing, Rejected, SettingsError, Transient
from bot.github import GitHub
from tests.unit.github_bench import API, COMMENT, ISSUE, REPOSITORY, Bench, private_key, sent

R = httpx.Response
DATE = {"date": "Sun, 22 Nov 2026 10:00:00 GMT"}


@pytest.fixture
def bench():
    with respx.mock(assert_all_called=False) as mock:
        yield Bench(mock)


def bearer(route, nth=-1):
    return route.calls[nth].request.headers.get("authorization")


# Tokens


def test_a_token_is_asked_for_one_repository_and_one_purpose(bench):
    bench.on("GET", "/issues/5", ISSUE)
    bench.on("POST", "/issues/5/comments", R(201, json=COMMENT))

    async def work(repository):
        await repository.comment(5, "hello")

    bench.ask(work)

    permissions = {"metadata": "read", "issues": "write", "pull_requests": "write"}
    assert sent(bench.mint) == {"repository_ids": [42], "permissions": permissions}
    assert bearer(bench.mint).startswith("Bearer ey")


def test_many_first_calls_at_once_mint_one_token(bench):
    route = bench.on("GET", "/issues/5", ISSUE)
    bench.ask(lambda repository: asyncio.gather(*(repository.issue(5) for _ in range(10))))

    assert bench.mint.call_count == 1
    assert {bearer(route, nth) for nth in range(10)} == {"token ghs_1"}


def test_a_failed_mint_is_the_answer_for_all_who_waited_for_it(bench):
    bench.answers(bench.mint, R(502))

    async def work(repository):
        return await asyncio.gather(*(repository.issue(5) for _ in range(10)), return_exceptions=True)

    faults = bench.ask(work)

    assert [type(fault) for fault in faults] == [Transient] * 10
    assert bench.mint.call_count == 4


def test_a_failed_mint_is_tried_again_by_the_next_call(bench):
    bench.answers(bench.mint, R(404), bench.new_token(None))
    bench.on("GET", "/issues/5", ISSUE)

    async def work(repository):
        with pytest.raises(Missing):
            await repository.issue(5)
        return await repository.issue(5)

    assert bench.ask(work).number == 5


def test_a_token_is_renewed_ten_minutes_before_its_end(bench):
    route = bench.on("GET", "/issues/5", ISSUE)

    async def work(repository):
        for after in (0, 2990, 20):
            bench.now += after
            await repository.issue(5)

    bench.ask(work)

    assert [bearer(route, nth) for nth in range(3)] == ["token ghs_1", "token ghs_1", "token ghs_2"]


def test_a_revoked_token_is_dropped_once_and_the_call_repeated_with_a_new_one(bench):
    route = bench.on("POST", "/issues/5/comments", R(201, json=COMMENT), R(401), R(201, json=COMMENT))

    async def work(repository):
        await repository.comment(5, "one")
        bench.now += 60
        await repository.comment(5, "two")

    bench.ask(work)

    assert [bearer(route, nth) for nth in range(3)] == ["token ghs_1", "token ghs_1", "token ghs_2"]
    assert bench.pauses == []


def test_a_young_token_that_is_not_known_everywhere_yet_is_tried_again(bench):
    bench.on("GET", "/issues/5", R(401), R(401), ISSUE)
    bench.ask(lambda repository: repository.issue(5))

    assert bench.pauses == [1, 1]
    assert bench.mint.call_count == 1


def test_tokens_refused_for_good_end_in_denied_after_a_bounded_number_of_tries(bench):
    route = bench.on("GET", "/issues/5", R(401, json={"message": "Bad credentials"}))
    with pytest.raises(Denied, match="Bad credentials"):
        bench.ask(lambda repository: repository.issue(5))

    assert bench.mint.call_count == 2
    assert route.call_count == 7
    assert sum(bench.pauses) <= 5


def test_permissions_that_only_help_are_left_out_where_they_are_not_granted(bench):
    bench.answers(bench.mint, R(422, json={"message": "not granted"}), bench.new_token(None))
    granted = {
        "metadata": "read",
        "contents": "write",
        "issues": "write",
        "pull_requests": "write",
        "checks": "read",
    }
    bench.mock.get(f"{API}/app/installations/7").respond(json={"permissions": granted})
    bench.on("GET", "/issues/5", ISSUE)
    bench.ask(lambda repository: repository.issue(5))

    asked = sent(bench.mint)["permissions"]
    assert asked == dict.fromkeys(("metadata", "contents", "issues", "pull_requests", "checks"), "read")


def test_a_needed_permission_that_is_not_granted_is_named(bench):
    bench.answers(bench.mint, R(422, json={"message": "not granted"}))
    bench.mock.get(f"{API}/app/installations/7").respond(json={"permissions": {"issues": "read"}})
    with pytest.raises(Denied, match="issues: write, pull_requests: write"):
        bench.ask(lambda repository: repository.comment(5, "hello"))


def test_a_repository_that_the_installation_does_not_reach_is_missing(bench):
    bench.answers(bench.mint, R(422, json={"message": "at least one repository"}))
    granted = {"contents": "write"}
    bench.mock.get(f"{API}/app/installations/7").respond(json={"permissions": granted})
    with pytest.raises(Missing, match="at least one repository"):
        bench.ask(lambda repository: repository.git_token())


def test_the_number_of_kept_tokens_is_bounded(bench):
    bench.mock.post(url__regex=r".*/access_tokens").mock(side_effect=bench.new_token)

    async def work(github):
        handles = [github.repository(7, "acme/shop", number) for number in range(257)]
        for handle in handles:
            await handle.git_token()
        return await handles[256].git_token(), await handles[0].git_token()

    assert bench.run(work) == ("ghs_257", "ghs_258")


def test_a_write_token_for_git_is_another_one(bench):
    async def work(repository):
        return await repository.git_token(), await repository.git_token(write=True)

    assert bench.ask(work) == ("ghs_1", "ghs_2")
    assert sent(bench.mint, 0)["permissions"] == {"metadata": "read", "contents": "read"}
    assert sent(bench.mint, 1)["permissions"] == {"metadata": "read", "contents": "write"}


# Retries


def test_a_read_is_tried_four_times_in_a_few_seconds_and_then_is_transient(bench):
    route = bench.on("GET", "/issues/5", R(502))
    with pytest.raises(Transient):
        bench.ask(lambda repository: repository.issue(5))

    assert route.call_count == 4
    assert len(bench.pauses) == 3
    assert max(bench.pauses) <= 3


@pytest.mark.parametrize("fault", [R(500), R(503), R(408), httpx.ReadTimeout, httpx.ConnectError])
def test_a_read_outlives_a_short_outage(bench, fault):
    bench.on("GET", "/issues/5", fault, ISSUE)
    assert bench.ask(lambda repository: repository.issue(5)).number == 5


@pytest.mark.parametrize("fault", [R(502), R(500), httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_a_comment_that_may_have_arrived_is_not_posted_again(bench, fault):
    route = bench.on("POST", "/issues/5/comments", fault)
    with pytest.raises(Transient):
        bench.ask(lambda repository: repository.comment(5, "hello"))

    assert route.call_count == 1


def test_a_comment_that_surely_did_not_arrive_is_posted_again(bench):
    route = bench.on("POST", "/issues/5/comments", httpx.ConnectError, R(201, json=COMMENT))
    bench.ask(lambda repository: repository.comment(5, "hello"))

    assert route.call_count == 2


def test_a_page_of_a_proxy_in_place_of_json_is_transient(bench):
    bench.on("GET", "/issues/5", R(200, text="<html>maintenance</html>"))
    with pytest.raises(Transient, match="not JSON"):
        bench.ask(lambda repository: repository.issue(5))


# Limits

SECONDARY = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (R(403, json=SECONDARY), 60),
        (R(429), 60),
        (R(403, json=SECONDARY, headers={"retry-after": "90"}), 90),
        (R(429, headers={"retry-after": "Sun, 22 Nov 2026 10:02:00 GMT"} | DATE), 120),
        (R(429, headers={"retry-after": "soon"}), 60),
        (R(403, headers={"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795342500"} | DATE), 900),
        (R(503, headers={"retry-after": "30"}), 30),
    ],
)
def test_a_limit_is_handed_to_the_caller_with_its_wait(bench, answer, seconds):
    bench.on("GET", "/issues/5", answer)
    with pytest.raises(Transient) as fault:
        bench.ask(lambda repository: repository.issue(5))

    assert fault.value.retry_after == seconds
    assert bench.pauses == []


def test_a_short_limit_is_sat_out_once_even_by_a_comment(bench):
    limited = R(403, json=SECONDARY, headers={"retry-after": "1"})
    route = bench.on("POST", "/issues/5/comments", limited, R(201, json=COMMENT))
    bench.ask(lambda repository: repository.comment(5, "hello"))

    assert bench.pauses == [1]
    assert route.call_count == 2


def test_a_limit_that_is_over_by_now_is_no_wait(bench):
    headers = {"retry-after": "Sun, 01 Mar 2026 09:00:00 GMT", "date": "today"}
    bench.on("GET", "/issues/5", R(429, headers=headers), ISSUE)
    bench.ask(lambda repository: repository.issue(5))

    assert bench.pauses == [0]


def test_a_short_limit_is_sat_out_only_once(bench):
    route = bench.on("GET", "/issues/5", R(429, headers={"retry-after": "1"}))
    with pytest.raises(Transient):
        bench.ask(lambda repository: repository.issue(5))

    assert route.call_count == 2


# What an answer means


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, Denied),
        (403, Denied),
        (451, Denied),
        (404, Missing),
        (410, Missing),
        (409, Rejected),
        (400, Rejected),
    ],
)
def test_a_refusal_is_an_error_of_ours_with_the_words_of_github(bench, status, error):
    bench.on("GET", "/issues/5", R(status, json={"message": "No such luck"}))
    with pytest.raises(error, match=r"No such luck \(GET /repos/acme/shop/issues/5\)"):
        bench.ask(lambda repository: repository.issue(5))


def test_the_permission_that_github_names_is_said(bench):
    headers = {"x-accepted-github-permissions": "issues=write"}
    bench.on(
        "POST", "/issues/5/comments", R(403, json={"message": "Resource not accessible"}, headers=headers)
    )
    with pytest.raises(Denied, match="needs issues=write"):
        bench.ask(lambda repository: repository.comment(5, "hello"))


def test_the_field_errors_of_a_refusal_are_said(bench):
    errors = [{"field": "body", "code": "missing"}, {"message": "Body is too long"}, "really"]
    bench.on("POST", "/issues/5/comments", R(422, json={"message": "Validation Failed", "errors": errors}))
    with pytest.raises(Rejected, match="Validation Failed; body missing; Body is too long; really"):
        bench.ask(lambda repository: repository.comment(5, "hello"))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "NOT_FOUND", "message": "gone"}, Missing),
        ({"type": "FORBIDDEN", "message": "no"}, Denied),
        ({"message": "Resource not accessible by integration"}, Denied),
        ({"type": "RATE_LIMITED", "message": "API rate limit exceeded"}, Transient),
        ({"message": "Something went wrong while executing your query."}, Transient),
    ],
)
def test_an_error_of_graphql_is_one_of_ours_though_its_status_is_200(bench, error, kind):
    bench.graphql({"data": None, "errors": [error]})
    bench.on("GET", "", REPOSITORY)
    bench.on("GET", "/git/ref/heads/main", {"object": {"sha": "a" * 40}})
    with pytest.raises(kind):
        bench.ask(lambda repository: repository.move_branch("main", before="a" * 40, after="b" * 40))


# Where it goes


def test_a_renamed_repository_is_followed_on_the_same_host_with_the_token(bench):
    moved = R(301, headers={"location": f"{API}/repositories/42/issues/5"})
    bench.on("GET", "/issues/5", moved)
    target = bench.mock.get(f"{API}/repositories/42/issues/5").respond(json=ISSUE)

    assert bench.ask(lambda repository: repository.issue(5)).number == 5
    assert bearer(target) == "token ghs_1"


def test_a_redirect_to_another_host_is_not_followed(bench):
    bench.on("GET", "/issues/5", R(302, headers={"location": "https://evil.example/issues/5"}))
    other = bench.mock.get("https://evil.example/issues/5").respond(json=ISSUE)
    with pytest.raises(Missing):
        bench.ask(lambda repository: repository.issue(5))

    assert other.call_count == 0


def test_a_circle_of_redirects_ends(bench):
    route = bench.on("GET", "/issues/5", R(302, headers={"location": "/repos/acme/shop/issues/5"}))
    with pytest.raises(Missing):
        bench.ask(lambda repository: repository.issue(5))

    assert route.call_count == 4


def test_only_github_com_is_told_an_api_version(bench):
    route = bench.on("GET", "/issues/5", ISSUE)
    bench.ask(lambda repository: repository.issue(5))
    server = Bench(bench.mock, "https://ghe.example.com/api/v3")
    local = server.on("GET", "/issues/5", ISSUE)
    server.ask(lambda repository: repository.issue(5))

    assert route.calls[0].request.headers["x-github-api-version"] == "2026-03-10"
    assert "x-github-api-version" not in local.calls[0].request.headers


def test_graphql_of_an_enterprise_server_is_beside_its_rest_api(bench):
    server = Bench(bench.mock, "https://ghe.example.com/api/v3")
    ready = {"markPullRequestReadyForReview": {"pullRequest": {"isDraft": False}}}
    route = bench.mock.post("https://ghe.example.com/api/graphql").respond(json={"data": ready})
    assert server.ask(lambda repository: repository.ready_pull("PR_9"))
    assert route.call_count == 1


@pytest.mark.parametrize(
    "address",
    [
        "http://github.example.com",
        "ftp://github.example.com",
        "https://",
        "https://me:pw@github.example.com",
        "no",
    ],
)
def test_an_address_without_tls_or_with_odd_parts_is_refused(address):
    with pytest.raises(SettingsError, match="GITHUB_API_URL"):
        GitHub(app_id="1", private_key=private_key(), api_url=address, server_url="https://github.com")


@pytest.mark.parametrize("address", ["http://127.0.0.1:8123", "http://localhost:8123", "http://[::1]:8123"])
def test_http_is_allowed_to_this_machine(address):
    github = GitHub(app_id="1", private_key=private_key(), api_url=address, server_url=address)
    assert github.repository(7, "acme/shop", 42).clone_url == f"{address}/acme/shop.git"


def test_a_key_that_is_none_is_refused():
    with pytest.raises(SettingsError, match="GITHUB_PRIVATE_KEY"):
        GitHub(app_id="1", private_key="secret", api_url=API, server_url="https://github.com")


def test_a_key_of_another_kind_is_refused():
    key = ec.generate_private_key(ec.SECP256R1())
    kind = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode()
    with pytest.raises(SettingsError, match="not the RSA key"):
        GitHub(app_id="1", private_key=pem, api_url=API, server_url="https://github.com")


def test_no_token_reaches_the_log(bench):
    bench.on("GET", "/issues/5", R(502), ISSUE)
    with structlog.testing.capture_logs() as lines:
        bench.ask(lambda repository: repository.issue(5))

    calls = [line for line in lines if line["event"] == "github call"]
    assert [call["status"] for call in calls] == [201, 502, 200]
    assert "ghs_" not in str(lines)
    assert "ey" not in str(lines)
