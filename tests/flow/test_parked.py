"""An attempt whose run is lost is handed out again; one that ends the process each time is parked."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from bot import engine
from tests.flow.gated import triggers
from tests.world import World, planning, scenario

NewWorld = Callable[..., World]


def stopped(new_world: NewWorld, **options: Any) -> World:
    """Return a world whose bot was stopped between the first turn of planning and the second."""
    first, second = planning()["turns"]
    world = new_world(scenario(planning({**first, "delay": 1.0}, second)), **options)
    with world.running():
        world.labels()
        world.wait(lambda: world.asked("plan") or world.model.requests, "the first call")
    return world


def change(world: World, statement: str, **values: Any) -> None:
    """Change what the engine has stored."""
    database = sa.create_engine(world.settings().database_url)
    with database.begin() as connection:
        assert connection.execute(sa.text(statement), values).rowcount == 1
    database.dispose()


def test_an_attempt_that_ended_the_process_too_often_pauses_the_build_until_a_person_resumes_it(
    new_world: NewWorld,
) -> None:
    world = stopped(new_world, reconcile_seconds=0.5)
    change(
        world,
        "UPDATE workflow_status SET recovery_attempts = :often WHERE workflow_uuid = 'attempt:1:1'",
        often=engine.RECOVERIES + 1,
    )
    with world.running():
        record = world.until("paused")
        assert record["failure"] == "bug"
        assert [a["outcome"] for a in record["attempts"]] == ["failed"]
        assert "The process ended 20 times or more while this attempt ran" in world.comments[-1]

        world.says("/resume")
        world.until("awaiting_approval")


def test_an_attempt_whose_run_is_lost_is_handed_out_once_more(new_world: NewWorld) -> None:
    world = stopped(new_world, reconcile_seconds=0.5)
    change(world, "DELETE FROM workflow_status WHERE workflow_uuid = 'attempt:1:1'")
    with world.running():
        world.until("awaiting_approval")
        assert triggers(world) == ["label", "plan_ready"]
        assert world.bot is not None
        with world.bot.parts.database.engine.connect() as connection:
            runs = connection.execute(
                sa.text("SELECT workflow_uuid FROM workflow_status WHERE workflow_uuid LIKE 'attempt:1:%'")
            )
            assert [name for (name,) in runs] == ["attempt:1:2"]
    assert [request.turn for request in world.asked("plan")] == [0, 1]


def test_a_second_run_of_an_attempt_waits_for_the_first_and_pays_nothing_again(new_world: NewWorld) -> None:
    first, second = planning()["turns"]
    world = new_world(scenario(planning({**first, "delay": 2.0}, second)))
    with world.running():
        world.labels()
        world.wait(lambda: world.model.requests, "the first call")
        assert world.bot is not None
        parts, build = world.bot.parts, world.stored()
        with parts.database.transaction() as db:
            parts.engine.enqueue_attempt(db, 1, 2, build.installation_id)
        world.until("awaiting_approval")

        def over() -> bool:
            return parts.engine.fate(1, 2) is engine.Fate.GONE

        world.wait(over, "the end of the second run")
    assert [request.turn for request in world.model.requests] == [0, 1]
