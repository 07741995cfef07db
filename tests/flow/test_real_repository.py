"""The main job on a repository that nobody here wrote: a published package, its own test suite as CI."""

import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.world import World

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/itsdangerous"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution of itsdangerous."""
    folder = tmp_path_factory.mktemp("sdist")
    wanted = ["--no-deps", "--no-binary", ":all:", "--require-hashes", "-r", str(ROOT / "tests/sdists.txt")]
    quiet = ["--quiet", "--disable-pip-version-check", "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", *quiet, *wanted], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


def _build(new_world: Callable[..., World], package: Path, story: str) -> World:
    facts = yaml.safe_load((EXAMPLE / "world.yml").read_text())["repositories"][0]
    issue = facts["issues"][0]
    return new_world(
        EXAMPLE / story,
        source=package,
        checks=facts["checks"][0]["command"],
        issue=(issue["title"], (EXAMPLE / issue["body_file"]).read_text()),
    )


def test_a_published_package_is_built_upon_in_two_phases(new_world, package):
    world = _build(new_world, package, "scenario.yml")
    with world.running():
        world.approves()
        record = world.until("done", "paused", patience=60)

        commits = world.branch()

    assert record["state"] == "done", record["moves"]
    assert len(commits) == 2
    runs = [run for commit in commits for run in world.hub.check_runs(world.repository, commit.sha)]
    assert [run.conclusion for run in runs] == ["success", "success"]


def test_a_model_that_is_wrong_twice_gets_there_and_writes_nothing_outside_its_contract(new_world, package):
    """Its first edit does not match, its second write lies outside the phase; both come back as errors."""
    world = _build(new_world, package, "scenario-clumsy.yml")
    with world.running():
        world.approves()
        record = world.until("done", "paused", patience=60)

    assert record["state"] == "done", record["moves"]
    answers = str([m for r in world.asked("phase 3") for m in r.body["messages"]])
    assert "does not stand in" in answers
    assert "outside" in answers
    assert "examples/rotate_keys.py" not in world.hub.files(world.repository, record["branch"])
