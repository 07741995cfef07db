"""The rules for users."""

from app.errors import Conflict, Forbidden, Invalid, NotFound
from app.users.models import NAME_LENGTH, NewUser, User
from app.users.repository import UserRepository


class UserService:
    """Registers, shows and deactivates users."""

    def __init__(self, users: UserRepository, *, sign_up_open: bool = True) -> None:
        self._users = users
        self._sign_up_open = sign_up_open

    def register(self, new: NewUser) -> User:
        """Add a user; raises Forbidden while sign-up is closed, Invalid, and Conflict for a known address."""
        if not self._sign_up_open:
            raise Forbidden("Sign-up is closed.")
        name, email = new.name.strip(), new.email.strip().lower()
        if not 0 < len(name) <= NAME_LENGTH:
            raise Invalid(f"A name has 1 to {NAME_LENGTH} characters.")
        if "@" not in email.strip("@"):
            raise Invalid("That is no e-mail address.")
        if self._users.find_by_email(email) is not None:
            raise Conflict("Somebody has registered with this address.")
        return self._users.save(User(name=name, email=email))

    def show(self, user_id: int) -> User:
        """Return a user; raises NotFound."""
        user = self._users.get(user_id)
        if user is None:
            raise NotFound(f"There is no user {user_id}.")
        return user

    def deactivate(self, user_id: int, *, asked_by: User) -> User:
        """Close an account; raises NotFound, and Forbidden for anybody but its owner."""
        user = self.show(user_id)
        if user.id != asked_by.id:
            raise Forbidden("Only its owner closes an account.")
        user.active = False
        return self._users.save(user)
