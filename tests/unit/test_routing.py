"""Routes: which handler is called for which event, in which order, and what is not for us."""

from typing import Any

from bot.events import Event
from bot.parts import Parts
from bot.routing import Handler, Router, always


def event(name: str, **payload: Any) -> Event:
    return Event("guid", name, payload)


def handler() -> Handler:
    async def handle(_event: Event, _parts: Parts) -> None:
        """Do nothing."""

    return handle


def test_a_handler_is_found_by_event_and_action() -> None:
    router = Router()
    first = router.on("issues.labeled")(handler())

    assert router.handlers(event("issues", action="labeled"), "x") == [first]
    assert router.handlers(event("issues", action="closed"), "x") == []
    assert router.handlers(event("issues"), "x") == []


def test_an_event_without_action_is_found_by_its_name() -> None:
    router = Router()
    first = router.on("push")(handler())

    assert router.handlers(event("push"), "x") == [first]


def test_one_handler_may_take_several_events() -> None:
    router = Router()
    first = router.on("push", "status")(handler())

    assert router.keys() == {"push", "status"}
    assert router.handlers(event("status"), "x") == [first]


def test_handlers_are_called_in_the_order_they_were_joined() -> None:
    early, late = Router(), Router()
    third = late.on("push")(handler())
    first = early.on("push")(handler())
    second = early.on("push")(handler())

    assert Router(early, late).handlers(event("push"), "x") == [first, second, third]


def test_relevance_decides_from_the_event_and_the_label() -> None:
    router = Router()
    ours = router.on("push", when=lambda event, label: event.text("ref") == label)(handler())

    assert router.handlers(event("push", ref="agent-build"), "agent-build") == [ours]
    assert router.handlers(event("push", ref="main"), "agent-build") == []
    assert always(event("push"), "x")


def test_registering_gives_the_handler_back_and_leaves_joined_routers_as_they_were() -> None:
    part = Router()
    whole = Router(part)
    own = handler()

    assert part.on("push")(own) is own
    assert whole.keys() == set()
