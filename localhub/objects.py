"""Git objects and refs of one bare repository, through the `git` binary."""

import os
import re
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

CONFIG = """\
[core]
\trepositoryformatversion = 0
\tbare = true
\tlogAllRefUpdates = false
[http]
\treceivepack = true
[uploadpack]
\tallowAnySHA1InWant = true
\tallowFilter = true
[receive]
\tfsckObjects = true
\tautogc = false
\thideRefs = refs/pull
\tunpackLimit = 5000
[gc]
\tauto = 0
"""
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
REMEMBERED = 4096
SHA = re.compile(r"[0-9a-f]{40}\Z")
T = TypeVar("T")

_PERSON = re.compile(rb"(?P<name>.*?) ?<(?P<email>[^>]*)> (?P<time>\d+) (?P<zone>[+-]\d{4})\Z")


class GitRefused(Exception):
    """Git said no; the message is what it printed."""


@dataclass(frozen=True)
class GitObject:
    """One object as stored: its name, its type (blob, tree, commit, tag) and its content."""

    sha: str
    kind: str
    data: bytes


@dataclass(frozen=True)
class Entry:
    """One line of a tree: mode as Git writes it (`100644`, `040000`), type, name and size of a blob."""

    path: str
    mode: str
    kind: str
    sha: str


@dataclass(frozen=True)
class Person:
    """Author or committer of a commit; `time` in seconds, `zone` as `+0000`."""

    name: str
    email: str
    time: int
    zone: str = "+0000"

    def line(self) -> str:
        """The person as a commit object writes it."""
        return f"{self.name} <{self.email}> {self.time} {self.zone}"


@dataclass(frozen=True)
class Commit:
    """A parsed commit object."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str
    signature: str = ""

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.partition("\n")[0]


@dataclass(frozen=True)
class FileChange:
    """One changed file between two trees, with its unified diff (empty for binary content)."""

    path: str
    previous: str
    status: str
    sha: str
    additions: int
    deletions: int
    patch: str


@dataclass(frozen=True)
class RefUpdate:
    """A ref to move from `before` to `after`; forty zeros mean absent."""

    ref: str
    before: str
    after: str


@dataclass(frozen=True)
class TreeEdit:
    """A change to a tree: `sha` None removes the path."""

    path: str
    mode: str
    kind: str
    sha: str | None


def git_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment every git process gets: nobody's configuration, no prompts, plain messages."""
    kept = {key: os.environ[key] for key in ("PATH", "TMPDIR") if key in os.environ}
    fixed = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "HOME": os.devnull,
        "LC_ALL": "C",
    }
    return kept | fixed | dict(extra or {})


def _stop(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
    process.terminate()
    process.wait()


class Objects:
    """The object database and the refs of one bare repository; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, ...], Any] = {}
        self._reader: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[[subprocess.Popen[bytes]], Objects] | None = None

    @classmethod
    def create(cls, path: Path, default_branch: str) -> "Objects":
        """Make a bare repository that serves fetches and pushes over HTTP."""
        for folder in ("objects", "refs", "info"):
            (path / folder).mkdir(parents=True)
        (path / "config").write_text(CONFIG)
        (path / "info/exclude").write_text("__pycache__/\n*.pyc\n.pytest_cache/\n")
        (path / "HEAD").write_text(f"ref: refs/heads/{default_branch}\n")
        return cls(path)

    def close(self) -> None:
        """Stop the reading process; the next read starts a new one."""
        with self._lock:
            if self._finalizer:
                self._finalizer()
            self._reader = self._finalizer = None

    def run(
        self,
        *arguments: str,
        data: bytes | None = None,
        ok: Sequence[int] = (0,),
        environment: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run git here and return what it printed; raises GitRefused for an exit status not in `ok`."""
        finished = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            input=b"" if data is None else data,
            capture_output=True,
            env=git_environment({"GIT_DIR": str(self.path), **(environment or {})}),
            check=False,
        )
        if finished.returncode not in ok:
            raise GitRefused(finished.stderr.decode(errors="replace").strip() or f"git {arguments[0]} failed")
        return finished.stdout

    # Reading goes through one long-lived `git cat-file`: a read costs microseconds, not a process.

    def _ask(self, line: str) -> tuple[str, str, bytes] | None:
        if "\n" in line or "\0" in line:
            return None
        with self._lock:
            process = self._reader or self._start_reader()
            assert process.stdin
            assert process.stdout
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
            header = process.stdout.readline().decode().rstrip("\n")
            parts = header.split(" ")
            if len(parts) != 3 or not SHA.match(parts[0]):
                return None
            content = b""
            if line.startswith("contents "):
                content = process.stdout.read(int(parts[2]))
                process.stdout.read(1)
            return parts[0], parts[1], content

    def _start_reader(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            ["git", "cat-file", "--batch-command"],
            cwd=self.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=git_environment({"GIT_DIR": str(self.path)}),
        )
        self._reader = process
        self._finalizer = weakref.finalize(self, _stop, process)
        return process

    def read(self, name: str) -> GitObject | None:
        """Return the object a name stands for (`SHA`, `SHA:path`, `refs/heads/x`), or None."""
        answer = self._ask(f"contents {name}")
        return GitObject(*answer) if answer else None

    def resolve(self, name: str) -> str | None:
        """Return the object name that a name stands for, or None."""
        answer = self._ask(f"info {name}")
        return answer[0] if answer else None

    def kind(self, name: str) -> str | None:
        """Return the type of an object, or None if there is no such object."""
        answer = self._ask(f"info {name}")
        return answer[1] if answer else None

    def commit(self, name: str) -> Commit | None:
        """Return the commit a name stands for, through annotated tags, or None."""
        found = self.read(f"{name}^{{commit}}")
        return parse_commit(found) if found else None

    def tree(self, name: str) -> list[Entry] | None:
        """Return the entries of a tree, or None if there is no such tree."""
        found = self.read(f"{name}^{{tree}}" if ":" not in name else name)
        return parse_tree(found.data) if found and found.kind == "tree" else None

    def walk(self, tree: str, prefix: str = "") -> Iterable[Entry]:
        """Yield every entry below a tree with its full path, folders before their content."""
        for entry in self.tree(tree) or []:
            yield Entry(prefix + entry.path, entry.mode, entry.kind, entry.sha)
            if entry.kind == "tree":
                yield from self.walk(entry.sha, f"{prefix}{entry.path}/")

    def sizes(self, shas: Iterable[str]) -> dict[str, int]:
        """Return the sizes of blobs."""
        listing = "".join(f"{sha}\n" for sha in shas)
        printed = self.run("cat-file", "--batch-check=%(objectname) %(objectsize)", data=listing.encode())
        pairs = (line.split(" ") for line in printed.decode().splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if pair[1].isdigit()}

    # Writing.

    def write(self, kind: str, data: bytes) -> str:
        """Store an object and return its name; a malformed tree or commit raises GitRefused."""
        return self.run("hash-object", "-t", kind, "-w", "--stdin", data=data).decode().strip()

    def write_tree(self, base: str | None, edits: Sequence[TreeEdit]) -> str:
        """Return the tree that `edits` make of `base`; removing what is not there raises GitRefused."""
        branches: dict[str, list[TreeEdit]] = {}
        leaves: list[TreeEdit] = []
        for edit in edits:
            folder, slash, rest = edit.path.partition("/")
            if slash:
                branches.setdefault(folder, []).append(TreeEdit(rest, edit.mode, edit.kind, edit.sha))
            else:
                leaves.append(edit)
        entries = {entry.path: entry for entry in (self.tree(base) or [] if base else [])}
        for leaf in leaves:
            if leaf.sha is None:
                if leaf.path not in entries:
                    raise GitRefused("GitRPC::BadObjectState")
                del entries[leaf.path]
            else:
                entries[leaf.path] = Entry(leaf.path, leaf.mode, leaf.kind, leaf.sha)
        for folder, below in branches.items():
            old = entries.pop(folder, None)
            sha = self.write_tree(old.sha if old and old.kind == "tree" else None, below)
            if self.tree(sha):
                entries[folder] = Entry(folder, "040000", "tree", sha)
        listing = "".join(f"{e.mode} {e.kind} {e.sha}\t{e.path}\0" for e in entries.values())
        return self.run("mktree", "-z", data=listing.encode(errors="surrogateescape")).decode().strip()

    def write_commit(
        self,
        tree: str,
        parents: Sequence[str],
        author: Person,
        committer: Person,
        message: str,
        signature: str = "",
    ) -> str:
        """Store a commit and return its name; `signature` is armoured text for its gpgsig header."""
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines += [f"author {author.line()}", f"committer {committer.line()}"]
        if signature:
            lines.append("gpgsig " + signature.rstrip("\n").replace("\n", "\n "))
        return self.write("commit", ("\n".join(lines) + "\n\n" + message).encode())

    def _once(self, make: Callable[[], T], what: str, *names: str) -> T:
        """Return what `make` returns, remembered where every name is a full SHA: objects never change."""
        if not all(SHA.match(name) for name in names):
            return make()
        key = (what, *names)
        if key not in self._answers:
            if len(self._answers) > REMEMBERED:
                self._answers.clear()
            self._answers[key] = make()
        found: T = self._answers[key]
        return found

    # Refs.

    def refs(self, prefix: str = "refs/") -> dict[str, str]:
        """Return the refs below a prefix (or the ref of exactly that name) and what they point to."""
        printed = self.run("for-each-ref", "--format=%(objectname) %(refname)", prefix.rstrip("/"))
        pairs = (line.split(" ", 1) for line in printed.decode().splitlines())
        return {name: sha for sha, name in pairs}

    def update_refs(self, updates: Sequence[RefUpdate]) -> None:
        """Move refs, all or none; raises GitRefused when one is not where `before` says."""
        script = "\0".join(["start", *(f"update {u.ref}\0{u.after}\0{u.before}" for u in updates), "commit"])
        self.run("update-ref", "-z", "--stdin", data=f"{script}\0".encode())

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` contains `old`."""

        def ask() -> bool:
            try:
                self.run("merge-base", "--is-ancestor", old, new)
            except GitRefused:
                return False
            return True

        return old == new or self._once(ask, "is-ancestor", old, new)

    def merge_base(self, one: str, other: str) -> str | None:
        """Return the newest common commit, or None for unrelated histories."""

        def ask() -> str | None:
            return self.run("merge-base", one, other, ok=(0, 1)).decode().strip() or None

        return self._once(ask, "merge-base", one, other)

    def between(self, base: str, head: str, limit: int = 250) -> list[str]:
        """Return the commits that `head` has and `base` has not, oldest first."""

        def ask() -> list[str]:
            printed = self.run("rev-list", "--topo-order", f"--max-count={limit}", head, f"^{base}")
            return list(reversed(printed.decode().split()))

        return self._once(ask, f"between {limit}", base, head)

    def history(self, head: str, path: str = "", limit: int = 100, skip: int = 0) -> list[str]:
        """Return the commits of a branch, newest first, that touched a path if one is given."""
        arguments = ["rev-list", f"--max-count={limit}", f"--skip={skip}", head]
        return self.run(*arguments, *(["--", path] if path else [])).decode().split()

    def merge_tree(self, base: str, head: str) -> str | None:
        """Return the tree of merging two commits, or None where they conflict."""

        def ask() -> str | None:
            lines = self.run(
                "merge-tree", "--write-tree", "--no-messages", base, head, ok=(0, 1)
            ).splitlines()
            return lines[0].decode() if len(lines) == 1 else None

        return self._once(ask, "merge-tree", base, head)

    def touched_in_new_commits(
        self, commit: str, folder: str, known: Sequence[str] = ("--all",)
    ) -> str | None:
        """Return a path below `folder` that commits not yet known to a ref change, or None."""
        printed = self.run("log", "--format=", "--name-only", "-m", commit, "--not", *known, "--", folder)
        names = printed.decode().split("\n")
        return next((name for name in names if name), None)

    def names_changed(
        self, after: str, exclude: Sequence[str], limit: int
    ) -> list[tuple[str, list[tuple[str, str]]]]:
        """Return new commits, oldest first, each with its (status letter, path) pairs."""
        known = [f"^{sha}" for sha in exclude]
        form = "--format=%x01%H"
        arguments = [
            "log",
            form,
            "--name-status",
            "--no-renames",
            "-z",
            "--topo-order",
            f"--max-count={limit}",
        ]
        printed = self.run(*arguments, after, *known).decode(errors="replace")
        found = []
        for block in printed.split("\x01")[1:]:
            words = [word.strip("\n") for word in block.split("\0")]
            pairs = list(zip(words[1::2], words[2::2], strict=False))
            found.append((words[0], [pair for pair in pairs if pair[0]]))
        return list(reversed(found))

    def diff(self, before: str, after: str) -> list[FileChange]:
        """Return what changed between two commits or trees, with patches."""

        def ask() -> list[FileChange]:
            raw = self.run("diff-tree", "-r", "-M", "--raw", "-z", "--abbrev=40", before, after)
            numbers = self.run("diff-tree", "-r", "-M", "--numstat", "-z", before, after)
            text = self.run("diff-tree", "-r", "-M", "-p", "--no-color", "--full-index", before, after)
            return _file_changes(raw.decode(errors="replace"), numbers.decode(errors="replace"), text)

        return self._once(ask, "diff", before, after)

    def read_folder(self, folder: Path) -> str:
        """Store the files of a folder, without what it ignores, and return their tree."""
        with tempfile.TemporaryDirectory() as scratch:
            private = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_WORK_TREE": str(folder.resolve())}
            self.run("-C", str(folder.resolve()), "add", "--all", ".", environment=private)
            return self.run("write-tree", environment=private).decode().strip()

    def check_out(self, commit: str, folder: Path) -> None:
        """Write a commit's files into a folder, without hooks and without a work tree of this repository."""
        with tempfile.TemporaryDirectory() as scratch:
            private = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_WORK_TREE": str(folder)}
            self.run("read-tree", commit, environment=private)
            self.run("-C", str(folder), "checkout-index", "--all", "--force", environment=private)


def parse_tree(data: bytes) -> list[Entry]:
    """Return the entries of a raw tree object."""
    entries = []
    position = 0
    while position < len(data):
        space = data.index(b" ", position)
        end = data.index(b"\0", space)
        mode = data[position:space].decode().zfill(6)
        kind = {"040000": "tree", "160000": "commit"}.get(mode, "blob")
        path = data[space + 1 : end].decode(errors="surrogateescape")
        entries.append(Entry(path, mode, kind, data[end + 1 : end + 21].hex()))
        position = end + 21
    return entries


def parse_person(line: bytes) -> Person:
    """Return the person of an author or committer line."""
    match = _PERSON.match(line)
    if not match:
        return Person(line.decode(errors="replace"), "", 0)
    name, email = match["name"].decode(errors="replace"), match["email"].decode(errors="replace")
    return Person(name, email, int(match["time"]), match["zone"].decode())


def parse_commit(found: GitObject) -> Commit:
    """Return a commit from its stored form."""
    head, _, message = found.data.partition(b"\n\n")
    fields: dict[str, list[bytes]] = {}
    key = ""
    for line in head.split(b"\n"):
        if line.startswith(b" ") and key:
            fields[key][-1] += b"\n" + line[1:]
            continue
        word, _, value = line.partition(b" ")
        key = word.decode()
        fields.setdefault(key, []).append(value)
    return Commit(
        sha=found.sha,
        tree=fields["tree"][0].decode(),
        parents=tuple(parent.decode() for parent in fields.get("parent", [])),
        author=parse_person(fields["author"][0]),
        committer=parse_person(fields["committer"][0]),
        message=message.decode(errors="replace"),
        signature=fields["gpgsig"][0].decode() if "gpgsig" in fields else "",
    )


def _file_changes(raw: str, numbers: str, text: bytes) -> list[FileChange]:
    patches = _patches(text.decode(errors="replace"))
    counts = _counts(numbers)
    words = raw.split("\0")
    changes: list[FileChange] = []
    position = 0
    names = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "T": "changed", "C": "copied"}
    while position < len(words) - 1:
        _, _, old, new, status = words[position].lstrip(":").split(" ")
        letter = status[0]
        previous = words[position + 1] if letter in "RC" else ""
        path = words[position + 2] if letter in "RC" else words[position + 1]
        position += 3 if letter in "RC" else 2
        added, removed = counts.get(path, (0, 0))
        sha = old if letter == "D" else new
        patch = patches[len(changes)] if len(changes) < len(patches) else ""
        changes.append(FileChange(path, previous, names[letter], sha, added, removed, patch))
    return changes


def _counts(numbers: str) -> dict[str, tuple[int, int]]:
    counts: dict[str, tuple[int, int]] = {}
    words = numbers.split("\0")
    position = 0
    while position < len(words) - 1:
        added, removed, path = words[position].split("\t", 2)
        position += 1
        if not path:
            path = words[position + 1]
            position += 2
        counts[path] = (int(added), int(removed)) if added.isdigit() else (0, 0)
    return counts


def _patches(text: str) -> list[str]:
    """Split a diff into the hunks of each file, without Git's own header lines."""
    patches = []
    for part in re.split(r"^diff --git .*\n", text, flags=re.MULTILINE)[1:]:
        hunk = part.find("@@ ") if part.startswith("@@ ") else part.find("\n@@ ") + 1
        patches.append(part[hunk:].rstrip("\n") if "@@ " in part else "")
    return patches
