"""What a phase may touch and leave behind: paths, size, tests, secrets, commit messages. Pure."""

import fnmatch
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

from wcmatch import glob

from bot.errors import FailureKind, UserError
from bot.sanitize import INVISIBLE, find_secrets, strip_invisible
from bot.weakening import TEST_FOLDERS, UNDOING, is_test, weakened

PROTECTED = (".github/**", ".gitlab-ci.yml", ".circleci/**", "Jenkinsfile", ".git*")
"""Never written by a model; matched without case, and a pattern without a slash at any depth."""
CI_FILES = (
    *(".travis.yml", "azure-pipelines.yml", "bitbucket-pipelines.yml", "appveyor.yml", ".appveyor.yml"),
    *(".drone.yml", ".buildkite/**", ".woodpecker/**", ".woodpecker.yml", ".semaphore/**", ".teamcity/**"),
    *("cloudbuild.yaml", "cloudbuild.yml", "codecov.yml", ".codecov.yml"),
)
LOCK_FILES: Mapping[str, tuple[str, ...]] = {
    "package-lock.json": ("package.json",),
    "npm-shrinkwrap.json": ("package.json",),
    "yarn.lock": ("package.json",),
    "pnpm-lock.yaml": ("package.json", "pnpm-workspace.yaml"),
    "bun.lock": ("package.json",),
    "bun.lockb": ("package.json",),
    "deno.lock": ("deno.json", "deno.jsonc", "package.json"),
    "poetry.lock": ("pyproject.toml",),
    "uv.lock": ("pyproject.toml",),
    "pdm.lock": ("pyproject.toml",),
    "Pipfile.lock": ("Pipfile",),
    "Cargo.lock": ("Cargo.toml",),
    "go.sum": ("go.mod",),
    "go.work.sum": ("go.work", "go.mod"),
    "Gemfile.lock": ("Gemfile", "*.gemspec"),
    "composer.lock": ("composer.json",),
    "mix.lock": ("mix.exs",),
    "pubspec.lock": ("pubspec.yaml",),
    "Package.resolved": ("Package.swift",),
    "gradle.lockfile": ("build.gradle", "build.gradle.kts"),
    "packages.lock.json": ("*.csproj", "*.fsproj"),
    "flake.lock": ("flake.nix",),
    "Chart.lock": ("Chart.yaml",),
    ".terraform.lock.hcl": ("*.tf",),
}
"""Lock file → the files of the same folder or below that it follows."""
GENERATED = (
    *("**/*.min.js", "**/*.min.css", "**/*.js.map", "**/*.css.map", "**/*.snap", "**/*.ambr"),
    *("**/*_pb2.py", "**/*_pb2.pyi", "**/*_pb2_grpc.py", "**/*.pb.go", "**/*.g.dart"),
)
FLAGS = glob.GLOBSTAR | glob.DOTGLOB | glob.FORCEUNIX
DEEPEST = 50
"""Folders of a path that is written; GitHub and Git manage more, people do not."""
COMMIT_TYPES = ("build", "chore", "ci", "docs", "feat", "fix", "perf", "refactor", "revert", "style", "test")


class Changed(Protocol):
    """One changed path of a diff, as `workspace.Change` has it."""

    @property
    def path(self) -> str:
        """Path in the repository."""

    @property
    def status(self) -> str:
        """`A`, `M` or `D`."""

    @property
    def old_mode(self) -> str:
        """Git mode before, `000000` for none."""

    @property
    def new_mode(self) -> str:
        """Git mode after, `000000` for none."""

    @property
    def added(self) -> int:
        """Lines added."""

    @property
    def removed(self) -> int:
        """Lines removed."""

    @property
    def binary(self) -> bool:
        """Whether Git shows no lines for it."""


Contents = Callable[[str], tuple[str | None, str | None]]
"""Path → its text before and after; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What one phase may change."""

    allowed: tuple[str, ...]
    owners: Mapping[str, int] = field(default_factory=dict)
    """Allowed pattern of another phase → that phase's number."""
    line_cap: int = 400
    grow: int = 3
    """Paths that `request_scope` may add in all."""
    siblings: bool = True
    protected: tuple[str, ...] = ()
    """The policy's patterns beside `PROTECTED`."""
    granted: tuple[str, ...] = ()
    """Paths that `request_scope` added, each exactly one."""
    allowed_by_person: tuple[str, ...] = ()
    """Patterns of `/allow`; the only way to a protected path, and only where it is named."""
    expects_tests: bool = False


def pattern_problem(pattern: str) -> str | None:
    """Return why `pattern` is no usable glob pattern, as a sentence about "it", or None."""
    problems = (
        (not pattern.strip(), "it is empty."),
        (len(pattern) > 500, "it is longer than 500 characters."),
        (
            pattern.startswith("/"),
            "it is absolute: write it from the repository's root, without the first `/`.",
        ),
        (
            pattern.startswith(("!", "#", "-")),
            f"it starts with `{pattern[:1]}`: name plainly what is allowed.",
        ),
        (
            re.search(r"\\(?![\[\]])", pattern),
            "it has a backslash: separate with `/` (only `\\[` and `\\]` escape).",
        ),
        (_is_hidden(pattern), "it holds an invisible or control character."),
        (unicodedata.normalize("NFC", pattern) != pattern, "it is not in Unicode form NFC."),
        (pattern != pattern.strip(), "it starts or ends with a space."),
        (pattern.endswith("/"), "it names a folder: end it in `/**` for all that is in the folder."),
        (set(pattern.split("/")) & {"", ".", ".."}, "it has an empty, `.` or `..` part."),
        (re.search(r"\{[^{}]*,[^{}]*\}", pattern), "it has `{a,b}`: write one pattern for each."),
        # More of them cost the square and the cube of a path's depth.
        (pattern.count("**") > 3, "it has more than three `**`."),
    )
    return next((sentence for wrong, sentence in problems if wrong), None)


def path_problem(path: str) -> str | None:
    """Return in one sentence why no file may be written at `path`, or None."""
    shown = f"`{_shown(path)}`"
    parts = path.split("/")
    problems = (
        (not path, "The path is empty."),
        (len(path) > 1000 or len(parts) > DEEPEST, f"{shown} is too long or too deep."),
        (
            path.startswith("/"),
            f"{shown} is absolute: write it from the repository's root, without the first `/`.",
        ),
        ("\\" in path, f"{shown} has a backslash: separate folders with `/`."),
        (_is_hidden(path), f"{shown} holds an invisible or control character."),
        (unicodedata.normalize("NFC", path) != path, f"{shown} is not in Unicode form NFC."),
        (
            set(parts) & {"", ".", ".."},
            f"{shown} has an empty, `.` or `..` part: write the plain path from the root.",
        ),
        (
            any(part[-1:] in {".", " "} for part in parts),
            f"{shown} has a part that ends with a dot or a space.",
        ),
        (any(_is_git_folder(part) for part in parts), f"{shown} would be Git's own folder on some system."),
        (
            any(len(part.encode("utf-8", "replace")) > 255 for part in parts),
            f"{shown} has a part of over 255 bytes.",
        ),
    )
    return next((sentence for wrong, sentence in problems if wrong), None)


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Return whether `path` is one of `patterns` or matches one; `**` crosses folders, dots are ordinary."""
    if path.count("/") > 2 * DEEPEST:
        return False
    return any(path == pattern or bool(_compiled(pattern).match(path)) for pattern in patterns)


def protected(path: str, extra: Iterable[str] = ()) -> bool:
    """Return whether `path` is protected by us or by the `extra` patterns, whatever its case."""
    return _under(path, (*PROTECTED, *extra))


def sibling(path: str, allowed: Iterable[str], paths: Iterable[str] = ()) -> bool:
    """Return whether `path` is a test, snapshot or lock file of an allowed one; `paths` are all there are."""
    allowed = tuple(allowed)
    known = {pattern for pattern in allowed if not re.search(r"[*?\[]", pattern)}
    folder, _, name = path.rpartition("/")
    if name in LOCK_FILES:
        return any(
            _follows(folder, name, other) and (other in known or matches(other, allowed))
            for other in {*known, *paths}
        )
    if "__snapshots__" in folder.split("/"):
        return _snapshot_of(path, allowed, {*known, *paths})
    return any(
        _tests(folder, name, other) and (other in known or matches(other, allowed))
        for other in {*known, *paths}
    )


def refusal(path: str, contract: Contract, paths: Iterable[str] = ()) -> str | None:
    """Return why a write to `path` is refused and what to do, or None; `paths` are the repository's."""
    problem = path_problem(path)
    if problem:
        return problem
    if protected(path, contract.protected) and not _named(path, contract):
        return (
            f"`{path}` is protected and no phase may change it: leave it as it is, or call `report_blocked` "
            f"so that a person with admin permission can answer `/allow {path}`."
        )
    patterns = (*contract.allowed, *contract.allowed_by_person)
    if path in contract.granted or matches(path, patterns):
        return None
    if (
        path not in contract.owners
        and contract.siblings
        and sibling(path, (*patterns, *contract.granted), paths)
    ):
        return None
    owners = _owners(path, contract)
    if owners:
        return f"`{path}` belongs to {owners}: leave it for then, and keep to {_listed(contract.allowed)}."
    if len(contract.granted) < contract.grow:
        left = contract.grow - len(contract.granted)
        return (
            f"`{path}` is outside this phase, which may touch {_listed(contract.allowed)}: do without it, or "
            f"call `request_scope` with the reason ({left} of {contract.grow} further paths left)."
        )
    return (
        f"`{path}` is outside this phase, and its {contract.grow} further paths are used up: do without it, "
        f"or call `report_blocked` so that a person can answer `/allow {path}`."
    )


def grant(path: str, contract: Contract, paths: Iterable[str] = ()) -> Contract:
    """Return the contract grown by the one `path`; raises UserError where only a person may grow it."""
    reason = refusal(path, contract, paths)
    if reason is None:
        return contract
    if path_problem(path) or protected(path, contract.protected) or _owners(path, contract):
        raise UserError(reason)
    if re.search(r"[*?]", path):
        raise UserError(f"`{_shown(path)}` is a pattern: ask for one file by its path.")
    if len(contract.granted) >= contract.grow:
        raise UserError(reason)
    return replace(contract, granted=(*contract.granted, path))


def review(
    changes: Sequence[Changed],
    contract: Contract,
    contents: Contents,
    *,
    paths: Iterable[str] = (),
    secrets: Iterable[str] = (),
) -> list[str]:
    """Return every reason why these changes may not be committed, one sentence each; none when they may."""
    if not changes:
        return ["Nothing was changed: do the phase's work first, or call `report_blocked` with the reason."]
    secrets = tuple(secrets)
    known = {*paths, *(change.path for change in changes)}
    refused = [refusal(change.path, contract, known) for change in changes]
    reasons = [reason for reason in refused if reason]
    texts = {change.path: contents(change.path) for change in changes if not change.binary}
    for change in changes:
        reasons += _mode_reasons(change, texts.get(change.path, (None, None))[1])
        reasons += _ci_reasons(change.path, contract)
    reasons += _size_reasons(changes, contract)
    if contract.expects_tests and not any(is_test(one.path) and one.status != "D" for one in changes):
        reasons.append(
            "The plan promises tests for this phase, and no test file was added or changed: write them."
        )
    reasons += weakened(texts)
    reasons += _secret_reasons(texts, secrets)
    return list(dict.fromkeys(reasons))


def obstacle(refusal: str) -> FailureKind | None:
    """Return what kept a phase from finishing, from the reasons `review` gave for it; None where it is neither."""
    if UNDOING.search(refusal):
        return FailureKind.TESTS_WEAKENED
    return FailureKind.TOO_LARGE if "lines and the phase may have" in refusal else None


def commit_message_problem(subject: str, body: str) -> str | None:
    """Return in one sentence why this is no conventional commit message, or None."""
    example = "like `feat(store): keep orders by customer`"
    if not subject.strip() or "\n" in subject or subject != subject.strip():
        return f"The commit subject must be one line without spaces around it, {example}."
    if not re.fullmatch(rf"(?:{'|'.join(COMMIT_TYPES)})(?:\([\w./, -]+\))?!?: \S.*", subject):
        return f"The commit subject must be `type(scope): what`, {example}; types: {', '.join(COMMIT_TYPES)}."
    if len(subject) > 72:
        return (
            f"The commit subject has {len(subject)} characters and may have 72: put the rest into the body."
        )
    if len(body) > 5000:
        return f"The commit body has {len(body)} characters and may have 5000: keep to why, not what."
    return None


def clean_message(text: str) -> str:
    """Return text fit for a commit: it skips no CI, closes no issue, calls nobody and forges no trailer."""
    text = without_skips(strip_invisible(text))
    text = ISSUE_ADDRESS.sub(r"\1 issue \2", text)
    text = ISSUE_NUMBER.sub(lambda found: f"{found[1] + ' ' if found[1] else ''}issue {found[2]}", text)
    text = MENTION.sub("(at)", text)
    return TRAILER.sub(lambda found: f"{found[1]}{found[2].replace('-', ' ')} -", text)


def without_skips(text: str) -> str:
    """Return text without the words by which a commit skips CI; a squash takes the pull request's text for one."""
    return SKIP_WORDS.sub(lambda found: f"({found[1] or found[2]})", text).replace("***NO_CI***", "NO_CI")


MENTION = re.compile(r"(?<![A-Za-z0-9_])@(?=[A-Za-z0-9])")
SKIP_WORDS = re.compile(r"\[\s*((?:skip|no)[ _-]+[\w-]+)\s*\]|\[\s*([\w-]+[ _-]+skip)\s*\]", re.IGNORECASE)
ISSUE_ADDRESS = re.compile(r"https?://[^\s/]+/([\w.-]+/[\w.-]+)/(?:issues|pull|discussions)/(\d+)[^\s)\]>]*")
ISSUE_NUMBER = re.compile(r"(?:(?<![\w/.-])([\w.-]+/[\w.-]+))?(?:(?<!&)#|\bGH-)(\d+)\b", re.IGNORECASE)
TRAILER = re.compile(
    r"^([ \t]*)(phasegate-[\w-]+|(?:skip|request)-checks|[a-z][a-z-]*-by)[ \t]*:", re.I | re.M
)


def _mode_reasons(change: Changed, after: str | None) -> list[str]:
    """Return what is wrong with the kind of file a change leaves or takes away."""
    modes = {change.old_mode, change.new_mode}
    if "120000" in modes:
        return [f"`{change.path}` is a symbolic link: leave it as it was."]
    if "160000" in modes:
        return [f"`{change.path}` is a submodule: leave it as it was."]
    if change.binary and change.status != "D":
        return [f"`{change.path}` is binary and cannot be reviewed: leave it out."]
    if change.new_mode == "100755" != change.old_mode and not (after or "").startswith("#!"):
        return [f"`{change.path}` became executable but does not start with `#!`: write it as a plain file."]
    return []


def _ci_reasons(path: str, contract: Contract) -> list[str]:
    if not _under(path, CI_FILES) or path in contract.allowed_by_person:
        return []
    return [f"`{path}` steers CI, which judges this work: leave it as it was."]


def _size_reasons(changes: Sequence[Changed], contract: Contract) -> list[str]:
    lines = sum(
        change.added + change.removed
        for change in changes
        if change.path.rpartition("/")[2] not in LOCK_FILES and not matches(change.path, GENERATED)
    )
    if lines <= contract.line_cap:
        return []
    return [
        f"The change has {lines} lines and the phase may have {contract.line_cap} (generated and lock files "
        "not counted): take out what the phase does not need."
    ]


def _secret_reasons(
    texts: Mapping[str, tuple[str | None, str | None]], secrets: tuple[str, ...]
) -> list[str]:
    """Return where a line that was not there before holds a secret."""
    reasons = []
    for path, (before, after) in texts.items():
        old = set((before or "").split("\n"))
        lines = (after or "").split("\n")
        reasons += [
            f"`{path}` line {finding.line} looks like {finding.kind}: take it out, read it from outside."
            for finding in find_secrets(after or "", secrets)
            if lines[finding.line - 1] not in old
        ]
    return reasons


def _shown(path: str) -> str:
    """Return `path` as it may stand in a sentence: one line, no backticks, not endless."""
    plain = INVISIBLE.sub("?", path).replace("`", "'").replace("\n", "?").replace("\t", "?")
    return plain if len(plain) <= 200 else f"{plain[:200]}…"


def _is_hidden(path: str) -> bool:
    return any(unicodedata.category(one) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for one in path) or bool(
        INVISIBLE.search(path)
    )


def _is_git_folder(part: str) -> bool:
    """Return whether some file system takes this name for `.git`: short names, streams, width and case."""
    plain = unicodedata.normalize("NFKC", part).casefold().split(":")[0].rstrip(". ")
    return plain == ".git" or bool(re.fullmatch(r"gi[a-z0-9]{0,4}~[0-9]+", plain))


@lru_cache(maxsize=2048)
def _compiled(pattern: str) -> glob.WcMatcher[str]:
    return glob.compile(pattern, flags=FLAGS)


def _under(path: str, patterns: Iterable[str]) -> bool:
    """Return whether a pattern names `path` or a folder above it, in any case; slashless at any depth."""
    path = unicodedata.normalize("NFC", path).casefold()
    for pattern in patterns:
        folded = unicodedata.normalize("NFC", pattern).casefold().removesuffix("/**").rstrip("/")
        if "/" in folded or pattern.endswith("/**"):
            if matches(path, (folded, f"{folded}/**")):
                return True
        elif any(matches(part, (folded,)) for part in path.split("/")):
            return True
    return False


def _named(path: str, contract: Contract) -> bool:
    """Return whether a person allowed this protected path by name, not by a pattern that only holds it."""
    for pattern in contract.allowed_by_person:
        head = re.split(r"[*?\[]", pattern)[0].rstrip("/")
        if path == pattern or (matches(path, (pattern,)) and protected(head, contract.protected)):
            return True
    return False


def _owners(path: str, contract: Contract) -> str:
    """Return the other phases that own `path` in words, or nothing."""
    numbers = sorted({phase for pattern, phase in contract.owners.items() if matches(path, (pattern,))})
    if len(numbers) < 2:
        return "".join(f"phase {number}" for number in numbers)
    return f"phases {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _listed(patterns: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{pattern}`" for pattern in patterns[:8])
    return shown + (f" and {len(patterns) - 8} more" if len(patterns) > 8 else "")


def _tests(folder: str, name: str, source: str) -> bool:
    """Return whether the file `name` in `folder` is by its name a test of `source`."""
    home, _, source_name = source.rpartition("/")
    stem = source_name.rpartition(".")[0] or source_name
    parts = folder.split("/")
    apart = bool(TEST_FOLDERS & {part.lower() for part in parts})
    if apart and name.startswith(f"test_{stem}"):
        return True
    endings = ("_test.", ".test.", ".spec.", "_spec.", "Test.", "Tests.")
    return (apart or folder == home) and name.startswith(tuple(stem + ending for ending in endings))


def _follows(folder: str, name: str, manifest: str) -> bool:
    home, _, manifest_name = manifest.rpartition("/")
    near = not folder or home == folder or home.startswith(f"{folder}/")
    return near and any(fnmatch.fnmatchcase(manifest_name, one) for one in LOCK_FILES[name])


def _snapshot_of(path: str, allowed: tuple[str, ...], paths: set[str]) -> bool:
    """Return whether a file under `__snapshots__/` belongs to an allowed file or to a sibling test of one."""
    home, _, rest = path.partition("__snapshots__/")
    first = rest.split("/")[0]
    stem = first if "/" in rest else first.rpartition(".")[0]
    test = home + stem
    owners = {other for other in paths if other == test or other.rpartition(".")[0] == test}
    if any(matches(owner, allowed) for owner in owners) or matches(test, allowed):
        return True
    return any(_tests(home.rstrip("/"), stem + ".", other) and matches(other, allowed) for other in paths)
