"""The table of users, and the shapes in which they travel."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from app.database import UtcDateTime, utc_now

NAME_LENGTH = 80


class User(SQLModel, table=True):
    """Somebody who uses the desk; an inactive one keeps the row and loses the access."""

    id: int | None = Field(default=None, primary_key=True)
    email: str = Field(unique=True)
    name: str
    active: bool = True
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)

    @property
    def stored_id(self) -> int:
        """The identifier of a user who is in the database; raises ValueError for one who is not."""
        if self.id is None:
            raise ValueError("this user was never saved")
        return self.id


class NewUser(SQLModel):
    """What is needed to register."""

    email: str
    name: str


class ShownUser(SQLModel):
    """What others see of a user."""

    id: int
    name: str
    active: bool
    created_at: datetime
