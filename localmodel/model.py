"""The simulated model: takes a request, remembers it, and says what is answered."""

import hashlib
import itertools
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localmodel import validation
from localmodel.catalogue import find, shows_thinking, thinks
from localmodel.errors import ApiError
from localmodel.faults import PAGE, Fault, Step, refusal, steps
from localmodel.matching import Matcher
from localmodel.prompt import JSON, digest, prefixes, segments, tokens
from localmodel.scenario import Pace, Scenario, Turn
from localmodel.signatures import call_id, sign
from localmodel.streaming import Block, Reply
from localmodel.usage import Cache

REQUESTS_PER_MINUTE = 4000
_EMPTY = Turn(say="Nothing was written for this request.")


@dataclass
class Request:
    """One request as it came, refused ones too.

    `outcome` is `replied`, the kind of the fault that was served, or `invalid`, `unmatched`, `exhausted`,
    `unexpected` with the reason in `detail`; `closed_at` is set when the client closed its stream early.
    """

    at: float
    headers: Mapping[str, str]
    digest: str
    conversation: str | None = None
    turn: int | None = None
    model: str | None = None
    body: JSON = field(default_factory=dict)
    outcome: str = "open"
    detail: str = ""
    closed_at: float | None = None

    def summary(self) -> JSON:
        """Return the request as `GET /_requests` tells it."""
        told = ("at", "conversation", "turn", "model", "outcome", "detail", "digest", "closed_at")
        return {name: getattr(self, name) for name in told}


@dataclass(frozen=True)
class Answer:
    """What is answered: a document, or steps of a stream after `delay` seconds, `between` seconds apart."""

    request: Request
    status: int
    headers: dict[str, str]
    document: JSON | str = ""
    stream: tuple[Step, ...] = ()
    delay: float = 0.0
    between: float = 0.0


@dataclass
class _Injection:
    """A fault from outside and the requests it waits for; None waits for any."""

    fault: Fault
    conversation: str | None
    turn: int | None
    model: str | None
    left: int

    def waits_for(self, request: Request) -> bool:
        wanted = (self.conversation, self.turn, self.model)
        return self.left > 0 and all(
            value is None or value == actual
            for value, actual in zip(wanted, (request.conversation, request.turn, request.model), strict=True)
        )


class Model:
    """A simulated model over one scenario. `pace` multiplies the scenario's own delays."""

    def __init__(self, scenario: Path | Scenario | None = None, *, pace: float = 1.0) -> None:
        self.pace = pace
        self.requests: list[Request] = []
        self.open_streams = 0
        self.silent: set[str] = set()
        """Conversations whose replies are held back until they are taken out of here."""
        self._cache = Cache()
        self._injections: list[_Injection] = []
        self._lock = threading.Lock()
        self._matcher = Matcher(None)
        self.load(scenario)

    def load(self, scenario: Path | Scenario | None) -> None:
        """Go over to another scenario; its faults and counts start afresh. Raises ScenarioError."""
        self._matcher = Matcher(Scenario.load(scenario) if isinstance(scenario, Path) else scenario)

    def inject(
        self,
        fault: str | Fault,
        *,
        conversation: str | None = None,
        turn: int | None = None,
        model: str | None = None,
        **fields: Any,
    ) -> None:
        """Let the next `times` matching requests get a fault with `fields`, or raise ValueError."""
        wanted = fault if isinstance(fault, Fault) else Fault.model_validate({"kind": fault, **fields})
        with self._lock:
            self._injections.append(_Injection(wanted, conversation, turn, model, wanted.times))

    def answer(self, raw: bytes, headers: Mapping[str, str]) -> Answer:
        """Record one request and return what is answered to it; header names are lower case."""
        request = Request(time.time(), dict(headers), hashlib.sha256(raw).hexdigest())
        self.requests.append(request)
        try:
            validation.check_headers(headers)
            body = request.body = validation.read(raw)
            request.model = str(body.get("model"))
            validation.check(body)
            return self._reply(request)
        except ApiError as error:
            request.outcome, request.detail = error.outcome, error.message
            sent = {**self._headers(), **error.headers}
            return Answer(request, error.status, sent, error.body(sent["request-id"]))

    def _reply(self, request: Request) -> Answer:
        body = request.body
        place = self._matcher.place(body)
        request.conversation, request.turn = place.name, place.turn
        fault = self._injected(request)
        if fault is None:
            self._matcher.check_expectation(place, body)
            fault = self._matcher.due_fault(place)
        request.outcome = fault.kind if fault else "replied"
        if fault and (error := refusal(fault, find(body["model"]))):
            raise error
        if fault and fault.kind == "html":
            return Answer(request, 200, {"content-type": "text/html; charset=utf-8"}, PAGE)
        turn = _EMPTY if place.problem else place.script
        reply = self._compose(turn, body, cut=bool(fault and fault.cuts_reply))
        pace = self._matcher.scenario.pace if self._matcher.scenario else Pace()
        return Answer(
            request,
            200,
            self._headers(),
            stream=tuple(steps(reply, fault)),
            delay=(pace.first_byte + turn.delay) * self.pace,
            between=pace.between * self.pace,
        )

    def _injected(self, request: Request) -> Fault | None:
        with self._lock:
            for injection in self._injections:
                if injection.waits_for(request):
                    injection.left -= 1
                    return injection.fault
        return None

    def _compose(self, turn: Turn, body: JSON, *, cut: bool) -> Reply:
        """Write the reply; its ids hang only on conversation, turn and content, as do those of a repeat."""
        content = tuple(_content(turn, body, cut=cut))
        default = "tool_use" if turn.use else "end_turn"
        return Reply(
            id=f"msg_01{digest(prefixes(body)[-1], *(block.text for block in content))[:22]}",
            model=body["model"],
            content=content,
            stop_reason=turn.stop or default,
            usage=self._cache.charge(body["model"], segments(body)),
        )

    def _headers(self) -> dict[str, str]:
        """Return the headers of every answer: request id and what is left of the rate limits."""
        recent = itertools.takewhile(lambda request: request.at > time.time() - 60, reversed(self.requests))
        used = sum(1 for _ in recent)
        reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
        headers = {"request-id": f"req_01{digest(str(len(self.requests)), str(id(self)))[:22]}"}
        for name, limit in (
            ("requests", REQUESTS_PER_MINUTE),
            ("input-tokens", 2_000_000),
            ("output-tokens", 400_000),
        ):
            left = max(0, limit - used * limit // REQUESTS_PER_MINUTE)
            headers[f"anthropic-ratelimit-{name}-limit"] = str(limit)
            headers[f"anthropic-ratelimit-{name}-remaining"] = str(left)
            headers[f"anthropic-ratelimit-{name}-reset"] = reset
        return headers


def _content(turn: Turn, body: JSON, *, cut: bool) -> list[Block]:
    found: list[Block] = []
    model, prefix = body["model"], prefixes(body)[-1]
    if turn.think is not None and thinks(body):
        shown = turn.think if shows_thinking(body) else ""
        signature = sign(model, prefix, shown)
        found.append(Block("thinking", shown, signature=signature, thought_tokens=tokens(turn.think)))
    if turn.say is not None:
        found.append(Block("text", turn.say))
    for index, entry in enumerate(turn.use):
        for name, given in entry.items():
            written = json.dumps(given, ensure_ascii=False)
            call = call_id(model, prefix, digest(str(index), name, written), cut=cut)
            found.append(Block("tool_use", written, id=call, name=name))
    return found
