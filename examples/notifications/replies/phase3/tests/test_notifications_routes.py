from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.notifications.routes import router
from app.settings import Settings

ADA, BOB = {"X-User-Id": "1"}, {"X-User-Id": "2"}


@pytest.fixture
def client() -> Iterator[TestClient]:
    """The application with the routes and two users, Ada (1) and Bob (2)."""
    app = create_app(Settings(database_url="sqlite://"))
    app.include_router(router)
    with TestClient(app) as client:
        for name in ("ada", "bob"):
            client.post("/users", json={"name": name, "email": f"{name}@acme.example"})
        yield client


def send(client: TestClient, title: str = "lunch") -> dict[str, Any]:
    """Let Bob notify Ada."""
    response = client.post("/notifications", json={"recipient_id": 1, "title": title}, headers=BOB)
    assert response.status_code == 201
    sent: dict[str, Any] = response.json()
    return sent


def listed(client: TestClient, query: str = "") -> list[str]:
    """List the titles in Ada's inbox."""
    response = client.get(f"/notifications{query}", headers=ADA)
    assert response.status_code == 200
    return [row["title"] for row in response.json()]


def test_a_sent_notification_shows_up_unread(client: TestClient) -> None:
    sent = send(client)

    assert client.get("/notifications", headers=ADA).json() == [sent]
    assert (sent["title"], sent["sender_id"], sent["read_at"]) == ("lunch", 2, None)


def test_the_list_is_newest_first_and_limited(client: TestClient) -> None:
    for title in ("one", "two", "three"):
        send(client, title)

    assert listed(client, "?limit=2") == ["three", "two"]


def test_a_list_holds_twenty_unless_more_are_asked_for(client: TestClient) -> None:
    for number in range(21):
        send(client, str(number))

    assert len(listed(client)) == 20
    assert len(listed(client, "?limit=100")) == 21


def test_a_read_notification_leaves_the_unread_list(client: TestClient) -> None:
    sent = send(client)

    marked = client.post(f"/notifications/{sent['id']}/read", headers=ADA)

    assert marked.status_code == 200
    assert marked.json()["read_at"] is not None
    assert listed(client, "?unread=true") == []
    assert listed(client) == ["lunch"]


@pytest.mark.parametrize(
    "body",
    [
        {"recipient_id": 1, "title": " "},
        {"recipient_id": 1, "title": "x" * 121},
        {"recipient_id": 99, "title": "lunch"},
        {"recipient_id": 2**63, "title": "lunch"},
        {"title": "lunch"},
    ],
)
def test_a_bad_notification_is_answered_400(client: TestClient, body: dict[str, Any]) -> None:
    response = client.post("/notifications", json=body, headers=BOB)

    assert response.status_code == 400
    assert list(response.json()) == ["detail"]


@pytest.mark.parametrize("query", ["?limit=0", "?limit=101", "?limit=many", "?unread=perhaps"])
def test_a_bad_query_is_answered_400(client: TestClient, query: str) -> None:
    response = client.get(f"/notifications{query}", headers=ADA)

    assert response.status_code == 400
    assert list(response.json()) == ["detail"]


def test_marking_a_foreign_notification_is_answered_403(client: TestClient) -> None:
    sent = send(client)

    response = client.post(f"/notifications/{sent['id']}/read", headers=BOB)

    assert response.status_code == 403
    assert response.json() == {"detail": "Only its recipient marks a notification as read."}


def test_marking_an_unknown_notification_is_answered_404(client: TestClient) -> None:
    response = client.post("/notifications/99/read", headers=ADA)

    assert response.status_code == 404
    assert response.json() == {"detail": "There is no notification 99."}


def test_who_is_not_signed_in_is_answered_401(client: TestClient) -> None:
    assert client.get("/notifications").status_code == 401
