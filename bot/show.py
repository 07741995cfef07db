"""Prints the story of a build to a terminal: moves, attempts, costs and verdicts, each with its cause."""

import json
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bot import comments, records, sanitize, settings, store
from bot.errors import UserError
from bot.parts import Reading
from bot.store import Database


def run(build_id: int, *, as_json: bool) -> None:
    """Print one build; UserError where there is none."""
    known = settings.load()
    database = Database(known.database_url)
    try:
        with database.reading() as db:
            record = records.record(db, Reading(known), store.build(db, build_id))
    except LookupError as error:
        raise UserError(str(error)) from error
    finally:
        database.close()
    if as_json:
        print(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        tell(record, Console())


def tell(record: dict[str, Any], console: Console) -> None:
    """Print a record as a person reads it."""
    console.print(
        f"[bold]Build {record['id']}[/] of {record['repository']}#{record['issue']}: {record['state']}"
    )
    console.print(f"branch {record['branch']}, pull request {record['pull_request'] or '–'}")
    console.print(
        f"cost {comments.usd(record['cost_usd'])}, forecast {comments.spread(record['forecast_usd'])}\n"
    )
    console.print(_moves(record))
    console.print(_attempts(record))
    for attempt in _all_attempts(record):
        if attempt["detail"]:
            why = f" ({attempt['failure']})" if attempt["failure"] else ""
            console.print(f"attempt {attempt['id']} {attempt['outcome']}{why}: {_plain(attempt['detail'])}")
    for phase in record["phases"]:
        if phase["verdict"]:
            checks = _plain(", ".join(f"{check['name']} {check['said']}" for check in phase["checks"]))
            why = f" – {_plain(phase['verdict_reason'])}" if phase["verdict_reason"] else ""
            console.print(
                f"phase {phase['number']} {(phase['commit'] or '')[:7]}: {phase['verdict']} ({checks}){why}"
            )
        for note in phase["notes"]:
            console.print(f"phase {phase['number']}, noticed: {_plain(note)}")


def _moves(record: dict[str, Any]) -> Table:
    table = Table("when", "from", "to", "trigger", "by", "cause", title="Moves")
    for move in record["moves"]:
        table.add_row(
            datetime.fromisoformat(move["at"]).time().isoformat("milliseconds"),
            move["from"],
            move["to"],
            move["trigger"],
            _plain(move["by"]),
            _plain(move["detail"]),
        )
    return table


def _plain(text: str) -> str:
    """Return what others wrote fit for a terminal: no colours, and nothing that reads as markup."""
    return escape(sanitize.strip_invisible(text))


def _all_attempts(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the attempts at planning, phases and verification in the order they were made."""
    whole = [*record["attempts"], *(a for phase in record["phases"] for a in phase["attempts"])]
    return sorted(whole, key=lambda attempt: int(attempt["id"]))


def _attempts(record: dict[str, Any]) -> Table:
    table = Table("id", "what", "model", "outcome", "turns", "tokens in/out/cached", "cost", title="Attempts")
    for attempt in _all_attempts(record):
        what = attempt["kind"] + (f" {attempt['phase']}" if attempt["phase"] else "")
        outcome = attempt["outcome"] + (f": {attempt['failure']}" if attempt["failure"] else "")
        tokens = f"{attempt['input_tokens']}/{attempt['output_tokens']}/{attempt['cached_tokens']}"
        table.add_row(
            str(attempt["id"]),
            f"{what} #{attempt['number']}",
            attempt["model"],
            outcome,
            str(attempt["turns"]),
            tokens,
            comments.usd(attempt["cost_usd"]),
        )
    return table
