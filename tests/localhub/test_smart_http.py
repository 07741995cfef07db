"""Git itself: clone, fetch and push with the tokens of the API, under the rules of the API."""

import base64
import os
import subprocess
from pathlib import Path

import pytest

from tests.localhub.conftest import REPO, Inbox, Place
from tests.localhub.test_flow import BRANCH, start_branch


def git(folder: Path, *arguments: str, token: str = "", ok: bool = True) -> str:
    """Run git in a folder with a token as Basic authorization; returns what it printed."""
    kept = {key: os.environ[key] for key in ("PATH",)}
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    people = {
        "GIT_AUTHOR_NAME": "M",
        "GIT_AUTHOR_EMAIL": "m@x",
        "GIT_COMMITTER_NAME": "M",
        "GIT_COMMITTER_EMAIL": "m@x",
    }
    header = []
    if token:
        pair = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        header = ["-c", f"http.extraHeader=Authorization: Basic {pair}"]
    command = ["git", *header, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=kept | quiet | people, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) is ok, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def clone(place: Place, tmp_path: Path) -> Path:
    """A clone of the repository, made with an installation token."""
    git(tmp_path, "clone", "--quiet", f"{place.url}/{REPO}.git", "clone", token=place.token(contents="read"))
    return tmp_path / "clone"


def commit(clone: Path, path: str, text: str) -> str:
    (clone / path).parent.mkdir(parents=True, exist_ok=True)
    (clone / path).write_text(text)
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", f"feat: {path}")
    return git(clone, "rev-parse", "HEAD").strip()


def test_a_clone_holds_the_files(place: Place, clone: Path) -> None:
    assert (clone / "notifications/send.py").read_text().startswith("def send")
    assert os.access(clone / "run.sh", os.X_OK)


def test_a_push_arrives_and_is_announced(place: Place, clone: Path, inbox: Inbox) -> None:
    place.hub.add_checks(REPO, [{"name": "tests", "command": "test -f new.txt"}])
    sha = commit(clone, "new.txt", "new")
    git(clone, "push", "--quiet", "origin", f"HEAD:refs/heads/{BRANCH}", token=place.token())
    place.hub.wait_idle()
    assert place.hub.head(REPO, BRANCH) == sha
    assert inbox.events()[0] == "push"
    assert place.hub.deliveries[-1].body["sender"]["login"] == "local-ci[bot]"
    assert [run.conclusion for run in place.hub.check_runs(REPO, sha)] == ["success"]


def test_a_person_pushes_with_their_token(place: Place, clone: Path) -> None:
    sha = commit(clone, "new.txt", "new")
    git(clone, "push", "--quiet", "origin", "HEAD:main", token=place.hub.state.user("maria").token)
    assert place.hub.head(REPO) == sha


def test_a_lease_that_is_broken_moves_nothing(place: Place, clone: Path) -> None:
    base = place.hub.head(REPO) or ""
    sha = start_branch(place)
    commit(clone, "new.txt", "new")
    ref = f"refs/heads/{BRANCH}"
    lease = f"--force-with-lease={ref}:{base}"
    said = git(clone, "push", lease, "origin", f"HEAD:{ref}", token=place.token(), ok=False)
    assert "stale info" in said
    assert place.hub.head(REPO, BRANCH) == sha
    git(clone, "push", f"--force-with-lease={ref}:{sha}", "origin", f"HEAD:{ref}", token=place.token())
    assert place.hub.head(REPO, BRANCH) != sha


@pytest.mark.parametrize("permissions", [{"contents": "read"}, {"issues": "write"}])
def test_a_push_needs_contents_write(place: Place, clone: Path, permissions: dict[str, str]) -> None:
    commit(clone, "new.txt", "new")
    said = git(
        clone, "push", "origin", f"HEAD:refs/heads/{BRANCH}", token=place.token(**permissions), ok=False
    )
    assert "403" in said
    assert place.hub.head(REPO, BRANCH) is None


def test_workflow_files_are_refused_to_the_app_only(place: Place, clone: Path) -> None:
    commit(clone, ".github/workflows/ci.yml", "on: push\n")
    target = f"HEAD:refs/heads/{BRANCH}"
    said = git(clone, "push", "origin", target, token=place.token(), ok=False)
    assert "refusing to allow a GitHub App to create or update workflow `.github/workflows/ci.yml`" in said
    git(clone, "push", "--quiet", "origin", target, token=place.hub.state.user("maria").token)


def test_a_rule_against_force_holds_for_pushes(place: Place, clone: Path) -> None:
    sha = start_branch(place)
    place.hub.forbid_force(REPO, "phasegate/*")
    commit(clone, "new.txt", "new")
    said = git(clone, "push", "--force", "origin", f"HEAD:refs/heads/{BRANCH}", token=place.token(), ok=False)
    assert "Cannot force-push" in said
    assert place.hub.head(REPO, BRANCH) == sha


def test_pull_refs_cannot_be_pushed(place: Place, clone: Path) -> None:
    commit(clone, "new.txt", "new")
    git(clone, "push", "origin", "HEAD:refs/pull/1/head", token=place.token(), ok=False)
    assert "refs/pull/1/head" not in place.hub.refs(REPO)


def test_a_private_repository_is_not_served_to_strangers(place: Place, tmp_path: Path) -> None:
    place.hub.create_repository("acme/secret", private=True)
    url = f"{place.url}/acme/secret.git"
    git(tmp_path, "ls-remote", url, ok=False)
    assert "not found" in git(tmp_path, "ls-remote", url, token=place.token(), ok=False)
    place.hub.install(place.app, "acme/secret")
    assert "refs/heads/main" in git(tmp_path, "ls-remote", url, token=place.token())


def test_any_reachable_commit_can_be_fetched_without_its_blobs(place: Place, tmp_path: Path) -> None:
    sha = start_branch(place)
    git(tmp_path, "init", "--quiet", "--bare", "mirror.git")
    mirror = tmp_path / "mirror.git"
    url = f"{place.url}/{REPO}.git"
    git(mirror, "fetch", "--quiet", "--filter=blob:none", url, sha, token=place.token())
    assert git(mirror, "cat-file", "-t", sha).strip() == "commit"


def test_a_large_push_and_fetch_pass_through(place: Place, clone: Path, tmp_path: Path) -> None:
    (clone / "large.bin").write_bytes(os.urandom(3_000_000))
    sha = commit(clone, "note.txt", "large")
    git(clone, "push", "--quiet", "origin", f"HEAD:refs/heads/{BRANCH}", token=place.token())
    git(
        tmp_path,
        "clone",
        "--quiet",
        "--branch",
        BRANCH,
        f"{place.url}/{REPO}.git",
        "again",
        token=place.token(),
    )
    assert git(tmp_path / "again", "rev-parse", "HEAD").strip() == sha
    assert (tmp_path / "again/large.bin").stat().st_size == 3_000_000
