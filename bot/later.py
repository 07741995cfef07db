"""Loads the model edge in the background: its SDK takes seconds to import, and webhooks need not wait for it."""

import asyncio
import importlib
from typing import Any

from bot.parts import Models
from bot.turns import Header, Listener, Reply


class LaterModels:
    """Models that are being loaded; the first turn waits until they are there. Make it on the worker's loop."""

    def __init__(self, *, api_key: str, base_url: str) -> None:
        self._loading = asyncio.create_task(self._load(api_key, base_url))

    async def _load(self, api_key: str, base_url: str) -> Models:
        edge: Any = await asyncio.to_thread(importlib.import_module, "bot.llm")
        models: Models = edge.Models(api_key=api_key, base_url=base_url)
        return models

    async def turn(
        self,
        header: Header,
        messages: list[dict[str, Any]],
        *,
        on_event: Listener | None = None,
    ) -> Reply:
        """Return one whole reply, as `bot.llm.Models` does."""
        models = await asyncio.shield(self._loading)
        return await models.turn(header, messages, on_event=on_event)

    async def close(self) -> None:
        """Close the connections."""
        await (await self._loading).close()
