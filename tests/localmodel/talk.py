"""A conversation with the simulated model, spoken through the real client."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from anthropic import AsyncAnthropic
from anthropic.types import Message

from localmodel import Model, Scenario

JSON = dict[str, Any]


def tool(name: str, **properties: JSON) -> JSON:
    """Return a strict tool; its description is long enough for the cache."""
    schema = {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }
    return {"name": name, "description": "It does. " * 300, "strict": True, "input_schema": schema}


def scenario(*turns: JSON, **fields: Any) -> Scenario:
    """Return a scenario of one conversation that answers everything."""
    return Scenario.parse({"name": "story", "conversations": [{"name": "only", "turns": [*turns]}], **fields})


def request(**changes: Any) -> JSON:
    """Return a request that the API takes, with changes; None takes a parameter out."""
    body: JSON = {
        "model": "claude-opus-5-5",
        "max_tokens": 1000,
        "stream": True,
        "system": [
            {"type": "text", "text": "You build.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
        ],
        "tools": [tool("read_file", path={"type": "string"}), tool("finish_phase")],
        "messages": [{"role": "user", "content": "Phase 1 of 4: begin."}],
        "cache_control": {"type": "ephemeral"},
    }
    return {key: value for key, value in {**body, **changes}.items() if value is not None}


class Talk:
    """One conversation: what is said is kept, as a durable client keeps it."""

    def __init__(self, runner: asyncio.Runner, client: AsyncAnthropic, model: Model) -> None:
        self._runner = runner
        self.client = client
        self.model = model
        self.messages: list[JSON] = request()["messages"]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the client's loop."""
        return self._runner.run(work)

    def ask(self, **changes: Any) -> Message:
        """Send the conversation as it stands and return the reply, keeping neither."""
        message: Message = self.run(self._ask(request(messages=self.messages, **changes)))
        return message

    def go_on(self, result: str = "done", *, is_error: bool = False, **changes: Any) -> Message:
        """Ask, keep the reply as it came and answer each of its tool calls."""
        reply = self.ask(**changes)
        content = reply.to_dict()["content"]
        self.messages.append({"role": "assistant", "content": content})
        answers = [
            {"type": "tool_result", "tool_use_id": block.id, "content": result, "is_error": is_error}
            for block in reply.content
            if block.type == "tool_use"
        ]
        self.messages.append({"role": "user", "content": answers or "Go on."})
        return reply

    async def _ask(self, body: JSON) -> Message:
        body.pop("stream")
        async with self.client.messages.stream(**body) as stream:
            return await stream.get_final_message()


Start = Callable[..., Talk]
