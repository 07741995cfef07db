"""Deliveries: who signed them, what they are, and whether they concern us."""

import hashlib
import hmac
import json
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bot import events
from bot.errors import Malformed, Refused
from bot.events import Event, commented, event_of, installation, labelled_ours, ours_branch, verify

MANIFEST = Path(__file__).parents[2] / "app.yml"
SECRET = b"It's a Secret to Everybody"
GUID = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
PREDICATES = (labelled_ours, commented, ours_branch, installation)


def sign(body: bytes, secret: bytes = SECRET) -> str:
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def headers(body: bytes, **changed: str | None) -> dict[str, str]:
    """The headers of a delivery; keywords replace one, and None takes it away."""
    usual = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "issues",
        "X-GitHub-Delivery": GUID,
        "X-Hub-Signature-256": sign(body),
    }
    named = {name.replace("_", "-"): value for name, value in changed.items()}
    return {name: value for name, value in {**usual, **named}.items() if value is not None}


def event(name: str, payload: object) -> Event:
    return event_of(GUID, name, json.dumps(payload).encode())


def test_the_official_vector_is_accepted_as_signed():
    """GitHub's own example: not Refused, so the signature was right; the body is no JSON."""
    official = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    with pytest.raises(Malformed):
        verify(headers(b"Hello, World!", X_Hub_Signature_256=official), b"Hello, World!", [SECRET])


def test_a_signed_delivery_is_an_event():
    body = json.dumps(
        {
            "action": "labeled",
            "installation": {"id": 5},
            "repository": {"id": 7, "full_name": "o-o/r.r"},
            "sender": {"id": 9, "login": "ann", "type": "User"},
        }
    ).encode()
    read = verify(headers(body), body, [SECRET])

    assert (read.delivery, read.name, read.action, read.key) == (GUID, "issues", "labeled", "issues.labeled")
    assert (read.installation_id, read.repository, read.repository_id) == (5, "o-o/r.r", 7)
    assert (read.sender_login, read.sender_id, read.sender_type) == ("ann", 9, "User")


def test_an_event_without_action_goes_by_its_name():
    assert event("push", {"ref": "x"}).key == "push"


def test_header_names_may_have_any_case():
    lower = {name.lower(): value for name, value in headers(b"{}").items()}

    assert verify(lower, b"{}", [SECRET]).name == "issues"


@pytest.mark.parametrize("secrets", [[b"new", SECRET], [SECRET, b"old"]])
def test_any_of_several_secrets_will_do(secrets):
    assert verify(headers(b"{}"), b"{}", secrets).delivery == GUID


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "sha256=",
        "sha256=" + "0" * 64,
        sign(b"{}").removeprefix("sha256="),
        sign(b"{}").upper(),
        sign(b"{}")[:-1],
        sign(b"{} "),
        sign(b"{}", b"other"),
        "sha1=" + hmac.new(SECRET, b"{}", hashlib.sha1).hexdigest(),
        "sha256=ümlaut",
        "\udcff",
    ],
)
def test_a_wrong_signature_is_refused(signature):
    with pytest.raises(Refused):
        verify(headers(b"{}", X_Hub_Signature_256=signature), b"{}", [SECRET])


def test_the_old_signature_alone_is_refused():
    """SHA-1 is still sent beside SHA-256 and counts for nothing."""
    old = "sha1=" + hmac.new(SECRET, b"{}", hashlib.sha1).hexdigest()
    with pytest.raises(Refused):
        verify(headers(b"{}", X_Hub_Signature_256=None, X_Hub_Signature=old), b"{}", [SECRET])


@pytest.mark.parametrize("secrets", [[], [b""]])
def test_without_a_secret_nothing_is_accepted(secrets):
    with pytest.raises(Refused):
        verify(headers(b"{}", X_Hub_Signature_256=sign(b"{}", b"")), b"{}", secrets)


def test_the_signature_is_checked_before_anything_else():
    with pytest.raises(Refused):
        verify({"content-type": "text/plain"}, b"\xff", [SECRET])


@pytest.mark.parametrize("media_type", [None, "", "text/json", "application/x-www-form-urlencoded"])
def test_what_is_not_json_by_its_type_is_415(media_type):
    with pytest.raises(Malformed) as caught:
        verify(headers(b"{}", Content_Type=media_type), b"{}", [SECRET])
    assert caught.value.status == 415


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_may_be_spelled_as_http_allows(media_type):
    assert verify(headers(b"{}", Content_Type=media_type), b"{}", [SECRET])


@pytest.mark.parametrize(
    "changed",
    [
        {"X_GitHub_Event": None},
        {"X_GitHub_Event": ""},
        {"X_GitHub_Event": "Issues\n"},
        {"X_GitHub_Event": "x" * 65},
        {"X_GitHub_Delivery": None},
        {"X_GitHub_Delivery": "12"},
        {"X_GitHub_Delivery": "../../etc/passwd"},
        {"X_GitHub_Delivery": GUID + "\n"},
        {"X_GitHub_Delivery": "a" * 65},
    ],
)
def test_a_missing_or_odd_header_is_malformed(changed):
    with pytest.raises(Malformed) as caught:
        verify(headers(b"{}", **changed), b"{}", [SECRET])
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
    ids=range(12),
)
def test_a_body_that_is_no_json_object_is_malformed(body):
    with pytest.raises(Malformed) as caught:
        verify(headers(body), body, [SECRET])
    assert caught.value.status == 400


@given(
    st.dictionaries(st.sampled_from([*headers(b""), "x"]), st.text(max_size=70)),
    st.binary(max_size=50) | st.sampled_from([b"{}", b"[1]"]),
    st.booleans(),
)
def test_any_delivery_is_an_event_or_told_wrong(given_headers, body, signed):
    if signed:
        given_headers["X-Hub-Signature-256"] = sign(body)
    with suppress(Malformed, Refused):
        assert verify(given_headers, body, [SECRET]).delivery
        assert signed


@pytest.mark.parametrize("odd", [None, True, 0, -1, 1.5, "5", [], 2**63])
def test_an_odd_id_is_no_id(odd):
    assert event("push", {"installation": {"id": odd}}).installation_id is None


@pytest.mark.parametrize("odd", [None, 5, "", "name", "a/b/c", "../x/y", "o/r?x=1", "o/r\n", "ö/r"])
def test_a_repository_that_no_address_may_hold_is_none(odd):
    assert event("push", {"repository": {"full_name": odd}}).repository == ""


def test_text_that_no_database_holds_is_mended():
    assert event("push", {"a": {"b": "x\0y\ud800"}}).text("a", "b") == "xy?"


def issue_event(action: str, *, label: str | None = None, carries: tuple[str, ...] = ()) -> Event:
    """An event of an issue that carries labels; `label` is the one it is about."""
    payload = {"action": action, "issue": {"labels": [{"name": name} for name in carries]}}
    return event("issues", {**payload, "label": {"name": label}} if label else payload)


@pytest.mark.parametrize(
    ("happened", "ours"),
    [
        (issue_event("labeled", label="agent-build"), True),
        (issue_event("labeled", label="Agent-Build"), True),
        (issue_event("unlabeled", label="agent-build"), True),
        (issue_event("labeled", label="bug", carries=("agent-build",)), False),
        (issue_event("labeled", label="agent-build-2"), False),
        (issue_event("closed", carries=("bug", "agent-build")), True),
        (issue_event("closed", carries=("bug",)), False),
        (event("pull_request", {"action": "labeled", "label": {"name": "agent-build"}}), False),
    ],
)
def test_an_issue_is_ours_by_its_label(happened, ours):
    assert labelled_ours(happened, "agent-build") is ours


def comment_event(body: object = "/status", name: str = "issue_comment", **changed: object) -> Event:
    """A comment by Ann; keywords change the action, the author or the sender."""
    ann = {"id": 9, "login": "ann", "type": "User"}
    author, sender = changed.get("author", ann), changed.get("sender", ann)
    comment = {"body": body, "user": author}
    return event(name, {"action": changed.get("action", "created"), "comment": comment, "sender": sender})


@pytest.mark.parametrize("body", ["/status", "\n/RESUME\r\n", "/aprove-plan", "/cancel at once"])
def test_a_command_or_near_miss_is_for_us(body):
    assert commented(comment_event(body), "agent-build")


@pytest.mark.parametrize(
    "body", ["", None, 5, "Thanks!", "/lgtm", "> /status", "<!-- /status -->", "```\n/status\n```"]
)
def test_other_talk_is_not_for_us(body):
    assert not commented(comment_event(body), "agent-build")


@pytest.mark.parametrize(
    "happened",
    [
        comment_event(action="edited"),
        comment_event(action="deleted"),
        comment_event(name="pull_request_review_comment"),
        comment_event(sender={"id": 10, "type": "User"}),
        comment_event(author={"id": 9, "type": "Bot"}),
        comment_event(sender={"id": 9, "type": "Bot"}),
        comment_event(author={"type": "User"}, sender={"type": "User"}),
        comment_event(author=None, sender=None),
    ],
)
def test_only_a_new_comment_by_a_person_counts(happened):
    assert not commented(happened, "agent-build")


OURS, OTHER = "phasegate/issue-3-x", "feature/phasegate/"


def branch_event(name: str, branch: str | None, home: object = 7) -> Event:
    """News of one kind about a branch that lives in repository `home`; the event is repository 7's."""
    pull = {"head": {"ref": branch, "repo": {"id": home}}}
    payload = {
        "push": {"ref": f"refs/heads/{branch}"},
        "check_run": {"check_run": {"check_suite": {"head_branch": branch}}},
        "check_suite": {"check_suite": {"head_branch": branch}},
        "status": {"branches": [{"name": "main"}, {"name": branch}]},
        "workflow_run": {"workflow_run": {"head_branch": branch, "head_repository": {"id": home}}},
        "pull_request": {"pull_request": pull},
        "pull_request_review": {"pull_request": pull},
    }.get(name, {"ref": f"refs/heads/{branch}"})
    return event(name, {"repository": {"id": 7}, **payload})


BRANCH_EVENTS = (
    "push",
    "check_run",
    "check_suite",
    "status",
    "workflow_run",
    "pull_request",
    "pull_request_review",
)


@pytest.mark.parametrize("name", BRANCH_EVENTS)
def test_news_of_our_branches_is_ours(name):
    assert ours_branch(branch_event(name, OURS), "agent-build")


@pytest.mark.parametrize("name", [*BRANCH_EVENTS, "create"])
@pytest.mark.parametrize("branch", [OTHER, "main", "phasegate", "", None])
def test_news_of_other_branches_is_not_ours(name, branch):
    assert not ours_branch(branch_event(name, branch), "agent-build")


@pytest.mark.parametrize("name", ["workflow_run", "pull_request", "pull_request_review"])
@pytest.mark.parametrize("home", [8, None, "7"])
def test_a_branch_of_a_fork_is_not_ours(name, home):
    """A fork may name its branches as it likes, and a deleted fork has no repository at all."""
    assert not ours_branch(branch_event(name, OURS, home), "agent-build")


def test_a_tag_named_like_our_branches_is_not_ours():
    assert not ours_branch(event("push", {"ref": "refs/tags/phasegate/1"}), "agent-build")


def test_an_unknown_repository_is_not_the_home_of_a_fork():
    """Two missing ids are not the same id."""
    pull = {"head": {"ref": OURS, "repo": None}}

    assert not ours_branch(event("pull_request", {"pull_request": pull}), "agent-build")
    assert not ours_branch(event("workflow_run", {"workflow_run": {"head_branch": OURS}}), "agent-build")


def test_the_app_hears_of_its_own_installations():
    assert installation(event("installation", {"action": "deleted"}), "agent-build")
    assert installation(event("installation_repositories", {"action": "removed"}), "agent-build")
    assert not installation(event("installation_target", {"action": "renamed"}), "agent-build")


KEYS = """
action label name issue labels comment user id type sender body ref check_run check_suite head_branch branches
workflow_run head_repository pull_request head repo repository installation full_name
"""
KEY = st.sampled_from(KEYS.split())
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["labeled", "created", "User", OURS, "/status", f"refs/heads/{OURS}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=4),
    max_leaves=20,
)


@given(
    st.sampled_from([*BRANCH_EVENTS, "issues", "issue_comment", "installation", "ping"]),
    st.dictionaries(KEY, ODD),
)
def test_no_payload_is_too_odd_to_be_judged(name, payload):
    odd = Event(GUID, name, payload)

    assert [type(ask(odd, "agent-build")) for ask in PREDICATES] == [bool] * 4
    assert odd.key.startswith(name)
    assert hash(odd) == hash(Event(GUID, name, {}))
    assert isinstance(odd.repository + odd.sender_login + odd.sender_type, str)


def test_the_manifest_asks_for_the_events_we_understand():
    manifest = yaml.safe_load(MANIFEST.read_text())
    understood = {name for name in BRANCH_EVENTS if name != "pull_request_review"} | {
        "issues",
        "issue_comment",
    }

    assert set(manifest["default_events"]) == understood
    assert manifest["hook_attributes"]["url"].endswith("/webhooks/github")


def test_the_manifest_asks_for_no_more_than_it_needs():
    """Without `workflows`, GitHub itself refuses changes of CI; with `checks: write` we could forge it."""
    manifest = yaml.safe_load(MANIFEST.read_text())

    assert manifest["default_permissions"] == {
        "metadata": "read",
        "contents": "write",
        "issues": "write",
        "pull_requests": "write",
        "checks": "read",
        "statuses": "read",
        "actions": "read",
    }


def test_our_branches_have_one_prefix():
    assert events.PREFIX == "phasegate/"
