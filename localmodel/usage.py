"""What a request is charged: cache reads, cache writes and the uncached rest."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localmodel.prompt import Segment

MINIMUM = 512  # tokens; shorter prefixes are not cached
LOOK_BACK = 20  # blocks before a breakpoint in which an earlier entry is found
SECONDS = {"5m": 300.0, "1h": 3600.0}


@dataclass(frozen=True)
class InputUsage:
    """The input side of one request, in tokens; `uncached` is the remainder behind the last breakpoint."""

    uncached: int
    read: int
    written_5m: int
    written_1h: int

    def counts(self) -> dict[str, Any]:
        """Return the counts that both the first and the last event of a stream carry."""
        return {
            "input_tokens": self.uncached,
            "cache_creation_input_tokens": self.written_5m + self.written_1h,
            "cache_read_input_tokens": self.read,
        }

    def opening(self) -> dict[str, Any]:
        """Return the usage of `message_start`."""
        split = {"ephemeral_5m_input_tokens": self.written_5m, "ephemeral_1h_input_tokens": self.written_1h}
        return {**self.counts(), "cache_creation": split, "output_tokens": 1, "service_tier": "standard"}


class Cache:
    """The prompt cache: prefixes that earlier requests wrote at their breakpoints, until they expire."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._expires: dict[tuple[str, str], float] = {}

    def charge(self, model: str, prompt: list[Segment]) -> InputUsage:
        """Account for one request: read the longest known prefix, write the rest up to each breakpoint."""
        upto = [0]
        for segment in prompt:
            upto.append(upto[-1] + segment.tokens)
        breakpoints = [i for i, segment in enumerate(prompt) if segment.ttl and upto[i + 1] >= MINIMUM]
        done = upto[self._known(model, prompt, breakpoints) + 1]
        read = done
        written = {"5m": 0, "1h": 0}
        for index in breakpoints:
            ttl = prompt[index].ttl or "5m"
            entry = (model, prompt[index].digest)
            self._expires[entry] = max(self._expires.get(entry, 0), self._clock() + SECONDS[ttl])
            if upto[index + 1] > done:
                written[ttl] += upto[index + 1] - done
                done = upto[index + 1]
        return InputUsage(upto[-1] - done, read, written["5m"], written["1h"])

    def _known(self, model: str, prompt: list[Segment], breakpoints: list[int]) -> int:
        """Return the index of the last segment that can be read, -1 for none."""
        for index in reversed(breakpoints):
            for earlier in range(index, max(-1, index - LOOK_BACK - 1), -1):
                if self._expires.get((model, prompt[earlier].digest), 0) > self._clock():
                    return earlier
        return -1
