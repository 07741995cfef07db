"""Cache reads and writes follow the real overlap of prompts at their breakpoints."""

from typing import Any

import anthropic
import pytest

from localmodel.prompt import segments
from localmodel.usage import Cache, InputUsage
from tests.localmodel.talk import JSON, Start, request, tool

READ = {"use": [{"read_file": {"path": "a.py"}}]}
MARK = {"type": "ephemeral"}


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def charged(cache: Cache, model: str = "claude-opus-5-5", **changes: Any) -> InputUsage:
    """Charge one request and return its usage."""
    return cache.charge(model, segments(request(**changes)))


def size(**changes: Any) -> int:
    """Return all tokens of a request."""
    return sum(segment.tokens for segment in segments(request(**changes)))


def test_a_first_request_writes_up_to_each_breakpoint_with_its_own_time_to_live() -> None:
    usage = charged(Cache())
    header = segments(request())[:3]

    assert usage.written_1h == sum(segment.tokens for segment in header)
    assert usage.written_5m == size() - usage.written_1h > 0
    assert (usage.read, usage.uncached) == (0, 0)


def test_the_same_request_is_read_whole() -> None:
    cache = Cache()
    charged(cache)

    assert charged(cache) == InputUsage(uncached=0, read=size(), written_5m=0, written_1h=0)


def test_what_stands_behind_the_last_breakpoint_is_uncached() -> None:
    cache = Cache()

    first, second = charged(cache, cache_control=None), charged(cache, cache_control=None)

    assert first.uncached == second.uncached == segments(request())[-1].tokens
    assert second.read == first.written_1h


def test_a_marker_of_the_last_block_s_own_goes_before_the_automatic_one() -> None:
    marked = [{"type": "text", "text": "begin", "cache_control": {**MARK, "ttl": "1h"}}]

    usage = charged(Cache(), messages=[{"role": "user", "content": marked}])

    assert usage.written_5m == 0
    assert usage.written_1h > 512


def test_a_conversation_reads_what_it_wrote_and_writes_only_the_new(start: Start) -> None:
    talk = start(READ, READ, READ)

    usages = [talk.go_on().usage for _ in range(3)]

    totals = [(u.cache_read_input_tokens or 0) + (u.cache_creation_input_tokens or 0) for u in usages]
    assert [u.input_tokens for u in usages] == [0, 0, 0]
    assert [u.cache_read_input_tokens for u in usages] == [0, *totals[:2]]
    assert 0 < (usages[1].cache_creation_input_tokens or 0) < 300


def test_a_changed_header_reads_nothing() -> None:
    cache = Cache()
    charged(cache)

    assert charged(cache, tools=[tool("read_file"), tool("finish_phase")]).read == 0


def test_another_conversation_under_the_same_header_reads_the_header() -> None:
    cache = Cache()
    first = charged(cache)

    assert charged(cache, messages=[{"role": "user", "content": "Phase 2"}]).read == first.written_1h


def test_models_share_no_cache() -> None:
    cache = Cache()
    charged(cache)

    assert charged(cache, model="claude-sonnet-5-5").read == 0


def test_a_short_prefix_is_not_cached() -> None:
    small: JSON = {"tools": [], "system": "x" * 1900}

    assert charged(Cache(), **small).written_5m == 0
    assert charged(Cache(), **{**small, "system": "x" * 2100}).written_5m > 512


@pytest.mark.parametrize(("count", "found"), [(1, True), (21, True), (22, False)])
def test_an_earlier_entry_is_found_at_most_twenty_blocks_back(count: int, found: bool) -> None:
    cache = Cache()
    words = [{"type": "text", "text": f"part {number}"} for number in range(count)]
    plain: JSON = {"system": "You build."}
    charged(cache, **plain, messages=[{"role": "user", "content": words[:1]}])

    read = charged(cache, **plain, messages=[{"role": "user", "content": words}]).read

    assert (read > 0) is found


@pytest.mark.parametrize(
    ("seconds", "short", "long"), [(299, True, True), (301, False, True), (3601, False, False)]
)
def test_entries_expire(seconds: float, short: bool, long: bool) -> None:
    clock = Clock()
    cache = Cache(clock)
    first = charged(cache)
    clock.now += seconds

    read = charged(cache).read

    assert read == (size() if short else first.written_1h if long else 0)


def test_reading_keeps_an_entry_alive() -> None:
    clock = Clock()
    cache = Cache(clock)
    for _ in range(4):
        charged(cache)
        clock.now += 200

    assert charged(cache).read == size()


def test_a_refused_request_writes_nothing(start: Start) -> None:
    talk = start({**READ, "faults": [{"kind": "overloaded"}]})
    with pytest.raises(anthropic.InternalServerError):
        talk.ask()

    assert talk.ask().usage.cache_read_input_tokens == 0


def test_a_cut_stream_writes_what_it_charged(start: Start) -> None:
    talk = start({**READ, "faults": [{"kind": "end_early"}]})
    talk.ask()

    assert talk.ask().usage.cache_creation_input_tokens == 0


def test_the_order_of_a_block_s_keys_does_not_matter() -> None:
    cache = Cache()
    charged(cache, system=[{"type": "text", "text": "You build.", "cache_control": MARK}], cache_control=None)

    again = charged(cache, system=[{"text": "You build.", "cache_control": MARK, "type": "text"}])

    assert again.read > 512
