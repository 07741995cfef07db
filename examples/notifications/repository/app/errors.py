"""What can go wrong, and how each of it is answered over HTTP."""

from typing import ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse


class DeskError(Exception):
    """A rule was broken; the message is shown to the caller."""

    status: ClassVar[int]


class Invalid(DeskError):
    """The request says something that cannot be."""

    status = 400


class Unauthenticated(DeskError):
    """Nobody known is asking."""

    status = 401


class Forbidden(DeskError):
    """The one who asks may not."""

    status = 403


class NotFound(DeskError):
    """There is no such thing."""

    status = 404


class Conflict(DeskError):
    """It is there already."""

    status = 409


def install_error_answers(app: FastAPI) -> None:
    """Make `app` answer broken rules and misshapen requests with `{"detail": …}`."""

    @app.exception_handler(DeskError)
    async def answer_broken_rule(_: Request, error: DeskError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=error.status)

    @app.exception_handler(RequestValidationError)
    async def answer_misshapen_request(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"detail": f"{place}: {first['msg']}"}, status_code=400)
