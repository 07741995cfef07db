"""A GitHub made of single answers, for tests of the calls: respx routes, a clock that only pauses move."""

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import respx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.github import GitHub, Repository

API = "https://api.github.com"
SHA = "a" * 40
OTHER = "b" * 40
TREE = "c" * 40
ISSUE = {
    "number": 5,
    "title": "Add login",
    "body": None,
    "state": "open",
    "labels": [{"name": "agent-build"}, "old"],
    "user": {"login": "ann", "id": 11, "type": "User"},
    "html_url": "https://github.com/acme/shop/issues/5",
    "updated_at": "2026-11-01T10:00:00Z",
}
COMMENT = {
    "id": 9,
    "node_id": "IC_9",
    "body": "hello",
    "user": {"login": "gate[bot]", "id": 99, "type": "Bot"},
    "performed_via_github_app": {"id": 1},
    "created_at": "2026-11-01T10:00:00Z",
    "updated_at": "2026-11-01T10:00:00Z",
    "html_url": "https://github.com/acme/shop/issues/5#issuecomment-9",
}
PULL = {
    "number": 6,
    "node_id": "PR_6",
    "state": "open",
    "draft": True,
    "merged": False,
    "mergeable": None,
    "head": {"sha": SHA, "ref": "phasegate/issue-5", "repo": {"id": 42}},
    "base": {"ref": "main"},
    "title": "Add login",
    "body": "",
    "html_url": "https://github.com/acme/shop/pull/6",
}
REPOSITORY = {
    "id": 42,
    "node_id": "R_42",
    "default_branch": "main",
    "private": True,
    "full_name": "acme/shop",
}
COMMIT = {
    "sha": SHA,
    "author": {"login": "gate[bot]", "id": 99},
    "commit": {"message": "Add\n\nPhasegate-Attempt: 3", "tree": {"sha": TREE}},
    "parents": [{"sha": OTHER}],
}


@functools.cache
def private_key() -> str:
    """A PEM key, made once."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode()


def sent(route: respx.Route, nth: int = -1) -> Any:
    """The JSON that a route received."""
    return json.loads(route.calls[nth].request.content)


class Bench:
    """One mocked GitHub with an App, an installation 7 and the repository acme/shop (42)."""

    def __init__(self, mock: respx.MockRouter, api: str = API) -> None:
        self.mock = mock
        self.api = api
        self.now = 1000.0
        self.pauses: list[float] = []
        self.tokens = 0
        self.mint = mock.post(f"{api}/app/installations/7/access_tokens").mock(side_effect=self.new_token)

    def new_token(self, request: httpx.Request) -> httpx.Response:
        """Answer a mint with ghs_1, ghs_2, … that live an hour by GitHub's clock."""
        self.tokens += 1
        body = {"token": f"ghs_{self.tokens}", "expires_at": "2026-11-22T11:00:00Z"}
        return httpx.Response(201, json=body, headers={"date": "Sun, 22 Nov 2026 10:00:00 GMT"})

    def on(self, method: str, path: str, *answers: Any, **pattern: Any) -> respx.Route:
        """Answer a call below the repository with JSON, Responses or exceptions; the last one stays."""
        route = self.mock.request(method, f"{self.api}/repos/acme/shop{path}", **pattern)
        return self.answers(route, *answers)

    def answers(self, route: respx.Route, *answers: Any) -> respx.Route:
        """Give a route its answers in order; the last one stays."""
        queue = list(answers)

        def answer(request: httpx.Request) -> httpx.Response:
            given = queue.pop(0) if len(queue) > 1 else queue[0]
            if isinstance(given, type) and issubclass(given, Exception):
                raise given("broken")
            return given if isinstance(given, httpx.Response) else httpx.Response(200, json=given)

        return route.mock(side_effect=answer)

    def graphql(self, *answers: Any) -> respx.Route:
        """Answer GraphQL."""
        return self.answers(self.mock.post(f"{self.api}/graphql"), *answers)

    async def pause(self, seconds: float) -> None:
        """Let time pass at once."""
        self.pauses.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def github(self) -> GitHub:
        """A GitHub that speaks to this bench."""
        return GitHub(
            app_id="1",
            private_key=private_key(),
            api_url=self.api,
            server_url="https://github.com",
            pause=self.pause,
            clock=lambda: self.now,
        )

    def run(self, work: Callable[[GitHub], Awaitable[Any]]) -> Any:
        """Run work in a loop of its own and close everything after."""

        async def main() -> Any:
            github = self.github()
            try:
                return await work(github)
            finally:
                await github.close()

        return asyncio.run(main())

    def ask(self, work: Callable[[Repository], Awaitable[Any]]) -> Any:
        """Run work on the repository acme/shop."""
        return self.run(lambda github: work(github.repository(7, "acme/shop", 42)))
