"""The frame of the REST API: what a handler is given, what it answers, routes, pages of a list."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import unquote, urlencode

from localhub.objects import Commit
from localhub.records import Actor, App, Installation, Json, Repository
from localhub.refusals import Refusal, bad_credentials, invalid, not_accessible, not_found, unprocessable
from localhub.state import State
from localhub.tokens import Caller

T = TypeVar("T")


@dataclass
class Answer:
    """What goes back: JSON, text or bytes, with a status and headers."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """One request as a handler sees it."""

    state: State
    caller: Caller
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes
    params: dict[str, str] = field(default_factory=dict)

    @cached_property
    def json(self) -> Json:
        """The request's body, an object; refuses anything else with 400."""
        if not self.content:
            return {}
        try:
            body = json.loads(self.content)
        except ValueError as error:
            raise Refusal(400, "Problems parsing JSON") from error
        if not isinstance(body, dict):
            raise Refusal(400, "Body should be a JSON object")
        return body

    @cached_property
    def repository(self) -> Repository:
        """The repository of the path; refuses with 404 one that the caller may not see."""
        found = self.state.repository(f"{self.params['owner']}/{self.params['repo']}")
        if not self.caller.sees(found):
            raise not_found()
        return found

    @property
    def number(self) -> int:
        """The `{number}` of the path."""
        return int(self.params["number"])

    @property
    def actor(self) -> Actor:
        """Who acts."""
        return self.caller.actor

    @property
    def permissions(self) -> dict[str, str] | None:
        """The permissions of an App's token; None for a person."""
        return self.caller.token.permissions if self.caller.token else None

    @property
    def app(self) -> App:
        """The App that asks by its JWT."""
        if not self.caller.app:
            raise bad_credentials()
        return self.caller.app

    @property
    def installation(self) -> Installation:
        """The installation whose token asks."""
        if not self.caller.token:
            raise not_accessible(self.caller.app is not None)
        return self.caller.token.installation

    def text(self, name: str, resource: str) -> str:
        """Return a required text field of the body; refuses with 422 when it is missing."""
        value = self.json.get(name)
        if not isinstance(value, str):
            raise invalid(resource, name, "missing_field" if value is None else "invalid")
        return value

    def commit(self, ref: str) -> Commit:
        """Return the commit of a SHA, branch, tag or ref; refuses with 422 when there is none."""
        name = resolve(self.repository, ref)
        commit = self.repository.objects.commit(name) if name else None
        if not commit:
            raise unprocessable(f"No commit found for SHA: {ref}")
        return commit

    def page(self, items: Sequence[T]) -> tuple[Sequence[T], dict[str, str]]:
        """Return the asked page of a list and the `Link` header that leads to the others."""
        size = min(max(_number(self.query.get("per_page"), 30), 1), 100)
        page = max(_number(self.query.get("page"), 1), 1)
        last = max((len(items) + size - 1) // size, 1)
        targets: dict[str, int] = {}
        if page > 1:
            targets |= {"prev": min(page - 1, last), "first": 1}
        if page < last:
            targets |= {"next": page + 1, "last": last}
        links = [f'<{self._url(page=number)}>; rel="{name}"' for name, number in targets.items()]
        headers = {"Link": ", ".join(links)} if links else {}
        return items[(page - 1) * size : page * size], headers

    def _url(self, **changes: int) -> str:
        query = dict(self.query) | {key: str(value) for key, value in changes.items()}
        return f"{self.state.api_url}{self.path}?{urlencode(query)}"

    def listing(self, items: Sequence[T], show: Callable[[T], Json], key: str = "") -> Answer:
        """Answer with a page of a list, bare or under `key` beside its `total_count`."""
        chosen, headers = self.page(items)
        shown = [show(item) for item in chosen]
        body: Any = {"total_count": len(items), key: shown} if key else shown
        return Answer(body, headers=headers)


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdigit() else default


def resolve(repository: Repository, ref: str) -> str | None:
    """Return the object that a SHA (also a short one), branch, tag or ref below `refs/` stands for."""
    if re.fullmatch(r"[0-9a-f]{40}", ref):
        return ref if repository.objects.kind(ref) else None
    if ref == "HEAD":
        return repository.objects.resolve(f"refs/heads/{repository.default_branch}")
    for prefix in ("refs/heads/", "refs/tags/", "refs/", ""):
        if prefix or ref.startswith("refs/"):
            found = repository.objects.resolve(prefix + ref)
            if found:
                return found
    return repository.objects.resolve(ref) if re.fullmatch(r"[0-9a-f]{7,39}", ref) else None


Handler = Callable[[Call], Answer]


@dataclass(frozen=True)
class Route:
    """One endpoint: method, path, who may ask, and the function that answers."""

    method: str
    pattern: re.Pattern[str]
    needs: tuple[str, ...]
    handler: Handler


class Routes:
    """A list of endpoints that a module registers with a decorator; the first that fits answers."""

    def __init__(self) -> None:
        self.entries: list[Route] = []

    def on(self, method: str, path: str, *needs: str) -> Callable[[Handler], Handler]:
        """Register an endpoint; `needs` are alternatives: `contents:read`, `app`, `installation`, `open`."""
        pattern = re.sub(r"\{(\w+):path\}", r"(?P<\1>.+)", path)
        pattern = re.sub(r"\{(number|id)\}", r"(?P<\1>[0-9]{1,18})", pattern)
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)

        def register(handler: Handler) -> Handler:
            self.entries.append(Route(method, re.compile(pattern), needs or ("metadata:read",), handler))
            return handler

        return register


class Api:
    """All endpoints together."""

    def __init__(self, *parts: Routes) -> None:
        self._routes: dict[str, list[Route]] = {}
        for part in parts:
            for route in part.entries:
                self._routes.setdefault(route.method, []).append(route)

    def answer(self, call: Call) -> Answer:
        """Find the endpoint, check who asks, and let it answer; raises Refusal."""
        for route in self._routes.get("GET" if call.method == "HEAD" else call.method, []):
            match = route.pattern.fullmatch(call.path)
            if match:
                call.params = {key: unquote(value) for key, value in match.groupdict().items()}
                _admit(call, route.needs)
                return route.handler(call)
        raise not_found()


def _admit(call: Call, needs: tuple[str, ...]) -> None:
    caller = call.caller
    if "open" in needs:
        return
    if "app" in needs:
        if not caller.by_jwt:
            raise Refusal(401, "A JSON web token could not be decoded")
        return
    if caller.by_jwt:
        raise Refusal(401, "Bad credentials")
    if "installation" in needs:
        if not caller.token:
            raise Refusal(
                403, "You must authenticate with an installation access token in order to call this endpoint."
            )
        return
    caller.need(call.repository, *needs)
