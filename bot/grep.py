"""Searches a tree with `git grep`: bounded in time, memory and output, and never by flags of the model's."""

import contextlib
import re
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot import mirror, scope
from bot.errors import UserError

LONGEST_LINE = 300
MOST_MEMORY = 1 << 30


@dataclass(frozen=True)
class Hit:
    """One line that a search found, counted from 1, cut where it is long."""

    path: str
    line: int
    text: str


@dataclass(frozen=True)
class Tree:
    """A tree and where its objects are: the mirror's folder, and Git's variables for a quarantine."""

    sha: str
    git_dir: Path
    env: Mapping[str, str]


def grep(tree: Tree, pattern: str, wanted: Sequence[str], limit: int, timeout: float) -> list[Hit]:
    """Return up to `limit` lines that match an extended regular expression, in files of the `wanted` globs.

    UserError where the pattern is none, or the search takes longer than `timeout` seconds.
    """
    _check(pattern)
    flags = ("-z", "-n", "-I", "-E", "--no-color")
    command = ("grep", *flags, "-e", pattern, tree.sha, "--", *_folders(wanted))
    process = mirror.start(command, tree.git_dir, tree.env)
    if sys.platform == "linux":
        # Nested repetitions make the C library ask for all the memory there is.
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    timer = threading.Timer(timeout, mirror.kill, [process])
    timer.start()
    try:
        hits = list(_hits(process, len(tree.sha) + 1, wanted, limit))
        enough = len(hits) >= limit
        error = b"" if enough or process.stderr is None else process.stderr.read()
        code = 0 if enough else process.wait()
    finally:
        timer.cancel()
        timer.join()
        mirror.end(process)
    if code < 0:
        raise UserError(
            f"The search took over {timeout:g} seconds: use a simpler pattern or a narrower path."
        )
    if code > 1:
        reason = error.decode("utf-8", "replace").strip().partition("': ")[2]
        raise UserError(f"`{pattern}` is no extended regular expression that works here: {reason or code}.")
    return hits


def _check(pattern: str) -> None:
    if not pattern or re.search(r"[\n\0]", pattern):
        raise UserError("The search pattern must be one line and not empty.")
    if len(pattern) > 1000:
        raise UserError("The search pattern is longer than 1,000 characters.")
    # The C library would take it for the letter, and find nothing without a word.
    if re.search(r"(?<!\\)(?:\\\\)*\\[dD]", pattern):
        raise UserError("Extended regular expressions have no `\\d`: write `[0-9]`, or `[^0-9]` for `\\D`.")


def _folders(patterns: Sequence[str]) -> list[str]:
    """Return the literal places all wanted files lie under, as Git's pathspecs; none for the whole tree."""
    places = set()
    for pattern in patterns:
        head = re.split(r"[*?\[\\]", pattern)[0]
        places.add(head if head == pattern else head.rpartition("/")[0])
    return [] if "" in places else sorted(places)


def _hits(process: subprocess.Popen[bytes], skip: int, wanted: Sequence[str], limit: int) -> Iterator[Hit]:
    """Yield up to `limit` lines of the wanted paths from the records of git grep: path, number and text."""
    found = 0
    while process.stdout and found < limit and (record := process.stdout.readline(1 << 16)):
        whole = record.endswith(b"\n")
        while not whole and (rest := process.stdout.readline(1 << 16)):
            whole = rest.endswith(b"\n")
        path, number, text = record.decode("utf-8", "replace")[skip:].split("\0", 2)
        if not wanted or scope.matches(path, wanted):
            found += 1
            text = text.rstrip("\r\n")
            yield Hit(path, int(number), text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]}…")
