"""The queries of the table of users."""

from sqlmodel import Session, select

from app.users.models import User


class UserRepository:
    """The users, as rows."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, user_id: int) -> User | None:
        """Return the user with this number, if there is one."""
        return self._session.get(User, user_id)

    def find_by_email(self, email: str) -> User | None:
        """Return the user with this address, if there is one."""
        return self._session.exec(select(User).where(User.email == email)).first()

    def save(self, user: User) -> User:
        """Write `user`, new or changed, and return it as stored."""
        self._session.add(user)
        self._session.commit()
        self._session.refresh(user)
        return user
