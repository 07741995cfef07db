"""Comments as HTML for the pages: tables and folded parts work, scripts do not, HTML comments vanish."""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

ALLOWED = frozenset(
    {
        *(
            "b",
            "blockquote",
            "br",
            "code",
            "del",
            "details",
            "div",
            "em",
            "hr",
            "i",
            "ins",
            "kbd",
            "li",
            "ol",
            "p",
        ),
        *("h1", "h2", "h3", "h4", "h5", "h6", "pre", "span", "strong", "sub", "summary", "sup", "ul"),
        *("table", "tbody", "td", "th", "thead", "tr"),
    }
)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_TAG = re.compile(r"<(?P<slash>/?)(?P<name>[A-Za-z][A-Za-z0-9]*)(?P<rest>[^<>]*)>")


def clean_html(text: str) -> str:
    """Return raw HTML with comments removed, harmless tags kept bare, and everything else shown as text."""
    text = _COMMENT.sub("", text)
    parts, position = [], 0
    for match in _TAG.finditer(text):
        parts.append(html.escape(text[position : match.start()], quote=False))
        name = match["name"].lower()
        if name in ALLOWED:
            opened = " open" if name == "details" and re.search(r"\bopen\b", match["rest"]) else ""
            parts.append(f"<{match['slash']}{name}{opened}>")
        else:
            parts.append(html.escape(match.group()))
        position = match.end()
    return "".join(parts) + html.escape(text[position:], quote=False)


def _raw(
    _: object, tokens: Sequence[Token], index: int, options: Mapping[str, Any], environment: object
) -> str:
    return clean_html(tokens[index].content)


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True, "breaks": True}).enable(["table", "strikethrough"])
    parser.add_render_rule("html_block", _raw)
    parser.add_render_rule("html_inline", _raw)
    return parser


_PARSER = _parser()


def render(text: str) -> Markup:
    """Return a comment's Markdown as HTML."""
    page = _PARSER.render(text)
    page = re.sub(r"<li>(\s*(?:<p>)?)\[ \] ", r"<li>\1☐ ", page)
    return Markup(re.sub(r"<li>(\s*(?:<p>)?)\[[xX]\] ", r"<li>\1☑ ", page))
