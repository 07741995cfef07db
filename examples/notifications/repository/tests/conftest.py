"""A database in memory and a client of the whole application."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlmodel import Session

from app.database import create_tables, open_engine
from app.main import create_app
from app.settings import Settings


@pytest.fixture
def session() -> Iterator[Session]:
    """An empty database, open."""
    engine = open_engine("sqlite://")
    create_tables(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.fixture
def client() -> Iterator[TestClient]:
    """The application with its default settings, over an empty database."""
    with TestClient(create_app(Settings(database_url="sqlite://"))) as client:
        yield client
