"""`python -m localhub` serves a world file, says where in one line, and ends when told."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from localhub import Hub
from localhub.world import load
from tests.localhub.conftest import TLS

WORLD = """
app: {slug: phasegate}
users: [maria, guest]
repositories:
  - name: acme/notifications
    source: repository
    permissions: {maria: write}
    checks: [{name: tests, command: "true", timeout: 5}]
    required_checks: [tests]
    labels: [agent-build]
    issues: [{title: Retry, body_file: issue.md, author: maria}]
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository/README.md").write_text("# N\n")
    (tmp_path / "issue.md").write_text("Please retry.\n")
    (tmp_path / "world.yml").write_text(WORLD)
    return tmp_path / "world.yml"


def test_a_world_file_makes_everything(world: Path, tmp_path: Path) -> None:
    with Hub(tmp_path / "data") as hub:
        made = load(hub, world, "", "s")
        (repository,) = made.repositories
        assert made.app.permissions["contents"] == "write"
        assert repository.required_checks == ["tests"]
        assert (repository.issues[1].body, list(repository.labels)) == ("Please retry.\n", ["agent-build"])
        assert hub.file("acme/notifications", "main", "README.md") == "# N\n"


def test_a_world_may_be_made_again_in_the_same_folder(world: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with Hub(tmp_path / "data") as hub:
            load(hub, world)
            assert hub.head("acme/notifications")


def test_the_command_says_where_in_one_line_and_ends_when_told(world: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "localhub", "--world", str(world), "--data", str(tmp_path / "data")]
    command += ["--webhook-url", "http://127.0.0.1:9/", "--webhook-secret", "s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        assert process.stdout
        said = json.loads(process.stdout.readline())
        headers = {"Authorization": f"token {said['users']['maria']['token']}"}
        answer = httpx.get(
            f"{said['api_url']}/repos/acme/notifications", headers=headers, trust_env=False, verify=TLS
        )
        assert answer.json()["permissions"]["push"] is True
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == ""
        assert process.wait(10) == 0
    assert Path(said["private_key_file"]).read_text().startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert Path(said["private_key_file"]).stat().st_mode & 0o077 == 0
    assert said["issues"] == [{"repository": "acme/notifications", "number": 1, "title": "Retry"}]
