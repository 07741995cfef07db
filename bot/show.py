"""Prints the story of a build to a terminal: moves, attempts, costs and verdicts, each with its cause."""

import json
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

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
    """Print a record as a person reads it, on a narrow terminal too."""
    why = f" ({record['failure']})" if record["failure"] else ""
    pull = f"#{record['pull_request']}" if record["pull_request"] else "–"
    _print(
        console, f"Build {record['id']} of {record['repository']}#{record['issue']}: {record['state']}{why}"
    )
    _print(console, f"branch {record['branch']}, pull request {pull}")
    spent = f"{comments.usd(record['cost_usd'])} of {comments.usd(record['budget_usd'])}"
    _print(console, f"cost {spent}, forecast {comments.spread(record['forecast_usd'])}")
    _title(console, "Moves, times in UTC")
    day = ""
    for move in record["moves"]:
        at = datetime.fromisoformat(move["at"])
        if day != (day := at.date().isoformat()):
            _print(console, day, 2)
        before, clock = move["from"] or "·", at.time().isoformat("milliseconds")
        _print(console, f"{clock}  {before} → {move['to']} ({move['trigger']}, by {move['by']})", 2)
        _print(console, move["detail"], 16)
    _title(console, "Attempts")
    for attempt in _all_attempts(record):
        _tell_attempt(console, attempt)
    _title(console, "Phases")
    for phase in record["phases"]:
        _tell_phase(console, phase)


def _tell_attempt(console: Console, attempt: dict[str, Any]) -> None:
    what = attempt["kind"] + (f" {attempt['phase']}" if attempt["phase"] else "")
    outcome = attempt["outcome"] + (f": {attempt['failure']}" if attempt["failure"] else "")
    cost, turns = comments.usd(attempt["cost_usd"]), attempt["turns"]
    _print(console, f"{attempt['id']}  {what} #{attempt['number']}, {attempt['model']}: {outcome}, {cost}", 2)
    tokens = f"{attempt['input_tokens']} tokens in ({attempt['cached_tokens']} cached)"
    _print(console, f"{turns} turn{'' if turns == 1 else 's'}, {tokens}, {attempt['output_tokens']} out", 5)
    _print(console, attempt["detail"] or "", 5)


def _tell_phase(console: Console, phase: dict[str, Any]) -> None:
    commit = f", {phase['commit'][:7]}" if phase["commit"] else ""
    cost = comments.usd(phase["cost_usd"])
    _print(console, f"{phase['number']}  {phase['title']}: {phase['state']}{commit}, {cost}", 2)
    if phase["verdict"]:
        checks = ", ".join(f"{check['name']} {check['said']}" for check in phase["checks"])
        why = f" – {phase['verdict_reason']}" if phase["verdict_reason"] else ""
        _print(console, f"{phase['verdict']} ({checks}){why}", 5)
    for note in phase["notes"]:
        _print(console, f"noticed: {note}", 5)


def _title(console: Console, text: str) -> None:
    console.print(f"\n[bold]{text}[/]")


def _print(console: Console, text: str, indent: int = 0) -> None:
    """Print what others may have written, indented: no colours, no orders to the terminal, no markup."""
    if text:
        console.print(Padding(Text(sanitize.strip_invisible(text)), (0, 0, 0, indent), expand=False))


def _all_attempts(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the attempts at planning, phases and verification in the order they were made."""
    whole = [*record["attempts"], *(a for phase in record["phases"] for a in phase["attempts"])]
    return sorted(whole, key=lambda attempt: int(attempt["id"]))
