from fastapi.testclient import TestClient


def test_a_started_application_is_healthy(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}


def test_an_unknown_path_is_answered_404(client: TestClient) -> None:
    response = client.get("/nowhere")

    assert response.status_code == 404
    assert response.json() == {"detail": "Not Found"}
