"""Prints how long a running model call outlives `/cancel`: from the comment to the end of its connection.

Run: .venv/bin/python -m benchmarks.cancel
"""

import logging
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import structlog

from tests.conftest import make_world
from tests.world import World, small, writing

ROUNDS = 5
SLOW = {"delay": 60.0, "say": "I am thinking."}
"""A turn of a minute."""


def measure() -> float:
    """Return the seconds from a person's `/cancel` to the end of the call that ran."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        world = make_world(stack, Path(folder), small(writing(1, 1, SLOW)), checks="")
        with world.running():
            world.approves()
            world.wait(lambda: _speaks(world), "a call that is open")
            said = time.time()
            world.says("/cancel")
            world.wait(lambda: not world.model.open_streams, "the end of the call")
            return float(world.model.requests[-1].closed_at or time.time()) - said


def _speaks(world: World) -> bool:
    return bool(world.model.open_streams) and world.model.requests[-1].conversation == "phase 1"


def main() -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seconds = [measure() for _ in range(ROUNDS)]
    print(
        f"/cancel → the model's connection closed, {ROUNDS} rounds: "
        f"median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s"
    )


if __name__ == "__main__":
    main()
