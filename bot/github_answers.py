"""What an answer of GitHub means: its words, its rate limits, and which of our errors it is."""

import ipaddress
import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from bot.errors import BotError, Denied, Missing, Rejected, SettingsError, Transient

UNSAID_WAIT = 60.0
"""Seconds to wait when GitHub limits us without saying for how long."""
LIMIT_WORDS = re.compile(r"rate limit|abuse detection|submitted too quickly", re.IGNORECASE)
MAX_WORDS = 600


def is_loopback(host: str) -> bool:
    """Return whether a host is this very machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_url(setting: str, url: str) -> httpx.URL:
    """Return the address of a GitHub host, https or a loopback's http; anything else is a SettingsError."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise SettingsError(f"{setting} is not an address: {error}.") from error
    if not parsed.host or parsed.userinfo or parsed.query or parsed.fragment:
        raise SettingsError(f"{setting} must be a plain address such as https://github.example.org.")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and is_loopback(parsed.host)):
        raise SettingsError(f"{setting} must start with https:// (http:// is for loopback addresses only).")
    return parsed


def graphql_url(api_url: httpx.URL) -> str:
    """Return where GraphQL is asked: `<api>/graphql`, but `/api/graphql` where the API is at `/api/v3`."""
    path = api_url.path.rstrip("/")
    root = path.removesuffix("/v3") if path.endswith("/api/v3") else path
    return str(api_url.copy_with(path=f"{root}/graphql"))


def said(answer: httpx.Response) -> str:
    """Return GitHub's own words in an answer that is an error: its message and its field errors."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return f"HTTP {answer.status_code}"
    parts = [str(body.get("message") or f"HTTP {answer.status_code}")]
    errors = body.get("errors")
    for error in errors if isinstance(errors, list) else []:
        if not isinstance(error, dict):
            parts.append(str(error))
        elif error.get("message"):
            parts.append(str(error["message"]))
        else:
            parts.append(" ".join(str(error[key]) for key in ("field", "code") if error.get(key)))
    return "; ".join(part for part in parts if part)[:MAX_WORDS]


def server_time(answer: httpx.Response) -> datetime:
    """Return the time of an answer by GitHub's clock, where it tells: ours may be wrong."""
    try:
        return parsedate_to_datetime(answer.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return datetime.now(UTC)


def retry_after(answer: httpx.Response) -> float | None:
    """Return the `retry-after` of an answer in seconds, from a number or a date; None without one."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value).astimezone(UTC)
    except ValueError:
        return None
    return max(0.0, (until - server_time(answer)).total_seconds())


async def plain_retry_after(answer: httpx.Response) -> None:
    """Write the `retry-after` of an answer as a number: githubkit's int() would fail on a date."""
    if "retry-after" in answer.headers:
        wait = retry_after(answer)
        answer.headers["retry-after"] = str(math.ceil(UNSAID_WAIT if wait is None else wait))


def limit_of(answer: httpx.Response) -> float | None:
    """Return the seconds to wait when an answer is a rate limit (header, message or bare 429), else None."""
    wait = retry_after(answer)
    if wait is not None:
        return wait
    reset = answer.headers.get("x-ratelimit-reset", "")
    if answer.headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
        return max(1.0, int(reset) - server_time(answer).timestamp())
    if answer.status_code == 429 or LIMIT_WORDS.search(said(answer)):
        return UNSAID_WAIT
    return None


def fault_of(answer: httpx.Response) -> BotError | None:
    """Return what an answer means as one of our errors, or None for success."""
    status = answer.status_code
    if status < 300:
        return None
    words = f"{said(answer)} ({answer.request.method} {answer.url.path})"
    if status == 408 or status >= 500:
        return Transient(words, retry_after=retry_after(answer))
    if status in (403, 429):
        wait = limit_of(answer)
        if wait is not None:
            return Transient(words, retry_after=wait)
    if status in (401, 403, 451):
        needed = answer.headers.get("x-accepted-github-permissions")
        return Denied(f"{words}; needs {needed}" if needed else words)
    if status in (404, 410) or status < 400:
        return Missing(words)
    return Rejected(words, status=status)


def graphql_fault(answer: httpx.Response, errors: list[dict[str, Any]]) -> BotError:
    """Return the errors of a GraphQL answer as one of our errors; GitHub sends them with status 200."""
    words = "; ".join(str(error.get("message", "")) for error in errors)[:MAX_WORDS]
    kinds = {str(error.get("type", "")).upper() for error in errors}
    if kinds & {"RATE_LIMIT", "RATE_LIMITED"} or LIMIT_WORDS.search(words):
        return Transient(words, retry_after=limit_of(answer) or UNSAID_WAIT)
    if kinds & {"SERVICE_UNAVAILABLE", "INTERNAL", "INTERNAL_ERROR"} or "Something went wrong" in words:
        return Transient(words)
    if kinds & {"FORBIDDEN", "INSUFFICIENT_SCOPES"} or "not accessible by integration" in words:
        return Denied(words)
    if "NOT_FOUND" in kinds:
        return Missing(words)
    return Rejected(words)


def decoded(answer: httpx.Response) -> Any:
    """Return the JSON of an answer; a page of some proxy in its place is Transient."""
    try:
        return answer.json()
    except ValueError as error:
        raise Transient(f"GitHub's answer is not JSON ({answer.request.method} {answer.url.path})") from error
