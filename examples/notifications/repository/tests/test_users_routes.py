from typing import Any

from fastapi.testclient import TestClient


def register(client: TestClient, name: str) -> dict[str, Any]:
    response = client.post("/users", json={"name": name, "email": f"{name}@acme.example"})
    assert response.status_code == 201
    user: dict[str, Any] = response.json()
    return user


def signed_in(user: dict[str, Any]) -> dict[str, str]:
    return {"X-User-Id": str(user["id"])}


def test_a_registered_user_is_shown_without_the_address(client: TestClient) -> None:
    ada = register(client, "ada")

    shown = client.get(f"/users/{ada['id']}", headers=signed_in(ada)).json()

    assert shown == ada
    assert "email" not in shown


def test_a_request_that_does_not_fit_is_answered_400(client: TestClient) -> None:
    response = client.post("/users", json={"name": "ada"})

    assert response.status_code == 400
    assert response.json() == {"detail": "body.email: Field required"}


def test_who_is_not_signed_in_is_answered_401(client: TestClient) -> None:
    ada = register(client, "ada")

    assert client.get(f"/users/{ada['id']}").status_code == 401
    assert client.get(f"/users/{ada['id']}", headers={"X-User-Id": "99"}).status_code == 401


def test_a_closed_account_signs_in_no_more(client: TestClient) -> None:
    ada = register(client, "ada")

    assert client.post(f"/users/{ada['id']}/deactivate", headers=signed_in(ada)).status_code == 200
    assert client.get(f"/users/{ada['id']}", headers=signed_in(ada)).status_code == 401


def test_closing_a_foreign_account_is_answered_403(client: TestClient) -> None:
    ada, bob = register(client, "ada"), register(client, "bob")

    assert client.post(f"/users/{ada['id']}/deactivate", headers=signed_in(bob)).status_code == 403


def test_closing_an_unknown_account_is_answered_404(client: TestClient) -> None:
    ada = register(client, "ada")

    assert client.post("/users/99/deactivate", headers=signed_in(ada)).status_code == 404
