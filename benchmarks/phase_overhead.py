"""Prints what the bot itself adds between two phases, and what it costs to keep it idle.

Run: .venv/bin/python -m benchmarks.phase_overhead

Overhead is the time from the arrival of the green check's webhook to the next phase's first model request, on a
repository of 200 and of 5,000 files. Memory is the resident size of an idle `phasegate serve`.
"""

import json
import logging
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import structlog
from sqlmodel import select

from bot import demo
from bot.tables import Delivery
from localmodel import Scenario
from tests.conftest import make_world
from tests.world import World, phase, plan, planning, verification, verifying, writing

PHASES = 6
IDLE_SECONDS = 8.0


def story() -> Scenario:
    """Return a story of small phases, each with one file and its test."""
    phases = [phase(n, serves=["R1", "R2"]) for n in range(1, PHASES + 1)]
    findings = [
        {
            "requirement": name,
            "criterion": "",
            "verdict": "met",
            "phase": PHASES,
            "note": "",
            "evidence": [proof],
        }
        for name, proof in (
            ("R1", {"path": "tally/part1.py", "line": 1}),
            ("R2", {"path": "README.md", "line": 1}),
        )
    ]
    findings += [
        {**findings[0], "criterion": f"Part {n} answers {n}.", "phase": n} for n in range(1, PHASES + 1)
    ]
    conversations = [
        planning({"use": [{"submit_plan": plan(*phases)}]}),
        *(writing(n, PHASES) for n in range(1, PHASES + 1)),
        verifying({"use": [{"submit_verification": {**verification(), "findings": findings}}]}),
    ]
    return Scenario.model_validate({"name": "bench", "conversations": conversations})


def measure(files: int) -> list[float]:
    """Return the seconds from green webhook to next model request, one per phase but the first."""
    extra = {f"src/folder{n % 50}/module{n}.py": f"VALUE = {n}\n" for n in range(files)}
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        world = make_world(stack, Path(folder), story(), files=extra, checks="true")
        with world.running():
            world.approves()
            record = world.until("done", "paused", patience=120)
            if record["state"] != "done":
                raise SystemExit(world.story())
            return [_overhead(world, record, number) for number in range(1, PHASES)]


def _overhead(world: World, record: dict[str, Any], number: int) -> float:
    sha = record["phases"][number - 1]["commit"]
    asked = next(r.at for r in world.model.requests if r.conversation == f"phase {number + 1}")
    return asked - _kept(world, sha)


def _kept(world: World, sha: str) -> float:
    """Return when the bot kept the news that a check of a commit is over; GitHub's own times have no fractions."""
    assert world.bot is not None
    over = select(Delivery).where(Delivery.event == "check_run", Delivery.action == "completed")
    with world.bot.parts.database.reading() as db:
        rows = [row for row in db.exec(over) if json.loads(row.body)["check_run"]["head_sha"] == sha]
    return min(row.received_at for row in rows).timestamp()


def idle_memory() -> float:
    """Return the resident memory of an idle bot in MiB."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        world = make_world(stack, Path(folder), story())
        hub = {
            "app_id": world.given["github_app_id"],
            "private_key_file": str(world.given["github_private_key_file"]),
            "webhook_secret": world.given["github_webhook_secret"],
            "api_url": world.given["github_api_url"],
            "url": world.hub_url,
        }
        started = time.monotonic()
        process = stack.enter_context(
            demo.serving(hub, Path(folder), port=world.port, key="simulated", model_url=world.model_url)
        )
        while not _ready(world.port):
            time.sleep(0.02)
        print(f"serve ready after {time.monotonic() - started:.1f} s")
        time.sleep(IDLE_SECONDS)
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def main() -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    for files in (200, 5000):
        seconds = measure(files)
        print(
            f"{files:5} files: green webhook → next model request, {len(seconds)} phases: "
            f"median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s"
        )
    print(f"idle bot: {idle_memory():.0f} MiB resident")


if __name__ == "__main__":
    main()
