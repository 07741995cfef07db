import pytest
from sqlmodel import Session

from app.errors import Conflict, Forbidden, Invalid, NotFound
from app.users.models import NewUser
from app.users.repository import UserRepository
from app.users.service import UserService

ADA = NewUser(name="Ada", email="ada@acme.example")
BOB = NewUser(name="Bob", email="bob@acme.example")


@pytest.fixture
def users(session: Session) -> UserService:
    return UserService(UserRepository(session))


def test_an_address_is_kept_in_lower_case(users: UserService) -> None:
    assert users.register(NewUser(name=" Ada ", email="Ada@Acme.example")).email == "ada@acme.example"


@pytest.mark.parametrize("name", ["", "   ", "a" * 81])
def test_a_name_that_is_blank_or_too_long_is_refused(users: UserService, name: str) -> None:
    with pytest.raises(Invalid):
        users.register(NewUser(name=name, email="ada@acme.example"))


@pytest.mark.parametrize("email", ["", "ada", "@", "ada@"])
def test_what_is_no_address_is_refused(users: UserService, email: str) -> None:
    with pytest.raises(Invalid):
        users.register(NewUser(name="Ada", email=email))


def test_an_address_registers_once(users: UserService) -> None:
    users.register(ADA)

    with pytest.raises(Conflict):
        users.register(ADA)


def test_nobody_registers_while_sign_up_is_closed(session: Session) -> None:
    with pytest.raises(Forbidden):
        UserService(UserRepository(session), sign_up_open=False).register(ADA)


def test_a_user_closes_only_the_own_account(users: UserService) -> None:
    ada, bob = users.register(ADA), users.register(BOB)

    with pytest.raises(Forbidden):
        users.deactivate(ada.stored_id, asked_by=bob)
    assert users.deactivate(ada.stored_id, asked_by=ada).active is False


def test_an_unknown_user_is_not_found(users: UserService) -> None:
    with pytest.raises(NotFound):
        users.show(7)
