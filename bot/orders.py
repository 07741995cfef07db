"""What each command does once it is known who gave it."""

import json
from collections.abc import Callable
from dataclasses import replace

import structlog
from sqlmodel import Session

from bot import builds, commands, comments, outbox, policy, pricing, records, scope, store
from bot.commands import Command
from bot.errors import Denied, FailureKind, Missing, Rejected, UserError
from bot.events import Event, carries
from bot.github import Repository
from bot.parts import Parts
from bot.slugs import branch_name
from bot.states import LIVE, State, Trigger
from bot.tables import Build, now

WRITERS = ("admin", "write")

_ONWARD = ("resume", "retry", "allow", "skip-checks", "approve-plan", "revise-plan")
"""The words that may end a pause."""

_log = structlog.get_logger(__name__)


async def may_command(repository: Repository, login: str, user_id: int | None) -> bool:
    """Whether a person has write permission, by GitHub's own answer for that very account."""
    found = await repository.permission(login)
    return found.permission in WRITERS and found.user_id == user_id


async def obey(parts: Parts, event: Event) -> None:
    """Take a command out of a comment, check who gave it, do it and show that it was done."""
    try:
        command = commands.parse(event.text("comment", "body"))
    except UserError as error:
        if await _is_entitled(parts, event):
            await _decline(parts, event, str(error))
        return
    if command is None:
        return
    await _sign(parts, event, "eyes")
    if not await _is_entitled(parts, event):
        return
    try:
        await _obey(parts, event, command)
    except UserError as error:
        await _decline(parts, event, str(error))
    except (Denied, Missing, Rejected) as error:
        await _decline(parts, event, comments.github_refuses(str(error)))
    else:
        await _sign(parts, event, "+1")


async def _obey(parts: Parts, event: Event, command: Command) -> None:
    """Do what a person with the right asks for; UserError says why it cannot be."""
    await _prepare(parts, event, command)
    await _give(parts, event, command)
    if command.word in ("build", *_ONWARD) and not carries(event, parts.settings.label):
        await _label(parts, event)


async def _decline(parts: Parts, event: Event, why: str) -> None:
    await _sign(parts, event, "confused")
    await parts.database.run(_answer, parts, event, why)


async def _sign(parts: Parts, event: Event, sign: str) -> None:
    """React to a comment where GitHub lets us: what a person asked for does not hang on it."""
    try:
        await _repository(parts, event).react(event.number("comment", "id") or 0, sign)
    except (Denied, Missing, Rejected) as error:
        _log.info("no sign given", delivery=event.delivery, sign=sign, error=str(error))


async def _label(parts: Parts, event: Event) -> None:
    """Put our label on the issue of a build that goes on: without it, news of the issue are not known for ours."""
    build = await parts.database.ask(_build_of, event)
    if build is None:
        return
    try:
        await parts.repository(build).label(build.issue, parts.settings.label)
    except (Denied, Missing, Rejected) as error:
        _log.info("no label set", build=build.id, error=str(error))


async def _prepare(parts: Parts, event: Event, command: Command) -> None:
    """See to what a command needs of GitHub; UserError where that forbids it."""
    build = await parts.database.ask(_build_of, event)
    if build is None:
        return
    repository = _repository(parts, event)
    closed = [path for path in command.paths if scope.protected(path, parts.rules(build).protected)]
    if closed and (await repository.permission(event.sender_login)).permission != "admin":
        raise UserError(comments.closed_path(closed[0]))
    if command.word in ("resume", "retry") and build.state == State.PAUSED and build.base_branch:
        # What stands in the way is often mended there, a budget above all.
        text = await repository.file(policy.FILE, build.base_branch) or ""
        policy.check(policy.effective(policy.parse(text), parts.settings))
        await parts.database.run(_keep_policy, build.id or 0, text)
    if command.word in _ONWARD and build.state == State.PAUSED and build.pull_request is not None:
        await _reopen(parts, build, build.pull_request)


async def _reopen(parts: Parts, build: Build, number: int) -> None:
    """Have an open pull request before a build goes on: many repositories run CI on those alone.

    One whose branch was forced while it was closed stays closed for good; another takes its place.
    """
    repository = parts.repository(build)
    pull = await repository.pull(number)
    if pull.state == "open" or pull.merged:
        return
    try:
        await repository.reopen_pull(number)
    except Rejected as refusal:
        try:
            pull = await repository.open_pull(
                branch=build.branch,
                base=build.base_branch,
                title=pull.title,
                body=pull.body,
                draft=pull.draft,
            )
        except Rejected:
            raise UserError(comments.pull_closed(number, str(refusal))) from refusal
    await parts.database.run(_keep_pull, build.id or 0, pull.number)


def _keep_pull(db: Session, build_id: int, number: int) -> None:
    build = store.build(db, build_id)
    build.pull_request, build.pull_opened_at = number, now()


def _keep_policy(db: Session, build_id: int, text: str) -> None:
    store.build(db, build_id).policy = text


async def _give(parts: Parts, event: Event, command: Command) -> None:
    if command.word == "approve-plan":
        command = await _read_plan(parts, event, command)
    await parts.database.run(_order_once, parts, event, command)


async def _read_plan(parts: Parts, event: Event, command: Command) -> Command:
    """Return an approval that names its plan; without a hash that is one its author can have read.

    UserError where the issue was edited since; the truth about issue and comments is GitHub's.
    """
    build = await parts.database.ask(_build_of, event)
    version = await parts.database.ask(store.plan, build.id or 0) if build else None
    if build is None or version is None or version.approved_at is not None:
        return command
    issue = await _repository(parts, event).issue(build.issue)
    if issue.title != version.title:
        raise UserError(comments.edited_since("title"))
    if issue.body != version.issue_body:
        raise UserError(comments.edited_since("text"))
    read = not command.hash and await _was_read(parts, event, build, version.version)
    return replace(command, hash=version.hash) if read else command


async def _was_read(parts: Parts, event: Event, build: Build, version: int) -> bool:
    """Whether a plan's comment said what it says before the author wrote, by GitHub's clock.

    Its id is no proof: the first plan takes the place of "I am reading".
    """
    notice = await parts.database.ask(store.notice, records.plan_key(build, version))
    if notice is None or notice.comment_id is None or notice.posted < notice.revision:
        return False
    try:
        shown = await _repository(parts, event).comment_now(notice.comment_id)
    except Missing:
        return False
    return shown.updated_at <= event.text("comment", "created_at")


async def _is_entitled(parts: Parts, event: Event) -> bool:
    """Whether the author may command; who may not is turned away: a sign each time, a sentence once per issue."""
    if await may_command(_repository(parts, event), event.sender_login, event.sender_id):
        return True
    await _sign(parts, event, "confused")
    await parts.database.run(say_no_right, parts, event)
    return False


def say_no_right(db: Session, parts: Parts, event: Event) -> None:
    """Say once per issue that only people with write permission may do that."""
    place = _place(event)
    key = f"no-right repository={place[1]} issue={place[3]}"
    if store.notice(db, key) is None:
        outbox.say_at(db, parts, key, comments.no_right(event.sender_login), place=place)


def _repository(parts: Parts, event: Event) -> Repository:
    return parts.github.repository(event.installation_id or 0, event.repository, event.repository_id or 0)


def _place(event: Event) -> tuple[int, int, str, int]:
    number = event.number("issue", "number") or 0
    return event.installation_id or 0, event.repository_id or 0, event.repository, number


def _build_of(db: Session, event: Event) -> Build | None:
    return store.live_build(db, event.repository_id or 0, event.number("issue", "number") or 0)


def _answer(db: Session, parts: Parts, event: Event, text: str) -> None:
    build = _build_of(db, event)
    outbox.say_at(
        db, parts, f"answer={event.delivery}", text, place=_place(event), build_id=build.id if build else None
    )


def _order_once(db: Session, parts: Parts, event: Event, command: Command) -> None:
    """Do a command, unless a crash or an outage struck after it was done and before its delivery was closed."""
    delivery = store.delivery(db, event.delivery)
    if delivery is None or not delivery.obeyed:
        _order(db, parts, event, command)
    if delivery is not None:
        delivery.obeyed = True


def _order(db: Session, parts: Parts, event: Event, command: Command) -> None:
    """Do one command in one transaction; UserError is the answer to what cannot be done."""
    if command.word == "help":
        _answer(db, parts, event, commands.help_text())
        return
    build = _build_of(db, event)
    if build is None and command.word == "build":
        begin(db, parts, event)
        return
    if build is None:
        newest = store.newest_build(db, event.repository_id or 0, event.number("issue", "number") or 0)
        if command.word == "status" and newest is not None:
            _status(db, parts, newest, command, event)
            return
        raise UserError(
            comments.too_late(command.word, newest.state)
            if newest
            else comments.nothing_here(parts.settings.label)
        )
    _ORDERS[command.word](db, parts, build, command, event)


def _status(db: Session, parts: Parts, build: Build, _command: Command, event: Event) -> None:
    url = records.repository_url(parts, build)
    _answer(db, parts, event, comments.status(records.record(db, parts, build), repository_url=url))


def _approve(db: Session, parts: Parts, build: Build, command: Command, event: Event) -> None:
    """Approve the newest plan, or the follow-up phases a verification proposed."""
    version = store.plan(db, build.id or 0)
    if version is None or version.approved_at is not None:
        raise UserError(comments.too_late(command.word, build.state))
    if build.state not in (State.AWAITING_APPROVAL, State.PAUSED):
        raise UserError(comments.too_late(command.word, build.state))
    if (
        build.state == State.PAUSED
        and build.failure != FailureKind.GAPS
        and build.left != State.AWAITING_APPROVAL
    ):
        raise UserError(comments.too_late(command.word, build.state))
    if not command.hash:
        raise UserError(comments.newer_plan(version.version, version.hash))
    if not version.hash.startswith(command.hash):
        raise UserError(comments.wrong_hash(command.hash, version.hash, version.version))
    version.approved_by, version.approved_at = event.sender_login, now()
    builds.advance(
        db,
        parts,
        build,
        Trigger.APPROVED,
        by=event.sender_login,
        detail=f"v{version.version} {version.hash[:7]}",
    )


def _revise(db: Session, parts: Parts, build: Build, command: Command, event: Event) -> None:
    """Have the plan made anew with a person's words; finished phases stand."""
    build.feedback = command.text
    if not builds.advance(db, parts, build, Trigger.REVISED, by=event.sender_login, detail=command.text):
        raise UserError(comments.too_late(command.word, build.state))


def _resume(db: Session, parts: Parts, build: Build, command: Command, event: Event) -> None:
    """Go on from where the build was paused: only what failed runs again, with its edits or, for `/retry`, without."""
    if command.model and not pricing.known(command.model):
        raise UserError(comments.unknown_model(command.model, pricing.models()))
    if records.waits(db, build):
        # A person need not wait with it: what waits is stopped, and goes on as if it had been paused.
        why = f"`/{command.word}` came first"
        builds.advance(db, parts, build, Trigger.STOPPED, by=event.sender_login, detail=why)
    if build.state != State.PAUSED:
        raise UserError(comments.too_late(command.word, build.state))
    version = store.plan(db, build.id or 0)
    if build.failure == FailureKind.GAPS and version is not None and not version.approved_by:
        raise UserError(comments.follow_up_waits(command.word, version.hash))
    # After a force push a person's `/resume` is what makes the branch's present head right.
    build.trusts_head = build.failure == FailureKind.CONFLICT
    builds.advance(
        db,
        parts,
        build,
        _way_back(db, build),
        by=event.sender_login,
        model=command.model,
        fresh=command.word == "retry",
        detail=builds.named(command.model),
    )


def _way_back(db: Session, build: Build) -> Trigger:
    """Return the trigger by which a paused build goes back to what it left."""
    if build.left == State.AWAITING_APPROVAL:
        return Trigger.APPROVAL_RESUMED
    if build.left == State.PLANNING or not build.phase:
        return Trigger.PLANNING_RESUMED
    if build.left == State.VERIFYING:
        return Trigger.VERIFICATION_RESUMED
    if build.left == State.AWAITING_CHECKS:
        red = build.failure == FailureKind.CHECKS_RED
        return Trigger.REPAIR_RESUMED if red else Trigger.GATE_RESUMED
    return Trigger.REPAIR_RESUMED if _repairing(db, build) else Trigger.PHASE_RESUMED


def _repairing(db: Session, build: Build) -> bool:
    """Whether what a paused build left is the repair of a commit that is red."""
    own = store.attempts_at(db, build.id or 0, build.phase)
    return build.left == State.RUNNING and bool(own) and own[-1].kind == "repair"


def _allow(db: Session, parts: Parts, build: Build, command: Command, event: Event) -> None:
    """Allow further paths in the present phase, and go on where it was paused."""
    if not build.phase or build.state in (State.VERIFYING, State.PLANNING, State.AWAITING_APPROVAL):
        raise UserError(comments.too_late(command.word, build.state))
    for path in command.paths:
        if problem := scope.pattern_problem(path):
            raise UserError(f"`{path}`: {problem}")
    granted = store.read_object(build.granted)
    own = [*granted.get(str(build.phase), []), *command.paths]
    build.granted = json.dumps({**granted, str(build.phase): list(dict.fromkeys(own))})
    if build.state == State.PAUSED:
        _resume(db, parts, build, Command("resume"), event)


def _skip(db: Session, parts: Parts, build: Build, command: Command, event: Event) -> None:
    """Take responsibility for one check, for the whole build, or for the present phase's gate."""
    at_gate = State.AWAITING_CHECKS in (build.state, build.left) or _repairing(db, build)
    if not at_gate and not command.check:
        raise UserError(comments.too_late(command.word, build.state))
    builds.release(build, check=command.check, by=event.sender_login, reason=command.reason)
    if command.check:
        if build.state == State.PAUSED and at_gate:
            builds.advance(
                db, parts, build, Trigger.GATE_RESUMED, by=event.sender_login, detail=command.reason
            )
        elif build.state == State.AWAITING_CHECKS:
            builds.schedule_look(db, parts, build, 0)
        return
    phase = store.phase(db, build.id or 0, build.phase)
    phase.released_by, phase.release_reason = event.sender_login, command.reason
    last = builds.is_last(db, build)
    trigger = Trigger.LAST_CHECKS_RELEASED if last else Trigger.CHECKS_RELEASED
    builds.advance(db, parts, build, trigger, by=event.sender_login, detail=command.reason)


def _already(_db: Session, _parts: Parts, build: Build, command: Command, _event: Event) -> None:
    raise UserError(comments.too_late(command.word, build.state))


def begin(db: Session, parts: Parts, event: Event) -> None:
    """Start a build of the issue an event is about; an issue that has a live one is left as it is."""
    number = event.number("issue", "number") or 0
    if event.at("issue", "pull_request"):
        raise UserError(comments.not_an_issue())
    build = Build(
        installation_id=event.installation_id or 0,
        repository_id=event.repository_id or 0,
        repository=event.repository,
        issue=number,
        state="",
        opened_by=event.sender_login,
        branch=branch_name(number, event.text("issue", "title")),
    )
    builds.start(db, parts, build)


def _pause(db: Session, parts: Parts, build: Build, command: Command, event: Event) -> None:
    """Pause the build; a running model call is aborted, and what was edited is kept."""
    if build.state == State.PAUSED:
        raise UserError(comments.too_late(command.word, build.state))
    stop(db, parts, build, comments.why_stopped("paused", event.sender_login), event.sender_login)


def _cancel(db: Session, parts: Parts, build: Build, _command: Command, event: Event) -> None:
    """End the build; what was pushed stays."""
    builds.advance(db, parts, build, Trigger.CANCELLED, by=event.sender_login)


_ORDERS: dict[str, Callable[[Session, Parts, Build, Command, Event], None]] = {
    "approve-plan": _approve,
    "revise-plan": _revise,
    "build": _already,
    "resume": _resume,
    "retry": _resume,
    "pause": _pause,
    "allow": _allow,
    "skip-checks": _skip,
    "cancel": _cancel,
    "status": _status,
}


def stop(db: Session, parts: Parts, build: Build, why: str, by: str, *, reopens: bool = False) -> None:
    """Pause a live build because a person closed or unlabelled something, and say so once."""
    if builds.advance(db, parts, build, Trigger.STOPPED, by=by, detail=why, failure=FailureKind.STOPPED):
        number = len(store.moves(db, build.id or 0))
        text = comments.stopped(records.record(db, parts, build), why, reopens=reopens)
        outbox.say(db, parts, build, f"build={build.id} stopped={number}", text)


def end_all(db: Session, parts: Parts, live: list[Build], why: str, by: str) -> None:
    """Cancel builds the App can no longer work on."""
    for build in live:
        if build.state in LIVE:
            builds.advance(db, parts, build, Trigger.CANCELLED, by=by, detail=why)
