"""Which handler reacts to which event, and which events are ours at all."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from bot.events import Event
from bot.parts import Parts

Handler: TypeAlias = Callable[[Event, Parts], Awaitable[None]]
Relevance: TypeAlias = Callable[[Event, str], bool]


def always(_event: Event, _label: str) -> bool:
    """Take every event of this kind."""
    return True


class Router:
    """An ordered list of handlers by event key, such as `issues.labeled` or `push`."""

    def __init__(self, *routers: "Router") -> None:
        self._routes: list[tuple[str, Relevance, Handler]] = [route for r in routers for route in r._routes]

    def on(self, *keys: str, when: Relevance = always) -> Callable[[Handler], Handler]:
        """Register a handler for `keys`, for events about which `when(event, label)` is true."""

        def register(handler: Handler) -> Handler:
            self._routes += [(key, when, handler) for key in keys]
            return handler

        return register

    def keys(self) -> set[str]:
        """Return the event keys that have a handler."""
        return {key for key, _when, _handler in self._routes}

    def handlers(self, event: Event, label: str) -> list[Handler]:
        """Return the handlers for an event, in order; empty where it is not for us."""
        return [handler for key, when, handler in self._routes if key == event.key and when(event, label)]
