"""A small GraphQL reader: the text of a request as operations, fields, arguments and selections."""

import re
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r'[\s,\ufeff]+|#[^\n]*|(?P<block>"""(?:.|\n)*?""")|(?P<string>"(?:\\.|[^"\\\n])*")'
    r"|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<mark>\.\.\.|[!$():=@\[\]{|}&])"
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


class GraphQLSyntaxError(Exception):
    """The request's text cannot be read."""


@dataclass(frozen=True)
class Variable:
    """A `$name` to be replaced by the request's variables."""

    name: str


@dataclass
class Field:
    """One selected field with alias, arguments and what is selected below; `on` is a fragment's type."""

    name: str
    alias: str
    arguments: dict[str, Any] = field(default_factory=dict)
    selections: list["Field"] = field(default_factory=list)
    on: str = ""


@dataclass
class Document:
    """The operation of a request: query or mutation, default values of variables, fields, fragments."""

    kind: str
    defaults: dict[str, Any]
    fields: list[Field]
    fragments: dict[str, Field]


class _Reader:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if not match:
                raise GraphQLSyntaxError(f"Unexpected character {text[position]!r}")
            position = match.end()
            if match.lastgroup:
                self.tokens.append((match.lastgroup, match.group()))
        self.position = 0

    def peek(self) -> str:
        return self.tokens[self.position][1] if self.position < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise GraphQLSyntaxError(f"Expected {wanted or 'more'}, got {token or 'the end'}")
        self.position += 1
        return token

    def document(self) -> Document:
        found: Document | None = None
        fragments: dict[str, Field] = {}
        while self.peek():
            if self.peek() == "fragment":
                self.take()
                name = self.take()
                self.take("on")
                on = self.take()
                fragments[name] = Field("...", "", {}, self.selections(), on)
            elif not found:
                found = self.operation()
            else:
                raise GraphQLSyntaxError("More than one operation")
        if not found:
            raise GraphQLSyntaxError("No operation")
        found.fragments = fragments
        return found

    def operation(self) -> Document:
        kind, defaults = "query", {}
        if self.peek() != "{":
            kind = self.take()
            if kind not in ("query", "mutation"):
                raise GraphQLSyntaxError(f"Unknown operation {kind}")
            if self.peek() not in ("{", "("):
                self.take()
            if self.peek() == "(":
                defaults = self.variables()
        return Document(kind, defaults, self.selections(), {})

    def variables(self) -> dict[str, Any]:
        defaults: dict[str, Any] = {}
        self.take("(")
        while self.peek() != ")":
            self.take("$")
            name = self.take()
            while self.peek() not in ("$", ")", "="):
                self.take()
            if self.peek() == "=":
                self.take()
                defaults[name] = self.value()
        self.take(")")
        return defaults

    def selections(self) -> list[Field]:
        self.take("{")
        found = []
        while self.peek() != "}":
            found.append(self.fragment() if self.peek() == "..." else self.field())
        self.take("}")
        return found

    def fragment(self) -> Field:
        self.take("...")
        if self.peek() == "on":
            self.take()
            on = self.take()
            return Field("...", "", {}, self.selections(), on)
        if self.peek() == "{":
            return Field("...", "", {}, self.selections())
        return Field("...", self.take())

    def field(self) -> Field:
        alias = name = self.take()
        if self.peek() == ":":
            self.take()
            name = self.take()
        arguments: dict[str, Any] = {}
        if self.peek() == "(":
            arguments = self.pairs("(", ")")
        selections = self.selections() if self.peek() == "{" else []
        return Field(name, alias, arguments, selections)

    def pairs(self, opening: str, closing: str) -> dict[str, Any]:
        self.take(opening)
        found = {}
        while self.peek() != closing:
            name = self.take()
            self.take(":")
            found[name] = self.value()
        self.take(closing)
        return found

    def value(self) -> Any:
        kind, token = self.tokens[self.position] if self.position < len(self.tokens) else ("", "")
        if token == "{":
            return self.pairs("{", "}")
        self.take()
        if token == "$":
            return Variable(self.take())
        if token == "[":
            items = []
            while self.peek() != "]":
                items.append(self.value())
            self.take("]")
            return items
        if kind == "string":
            return _unescape(token[1:-1])
        if kind == "block":
            return token[3:-3]
        if kind == "number":
            return float(token) if "." in token else int(token)
        return {"true": True, "false": False, "null": None}.get(token, token)


def _unescape(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        word = match[1]
        return chr(int(word[1:], 16)) if word.startswith("u") else _ESCAPES.get(word, word)

    return re.sub(r"\\(u[0-9a-fA-F]{4}|.)", replace, text)


def read_document(text: str) -> Document:
    """Return the single operation of a request's text; raises GraphQLSyntaxError."""
    return _Reader(text).document()


def fill(value: Any, variables: dict[str, Any]) -> Any:
    """Return a value with its variables replaced; one that is not given becomes None."""
    if isinstance(value, Variable):
        return variables.get(value.name)
    if isinstance(value, dict):
        return {key: fill(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, variables) for item in value]
    return value
