"""JSON schemas the API can turn into a grammar: what strict tools and output formats are held to."""

from collections.abc import Mapping
from typing import Any

from localmodel.errors import invalid

_UNSUPPORTED = {
    "string": ("minLength", "maxLength", "pattern"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("maxItems", "uniqueItems", "contains"),
}
_SHAPES: dict[str, type] = {"properties": dict, "$defs": dict, "required": list, "anyOf": list, "allOf": list}


def check_strict(schema: Any, place: str) -> None:
    """Raise the API's 400 where a schema cannot be enforced: open objects, limits, recursion."""
    definitions = schema.get("$defs") if isinstance(schema, dict) else None
    _check(schema, place, definitions if isinstance(definitions, dict) else {}, ())


def _check(schema: Any, place: str, definitions: Mapping[str, Any], within: tuple[str, ...]) -> None:
    if not isinstance(schema, dict):
        raise invalid(f"{place}: Invalid schema: Schema must be an object")
    for keyword, type_ in _SHAPES.items():
        if not isinstance(schema.get(keyword, type_()), type_):
            raise invalid(f"{place}: Invalid schema: '{keyword}' must be a {type_.__name__}")
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        if name in within:
            raise invalid(f"{place}: Invalid schema: Circular references are not supported")
        if name not in definitions:
            raise invalid(f"{place}: Invalid schema: Cannot resolve reference {schema['$ref']}")
        _check(definitions[name], place, definitions, (*within, name))
    _check_keywords(schema, place)
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", []), *schema.get("allOf", [])]
    for part in inner + ([schema["items"]] if "items" in schema else []):
        _check(part, place, definitions, within)


def _check_keywords(schema: Mapping[str, Any], place: str) -> None:
    kind = schema.get("type")
    if kind == "object" and schema.get("additionalProperties") is not False:
        raise invalid(f"{place}: For 'object' type, 'additionalProperties' must be explicitly set to false")
    for name in _UNSUPPORTED.get(str(kind), ()):
        if name in schema:
            raise invalid(f"{place}: For '{kind}' type, property '{name}' is not supported")
    if kind == "array" and schema.get("minItems", 0) not in (0, 1):
        raise invalid(f"{place}: For 'array' type, 'minItems' values other than 0 or 1 are not supported")
    missing = [name for name in schema.get("required", []) if name not in list(schema.get("properties", {}))]
    if missing:
        raise invalid(f"{place}: Invalid schema: required property '{missing[0]}' is not defined")
