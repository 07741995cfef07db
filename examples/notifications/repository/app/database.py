"""The connection to the database, and the column type for times."""

from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, Engine
from sqlalchemy.pool import StaticPool
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel, create_engine


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC, aware on both sides of databases that forget the zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store the time in UTC; a naive time is a mistake of the caller."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time needs its zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the time back with its zone."""
        return None if value is None else value.replace(tzinfo=UTC)


def utc_now() -> datetime:
    """Return the present time, aware, in UTC."""
    return datetime.now(UTC)


def open_engine(url: str) -> Engine:
    """Open the database at `url`; `sqlite://` is one database in memory, shared by all threads."""
    if url == "sqlite://":
        return create_engine(url, connect_args={"check_same_thread": False}, poolclass=StaticPool)
    return create_engine(url)


def create_tables(engine: Engine) -> None:
    """Create the tables of every model imported so far that are not there yet."""
    SQLModel.metadata.create_all(engine)
