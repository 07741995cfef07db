"""Who may ask: JWTs and tokens that GitHub would refuse are refused."""

import base64
import time
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.localhub.conftest import REPO, Place

STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def signed(place: Place, key: Any = None, algorithm: str = "RS256", **claims: Any) -> str:
    """A JWT of the App; claims replace the good ones."""
    now = int(time.time())
    good = {"iat": now - 60, "exp": now + 540, "iss": str(place.app.id)}
    return jwt.encode({**good, **claims}, key or place.app.private_key, algorithm=algorithm)


def ask_app(place: Place, token: str) -> httpx.Response:
    return place.client(f"Bearer {token}").get("/app")


def test_a_good_jwt_is_the_app(place: Place) -> None:
    answer = ask_app(place, signed(place))
    assert answer.json()["slug"] == "phasegate"


def test_the_client_id_may_sign_instead_of_the_number(place: Place) -> None:
    assert ask_app(place, signed(place, iss=place.app.client_id)).status_code == 200


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": 900}, "too far in the future"),
        ({"exp": -60}, "must be a numeric value"),
        ({"iat": 120}, "'Issued at'"),
        ({"iss": "999999"}, "Integration not found"),
    ],
)
def test_a_jwt_with_wrong_claims_is_refused(place: Place, claims: dict[str, Any], message: str) -> None:
    """Times are seconds from now."""
    moments = {name: int(time.time()) + value for name, value in claims.items() if name != "iss"}
    answer = ask_app(place, signed(place, **{**claims, **moments}))
    assert answer.status_code == 401
    assert message in answer.json()["message"]


def test_a_jwt_of_another_key_is_refused(place: Place) -> None:
    assert ask_app(place, signed(place, key=STRANGER)).status_code == 401


def test_a_jwt_that_is_not_rs256_is_refused(place: Place) -> None:
    assert ask_app(place, signed(place, key="s" * 64, algorithm="HS256")).status_code == 401


def test_the_app_itself_reads_no_repository(place: Place) -> None:
    answer = place.client(f"Bearer {signed(place)}").get(f"/repos/{REPO}")
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "header", ["Bearer ghs_unknown", "token ghp_unknown", "Bearer a.b.c", "Digest x", "Basic !"]
)
def test_unknown_credentials_are_bad(place: Place, header: str) -> None:
    answer = place.client(header).get(f"/repos/{REPO}")
    assert answer.status_code == 401


def test_an_unknown_token_is_told_so(place: Place) -> None:
    answer = place.client("Bearer ghs_unknown").get(f"/repos/{REPO}")
    assert answer.json()["message"] == "Bad credentials"


def test_a_token_is_narrow_whole_seconds_and_an_hour_long(place: Place) -> None:
    path = f"/app/installations/{place.installation}/access_tokens"
    body = {"repositories": ["notifications"], "permissions": {"issues": "read"}}
    answer = place.client(f"Bearer {signed(place)}").post(path, json=body)
    made = answer.json()
    assert answer.status_code == 201
    assert made["permissions"] == {"issues": "read", "metadata": "read"}
    assert made["expires_at"].endswith("Z")
    assert "." not in made["expires_at"]
    assert [found["full_name"] for found in made["repositories"]] == [REPO]
    bot = place.client(f"Bearer {made['token']}")
    assert bot.get(f"/repos/{REPO}/issues").status_code == 200
    refused = bot.post(f"/repos/{REPO}/issues", json={"title": "x"})
    assert (refused.status_code, refused.json()["message"]) == (403, "Resource not accessible by integration")


@pytest.mark.parametrize(
    "body",
    [
        {"permissions": {"administration": "write"}},
        {"permissions": {"checks": "write"}},
        {"repositories": ["elsewhere"]},
        {"repository_ids": [1]},
    ],
)
def test_a_token_is_never_wider_than_the_installation(place: Place, body: dict[str, Any]) -> None:
    path = f"/app/installations/{place.installation}/access_tokens"
    assert place.client(f"Bearer {signed(place)}").post(path, json=body).status_code == 422


def test_a_token_reaches_only_the_repositories_it_was_made_for(place: Place) -> None:
    for name in ("acme/first", "acme/second"):
        place.hub.create_repository(name, private=True)
        place.hub.install(place.app, name)
    path = f"/app/installations/{place.installation}/access_tokens"
    made = place.client(f"Bearer {signed(place)}").post(path, json={"repositories": ["first"]}).json()
    bot = place.client(f"Bearer {made['token']}")
    assert bot.get("/repos/acme/first").status_code == 200
    assert bot.get("/repos/acme/second").status_code == 404
    assert bot.post(f"/repos/{REPO}/issues", json={"title": "x"}).status_code == 403
    assert bot.get("/installation/repositories").json()["total_count"] == 1


def test_a_token_may_stand_in_basic_authorization(place: Place) -> None:
    pair = base64.b64encode(f"x-access-token:{place.token()}".encode()).decode()
    assert place.client(f"Basic {pair}").get(f"/repos/{REPO}").status_code == 200


def test_a_token_has_the_stateless_shape(place: Place) -> None:
    token = place.token()
    assert token.startswith(f"ghs_{place.app.id}_")
    assert token.count(".") == 2
    assert len(token) > 400


def test_expired_and_uninstalled_tokens_stop_working(place: Place) -> None:
    old, other = place.bot(), place.bot()
    place.hub.expire_tokens()
    assert old.get(f"/repos/{REPO}").status_code == 401
    fresh = place.bot()
    assert fresh.get(f"/repos/{REPO}").status_code == 200
    place.hub.uninstall(place.installation)
    assert fresh.get(f"/repos/{REPO}").status_code == 401
    assert other.get(f"/repos/{REPO}").status_code == 401


def test_a_suspended_installation_is_refused(place: Place) -> None:
    bot = place.bot()
    place.hub.suspend(place.installation)
    assert bot.get(f"/repos/{REPO}").status_code == 403


def test_a_token_younger_than_the_replication_is_unknown_for_a_moment(place: Place) -> None:
    place.hub.faults.token_delay_seconds = 0.3
    bot = place.bot()
    assert bot.get(f"/repos/{REPO}").status_code == 401
    time.sleep(0.35)
    assert bot.get(f"/repos/{REPO}").status_code == 200


def test_a_private_repository_is_not_there_for_others(place: Place) -> None:
    place.hub.create_repository("acme/secret", private=True)
    assert place.bot().get("/repos/acme/secret").status_code == 404
    assert place.person("guest").get("/repos/acme/secret").status_code == 404
    place.hub.grant("acme/secret", "guest", "read")
    assert place.person("guest").get("/repos/acme/secret").status_code == 200


def test_a_public_repository_without_installation_cannot_be_written(place: Place) -> None:
    place.hub.create_repository("acme/other")
    answer = place.bot().post("/repos/acme/other/issues", json={"title": "x"})
    assert (answer.status_code, answer.json()["message"]) == (403, "Resource not accessible by integration")


def test_a_person_writes_as_far_as_their_role_goes(place: Place) -> None:
    guest, maria = place.person("guest"), place.person("maria")
    blob = {"content": "x", "encoding": "utf-8"}
    assert guest.post(f"/repos/{REPO}/issues", json={"title": "x"}).json()["user"]["login"] == "guest"
    assert guest.post(f"/repos/{REPO}/git/blobs", json=blob).status_code == 403
    assert guest.post(f"/repos/{REPO}/issues/1/labels", json={"labels": ["x"]}).status_code == 403
    assert maria.post(f"/repos/{REPO}/git/blobs", json=blob).status_code == 201


def test_nobody_writes_without_a_token(place: Place) -> None:
    assert place.client().get(f"/repos/{REPO}").status_code == 200
    assert place.client().post(f"/repos/{REPO}/issues", json={"title": "x"}).status_code == 401


@pytest.mark.parametrize(
    ("role", "permission"),
    [("admin", "admin"), ("maintain", "write"), ("write", "write"), ("triage", "read"), ("read", "read")],
)
def test_the_permission_of_a_role_is_told_as_github_folds_it(
    place: Place, role: str, permission: str
) -> None:
    place.hub.grant(REPO, "guest", role)
    body = place.bot().get(f"/repos/{REPO}/collaborators/guest/permission").json()
    assert (body["permission"], body["role_name"], body["user"]["login"]) == (permission, role, "guest")


def test_a_bot_is_no_collaborator(place: Place) -> None:
    answer = place.bot().get(f"/repos/{REPO}/collaborators/phasegate[bot]/permission")
    assert answer.status_code == 404
    assert "is not a user" in answer.json()["message"]
