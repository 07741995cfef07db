"""The queries of the table of notifications."""

from sqlmodel import Session, col, select

from app.notifications.models import Notification


class NotificationRepository:
    """The notifications, as rows."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, notification_id: int) -> Notification | None:
        """Return the notification with this number, if there is one."""
        return self._session.get(Notification, notification_id)

    def list_inbox(self, recipient_id: int, *, unread_only: bool, limit: int) -> list[Notification]:
        """Return at most `limit` notifications of one recipient, newest first."""
        query = select(Notification).where(Notification.recipient_id == recipient_id)
        if unread_only:
            query = query.where(col(Notification.read_at).is_(None))
        # The identifier decides between notifications of the same instant.
        query = query.order_by(col(Notification.created_at).desc(), col(Notification.id).desc())
        return list(self._session.exec(query.limit(limit)))

    def save(self, notification: Notification) -> Notification:
        """Write `notification`, new or changed, and return it as stored."""
        self._session.add(notification)
        self._session.commit()
        self._session.refresh(notification)
        return notification
