"""The world, made anew for each test that asks for it."""

import gc
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot import main
from localhub import Hub
from localhub import serve as serve_hub
from localmodel import Model, Scenario
from localmodel import serve as serve_model
from tests.world import BODY, FILES, REPOSITORY, SECRET, World, scenario

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--live", action="store_true", help="run the tests that need a real account")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--live"):
        live = [item for item in items if item.get_closest_marker("live")]
        config.hook.pytest_deselected(items=live)
        items[:] = [item for item in items if item not in live]


def pytest_collection_finish() -> None:
    """Spare the collector what the imports left: walking through it again and again is a tenth of the run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as a first start leaves it; making one for each world would take a second each."""
    folder = tmp_path_factory.mktemp("migrated")
    with ExitStack() as stack, main.running(make_world(stack, folder, scenario()).settings()):
        pass
    return folder / "bot" / "phasegate.db"


@pytest.fixture
def new_world(tmp_path: Path, migrated: Path) -> Iterator[Callable[..., World]]:
    """Make a world without a running bot: new_world(scenario, files=…, required=…, checks=…, **settings)."""
    with ExitStack() as stack:

        def make(story: Scenario | Path | None = None, **options: Any) -> World:
            made = make_world(stack, tmp_path, story or scenario(), **options)
            data = made.settings().data_dir
            data.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(migrated, data / migrated.name)
            return made

        yield make


@pytest.fixture
def world(new_world: Callable[..., World]) -> Iterator[World]:
    """A world with the plain story and a running bot."""
    made = new_world()
    with made.running():
        yield made


def make_world(
    stack: ExitStack,
    folder: Path,
    story: Scenario | Path,
    *,
    files: dict[str, str] | None = None,
    source: Path | None = None,
    checks: str = "python -m pytest -q -p no:cacheprovider",
    required: tuple[str, ...] = ("tests",),
    permissions: dict[str, str] | None = None,
    issue: tuple[str, str] = ("Cache the count", BODY),
    drafts_allowed: bool = True,
    **given: Any,
) -> World:
    if source is None:
        source = folder / "source"
        for path, content in {**FILES, **(files or {})}.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_text(content)
    manifest = yaml.safe_load((ROOT / "app.yml").read_text())
    hub = stack.enter_context(Hub(folder / "hub"))
    for login in ("maria", "guest"):
        hub.create_user(login)
    hub.create_repository(REPOSITORY, source, drafts_allowed=drafts_allowed)
    hub.grant(REPOSITORY, "maria", "write")
    port = stack.enter_context(_reserved_port())
    app = hub.create_app(
        "phasegate",
        webhook_url=f"http://127.0.0.1:{port}/webhooks/github",
        webhook_secret=SECRET,
        permissions=permissions or manifest["default_permissions"],
        events=manifest["default_events"],
    )
    hub.install(app, REPOSITORY)
    if checks:
        hub.add_checks(REPOSITORY, [{"name": "tests", "command": checks, "timeout": 120}])
    if required:
        hub.require_checks(REPOSITORY, list(required))
    hub.open_issue(REPOSITORY, title=issue[0], body=issue[1], author="maria")
    model = Model(story)
    hub_server = stack.enter_context(serve_hub(hub, port=0))
    model_server = stack.enter_context(serve_model(model, port=0))
    key = folder / "app.pem"
    key.write_text(app.private_key)
    settings = {
        "github_app_id": app.id,
        "github_private_key_file": key,
        "github_webhook_secret": SECRET,
        "github_api_url": hub_server.api_url,
        "github_server_url": hub_server.url,
        "anthropic_api_key": "sk-simulated",
        "anthropic_base_url": model_server.url,
        "data_dir": folder / "bot",
        "checks_poll_seconds": 1.0,
        "checks_settle_seconds": 0.5,
        **given,
    }
    return World(
        hub=hub,
        hub_url=hub_server.url,
        model=model,
        model_url=model_server.url,
        folder=folder,
        port=port,
        given=settings,
    )


@contextmanager
def _reserved_port() -> Iterator[int]:
    """Keep a port that nobody else is given, though the bot may listen on it, stop, and listen again."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
        # Bound but never listening: a connection is refused, as it should be while the bot is down.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
