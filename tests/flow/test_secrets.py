"""What leaves the bot in a record holds no secret, whoever wrote it there."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from bot import demo, show
from tests.flow.gated import one
from tests.flow.test_serve import embedded
from tests.world import World, repairing

NewWorld = Callable[..., World]

KEY = "sk-simulated-0123456789"
TOKEN = f"ghp_{'a1B2' * 9}"


def test_the_record_and_show_hold_neither_the_bots_key_nor_a_token_that_ci_printed(
    new_world: NewWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The model repeats the key as its reason, and CI has the token in a title."""
    tells = {"use": [{"report_blocked": {"reason": f"The key {KEY} does not work."}}]}
    with one(new_world, repairing(1, 1, tells), anthropic_api_key=KEY) as world:
        world.reports("failure", title=f"Refused {TOKEN}", summary=f"{TOKEN} is spent.")
        world.until("paused")
        page = httpx.get(f"{world.bot_url}/builds/1.json", verify=False).text
        own = demo.environment(embedded(world), world.folder / "bot", key=KEY, model_url=world.model_url)

    monkeypatch.chdir(tmp_path)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()  # what the bot logged in this process
    show.run(1, as_json=True)
    show.run(1, as_json=False)
    printed = capsys.readouterr().out
    for told in (page, printed):
        assert "does not work." in told
        assert "Refused [redacted]" in told
        assert KEY not in told
        assert TOKEN not in told
