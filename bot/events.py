"""From the bytes of a delivery to a verified `Event`, and whether it concerns us at all. Pure: no I/O."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bot import commands
from bot.errors import Malformed, Refused, UserError

PREFIX = "phasegate/"
"""Every branch of ours begins with this."""

WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
DELIVERY = re.compile(r"[0-9A-Fa-f-]{8,64}")
REPOSITORY = re.compile(r"(?!\.{1,2}/)[A-Za-z0-9_.-]{1,100}/(?!\.{1,2}$)[A-Za-z0-9_.-]{1,100}")
LOGIN = re.compile(r"[A-Za-z0-9_-]{1,100}(\[bot\])?")
MAX_ID = 2**63 - 1

Relevance = Callable[["Event", str], bool]
"""Whether an event concerns us, given the label of ours; it reads the payload alone and never raises."""


@dataclass(frozen=True)
class Event:
    """A delivery whose signature was right; whatever else it holds may still be odd, so reads never raise."""

    delivery: str
    name: str
    payload: dict[str, Any] = field(hash=False, repr=False)

    def at(self, *path: str) -> Any:
        """Return what the payload holds at the nested keys `path`, or None."""
        return _dig(self.payload, *path)

    def text(self, *path: str) -> str:
        """Return the text at `path`, or the empty text; what no database can hold is taken out."""
        value = self.at(*path)
        return value.encode("utf-8", "replace").decode().replace("\0", "") if isinstance(value, str) else ""

    def number(self, *path: str) -> int | None:
        """Return the id or number above zero at `path`, or None."""
        value = self.at(*path)
        # JSON's true is an int to Python, and a larger number fits no database column.
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_ID:
            return value
        return None

    @property
    def action(self) -> str:
        """What happened to the thing, in GitHub's word; empty where the event has no action."""
        return self._matching(WORD, "action")

    @property
    def key(self) -> str:
        """The name handlers register for, such as `issues.labeled` or `push`."""
        return f"{self.name}.{self.action}" if self.action else self.name

    @property
    def installation_id(self) -> int | None:
        """The installation that the event came through."""
        return self.number("installation", "id")

    @property
    def repository(self) -> str:
        """`owner/name` of the repository; empty where there is none that a URL may be built from."""
        return self._matching(REPOSITORY, "repository", "full_name")

    @property
    def repository_id(self) -> int | None:
        """The repository's id, which survives renaming."""
        return self.number("repository", "id")

    @property
    def sender_login(self) -> str:
        """Who caused the event; for showing only, trust goes by `sender_id`."""
        return self._matching(LOGIN, "sender", "login")

    @property
    def sender_id(self) -> int | None:
        """The id of who caused the event."""
        return self.number("sender", "id")

    @property
    def sender_type(self) -> str:
        """`User`, `Bot`, `Organization` or whatever GitHub adds."""
        return self.text("sender", "type")

    def _matching(self, pattern: re.Pattern[str], *path: str) -> str:
        value = self.text(*path)
        return value if pattern.fullmatch(value) else ""


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes]) -> Event:
    """Return the event of a delivery; Refused unless one of `secrets` signed it, Malformed if unreadable."""
    by_name = {name.lower(): value for name, value in headers.items()}
    _check_signature(by_name.get("x-hub-signature-256", ""), body, secrets)
    media_type = by_name.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Malformed("The content type must be application/json.", status=415)
    name, delivery = by_name.get("x-github-event", ""), by_name.get("x-github-delivery", "")
    if not WORD.fullmatch(name):
        raise Malformed("The header X-GitHub-Event is missing or odd.")
    if not DELIVERY.fullmatch(delivery):
        raise Malformed("The header X-GitHub-Delivery is missing or no GUID.")
    return event_of(delivery, name, body)


def _check_signature(signature: str, body: bytes, secrets: Sequence[bytes]) -> None:
    # Compared as bytes: comparing texts raises on a header that is not ASCII.
    given = signature.encode("utf-8", "replace")
    for secret in secrets:
        wanted = f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}".encode()
        # Anyone can sign with an empty secret.
        if secret and hmac.compare_digest(given, wanted):
            return
    raise Refused("The signature is missing or wrong.")


def event_of(delivery: str, name: str, body: bytes) -> Event:
    """Return the event of a delivery verified before; Malformed when its body is no JSON object."""
    try:
        payload = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    # ValueError is bad UTF-8, bad JSON or a number of thousands of digits; RecursionError a bomb of brackets.
    except (ValueError, RecursionError):
        raise Malformed("The body is not JSON.") from None
    if not isinstance(payload, dict):
        raise Malformed("The body is not a JSON object.")
    return Event(delivery, name, payload)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _dig(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_label(value: Any, label: str) -> bool:
    # GitHub tells labels apart without regard to case.
    return isinstance(value, str) and value.casefold() == label.casefold()


def _is_ours(branch: Any) -> bool:
    return isinstance(branch, str) and branch.startswith(PREFIX)


def _is_home(event: Event, repository_id: int | None) -> bool:
    # A fork names its branches as it likes, and two missing ids are not the same id.
    return repository_id is not None and repository_id == event.repository_id


def labelled_ours(event: Event, label: str) -> bool:
    """Return whether our label was set or taken away, or an issue that carries it changed otherwise."""
    if event.name != "issues":
        return False
    if event.action in ("labeled", "unlabeled"):
        return _is_label(event.at("label", "name"), label)
    return carries(event, label)


def carries(event: Event, label: str) -> bool:
    """Return whether the issue of an event carries a label."""
    return any(_is_label(_dig(one, "name"), label) for one in _items(event.at("issue", "labels")))


def commented(event: Event, label: str) -> bool:
    """Return whether a person wrote a new comment that is a command, or looks like one that went wrong."""
    author = event.number("comment", "user", "id")
    if event.key != "issue_comment.created" or author is None or author != event.sender_id:
        return False
    if event.sender_type != "User" or event.at("comment", "user", "type") != "User":
        return False
    try:
        return commands.parse(event.text("comment", "body")) is not None
    except UserError:
        return True


def branches(event: Event) -> list[str]:
    """Return the branches that news of CI or a push names; deciding nothing, so unknown ones do no harm."""
    match event.name:
        case "push":
            named = [event.text("ref").removeprefix("refs/heads/")]
        case "check_run":
            named = [event.at("check_run", "check_suite", "head_branch")]
        case "check_suite" | "workflow_run":
            named = [event.at(event.name, "head_branch")]
        case "status":
            named = [_dig(branch, "name") for branch in _items(event.at("branches"))]
        case _:
            named = [event.at("pull_request", "head", "ref")]
    return [name for name in named if isinstance(name, str) and name]


def ours_branch(event: Event, label: str) -> bool:
    """Return whether the event is about a branch of ours in the repository itself, not in a fork."""
    match event.name:
        case "push":
            return event.text("ref").startswith(f"refs/heads/{PREFIX}")
        case "check_run":
            return _is_ours(event.at("check_run", "check_suite", "head_branch"))
        case "check_suite":
            return _is_ours(event.at("check_suite", "head_branch"))
        case "status":
            return any(_is_ours(_dig(branch, "name")) for branch in _items(event.at("branches")))
        case "workflow_run":
            home = event.number("workflow_run", "head_repository", "id")
            return _is_ours(event.at("workflow_run", "head_branch")) and _is_home(event, home)
        case "pull_request" | "pull_request_review":
            home = event.number("pull_request", "head", "repo", "id")
            return _is_ours(event.at("pull_request", "head", "ref")) and _is_home(event, home)
        case _:
            return False


def installation(event: Event, label: str) -> bool:
    """Return whether the App itself was installed, removed, suspended, woken or given other repositories."""
    return event.name in ("installation", "installation_repositories")
