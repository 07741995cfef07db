"""The demo: an embedded GitHub, the bot and, without a key, a simulated model, each a process of its own."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from bot.errors import UserError

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

_START_SECONDS = 60.0
_STEP_SECONDS, _REAL_STEP_SECONDS = 170.0, 3900.0
"""How long one state may last: a real model has an hour for an attempt, and CI comes after it."""
_KEPT = re.compile(
    r"PATH|HOME|USER|LANG|LANGUAGE|LC_\w+|TZ|TERM|TMPDIR|SSL_CERT_(FILE|DIR)|(HTTPS?|ALL|NO)_PROXY",
    re.IGNORECASE,
)
"""What the processes of the demo keep of our environment: nothing that is a setting of theirs."""
_SECRET = "demo-webhook-secret"
"""Of the embedded GitHub only."""


@dataclass(frozen=True)
class Stage:
    """Where everything of a running demo is."""

    hub: dict[str, Any]
    bot_url: str
    model_url: str
    repository: str
    issue: int
    check: str
    patience: float
    client: httpx.Client


def run(example: str, *, auto: bool) -> int:
    """Run the demo of `examples/<example>`; return the exit code. Without `auto` it runs until Ctrl-C."""
    console = Console(soft_wrap=True)
    world = EXAMPLES / example / "world.yml"
    if not world.is_file():
        raise UserError(f"There is no {world}. The demo runs from a checkout of the source.")
    # Told to stop, the demo must not leave its processes behind.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="phasegate-demo-")))
        stage = _start(stack, world, folder, console)
        if auto:
            return play(stage, folder, console)
        _invite(stage, console)
        try:
            signal.pause()
        except KeyboardInterrupt:
            console.print("Bye.")
        return 0


def _start(stack: ExitStack, world: Path, folder: Path, console: Console) -> Stage:
    port = _free_port()
    bot_url = f"http://127.0.0.1:{port}"
    hub = stack.enter_context(
        _process(
            [
                *("localhub", "--world", str(world), "--data", str(folder / "hub")),
                *("--webhook-url", f"{bot_url}/webhooks/github", "--webhook-secret", _SECRET),
            ],
            folder / "hub.log",
        )
    )
    key, model_url = os.environ.get("ANTHROPIC_API_KEY", ""), os.environ.get("ANTHROPIC_BASE_URL", "")
    simulated = not key
    if simulated:
        scenario = world.parent / "scenario.yml"
        model = stack.enter_context(
            _process(["localmodel", "--scenario", str(scenario)], folder / "model.log")
        )
        key, model_url = "simulated", model["url"]
    client = stack.enter_context(httpx.Client(timeout=30))
    stack.enter_context(serving(hub, folder, port=port, key=key, model_url=model_url))
    stage = Stage(
        hub=hub,
        bot_url=bot_url,
        model_url=model_url if simulated else "",
        repository=hub["repositories"][0],
        issue=1,
        check="python -m pytest -q",
        patience=_STEP_SECONDS if simulated else _REAL_STEP_SECONDS,
        client=client,
    )
    _await_ready(stage, folder)
    console.print(f"[bold]Embedded GitHub[/]  {hub['url']}")
    console.print(f"[bold]Bot[/]              {bot_url}  (log: {folder / 'bot.log'})")
    console.print(f"[bold]Model[/]            {model_url or 'api.anthropic.com'}\n")
    return stage


def environment(hub: dict[str, Any], data: Path, *, key: str, model_url: str) -> dict[str, str]:
    """Return the settings of a bot that works with an embedded GitHub."""
    given = {
        "GITHUB_APP_ID": str(hub["app_id"]),
        "GITHUB_PRIVATE_KEY_FILE": hub["private_key_file"],
        "GITHUB_WEBHOOK_SECRET": hub["webhook_secret"],
        "GITHUB_API_URL": hub["api_url"],
        "GITHUB_SERVER_URL": hub["url"],
        "ANTHROPIC_API_KEY": key,
        "DATA_DIR": str(data),
    }
    return {**given, "ANTHROPIC_BASE_URL": model_url} if model_url else given


def kept() -> dict[str, str]:
    """Return what the processes of the demo may know of our environment."""
    return {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}


@contextmanager
def serving(
    hub: dict[str, Any], folder: Path, *, port: int, key: str, model_url: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `phasegate serve` against an embedded GitHub, configured by the environment only."""
    settings = environment(hub, folder / "bot", key=key, model_url=model_url)
    with (folder / "bot.log").open("ab") as log:
        # -P: the folder it runs in holds its data, under the name of our package.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bot.cli", "serve", "--port", str(port)],
            env={**kept(), **settings},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        _stop(process)


@contextmanager
def _process(arguments: list[str], log: Path) -> Iterator[dict[str, Any]]:
    """Run a module that prints one line of JSON when it listens; yield that line."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=kept(),
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=EXAMPLES.parent,
        )
    try:
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise UserError(f"{arguments[0]} did not start: {log.read_text()[-2000:]}")
        yield json.loads(line)
    finally:
        _stop(process)
        if process.stdout:
            process.stdout.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_ready(stage: Stage, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            if stage.client.get(f"{stage.bot_url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise UserError(f"The bot did not start:\n{(folder / 'bot.log').read_text()[-2000:]}")


def _invite(stage: Stage, console: Console) -> None:
    place = f"{stage.hub['url']}/{stage.repository}/issues/{stage.issue}"
    console.print(f"Open {place}")
    console.print(
        "Add the label [bold]agent-build[/] to the issue, read the plan, comment [bold]/approve-plan[/]."
    )
    console.print(
        "Every phase becomes a commit of the pull request; its check runs here. Ctrl-C ends it all."
    )


def play(stage: Stage, folder: Path, console: Console) -> int:
    """Click through the main job, telling each step; return 0 when everything came out as promised."""
    console.rule("A maintainer labels the issue")
    _hub(stage, "POST", f"/issues/{stage.issue}/labels", {"labels": ["agent-build"]})
    record = follow(stage, console, {"awaiting_approval", "paused"})
    if record["state"] != "awaiting_approval":
        return _fail(console, f"no plan was made: {_why(stage, record)}")
    hash = record["plan"]["hash"][:7]
    console.rule(f"The maintainer reads the plan and approves it: /approve-plan {hash}")
    _hub(stage, "POST", f"/issues/{stage.issue}/comments", {"body": f"/approve-plan {hash}"})
    record = follow(stage, console, {"done", "paused", "cancelled"})
    if record["state"] != "done":
        return _fail(console, f"the build is {record['state']}: {_why(stage, record)}")
    return _inspect(stage, record, folder, console)


def follow(stage: Stage, console: Console, until: set[str]) -> dict[str, Any]:
    """Tell each move of build 1 as it happens, until it is in one of some states or nothing moves any more."""
    deadline = time.monotonic() + stage.patience
    record: dict[str, Any] = {"state": "", "moves": [], "failure": None}
    told = _told.setdefault(stage.bot_url, 0)
    while time.monotonic() < deadline:
        answer = stage.client.get(f"{stage.bot_url}/builds/1.json")
        if answer.status_code == 200:
            record = answer.json()
            for move in record["moves"][told:]:
                console.print(
                    f"  {move['at'][11:23]}  {move['from'] or '·'} → [bold]{move['to']}[/]  "
                    f"({move['trigger']}, by {move['by']}) {move['detail'][:70]}"
                )
            if told < len(record["moves"]):
                told = _told[stage.bot_url] = len(record["moves"])
                deadline = time.monotonic() + stage.patience
            if record["state"] in until:
                break
        time.sleep(0.2)
    return record


_told: dict[str, int] = {}


def _why(stage: Stage, record: dict[str, Any]) -> str:
    return record["failure"] or f"nothing moved for {stage.patience:.0f} seconds"


def _hub(stage: Stage, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
    """Call the embedded GitHub's REST API as the maintainer."""
    token = next(iter(stage.hub["users"].values()))["token"]
    answer = stage.client.request(
        method,
        f"{stage.hub['api_url']}/repos/{stage.repository}{path}",
        json=content,
        headers={"authorization": f"Bearer {token}"},
    )
    answer.raise_for_status()
    return answer.json()


def _inspect(stage: Stage, record: dict[str, Any], folder: Path, console: Console) -> int:
    """Check the promises on the result: order of checks and calls, pull request, matrix, log, tests."""
    console.rule("What came out")
    ok = True
    greens = []
    for phase in record["phases"]:
        runs = _hub(stage, "GET", f"/commits/{phase['commit']}/check-runs")["check_runs"]
        green = max((run["completed_at"] or "" for run in runs), default="")
        asked = phase["attempts"][0]["first_request_at"]
        conclusions = ", ".join(f"{run['name']} {run['conclusion']}" for run in runs)
        console.print(
            f"  phase {phase['number']}  {phase['commit'][:7]}  first model request {asked[11:23]}  "
            f"checks: {conclusions} at {green[11:19]}"
        )
        ok &= all(run["conclusion"] == "success" for run in runs) and bool(runs)
        greens.append(green)
    ok &= in_order(record, greens)
    pull = _hub(stage, "GET", f"/pulls/{record['pull_request']}")
    comments = _hub(stage, "GET", f"/issues/{stage.issue}/comments?per_page=100")
    matrix = any("| Requirement |" in comment["body"] for comment in comments)
    console.print(f"  pull request #{pull['number']} draft: {pull['draft']}; matrix posted: {matrix}")
    ok &= not pull["draft"] and matrix
    ok &= _check_branch(stage, record, folder, console)
    low, high = record["forecast_usd"]
    console.print(f"  cost ${record['cost_usd']:.2f}, forecast ${low:.2f} to ${high:.2f}")
    if not ok:
        return _fail(console, "something is not as promised")
    console.print("[bold green]Everything came out as promised.[/]")
    return 0


def in_order(record: dict[str, Any], greens: Sequence[str]) -> bool:
    """Whether the model was asked for each phase only after the checks of the one before were green.

    GitHub's times are whole seconds, cut off; the bot's own are exact, and its verdict lies between the two.
    """
    verdicts = [_moment(move["at"]) for move in record["moves"] if move["trigger"] == "checks_green"]
    asked = [_moment(phase["attempts"][0]["first_request_at"]) for phase in record["phases"]]
    return all(
        any(_moment(green) <= verdict <= first for verdict in verdicts)
        for green, first in zip(greens, asked[1:], strict=False)
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def clone(hub: dict[str, Any], repository: str, branch: str, target: Path) -> None:
    """Clone a branch as the maintainer, whose token is seen on no command line."""
    token = next(iter(hub["users"].values()))["token"]
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    header = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{hub['url']}/.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
    }
    address = f"{hub['url']}/{repository}.git"
    subprocess.run(
        ["git", "clone", "-q", "-b", branch, address, str(target)], env={**kept(), **header}, check=True
    )


def _check_branch(stage: Stage, record: dict[str, Any], folder: Path, console: Console) -> bool:
    """Clone the branch, show its log and run its tests."""
    target = folder / "clone"
    clone(stage.hub, stage.repository, record["branch"], target)
    span = f"{record['base']}..HEAD"
    log = subprocess.run(
        ["git", "log", "--reverse", "--format=%h %s%n%(trailers:only=yes)", span],
        cwd=target,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    console.print(f"\n{log}", highlight=False, markup=False)
    commits = log.count("Phasegate-Attempt:")
    own = kept()
    own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    tests = subprocess.run(stage.check, shell=True, cwd=target, env=own, capture_output=True, text=True)
    console.print(
        f"  {commits} phase commits; the branch's own tests: {tests.stdout.strip().splitlines()[-1]}"
    )
    return tests.returncode == 0 and commits == len(record["phases"])


def _fail(console: Console, why: str) -> int:
    console.print(f"[bold red]The demo failed: {why}.[/]")
    return 1
