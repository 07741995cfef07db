from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings

ROUTES = [("POST", "/notifications"), ("GET", "/notifications"), ("POST", "/notifications/1/read")]
SIGNED_IN = {"X-User-Id": "1"}


@pytest.fixture
def enabled() -> Iterator[TestClient]:
    """The application with the flag on and one user."""
    with TestClient(create_app(Settings(database_url="sqlite://", notifications_enabled=True))) as client:
        client.post("/users", json={"name": "ada", "email": "ada@acme.example"})
        yield client


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_with_the_flag_off_a_route_is_like_a_path_we_do_not_have(
    client: TestClient, method: str, path: str
) -> None:
    client.post("/users", json={"name": "ada", "email": "ada@acme.example"})
    unknown = client.request(method, "/nowhere", headers=SIGNED_IN)

    answer = client.request(method, path, headers=SIGNED_IN)

    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    assert answer.json() == unknown.json()


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_with_the_flag_off_nobody_is_asked_to_sign_in(client: TestClient, method: str, path: str) -> None:
    assert client.request(method, path).status_code == 404


def test_with_the_flag_on_a_notification_is_sent_listed_and_read(enabled: TestClient) -> None:
    sent = enabled.post("/notifications", json={"recipient_id": 1, "title": "lunch"}, headers=SIGNED_IN)
    assert sent.status_code == 201

    assert enabled.get("/notifications", headers=SIGNED_IN).json() == [sent.json()]
    assert enabled.post("/notifications/1/read", headers=SIGNED_IN).json()["read_at"] is not None


def test_the_flag_shows_in_the_description_of_the_interface(client: TestClient, enabled: TestClient) -> None:
    assert "/notifications" not in client.get("/openapi.json").json()["paths"]
    assert "/notifications" in enabled.get("/openapi.json").json()["paths"]
