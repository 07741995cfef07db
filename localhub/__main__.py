"""`python -m localhub`: serve a world file until SIGTERM, after one line of JSON that says where."""

import argparse
import json
import signal
import threading
from pathlib import Path

from localhub.hub import Hub
from localhub.serving import serve
from localhub.world import load, summary


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="localhub", description="Serve an embedded GitHub.")
    parser.add_argument("--world", type=Path, required=True, help="the world file (YAML)")
    parser.add_argument(
        "--data", type=Path, required=True, help="where repositories and the App's key are kept"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--webhook-url", default="")
    parser.add_argument("--webhook-secret", default="")
    return parser.parse_args()


def main() -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    arguments = _arguments()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    arguments.data.mkdir(parents=True, exist_ok=True)
    hub = Hub(arguments.data)
    with serve(hub, arguments.port, arguments.host) as server:
        world = load(hub, arguments.world, arguments.webhook_url, arguments.webhook_secret)
        key_file = arguments.data / "app.pem"
        key_file.touch(0o600)
        key_file.chmod(0o600)
        key_file.write_text(world.app.private_key)
        print(json.dumps(summary(world, server.url, key_file.resolve())), flush=True)
        stopped.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
