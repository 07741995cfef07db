"""`kill -9` at the worst moments: the build goes on by itself, and nothing is done or paid twice.

The moments are held, not guessed: GitHub stops before or after one request, the model is silent in one call, or the
database says so. There the process dies, and a new one starts on the same data.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import inspect
from sqlalchemy.exc import OperationalError

from bot import demo, main
from bot.store import Database
from localhub.faults import FaultRule
from localmodel import Scenario
from localmodel.faults import Fault
from tests.flow.test_serve import DATABASE, NewWorld, answers, embedded, rows, said
from tests.world import PATIENCE, World, part, scenario, small, writing

NURSERY = """
import json, os, sys
import bot.cli, bot.llm, bot.main
import httpcore2, pydantic.v1, sqlalchemy.dialects.sqlite, uvicorn.protocols.http.auto
for line in sys.stdin:
    given = json.loads(line)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(given["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        os.environ.update(given["environment"])
        sys.argv = ["phasegate", *given["arguments"]]
        bot.cli.main()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Runs our command line in one new process after the other; the seconds its imports cost are paid once."""

JOURNAL = "SELECT kind, phase, n FROM phasegate_turn JOIN phasegate_attempt ON id = attempt_id"
NO_BUILD = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM phasegate_build)"
UNHANDLED = "SELECT 1 FROM phasegate_delivery WHERE handled_at IS NULL"
UNSAID = "SELECT 1 FROM phasegate_notice WHERE posted < revision"
UNHEARD_COMMENT = "SELECT 1 FROM phasegate_notice WHERE begun AND comment_id IS NULL"
UNANSWERED = f"{JOURNAL} WHERE phase = 1 AND n = 0 AND results IS NULL"
COMMIT = """SELECT 1 FROM phasegate_attempt WHERE outcome = '' AND "commit" <> ''"""
NO_COMMIT = """SELECT 1 FROM phasegate_attempt WHERE outcome = '' AND "commit" = ''"""


def state(name: str) -> str:
    """Return the query whether the build is in a state."""
    return f"SELECT 1 FROM phasegate_build WHERE state = '{name}'"


def both(one: str, other: str) -> str:
    """Return the query whether two queries have answers."""
    return f"SELECT 1 WHERE EXISTS ({one}) AND EXISTS ({other})"


def at_rest(name: str) -> str:
    """Return the query whether the build is in a state, with all deliveries handled and all comments posted."""
    return f"{state(name)} AND NOT EXISTS ({UNSAID}) AND NOT EXISTS ({UNHANDLED})"


class Trap(Protocol):
    """A moment at which the process shall die."""

    def arm(self, world: World) -> None:
        """Lie in wait."""

    def sprung(self, world: World) -> bool:
        """Say whether the moment is now."""

    def release(self) -> None:
        """Let all but the dead process go on."""


def always() -> bool:
    """Say yes."""
    return True


class Held(FaultRule):
    """GitHub stops at the first request of a kind: before it, after it is `done`, or before it is `lost` for good."""

    def __init__(
        self,
        method: str,
        path: str,
        *,
        done: bool = False,
        lost: bool = False,
        when: Callable[[], object] = always,
    ) -> None:
        super().__init__(path, method, after=done)
        self._lost, self._when = lost, when
        self._met, self._over = threading.Event(), threading.Event()

    def matches(self, method: str, path: str) -> bool:
        """Stop all of GitHub here, until the trap is released."""
        if not super().matches(method, path) or not self._when():
            return False
        self.count = 0
        self._met.set()
        self._over.wait(PATIENCE)
        return self._lost

    def arm(self, world: World) -> None:
        world.hub.faults.fail_next.append(self)

    def sprung(self, _world: World) -> bool:
        return self._met.is_set()

    def release(self) -> None:
        self.count = 0
        self._over.set()


@dataclass
class Silent:
    """The model has a request and does not answer."""

    conversation: str
    turn: int

    def arm(self, world: World) -> None:
        fault = Fault(kind="stall", after=0, seconds=2 * PATIENCE)
        world.model.inject(fault, conversation=self.conversation, turn=self.turn)

    def sprung(self, world: World) -> bool:
        wanted = ("stall", self.conversation, self.turn)
        return wanted in [(r.outcome, r.conversation, r.turn) for r in world.model.requests]

    def release(self) -> None:
        return


@dataclass
class Stored:
    """The database answers a query."""

    query: str

    def arm(self, _world: World) -> None:
        return

    def sprung(self, world: World) -> bool:
        return bool(rows(world, self.query))

    def release(self) -> None:
        return


class Nursery:
    """Starts processes of the bot, one at a time, within a moment each."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._child = 0

    def start(self, world: World) -> None:
        """Start `phasegate serve` in a world."""
        given = demo.environment(
            embedded(world), world.folder / "bot", key="simulated", model_url=world.model_url
        )
        arguments = ["serve", "--port", str(world.port)]
        order = {"environment": given, "arguments": arguments, "log": str(world.folder / "bot.log")}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self._child = int(self._hear())

    def kill(self) -> str:
        """Kill the process where there is one, wait for its end and return its exit code."""
        child, self._child = self._child, 0
        if not child:
            return ""
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        return self._hear()

    def _hear(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@dataclass
class Life:
    """A build whose process is killed again and again."""

    world: World
    nursery: Nursery
    deaths: list[tuple[int, set[tuple[str, int]]]] = field(default_factory=list)
    """For each: how many requests the model had had, and the turns (conversation, number) in the journal."""

    def dies(self, trap: Trap, shows: str, then: Callable[[], object] | None = None) -> None:
        """Start, do `then`, and be killed where the trap springs; the query `shows` that it was there."""
        trap.arm(self.world)
        try:
            self.starts(listening=then is not None)
            if then is not None:
                then()
            self.wait(lambda: trap.sprung(self.world), f"{trap}")
            assert self.nursery.kill() == str(-signal.SIGKILL), self.story()
        finally:
            trap.release()
        assert rows(self.world, shows), f"killed elsewhere than at {trap}; {self.story()}"
        self.deaths.append((len(self.world.model.requests), set(self.journal())))

    def rests(self, wanted: str) -> None:
        """Start, wait until the build is in a state and all is said, and be killed doing nothing."""
        self.dies(Stored(at_rest(wanted)), at_rest(wanted))

    def starts(self, *, listening: bool = True) -> None:
        """Start, and wait until webhooks arrive where they shall."""
        self.nursery.start(self.world)
        if listening:
            self.wait(lambda: answers(self.world), "the start")

    def finishes(self) -> None:
        """Start once more; from here nobody does anything until the build has come to its end."""
        self.starts()
        self.wait(lambda: rows(self.world, at_rest("done")), "the end")

    def approves(self) -> None:
        """Approve the plan."""
        self.world.said = self.world.says("/approve-plan")

    def reports(self) -> None:
        """Let CI report the newest commit as green."""
        self.world.hub.report_check(self.world.repository, self.head(), conclusion="success")
        self.world.hub.wait_idle()

    def head(self) -> str:
        """Return the newest commit by the bot's own book."""
        return str(rows(self.world, "SELECT head FROM phasegate_build")[0][0])

    def journal(self) -> list[tuple[str, int]]:
        """Return (conversation, number) of the turns in the journal."""
        return [(f"phase {phase}" if phase else kind, n) for kind, phase, n in rows(self.world, JOURNAL)]

    def wait(self, happened: Callable[[], object], what: str) -> None:
        """Wait until something is so; fail with the story so far."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert time.monotonic() < deadline, f"waited in vain for {what}; {self.story()}"
            time.sleep(0.02)

    def story(self) -> str:
        """Return what happened so far, for a failing test."""
        moves = rows(self.world, 'SELECT before, after, "trigger", detail FROM phasegate_move')
        asked = [(r.conversation, r.turn, r.outcome, r.detail[:200]) for r in self.world.model.requests]
        return f"moves {moves}; model {asked}; log {said(self.world)[-3000:]}"


NewLife = Callable[[Scenario], Life]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """A nursery, its imports done."""
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Nursery(process)
        process.communicate()


@pytest.fixture
def new_life(new_world: NewWorld, nursery: Nursery) -> Iterator[NewLife]:
    """Make a life that has not begun, in a world where only tests report checks."""

    def make(story: Scenario) -> Life:
        world = new_world(story, checks="")
        (world.folder / DATABASE).unlink()
        return Life(world, nursery)

    yield make
    nursery.kill()


def die_while_planning(life: Life) -> None:
    """Be killed at nine places between the first start and the approval."""
    world = life.world
    life.dies(Held("GET", "^/app$"), "SELECT 1 FROM alembic_version")
    life.dies(Held("GET", "/permission$"), both(UNHANDLED, NO_BUILD), world.labels)
    life.dies(Held("POST", "/issues/1/comments$", done=True), UNHEARD_COMMENT)
    life.dies(Held("POST", "/git-upload-pack$"), state("planning"))
    life.dies(Silent("plan", 0), state("planning"))
    life.dies(Held("GET", r"/commits/\w+/check-runs"), f"{JOURNAL} WHERE n = 1 AND results IS NOT NULL")
    life.dies(Held("PATCH", r"/issues/comments/\d+$", done=True), UNSAID)
    life.rests("awaiting_approval")
    obeyed = Held("POST", "/reactions$", when=lambda: rows(world, state("running")))
    life.dies(obeyed, UNHANDLED, life.approves)


def die_in_the_first_phase(life: Life) -> None:
    """Be killed at eight places, from the first call to a green check that nobody heard of."""
    life.dies(Silent("phase 1", 0), state("running"))
    life.dies(Stored(UNANSWERED), UNANSWERED)
    life.dies(Silent("phase 1", 1), state("running"))
    life.dies(Held("POST", "/git/commits$", done=True), NO_COMMIT)
    life.dies(Held("POST", "/git/refs$", lost=True), COMMIT)
    life.dies(Held("POST", "/git/refs$", done=True), COMMIT)
    life.dies(Held("POST", "/pulls$", done=True), both(COMMIT, state("running")))
    life.rests("awaiting_checks")
    life.reports()


def die_in_the_second_phase(life: Life) -> None:
    """Be killed at four places, from the push to the moment in which the bot sees green."""
    life.dies(Held("POST", "^/graphql updateRefs", lost=True), COMMIT)
    life.dies(Held("POST", "^/graphql updateRefs", done=True), COMMIT)
    life.rests("awaiting_checks")
    world, head = life.world, life.head()
    seen = Held(
        "GET", f"{head}/check-runs", done=True, when=lambda: world.hub.check_runs(world.repository, head)
    )
    life.dies(seen, state("awaiting_checks"), life.reports)


def die_at_the_end(life: Life) -> None:
    """Be killed at three places between the last green check and the last word."""
    life.dies(Silent("verify", 0), state("verifying"))
    life.dies(Held("POST", "^/graphql markPullRequestReady", done=True), state("verifying"))
    life.dies(Held("POST", "/issues/1/comments$", done=True), both(UNHEARD_COMMENT, state("done")))


def assert_nothing_is_there_twice(world: World, phases: int) -> None:
    """Check that GitHub shows one commit per phase, one pull request, and each comment of the story once."""
    branch = rows(world, "SELECT branch FROM phasegate_build")[0][0]
    subjects = [c.message.splitlines()[0] for c in world.hub.commits(world.repository, branch, "main")]
    assert subjects == [f"feat(tally): add part {number + 1}" for number in range(phases)]
    assert [pull.pull and pull.pull.draft for pull in world.hub.pulls(world.repository)] == [False]
    tags = [re.findall("<!-- phasegate:(.*?) -->", comment) for comment in world.comments]
    assert tags == [["build=1 plan=1"], ["build=1 done"]]
    assert world.signs == {"eyes", "+1"}


def assert_nothing_was_paid_twice(life: Life) -> None:
    """Check that no turn in the journal at a death was asked for after it, and that repeats were the same bytes."""
    requests = life.world.model.requests
    asked = [(request.conversation, request.turn) for request in requests]
    for seen, journal in life.deaths:
        assert not journal & set(asked[seen:]), f"paid again after request {seen}: {asked}"
    assert {request.outcome for request in requests} <= {"replied", "stall"}
    assert sorted(set(asked)) == sorted(life.journal())
    assert len({request.digest for request in requests}) == len(set(asked))


def assert_nothing_went_wrong(world: World) -> None:
    """Check that dying counts neither as a failure of an attempt nor of a delivery or comment."""
    assert set(rows(world, "SELECT number, outcome FROM phasegate_attempt")) == {(1, "done")}
    assert rows(world, "SELECT error FROM phasegate_delivery WHERE error <> ''") == []
    assert rows(world, "SELECT error FROM phasegate_notice WHERE error <> ''") == []


def test_a_build_killed_everywhere_comes_to_its_end_by_itself_with_nothing_done_or_paid_twice(
    new_life: NewLife,
) -> None:
    """One story, 24 deaths."""
    searches = [{"search": {"pattern": f"word {n}", "path": ""}} for n in range(60)]
    long = {"use": [*part(1), *searches]}
    life = new_life(scenario(writing(1, 2, long, writing(1)["turns"][1])))
    die_while_planning(life)
    die_in_the_first_phase(life)
    die_in_the_second_phase(life)
    die_at_the_end(life)
    life.finishes()

    assert len(life.deaths) == 24
    assert_nothing_is_there_twice(life.world, phases=2)
    assert_nothing_was_paid_twice(life)
    assert_nothing_went_wrong(life.world)


def test_a_green_check_reported_while_the_bot_was_down_is_found_by_the_next_start(new_life: NewLife) -> None:
    """The webhook is lost, GitHub does not tell of lost ones, and the timer is a minute away."""
    life = new_life(small())
    world = life.world
    life.dies(Stored(at_rest("awaiting_approval")), state("awaiting_approval"), world.labels)
    looked = f"{at_rest('awaiting_checks')} AND EXISTS (SELECT 1 FROM phasegate_phase WHERE verdict <> '')"
    life.dies(Stored(looked), looked, life.approves)
    world.hub.faults.fail("/app/hook/deliveries", 404, count=1000)
    life.reports()
    life.finishes()

    news = [delivery.reason for delivery in world.hub.deliveries if delivery.event == "check_run"]
    assert set(news) == {"failed to connect to host"}
    assert_nothing_is_there_twice(world, phases=1)


def test_a_migration_that_breaks_off_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    """As when the very first start is killed: the next one must not stumble over half of the tables."""
    with closing(Database(f"sqlite:///{tmp_path}/phasegate.db")) as database:
        with database.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE phasegate_move (in_the_way)")
        with pytest.raises(OperationalError, match="phasegate_move already exists"):
            main.migrate(database)

        assert inspect(database.engine).get_table_names() == ["phasegate_move"]
