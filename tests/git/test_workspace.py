"""The mirror and the tree overlay, on real repositories served over real HTTP."""

import base64
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot import scope
from bot.errors import Denied, Missing, SettingsError, Transient, UserError
from bot.workspace import Change, GitError, GitTimeout, Mirror, Workspace, git

TOKEN = "ghs_averysecretinstallationtoken0123456789"
BASE = "refs/builds/12/base"
ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    **{
        f"GIT_{who}_{what}": "tester@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
}
FILES = {
    "README.md": "# Shop\n",
    "src/shop/cart.py": "def total(items):\n    return sum(items)\n",
    "src/shop/__init__.py": "",
    "tests/test_cart.py": "def test_total():\n    assert True\n",
    ".github/workflows/ci.yml": "on: push\n",
}


class Origin:
    """A repository with commits, made by the real git and served by `git http-backend`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[tuple[str, str | None]] = []
        self.status = 0
        self.moved_from = ""
        self.url = ""
        self.run("init", "--quiet", "--initial-branch=main", str(folder), cwd=folder.parent)
        self.run("config", "uploadpack.allowAnySHA1InWant", "true")

    def run(self, *args: str, cwd: Path | None = None, stdin: bytes = b"") -> str:
        done = subprocess.run(
            ["git", *args], cwd=cwd or self.folder, env=ENV, input=stdin, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    def commit(self, files: dict[str, str | bytes | None]) -> str:
        """Commit these files on main; None deletes."""
        for path, content in files.items():
            place = self.folder / path
            if content is None:
                place.unlink()
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        self.run("add", "--all", "--force", ".")
        self.run("commit", "--quiet", "--allow-empty", "--message=x")
        return self.run("rev-parse", "HEAD")

    def commit_tree(self, *entries: tuple[str, str, bytes]) -> str:
        """Commit a tree that `git add` would not make: (mode, name, blob content or tree SHA)."""
        lines = b""
        for mode, name, content in entries:
            kind = {"40000": "tree", "160000": "commit"}.get(mode.lstrip("0"), "blob")
            sha = content.decode() if kind != "blob" else self.blob(content)
            lines += f"{mode} {name}\0".encode() + bytes.fromhex(sha)
        tree = self.run("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=lines)
        commit = self.run("commit-tree", "-m", "x", tree)
        self.run("update-ref", "refs/heads/main", commit)
        return commit

    def blob(self, content: bytes) -> str:
        return self.run("hash-object", "-w", "--stdin", stdin=content)


def bridge(origin: Origin) -> type[BaseHTTPRequestHandler]:
    """Return a handler that gives each request to the repository's `git http-backend`."""

    class Bridge(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            origin.requests.append((self.path, self.headers.get("Authorization")))
            if origin.status:
                self.send_error(origin.status)
                return
            if origin.moved_from and self.path.startswith(origin.moved_from):
                self.send_response(302)
                self.send_header("Location", self.path.replace("/acme/", "/other/"))
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            environ = {
                **ENV,
                "GIT_PROJECT_ROOT": str(origin.folder.parent),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path.replace("/shop.git", f"/{origin.folder.name}/.git")
                .replace("/acme", "")
                .replace("/other", ""),
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": self.headers.get("Content-Length", "0"),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_ADDR": "127.0.0.1",
            }
            body = self.rfile.read(int(environ["CONTENT_LENGTH"]))
            done = subprocess.run(
                ["git", "http-backend"], env=environ, input=body, capture_output=True, check=False
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(fields.pop("Status", "200").split()[0]))
            for name, value in fields.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    return Bridge


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    origin = Origin(tmp_path / "origin")
    server = ThreadingHTTPServer(("127.0.0.1", 0), bridge(origin))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    origin.url = f"http://127.0.0.1:{server.server_port}/acme/shop.git"
    yield origin
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def mirror(origin: Origin, tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "mirrors" / "7.git", origin.url)


Opener = Callable[[str], Workspace]


@pytest.fixture
def opened(mirror: Mirror, tmp_path: Path) -> Iterator[Opener]:
    """Return what opens a workspace at a commit of the origin; all are closed at the end."""
    spaces: list[Workspace] = []

    def open_at(commit: str) -> Workspace:
        mirror.fetch(commit, BASE, TOKEN)
        spaces.append(Workspace(mirror, commit, tmp_path / "attempts" / str(len(spaces))))
        return spaces[-1]

    yield open_at
    for space in spaces:
        space.close()


@pytest.fixture
def space(origin: Origin, opened: Opener) -> Workspace:
    return opened(origin.commit(dict(FILES)))


# --- git, the one place that runs it


def test_git_sees_no_secret_and_no_setting_of_our_environment() -> None:
    os.environ.update(ANTHROPIC_API_KEY="sk-ant-secret", GIT_DIR="/nowhere", GIT_EXTERNAL_DIFF="/bin/false")
    try:
        seen = git("-c", "alias.env=!env", "env", git_dir=None).decode()
    finally:
        for name in ("ANTHROPIC_API_KEY", "GIT_DIR", "GIT_EXTERNAL_DIFF"):
            del os.environ[name]
    assert "GIT_TERMINAL_PROMPT=0" in seen
    assert "sk-ant-secret" not in seen
    assert "/nowhere" not in seen
    assert "GIT_EXTERNAL_DIFF" not in seen


def test_git_reads_no_configuration_of_the_system_or_the_account() -> None:
    origins = git("config", "--list", "--show-origin", git_dir=None).decode().splitlines()
    assert {line.split("\t")[0] for line in origins} == {"command line:"}


def test_a_failed_git_says_what_was_run_without_the_token() -> None:
    basic = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    env = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.bigFileThreshold",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
    }
    with pytest.raises(GitError, match="bad numeric config value") as caught:
        git("hash-object", "--stdin", git_dir=None, env=env)
    assert (caught.value.command, caught.value.code) == (("hash-object", "--stdin"), 128)
    assert basic[10:40] not in str(caught.value) + caught.value.stderr


def test_a_git_that_hangs_is_killed_with_its_children(mirror: Mirror, origin: Origin) -> None:
    mirror.fetch(origin.commit(dict(FILES)), BASE, TOKEN)
    with pytest.raises(GitTimeout):
        git("-c", "alias.wait=!sleep 60", "wait", git_dir=mirror.folder, timeout=0.3)


# --- the mirror


def test_a_fetched_branch_is_under_the_ref_it_was_fetched_into(mirror: Mirror, origin: Origin) -> None:
    commit = origin.commit(dict(FILES))
    assert mirror.fetch("main", BASE, TOKEN) == commit
    assert origin.run("rev-parse", BASE, cwd=mirror.folder) == commit
    assert mirror.has(commit)


def test_a_commit_is_fetched_by_its_sha_even_when_its_branch_moved_on(mirror: Mirror, origin: Origin) -> None:
    old = origin.commit(dict(FILES))
    new = origin.commit({"README.md": "# Shop 2\n"})
    assert mirror.fetch(new, BASE, TOKEN) == new
    assert mirror.fetch(old, "refs/builds/13/base", TOKEN) == old
    assert git("ls-tree", "-r", "--name-only", old, git_dir=mirror.folder).decode().split() == sorted(FILES)


def test_a_known_commit_costs_no_request(mirror: Mirror, origin: Origin) -> None:
    commit = origin.commit(dict(FILES))
    mirror.fetch("main", BASE, TOKEN)
    before = len(origin.requests)
    assert mirror.fetch(commit, "refs/builds/13/base", TOKEN) == commit
    assert len(origin.requests) == before


def test_no_history_is_fetched(mirror: Mirror, origin: Origin) -> None:
    for number in range(3):
        commit = origin.commit({"README.md": f"{number}\n"})
    mirror.fetch("main", BASE, TOKEN)
    assert git("rev-list", "--count", commit, git_dir=mirror.folder).strip() == b"1"


def test_a_forced_branch_is_followed(mirror: Mirror, origin: Origin) -> None:
    origin.commit(dict(FILES))
    mirror.fetch("main", BASE, TOKEN)
    origin.run("commit", "--quiet", "--amend", "--message=other")
    assert mirror.fetch("main", BASE, TOKEN) == origin.run("rev-parse", "HEAD")


def test_the_token_travels_in_a_header_and_is_left_nowhere(mirror: Mirror, origin: Origin) -> None:
    origin.commit(dict(FILES))
    mirror.fetch("main", BASE, TOKEN)
    basic = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    assert {header for _, header in origin.requests} == {f"Basic {basic}"}
    written = b"".join(path.read_bytes() for path in mirror.folder.rglob("*") if path.is_file())
    assert TOKEN.encode() not in written
    assert basic.encode() not in written
    assert b"[remote" not in (mirror.folder / "config").read_bytes()


def test_the_token_is_on_no_command_line(mirror: Mirror, origin: Origin, tmp_path: Path) -> None:
    origin.commit(dict(FILES))
    seen = tmp_path / "bin"
    seen.mkdir()
    (seen / "git").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/argv\nexec {shutil.which("git")} "$@"\n')
    (seen / "git").chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{seen}:{path}"
    try:
        mirror.fetch("main", BASE, TOKEN)
    finally:
        os.environ["PATH"] = path
    argv = (tmp_path / "argv").read_text()
    assert "fetch" in argv
    assert TOKEN not in argv
    assert base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode() not in argv


@pytest.mark.parametrize("status", [500, 401])
def test_a_server_that_fails_is_a_fault_that_passes(mirror: Mirror, origin: Origin, status: int) -> None:
    """A token that is seconds old may be answered with 401, so that is tried again too."""
    origin.commit(dict(FILES))
    origin.status = status
    with pytest.raises(Transient) as caught:
        mirror.fetch("main", BASE, TOKEN)
    assert TOKEN not in str(caught.value)


def test_a_refused_token_is_a_matter_for_the_operator(mirror: Mirror, origin: Origin) -> None:
    origin.status = 403
    with pytest.raises(Denied):
        mirror.fetch("main", BASE, TOKEN)


@pytest.mark.parametrize("what", ["gone", "0" * 40])
def test_a_branch_or_commit_that_is_not_there_is_missing(mirror: Mirror, origin: Origin, what: str) -> None:
    origin.commit(dict(FILES))
    with pytest.raises(Missing):
        mirror.fetch(what, BASE, TOKEN)


def test_a_redirect_is_not_followed(mirror: Mirror, origin: Origin) -> None:
    """It would carry the token to another place."""
    origin.commit(dict(FILES))
    origin.moved_from = "/acme/shop.git"
    with pytest.raises(Transient):
        mirror.fetch("main", BASE, TOKEN)
    assert {path.split("/info")[0] for path, _ in origin.requests} == {"/acme/shop.git"}


@pytest.mark.parametrize(
    "url",
    [
        "http://github.com/acme/shop.git",
        "http://127.0.0.1.example.org/acme/shop.git",
        "https://token@github.com/acme/shop.git",
        "ext::sh -c touch% /tmp/pwned",
        "file:///etc",
        "/etc",
        "https:///acme/shop.git",
    ],
)
def test_only_https_or_this_machine_is_fetched_from(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError):
        Mirror(tmp_path / "7.git", url)


@pytest.mark.parametrize(
    "ref", ["", "a b", "main:refs/heads/x", "refs/heads/*", "../x", "a..b", "x.lock", "a\nb"]
)
def test_a_ref_that_could_mean_more_is_refused(mirror: Mirror, ref: str) -> None:
    with pytest.raises(UserError):
        mirror.fetch(ref, BASE, TOKEN)


@pytest.mark.parametrize(
    "into", ["main", "refs/", "refs/../x/y", "-refs/a/b", "refs/a/b:refs/c/d", "refs/a/b.lock"]
)
def test_only_a_plain_ref_is_fetched_into(mirror: Mirror, into: str) -> None:
    with pytest.raises(UserError):
        mirror.fetch("main", into, TOKEN)


def test_a_branch_with_a_leading_dash_is_no_option(mirror: Mirror, origin: Origin) -> None:
    commit = origin.commit(dict(FILES))
    origin.run("update-ref", "refs/heads/--upload-pack=x", commit)
    assert mirror.fetch("--upload-pack=x", BASE, TOKEN) == commit


def test_a_tag_of_the_same_name_is_not_the_branch(mirror: Mirror, origin: Origin) -> None:
    origin.commit(dict(FILES))
    origin.run("tag", "main")
    commit = origin.commit({"README.md": "# Shop 2\n"})
    assert mirror.fetch("main", BASE, TOKEN) == commit


def test_nothing_is_known_before_the_first_fetch(mirror: Mirror) -> None:
    assert not mirror.has("0" * 40)
    assert not mirror.folder.exists()


def test_what_a_killed_fetch_left_is_cleared(mirror: Mirror, origin: Origin) -> None:
    origin.commit(dict(FILES))
    mirror.fetch("main", BASE, TOKEN)
    left = ["shallow.lock", "packed-refs.lock", "HEAD.lock", f"{BASE}.lock", "objects/pack/tmp_pack_abc"]
    for name in left:
        (mirror.folder / name).write_bytes(b"left")
    commit = origin.commit({"README.md": "# Shop 2\n"})
    assert mirror.fetch("main", BASE, TOKEN) == commit
    assert not [name for name in left if (mirror.folder / name).exists()]


def test_a_mirror_that_was_half_made_is_made_again(mirror: Mirror, origin: Origin) -> None:
    half = mirror.folder.parent / f"{mirror.folder.name}.tmp-half"
    half.mkdir(parents=True)
    mirror.folder.mkdir()
    (mirror.folder / "config").write_text("")
    commit = origin.commit(dict(FILES))
    assert mirror.fetch("main", BASE, TOKEN) == commit
    assert [path.name for path in mirror.folder.parent.iterdir()] == [
        "7.git",
        "7.git.lock",
    ] or not half.exists()


def test_a_mirror_that_lost_objects_heals_at_the_next_fetch(
    mirror: Mirror, origin: Origin, tmp_path: Path
) -> None:
    commit = origin.commit(dict(FILES))
    mirror.fetch(commit, BASE, TOKEN)
    for path in [*mirror.folder.glob("objects/??/*"), *mirror.folder.glob("objects/pack/*")]:
        path.unlink()
    with pytest.raises(Transient):
        Workspace(mirror, commit, tmp_path / "attempt")
    assert not mirror.has(commit)
    mirror.fetch(commit, BASE, TOKEN)
    with Workspace(mirror, commit, tmp_path / "attempt") as healed:
        assert healed.read("README.md") == "# Shop\n"


def test_many_fetches_at_once_wait_for_each_other(mirror: Mirror, origin: Origin) -> None:
    commits = [origin.commit({"README.md": f"{number}\n"}) for number in range(6)]

    def fetch(number: int) -> str:
        return Mirror(mirror.folder, mirror.url).fetch(commits[number], f"refs/builds/{number}/base", TOKEN)

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(fetch, range(6))) == commits


def test_a_fetch_that_outlives_its_bot_still_holds_the_lock(mirror: Mirror, tmp_path: Path) -> None:
    """Git inherits the lock: while it writes, the next bot does not clear its files away."""
    script = (
        "import os, sys, threading, time\nfrom pathlib import Path\nfrom bot.mirror import Mirror, git\n"
        f"mirror = Mirror(Path({str(mirror.folder)!r}), {mirror.url!r})\n"
        "with mirror._locked() as lock:\n"
        "    run = lambda: git('-c', 'alias.wait=!echo $$ >&2; sleep 1', 'wait', git_dir=None, keep=[lock])\n"
        "    threading.Thread(target=run, daemon=True).start()\n"
        "    time.sleep(0.3)\n    os._exit(9)\n"
    )
    mirror.folder.parent.mkdir(parents=True)
    assert (
        subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False).returncode
        == 9
    )
    with pytest.raises(Transient, match="busy"), mirror._locked(timeout=0.1):
        pass
    with mirror._locked(timeout=5):
        pass


# --- reading


def test_the_tree_of_the_commit_is_listed(space: Workspace) -> None:
    assert [entry.path for entry in space.list("")] == sorted(FILES)
    assert space.paths()["README.md"].size == len(FILES["README.md"])


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("src/**/*.py", ["src/shop/__init__.py", "src/shop/cart.py"]),
        ("*.md", ["README.md"]),
        ("**/*.yml", [".github/workflows/ci.yml"]),
        ("src", ["src/shop/__init__.py", "src/shop/cart.py"]),
        ("tests/", ["tests/test_cart.py"]),
        ("./README.md", ["README.md"]),
        ("nothing/*", []),
    ],
)
def test_a_listing_takes_globs_and_folders(space: Workspace, pattern: str, found: list[str]) -> None:
    assert [entry.path for entry in space.list(pattern)] == found


@pytest.mark.parametrize("pattern", ["/etc/**", "../**", "!src/**", "src\\shop"])
def test_a_listing_with_a_wrong_pattern_is_refused(space: Workspace, pattern: str) -> None:
    with pytest.raises(UserError):
        space.list(pattern)


def test_a_file_is_read_as_it_is(space: Workspace) -> None:
    assert space.read("src/shop/cart.py") == FILES["src/shop/cart.py"]
    assert space.content_at_base("nothing") is space.content("nothing") is None


def test_a_missing_file_is_answered_with_the_one_that_was_meant(space: Workspace) -> None:
    with pytest.raises(UserError, match=r"src/shop/cart\.py"):
        space.read("shop/Cart.py")
    with pytest.raises(UserError, match="is a folder"):
        space.read("src/shop")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a\0b", "binary"),
        (b"\xff\xfe text", "not UTF-8"),
        (b"x" * (1024 * 1024 + 1), "1 MiB"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"),
    ],
)
def test_what_is_no_small_text_is_listed_but_neither_read_nor_written(
    origin: Origin, opened: Opener, content: bytes, reason: str
) -> None:
    space = opened(origin.commit({"data": content}))
    assert [entry.path for entry in space.list("")] == ["data"]
    for use in (
        lambda: space.read("data"),
        lambda: space.write("data", "x"),
        lambda: space.move("data", "b"),
    ):
        with pytest.raises(UserError, match=reason):
            use()
    space.delete("data")
    assert space.changes()[0].status == "D"


def test_one_reader_serves_many_threads(space: Workspace) -> None:
    with ThreadPoolExecutor(8) as pool:
        for path, text in zip(list(FILES) * 20, pool.map(space.read, list(FILES) * 20), strict=True):
            assert text == FILES[path]


def test_a_closed_workspace_can_be_read_again_and_closed_twice(space: Workspace) -> None:
    space.close()
    assert space.read("README.md") == FILES["README.md"]
    space.close()
    space.close()


def test_a_commit_that_was_not_fetched_is_a_fault_that_passes(
    mirror: Mirror, space: Workspace, tmp_path: Path
) -> None:
    with pytest.raises(Transient):
        Workspace(mirror, "1" * 40, tmp_path / "other")
    with pytest.raises(UserError):
        Workspace(mirror, "main", tmp_path / "other")


# --- searching


def test_a_search_finds_lines_with_their_number(space: Workspace) -> None:
    [hit] = space.search(r"return +sum\(")
    assert (hit.path, hit.line, hit.text) == ("src/shop/cart.py", 2, "    return sum(items)")


def test_a_search_sees_the_edits_and_only_them(space: Workspace) -> None:
    space.write("src/shop/cart.py", "def total(items):\n    return fold(items)\n")
    assert space.search("sum") == []
    assert [hit.line for hit in space.search("fold")] == [2]


def test_a_search_keeps_to_the_paths_it_was_given(space: Workspace) -> None:
    assert {hit.path for hit in space.search("def", "tests/**")} == {"tests/test_cart.py"}
    assert {hit.path for hit in space.search("def", "src")} == {"src/shop/cart.py"}
    assert {hit.path for hit in space.search("def", "**/cart.py")} == {"src/shop/cart.py"}
    assert space.search("def", "src/shop/cart.py")
    assert not space.search("def", "docs/**")


def test_a_search_stops_at_its_limit_and_cuts_long_lines(origin: Origin, opened: Opener) -> None:
    space = opened(origin.commit({"a.js": "x" * 300_000 + "\n" + "x\n" * 500, "b.js": "x\n"}))
    hits = space.search("x", limit=50)
    assert len(hits) == 50
    assert len(hits[0].text) <= 301
    assert [hit.line for hit in hits] == list(range(1, 51))
    assert len(space.search("x", limit=1000)) == 502


@pytest.mark.parametrize(
    "pattern", ["(", "a{2,1}", "[", "(?:x)", "", "a\nb", r"\d+", "((((a{1,99}){1,99}){1,99}){1,99})"]
)
def test_a_wrong_pattern_is_explained(space: Workspace, pattern: str) -> None:
    with pytest.raises(UserError) as caught:
        space.search(pattern)
    assert str(caught.value).endswith(".")


def test_a_pattern_that_asks_for_all_memory_does_not_get_it(space: Workspace) -> None:
    with pytest.raises(UserError):
        space.search("((((a{1,99}){1,99}){1,99}){1,99})")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < 2 * 1024**3


def test_a_search_that_takes_too_long_is_stopped(origin: Origin, opened: Opener) -> None:
    space = opened(origin.commit({"a.txt": ("a" * 5000 + "\n") * 200}))
    with pytest.raises(UserError, match="took over"):
        space.search(r"(a*)*(b*)*\1\2c", timeout=0.2)


def test_a_pattern_is_never_an_option(space: Workspace, tmp_path: Path) -> None:
    pwned = tmp_path / "pwned"
    assert space.search(f"-Otouch {pwned}") == []
    assert space.search("--open-files-in-pager=sh") == []
    assert not pwned.exists()


# --- writing


def test_an_edit_is_seen_by_every_reader(space: Workspace) -> None:
    space.write("src/shop/cart.py", "x = 1\n")
    assert space.read("src/shop/cart.py") == space.content("src/shop/cart.py") == "x = 1\n"
    assert space.content_at_base("src/shop/cart.py") == FILES["src/shop/cart.py"]
    assert space.exists("src/shop/cart.py")


def test_a_deleted_file_is_gone_with_its_empty_folder(space: Workspace) -> None:
    space.delete("tests/test_cart.py")
    assert not space.exists("tests/test_cart.py")
    assert not space.list("tests/**")
    with pytest.raises(UserError):
        space.read("tests/test_cart.py")
    assert b"tests" not in git("ls-tree", space.tree(), git_dir=None, env=_where(space))


def test_a_move_keeps_content_and_mode(origin: Origin, opened: Opener) -> None:
    origin.commit(dict(FILES))
    (origin.folder / "run.sh").write_text("#!/bin/sh\n")
    (origin.folder / "run.sh").chmod(0o755)
    space = opened(origin.commit({}))
    space.move("run.sh", "bin/run.sh")
    assert {(c.path, c.status, c.new_mode) for c in space.changes()} == {
        ("run.sh", "D", "000000"),
        ("bin/run.sh", "A", "100755"),
    }


def test_a_move_that_is_refused_changes_nothing(space: Workspace) -> None:
    for target in ("tests/test_cart.py", "../x", "src/shop/cart.py/x/../y"):
        with pytest.raises(UserError):
            space.move("README.md", target)
    assert space.changes() == []


def test_a_file_may_change_its_case_by_a_move(space: Workspace) -> None:
    space.move("README.md", "Readme.md")
    assert space.exists("Readme.md")
    assert not space.exists("README.md")


def test_an_edit_that_is_taken_back_is_no_change(space: Workspace) -> None:
    space.write("README.md", "other\n")
    space.write("README.md", FILES["README.md"])
    space.write("new.txt", "x\n")
    space.delete("new.txt")
    assert space.tree() == space.base_tree
    assert space.changes() == []


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "./a",
        "a//b",
        "a/",
        ".git/config",
        "a/.GIT/hooks/x",
        "git~1/config",
        "GIT~2",
        ".git./x",
        ".git /x",
        ".git::$INDEX_ALLOCATION/x",
        ".g\u200cit/config",
        "\uff0egit/config",
        "a\\b",
        "a\nb",
        "a\x00b",
        "a\u202eb",
        "cafe\u0301.txt",
        "a./b",
        "a /b",
        "a" * 256,
        "/".join("a" * 60),
        "a\ud800",
        "readme.MD",
        "SRC/x.py",
        "src/Shop/x.py",
        "README.md/x",
        "src",
    ],
)
def test_no_file_is_written_where_it_could_mean_another(space: Workspace, path: str) -> None:
    with pytest.raises(UserError):
        space.write(path, "x\n")
    assert space.changes() == []


@pytest.mark.parametrize(
    "path", [".gitignore", ".github/dependabot.yml", "src/[id]/page.tsx", "café.txt", "a b.txt", "git.md"]
)
def test_an_ordinary_path_is_written(space: Workspace, path: str) -> None:
    """What is protected is the scope's matter."""
    space.write(path, "x\n")
    assert space.read(path) == "x\n"


@pytest.mark.parametrize("content", ["a\0b", "\ud800", "x" * (1024 * 1024 + 1)])
def test_only_text_of_a_sensible_size_is_written(space: Workspace, content: str) -> None:
    with pytest.raises(UserError):
        space.write("a.txt", content)


def test_a_new_file_collides_with_another_new_one_too(space: Workspace) -> None:
    space.write("docs/Guide.md", "x\n")
    for path in ("docs/guide.md", "Docs/other.md"):
        with pytest.raises(UserError, match="only in case"):
            space.write(path, "x\n")
    space.delete("docs/Guide.md")
    space.write("Docs/guide.md", "x\n")


def test_spellings_that_collide_already_are_both_written(origin: Origin, opened: Opener) -> None:
    """The Linux tree has such pairs; only what this change brings is judged."""
    space = opened(origin.commit({"net/xt_DSCP.h": "1\n", "net/xt_dscp.h": "2\n"}))
    space.write("net/xt_dscp.h", "3\n")
    assert [change.path for change in space.changes()] == ["net/xt_dscp.h"]


def test_the_executable_bit_is_kept_set_and_taken(space: Workspace) -> None:
    space.write("run.sh", "#!/bin/sh\n", executable=True)
    space.write("run.sh", "#!/bin/sh\nls\n")
    assert space.paths()["run.sh"].mode == "100755"
    space.write("run.sh", "#!/bin/sh\n", executable=False)
    assert space.paths()["run.sh"].mode == "100644"


# --- the tree, against the real git


def _where(space: Workspace) -> dict[str, str]:
    return {
        **ENV,
        "GIT_DIR": str(space._mirror.folder),
        "GIT_OBJECT_DIRECTORY": str(space._objects),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(space._mirror.folder / "objects"),
    }


def _as_git_writes_it(space: Workspace, folder: Path) -> str:
    """Return the tree the real git makes of the same edits, with an index of its own."""
    env = {**_where(space), "GIT_INDEX_FILE": str(folder / "index")}

    def run(*args: str, stdin: bytes = b"") -> str:
        return (
            subprocess.run(["git", *args], env=env, input=stdin, capture_output=True, check=True)
            .stdout.decode()
            .strip()
        )

    run("read-tree", space.base_tree)
    listed = (row.partition("\t") for row in run("ls-files", "--stage", "-z").split("\0") if row)
    base = {path: fields.split() for fields, _, path in listed}
    lines = "".join(f"0 {'0' * 40}\t{path}\0" for path in base.keys() - space.paths().keys())
    for path, entry in space.paths().items():
        mode, sha, _ = base.get(path, ("", "", ""))
        if (sha, mode == "100755") != (entry.sha, entry.mode == "100755"):
            made = run("hash-object", "-w", "--stdin", stdin=space.read(path).encode())
            lines += f"{entry.mode} {made}\t{path}\0"
    run("update-index", "-z", "--index-info", stdin=lines.encode())
    return run("write-tree")


def _edit_much(space: Workspace) -> None:
    space.write("src/shop/cart.py", "x\n")
    space.write("src/shop.py", "sorts between shop and shop/\n")
    space.write("src/shop-a/b/c/d.py", "deep\n")
    space.write("a", "#!/bin/sh\n", executable=True)
    space.delete("tests/test_cart.py")
    space.write("tests", "a file where a folder was\n")
    space.delete("README.md")
    space.write("README.md/inside", "a folder where a file was\n")
    space.write("ünï/ça.txt", "é\n")


def test_the_tree_is_the_one_git_would_write(space: Workspace, tmp_path: Path) -> None:
    _edit_much(space)
    assert space.tree() == _as_git_writes_it(space, tmp_path)
    subprocess.run(["git", "fsck", "--strict", "--no-dangling", space.tree()], env=_where(space), check=True)


def test_a_tree_with_nothing_left_is_the_empty_tree(origin: Origin, opened: Opener) -> None:
    space = opened(origin.commit({"a/b": "x\n"}))
    space.delete("a/b")
    assert space.tree() == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def test_old_modes_become_what_git_writes_today(origin: Origin, opened: Opener, tmp_path: Path) -> None:
    inner = origin.run(
        "hash-object",
        "-w",
        "-t",
        "tree",
        "--literally",
        "--stdin",
        stdin=b"100664 f\0" + bytes.fromhex(origin.blob(b"1")),
    )
    space = opened(
        origin.commit_tree(("100664", "a", b"1"), ("040000", "d", inner.encode()), ("100755", "x", b"#!"))
    )
    space.write("b", "2\n")
    assert space.tree() == _as_git_writes_it(space, tmp_path)
    assert [change.path for change in space.changes() if change.old_sha != change.new_sha] == ["b"]


names = st.sampled_from(
    ["a", "b", "ab", "a.b", "a-b", "a0", "b/a", "b/b", "b/a/c", "ab/a", "a.b/c", "a-b/x/y"]
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(names, st.sampled_from(["write", "delete", "run"])), max_size=14))
def test_any_row_of_edits_gives_the_tree_git_gives(
    space: Workspace, mirror: Mirror, tmp_path: Path, edits: list[tuple[str, str]]
) -> None:
    with Workspace(mirror, space.commit, tmp_path / "fresh") as fresh:
        for number, (path, what) in enumerate(edits):
            try:
                if what == "delete":
                    fresh.delete(path)
                else:
                    fresh.write(path, f"{number}\n", executable=what == "run")
            except UserError:
                continue
        assert fresh.tree() == _as_git_writes_it(fresh, tmp_path)
        before, after = dict(space.paths()), dict(fresh.paths())
        changed = {path for path in before | after if before.get(path) != after.get(path)}
        assert {change.path for change in fresh.changes()} == changed


def test_new_objects_are_kept_out_of_the_mirror(space: Workspace, mirror: Mirror) -> None:
    before = sorted(mirror.folder.rglob("*"))
    _edit_much(space)
    space.tree()
    assert sorted(mirror.folder.rglob("*")) == before
    assert space.blob(space.paths()["a"].sha) == b"#!/bin/sh\n"


# --- what changed


def test_changes_are_told_as_git_sees_them(space: Workspace) -> None:
    space.write("README.md", "# Shop\nmore\n")
    space.write("new.py", "1\n2\n")
    space.delete("tests/test_cart.py")
    told = [(c.path, c.status, c.old_mode, c.new_mode, c.added, c.removed, c.binary) for c in space.changes()]
    assert told == [
        ("README.md", "M", "100644", "100644", 1, 0, False),
        ("new.py", "A", "000000", "100644", 2, 0, False),
        ("tests/test_cart.py", "D", "100644", "000000", 0, 2, False),
    ]


def test_a_rename_out_of_a_protected_folder_shows_the_deletion(space: Workspace) -> None:
    space.move(".github/workflows/ci.yml", "ci.yml")
    assert {(c.path, c.status) for c in space.changes()} == {
        (".github/workflows/ci.yml", "D"),
        ("ci.yml", "A"),
    }


def test_changes_are_told_against_another_commit_too(origin: Origin, opened: Opener, mirror: Mirror) -> None:
    first = origin.commit(dict(FILES))
    mirror.fetch(first, "refs/builds/12/first", TOKEN)
    space = opened(origin.commit({"README.md": "# Shop 2\n"}))
    assert space.changes() == []
    assert [c.path for c in space.changes(first)] == ["README.md"]
    with pytest.raises(UserError):
        space.changes("--output=/tmp/x")


# --- hostile repositories


def test_a_symlink_is_shown_and_not_followed(origin: Origin, opened: Opener) -> None:
    origin.commit(dict(FILES))
    (origin.folder / "passwd").symlink_to("/etc/passwd")
    (origin.folder / "src" / "link").symlink_to("../.github")
    space = opened(origin.commit({}))
    assert {e.path for e in space.list("") if e.kind == "symlink"} == {"passwd", "src/link"}
    for use in (
        lambda: space.read("passwd"),
        lambda: space.write("passwd", "x"),
        lambda: space.delete("passwd"),
        lambda: space.move("passwd", "p"),
        lambda: space.write("src/link/workflows/ci.yml", "x"),
    ):
        with pytest.raises(UserError, match="symlink"):
            use()
    assert space.read("README.md")
    assert not space.search("root:")


def test_a_submodule_is_shown_and_not_touched(origin: Origin, opened: Opener) -> None:
    commit = origin.commit(
        {".gitmodules": '[submodule "x"]\n path = x\n url = "ext::sh -c touch% /tmp/pwned"\n'}
    )
    tree = origin.run("rev-parse", f"{commit}:.gitmodules")
    origin.run("update-index", "--add", "--cacheinfo", f"160000,{commit},vendored/x")
    origin.run("commit", "--quiet", "--message=x")
    space = opened(origin.run("rev-parse", "HEAD"))
    assert space.paths()["vendored/x"].kind == "submodule"
    for use in (
        lambda: space.read("vendored/x"),
        lambda: space.write("vendored/x/y", "x"),
        lambda: space.delete("vendored/x"),
    ):
        with pytest.raises(UserError, match="submodule"):
            use()
    space.write("a.txt", "x\n")
    assert [change.path for change in space.changes()] == ["a.txt"]
    assert space.paths()[".gitmodules"].sha == tree


def test_attributes_of_the_tree_hide_nothing(origin: Origin, opened: Opener) -> None:
    attributes = "* -diff -text merge=ours filter=lfs working-tree-encoding=UTF-16 export-ignore ident\n"
    # Its author's git would refuse to add the file under these attributes.
    (origin.folder / ".git" / "info" / "attributes").write_text("* !working-tree-encoding !filter\n")
    space = opened(origin.commit({".gitattributes": attributes, "a.py": "1\n$Id$\n"}))
    space.write("a.py", "1\n2\n3\n")
    assert (space.changes()[0].added, space.changes()[0].removed, space.changes()[0].binary) == (2, 1, False)
    assert [hit.text for hit in space.search("3")] == ["3"]


def test_attributes_of_the_tree_are_overridden_where_git_would_read_them(
    origin: Origin, mirror: Mirror, tmp_path: Path
) -> None:
    """Newer versions of git read a bare repository's attributes from its HEAD."""
    mirror.fetch(origin.commit(dict(FILES)), BASE, TOKEN)
    (tmp_path / "attributes").write_text("* -diff filter=lfs working-tree-encoding=UTF-16\n")
    told = git(
        *("-c", f"core.attributesFile={tmp_path}/attributes", "check-attr", "--all", "--", "a.py"),
        git_dir=mirror.folder,
    )
    assert told == b""


def test_a_large_file_storage_server_of_the_tree_is_never_asked(origin: Origin, opened: Opener) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 3\n"
    files = {
        ".lfsconfig": f"[lfs]\nurl = {origin.url}\n",
        ".gitattributes": "*.bin filter=lfs\n",
        "a.bin": pointer,
    }
    space = opened(origin.commit(files))
    space.write("b.txt", "x\n")
    space.tree()
    assert not [path for path, _ in origin.requests if "lfs" in path or "objects/batch" in path]


def test_names_that_are_gits_own_are_harmless_and_do_not_stop_us(
    origin: Origin, opened: Opener, tmp_path: Path
) -> None:
    hooks = origin.commit_tree(("100755", "post-checkout", b"#!/bin/sh\ntouch /tmp/pwned\n"))
    tree = origin.run("rev-parse", f"{hooks}^{{tree}}").encode()
    space = opened(
        origin.commit_tree(
            ("40000", "..", tree),
            ("40000", ".GIT", tree),
            ("40000", ".git", tree),
            ("100644", "a", b"1\n"),
            ("40000", "git~1", tree),
        )
    )
    assert space.read("a") == "1\n"
    space.write("a", "2\n")
    assert [(change.path, change.added) for change in space.changes()] == [("a", 1)]
    for path in (".git/config", ".GIT/x", "../x", "git~1/post-checkout"):
        with pytest.raises(UserError):
            space.write(path, "x\n")


def test_a_name_that_is_no_utf8_is_listed_and_kept(origin: Origin, opened: Opener) -> None:
    sha = bytes.fromhex(origin.blob(b"1"))
    raw = b"100644 a\xff\0" + sha + b"100644 b\0" + sha
    tree = origin.run("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw)
    space = opened(origin.run("commit-tree", "-m", "x", tree))
    assert [entry.path for entry in space.list("")] == ["a\ufffd", "b"]
    space.write("b", "2\n")
    assert [change.path for change in space.changes()] == ["b"]


def test_a_repository_in_the_tree_runs_nothing(origin: Origin, opened: Opener, tmp_path: Path) -> None:
    pwned = tmp_path / "pwned"
    bare = {
        "HEAD": "ref: refs/heads/main\n",
        "config": f"[core]\nbare = true\nfsmonitor = touch {pwned}\n",
        "refs/x": "",
        "objects/x": "",
    }
    space = opened(origin.commit({**bare, **{f"inner/{name}": text for name, text in bare.items()}}))
    space.write("inner/new", "x\n")
    space.search("bare")
    space.changes()
    assert not pwned.exists()


def test_a_hook_in_the_mirror_is_not_run(origin: Origin, mirror: Mirror, tmp_path: Path) -> None:
    origin.commit(dict(FILES))
    mirror.fetch("main", BASE, TOKEN)
    hook = mirror.folder / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\n")
    hook.chmod(0o755)
    origin.commit({"README.md": "# 2\n"})
    mirror.fetch("main", BASE, TOKEN)
    assert not (tmp_path / "pwned").exists()


# --- size


def test_five_thousand_files_are_listed_read_and_changed(origin: Origin, opened: Opener) -> None:
    files: dict[str, str | bytes | None] = {
        f"pkg{n % 50}/mod{n % 7}/file{n}.py": f"def f{n}():\n    return {n}\n" for n in range(5000)
    }
    space = opened(origin.commit(files))
    assert len(space.list("")) == 5000
    assert space.read("pkg42/mod0/file42.py").endswith("return 42\n")
    space.write("pkg42/mod0/file42.py", "def f42():\n    return 0\n")
    assert [(change.path, change.added) for change in space.changes()] == [("pkg42/mod0/file42.py", 1)]
    assert [hit.path for hit in space.search("return 4999$")] == ["pkg49/mod1/file4999.py"]
    assert isinstance(space.changes()[0], Change)
    assert scope.matches("pkg42/mod0/file42.py", ["pkg42/**"])
