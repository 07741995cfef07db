"""`phasegate serve` as it is operated: a process of its own, told everything by its environment."""

import fcntl
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot import demo, main
from bot.errors import SettingsError
from tests.world import World, planning, scenario, small

NewWorld = Callable[..., World]
Process = subprocess.Popen[bytes]

DATABASE, LOCK = Path("bot", "phasegate.db"), Path("bot", "phasegate.lock")


def embedded(world: World) -> dict[str, Any]:
    """Return what the embedded GitHub of the demo tells about itself, for this world's."""
    given = world.given
    return {
        "app_id": given["github_app_id"],
        "private_key_file": str(given["github_private_key_file"]),
        "webhook_secret": given["github_webhook_secret"],
        "api_url": given["github_api_url"],
        "url": given["github_server_url"],
    }


@contextmanager
def served(world: World, *, key: str = "simulated", **changes: Any) -> Iterator[Process]:
    """Run `phasegate serve` in this world, its environment made from what is embedded, with changes."""
    hub = {**embedded(world), **changes}
    with demo.serving(hub, world.folder, port=world.port, key=key, model_url=world.model_url) as process:
        yield process


def await_ready(world: World) -> None:
    """Wait until the process takes webhooks."""
    world.bot_url = f"http://127.0.0.1:{world.port}"
    world.wait(lambda: answers(world), "the start")


def answers(world: World) -> bool:
    """Say whether a ready bot listens."""
    try:
        return httpx.get(f"http://127.0.0.1:{world.port}/readyz", verify=False).status_code == 200
    except httpx.TransportError:
        return False


def rows(world: World, query: str) -> list[Any]:
    """Return what the bot's database answers; nothing before it has the table."""
    path = world.folder / DATABASE
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=10)) as database:
        try:
            return database.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []


def said(world: World) -> str:
    """Return what the processes have printed."""
    return (world.folder / "bot.log").read_text()


def test_a_process_told_only_by_its_environment_does_the_main_job(new_world: NewWorld) -> None:
    world = new_world(small(), checks="true")
    with served(world):
        await_ready(world)
        world.approves()
        record = world.until("done", "paused")
        world.wait(lambda: "| Requirement |" in world.comments[-1], "the matrix")

    assert record["state"] == "done", said(world)
    commits = world.hub.commits(world.repository, record["branch"], "main")
    assert [commit.message.splitlines()[0] for commit in commits] == ["feat(tally): add part 1"]
    assert [pull.pull and pull.pull.draft for pull in world.hub.pulls(world.repository)] == [False]


def test_a_start_without_two_settings_stops_with_a_sentence_for_each(new_world: NewWorld) -> None:
    world = new_world()
    with served(world, key="", webhook_secret="") as process:
        assert process.wait(30) == 1

    sentences = said(world).splitlines()
    assert [sentence.split(";")[0] for sentence in sentences] == [
        "GITHUB_WEBHOOK_SECRET is missing",
        "ANTHROPIC_API_KEY is missing",
    ]
    assert not (world.folder / LOCK).exists()


def test_a_start_with_a_key_that_no_header_can_carry_stops_before_anything_is_served(
    new_world: NewWorld,
) -> None:
    world = new_world()
    with served(world, key="two words") as process:
        assert process.wait(30) == 1

    assert said(world) == (
        "ANTHROPIC_API_KEY holds a space or another character that no key has; copy it again.\n"
    )


@pytest.mark.parametrize("role", ["web", "worker"])
def test_a_role_that_is_not_built_yet_is_refused_with_one_sentence(new_world: NewWorld, role: str) -> None:
    world = new_world()
    with pytest.raises(SettingsError, match=rf"^--role {role} needs PostgreSQL [^.]*\.$"):
        main.serve(world.settings(), host="127.0.0.1", port=0, role=role)


def test_a_second_process_on_the_same_data_refuses_to_start_and_the_first_goes_on(
    new_world: NewWorld,
) -> None:
    world = new_world()
    with world.running():
        with served(world) as second:
            assert second.wait(30) == 1
        assert answers(world)

    assert said(world) == (
        f"Another phasegate (process {os.getpid()}) uses {world.folder / 'bot'}. "
        "Stop it, or give this one its own DATA_DIR.\n"
    )


def test_a_start_that_is_refused_leaves_the_database_alone(new_world: NewWorld) -> None:
    """The process that has the data may be an older one, whose tables a newer one must not change."""
    world = new_world()
    (world.folder / DATABASE).unlink()
    with (world.folder / LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SettingsError, match="Another phasegate"), main.running(world.settings()):
            raise AssertionError("it started")

    assert not (world.folder / DATABASE).exists()


def test_a_stop_lets_the_running_call_end_and_the_next_start_does_not_pay_it_again(
    new_world: NewWorld,
) -> None:
    """Docker sends SIGTERM and, ten seconds later, SIGKILL."""
    first, second = planning()["turns"]
    world = new_world(scenario(planning({**first, "delay": 2.0}, second)))
    with served(world) as process:
        await_ready(world)
        world.labels()
        world.wait(lambda: world.asked("plan"), "the call")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert rows(world, "SELECT n FROM phasegate_turn") == [(0,)]
    assert len(world.asked("plan")) == 1

    with world.running():
        world.until("awaiting_approval")
    assert [request.turn for request in world.asked("plan")] == [0, 1]
