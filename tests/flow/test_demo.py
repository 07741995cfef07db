"""The demo: it brings its own settings, shows its tokens on no command line, and checks what it promises."""

import io
import shutil
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from bot import demo
from tests.flow.gated import POLICY
from tests.flow.test_serve import answers, embedded, served
from tests.world import World

NewWorld = Callable[..., World]


def test_settings_that_are_exported_for_another_bot_do_not_reach_the_demo(
    new_world: NewWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a database, which would be changed, nor what would keep the demo from its end."""
    world, foreign = new_world(), tmp_path / "foreign.db"
    for name, value in {
        "DATABASE_URL": f"sqlite:///{foreign}",
        "LABEL": "other",
        "CHECKS_SETTLE_SECONDS": "never",
        "PUBLIC_URL": "nowhere",
        "GITHUB_PRIVATE_KEY": "mine",
        "github_webhook_secret": "mine",
    }.items():
        monkeypatch.setenv(name, value)
    with served(world):
        world.wait(lambda: answers(world), "the start")

    assert not foreign.exists()
    with sqlite3.connect(world.folder / "bot" / "phasegate.db") as database:
        assert database.execute("SELECT 1 FROM workflow_status LIMIT 1") is not None


def test_what_reaches_the_network_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/own.pem")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-mine")

    assert {"PATH", "https_proxy", "SSL_CERT_FILE"} <= demo.kept().keys()
    assert "ANTHROPIC_API_KEY" not in demo.kept()


def test_a_clone_shows_its_token_on_no_command_line(
    new_world: NewWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = new_world()
    token = world.hub.create_user("otto").token
    source = tmp_path / "source"
    world.hub.create_repository("acme/hidden", source, private=True)
    world.hub.grant("acme/hidden", "otto", "read")
    real, seen = shutil.which("git"), tmp_path / "seen"
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {seen}\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:/usr/bin:/bin")
    hub = {**embedded(world), "users": {"otto": {"token": token}}}
    demo.clone(hub, "acme/hidden", "main", tmp_path / "clone")

    assert (tmp_path / "clone" / "README.md").exists()
    assert "clone" in seen.read_text()
    assert token not in seen.read_text()
    assert token not in (tmp_path / "clone" / ".git" / "config").read_text()


def staged(patience: float, moves: int) -> demo.Stage:
    """Return a stage whose build makes one move each time it is looked at, `moves` in all, and is then done."""
    seen: list[dict[str, str]] = []

    def answer(_request: httpx.Request) -> httpx.Response:
        if len(seen) < moves:
            seen.append(
                {"at": at(len(seen)).isoformat(), "from": "", "to": "", "trigger": "", "by": "", "detail": ""}
            )
        state = "done" if len(seen) == moves else "running"
        return httpx.Response(200, json={"state": state, "moves": seen, "failure": None})

    client = httpx.Client(transport=httpx.MockTransport(answer))
    return demo.Stage({}, f"http://{moves}.bot.example", "", "acme/tally", 1, "true", patience, client)


@pytest.mark.parametrize(("moves", "awaited", "state"), [(20, "done", "done"), (2, "cancelled", "done")])
def test_each_state_has_the_demos_patience_for_itself(moves: int, awaited: str, state: str) -> None:
    """A story may take longer than any of its states, and one that stands still is given up."""
    stage = staged(2.5, moves)
    began = time.monotonic()
    with stage.client:
        assert demo.follow(stage, Console(file=io.StringIO()), {awaited})["state"] == state
    assert time.monotonic() - began > stage.patience


def told(*moments: float) -> dict[str, Any]:
    """Return a record: the first phase's request, its green verdict and the second phase's request, in seconds."""
    first, green, second = (at(moment).isoformat() for moment in moments)
    phases = [{"attempts": [{"first_request_at": moment}]} for moment in (first, second)]
    return {"phases": phases, "moves": [{"at": green, "trigger": "checks_green"}]}


def at(seconds: float) -> datetime:
    """Return a moment."""
    return datetime.fromisoformat("2026-11-22T12:00:00+00:00") + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("moments", "green", "holds"),
    [
        ((1.0, 5.4, 5.9), "2026-11-22T12:00:05Z", True),
        ((1.0, 5.4, 5.3), "2026-11-22T12:00:05Z", False),
        ((1.0, 5.4, 9.0), "2026-11-22T12:00:06Z", False),
        ((1.0, 8.0, 9.0), "2026-11-22T12:00:05Z", True),
    ],
    ids=["in order", "asked before the verdict", "judged before it was green", "judged later"],
)
def test_a_request_in_the_second_before_the_verdict_is_out_of_order(
    moments: tuple[float, ...], green: str, holds: bool
) -> None:
    assert demo.in_order(told(*moments), [green, ""]) is holds


# The clicking


def clicked(world: World) -> tuple[int, str]:
    """Have the demo click through this world's story; return its exit code and what it told."""
    token = world.hub.create_user("anna").token
    world.hub.grant(world.repository, "anna", "admin")
    hub = {**embedded(world), "users": {"anna": {"token": token}}}
    console = Console(file=io.StringIO(), record=True, width=120)
    with world.running(), httpx.Client(timeout=30) as client:
        tests = "python -m pytest -q -p no:cacheprovider"
        stage = demo.Stage(hub, world.bot_url, "", world.repository, world.number, tests, 60.0, client)
        return demo.play(stage, world.folder, console), console.export_text()


def test_the_demo_clicks_through_the_main_job_and_tells_each_step(new_world: NewWorld) -> None:
    code, said = clicked(new_world())

    assert code == 0, said
    assert said.rstrip().endswith("Everything came out as promised.")
    assert "awaiting_checks → running  (checks_green, by event)" in said
    assert "pull request #2 draft: False; matrix posted: True" in said
    assert said.count("Phasegate-Attempt:") == 2
    assert "2 phase commits; the branch's own tests: 3 passed" in said


def test_the_demo_fails_where_the_build_does_not_come_to_its_end(new_world: NewWorld) -> None:
    code, said = clicked(new_world(checks="exit 1", files={POLICY: "repairs: 0\n"}))

    assert code == 1
    assert said.rstrip().endswith("The demo failed: the build is paused: checks_red.")


def test_the_demo_fails_where_no_plan_is_made(new_world: NewWorld) -> None:
    code, said = clicked(new_world(files={POLICY: "line_cap: many\n"}))

    assert code == 1
    assert said.rstrip().endswith("The demo failed: no plan was made: bad_policy.")
