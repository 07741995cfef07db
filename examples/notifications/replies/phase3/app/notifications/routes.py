"""The routes under /notifications."""

from typing import Annotated

from fastapi import APIRouter, Depends

from app.dependencies import CurrentUser, RowId, SessionDep
from app.notifications.models import NewNotification, Notification, ShownNotification
from app.notifications.repository import NotificationRepository
from app.notifications.service import NotificationService
from app.users.repository import UserRepository

router = APIRouter(prefix="/notifications", tags=["notifications"])


def notification_service(session: SessionDep) -> NotificationService:
    """Build the service for one request."""
    return NotificationService(NotificationRepository(session), UserRepository(session))


Notifications = Annotated[NotificationService, Depends(notification_service)]


@router.post("", status_code=201, response_model=ShownNotification)
def send(new: NewNotification, notifications: Notifications, current: CurrentUser) -> Notification:
    """Send a notification to a user."""
    return notifications.send(new, sender=current)


@router.get("", response_model=list[ShownNotification])
def list_inbox(
    notifications: Notifications, current: CurrentUser, unread: bool = False, limit: int = 20
) -> list[Notification]:
    """List one's own inbox, newest first."""
    return notifications.list_inbox(current, unread_only=unread, limit=limit)


@router.post("/{notification_id}/read", response_model=ShownNotification)
def mark_read(notification_id: RowId, notifications: Notifications, current: CurrentUser) -> Notification:
    """Mark a notification of one's own as read."""
    return notifications.mark_read(notification_id, asked_by=current)
