"""Git's tree objects and diffs as values: read, written and compared without a process. Pure."""

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bot.errors import UserError

LARGEST = 1024 * 1024
"""Bytes of a file that may be read or written; a larger one can only be listed or deleted."""
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Entry:
    """One path of the tree: `kind` is `file`, `symlink` or `submodule`, `size` in bytes."""

    path: str
    mode: str
    kind: str
    size: int
    sha: str = ""


@dataclass(frozen=True)
class Change:
    """One changed path between two trees: `status` is `A`, `M` or `D`, lines are 0 where `binary`."""

    path: str
    status: str
    old_mode: str
    new_mode: str
    old_sha: str
    new_sha: str
    added: int
    removed: int
    binary: bool


def text_of(entry: Entry, content: bytes) -> str:
    """Return the text of a file; UserError that says why it has none."""
    if entry.kind != "file":
        raise UserError(f"`{entry.path}` is a {entry.kind}, which is not followed.")
    if entry.size > LARGEST:
        raise UserError(
            f"`{entry.path}` has {entry.size:,} bytes; files over 1 MiB are neither read nor edited."
        )
    if content.startswith(_LFS_POINTER):
        raise UserError(f"`{entry.path}` is kept in Git LFS, outside the repository: leave it as it is.")
    if b"\0" in content:
        raise UserError(f"`{entry.path}` is binary; it can be listed, not read or edited.")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise UserError(f"`{entry.path}` is not UTF-8 text; it can be listed, not read or edited.") from None


def encoded(path: str, content: str) -> bytes:
    """Return the bytes of a text file to write; UserError that says why it cannot be one."""
    try:
        data = content.encode()
    except UnicodeEncodeError:
        raise UserError(f"The content for `{path}` holds characters that are no Unicode text.") from None
    if b"\0" in data:
        raise UserError(f"The content for `{path}` holds NUL characters: only text can be written.")
    if len(data) > LARGEST:
        raise UserError(f"The content for `{path}` has {len(data):,} bytes; a file may have 1 MiB.")
    return data


def fold(path: str) -> str:
    """Return a path as systems see it that tell neither case nor Unicode forms apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def fold_into(folded: dict[str, set[str]], paths: Iterable[str]) -> None:
    """Add each path and each folder above it under its spelling without case."""
    seen: set[str] = set()
    for path in paths:
        name = path
        while name and name not in seen:
            seen.add(name)
            folded.setdefault(fold(name), set()).add(name)
            name = name.rpartition("/")[0]


def framed(kind: str, content: bytes) -> bytes:
    """Return an object as Git hashes and stores it."""
    return f"{kind} {len(content)}\0".encode() + content


def name_of(kind: str, content: bytes) -> str:
    """Return the SHA of an object."""
    return hashlib.sha1(framed(kind, content), usedforsecurity=False).hexdigest()


def entries_of(content: bytes) -> dict[bytes, tuple[str, str]]:
    """Return the entries of a tree object: name → (mode, SHA), modes as Git writes them today."""
    entries, at = {}, 0
    while at < len(content):
        end = content.index(b"\0", at)
        mode, _, name = content[at:end].partition(b" ")
        entries[name] = (_canonical(int(mode, 8)), content[end + 1 : end + 21].hex())
        at = end + 21
    return entries


def _canonical(mode: int) -> str:
    """Return a mode as Git's index keeps it: old trees hold 100664 and zero-padded ones."""
    if mode & 0o170000 == 0o100000:
        return "100755" if mode & 0o100 else "100644"
    return f"{mode:o}"


def tree_object(entries: Mapping[bytes, tuple[str, str]]) -> bytes:
    """Return the content of a tree object, in Git's order: a folder sorts as if its name ended in a slash."""
    order = sorted(entries.items(), key=lambda item: item[0] + b"/" if item[1][0] == "40000" else item[0])
    return b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(sha) for name, (mode, sha) in order)


def parsed(out: bytes) -> list[Change]:
    """Return the changes in the output of `diff-tree -z --raw --numstat`: raw records, then counts."""
    fields = out.decode("utf-8", "replace").split("\0")
    raw: list[list[str]] = []
    at = 0
    while at < len(fields) and fields[at].startswith(":"):
        raw.append([*fields[at][1:].split(" "), fields[at + 1]])
        at += 2
    counts = {
        path: (added, removed) for added, removed, path in (one.split("\t", 2) for one in fields[at:-1])
    }
    changes = []
    for old_mode, new_mode, old_sha, new_sha, status, path in raw:
        added, removed = counts[path]
        binary = added == "-"
        lines = (0, 0) if binary else (int(added), int(removed))
        kind = "M" if status == "T" else status
        changes.append(Change(path, kind, old_mode, new_mode, old_sha, new_sha, *lines, binary))
    return changes
