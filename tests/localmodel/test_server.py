"""The server as a whole: early closes, its own pages, and its life as a process."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest

from localmodel import Model, serve
from tests.localmodel.talk import Start, Talk, request, scenario

SLOW = {"say": "x" * 80, "faults": [{"kind": "stall", "seconds": 60}]}


def eventually(true: Callable[[], bool]) -> bool:
    """Wait up to five seconds for something to become true."""
    deadline = time.monotonic() + 5
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    return true()


async def give_up(talk: Talk) -> None:
    """Cancel a call while it waits for the next byte."""
    call = asyncio.create_task(talk._ask(request(messages=talk.messages)))
    while talk.model.open_streams == 0:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


@pytest.mark.parametrize("turn", [SLOW, {"say": "late", "delay": 60}], ids=["stalled", "delayed"])
def test_an_early_close_is_seen_at_once(start: Start, turn: dict[str, Any]) -> None:
    talk = start(turn)
    before = time.time()

    talk.run(give_up(talk))

    assert eventually(lambda: talk.model.open_streams == 0)
    assert before < (talk.model.requests[0].closed_at or 0) < time.time()


def test_a_stream_that_is_read_to_its_end_was_not_closed_early(start: Start) -> None:
    talk = start({"say": "short"})
    talk.ask()

    assert eventually(lambda: talk.model.open_streams == 0)
    assert talk.model.requests[0].closed_at is None


def test_a_server_stops_at_once_whatever_is_open() -> None:
    model = Model(scenario(SLOW))
    body = json.dumps(request()).encode()
    with serve(model) as server:
        peer = socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
        head = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\nanthropic-version: 2026-10-21\r\n"
        peer.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        assert eventually(lambda: model.open_streams == 1)
        before = time.monotonic()

    assert time.monotonic() - before < 5
    assert model.open_streams == 0
    peer.close()


def test_many_streams_are_served_side_by_side(start: Start) -> None:
    talk = start({"say": "late", "delay": 0.5})

    async def all_at_once() -> None:
        await asyncio.gather(*[talk._ask(request(messages=talk.messages)) for _ in range(10)])

    before = time.monotonic()
    talk.run(all_at_once())

    assert time.monotonic() - before < 4
    assert len(talk.model.requests) == 10


def test_answers_do_not_wait_for_the_network(start: Start) -> None:
    """Without TCP_NODELAY each would take 40 ms."""
    talk = start({"say": "hi"})
    talk.ask()

    took = []
    for _ in range(20):
        before = time.monotonic()
        with pytest.raises(anthropic.BadRequestError):
            talk.ask(max_tokens=0)
        took.append(time.monotonic() - before)

    assert min(took) < 0.03


def test_the_models_can_be_listed_by_the_client(start: Start) -> None:
    talk = start({"say": "hi"})

    async def listed() -> list[Any]:
        return [model async for model in talk.client.models.list()]

    models = {model.id: model for model in talk.run(listed())}

    assert models["claude-opus-5-5"].max_input_tokens == 1_000_000
    assert models["claude-haiku-4-5"].max_tokens == 64_000
    assert talk.run(talk.client.models.retrieve("claude-fable-5-2")).lifecycle == "active"
    with pytest.raises(anthropic.NotFoundError):
        talk.run(talk.client.models.retrieve("claude-fable-9"))


def test_refused_requests_are_recorded_too(start: Start) -> None:
    talk = start({"say": "hi"})
    with pytest.raises(anthropic.BadRequestError):
        talk.ask(max_tokens=0)
    with pytest.raises(anthropic.NotFoundError):
        talk.ask(model="claude-9")

    assert [(r.outcome, r.model) for r in talk.model.requests] == [
        ("invalid", "claude-opus-5-5"),
        ("invalid", "claude-9"),
    ]
    assert talk.model.requests[0].detail.startswith("max_tokens: ")


def test_another_process_can_read_requests_and_inject_faults(start: Start) -> None:
    talk = start({"say": "hi"})
    base = str(talk.client.base_url)
    with httpx2.Client(base_url=base) as http:
        assert http.post("/_inject", json={"kind": "refusal", "turn": 0}).status_code == 204
        talk.ask()
        talk.ask()
        told = http.get("/_requests").json()

    assert [(r["conversation"], r["turn"], r["outcome"]) for r in told] == [
        ("only", 0, "refusal"),
        ("only", 0, "replied"),
    ]
    assert told[0]["digest"] == told[1]["digest"]
    assert abs(told[0]["at"] - time.time()) < 10
    assert "headers" not in told[0]


@pytest.mark.parametrize("body", ["{", "[]", "{}", '{"kind": "flood"}', '{"kind": "cut", "sekonds": 1}'])
def test_a_wrong_injection_is_refused(start: Start, body: str) -> None:
    talk = start({"say": "hi"})

    answer = httpx2.post(str(talk.client.base_url.copy_with(path="/_inject")), content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    file = tmp_path / "story.yaml"
    file.write_text("name: story\nconversations: [{name: only, turns: [{say: hi}]}]\n")
    command = [sys.executable, "-W", "error", "-m", "localmodel", "--scenario", str(file), "--pace", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        told = httpx2.get(f"{url}/_requests").json()
        os.kill(process.pid, signal.SIGTERM)
        rest = process.stdout.read()

    assert (told, rest, process.returncode) == ([], "", 0)


def test_the_command_refuses_a_wrong_scenario(tmp_path: Path) -> None:
    file = tmp_path / "story.yaml"
    file.write_text("name: story\nconversation: []\n")

    command = [sys.executable, "-m", "localmodel", "--scenario", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "story.yaml: conversation: unknown key" in done.stderr
