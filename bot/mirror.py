"""The one place that runs Git, and the bare mirror of a repository: a cache of the commits builds need."""

import base64
import contextlib
import fcntl
import glob
import ipaddress
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bot import sanitize
from bot.errors import Denied, Missing, SettingsError, Transient, UserError

SHA = re.compile(r"[0-9a-f]{40}")
_REF = re.compile(r"refs/[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9_][\w.-]*)+")
_DAMAGED = "damaged"
"""A file in a mirror that asks for a new one at the next fetch."""
_CORRUPT = re.compile(
    r"corrupt|unable to (?:read|find)|bad object|missing (?:blob|tree|commit)|inflate|packfile .*pack"
)
# Whatever the tree, the system or the operator's account says about Git, it means the same here.
_CONFIG = (
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "core.quotePath=false",
    "core.symlinks=true",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.askPass=",
    "credential.helper=",
    "safe.bareRepository=explicit",
    "protocol.allow=never",
    "protocol.https.allow=always",
    "http.followRedirects=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
    "transfer.credentialsInUrl=die",
    "transfer.bundleURI=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "gc.autoDetach=false",
    "grep.threads=2",
    "diff.renames=false",
    "color.ui=false",
)
_KEPT_VARIABLES = (
    *("PATH", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *(
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ),
)
# Over the tree's own .gitattributes, which could hide a change from the diff or run a filter.
_ATTRIBUTES = "* !text !eol !filter !ident !working-tree-encoding !diff !merge !export-subst !export-ignore\n"


class GitError(Transient):
    """Git failed; `command`, `code` and `stderr` say how, and none of them holds a token."""

    def __init__(self, command: Sequence[str], code: int, stderr: str) -> None:
        super().__init__(f"`git {' '.join(command)}` ended with {code}: {stderr.strip()}")
        self.command = tuple(command)
        self.code = code
        self.stderr = stderr


class GitTimeout(GitError):
    """Git took longer than it was given and was killed."""


def git(
    *args: str,
    git_dir: Path | None,
    env: Mapping[str, str] = {},
    stdin: bytes = b"",
    timeout: float = 60,
    keep: Sequence[int] = (),
) -> bytes:
    """Run git and return what it wrote; GitError when it fails, GitTimeout after `timeout` seconds.

    The file descriptors `keep` stay open in git, so that a lock outlives this process with it.
    """
    process = start(args, git_dir, env, keep)
    try:
        out, err = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise GitTimeout(args, -signal.SIGKILL, f"no end after {timeout:g} seconds") from None
    finally:
        end(process)
    if process.returncode:
        tokens = [value.rpartition(" ")[2] for value in env.values() if value.startswith("Authorization:")]
        raise GitError(args, process.returncode, sanitize.redact(err.decode("utf-8", "replace"), tokens))
    return out


def start(
    args: Sequence[str],
    git_dir: Path | None,
    env: Mapping[str, str],
    keep: Sequence[int] = (),
    *,
    errors: int = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Start git with nothing of our environment but what it takes to reach the network."""
    clean = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    if "SSL_CERT_FILE" in clean:
        clean["GIT_SSL_CAINFO"] = clean["SSL_CERT_FILE"]
    clean |= {
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_LAZY_FETCH": "1",
    }
    if git_dir is not None:
        clean["GIT_DIR"] = str(git_dir)
    settings = [part for setting in _CONFIG for part in ("-c", setting)]
    try:
        return subprocess.Popen(
            ["git", *settings, *args],
            env={**clean, **env},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            pass_fds=tuple(keep),
        )
    except FileNotFoundError as error:
        raise SettingsError("The program `git` is not installed, or not on the PATH.") from error


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a git process that still runs, and its children."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of a git process: not its children, which hold its pipes, nor our ends of them."""
    kill(process)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    process.wait()


class Mirror:
    """One bare repository per repository on GitHub, a cache: whole trees of the commits that builds need."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder.absolute()
        self.url = url
        self._loopback = _checked(url)

    def fetch(self, ref_or_sha: str, into: str, token: str) -> str:
        """Have a branch, ref or commit under the ref `into`, and return the commit; may raise Missing."""
        source = _source(ref_or_sha)
        if not _REF.fullmatch(into) or ".." in into or into.endswith((".lock", ".")):
            raise UserError(f"{into!r} is no ref to fetch into.")
        with self._locked() as lock:
            self._prepare(lock)
            try:
                if SHA.fullmatch(source) and self.has(source):
                    git("update-ref", into, source, git_dir=self.folder, keep=[lock])
                else:
                    self._download(source, into, token, lock)
                commit = git("rev-parse", "--verify", "--quiet", f"{into}^{{commit}}", git_dir=self.folder)
            except GitError as error:
                if _CORRUPT.search(error.stderr) or error.command[0] == "rev-parse":
                    self.distrust()
                raise
            return commit.decode().strip()

    def has(self, sha: str) -> bool:
        """Return whether the whole tree of the commit `sha` is here."""
        # A ref is only written after its objects, so it tells more than an object left by a killed fetch.
        if not (self.folder / "HEAD").exists() or (self.folder / _DAMAGED).exists():
            return False
        refs = git("for-each-ref", "--format=%(objectname)", git_dir=self.folder)
        return sha.encode() in refs.split()

    def distrust(self) -> None:
        """Have the mirror made anew at the next fetch, because an object in it is missing or damaged."""
        with contextlib.suppress(FileNotFoundError):
            (self.folder / _DAMAGED).touch()

    @contextlib.contextmanager
    def _locked(self, timeout: float = 900) -> Iterator[int]:
        """Hold the mirror's lock, which git children inherit: a fetch that outlives us still holds it."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{self.folder}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + timeout
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise Transient(
                            f"The mirror {self.folder.name} has been busy for too long."
                        ) from None
                    time.sleep(0.02)
            yield lock
        finally:
            os.close(lock)

    def _prepare(self, lock: int) -> None:
        """Make the mirror where there is none, and clear what a killed process left; only under the lock."""
        for left in glob.glob(f"{glob.escape(str(self.folder))}.tmp-*"):
            shutil.rmtree(left, ignore_errors=True)
        sound = (self.folder / "HEAD").exists() and not (self.folder / _DAMAGED).exists()
        if sound:
            for place in (self.folder, self.folder / "objects" / "info"):
                _unlink(place.glob("*.lock"))
            _unlink((self.folder / "refs").rglob("*.lock"))
            _unlink((self.folder / "objects" / "pack").glob("tmp_*"))
            _unlink((self.folder / "objects" / "pack").glob(".tmp-*"))
            return
        if self.folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f"{self.folder.name}.tmp-", dir=self.folder.parent))
            self.folder.rename(old / "old")
            shutil.rmtree(old, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{self.folder.name}.tmp-", dir=self.folder.parent))
        git("init", "--quiet", "--bare", "--template=", str(fresh), git_dir=None, keep=[lock])
        (fresh / "info").mkdir()
        (fresh / "info" / "attributes").write_text(_ATTRIBUTES)
        fresh.rename(self.folder)

    def _download(self, source: str, into: str, token: str, lock: int) -> None:
        """Fetch one commit and its tree, without history: nothing here looks at a commit's parents."""
        basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        pairs = {f"http.{self.url}.extraHeader": f"Authorization: Basic {basic}"}
        if self._loopback:
            pairs |= {"protocol.http.allow": "always", "http.proxy": ""}
        env = {"GIT_CONFIG_COUNT": str(len(pairs))}
        for number, (key, value) in enumerate(pairs.items()):
            env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        flags = (
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--refmap=",
        )
        command = ("fetch", *flags, "--no-recurse-submodules", self.url, f"+{source}:{into}")
        try:
            git(*command, git_dir=self.folder, env=env, timeout=600, keep=[lock])
        except GitError as error:
            raise _named(error, source) from error
        # A fetch adds a pack; many packs make every read slower. Young unreachable objects stay.
        tidy = ("-c", "gc.auto=5000", "-c", "gc.autoPackLimit=50", "gc", "--auto", "--quiet")
        with contextlib.suppress(GitError):
            git(*tidy, git_dir=self.folder, timeout=600, keep=[lock])


def _unlink(paths: Iterable[Path]) -> None:
    for path in list(paths):
        path.unlink(missing_ok=True)


def _checked(url: str) -> bool:
    """Return whether `url` is on this machine; SettingsError where a token must not be sent there."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    allowed = parts.scheme == "https" or (parts.scheme == "http" and loopback)
    if not allowed or not host or parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError(
            "Repositories are fetched by https from a plain address; http only from this machine."
        )
    return loopback


def _source(ref_or_sha: str) -> str:
    """Return the left side of a refspec; UserError where it could mean more than one ref."""
    if re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock$|\.$|/$|^/|^$|^\.|/\.", ref_or_sha):
        raise UserError(f"{ref_or_sha!r} is no branch, ref or commit.")
    if SHA.fullmatch(ref_or_sha) or ref_or_sha.startswith("refs/") or ref_or_sha == "HEAD":
        return ref_or_sha
    return f"refs/heads/{ref_or_sha}"


def _named(error: GitError, source: str) -> Exception:
    """Return what a failed fetch means to us, by the words of git and the status of the server."""
    if re.search(
        r"couldn't find remote ref|not our ref|unadvertised object|repository .* not found", error.stderr
    ):
        return Missing(f"GitHub has no `{source}`.")
    if re.search(r"returned error: 403", error.stderr):
        return Denied(f"GitHub refuses to let this App read the repository's content: {error.stderr.strip()}")
    return error


class ObjectReader:
    """One `git cat-file --batch`, used by one thread at a time and started again where it died."""

    def __init__(self, mirror: Mirror, env: Mapping[str, str]) -> None:
        self._mirror = mirror
        self._env = env
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, name: str) -> tuple[str, bytes]:
        """Return the SHA and the content of an object; GitError where it is not there."""
        with self._lock:
            process = self._process or start(
                ("cat-file", "--batch"), self._mirror.folder, self._env, errors=subprocess.DEVNULL
            )
            self._process = process
            header, content = _ask(process, name)
            if len(header) != 3:
                # Either git died or the mirror lost an object of a tree it has: both heal with a new mirror.
                if not header:
                    self._end()
                self._mirror.distrust()
                raise GitError(("cat-file", name), 1, "the object cannot be read")
            return header[0], content

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process:
            end(process)


def _ask(process: subprocess.Popen[bytes], name: str) -> tuple[list[str], bytes]:
    """Return the words of a batch answer and its content; no words where git has ended."""
    if process.stdin is None or process.stdout is None:
        return [], b""
    try:
        process.stdin.write(f"{name}\n".encode())
        process.stdin.flush()
    except BrokenPipeError:
        return [], b""
    header = process.stdout.readline().decode("utf-8", "replace").split()
    if len(header) != 3 or not header[2].isdigit():
        return header[:2], b""
    content = process.stdout.read(int(header[2]) + 1)
    return (header, content[:-1]) if len(content) == int(header[2]) + 1 else ([], b"")
