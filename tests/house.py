"""The house numbers: prints them and fails where one is passed. Run by .ci/run after the linters."""

import ast
import io
import re
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("bot", "handlers", "localhub", "localmodel")
FILE_LINES, FUNCTION_P95, FUNCTION_MAX = 400, 40, 70
BROAD = re.compile(r"^\s*except( BaseException| Exception)?( as \w+)?:", re.MULTILINE)
BROAD_PLACES = {"bot/bugs.py": 1, "bot/main.py": 1}
"""Where everything is caught on purpose: the job loop, and what closes half-made parts at the start."""


def code_lines(source: str) -> int:
    """Return the number of lines that hold code, not comments, docstrings or nothing."""
    docstrings = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                docstrings |= set(range(value.lineno, (value.end_lineno or value.lineno) + 1))
    lines = set()
    skipped = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def functions(source: str) -> list[tuple[str, int]]:
    """Return (name, lines) of every function, docstring left out."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            start = (first.end_lineno or first.lineno) if documented else node.lineno
            found.append((node.name, (node.end_lineno or node.lineno) - start))
    return found


def main() -> int:
    """Measure, print, and return 1 where a number is passed."""
    faults, sizes, lengths = [], [], []
    written = (p for package in PACKAGES for p in (ROOT / package).rglob("*.py") if "versions" not in p.parts)
    for path in sorted(written):
        name, source = str(path.relative_to(ROOT)), path.read_text()
        size = code_lines(source)
        sizes.append(size)
        if size > FILE_LINES:
            faults.append(f"{name}: {size} code lines, more than {FILE_LINES}")
        for function, length in functions(source):
            lengths.append(length)
            if length > FUNCTION_MAX:
                faults.append(f"{name}: {function} has {length} lines, more than {FUNCTION_MAX}")
        broad = len(BROAD.findall(source))
        if broad > BROAD_PLACES.get(name, 0):
            faults.append(f"{name}: {broad} broad except, allowed {BROAD_PLACES.get(name, 0)}")
        if "TYPE_CHECKING" in source:
            faults.append(f"{name}: TYPE_CHECKING hides an import cycle")
    sizes.sort()
    lengths.sort()
    p95 = lengths[int(len(lengths) * 0.95)]
    if p95 > FUNCTION_P95:
        faults.append(f"function p95 is {p95}, more than {FUNCTION_P95}")
    print(f"files {len(sizes)}: median {sizes[len(sizes) // 2]}, largest {sizes[-1]} code lines")
    print(
        f"functions {len(lengths)}: median {lengths[len(lengths) // 2]}, p95 {p95}, largest {lengths[-1]} lines"
    )
    for fault in faults:
        print(f"FAULT {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
