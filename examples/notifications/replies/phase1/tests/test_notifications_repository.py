from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import Session

from app.notifications.models import Notification
from app.notifications.repository import NotificationRepository

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ADA, BOB = 1, 2


@pytest.fixture
def notifications(session: Session) -> NotificationRepository:
    return NotificationRepository(session)


def told(title: str, *, to: int = ADA, minute: int = 0, read: bool = False) -> Notification:
    at = NOON + timedelta(minutes=minute)
    return Notification(
        recipient_id=to, sender_id=BOB, title=title, body="", created_at=at, read_at=at if read else None
    )


def titles(rows: list[Notification]) -> list[str]:
    return [row.title for row in rows]


def test_a_saved_notification_is_found_again_unread(notifications: NotificationRepository) -> None:
    saved = notifications.save(told("lunch"))

    found = notifications.get(saved.stored_id)

    assert found is not None
    assert (found.recipient_id, found.sender_id, found.title) == (ADA, BOB, "lunch")
    assert found.read_at is None


def test_an_unknown_number_finds_nothing(notifications: NotificationRepository) -> None:
    assert notifications.get(7) is None


def test_times_come_back_with_their_zone(notifications: NotificationRepository, session: Session) -> None:
    saved = notifications.save(told("lunch", read=True))
    session.expire_all()

    assert saved.created_at == NOON
    assert saved.read_at == NOON


def test_an_inbox_is_listed_newest_first(notifications: NotificationRepository) -> None:
    for title, minute in (("second", 5), ("first", 0), ("third", 9)):
        notifications.save(told(title, minute=minute))

    assert titles(notifications.list_inbox(ADA, unread_only=False, limit=10)) == ["third", "second", "first"]


def test_of_the_same_instant_the_later_row_comes_first(notifications: NotificationRepository) -> None:
    for title in ("one", "two", "three"):
        notifications.save(told(title))

    assert titles(notifications.list_inbox(ADA, unread_only=False, limit=10)) == ["three", "two", "one"]


def test_an_inbox_holds_nothing_of_others(notifications: NotificationRepository) -> None:
    notifications.save(told("for bob", to=BOB))

    assert notifications.list_inbox(ADA, unread_only=False, limit=10) == []


def test_the_unread_ones_are_listed_alone(notifications: NotificationRepository) -> None:
    notifications.save(told("old", read=True))
    notifications.save(told("new", minute=1))

    assert titles(notifications.list_inbox(ADA, unread_only=True, limit=10)) == ["new"]


def test_never_more_than_the_limit_are_listed(notifications: NotificationRepository) -> None:
    for minute in range(4):
        notifications.save(told(str(minute), minute=minute))

    assert titles(notifications.list_inbox(ADA, unread_only=False, limit=2)) == ["3", "2"]


def test_a_notification_that_was_never_saved_has_no_identifier() -> None:
    with pytest.raises(ValueError, match="never saved"):
        _ = told("lunch").stored_id
