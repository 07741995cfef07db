"""Puts the application together."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.database import create_tables, open_engine
from app.errors import install_error_answers
from app.settings import Settings
from app.users.routes import router as users_router


def create_app(settings: Settings) -> FastAPI:
    """Build the application for `settings`; its tables are created when it starts."""
    engine = open_engine(settings.database_url)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        create_tables(engine)
        yield
        engine.dispose()

    app = FastAPI(title="Acme Desk", lifespan=lifespan)
    app.state.engine = engine
    app.state.settings = settings
    install_error_answers(app)

    @app.get("/health")
    def tell_health() -> dict[str, str]:
        return {"status": "ok"}

    app.include_router(users_router)
    return app


def from_environment() -> FastAPI:
    """Build the application for the environment it runs in."""
    return create_app(Settings.from_environment(os.environ))
