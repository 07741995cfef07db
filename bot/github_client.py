"""One careful road to one GitHub: App login, tokens per repository and purpose, retries and waits.

githubkit signs the App in and sends the requests. What it does by itself and what does not suit a bot is
replaced here: its token cache (many mints at once, a dead token kept until it expires), its retries (POST
too, long sleeps), its shared HTTP cache, its missing timeout, its client that only the opening task sees.
"""

import asyncio
import functools
import random
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

import httpx
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from githubkit import AppAuthStrategy, GitHubCore
from githubkit.cache import MemCacheStrategy
from githubkit.config import get_config
from githubkit.exception import RequestError, RequestFailed
from githubkit.throttling import LocalThrottler

from bot.errors import BotError, Denied, Missing, Rejected, SettingsError, Transient
from bot.github_answers import (
    checked_url,
    decoded,
    fault_of,
    graphql_fault,
    graphql_url,
    is_loopback,
    plain_retry_after,
    server_time,
)

TIMEOUT = httpx.Timeout(20, connect=5)
DEADLINE = 60.0
"""Seconds for one request in all, so that a dribbling answer ends too."""
BACKOFF = (0.2, 0.8, 2.0)
SHORT = 2.0
"""The longest `retry-after` we sit out ourselves; longer ones go to the caller's durable timers."""
YOUNG = 5
"""Seconds in which a new token may be unknown to a part of GitHub."""
REFRESH = 600.0
"""Seconds before its end from which a token is no longer given out."""
MAX_SLOTS = 256
CONCURRENCY = 8
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
API_VERSION = "2026-03-10"

PERMISSIONS: Mapping[str, Mapping[str, str]] = {
    "read": {
        "metadata": "read",
        "contents": "read",
        "issues": "read",
        "pull_requests": "read",
        "checks": "read",
        "statuses": "read",
        "actions": "read",
    },
    "talk": {"metadata": "read", "issues": "write", "pull_requests": "write"},
    "write": {"metadata": "read", "contents": "write", "pull_requests": "write"},
    "fetch": {"metadata": "read", "contents": "read"},
    "push": {"metadata": "read", "contents": "write"},
    "rerun": {"metadata": "read", "actions": "write"},
}
OPTIONAL = {("checks", "read"), ("statuses", "read"), ("actions", "read")}
"""What a token is asked for again without, where the installation was not granted it."""
LEVELS = {"read": 1, "write": 2, "admin": 3}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Grant:
    """What a token is for: one repository of one installation, and a key of `PERMISSIONS`."""

    installation_id: int
    repository_id: int
    purpose: str


@dataclass(frozen=True)
class _Call:
    """One call as it was asked for; `url` is a path below the API or an address on its host."""

    method: str
    url: str
    grant: Grant | None = None
    as_app: bool = True
    params: Mapping[str, str | int] | None = None
    json: Any = None
    follow: bool = True


@dataclass
class _Slot:
    """The token of one grant; the lock lets one task mint while the others wait for the result."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    token: str = ""
    minted_at: float = 0.0
    stale_at: float = 0.0
    failures: int = 0
    fault: BotError | None = None


class _Kit(GitHubCore[Any]):
    """githubkit over one connection pool that every task sees; its own hides in a context variable."""

    _pool: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def get_async_client(self) -> AsyncGenerator[httpx.AsyncClient, None]:
        """Lend the one open client of this process."""
        if self._pool is None:
            self._pool = await self._create_async_client()
        yield self._pool

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.aclose()


class _Patience:
    """How often one call is tried: outages by a short back-off, one short wait for a rate limit."""

    def __init__(self, repeatable: bool) -> None:
        self._repeatable = repeatable
        self._outages = iter(BACKOFF)
        self._may_wait = True

    def after_outage(self, *, sent: bool = True) -> float | None:
        """Return the pause before the next try; None where tries are used up or one may have arrived."""
        if sent and not self._repeatable:
            return None
        pause = next(self._outages, None)
        return pause if pause is None else pause * random.uniform(0.5, 1.5)

    def after(self, answer: httpx.Response, fault: Transient) -> float | None:
        """Return the pause after an answer that asks us to come later; None where the caller must decide."""
        wait = fault.retry_after
        if wait is not None and wait > SHORT:
            return None
        if answer.status_code >= 500 or wait is None:
            return self.after_outage()
        allowed, self._may_wait = self._may_wait, False
        return wait if allowed else None


@functools.cache
def _trust(trust_env: bool) -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=trust_env)


@functools.lru_cache(maxsize=4)
def _key(private_key: str) -> RSAPrivateKey:
    """Parse the App's key, once: checking its numbers takes longer than a request."""
    try:
        key = load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError("GITHUB_PRIVATE_KEY is not a readable private key in PEM form.") from error
    if not isinstance(key, RSAPrivateKey):
        raise SettingsError("GITHUB_PRIVATE_KEY is not the RSA key that GitHub gave for the App.")
    return key


class Client:
    """Sends calls to one GitHub, as the App or with a token that reaches one repository."""

    def __init__(
        self,
        *,
        app_id: str,
        private_key: str,
        api_url: str,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # PyJWT takes a parsed key as well, and parses text anew for each JWT.
        key = cast(str, _key(private_key))
        base = checked_url("GITHUB_API_URL", api_url)
        self._local = is_loopback(base.host)
        self._graphql = graphql_url(base)
        self._tls = _trust(not self._local)
        # Enterprise Servers refuse a version they do not know; without the header each takes its own.
        self._headers = {"X-GitHub-Api-Version": API_VERSION} if base.host == "api.github.com" else {}
        config = get_config(
            base_url=base,
            user_agent="phasegate",
            follow_redirects=False,
            timeout=TIMEOUT,
            ssl_verify=self._tls,
            trust_env=not self._local,
            async_event_hooks={"response": [plain_retry_after]},
            # githubkit's default is one store for all Apps of the process, keyed without host or key.
            cache_strategy=MemCacheStrategy(),
            http_cache=False,
            throttler=LocalThrottler(CONCURRENCY),
            auto_retry=False,
        )
        self._as_app = _Kit(AppAuthStrategy(app_id, key), config=config)
        self._as_bearer = _Kit(config=config)
        self._slots: OrderedDict[Grant, _Slot] = OrderedDict()
        self._pause = pause
        self._clock = clock

    async def close(self) -> None:
        """Close all connections and forget all tokens."""
        self._slots.clear()
        await self._as_app.close()
        await self._as_bearer.close()

    async def call(
        self, method: str, url: str, *, repeatable: bool | None = None, **options: Any
    ) -> httpx.Response:
        """Send one call to a path below the API and return the successful answer.

        Options are the fields of `_Call`: with a `grant` the call carries its token, else the App's JWT, or
        nothing where `as_app` is False; with `follow` False a redirect is an answer.
        `repeatable` says that a call may be sent twice without harm, as GET, PUT and DELETE may, and a POST
        whose double GitHub refuses. Anything else is sent again only when it surely did not arrive.
        Raises Transient, Denied, Missing or Rejected.
        """
        call = _Call(method, url, **options)
        patience = _Patience(method in ("GET", "PUT", "DELETE") if repeatable is None else repeatable)
        while True:
            try:
                answer = await self._authorised(call)
            except (httpx.HTTPError, TimeoutError) as error:
                log.debug("github call failed", method=method, path=url, error=type(error).__name__)
                delay = patience.after_outage(sent=not isinstance(error, NOT_SENT))
                if delay is None:
                    raise Transient(f"{type(error).__name__}: {error} ({method} {url})") from error
            else:
                fault = None if answer.is_redirect and not call.follow else fault_of(answer)
                if fault is None:
                    return answer
                if not isinstance(fault, Transient):
                    raise fault
                delay = patience.after(answer, fault)
                if delay is None:
                    raise fault
            await self._pause(delay)

    async def json(self, method: str, url: str, **options: Any) -> Any:
        """Send one call as `call` does and return the JSON of its answer."""
        return decoded(await self.call(method, url, **options))

    async def graphql(
        self, grant: Grant, query: str, variables: Mapping[str, Any], *, repeatable: bool = False
    ) -> dict[str, Any]:
        """Ask GraphQL and return `data`; any error in the answer is raised as one of ours."""
        content = {"query": query, "variables": dict(variables)}
        answer = await self.call("POST", self._graphql, grant=grant, json=content, repeatable=repeatable)
        body = decoded(answer)
        if body.get("errors"):
            raise graphql_fault(answer, body["errors"])
        data: dict[str, Any] = body.get("data") or {}
        return data

    async def tail(self, url: httpx.URL, size: int) -> str:
        """Download a text that GitHub points to, without any credential, and return its last `size` bytes."""
        if url.scheme != "https" and not (self._local and is_loopback(url.host)):
            raise Rejected(f"GitHub points to an address without TLS: {url.host}")
        kept = bytearray()
        plain = httpx.AsyncClient(verify=self._tls, timeout=TIMEOUT, trust_env=not self._local)
        try:
            async with asyncio.timeout(DEADLINE), plain, plain.stream("GET", url) as answer:
                if answer.status_code != 200:
                    gone = answer.status_code in (404, 410)
                    raise (Missing if gone else Transient)(
                        f"HTTP {answer.status_code} ({url.host}{url.path})"
                    )
                async for chunk in answer.aiter_bytes():
                    kept += chunk
                    del kept[:-size]
        except (httpx.HTTPError, TimeoutError) as error:
            raise Transient(f"{type(error).__name__} ({url.host}{url.path})") from error
        return kept.decode(errors="replace")

    async def token(self, grant: Grant) -> str:
        """Return a token that lives at least 10 minutes more; one task mints, the others wait for it."""
        return (await self._fresh(grant)).token

    def any_grant(self) -> Grant | None:
        """Return a grant whose token was used most recently, if there is any."""
        return next(reversed(self._slots), None)

    async def _authorised(self, call: _Call) -> httpx.Response:
        """Send a call with its token; a 401 is met with patience for a young token, then with a new one."""
        if call.grant is None:
            return await self._exchange(self._as_app if call.as_app else self._as_bearer, call)
        naps, dropped = 0, False
        while True:
            slot = await self._fresh(call.grant)
            token = slot.token
            answer = await self._exchange(self._as_bearer, call, token)
            if answer.status_code != 401:
                return answer
            if self._clock() - slot.minted_at < YOUNG and naps < YOUNG:
                naps += 1
                await self._pause(1)
            elif dropped:
                return answer
            else:
                dropped = True
                if slot.token == token:
                    slot.token = ""

    async def _exchange(self, kit: _Kit, call: _Call, token: str = "") -> httpx.Response:
        """Send one request and at most three redirects on the same host (a renamed repository)."""
        for _ in range(4):
            answer = await self._send(kit, call, token)
            if not (call.follow and answer.has_redirect_location):
                break
            there = answer.url.join(answer.headers["location"])
            if (there.scheme, there.netloc) != (answer.url.scheme, answer.url.netloc):
                break
            call = replace(call, url=str(there), params=None)
        return answer

    async def _send(self, kit: _Kit, call: _Call, token: str) -> httpx.Response:
        headers = self._headers | ({"Authorization": f"token {token}"} if token else {})
        started = time.perf_counter()
        try:
            async with asyncio.timeout(DEADLINE):
                answer = await kit.arequest(
                    call.method, call.url, params=call.params, json=call.json, headers=headers
                )
            raw = answer.raw_response
        except RequestFailed as failure:
            raw = failure.response.raw_response
        except RequestError as failure:
            raise failure.exc from failure
        took = round(time.perf_counter() - started, 3)
        log.debug("github call", method=call.method, path=raw.url.path, status=raw.status_code, seconds=took)
        return raw

    async def _fresh(self, grant: Grant) -> _Slot:
        slot = self._slots.setdefault(grant, _Slot())
        self._slots.move_to_end(grant)
        while len(self._slots) > MAX_SLOTS:
            self._slots.popitem(last=False)
        seen = slot.failures
        async with slot.lock:
            if slot.fault and slot.failures != seen:
                # Another task has just asked in vain; its answer holds for those who queued behind it.
                raise slot.fault
            if not slot.token or self._clock() >= slot.stale_at:
                try:
                    await self._mint(grant, slot)
                except BotError as fault:
                    slot.failures += 1
                    slot.fault = fault
                    raise
        return slot

    async def _mint(self, grant: Grant, slot: _Slot) -> None:
        wanted = PERMISSIONS[grant.purpose]
        try:
            answer = await self._ask_token(grant, wanted)
        except Rejected as refusal:
            answer = await self._ask_token(grant, await self._granted(grant, wanted, refusal))
        body = decoded(answer)
        lifetime = (datetime.fromisoformat(body["expires_at"]) - server_time(answer)).total_seconds()
        slot.token, slot.fault = body["token"], None
        slot.minted_at = self._clock()
        slot.stale_at = slot.minted_at + max(lifetime - REFRESH, lifetime / 2)

    async def _ask_token(self, grant: Grant, permissions: Mapping[str, str]) -> httpx.Response:
        path = f"/app/installations/{grant.installation_id:d}/access_tokens"
        body = {"repository_ids": [grant.repository_id], "permissions": dict(permissions)}
        # A token that nobody received does no harm, so this POST may be sent again.
        return await self.call("POST", path, json=body, repeatable=True)

    async def _granted(self, grant: Grant, wanted: Mapping[str, str], refusal: Rejected) -> dict[str, str]:
        """Return those permissions the installation has; Denied names a needed one that it lacks."""
        installation = await self.json("GET", f"/app/installations/{grant.installation_id:d}")
        held = installation["permissions"]
        lacking = [
            (name, level)
            for name, level in wanted.items()
            if LEVELS.get(held.get(name, ""), 0) < LEVELS[level] and name != "metadata"
        ]
        if not lacking:
            raise Missing(f"The installation does not reach this repository: {refusal}") from refusal
        needed = [f"{name}: {level}" for name, level in lacking if (name, level) not in OPTIONAL]
        if needed:
            raise Denied(f"The App's installation lacks the permission {', '.join(needed)}.") from refusal
        return {name: level for name, level in wanted.items() if (name, level) not in lacking}
