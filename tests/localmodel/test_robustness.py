"""Whatever stands in a request, it is answered: taken or refused, never a crash."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from localmodel import Model
from tests.localmodel.talk import JSON, request, scenario

HEADERS = {"authorization": "Bearer key", "anthropic-version": "2026-10-21"}
ODD: list[Any] = [
    None,
    0,
    -1,
    1.5,
    True,
    "",
    "x",
    [],
    {},
    [1],
    [[]],
    {"type": []},
    "assistant",
    [{"type": "text"}],
]
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/b"}]}}},
    "required": ["a"],
    "additionalProperties": False,
    "$defs": {"b": {"type": "string"}},
}
FULL = request(
    thinking={"type": "adaptive", "display": "summarized"},
    output_config={"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    tool_choice={"type": "auto"},
    messages=[
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "read_file", "input": {}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": {}}]}
            ],
        },
    ],
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the path of everything within a JSON value."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in entries:
        yield (*path, key)
        yield from places(inner, (*path, key))


def changed(path: tuple[Any, ...], odd: Any) -> JSON:
    """Return the full request with something odd in that place."""
    body: Any = copy.deepcopy(FULL)
    spot = body
    for key in path[:-1]:
        spot = spot[key]
    spot[path[-1]] = odd
    return dict(body)


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_anything_anywhere_is_answered(odd: Any) -> None:
    model = Model(scenario({"say": "one"}, {"say": "two"}))
    model.answer(json.dumps(FULL).encode(), HEADERS)
    assert model.requests[0].outcome == "replied"

    for path in places(FULL):
        model.answer(json.dumps(changed(path, odd)).encode(), HEADERS)

    assert {record.outcome for record in model.requests} <= {"invalid", "replied"}
