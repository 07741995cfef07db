import pytest
from sqlmodel import Session

from app.errors import Forbidden, Invalid, NotFound
from app.notifications.models import NewNotification
from app.notifications.repository import NotificationRepository
from app.notifications.service import NotificationService
from app.users.models import User
from app.users.repository import UserRepository


@pytest.fixture
def users(session: Session) -> UserRepository:
    return UserRepository(session)


@pytest.fixture
def ada(users: UserRepository) -> User:
    return users.save(User(name="Ada", email="ada@acme.example"))


@pytest.fixture
def bob(users: UserRepository) -> User:
    return users.save(User(name="Bob", email="bob@acme.example"))


@pytest.fixture
def service(session: Session, users: UserRepository) -> NotificationService:
    return NotificationService(NotificationRepository(session), users)


def to(user: User, title: str = "lunch", body: str = "") -> NewNotification:
    return NewNotification(recipient_id=user.stored_id, title=title, body=body)


def inbox(service: NotificationService, owner: User) -> list[str]:
    return [row.title for row in service.list_inbox(owner, unread_only=False, limit=20)]


def test_what_is_sent_is_in_the_inbox_of_the_recipient(
    service: NotificationService, ada: User, bob: User
) -> None:
    sent = service.send(to(ada, body="at noon?"), sender=bob)

    assert (sent.sender_id, sent.body, sent.read_at) == (bob.stored_id, "at noon?", None)
    assert inbox(service, ada) == ["lunch"]


def test_users_see_their_own_inbox_only(service: NotificationService, ada: User, bob: User) -> None:
    service.send(to(ada), sender=bob)

    assert inbox(service, bob) == []


@pytest.mark.parametrize("title", ["", " \n", "x" * 121])
def test_a_blank_or_long_title_is_refused_and_not_stored(
    service: NotificationService, ada: User, bob: User, title: str
) -> None:
    with pytest.raises(Invalid):
        service.send(to(ada, title=title), sender=bob)
    assert inbox(service, ada) == []


def test_a_long_body_is_refused_and_not_stored(service: NotificationService, ada: User, bob: User) -> None:
    with pytest.raises(Invalid):
        service.send(to(ada, body="x" * 2001), sender=bob)
    assert inbox(service, ada) == []


def test_the_longest_title_and_body_are_accepted(service: NotificationService, ada: User, bob: User) -> None:
    service.send(to(ada, title="x" * 120, body="y" * 2000), sender=bob)

    assert inbox(service, ada) == ["x" * 120]


def test_an_unknown_recipient_is_refused(service: NotificationService, bob: User) -> None:
    with pytest.raises(Invalid):
        service.send(NewNotification(recipient_id=99, title="lunch"), sender=bob)


def test_an_inactive_recipient_is_refused(
    service: NotificationService, users: UserRepository, ada: User, bob: User
) -> None:
    ada.active = False
    users.save(ada)

    with pytest.raises(Invalid):
        service.send(to(ada), sender=bob)
    assert inbox(service, ada) == []


@pytest.mark.parametrize("limit", [0, -1, 101])
def test_a_limit_out_of_range_is_refused(service: NotificationService, ada: User, limit: int) -> None:
    with pytest.raises(Invalid):
        service.list_inbox(ada, unread_only=False, limit=limit)


def test_only_the_recipient_marks_a_notification_as_read(
    service: NotificationService, ada: User, bob: User
) -> None:
    sent = service.send(to(ada), sender=bob)

    with pytest.raises(Forbidden):
        service.mark_read(sent.stored_id, asked_by=bob)
    assert sent.read_at is None


def test_what_was_read_is_unread_no_more(service: NotificationService, ada: User, bob: User) -> None:
    sent = service.send(to(ada), sender=bob)

    assert service.mark_read(sent.stored_id, asked_by=ada).read_at is not None
    assert service.list_inbox(ada, unread_only=True, limit=20) == []


def test_marking_it_again_keeps_the_first_time(service: NotificationService, ada: User, bob: User) -> None:
    sent = service.send(to(ada), sender=bob)

    first = service.mark_read(sent.stored_id, asked_by=ada).read_at

    assert service.mark_read(sent.stored_id, asked_by=ada).read_at == first


def test_an_unknown_notification_is_not_found(service: NotificationService, ada: User) -> None:
    with pytest.raises(NotFound):
        service.mark_read(99, asked_by=ada)
