"""The CI App: runs a repository's check commands on pushed commits and reports them as check runs."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from localhub.objects import GitRefused
from localhub.records import CheckCommand, CheckRun, Json, Repository
from localhub.reports import create_run, update_run
from localhub.state import State

WORKERS = 2
TAIL = 60_000
SUMMARY_LINES = 30
FAILED = re.compile(
    r"^(?:FAILED|ERROR) (?P<path>[^\s:]+\.py)(?:::(?P<test>\S+))?(?: - (?P<message>.*))?$", re.MULTILINE
)
SECTION = re.compile(r"^_{3,} (?:ERROR \w+ )?(?P<name>.+?) _{3,}$", re.MULTILINE)
PLACE = re.compile(r"^(?P<path>[^\s:]+\.py):(?P<line>\d+):", re.MULTILINE)
ENDING = re.compile(r"^=* ?(?P<text>(?:\d+ \w+(?:, )?)+ in [\d.]+s.*?) ?=*$", re.MULTILINE)


class CheckRunner:
    """Runs commands in fresh checkouts, two at a time, and reports each as one check run."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._pool: ThreadPoolExecutor | None = None
        self._pending: set[Future[None]] = set()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()
        self._closing = False

    @property
    def idle(self) -> bool:
        """Whether every queued commit has been judged."""
        with self._guard:
            return not self._pending and not self._state.check_jobs

    def start_queued(self) -> None:
        """Report every queued commit's checks as `queued` and run them in the background."""
        while self._state.check_jobs and not self._closing:
            with self._state.lock:
                if not self._state.check_jobs:
                    return
                repository, suite = self._state.check_jobs.popleft()
                if suite.runs:
                    continue
                for command in repository.commands:
                    wanted = {"name": command.name, "head_sha": suite.head_sha, "status": "queued"}
                    self._submit(repository, create_run(self._state, repository, suite.app, wanted), command)

    def _submit(self, repository: Repository, run: CheckRun, command: CheckCommand) -> None:
        with self._guard:
            if self._closing:
                return
            if not self._pool:
                self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="localhub-ci")
            future = self._pool.submit(self._judge, repository, run, command)
            self._pending.add(future)
        future.add_done_callback(self._forget)

    def _forget(self, future: "Future[None]") -> None:
        with self._guard:
            self._pending.discard(future)

    def close(self) -> None:
        """Kill what runs and forget what waits."""
        with self._guard:
            self._closing = True
            pool, self._pool = self._pool, None
            for process in self._processes:
                _kill(process)
        if pool:
            pool.shutdown(wait=True, cancel_futures=True)
        self._closing = False

    def _judge(self, repository: Repository, run: CheckRun, command: CheckCommand) -> None:
        with self._state.lock:
            run.started_at = self._state.now()
            update_run(self._state, repository, run, {"status": "in_progress"})
        try:
            with tempfile.TemporaryDirectory(prefix="localhub-ci-", ignore_cleanup_errors=True) as scratch:
                checkout, home = Path(scratch).resolve() / "checkout", Path(scratch).resolve() / "home"
                checkout.mkdir()
                home.mkdir()
                repository.objects.check_out(run.head_sha, checkout)
                wanted = self._execute(command, checkout, home)
        except (GitRefused, OSError) as error:
            wanted = _report("failure", "the command could not be started", str(error))
        if self._closing:
            return
        with self._state.lock:
            update_run(self._state, repository, run, wanted)

    def _execute(self, command: CheckCommand, checkout: Path, home: Path) -> Json:
        started = time.monotonic()
        timed_out = False
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command.command],
                cwd=checkout,
                env=_environment(checkout, home),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            with self._guard:
                self._processes.add(process)
                if self._closing:
                    _kill(process)
            try:
                process.wait(command.timeout)
            except subprocess.TimeoutExpired:
                timed_out = True
            _kill(process)
            process.wait()
            with self._guard:
                self._processes.discard(process)
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - TAIL))
            text = output.read().decode(errors="replace").replace(str(checkout) + "/", "")
        seconds = time.monotonic() - started
        if timed_out:
            return _report("timed_out", f"stopped after {command.timeout:g} s", text)
        code = process.returncode
        ending = ENDING.findall(text)
        title = ending[-1] if ending else f"exit status {code} after {seconds:.1f} s"
        return _report("failure" if code else "success", title, text)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _environment(checkout: Path, home: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    return {
        "PATH": path,
        "HOME": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C.UTF-8",
        "CI": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(checkout),
    }


def _report(conclusion: str, title: str, text: str) -> Json:
    tail = "\n".join(text.rstrip().splitlines()[-SUMMARY_LINES:])
    annotations = find_failures(text) if conclusion != "success" else []
    output = {"title": title[:200], "summary": f"```\n{tail}\n```", "text": text, "annotations": annotations}
    return {"status": "completed", "conclusion": conclusion, "output": output}


def find_failures(text: str) -> list[Json]:
    """Return an annotation for every failing test that pytest's output names, with its line if told."""
    parts = SECTION.split(text)
    places = {name: PLACE.findall(body) for name, body in zip(parts[1::2], parts[2::2], strict=False)}
    found: list[Json] = []
    for match in FAILED.finditer(text):
        path, test = match["path"], match["test"] or ""
        section = places.get(test.replace("::", "."), [])
        line = next((int(number) for place, number in section if place == path), 1)
        message = match["message"] or "failed"
        found.append(
            {
                "path": path,
                "start_line": line,
                "end_line": line,
                "annotation_level": "failure",
                "title": f"{path}::{test}" if test else path,
                "message": message,
            }
        )
    return found[:50]
