"""Which turn of the scenario a request asks for: read from the request alone, but for `when.nth`."""

import re
from collections import Counter
from dataclasses import dataclass

from localmodel.errors import ApiError, invalid
from localmodel.faults import Fault
from localmodel.prompt import JSON, blocks, identity, text
from localmodel.scenario import Conversation, Expect, Scenario, Turn, When
from localmodel.signatures import was_cut


@dataclass(frozen=True)
class Place:
    """Where in the scenario a request stands; `turn` counts from 0."""

    turn: int
    conversation: Conversation | None = None
    problem: ApiError | None = None

    @property
    def name(self) -> str | None:
        """Return the conversation's name."""
        return self.conversation.name if self.conversation else None

    @property
    def script(self) -> Turn:
        """Return what the scenario says here, raising the problem where it says nothing."""
        if self.problem is not None or self.conversation is None:
            raise self.problem or invalid("no conversation", outcome="unmatched")
        return self.conversation.turns[self.turn]


class Matcher:
    """Finds the place of a request in one scenario and counts the faults that were served there."""

    def __init__(self, scenario: Scenario | None) -> None:
        self.scenario = scenario
        self._seen: dict[str, list[str]] = {}
        self._served: Counter[tuple[str | None, int, int]] = Counter()

    def place(self, body: JSON) -> Place:
        """Return the place of a valid request."""
        turn = sum(
            1 for message in body["messages"] if message["role"] == "assistant" and not was_cut(message)
        )
        conversation = self._conversation(body)
        if conversation is None:
            return Place(turn, problem=self._unmatched(body))
        if turn < len(conversation.turns):
            return Place(turn, conversation)
        problem = invalid(
            f"{self._scenario_name()}, conversation `{conversation.name}`: turn {turn} was asked for, "
            f"but it has only {len(conversation.turns)} (they count from 0)",
            outcome="exhausted",
        )
        return Place(turn, conversation, problem)

    def due_fault(self, place: Place) -> Fault | None:
        """Return the fault that this request of a turn gets, and count it as served."""
        for index, fault in enumerate(place.script.faults):
            key = (place.name, place.turn, index)
            if self._served[key] < fault.times:
                self._served[key] += 1
                return fault
        return None

    def check_expectation(self, place: Place, body: JSON) -> None:
        """Raise a 400 where the client's last tool results are not what the turn expects."""
        expected = place.script.expect
        if expected is None:
            return
        results = [b for b in blocks(body["messages"][-1]["content"]) if b["type"] == "tool_result"]
        if not _meets(expected, results):
            got = [f"{'error: ' if b.get('is_error') else ''}{text(b.get('content'))[:500]}" for b in results]
            raise invalid(
                f"{self._scenario_name()}, conversation `{place.name}`, turn {place.turn}: expected results "
                f"{expected.model_dump(exclude_none=True)}, got {got}",
                outcome="unexpected",
            )

    def _conversation(self, body: JSON) -> Conversation | None:
        tools = {tool["name"] for tool in body.get("tools") or []}
        words = text(body["messages"][0]["content"])
        fitting = [
            conversation
            for conversation in (self.scenario.conversations if self.scenario else [])
            if conversation.when.fits(tools, words, body["model"])
        ]
        # Counted for every `nth` it fits, so that the count does not hang on the order in the file.
        known = identity(body)
        for key in {_without_nth(conversation.when) for conversation in fitting}:
            seen = self._seen.setdefault(key, [])
            if known not in seen:
                seen.append(known)
        for conversation in fitting:
            nth = conversation.when.nth
            if nth is None or self._seen[_without_nth(conversation.when)].index(known) + 1 == nth:
                return conversation
        return None

    def _unmatched(self, body: JSON) -> ApiError:
        tools = ", ".join(tool["name"] for tool in body.get("tools") or []) or "none"
        words = text(body["messages"][0]["content"])[:200]
        return invalid(
            f"{self._scenario_name()} has no conversation for this request: model {body['model']}, "
            f"tools {tools}, first message {words!r}",
            outcome="unmatched",
        )

    def _scenario_name(self) -> str:
        return f"scenario `{self.scenario.name}`" if self.scenario else "the empty scenario"


def _without_nth(when: When) -> str:
    return when.model_dump_json(exclude={"nth"})


def _meets(expected: Expect, results: list[JSON]) -> bool:
    """Say whether one result matches; with `is_error: false` no result may be an error."""
    if expected.is_error is False and any(result.get("is_error") for result in results):
        return False
    considered = [r for r in results if r.get("is_error")] if expected.is_error else results
    pattern = expected.last_result or ""
    return any(re.search(pattern, text(result.get("content"))) for result in considered)
