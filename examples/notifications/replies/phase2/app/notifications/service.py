"""The rules for notifications."""

from app.database import utc_now
from app.errors import Forbidden, Invalid, NotFound
from app.notifications.models import NewNotification, Notification
from app.notifications.repository import NotificationRepository
from app.users.models import User
from app.users.repository import UserRepository

TITLE_LENGTH = 120
BODY_LENGTH = 2_000
LONGEST_LIST = 100


class NotificationService:
    """Sends notifications, lists inboxes and marks notifications as read."""

    def __init__(self, notifications: NotificationRepository, users: UserRepository) -> None:
        self._notifications = notifications
        self._users = users

    def send(self, new: NewNotification, *, sender: User) -> Notification:
        """Store a notification; raises Invalid for a bad title, body or recipient."""
        if not new.title.strip() or len(new.title) > TITLE_LENGTH:
            raise Invalid(f"A title has 1 to {TITLE_LENGTH} characters and is not blank.")
        if len(new.body) > BODY_LENGTH:
            raise Invalid(f"A body has at most {BODY_LENGTH:,} characters.")
        recipient = self._users.get(new.recipient_id)
        if recipient is None or not recipient.active:
            raise Invalid(f"User {new.recipient_id} cannot be notified.")
        return self._notifications.save(
            Notification(
                recipient_id=recipient.stored_id,
                sender_id=sender.stored_id,
                title=new.title,
                body=new.body,
            )
        )

    def list_inbox(self, owner: User, *, unread_only: bool, limit: int) -> list[Notification]:
        """Return the newest notifications of `owner`; raises Invalid for a limit out of range."""
        if not 1 <= limit <= LONGEST_LIST:
            raise Invalid(f"A list has 1 to {LONGEST_LIST} notifications.")
        return self._notifications.list_inbox(owner.stored_id, unread_only=unread_only, limit=limit)

    def mark_read(self, notification_id: int, *, asked_by: User) -> Notification:
        """Note when the recipient first read it; raises NotFound, and Forbidden for anybody else."""
        notification = self._notifications.get(notification_id)
        if notification is None:
            raise NotFound(f"There is no notification {notification_id}.")
        if notification.recipient_id != asked_by.stored_id:
            raise Forbidden("Only its recipient marks a notification as read.")
        if notification.read_at is not None:
            return notification
        notification.read_at = utc_now()
        return self._notifications.save(notification)
