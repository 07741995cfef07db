"""The HTTP server: one ASGI application for REST, GraphQL, Git and pages, and uvicorn in a thread."""

import asyncio
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

import uvicorn
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from localhub import (
    graphql,
    manifests,
    pages,
    rest_apps,
    rest_checks,
    rest_git,
    rest_issues,
    rest_pulls,
    rest_repos,
    smart_http,
)
from localhub.faults import FaultRule
from localhub.hub import Hub
from localhub.refusals import Refusal, bad_credentials, not_found
from localhub.rest import Answer, Api, Call
from localhub.state import Request, State
from localhub.tokens import NOBODY, Caller, identify

# Narrow paths first: a branch's name may hold slashes and would swallow what follows it.
API = Api(
    rest_apps.routes,
    manifests.routes,
    rest_issues.routes,
    rest_pulls.routes,
    rest_checks.routes,
    rest_git.routes,
    rest_repos.routes,
)
PREFIX = "/api/v3"
GRAPHQL = ("/api/graphql", "/api/v3/graphql")
GIT = re.compile(
    r"/(?P<name>[\w.-]+/[\w.-]+?)(?:\.git)?/(?P<tail>info/refs|git-upload-pack|git-receive-pack)"
)
LIMIT = 5000
GRACE = 2
BODY_LIMIT = 150_000_000
UNICORN = (
    "<html><head><title>Unicorn!</title></head><body>This page is taking too long to load.</body></html>"
)


class Application:
    """The ASGI application of one hub."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.pages = pages.router(state)
        self.used: dict[str, int] = {}
        self.hour = int(time.time()) + 3600

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        if path in GRAPHQL:
            await self._api(path, "/graphql", scope, receive, send)
        elif path.startswith(f"{PREFIX}/"):
            short = path.removeprefix(PREFIX)
            await self._api(path, f"{short}?{query}" if query else short, scope, receive, send)
        else:
            await self._other(path, f"{path}?{query}" if query else path, scope, receive, send)

    # REST and GraphQL.

    async def _api(self, path: str, shown: str, scope: Scope, receive: Receive, send: Send) -> None:
        request = HttpRequest(scope, receive)
        try:
            content = await request.body()
        except ClientDisconnect:
            return
        label = shown
        if path in GRAPHQL:
            label = f"/graphql {_first_field(content)}"
        await self._pause(label)
        who, fault = "", self._fault(request.method, label, after=False)
        if not fault:
            who, answer = await run_in_threadpool(self._answer, request, path, content)
            fault = self._fault(request.method, label, after=True)
        if fault:
            answer = fault
        self._log(request.method, label, answer.status, who)
        response = self._response(request, answer, who)
        try:
            await response(scope, receive, send)
        except ClientDisconnect:
            return

    def _answer(self, request: HttpRequest, path: str, content: bytes) -> tuple[str, Answer]:
        state, caller = self.state, NOBODY
        with state.lock:
            try:
                caller = identify(state, request.headers.get("authorization", ""))
                call = self._call(request, path, content, caller)
                if path in GRAPHQL:
                    if request.method != "POST":
                        raise not_found()
                    if caller.by_jwt:
                        raise bad_credentials()
                    return caller.name, graphql.answer(call)
                if there := state.moved_path(call.path):
                    return caller.name, _moved(state, request, there)
                return caller.name, API.answer(call)
            except Refusal as refusal:
                return caller.name, Answer(refusal.body(), refusal.status)

    def _call(self, request: HttpRequest, path: str, content: bytes, caller: Caller) -> Call:
        if len(content) > BODY_LIMIT:
            raise Refusal(413, "Payload too large")
        query = dict(parse_qsl(request.url.query, keep_blank_values=True))
        short = path.removeprefix(PREFIX).rstrip("/") or "/"
        return Call(self.state, caller, request.method, short, query, request.headers, content)

    def _response(self, request: HttpRequest, answer: Answer, who: str) -> Response:
        body, kind = _encode(answer.body)
        headers = self._limits(who) | {"Content-Type": kind} | answer.headers
        headers |= {
            "X-GitHub-Media-Type": "github.v3; format=json",
            "X-GitHub-Request-Id": hashlib.sha1(f"{time.time()}".encode()).hexdigest()[:16].upper(),
            "X-GitHub-Enterprise-Version": "3.21.0",
            "Server": "GitHub.com",
        }
        if request.method in ("GET", "HEAD") and answer.status == 200:
            tag = f'W/"{hashlib.sha256(who.encode() + body).hexdigest()}"'
            headers |= {"ETag": tag, "Vary": "Accept, Authorization, Cookie, X-GitHub-OTP"}
            headers |= {"Cache-Control": "private, max-age=60, s-maxage=60"}
            asked = request.headers.get("if-none-match", "")
            if tag.removeprefix("W/") in asked.replace("W/", ""):
                headers.pop("Content-Type")
                return Response(status_code=304, headers=headers)
        if answer.status in (204, 304):
            headers.pop("Content-Type")
            return Response(status_code=answer.status, headers=headers)
        return Response(b"" if request.method == "HEAD" else body, answer.status, headers)

    def _limits(self, who: str) -> dict[str, str]:
        if time.time() > self.hour:
            self.used.clear()
            self.hour = int(time.time()) + 3600
        self.used[who] = used = self.used.get(who, 0) + 1
        return {
            "X-RateLimit-Limit": str(LIMIT),
            # Tests may ask for more than an hour's share; nothing blocks them, so nothing says it will.
            "X-RateLimit-Remaining": str(max(LIMIT - used, 100)),
            "X-RateLimit-Used": str(used),
            "X-RateLimit-Reset": str(self.hour),
            "X-RateLimit-Resource": "core",
        }

    # Git and pages.

    async def _other(self, path: str, shown: str, scope: Scope, receive: Receive, send: Send) -> None:
        await self._pause(shown)
        fault = self._fault(scope["method"], shown, after=False)
        match = GIT.fullmatch(unquote(path))
        who = ""
        if fault:
            body, kind = _encode(fault.body)
            status = fault.status
            await Response(body, status, {"Content-Type": kind} | fault.headers)(scope, receive, send)
        elif match:
            status, who = await smart_http.answer(
                self.state, match["name"], match["tail"], scope, receive, send
            )
        else:
            await self.pages(scope, receive, send)
            return
        self._log(scope["method"], shown, status, who)

    async def _pause(self, path: str) -> None:
        delay = self.state.faults.delay(path)
        if delay:
            await asyncio.sleep(delay)

    def _fault(self, method: str, path: str, after: bool) -> Answer | None:
        faults = self.state.faults
        if faults.down:
            return Answer(UNICORN, 503, {"Content-Type": "text/html"})
        rule: FaultRule | None = faults.take(method, path, after=after)
        if not rule:
            return None
        kind = {"Content-Type": "text/html"} if isinstance(rule.body, str) else {}
        return Answer(rule.body, rule.status, kind | rule.headers)

    def _log(self, method: str, path: str, status: int, who: str) -> None:
        self.state.requests.append(Request(self.state.now(), method, path, status, who))


def _moved(state: State, request: HttpRequest, there: str) -> Answer:
    """Return the redirect to a repository's present name."""
    query = f"?{request.url.query}" if request.url.query else ""
    status = 301 if request.method == "GET" else 307
    return Answer({"message": "Moved Permanently"}, status, {"Location": f"{state.api_url}{there}{query}"})


def _first_field(content: bytes) -> str:
    try:
        text = str(json.loads(content).get("query"))
    except (ValueError, AttributeError):
        return ""
    found = re.search(r"\{\s*(?:\w+\s*:\s*)?(\w+)", text)
    return found[1] if found else ""


def _encode(body: Any) -> tuple[bytes, str]:
    if body is None:
        return b"", "application/json; charset=utf-8"
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="surrogatepass"), "application/json; charset=utf-8"


@dataclass(frozen=True)
class Server:
    """A running server: where it answers."""

    url: str

    @property
    def api_url(self) -> str:
        """Where the REST API answers."""
        return f"{self.url}/api/v3"


class _Runner(uvicorn.Server):
    """uvicorn that stops when told, where it would look every tenth of a second: tests start many."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """End the server from another thread."""
        self.should_exit = True
        if self._loop and self._stopping:
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def main_loop(self) -> None:
        """Tick until told to stop."""
        self._loop, self._stopping, counter = asyncio.get_running_loop(), asyncio.Event(), 0
        while not await self.on_tick(counter):
            counter += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), 0.1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listener, let open requests end for a moment, and cancel the rest."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        end = time.monotonic() + GRACE
        while (self.server_state.connections or self.server_state.tasks) and time.monotonic() < end:
            await asyncio.sleep(0.002)
        for task in self.server_state.tasks:
            task.cancel()


@contextmanager
def serve(hub: Hub, port: int = 0, host: str = "127.0.0.1") -> Iterator[Server]:
    """Serve a hub over HTTP from a thread; leaving closes the server and stops the hub's background work."""
    listener = socket.create_server((host, port))
    # Accepted connections inherit it; without it each answer waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = Server(f"http://{host}:{listener.getsockname()[1]}")
    hub.state.url = server.url
    config = uvicorn.Config(
        Application(hub.state),
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        loop="asyncio",
        server_header=False,
    )
    runner = _Runner(config)
    thread = threading.Thread(target=runner.run, kwargs={"sockets": [listener]}, name="localhub", daemon=True)
    thread.start()
    try:
        while not runner.started and thread.is_alive():
            time.sleep(0.002)
        yield server
    finally:
        runner.stop()
        thread.join(10)
        listener.close()
        hub.close()
