"""One small world on an embedded GitHub, served over HTTP."""

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from localhub import Hub, serve
from localhub.records import App
from localhub.tokens import mint
from localhub.world import EVENTS, PERMISSIONS

REPO = "acme/notifications"
# Made once: reading the certificates costs more than most of these tests.
TLS = ssl.create_default_context()
SOURCE = {
    "README.md": "# Notifications\n",
    "notifications/__init__.py": "",
    "notifications/send.py": "def send(to):\n    return f'sent to {to}'\n",
    "tests/test_send.py": (
        "from notifications.send import send\n\n\ndef test_send():\n    assert send('x') == 'sent to x'\n"
    ),
    "run.sh": "#!/bin/sh\necho hello\n",
}


class Place:
    """A served hub with one repository, one installed App and two people, and clients to speak with it."""

    def __init__(self, hub: Hub, url: str, app: App, installation: int) -> None:
        self.hub, self.url, self.api, self.app, self.installation = (
            hub,
            url,
            f"{url}/api/v3",
            app,
            installation,
        )
        self.clients: list[httpx.Client] = []

    def client(self, authorization: str = "") -> httpx.Client:
        """A client of the REST API with one Authorization header."""
        headers = {"Authorization": authorization} if authorization else {}
        made = httpx.Client(base_url=self.api, headers=headers, timeout=20, trust_env=False, verify=TLS)
        self.clients.append(made)
        return made

    def token(self, **permissions: str) -> str:
        """An installation token, narrowed where permissions are named."""
        return mint(self.hub.state, self.hub.state.installations[self.installation], None, permissions).value

    def bot(self, **permissions: str) -> httpx.Client:
        """A client that asks as the installation."""
        return self.client(f"Bearer {self.token(**permissions)}")

    def person(self, login: str) -> httpx.Client:
        """A client that asks as a person."""
        return self.client(f"token {self.hub.state.user(login).token}")

    def graphql(self, client: httpx.Client, query: str, **variables: Any) -> dict[str, Any]:
        """Answer of one GraphQL request."""
        return client.post("/graphql", json={"query": query, "variables": variables}).json()

    def close(self) -> None:
        for client in self.clients:
            client.close()


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for name, text in SOURCE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "run.sh").chmod(0o755)
    return folder


@pytest.fixture
def place(tmp_path: Path, source: Path) -> Iterator[Place]:
    hub = Hub(tmp_path)
    hub.create_user("maria")
    hub.create_user("guest")
    hub.create_repository(REPO, source)
    hub.grant(REPO, "maria", "write")
    app = hub.create_app("phasegate", "", "a secret", PERMISSIONS, EVENTS)
    installation = hub.install(app, REPO)
    with serve(hub) as server:
        place = Place(hub, server.url, app, installation)
        yield place
        place.close()


class Inbox:
    """What a webhook endpoint received: headers and raw bodies."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.status = 202

    def events(self) -> list[str]:
        """`event.action` of everything received."""
        names = []
        for headers, body in self.received:
            action = json.loads(body).get("action")
            names.append(headers["x-github-event"] + (f".{action}" if action else ""))
        return names


@pytest.fixture
def inbox(place: Place) -> Iterator[Inbox]:
    box = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            box.received.append(({key.lower(): value for key, value in self.headers.items()}, body))
            self.send_response(box.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    place.app.webhook_url = f"http://127.0.0.1:{server.server_port}/"
    yield box
    place.app.webhook_url = ""
    server.shutdown()
    server.server_close()
    thread.join()
