"""One simulated world: an embedded GitHub, a simulated model and the bot, speaking HTTP on loopback."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
import uvicorn
from sqlmodel import Session

from bot import main, settings, store
from bot.tables import Build
from localhub import Hub
from localmodel import Model, Scenario

REPOSITORY = "acme/tally"
LABEL = "agent-build"
SECRET = "it is a secret"
PATIENCE = 60.0
"""Seconds a step may take before a test gives up."""

_UNHANDLED = sa.text("SELECT 1 FROM phasegate_delivery WHERE handled_at IS NULL LIMIT 1")
_STATE = sa.text("SELECT state FROM phasegate_build WHERE id = 1")

FILES = {
    "README.md": "# Tally\n",
    "tally/__init__.py": '"""Counts things."""\n',
    "tally/counter.py": "def count(items):\n    return len(items)\n",
    "tests/test_counter.py": "from tally.counter import count\n\n\ndef test_count():\n    assert count([1]) == 1\n",
}
BODY = "Counting twice should be cached.\n\n- R: `cached_count` gives the same answer\n- R: it is documented"


def all_handled(db: Session) -> bool:
    """Whether no delivery waits in the inbox."""
    return db.connection().execute(_UNHANDLED).first() is None


def phase(number: int, **changes: Any) -> dict[str, Any]:
    """Return a plan's phase that adds tally/part<n>.py and its test."""
    return {
        "title": f"Part {number}",
        "layer": "logic",
        "goal": f"Add part {number}.",
        "deliverables": [f"tally/part{number}.py: the part", f"tests/test_part{number}.py: its test"],
        "out_of_scope": ["Everything else."],
        "allowed_paths": [f"tally/part{number}.py", f"tests/test_part{number}.py"],
        "criteria": [f"Part {number} answers {number}."],
        "serves": ["R1" if number == 1 else "R2"],
        "test_approach": "A unit test.",
        "estimated_lines": 20,
        **changes,
    }


def plan(*phases: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the input of `submit_plan`; two phases unless given."""
    return {
        "summary": "Add the parts one by one.",
        "requirements": [
            {"id": "R1", "text": "`cached_count` gives the same answer"},
            {"id": "R2", "text": "it is documented"},
        ],
        "assumptions": [],
        "open_questions": [],
        "risks": [],
        "feature_flag": "",
        "phases": list(phases) or [phase(1), phase(2)],
        **changes,
    }


def create(path: str, content: str) -> dict[str, Any]:
    """Return a `create_file` call."""
    return {"create_file": {"path": path, "content": content, "executable": False}}


def finish(number: int, **changes: Any) -> dict[str, Any]:
    """Return a `finish_phase` call."""
    given = {
        "summary": f"Part {number} is there.",
        "decisions": [f"Part {number} is a function."],
        "commit_subject": f"feat(tally): add part {number}",
        "commit_body": "The issue asks for it.",
    }
    return {"finish_phase": {**given, **changes}}


def part(number: int, answer: int | None = None) -> list[dict[str, Any]]:
    """Return the calls that write part <n>, whose function returns `answer`, and its test."""
    value = number if answer is None else answer
    return [
        create(f"tally/part{number}.py", f"def part{number}():\n    return {value}\n"),
        create(
            f"tests/test_part{number}.py",
            f"from tally.part{number} import part{number}\n\n\n"
            f"def test_part{number}():\n    assert part{number}() == {number}\n",
        ),
    ]


def writing(number: int, total: int = 2, *turns: dict[str, Any], name: str = "") -> dict[str, Any]:
    """Return the conversation of phase <n>; its turns are those given, or the plain good ones."""
    good = ({"use": part(number)}, {"use": [finish(number)]})
    return {
        "name": name or f"phase {number}",
        "when": {"tool": "finish_phase", "says": f"^Phase {number} of {total}"},
        "turns": list(turns or good),
    }


def planning(*turns: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the planner's conversation."""
    good = ({"use": [{"list_files": {"pattern": ""}}]}, {"use": [{"submit_plan": plan(**changes)}]})
    return {"name": "plan", "when": {"tool": "submit_plan"}, "turns": list(turns or good)}


def finding(requirement: str, number: int, criterion: str = "", **changes: Any) -> dict[str, Any]:
    """Return one finding of a verification: met, with evidence in part <n>."""
    return {
        "requirement": requirement,
        "criterion": criterion,
        "verdict": "met",
        "phase": number,
        "evidence": [{"path": f"tally/part{number}.py", "line": 1}],
        "note": "It is there.",
        **changes,
    }


def verification(**changes: Any) -> dict[str, Any]:
    """Return the input of `submit_verification` for the plain plan, everything met."""
    findings = [
        finding(name, number, criterion)
        for name, number in (("R1", 1), ("R2", 2))
        for criterion in ("", f"Part {number} answers {number}.")
    ]
    return {"findings": findings, "conflicts": [], "ambiguities": [], "follow_up_phases": [], **changes}


def verifying(*turns: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the verifier's conversation."""
    good = ({"use": [{"submit_verification": verification(**changes)}]},)
    return {"name": "verify", "when": {"tool": "submit_verification"}, "turns": list(turns or good)}


def scenario(*conversations: dict[str, Any]) -> Scenario:
    """Return a scenario of some conversations; the rest of the plain story is added."""
    given = {conversation["name"] for conversation in conversations}
    plain = [planning(), writing(1), writing(2), verifying()]
    whole = [*conversations, *(c for c in plain if c["name"] not in given)]
    return Scenario.model_validate({"name": "test", "conversations": whole})


def small(*conversations: dict[str, Any]) -> Scenario:
    """Return a scenario whose plan has one phase that serves everything; what is not given is plain and good."""
    given = {conversation["name"] for conversation in conversations}
    findings = [finding(name, 1) for name in ("R1", "R2")] + [finding("R1", 1, "Part 1 answers 1.")]
    plain = [
        planning({"use": [{"submit_plan": plan(phase(1, serves=["R1", "R2"]))}]}),
        writing(1, 1, {"use": [*part(1), finish(1)]}),
        verifying(findings=findings),
    ]
    whole = [*conversations, *(c for c in plain if c["name"] not in given)]
    return Scenario.model_validate({"name": "small", "conversations": whole})


def repairing(number: int, total: int, *turns: dict[str, Any]) -> dict[str, Any]:
    """Return the conversation that repairs phase <n>."""
    when = {"tool": "finish_phase", "says": f"^Repair of phase {number} of {total}"}
    return {"name": f"repair {number}", "when": when, "turns": list(turns)}


@dataclass
class World:
    """What tests do and see: verbs for people and CI, observations of GitHub, the model and the bot."""

    hub: Hub
    hub_url: str
    model: Model
    model_url: str
    folder: Path
    port: int
    repository: str = REPOSITORY
    number: int = 1
    bot: main.Bot | None = None
    bot_url: str = ""
    given: dict[str, Any] = field(default_factory=dict)
    said: int = 0
    """The comment that `answers` made last."""

    # people

    def labels(self, by: str = "maria") -> None:
        """Set our label on the issue."""
        self.hub.label(self.repository, self.number, LABEL, by=by)

    def says(self, text: str, by: str = "maria") -> int:
        """Comment on the issue; return the comment's id."""
        return int(self.hub.comment(self.repository, self.number, text, by=by).id)

    def approves(self) -> None:
        """Have the plan made and approve it."""
        self.labels()
        self.until("awaiting_approval")
        self.says("/approve-plan")

    def answers(self, text: str, by: str = "maria", on: int = 0) -> list[str]:
        """Comment on the issue, or on thread `on`; return the comments the bot posts there in answer."""
        number = on or self.number
        before = len(self.hub.comments(self.repository, number))
        self.said = int(self.hub.comment(self.repository, number, text, by=by).id)
        self.settle()
        return [c.body for c in self.hub.comments(self.repository, number)[before + 1 :]]

    def reports(self, conclusion: str = "success", **changes: Any) -> str:
        """Have CI report on the newest commit of the build's branch; return that commit."""
        sha = self.head
        self.hub.report_check(self.repository, changes.pop("sha", sha), conclusion=conclusion, **changes)
        return sha

    # observations

    @property
    def head(self) -> str:
        """The newest commit of the build's branch, empty before the first."""
        return str(self.hub.head(self.repository, self.branch_name) or "")

    @property
    def branch_name(self) -> str:
        """The branch of build 1; asked for so often that the whole record would take too long."""
        if self.bot is None:
            return str(self.record["branch"])
        return self.stored().branch

    @property
    def signs(self) -> set[str]:
        """The reactions to what was said last by `answers`."""
        return {reaction.content for reaction in self.hub.reactions(self.repository, self.said)}

    @property
    def comments(self) -> list[str]:
        """The bot's comments on the issue, as posted now."""
        return [
            c.body for c in self.hub.comments(self.repository, self.number) if c.user.login.endswith("[bot]")
        ]

    @property
    def record(self) -> dict[str, Any]:
        """The record of build 1, empty where there is none."""
        return self.record_of(1)

    def record_of(self, build: int) -> dict[str, Any]:
        """The record of one build, empty where there is none."""
        # Loading the certificates that plain HTTP never asks for would take longer than the request.
        answer = httpx.get(f"{self.bot_url}/builds/{build}.json", verify=False)
        return dict(answer.json()) if answer.status_code == 200 else {}

    @property
    def state(self) -> str:
        """The state of build 1."""
        return str(self.record.get("state", ""))

    def until(self, *states: str, patience: float = PATIENCE) -> dict[str, Any]:
        """Wait until build 1 is in one of some states and everything is said; return its record."""
        self.wait(lambda: self._stored_state() in states, f"state {states}", patience)
        self.settle()
        return self.record

    def wait(self, happened: Any, what: str, patience: float = PATIENCE) -> None:
        """Wait until `happened()` is true; fail with the story so far."""
        deadline = time.monotonic() + patience
        while not happened():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited in vain for {what}; {self.story()}")
            time.sleep(0.03)

    def settle(self) -> None:
        """Wait until the bot has handled every delivery and said everything."""
        self.wait(self._quiet, "quiet")

    def _stored_state(self) -> str:
        """Return the state without the cost of the whole record."""
        if self.bot is None:
            return self.state
        # Asked many times a second, so without the weight of an object.
        with self.bot.parts.database.engine.connect() as connection:
            found = connection.execute(_STATE).first()
            return str(found[0]) if found else ""

    def stored(self) -> Build:
        """Return build 1 as the running bot has it stored."""
        assert self.bot is not None
        with Session(self.bot.parts.database.engine) as db:
            return db.get_one(Build, 1)

    def _quiet(self) -> bool:
        if self.bot is None:
            return True
        self.hub.wait_idle()
        with self.bot.parts.database.reading() as db:
            return all_handled(db) and not store.open_notices(db)

    def story(self) -> str:
        """Return what happened so far, for a failing test."""
        record = self.record
        moves = [f"{m['from']}→{m['to']} ({m['trigger']}: {m['detail']})" for m in record.get("moves", [])]
        asked = [f"{r.conversation}/{r.turn} {r.outcome} {r.detail[:200]}" for r in self.model.requests]
        return f"state {record.get('state')}; moves {moves}; model {asked}; comments {self.comments[-1:]}"

    def branch(self) -> list[Any]:
        """The commits of the build's branch, oldest first, the base left out."""
        return list(self.hub.commits(self.repository, self.branch_name, "main"))

    def asked(self, conversation: str) -> list[Any]:
        """The requests of one conversation that were answered."""
        return [r for r in self.model.requests if r.conversation == conversation and r.outcome == "replied"]

    def told(self, conversation: str) -> list[str]:
        """What the tools answered to the model in one conversation, oldest first, the last answer left out."""
        messages = self.asked(conversation)[-1].body["messages"]
        blocks = [block for message in messages if message["role"] == "user" for block in message["content"]]
        return [str(block["content"]) for block in blocks if block["type"] == "tool_result"]

    def opening(self, conversation: str) -> str:
        """The first message of the newest request of one conversation."""
        return str(self.asked(conversation)[-1].body["messages"][0]["content"][0]["text"])

    # the bot's own life

    def settings(self) -> settings.Settings:
        """The bot's settings in this world."""
        return settings.load(None, **self.given)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the bot for a while, on the data it had before."""
        with main.running(self.settings()) as bot, _served(bot, self.port) as url:
            self.bot, self.bot_url = bot, url
            try:
                yield
            finally:
                self.bot = None


@contextmanager
def _served(bot: main.Bot, port: int) -> Iterator[str]:
    listener = main.listen("127.0.0.1", port)
    server = uvicorn.Server(uvicorn.Config(bot.web, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
