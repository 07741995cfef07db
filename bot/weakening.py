"""Whether a change weakens the tests that judge it: tests, assertions, skips and thresholds. Pure."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

TEST_FOLDERS = {"test", "tests", "__tests__", "spec", "specs", "e2e"}
TEST_NAME = re.compile(
    r"^test_.*\.|^conftest\.py$|_test\.\w+$|\.(?:test|spec|cy)\.\w+$|_spec\.rb$|^Test\w+\.(?:java|kt)$|(?:Tests?|IT)\.(?:java|kt|cs)$"
)
CONFIG_NAME = re.compile(
    r"(?:^|/)(?:pyproject\.toml|pytest\.ini|setup\.cfg|tox\.ini|noxfile\.py|conftest\.py|package\.json|[Mm]akefile|"
    r"Rakefile|justfile|Taskfile\.ya?ml|\.rspec|\.mocharc\.\w+|(?:jest|vitest|karma|playwright)\.conf\w*\.\w+)$"
)
LOOSENING = re.compile(
    r"--deselect|--ignore(?:-glob)?\b|\bcollect_ignore|testPathIgnorePatterns|--passWithNoTests|continue-on-error"
    r"|\|\|\s*(?:true\b|:|exit 0)|\"test\"\s*:\s*\"(?:echo|exit 0|true|:)"
)
THRESHOLD = re.compile(
    r"\b((?:cov-)?fail[-_]under|min(?:imum)?[-_]coverage|branches|functions|lines|statements)"
    r"[\"']?[ \t]*[=: (][ \t]*[\"']?(\d+(?:\.\d+)?)|<(minimum)>(\d+(?:\.\d+)?)<"
)
THRESHOLD_FILE = re.compile(
    r"fail[-_]under|min(?:imum)?[-_]coverage|coverageThreshold|check-coverage|thresholds|jacoco"
)
UNDOING = re.compile(r": (?:put (?:it|them) back|take the skip out|undo that)\.$", re.MULTILINE)
"""How every sentence of `weakened` ends."""

Texts = Mapping[str, tuple[str | None, str | None]]
"""Path → text before and after, None where there is none."""


@dataclass(frozen=True)
class Language:
    """How tests look in one language: `test` names one in its last group, the rest is counted."""

    suffixes: tuple[str, ...]
    test: re.Pattern[str]
    assertion: re.Pattern[str]
    skip: re.Pattern[str]
    comment: re.Pattern[str]

    def code(self, text: str) -> str:
        """Return `text` without its comments, so that a test that was commented out is gone."""
        return self.comment.sub("", text)


_SLASHES = re.compile(r"/\*.*?\*/|(?<![:\"'\\])//[^\n]*", re.DOTALL)
LANGUAGES = (
    Language(
        (".py",),
        re.compile(r"^[ \t]*(?:async[ \t]+)?def[ \t]+(test\w*)", re.M),
        re.compile(
            r"\bassert\b(?!\s+(?:True|1)\s*(?:$|,))|\.assert\w*\(|\bpytest\.(?:raises|warns|fail)\(", re.M
        ),
        re.compile(
            r"\bmark\.(?:skip|skipif|xfail)\b|\bpytest\.(?:skip|xfail|importorskip)\(|\bunittest\.(?:skip\w*|expectedF)"
            r"|\bself\.skipTest\(|\b__test__\s*=\s*False|@(?:skip|skipIf|skipUnless|expectedFailure|xfail)\b"
        ),
        re.compile(r"\"\"\".*?\"\"\"|'''.*?'''|(?:^|(?<=\s))#[^\n]*", re.DOTALL),
    ),
    Language(
        (".js", ".jsx", ".ts", ".tsx", ".mjs", ".cjs", ".mts", ".cts"),
        re.compile(
            r"\b(?:it|test)(?:\.\w+)*[ \t]*(?:\([^()\n]*\)[ \t]*)?\([ \t\n]*([\"'`])((?:\\.|(?!\1).)*)\1"
        ),
        re.compile(r"\bexpect(?:\.\w+)?\s*\((?!\s*true\s*\)\s*\.toBe)|\bassert(?:\.\w+)*\s*\(|\.should\b"),
        re.compile(
            r"\b(?:it|test|describe|context|suite)\.(?:skip\w*|todo|only|fixme|failing|fails)\b"
            r"|\b[xf](?:it|describe|context|test)\s*\(|\bthis\.skip\("
        ),
        _SLASHES,
    ),
    Language(
        (".go",),
        re.compile(r"^func[ \t]+((?:Test|Fuzz|Example|Benchmark)\w*)[ \t]*\(", re.M),
        re.compile(r"\bt\.(?:Error|Errorf|Fatal|Fatalf|Fail|FailNow)\(|\b(?:assert|require|qt|is)\.\w+\("),
        re.compile(r"\b[tb]\.Skip|//go:build\s+ignore|testing\.Short\("),
        re.compile(r"/\*.*?\*/|(?<![:\"'\\])//(?!go:build)[^\n]*", re.DOTALL),
    ),
    Language(
        (".rb",),
        re.compile(
            r"^[ \t]*(?:(?:it|specify|scenario|test)[ \t]*\(?[ \t]*[\"']([^\"'\n]*)|def[ \t]+(test_\w+))",
            re.M,
        ),
        re.compile(r"\bexpect\b|\bis_expected\b|\bassert\w*|\brefute\w*|\.should\b|\bmust_\w+|\bwont_\w+"),
        re.compile(
            r"^\s*(?:skip|pending)\b|\b[xf](?:it|describe|context|specify)\b|,\s*(?:skip|pending|focus):",
            re.M,
        ),
        re.compile(r"(?:^|(?<=\s))#[^\n]*|^=begin.*?^=end", re.DOTALL | re.M),
    ),
    Language(
        (".java", ".kt"),
        re.compile(
            r"@(?:Test|ParameterizedTest|RepeatedTest|TestFactory)\b(?:(?!@Test\b).){0,600}?"
            r"\b(?:void|fun)\s+`?([\w ]+)`?\s*\(",
            re.DOTALL,
        ),
        re.compile(r"\b(?:assert\w*|verify|fail|expect\w*)\s*(?:<[^<>]*>)?\(|\bassert\s"),
        re.compile(r"@(?:Disabled|Ignore)\w*|\bassume\w+\("),
        _SLASHES,
    ),
)


@dataclass(frozen=True)
class _Test:
    """One test of one file; the name is empty for what stands before the first."""

    path: str
    name: str
    lines: tuple[str, ...]
    assertions: int


def _split(path: str, text: str, language: Language) -> list[_Test]:
    """Return the tests of a file in order, the code before the first one included."""
    code = language.code(text)
    starts = list(language.test.finditer(code))
    ends = [*(found.start() for found in starts), len(code)]
    pieces = [("", code[: ends[0]])]
    pieces += [
        (next(filter(None, reversed(found.groups())), ""), code[found.end() : end])
        for found, end in zip(starts, ends[1:], strict=True)
    ]
    return [
        _Test(
            path,
            name,
            tuple(line.strip() for line in body.splitlines() if line.strip()),
            len(language.assertion.findall(body)),
        )
        for name, body in pieces
    ]


def _weaker(before: list[_Test], after: list[_Test]) -> list[str]:
    """Return which tests are gone and which lost assertions; a moved or renamed one is found by its lines."""
    rest = list(after)
    pairs: list[tuple[_Test, _Test | None]] = []
    for same in (_is_same, _is_moved, _is_renamed):
        done = {id(test) for test, _ in pairs}
        for test in before:
            partner = next((one for one in rest if same(test, one)), None) if id(test) not in done else None
            if partner:
                rest.remove(partner)
                pairs.append((test, partner))
    found = {id(test) for test, _ in pairs}
    gone = [test for test in before if test.name and id(test) not in found]
    reasons = [f"The test `{test.name}` of `{test.path}` is gone: put it back." for test in gone]
    for test, partner in pairs:
        if partner and partner.assertions < test.assertions:
            what = f"The test `{test.name}`" if test.name else "The code the tests share"
            lost = test.assertions - partner.assertions
            reasons.append(
                f"{what} in `{test.path}` lost {lost} of {test.assertions} assertions: put them back."
            )
    return reasons


def _is_same(old: _Test, new: _Test) -> bool:
    return (old.path, old.name) == (new.path, new.name)


def _is_moved(old: _Test, new: _Test) -> bool:
    return bool(old.name) and old.name == new.name


def _is_renamed(old: _Test, new: _Test) -> bool:
    if not old.name or not new.name:
        return False
    shared = (Counter(old.lines) & Counter(new.lines)).total()
    return shared * 2 >= max(len(old.lines), len(new.lines), 1)


def _lowered(texts: Texts) -> list[str]:
    """Return which coverage thresholds fell or went, over all files, so that one may move."""
    bars: tuple[dict[str, list[float]], dict[str, list[float]]] = ({}, {})
    for pair in texts.values():
        for side, text in zip(bars, pair, strict=True):
            if text and THRESHOLD_FILE.search(text):
                for found in THRESHOLD.finditer(text):
                    key = (found[1] or found[3]).replace("-", "_")
                    side.setdefault(key, []).append(float(found[2] or found[4]))
    reasons = []
    for key, old in bars[0].items():
        new = sorted(bars[1].get(key, []), reverse=True)
        if any(index >= len(new) or new[index] < bar for index, bar in enumerate(sorted(old, reverse=True))):
            reasons.append(f"The coverage threshold `{key}` was lowered or removed: put it back.")
    return reasons


def is_test(path: str) -> bool:
    """Return whether `path` is a test file by its name or folder."""
    folder, _, name = path.rpartition("/")
    return bool(TEST_NAME.search(name)) or bool(TEST_FOLDERS & set(folder.lower().split("/")))


def weakened(texts: Texts) -> list[str]:
    """Return how the tests got weaker from the texts before to those after; light, and rather strict."""
    reasons: list[str] = []
    for language in LANGUAGES:
        pairs = {
            path: pair for path, pair in texts.items() if is_test(path) and path.endswith(language.suffixes)
        }
        before = [test for path, (text, _) in pairs.items() if text for test in _split(path, text, language)]
        after = [test for path, (_, text) in pairs.items() if text for test in _split(path, text, language)]
        reasons += _weaker(before, after)
        for path, (old, new) in pairs.items():
            skips = [len(language.skip.findall(language.code(text or ""))) for text in (old, new)]
            if skips[1] > skips[0]:
                reasons.append(f"`{path}` skips or narrows tests that ran before: take the skip out.")
    for path, (old, new) in texts.items():
        loose = [len(LOOSENING.findall(text or "")) for text in (old, new)]
        if CONFIG_NAME.search(path) and loose[1] > loose[0]:
            reasons.append(f"`{path}` makes the test run ignore failures or tests: undo that.")
    return reasons + _lowered(texts)
