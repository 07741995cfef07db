"""What routes ask for by annotation: the session, the user who asks, an identifier."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Header, Path, Request
from sqlmodel import Session

from app.errors import Unauthenticated
from app.users.models import User
from app.users.repository import UserRepository

RowId = Annotated[int, Path(ge=1, lt=2**63)]


def open_session(request: Request) -> Iterator[Session]:
    """Open a session for one request and close it afterwards."""
    with Session(request.app.state.engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(open_session)]


def identify(session: SessionDep, x_user_id: Annotated[str, Header()] = "") -> User:
    """Return the active user whom the gateway signed in; raises Unauthenticated for anybody else."""
    known = x_user_id.isdecimal() and len(x_user_id) < 19
    user = UserRepository(session).get(int(x_user_id)) if known else None
    if user is None or not user.active:
        raise Unauthenticated("Sign in first.")
    return user


CurrentUser = Annotated[User, Depends(identify)]
