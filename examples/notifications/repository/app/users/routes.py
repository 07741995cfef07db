"""The routes under /users."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from app.dependencies import CurrentUser, RowId, SessionDep
from app.users.models import NewUser, ShownUser, User
from app.users.repository import UserRepository
from app.users.service import UserService

router = APIRouter(prefix="/users", tags=["users"])


def user_service(request: Request, session: SessionDep) -> UserService:
    """Build the service for one request."""
    return UserService(UserRepository(session), sign_up_open=request.app.state.settings.sign_up_open)


Users = Annotated[UserService, Depends(user_service)]


@router.post("", status_code=201, response_model=ShownUser)
def register(new: NewUser, users: Users) -> User:
    """Register a user."""
    return users.register(new)


@router.get("/{user_id}", response_model=ShownUser)
def show(user_id: RowId, users: Users, _: CurrentUser) -> User:
    """Show a user to another."""
    return users.show(user_id)


@router.post("/{user_id}/deactivate", response_model=ShownUser)
def deactivate(user_id: RowId, users: Users, current: CurrentUser) -> User:
    """Close one's own account."""
    return users.deactivate(user_id, asked_by=current)
