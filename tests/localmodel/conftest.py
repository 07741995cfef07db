"""What the tests of the simulated model share: one client and its event loop, a server per test."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from anthropic import AsyncAnthropic

from localmodel import Model, serve
from tests.localmodel.talk import JSON, Start, Talk, scenario


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@pytest.fixture(scope="session")
def client(runner: asyncio.Runner) -> Iterator[AsyncAnthropic]:
    shared = AsyncAnthropic(base_url="http://127.0.0.1:1", api_key="test", max_retries=0)
    yield shared
    runner.run(shared.close())


@pytest.fixture
def start(runner: asyncio.Runner, client: AsyncAnthropic) -> Iterator[Start]:
    """Return a function that serves a scenario of these turns and starts a conversation with it."""
    with ExitStack() as servers:

        def begin(*turns: JSON, model: Model | None = None, **fields: Any) -> Talk:
            served = model or Model(scenario(*turns, **fields) if turns else None)
            url = servers.enter_context(serve(served)).url
            return Talk(runner, client.with_options(base_url=url), served)

        yield begin
