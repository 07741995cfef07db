"""Makes the parts of the bot, passes them on and closes them: the one place where they meet."""

import asyncio
import signal
import socket
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
import uvicorn
from alembic import command
from alembic.config import Config
from fastapi import FastAPI
from sqlalchemy.engine import make_url

import bot.migrations
from bot import logs, web
from bot.engine import Engine, identity
from bot.errors import SettingsError
from bot.github import GitHub
from bot.later import LaterModels
from bot.parts import Bells, Parts
from bot.settings import Settings
from bot.store import Database
from bot.worker import Worker
from handlers import ROUTER

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Bot:
    """A running bot: its parts, its worker and its web application."""

    parts: Parts
    worker: Worker
    web: FastAPI


@contextmanager
def running(settings: Settings) -> Iterator[Bot]:
    """Make every part, start the worker, and close all of it at the end."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    # Before the tables are touched: the process that has them may be an older one.
    with identity(settings.data_dir / "phasegate.lock"):
        database = Database(settings.database_url)
        worker = Worker(ROUTER)
        worker.start_loop()
        try:
            parts = worker.call(_assemble(settings, database))
        except BaseException:
            worker.stop_loop()
            database.close()
            raise
        try:
            migrate(database)
            worker.start(parts)
            yield Bot(parts, worker, web.create(parts, ROUTER, lambda: worker.ready))
        finally:
            worker.close(parts)
            database.close()


async def _assemble(settings: Settings, database: Database) -> Parts:
    """Make the parts on the loop they will live on."""
    return Parts(
        settings=settings,
        database=database,
        engine=Engine(
            database,
            per_installation=settings.concurrent_attempts_per_installation,
            total=settings.concurrent_attempts,
        ),
        github=GitHub(
            app_id=str(settings.github_app_id),
            private_key=settings.private_key.get_secret_value(),
            api_url=settings.github_api_url,
            server_url=settings.github_server_url,
        ),
        models=LaterModels(
            api_key=settings.anthropic_api_key.get_secret_value(), base_url=settings.anthropic_base_url
        ),
        bells=Bells(asyncio.get_running_loop()),
    )


def migrate(database: Database) -> None:
    """Bring our own tables up to date; DBOS keeps its own."""
    config = Config()
    config.set_main_option("script_location", str(bot.migrations.__path__[0]))
    with database.engine.begin() as connection:
        if database.sqlite:
            # Left alone, SQLite commits each table by itself, and a start that is killed here is the last one.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def serve(settings: Settings, *, host: str, port: int, role: str = "all") -> None:
    """Run the bot until it is told to stop."""
    if role != "all":
        raise SettingsError(
            f"--role {role} needs PostgreSQL and a second process, which is not built yet; use --role all."
        )
    logs.configure(settings.log_format, settings.secrets)
    if names := settings.published_secrets:
        raise SettingsError(f"{', '.join(names)} still holds the published value of .env.example.")
    with running(settings) as own:
        listener = listen(host, port)
        address = listener.getsockname()
        _log.info("listening", url=f"http://{address[0]}:{address[1]}", database=_shown(settings))
        # uvicorn raises the signal again after its own shutdown; without this the drain would never run.
        signal.signal(signal.SIGTERM, _ignore)
        server = uvicorn.Server(uvicorn.Config(own.web, log_config=None, access_log=False, lifespan="off"))
        server.run(sockets=[listener])


def _ignore(_number: int, _frame: types.FrameType | None) -> None:
    return


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; SettingsError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, or asyncio leaves Nagle's delay on and each short answer takes 40 ms longer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
    return listener


def _shown(settings: Settings) -> str:
    return make_url(settings.database_url).render_as_string(hide_password=True)
