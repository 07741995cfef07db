"""The outbox: what is to be said is written down once, without secrets, and short enough for GitHub."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from bot import comments, outbox, store
from tests.unit.story_bench import URL, database, record, speaking
from tests.world import phase

SECRET = "kJ8qWv2LmZ5tRx0bNc7yHd4fPs1gQa6u"
PLACE = (3, 7, "acme/tally", 1)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Session]:
    with database(tmp_path) as opened, opened.transaction() as session:
        yield session
        session.info.clear()


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Any]:
    with speaking(tmp_path, github_webhook_secret=SECRET) as made:
        yield made


def said(db: Session, parts: Any, body: str, key: str = "build=1 plan=1") -> str:
    """Return the comment as GitHub will be given it."""
    outbox.say_at(db, parts, key, body, place=PLACE)
    notice = store.notice(db, key)
    assert notice is not None
    return notice.body


def test_a_comment_ends_in_the_tag_by_which_it_is_found_again(db: Session, parts: Any) -> None:
    assert said(db, parts, "Hello.") == "Hello.\n\n<!-- phasegate:build=1 plan=1 -->"


def test_a_comment_is_posted_where_it_belongs(db: Session, parts: Any) -> None:
    said(db, parts, "Hello.")
    (notice,) = store.open_notices(db)

    assert (notice.installation_id, notice.repository_id, notice.repository, notice.issue) == PLACE


def test_the_same_words_are_said_once(db: Session, parts: Any) -> None:
    said(db, parts, "Hello.")
    said(db, parts, "Hello.")
    (notice,) = store.open_notices(db)

    assert notice.revision == 1


def test_other_words_under_the_same_key_edit_the_comment(db: Session, parts: Any) -> None:
    said(db, parts, "Hello.")
    said(db, parts, "Good bye.")
    (notice,) = store.open_notices(db)

    assert (notice.revision, notice.posted) == (2, 0)
    assert notice.body.startswith("Good bye.")


def test_no_comment_is_longer_than_60000_characters(db: Session, parts: Any) -> None:
    for length in (59_000, 59_980, 60_000, 60_001, 300_000):
        body = said(db, parts, "x" * length)

        assert len(body) <= 60_000
        assert body.endswith("\n\n<!-- phasegate:build=1 plan=1 -->")


def test_the_longest_plan_still_says_how_to_approve_it(db: Session, parts: Any) -> None:
    long = [phase(n, goal="It is good. " * 2000) for n in range(1, 9)]
    plan = {**record()["plan"], "phases": long}
    body = said(db, parts, comments.plan(record(state="awaiting_approval", plan=plan), repository_url=URL))

    assert len(body) <= 60_000
    assert "characters cut" in body
    assert body.rsplit("\n\n", 2)[1].startswith("Reply `/approve-plan 3f9c1a7`")


def test_the_secrets_of_the_process_are_taken_out(db: Session, parts: Any) -> None:
    body = said(db, parts, f"It printed {SECRET} and ghp_{'a1' * 18}.")

    assert body.startswith("It printed [redacted] and [redacted]")


def test_no_piece_of_a_secret_is_left_where_a_text_is_cut(parts: Any) -> None:
    for start in range(29_950, 29_990, 3):
        text = outbox.clean(parts, "x" * start + f" {SECRET} " + "y" * 40_000)

        assert "characters cut" in text
        assert SECRET[:8] not in text
        assert SECRET[-8:] not in text
