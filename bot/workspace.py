"""A repository at a commit plus an attempt's edits, held as a Git tree overlay: there is no checkout."""

import os
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bot import scope
from bot.errors import UserError
from bot.grep import Hit, Tree, grep
from bot.mirror import SHA, GitError, GitTimeout, Mirror, ObjectReader, git
from bot.trees import (
    LARGEST,
    Change,
    Entry,
    encoded,
    entries_of,
    fold,
    fold_into,
    framed,
    name_of,
    parsed,
    text_of,
    tree_object,
)

__all__ = ["Change", "Entry", "GitError", "GitTimeout", "Hit", "Mirror", "Workspace", "git"]

# Inside the class `list` is its own method.
_Entries: TypeAlias = list[Entry]
_Changes: TypeAlias = list[Change]
_Hits: TypeAlias = list[Hit]
_Names: TypeAlias = list[str]


@dataclass(frozen=True)
class _Edit:
    mode: str
    content: bytes


class Workspace:
    """The tree of a commit with edits laid over it; new objects go to `folder`, never to the mirror."""

    def __init__(self, mirror: Mirror, commit: str, folder: Path) -> None:
        if not SHA.fullmatch(commit):
            raise UserError(f"{commit!r} is no commit.")
        self.commit = commit
        self._mirror = mirror
        self._objects = folder.absolute() / "objects"
        self._objects.mkdir(parents=True, exist_ok=True)
        self._env = {
            "GIT_OBJECT_DIRECTORY": str(self._objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(mirror.folder / "objects"),
        }
        self._reader = ObjectReader(mirror, self._env)
        self._edits: dict[str, _Edit | None] = {}
        self._base: dict[str, Entry] | None = None
        self._live: dict[str, Entry] | None = None
        self._folded: dict[str, set[str]] | None = None
        self._tree: str | None = None
        try:
            self.base_tree, _ = self._reader.read(f"{commit}^{{tree}}")
        except GitError:
            self._reader.close()
            raise

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the reading process; the folder is left to whoever gave it."""
        self._reader.close()

    def paths(self) -> Mapping[str, Entry]:
        """Return every path of the tree with the edits applied, in order."""
        if self._live is None:
            live = dict(self._at_base())
            for path, edit in self._edits.items():
                live.pop(path, None)
                if edit:
                    sha = name_of("blob", edit.content)
                    live[path] = Entry(path, edit.mode, "file", len(edit.content), sha)
            self._live = dict(sorted(live.items())) if self._edits else live
        return self._live

    def exists(self, path: str) -> bool:
        """Return whether there is anything at `path`."""
        return path in self.paths()

    def list(self, pattern: str) -> _Entries:
        """Return what matches a glob pattern or lies in the folder it names; `""` is everything."""
        wanted = self._wanted(pattern)
        return [entry for entry in self.paths().values() if not wanted or scope.matches(entry.path, wanted)]

    def read(self, path: str) -> str:
        """Return a text file; UserError where there is none, or none that can be shown as text."""
        entry = self.paths().get(path)
        if entry is None:
            raise UserError(self._nothing_at(path))
        edit = self._edits.get(path)
        return text_of(entry, edit.content if edit else self._content(entry))

    def content(self, path: str) -> str | None:
        """Return a text file as it is now, or None where there is none or it is no text."""
        try:
            return self.read(path)
        except UserError:
            return None

    def content_at_base(self, path: str) -> str | None:
        """Return a text file as the commit has it, or None where there is none or it is no text."""
        entry = self._at_base().get(path)
        if entry is None:
            return None
        try:
            return text_of(entry, self._content(entry))
        except UserError:
            return None

    def write(self, path: str, content: str, executable: bool | None = None) -> None:
        """Create or replace a text file; `executable` None keeps what was. UserError where it cannot be."""
        self._check_place(path)
        entry = self.paths().get(path)
        if entry:
            # What cannot be read as text is not replaced either: nobody has seen what would be lost.
            self.read(path)
        mode = entry.mode if entry else "100644"
        if executable is not None:
            mode = "100755" if executable else "100644"
        self._put(path, _Edit(mode, encoded(path, content)))

    def delete(self, path: str) -> None:
        """Delete a file; UserError where there is none, or a submodule."""
        entry = self.paths().get(path)
        if entry is None:
            raise UserError(self._nothing_at(path))
        if entry.kind != "file":
            raise UserError(f"`{path}` is a {entry.kind}, which is left as it is.")
        self._put(path, None)

    def move(self, old: str, new: str) -> None:
        """Move a text file to a place where nothing is; UserError where it cannot be."""
        content, mode = self.read(old), self.paths()[old].mode
        if self.exists(new):
            raise UserError(f"`{new}` exists already: delete it first, or choose another name.")
        before = dict(self._edits)
        self._put(old, None)
        try:
            self._check_place(new)
        except UserError:
            self._set(before)
            raise
        self._put(new, _Edit(mode, encoded(new, content)))

    def search(self, pattern: str, path: str = "", limit: int = 200, timeout: float = 20) -> _Hits:
        """Return lines that match an extended regular expression, in files whose path matches; UserError."""
        tree = Tree(self.tree(), self._mirror.folder, self._env)
        return grep(tree, pattern, self._wanted(path), limit, timeout)

    def tree(self) -> str:
        """Write the tree with all edits into the attempt's folder, and return its SHA."""
        if self._tree is None:
            nested: dict[str, Any] = {}
            for path, edit in sorted(self._edits.items(), key=lambda item: item[1] is not None):
                *folders, name = path.split("/")
                here = nested
                for folder in folders:
                    if not isinstance(here.get(folder), dict):
                        here[folder] = {}
                    here = here[folder]
                here[name] = edit and (edit.mode, self._write("blob", edit.content))
            self._tree = self._graft(self.base_tree, nested) or self._write("tree", b"")
        return self._tree

    def tree_of(self, commit: str) -> str:
        """Return the tree of another commit of the mirror."""
        name, _ = self._reader.read(f"{commit}^{{tree}}")
        return name

    def changes(self, against: str | None = None) -> _Changes:
        """Return what differs from the base, or from another tree or commit, as Git sees the two trees."""
        old, new = against or self.base_tree, self.tree()
        if not SHA.fullmatch(old):
            raise UserError(f"{old!r} is no commit or tree.")
        if old == new:
            return []
        kinds = ("--raw", "--numstat", "--no-abbrev")
        return parsed(self._diff(old, new, "-z", *kinds))

    def blob(self, sha: str) -> bytes:
        """Return the content of a blob of the base or of the edits."""
        if not SHA.fullmatch(sha):
            raise UserError(f"{sha!r} is no object.")
        return self._reader.read(sha)[1]

    def _at_base(self) -> dict[str, Entry]:
        if self._base is None:
            out = git("ls-tree", "-r", "-z", "-l", self.base_tree, git_dir=self._mirror.folder, env=self._env)
            kinds = {"120000": "symlink", "160000": "submodule"}
            base = {}
            for line in out.decode("utf-8", "replace").split("\0")[:-1]:
                fields, _, path = line.partition("\t")
                mode, _, sha, size = fields.split()
                base[path] = Entry(
                    path, mode, kinds.get(mode, "file"), int(size) if size.isdigit() else 0, sha
                )
            self._base = dict(sorted(base.items()))
        return self._base

    def _content(self, entry: Entry) -> bytes:
        """Return the bytes of a file of the base; empty for what `_text` refuses without looking."""
        if entry.kind != "file" or entry.size > LARGEST:
            return b""
        return self._reader.read(entry.sha)[1]

    def _put(self, path: str, edit: _Edit | None) -> None:
        """Lay one edit over the tree; one that changes nothing is dropped."""
        edits = dict(self._edits)
        edits.pop(path, None)
        base = self._at_base().get(path)
        same = edit and base and (edit.mode, name_of("blob", edit.content)) == (base.mode, base.sha)
        if not same and (edit or base):
            edits[path] = edit
        self._set(edits)

    def _set(self, edits: dict[str, _Edit | None]) -> None:
        self._edits = edits
        self._live = self._tree = None

    def _wanted(self, pattern: str) -> _Names:
        """Return the patterns a listing means: a folder's name stands for all that is in it."""
        pattern = pattern.strip().removeprefix("./").rstrip("/")
        if pattern in {"", "."}:
            return []
        if problem := scope.pattern_problem(pattern):
            raise UserError(f"`{pattern}`: {problem}")
        return [pattern, f"{pattern}/**"] if "**" not in pattern else [pattern]

    def _nothing_at(self, path: str) -> str:
        """Return a sentence that there is no file, with the ones that may have been meant."""
        paths = self.paths()
        folder = path.rstrip("/") + "/"
        if any(other.startswith(folder) for other in paths):
            return f"`{path}` is a folder: list it with `{folder}**`."
        name = path.rstrip("/").rpartition("/")[2].casefold()
        near = [other for other in paths if other.rpartition("/")[2].casefold() == name][:3]
        meant = f" Did you mean {' or '.join(f'`{one}`' for one in near)}?" if near else ""
        return f"There is no file `{path}`.{meant}"

    def _check_place(self, path: str) -> None:
        """Raise UserError where no file can be at `path`: by its spelling, or for what is there already."""
        if problem := scope.path_problem(path):
            raise UserError(problem)
        paths = self.paths()
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if above in paths:
                raise UserError(f"`{above}` is a {paths[above].kind}, so nothing can be in it.")
        if path not in paths and any(other.startswith(f"{path}/") for other in paths):
            raise UserError(f"`{path}` is a folder: choose another name.")
        for depth in range(1, len(parts) + 1):
            self._check_spelling("/".join(parts[:depth]))

    def _check_spelling(self, name: str) -> None:
        """Raise UserError where a path or folder exists that some systems take for `name`."""
        if self._folded is None:
            self._folded = {}
            fold_into(self._folded, self._at_base())
        edited: dict[str, set[str]] = {}
        fold_into(edited, (path for path, edit in self._edits.items() if edit))
        key = fold(name)
        spellings = self._folded.get(key, set()) | edited.get(key, set())
        alive = [one for one in spellings if self._is_alive(one)]
        if alive and name not in alive:
            raise UserError(f"`{name}` differs from `{min(alive)}` only in case or form: use that spelling.")

    def _is_alive(self, name: str) -> bool:
        paths = self.paths()
        return name in paths or any(path.startswith(f"{name}/") for path in paths)

    def _graft(self, tree: str | None, edits: Mapping[str, Any]) -> str | None:
        """Write `tree` with nested edits and return its SHA, or None where nothing is left in it."""
        if tree and not edits:
            return tree
        entries = entries_of(self._reader.read(tree)[1]) if tree else {}
        for name, edit in edits.items():
            key = name.encode()
            mode, sha = entries.pop(key, ("", ""))
            if isinstance(edit, dict):
                below = self._graft(sha if mode == "40000" else None, edit)
                if below:
                    entries[key] = ("40000", below)
            elif edit:
                entries[key] = edit
        return self._write("tree", tree_object(entries)) if entries else None

    def _write(self, kind: str, content: bytes) -> str:
        """Write a loose object into the attempt's folder and return its SHA."""
        sha = name_of(kind, content)
        place = self._objects / sha[:2] / sha[2:]
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=place.parent, prefix="tmp_obj_", delete=False) as file:
                file.write(zlib.compress(framed(kind, content), 1))
            os.replace(file.name, place)
        return sha

    def _diff(self, old: str, new: str, *kind: str) -> bytes:
        fixed = (
            "-r",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
            "--no-color",
            "--ignore-submodules=none",
        )
        return git("diff-tree", *fixed, *kind, old, new, git_dir=self._mirror.folder, env=self._env)
