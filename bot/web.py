"""The web side: one route takes deliveries, the others tell how the bot is and what it has done."""

from collections.abc import Callable
from typing import Annotated, Any

import structlog
from fastapi import FastAPI, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from bot import inbox, records, store
from bot.errors import Malformed, Refused
from bot.events import Event, verify
from bot.parts import Parts
from bot.routing import Router
from bot.tables import now

MAX_BODY = 25 * 1024 * 1024
"""GitHub sends no larger delivery."""

_log = structlog.get_logger(__name__)


def create(parts: Parts, router: Router, ready: Callable[[], bool]) -> FastAPI:
    """Return the web application; `ready` says whether the worker behind it works."""
    app = FastAPI(title="Phasegate", docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/webhooks/github")
    async def receive(request: Request) -> Response:
        """Take one delivery: keep it before it is answered."""
        try:
            body = await _read(request)
            event = verify(request.headers, body, parts.settings.webhook_secrets)
        except Refused as refusal:
            return PlainTextResponse(str(refusal), status_code=401)
        except Malformed as fault:
            return PlainTextResponse(str(fault), status_code=fault.status)
        if not router.handlers(event, parts.settings.label):
            return Response(status_code=204)
        return await run_in_threadpool(_keep, parts, event, body)

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        """Answer while the process lives."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readiness() -> Response:
        """Answer 200 while deliveries can be kept and are worked off, else 503."""
        works = ready() and await run_in_threadpool(_database_answers, parts)
        return JSONResponse({"status": "ready" if works else "not ready"}, status_code=200 if works else 503)

    @app.get("/builds/{build_id}.json")
    def record(build_id: Annotated[int, Path(ge=1, le=2**31 - 1)]) -> Response:
        """Return the record of one build."""
        with parts.database.reading() as db:
            found = _record(db, parts, build_id)
        if found is None:
            return JSONResponse({"detail": f"There is no build {build_id}."}, status_code=404)
        return JSONResponse(found)

    return app


def _record(db: Session, parts: Parts, build_id: int) -> dict[str, Any] | None:
    try:
        return records.record(db, parts, store.build(db, build_id))
    except LookupError:
        return None


async def _read(request: Request) -> bytes:
    """Return the body; Malformed (413) as soon as it is larger than GitHub's largest."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MAX_BODY:
        raise Malformed("The body is larger than 25 MiB.", status=413)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Malformed("The body is larger than 25 MiB.", status=413)
    return bytes(body)


def _keep(parts: Parts, event: Event, body: bytes) -> Response:
    try:
        # GitHub gives up after ten seconds; a 503 before that says what happened.
        with parts.database.transaction(patience=8.0) as db:
            new = inbox.keep(db, event, body)
    except SQLAlchemyError:
        _log.exception("delivery not kept", delivery=event.delivery)
        return PlainTextResponse("The delivery could not be kept. Send it again.", status_code=503)
    if new:
        parts.bells.ring_inbox()
    return PlainTextResponse("kept" if new else "known", status_code=202 if new else 200)


def _database_answers(parts: Parts) -> bool:
    try:
        with parts.database.reading() as db:
            store.next_due(db, now())
    except SQLAlchemyError:
        return False
    return True
