"""The intake over real HTTP: what is kept, what is refused, and that GitHub's own examples do no harm."""

import hashlib
import hmac
import http.client
import json
import logging
import sqlite3
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from bot import main, store
from bot.store import Database
from bot.tables import Delivery
from handlers import ROUTER
from tests.conftest import make_world
from tests.world import SECRET, World, all_handled, scenario

PAYLOADS = Path(__file__).parents[1] / "payloads"
PREVIOUS = "the secret before"
LIMIT = 25 * 1024 * 1024
BRANCH = "phasegate/issue-2-spelling"
SUSPENDED = {"action": "suspend", "installation": {"id": 99}}
"""News that is for us and needs no answer of GitHub to be handled."""


def sign(body: bytes, secret: str = SECRET) -> str:
    """Return the signature header GitHub would send."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@dataclass
class Intake(logging.Handler):
    """A running bot as GitHub and its log see it."""

    world: World
    client: httpx.Client
    lines: list[Any]
    """What the bot logged since the test began."""
    records: list[logging.LogRecord] = field(default_factory=list)
    """What its libraries complained about since the test began."""

    def __post_init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Note what a library logs."""
        self.records.append(record)

    __hash__ = logging.Handler.__hash__

    def post(self, body: Any, *, secret: str = SECRET, **changed: str | bytes | None) -> httpx.Response:
        """Post one delivery as GitHub does; keywords replace a header, and None leaves it out."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        usual: dict[str, str | bytes | None] = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "installation",
            "X-GitHub-Delivery": str(uuid.uuid4()),
            "X-Hub-Signature-256": sign(raw, secret),
        }
        usual |= {name.replace("_", "-"): value for name, value in changed.items()}
        given = [(name.encode(), as_bytes(value)) for name, value in usual.items() if value is not None]
        return self.client.post("/webhooks/github", content=raw, headers=given)

    def kept(self) -> list[Delivery]:
        """Return every delivery in the inbox, handled or not."""
        assert self.world.bot is not None
        with self.world.bot.parts.database.transaction() as db:
            return list(db.scalars(sa.select(Delivery)))

    def bugs(self) -> list[Any]:
        """Return the log lines nobody wants to see: bugs, tracebacks, complaints of libraries."""
        ours = [one for one in self.lines if one["event"] == "bug" or one.get("exc_info")]
        return [*ours, *(record.getMessage() for record in self.records)]


def as_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    """One bot for the whole module; its label is the one GitHub's examples carry."""
    folder = tmp_path_factory.mktemp("intake")
    with ExitStack() as stack, capture_logs() as lines:
        world = make_world(
            stack, folder, scenario(), label="bug", github_webhook_secret=f"{SECRET},{PREVIOUS}"
        )
        stack.enter_context(world.running())
        client = stack.enter_context(httpx.Client(base_url=world.bot_url, timeout=30))
        intake = Intake(world, client, lines)
        logging.getLogger().addHandler(intake)
        stack.callback(logging.getLogger().removeHandler, intake)
        yield intake


@pytest.fixture
def intake(running: Intake) -> Intake:
    """The running bot with an empty log and nothing left to do."""
    running.world.settle()
    running.lines.clear()
    running.records.clear()
    return running


# GitHub's own examples


def examples() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the event's name and the payload of every official example."""
    for path in sorted(PAYLOADS.glob("*.json")):
        for payload in json.loads(path.read_text(encoding="utf-8")):
            yield path.stem.partition("__")[0], payload


def key_of(name: str, payload: Mapping[str, Any]) -> str:
    return f"{name}.{payload['action']}" if "action" in payload else name


def ours(value: Any, key: str = "") -> Any:
    """Return an example as if it had happened on our branch, in our words, to an App that is installed."""
    match value:
        case list() if key == "labels":
            return [{"name": "bug"}]
        case dict() if key == "branches":
            return {**value, "name": BRANCH}
        case dict():
            return {name: ours(inner, name) for name, inner in value.items()}
        case list():
            return [ours(inner, key) for inner in value]
        case str() if key == "head_branch" or (key == "ref" and "/" not in value):
            return BRANCH
        case str() if key == "ref":
            return f"refs/heads/{BRANCH}"
        case str() if key == "body":
            return "/status"
        case _:
            return value


def deliver(intake: Intake, change: Callable[[Any], Any] = lambda payload: payload) -> Counter[str]:
    """Post every example, wait until all is handled, and return how often which event was kept."""
    answers: dict[int, Counter[str]] = defaultdict(Counter)
    for name, payload in examples():
        answer = intake.post(change(payload), X_GitHub_Event=name)
        answers[answer.status_code][key_of(name, payload)] += 1
    intake.world.settle()
    kept = answers.pop(202)
    del answers[204]
    assert not answers, "neither kept nor passed over"
    return kept


def test_every_official_example_is_there():
    assert len(list(examples())) == 329
    assert len({name for name, _payload in examples()}) == 58


def test_every_official_example_is_answered_and_only_what_is_ours_is_kept(intake: Intake) -> None:
    """The unknown installations among them end as quiet refusals."""
    before = len(intake.kept())
    kept = deliver(intake)

    assert intake.bugs() == []
    assert kept == {
        "issues.labeled": 2,
        "issues.unlabeled": 2,
        "issues.deleted": 1,
        "installation.deleted": 2,
        "installation.suspend": 1,
        "installation.unsuspend": 1,
        "installation_repositories.removed": 1,
    }
    assert len(intake.kept()) == before + 10


def test_every_official_example_does_no_harm_when_it_is_about_us(intake: Intake) -> None:
    """Bent to our branch and a command, each of our handlers gets all the examples of its events."""
    kept = deliver(intake, ours)

    assert intake.bugs() == []
    assert set(kept) == ROUTER.keys() & {key_of(name, payload) for name, payload in examples()}


def test_news_of_an_unknown_installation_ends_as_a_refusal(intake: Intake) -> None:
    """GitHub answers 404 to whoever asks for a token there; nothing is tried again."""
    [payload, *_] = json.loads((PAYLOADS / "issue_comment__created.json").read_text(encoding="utf-8"))
    news, guid = {**ours(payload), "installation": {"id": 404}}, str(uuid.uuid4())
    intake.post(news, X_GitHub_Event="issue_comment", X_GitHub_Delivery=guid)
    intake.world.settle()

    [row] = [one for one in intake.kept() if one.guid == guid]
    assert row.handled_at
    assert row.tries == 0
    assert "Not Found" in row.error
    assert ("delivery refused", guid) in [(one["event"], one.get("delivery")) for one in intake.lines]
    assert intake.bugs() == []


# Statuses


def test_what_is_for_us_is_kept_and_answered_202(intake: Intake) -> None:
    guid = str(uuid.uuid4())
    answer = intake.post(SUSPENDED, X_GitHub_Delivery=guid)

    assert answer.status_code == 202
    [row] = [one for one in intake.kept() if one.guid == guid]
    assert (row.event, row.action, json.loads(row.body)) == ("installation", "suspend", SUSPENDED)


@pytest.mark.parametrize(
    ("event", "body"),
    [
        ("star", {"action": "created"}),
        ("no_such_event_yet", {}),
        ("issues", {"action": "labeled", "label": {"name": "docs"}}),
        ("issue_comment", {"action": "created", "comment": {"body": "Thanks!"}}),
        ("push", {"ref": "refs/heads/main"}),
        ("check_run", {"action": "completed", "check_run": {"check_suite": {"head_branch": "main"}}}),
    ],
)
def test_what_is_not_for_us_is_answered_204_and_nothing_is_written(
    intake: Intake, event: str, body: dict[str, Any]
) -> None:
    before = len(intake.kept())

    assert intake.post(body, X_GitHub_Event=event).status_code == 204
    assert len(intake.kept()) == before


def test_what_is_kept_is_handled_at_once(intake: Intake) -> None:
    """The timer has just been round when the second one comes, so only the bell can be as quick."""
    intake.post(SUSPENDED)
    intake.world.settle()
    intake.post(SUSPENDED)

    intake.world.wait(lambda: all(one.handled_at for one in intake.kept()), "the inbox", patience=3)


def test_a_delivery_that_comes_at_once_several_times_is_kept_once(intake: Intake) -> None:
    """Whoever comes second is told 200, even in the same instant."""
    guid = str(uuid.uuid4())
    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(lambda _n: intake.post(SUSPENDED, X_GitHub_Delivery=guid), range(16)))

    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [202]
    assert [one.guid for one in intake.kept()].count(guid) == 1
    assert intake.bugs() == []


def test_a_command_delivered_twice_is_obeyed_once(intake: Intake) -> None:
    """What GitHub sends again carries the same GUID."""
    world = intake.world
    said = len(world.comments)
    world.says("/help")
    world.settle()
    [sent] = [
        one
        for one in world.hub.deliveries
        if one.event == "issue_comment" and one.body["comment"]["body"] == "/help"
    ]
    again = intake.client.post("/webhooks/github", content=sent.raw, headers=sent.headers)
    world.settle()

    assert (sent.status, again.status_code) == (202, 200)
    assert len(world.comments) == said + 1


BODY = json.dumps(SUSPENDED).encode()


@pytest.mark.parametrize(
    "changed",
    [
        {"X_Hub_Signature_256": None},
        {"X_Hub_Signature_256": ""},
        {"X_Hub_Signature_256": sign(BODY, "someone else's secret")},
        {"X_Hub_Signature_256": sign(BODY).removeprefix("sha256=")},
        {"X_Hub_Signature_256": sign(BODY).upper()},
        {"X_Hub_Signature_256": "sha256=é".encode("latin-1")},
        {
            "X_Hub_Signature_256": None,
            "X_Hub_Signature": "sha1=" + hmac.new(SECRET.encode(), BODY, hashlib.sha1).hexdigest(),
        },
    ],
)
def test_without_a_right_signature_nothing_is_taken(intake: Intake, changed: Mapping[str, Any]) -> None:
    before = len(intake.kept())

    assert intake.post(SUSPENDED, **changed).status_code == 401
    assert len(intake.kept()) == before
    assert intake.bugs() == []


@pytest.mark.parametrize(
    "changed",
    [
        {"Content_Type": "\x7f;;=/"},
        {"Content_Type": None},
        {"X_GitHub_Event": None},
        {"X_GitHub_Delivery": None},
        {"body": b"{"},
        {"body": b"\xff\x00"},
    ],
)
def test_the_signature_is_judged_before_anything_else(intake: Intake, changed: dict[str, Any]) -> None:
    """A stranger does not learn what else is wrong."""
    changed = {"body": SUSPENDED, **changed}

    assert intake.post(changed.pop("body"), X_Hub_Signature_256=None, **changed).status_code == 401


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"text"', b"null", b"\xff", b"[" * 100_000, b'{"a": NaN}']
)
def test_a_body_that_is_no_json_object_is_malformed(intake: Intake, body: bytes) -> None:
    assert intake.post(body).status_code == 400


@pytest.mark.parametrize("header", ["X_GitHub_Event", "X_GitHub_Delivery"])
@pytest.mark.parametrize("value", [None, "", "two words", "x" * 100])
def test_a_header_that_is_missing_or_odd_is_malformed(intake: Intake, header: str, value: str | None) -> None:
    assert intake.post(SUSPENDED, **{header: value}).status_code == 400


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
def test_what_is_not_json_by_its_type_is_answered_415(intake: Intake, kind: str | None) -> None:
    assert intake.post(SUSPENDED, Content_Type=kind).status_code == 415


def test_either_webhook_secret_is_accepted_while_it_is_changed(intake: Intake) -> None:
    answers = [intake.post(SUSPENDED, secret=secret).status_code for secret in (SECRET, PREVIOUS, "a third")]

    assert answers == [202, 202, 401]


# Size


def announce(intake: Intake, size: int) -> int:
    """Return the answer to a delivery that says it is `size` bytes long, before any of them is sent."""
    url = httpx.URL(intake.world.bot_url)
    with closing(http.client.HTTPConnection(url.host, url.port or 80, timeout=10)) as connection:
        connection.putrequest("POST", "/webhooks/github")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        return connection.getresponse().status


def test_a_delivery_that_says_it_is_too_large_is_not_read(intake: Intake) -> None:
    assert announce(intake, LIMIT + 1) == 413


def test_a_delivery_that_turns_out_too_large_is_answered_before_its_end(intake: Intake) -> None:
    """Chunked, it does not say how long it is; whoever sends it may never come to an end."""
    url = httpx.URL(intake.world.bot_url)
    with closing(http.client.HTTPConnection(url.host, url.port or 80, timeout=10)) as connection:
        connection.putrequest("POST", "/webhooks/github")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        connection.send(b"%x\r\n" % (2 * LIMIT) + b" " * (LIMIT + 1))

        assert connection.getresponse().status == 413


def test_a_chunked_delivery_just_too_large_is_answered_413(intake: Intake) -> None:
    chunks = (b" " * size for size in (LIMIT, 1))

    assert intake.client.post("/webhooks/github", content=chunks).status_code == 413


def test_a_delivery_of_the_largest_size_is_taken(intake: Intake) -> None:
    body = b'{"pad": "' + b"x" * (LIMIT - 11) + b'"}'

    assert len(body) == LIMIT
    assert intake.post(body, X_GitHub_Event="star").status_code == 204


# A database that fails


@contextmanager
def without_inbox(intake: Intake) -> Iterator[None]:
    """Take the inbox's table away for a while."""
    assert intake.world.bot is not None
    path = intake.world.bot.parts.database.engine.url.database
    with closing(sqlite3.connect(str(path), timeout=30, isolation_level=None)) as other:
        other.execute("ALTER TABLE phasegate_delivery RENAME TO elsewhere")
        try:
            yield
        finally:
            other.execute("ALTER TABLE elsewhere RENAME TO phasegate_delivery")


def test_what_cannot_be_kept_is_answered_503_and_taken_when_it_comes_again(intake: Intake) -> None:
    guid = str(uuid.uuid4())
    with without_inbox(intake):
        refused = intake.post(SUSPENDED, X_GitHub_Delivery=guid)
        ready = intake.client.get("/readyz")
    taken = intake.post(SUSPENDED, X_GitHub_Delivery=guid)

    assert (refused.status_code, ready.status_code, taken.status_code) == (503, 503, 202)
    assert intake.client.get("/readyz").status_code == 200


def test_a_lost_inbox_does_not_stop_other_answers(intake: Intake) -> None:
    """What needs no database is answered as ever."""
    with without_inbox(intake):
        assert intake.post({"action": "created"}, X_GitHub_Event="star").status_code == 204
        assert intake.post(SUSPENDED, X_Hub_Signature_256=None).status_code == 401
        assert intake.client.get("/healthz").status_code == 200


# A start after a crash


def test_a_delivery_kept_but_not_handled_is_handled_at_the_start(new_world: Callable[..., World]) -> None:
    """As after a kill between the 202 and the handler: the bot answers the command it finds."""
    world = new_world()
    world.says("/help")
    world.hub.wait_idle()
    [missed] = [one for one in world.hub.deliveries if one.event == "issue_comment"]
    settings = world.settings()
    settings.data_dir.mkdir(exist_ok=True)
    with closing(Database(settings.database_url)) as database:
        main.migrate(database)
        with database.transaction() as db:
            store.keep_delivery(
                db, Delivery(guid=missed.guid, event="issue_comment", action="created", body=missed.raw)
            )
    with world.running():
        world.settle()

    assert missed.status == 502
    assert [text for text in world.comments if "/approve-plan" in text]


# Signed, and odd all the same

PERSON = {"id": 5, "login": "maria", "type": "User"}
SAID = {"id": 3, "body": "/help", "user": PERSON}
COMMENTED = {"action": "created", "comment": SAID, "sender": PERSON, "issue": {"number": 1}}
LABELLED = {"action": "labeled", "label": {"name": "bug"}, "sender": PERSON, "issue": {"number": 1}}


@pytest.mark.parametrize(
    ("event", "body"),
    [
        ("issue_comment", COMMENTED),
        ("issue_comment", {**COMMENTED, "repository": {"id": 7, "full_name": "acme/.."}}),
        ("issue_comment", {**COMMENTED, "comment": {**SAID, "id": None}, "repository": {"id": 7}}),
        ("issues", LABELLED),
        ("issues", {**LABELLED, "issue": None, "repository": {"id": 7, "full_name": "acme/tally"}}),
        ("issues", {**LABELLED, "action": "unlabeled", "issue": [], "repository": 7}),
        ("installation", {"action": "deleted"}),
        ("installation", {"action": "suspend", "installation": {"id": 2**80}}),
        *(
            ("installation_repositories", {**SUSPENDED, "action": "removed", "repositories_removed": removed})
            for removed in (None, {}, [None], [{"id": "x"}], [{"id": 2**80}], [{"id": [1]}], [{"id": True}])
        ),
        ("push", {"ref": f"refs/heads/phasegate/{'x' * 70_000}", "repository": {"id": 7}}),
        ("push", {"ref": "refs/heads/phasegate/\0", "repository": {"id": 2**80}}),
        ("pull_request", {"action": "closed", "pull_request": {"head": {"ref": BRANCH, "repo": {"id": 7}}}}),
    ],
)
def test_an_odd_payload_is_passed_over_or_refused_but_no_bug(
    intake: Intake, event: str, body: dict[str, Any]
) -> None:
    """GitHub sends nothing like it; a proxy, a replay or a new version of it might."""
    answer = intake.post(body, X_GitHub_Event=event)
    wait_until_taken(intake)

    assert answer.status_code in (202, 204)
    assert intake.bugs() == []


def wait_until_taken(intake: Intake) -> None:
    """Wait until the inbox is empty, or something has gone wrong with it."""
    assert intake.world.bot is not None
    database = intake.world.bot.parts.database

    def taken() -> bool:
        with database.transaction() as db:
            return all_handled(db) or bool(intake.bugs())

    intake.world.wait(taken, "the inbox")
