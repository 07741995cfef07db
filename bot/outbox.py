"""Comments are written down with the move they speak of, and posted once, whatever was killed when."""

from datetime import timedelta

import structlog
from sqlmodel import Session

from bot import sanitize, store
from bot.errors import BotError, Denied, Missing, Rejected, Transient
from bot.parts import Parts
from bot.tables import Build, Notice, now

LIMIT = 60_000
_GIVE_UP_AFTER = 12

_log = structlog.get_logger(__name__)


def tag(key: str) -> str:
    """Return the invisible line by which the bot finds its own comment again."""
    return f"<!-- phasegate:{key} -->"


def say(db: Session, parts: Parts, build: Build, key: str, body: str, *, issue: int | None = None) -> None:
    """Have `body` said on the build's issue under `key`; said before, it is edited in place."""
    say_at(
        db,
        parts,
        key,
        body,
        place=(build.installation_id, build.repository_id, build.repository, issue or build.issue),
        build_id=build.id,
    )


def say_at(
    db: Session,
    parts: Parts,
    key: str,
    body: str,
    *,
    place: tuple[int, int, str, int],
    build_id: int | None = None,
) -> None:
    """Have `body` said at `place` = (installation, repository id, full name, issue number) under `key`."""
    end = f"\n\n{tag(key)}"
    text = clean(parts, body, LIMIT - len(end)) + end
    known = store.notice(db, key)
    if known is None:
        installation_id, repository_id, repository, issue = place
        store.add(
            db,
            Notice(
                key=key,
                build_id=build_id,
                installation_id=installation_id,
                repository_id=repository_id,
                repository=repository,
                issue=issue,
                body=text,
            ),
        )
    elif known.body != text:
        known.body, known.revision, known.not_before, known.tries = text, known.revision + 1, None, 0
    else:
        return
    store.after_commit(db, parts.bells.ring_outbox)


def say_again(db: Session, parts: Parts, installation_id: int) -> None:
    """Take up again what an installation would not let us say."""
    for notice in store.notices_given_up(db, installation_id):
        notice.posted, notice.tries, notice.not_before, notice.error = notice.revision - 1, 0, None, ""
    store.after_commit(db, parts.bells.ring_outbox)


def clean(parts: Parts, body: str, limit: int = LIMIT) -> str:
    """Return what may leave in public: without the secrets of this process, and at most `limit` characters."""
    # Cut afterwards: half a secret is not known for one.
    return sanitize.cut(sanitize.redact(body, parts.settings.secrets), limit)


async def drain(parts: Parts) -> None:
    """Post or edit every comment that does not yet say what it should, each issue's in order."""
    blocked: set[tuple[int, int]] = set()
    for notice in await parts.database.ask(store.open_notices):
        place = (notice.repository_id, notice.issue)
        if place in blocked:
            continue
        try:
            await _deliver(parts, notice)
        except (Missing, Denied, Rejected) as error:
            await parts.database.run(_failed, notice.id, str(error), final=True)
        except (Transient, BotError) as error:
            blocked.add(place)
            await parts.database.run(_failed, notice.id, str(error), wait=getattr(error, "retry_after", None))


async def _deliver(parts: Parts, notice: Notice) -> None:
    where = parts.github.repository(notice.installation_id, notice.repository, notice.repository_id)
    comment_id = notice.comment_id
    if comment_id is None and notice.begun:
        own = (await parts.github.app()).id
        mark = tag(notice.key)
        found = [c.id for c in await where.comments(notice.issue) if c.app_id == own and mark in c.body]
        comment_id = found[0] if found else None
    if comment_id is not None:
        try:
            await where.edit_comment(comment_id, notice.body)
        except Missing:
            # A person deleted it; what it says is said anew.
            comment_id = None
    if comment_id is None:
        await parts.database.run(_begun, notice.id)
        comment_id = (await where.comment(notice.issue, notice.body)).id
    await parts.database.run(_posted, notice.id, comment_id, notice.revision)
    _log.info("said", key=notice.key, repository=notice.repository, issue=notice.issue, comment=comment_id)


def _row(db: Session, notice_id: int | None) -> Notice:
    found = db.get(Notice, notice_id)
    if found is None:
        raise LookupError(f"There is no notice {notice_id}.")
    return found


def _begun(db: Session, notice_id: int | None) -> None:
    _row(db, notice_id).begun = True


def _posted(db: Session, notice_id: int | None, comment_id: int, revision: int) -> None:
    notice = _row(db, notice_id)
    notice.comment_id, notice.posted, notice.tries, notice.error = comment_id, revision, 0, ""
    notice.not_before = None


def _failed(
    db: Session, notice_id: int | None, error: str, *, final: bool = False, wait: float | None = None
) -> None:
    notice = _row(db, notice_id)
    notice.tries += 1
    notice.error = error
    if final or notice.tries >= _GIVE_UP_AFTER:
        notice.posted = notice.revision
        _log.error("comment given up", key=notice.key, issue=notice.issue, error=error)
    else:
        notice.not_before = now() + timedelta(seconds=wait or min(2.0**notice.tries, 300.0))
        _log.warning("comment delayed", key=notice.key, issue=notice.issue, error=error)
