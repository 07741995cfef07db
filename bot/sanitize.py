"""Hidden text out, secrets out, quotes made harmless: what strangers and models wrote, in or out. Pure."""

import base64
import html
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from markdown_it import MarkdownIt

REDACTED = "[redacted]"
GRAM = 16
"""Characters of a known secret that give it away: a shorter piece is left, a longer one is cut out."""
SHORTEST_SECRET = 6
"""A known secret shorter than this would take ordinary words out of a text."""

_KEY_EDGE = r"-----{} [A-Z0-9 ]{{0,40}}PRIVATE KEY(?: BLOCK)?-----"
SHAPES = (
    (
        "a private key",
        re.compile(f"{_KEY_EDGE.format('BEGIN')}(?:.*?{_KEY_EDGE.format('END')}|.*)", re.DOTALL),
    ),
    # To the next space or quote: the newer installation tokens hold a JWT, with dots and dashes.
    ("a GitHub token", re.compile(r"(?:gh[opsur]_|github_pat_)[^\s\"'`<>()\[\]{},;|\\]{16,}")),
    ("an Anthropic key", re.compile(r"sk-ant-[\w-]{12,}")),
    ("an OpenAI key", re.compile(r"\bsk-(?!ant-)(?:proj-|svcacct-)?(?=[\w-]*\d)[A-Za-z0-9_-]{32,}")),
    # The key ids of Amazon's own documentation end in EXAMPLE.
    ("an AWS key", re.compile(r"\b(?:AKIA|ASIA)(?![A-Z0-9]{9}EXAMPLE)[A-Z0-9]{16}\b")),
    ("a Slack token", re.compile(r"\bxox[abeprs]-[\w-]{10,}|hooks\.slack\.com/services/[\w/]{20,}")),
    ("a Google API key", re.compile(r"\bAIza[\w-]{35}")),
    ("a package registry token", re.compile(r"\b(?:npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,})")),
    ("a GitLab token", re.compile(r"\bglpat-[\w-]{20,}")),
    ("a Stripe key", re.compile(r"\b[rs]k_live_[A-Za-z0-9]{16,}")),
    ("a JSON web token", re.compile(r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}")),
)
HEADER = re.compile(
    r"\b(authorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?:\w+\s{1,4})?|x-api-key[\"']?\s{0,4}[:=]\s{0,4}[\"']?"
    r"|bearer\s{1,4}|basic\s{1,4})(?=[\w.~+/=-]*\d)[\w.~+/=-]{16,}",
    re.IGNORECASE,
)
USERINFO = re.compile(r"(?<=://)[^\s/@:\"'`]{0,200}:[^\s/@\"'`]{1,500}(?=@)")
# What stands between the pieces of a secret that was split over lines or glued from string literals.
FILLER = re.compile(r"[\s\"'`+\\]")

ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)|[@-Z\\^_])")
LINE_END = re.compile("\r\n|[\r\x85\u2028\u2029]")
INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
JOINERS, EMOJI_STYLE, KEYCAP = "\u200c\u200d", "\ufe0f", "\u20e3"
ENTITY = re.compile(r"&(?:#[xX][0-9a-fA-F]{1,8}|#[0-9]{1,8}|[A-Za-z][A-Za-z0-9]{1,31});")

MARKDOWN = MarkdownIt("commonmark").enable("table")
BLOCKS = {
    "fence": "code",
    "code_block": "code",
    "html_block": "html",
    "table_open": "table",
    "inline": "prose",
}
PROSE_MARK = re.compile(
    r"\\[!-/:-@\[-`{-~]|`+|<!--|<\?|<!\[CDATA\[|<!(?=[A-Za-z])|<(?=[A-Za-z/])|!(?=\[)|\](?=\()"
)
HTML_MARK = re.compile(r"<!--|<\?|<!\[CDATA\[|<!|<(?=[A-Za-z/])")
ENDS = {"<!--": "-->", "<?": "?>", "<![CDATA[": "]]>", "<!": ">"}
_VALUE = r"(?:\"[^\"]*+\"|'[^']*+'|[^\s\"'=<>`]++)"
# In a paragraph only CommonMark's own grammar makes a tag; in raw HTML the browser's looser one does.
PROSE_TAG = re.compile(
    rf"<(/?)([A-Za-z][A-Za-z0-9-]*+)((?:\s++[A-Za-z_:][\w.:-]*+(?:\s*+=\s*+{_VALUE})?+)*+\s*+/?)>"
)
_HTML_INSIDE = r"(?:[^<>\"'=]|=\s*+\"[^\"]*+\"|=\s*+'[^']*+'|=\s*+(?![\"'])|[\"'])*+"
HTML_TAG = re.compile(rf"<(/?)([A-Za-z][^\s/>]*+)({_HTML_INSIDE})>")
HTML_OPEN_VALUE = re.compile(rf"<[A-Za-z][^\s/>]*+{_HTML_INSIDE}=\s*+([\"'])")
SEEN_ATTRIBUTE = re.compile(rf"(?<=[\s\"'/])(?:(?:href|src)\s*=\s*{_VALUE}|open(?=[\s/]|$))", re.IGNORECASE)
IMAGE = re.compile(r"!\[(?:\\.|[^\[\]\\]|\[[^\[\]]*+\])*+\](?=[(\[])", re.DOTALL)
LINK_TITLE = re.compile(
    r"(\]\(\s{0,9}(?:<[^<>\n]*+>|[^\s()<>]++(?:\([^\s()]*+\)[^\s()<>]*+)*+))\s{1,9}"
    r"(?:\"(?:\\.|[^\"\\])*+\"|'(?:\\.|[^'\\])*+'|\((?:\\.|[^()\\])*+\))\s{0,9}\)",
    re.DOTALL,
)
UNSEEN = {"script", "style", "template", "svg", "math", "noscript", "iframe", "object", "textarea", "title"}
DEFINITION = re.compile(r"^[ \t>*+-]*\[((?:\\.|[^\[\]\\])+)\]:\s*(<[^<>\n]*>|\S+)", re.MULTILINE)
FOOTNOTE = re.compile(r"[ \t]{0,3}(\[\^[^\]\s]+\]):")

BLANK = "\u200b"
FOLD = re.compile(r"(?<!\\)</?(?:details|summary|br)(?:\s+open)?\s*/?>", re.IGNORECASE)
DETAILS = re.compile(r"<(/?)details\b[^<>]*>", re.IGNORECASE)
TAG_START = re.compile(r"<(?=[A-Za-z/!?])")
MENTION = re.compile(r"(?<![A-Za-z0-9_])@(?=[A-Za-z0-9])")
SLASH_WORD = re.compile(r"^([ \t>*+-]{0,12})/(?=[A-Za-z][\w-]*(?:[ \t:]|$))", re.MULTILINE)
REFERENCE = re.compile(r"(?<!&)(#|\bGH-)(?=\d+\b)", re.IGNORECASE)
CLOSING = re.compile(
    r"\b(clos|fix|resolv)(?=(?:e[sd]?|ed)?:?\s{1,9}\S{0,200}(?:#|GH-|/issues/|/pull/))", re.I
)
HARMLESS_ENTITIES = {"<", ">", "&", '"', "'"}


@dataclass(frozen=True)
class Segment:
    """Some whole lines of a Markdown text and how GitHub reads them."""

    kind: str
    """`code`, `prose`, `html`, `table`, `references` (link definitions) or `rest` (blank lines, rules)."""
    text: str


@dataclass(frozen=True)
class Finding:
    """Something that looks like a secret: what kind, and on which line, counted from 1."""

    kind: str
    line: int


def clean(text: str) -> str:
    """Return `text` without what a reader on GitHub does not see; code blocks and ordinary text stay."""
    text = strip_invisible(text)
    shown: list[str] = []
    swallowed = ""
    for segment in segments(text):
        part = segment.text
        if swallowed:
            # Raw HTML left a comment or a quoted value open: the browser shows nothing up to its raw end.
            if segment.kind != "html" or swallowed not in part:
                continue
            part = part.partition(swallowed)[2]
            part, swallowed = part if swallowed == "-->" else part.partition(">")[2], ""
        if segment.kind == "html":
            part, swallowed = _seen(part, raw=True)
        elif segment.kind == "table":
            part = "".join(_seen(cell)[0] for cell in re.split(r"((?<!\\)\||\n)", part))
        elif segment.kind == "prose":
            note = FOOTNOTE.match(part)
            part = "" if note and text.count(note[1]) < 2 else _seen(part)[0]
        elif segment.kind == "references":
            part = "".join(_definition(found, text) for found in DEFINITION.finditer(part))
        elif re.match(r"\s*[`~]{3,}\s*mermaid\b", part):
            part = re.sub(r"^\s*%%.*\n?", "", part, flags=re.MULTILINE)
        shown.append(part)
    return "".join(shown)


def strip_invisible(text: str) -> str:
    """Return `text` without control, format and filler characters and colours; lines end in `\\n`."""
    text = LINE_END.sub("\n", ANSI.sub("", text))
    return INVISIBLE.sub(lambda found: found[0] if _has_meaning(found) else "", text)


def segments(text: str) -> list[Segment]:
    """Return the whole of `text` in order, cut where GitHub's reading of it changes."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    marks = [("rest", 0)] * len(lines)
    found: dict[str, dict[str, dict[str, list[int]]]] = {}
    for number, token in enumerate(MARKDOWN.parse(text, found), start=1):
        if token.map and token.type in BLOCKS:
            start, end = token.map[0], min(token.map[1], len(lines))
            # A table's cells are cut here, because a backtick does not reach from one to the next.
            if start < end and marks[start][0] != "table":
                marks[start:end] = [(BLOCKS[token.type], number)] * (end - start)
    for reference in found.get("references", {}).values():
        for line in range(*reference["map"]):
            if marks[line][0] == "rest":
                marks[line] = ("references", 0)
    merged: list[Segment] = []
    for index, line_text in enumerate(lines):
        if index and marks[index] == marks[index - 1]:
            merged[-1] = Segment(marks[index][0], merged[-1].text + line_text)
        else:
            merged.append(Segment(marks[index][0], line_text))
    return merged


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without the known `secrets`, whole, encoded or in pieces, and without other tokens."""
    kept, last = [], 0
    for start, end in _known_spans(text, secrets):
        kept += [text[last:start], REDACTED]
        last = end
    text = "".join([*kept, text[last:]])
    for _, shape in SHAPES:
        text = shape.sub(REDACTED, text)
    return USERINFO.sub(REDACTED, HEADER.sub(rf"\1{REDACTED}", text))


def redact_all(value: Any, secrets: Iterable[str] = ()) -> Any:
    """Return plain data with every text in it redacted; keys are ours and stay."""
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, dict):
        return {key: redact_all(one, secrets) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(one, secrets) for one in value]
    return value


def find_secrets(text: str, secrets: Iterable[str] = ()) -> list[Finding]:
    """Return where `text` holds one of the known `secrets` or a token-shaped string, without the value."""
    places = [(kind, found.start()) for kind, shape in SHAPES for found in shape.finditer(text)]
    places += [("a secret of this bot", start) for start, _ in _known_spans(text, secrets)]
    return [
        Finding(kind, text.count("\n", 0, at) + 1) for kind, at in sorted(places, key=lambda place: place[1])
    ]


def inert(text: str) -> str:
    """Return `text` fit to be quoted in a public comment: it calls nobody and closes what it opens."""
    for _ in range(4):
        # Disarming one block can change how the next is read, so it is done until nothing changes.
        quiet = "".join(_disarm(segment) for segment in segments(strip_invisible(text)))
        if quiet == text:
            break
        text = quiet
    return _balance(text)


def cut(text: str, limit: int) -> str:
    """Return `text` in at most `limit` characters: head, a line that says how much is gone, and tail."""
    if len(text) <= limit:
        return text
    room = limit - len(f"\n… {len(text):,} characters cut …\n")
    if room < 2:
        return text[: max(limit, 0)]
    head, tail = text[: room - room // 2], text[len(text) - room // 2 :]
    if "\n" in head[len(head) // 2 :]:
        head = head[: head.rindex("\n")]
    if "\n" in tail[: len(tail) // 2]:
        tail = tail[tail.index("\n") + 1 :]
    return f"{head}\n… {len(text) - len(head) - len(tail):,} characters cut …\n{tail}"


def _has_meaning(found: re.Match[str]) -> bool:
    """Return whether this invisible character shapes the visible ones beside it (emoji, Persian, Indic)."""
    character, text = found[0], found.string
    before = text[found.start() - 1 : found.start()]
    after = text[found.end() : found.end() + 1]
    if character == EMOJI_STYLE:
        return bool(before) and (after == KEYCAP or before in "©®" or _is_symbol(before))
    if character in JOINERS and before and after:
        joins_letters = "\u0600" <= before <= "\u109f" and "\u0600" <= after <= "\u109f"
        joins_emoji = character == "\u200d" and (_is_symbol(before) or before == EMOJI_STYLE)
        return joins_letters or (joins_emoji and _is_symbol(after))
    return False


def _is_symbol(character: str) -> bool:
    return character > "\u2000" and unicodedata.category(character) in {"So", "Sm", "Sk", "Po", "Pd"}


def _seen(text: str, *, raw: bool = False) -> tuple[str, str]:
    """Return what a reader sees of a paragraph or HTML block, and what ends that which raw HTML left open."""
    mark, tag = (HTML_MARK, HTML_TAG) if raw else (PROSE_MARK, PROSE_TAG)
    shown: list[str] = []
    at = last = 0
    # An end that is missing once is missing for every later start: this keeps hostile text from costing n².
    missing: set[str] = set()
    while found := mark.search(text, at):
        start, at = found.span()
        piece: str | None = None
        if found[0][0] == "`":
            at = _code_end(text, at, found[0], missing) or at
            piece = text[start:at]
        elif found[0] in ENDS:
            end = -1 if ENDS[found[0]] in missing else text.find(ENDS[found[0]], start + 2)
            if end < 0:
                missing.add(ENDS[found[0]])
            else:
                piece, at = "", end + len(ENDS[found[0]])
        elif found[0] == "<":
            piece, at = _seen_tag(tag.match(text, start), at, missing)
        elif found[0] == "!":
            piece, at = _replaced(IMAGE.match(text, start), "![]", at)
        elif found[0] == "]":
            link = LINK_TITLE.match(text, start)
            piece, at = _replaced(link, f"{link[1]})" if link else "", at)
        if piece is None and raw:
            quoted = HTML_OPEN_VALUE.match(text, start)
            end_mark = "-->" if found[0] == "<!--" else quoted[1] if quoted else ""
            return "".join([*shown, text[last:start], "\n"]), end_mark
        if piece is not None:
            shown += [_hidden_entities_out(text[last:start]), piece]
            last = at
    return "".join([*shown, _hidden_entities_out(text[last:])]), ""


def _replaced(found: re.Match[str] | None, piece: str, at: int) -> tuple[str | None, int]:
    return (piece, found.end()) if found else (None, at)


def _code_end(text: str, at: int, ticks: str, missing: set[str]) -> int | None:
    """Return where the code span opened by `ticks` before `at` ends, or None when it is no code span."""
    if ticks in missing:
        return None
    closing = re.compile(f"(?<!`){ticks}(?!`)").search(text, at)
    if closing is None:
        missing.add(ticks)
        return None
    return closing.end()


def _seen_tag(found: re.Match[str] | None, at: int, missing: set[str]) -> tuple[str | None, int]:
    """Return a tag with the attributes that show or link something, and where the text goes on."""
    if found is None:
        return None, at
    close, name, rest = found.groups()
    if name.lower() in UNSEEN and not close and (end := f"</{name.lower()}") not in missing:
        closing = re.compile(rf"{end}\s*>", re.IGNORECASE).search(found.string, found.end())
        if closing:
            return "", closing.end()
        missing.add(end)
    kept = " ".join(SEEN_ATTRIBUTE.findall(rest))
    return f"<{close}{name}{' ' + kept if kept else ''}>", found.end()


def _definition(found: re.Match[str], text: str) -> str:
    """Return a link definition without its title, or nothing where no visible link uses it."""
    uses = re.findall(rf"\[{re.escape(found[1])}\](?!:)", text, re.IGNORECASE)
    return f"[{found[1]}]: {found[2]}\n" if uses else ""


def _hidden_entities_out(text: str) -> str:
    return ENTITY.sub(lambda found: found[0] if INVISIBLE.sub("", html.unescape(found[0])) else "", text)


def _known_spans(text: str, secrets: Iterable[str]) -> list[tuple[int, int]]:
    """Return the stretches of `text` that hold a known secret or a piece of one, in order and apart."""
    known = tuple(sorted({secret for secret in secrets if len(secret) >= SHORTEST_SECRET}))
    if not known:
        return []
    grams, short = _fingerprints(known)
    found = [(at.start(), at.end()) for form in short for at in re.finditer(re.escape(form), text)]
    places = [index for index, character in enumerate(text) if not FILLER.match(character)]
    bare = "".join(text[index] for index in places)
    found += [
        (places[at], places[at + GRAM - 1] + 1)
        for at in range(len(bare) - GRAM + 1)
        if bare[at : at + GRAM] in grams
    ]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


@lru_cache(maxsize=16)
def _fingerprints(secrets: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return all pieces of `GRAM` characters of the secrets' forms, and the forms too short for one."""
    grams: set[str] = set()
    short: set[str] = set()
    for secret in secrets:
        # The frame of a key file is no secret, and stands in many a text.
        body = re.sub(r"-----[A-Z0-9 ]+-----", "", secret)
        for form in _forms(body):
            bare = FILLER.sub("", form)
            grams.update(bare[at : at + GRAM] for at in range(len(bare) - GRAM + 1))
            if len(form) >= SHORTEST_SECRET and len(bare) < GRAM:
                short.add(form)
    return frozenset(grams), tuple(sorted(short))


def _forms(secret: str) -> set[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    forms = {
        secret,
        quote(secret, safe="", errors="replace"),
        json.dumps(secret)[1:-1],
        raw.hex(),
        raw.hex().upper(),
    }
    for shift in range(3):
        # Inside a longer text the first and last characters depend on the neighbours, so they are left out.
        encoded = base64.b64encode(b"\0" * shift + raw).decode()
        stable = encoded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
        forms |= {stable, stable.replace("+", "-").replace("/", "_")}
    return forms


def _disarm(segment: Segment) -> str:
    """Return one segment without mentions, commands, references, foreign tags and comments."""
    text = segment.text
    if segment.kind == "code":
        text = text.replace("<!--", f"<!{BLANK}--")
    elif segment.kind == "prose":
        last, parts = 0, []
        for start, end in _code_spans(text):
            parts += [_disarm_prose(text[last:start]), _disarm_code(text[start:end])]
            last = end
        text = "".join([*parts, _disarm_prose(text[last:])])
    else:
        text = _disarm_prose(text)
    if segment.kind == "references":
        text = re.sub(r"^((?:[ \t>*+-]|\d{1,9}[.)])*)\[", r"\1\\[", text, flags=re.MULTILINE)
    return SLASH_WORD.sub(rf"\1/{BLANK}", text)


def _code_spans(text: str) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    missing: set[str] = set()
    at = 0
    while found := re.compile(r"\\[!-/:-@\[-`{-~]|`+").search(text, at):
        at = found.end()
        end = _code_end(text, at, found[0], missing) if found[0][0] == "`" else None
        if end is not None:
            spans.append((found.start(), end))
            at = end
    return spans


def _disarm_code(text: str) -> str:
    return MENTION.sub(f"@{BLANK}", text.replace("<!--", f"<!{BLANK}--"))


def _disarm_prose(text: str) -> str:
    text = TAG_START.sub(lambda found: "<" if FOLD.match(text, found.start()) else "&lt;", text)
    text = ENTITY.sub(_plain_entity, text)
    text = MENTION.sub(f"@{BLANK}", text)
    text = CLOSING.sub(rf"\1{BLANK}", text)
    return REFERENCE.sub(rf"\1{BLANK}", text)


def _plain_entity(found: re.Match[str]) -> str:
    """Return an entity, shown as it is written where it stands for a sign that GitHub would act on."""
    means = html.unescape(found[0])
    return f"&amp;{found[0][1:]}" if means.isascii() and means not in HARMLESS_ENTITIES else found[0]


def _balance(text: str) -> str:
    """Return `text` with its open code fence and `<details>` closed, and closings of nothing disarmed."""
    depth, parts = 0, []
    for segment in segments(text):
        part = segment.text
        if segment.kind != "code":
            part, depth = _pair(part, depth, _code_spans(part) if segment.kind == "prose" else [])
        parts.append(part)
    text = "".join(parts)
    probe = "end-of-quote"
    last = MARKDOWN.parse(f"{text}\n\n{probe}")[-1]
    if last.type == "fence" and last.content.rstrip().endswith(probe):
        text = f"{text.rstrip(chr(10))}\n{last.markup}"
    return text + "\n\n</details>" * depth


def _pair(part: str, depth: int, code: list[tuple[int, int]]) -> tuple[str, int]:
    """Return `part` with each `</details>` of nothing disarmed, and how many are open after it."""
    kept, last = [], 0
    for found in DETAILS.finditer(part):
        if any(start <= found.start() < end for start, end in code):
            continue
        if found[1] and depth == 0:
            kept += [part[last : found.start()], "&lt;"]
            last = found.start() + 1
        else:
            depth += -1 if found[1] else 1
    return "".join([*kept, part[last:]]), depth
