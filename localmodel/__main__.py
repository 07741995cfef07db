"""Serve a scenario from the command line: `python -m localmodel --scenario FILE`."""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from localmodel.model import Model
from localmodel.scenario import ScenarioError
from localmodel.server import serve


def main(arguments: list[str] | None = None) -> int:
    """Print one JSON line with the URL, then serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m localmodel", description="A simulated Messages API.")
    parser.add_argument("--scenario", type=Path, required=True, help="the YAML file that is replayed")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--pace", type=float, default=1.0, help="multiplies the scenario's delays")
    given = parser.parse_args(arguments)
    try:
        model = Model(given.scenario, pace=given.pace)
    except ScenarioError as error:
        print(error, file=sys.stderr)
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with serve(model, given.port, given.host) as server:
        print(json.dumps({"url": server.url}), flush=True)
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
