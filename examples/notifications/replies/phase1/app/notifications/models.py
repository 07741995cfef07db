"""The table of notifications, and the shapes in which they travel."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from app.database import UtcDateTime, utc_now


class Notification(SQLModel, table=True):
    """Something one user tells another; `read_at` is empty until the recipient has read it."""

    id: int | None = Field(default=None, primary_key=True)
    recipient_id: int = Field(foreign_key="user.id", index=True)
    sender_id: int = Field(foreign_key="user.id")
    title: str
    body: str
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    read_at: datetime | None = Field(default=None, sa_type=UtcDateTime)

    @property
    def stored_id(self) -> int:
        """The identifier of a notification in the database; raises ValueError for one that is not."""
        if self.id is None:
            raise ValueError("this notification was never saved")
        return self.id


class NewNotification(SQLModel):
    """What a sender says."""

    recipient_id: int = Field(ge=1, lt=2**63)
    title: str
    body: str = ""


class ShownNotification(SQLModel):
    """What a recipient sees."""

    id: int
    sender_id: int
    title: str
    body: str
    created_at: datetime
    read_at: datetime | None
