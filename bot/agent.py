"""The loop: call the model, journal the reply, run its tools, journal the results, again."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import structlog
from sqlmodel import Session

from bot import pricing, prompts, records, scope, store, turns
from bot.errors import AttemptFailed, FailureKind
from bot.parts import Parts
from bot.tables import Attempt, Turn, now
from bot.tools import CHANGES, REFUSED, Answer, Toolbox
from bot.turns import Header, ModelFailure, Reply
from bot.workshop import accepted

WALL_SECONDS = 3600.0
"""An attempt that ran this long is stopped between two turns."""

_NUDGES = 2
_SAME_CALL, _SAME_ERROR, _NO_CHANGE = 4, 3, 25
_UNFINISHED = (FailureKind.STUCK, FailureKind.NO_FINISH, FailureKind.OUT_OF_TURNS)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one attempt may use up; money in USD, after what was spent before it."""

    turns: int
    phase_usd: Decimal
    build_usd: Decimal


async def converse(parts: Parts, attempt: Attempt, toolbox: Toolbox, limits: Limits) -> dict[str, Any]:
    """Let the model work until its finishing call is accepted; return that call's input.

    Goes on from the journal where there is one: a turn whose reply is in it is not paid again.
    AttemptFailed says why there is no result.
    """
    try:
        return await _work(parts, attempt, toolbox, limits)
    except AttemptFailed as failure:
        if failure.kind in _UNFINISHED:
            _explain(failure, await parts.database.ask(store.turns, attempt.id or 0), toolbox.finishing)
        raise


async def _work(parts: Parts, attempt: Attempt, toolbox: Toolbox, limits: Limits) -> dict[str, Any]:
    header = Header.load(attempt.header)
    began = asyncio.get_running_loop().time()
    told = await parts.database.ask(store.turns, attempt.id or 0)
    for turn in told:
        await asyncio.to_thread(_replay, toolbox, turn)
    journal = [turn for turn in told if turn.conversation == attempt.conversation]
    while not toolbox.result:
        if journal and journal[-1].results is None:
            await _answer(parts, toolbox, journal, await _widen(parts, attempt, toolbox))
            continue
        if parts.draining.is_set():
            # Park between two turns; the next process goes on here.
            parts.parked.add(attempt.id or 0)
            await asyncio.Event().wait()
        _check_patterns(journal, toolbox)
        if asyncio.get_running_loop().time() - began > WALL_SECONDS:
            raise AttemptFailed(FailureKind.OUT_OF_TURNS, f"It ran for {WALL_SECONDS / 60:.0f} minutes.")
        messages = conversation(attempt, journal)
        await _check_limits(parts, attempt, header, messages, limits)
        try:
            journal.append(await _call(parts, attempt, header, messages, len(journal)))
        except ModelFailure as failure:
            if not failure.starts_over or attempt.conversation > 1:
                raise
            attempt.conversation = await parts.database.run(_start_over, attempt.id)
            journal = []
    return toolbox.result


def _explain(failure: AttemptFailed, told: Sequence[Turn], finishing: str) -> None:
    """Name what kept an attempt from finishing, where the last refusal says so."""
    refused = refusals(told, finishing)
    kind = scope.obstacle(refused[-1]) if refused else None
    if kind is not None:
        failure.kind, failure.detail = kind, f"{failure.detail}\n{refused[-1].partition(chr(10))[2]}"


def refusals(told: Sequence[Turn], finishing: str) -> list[str]:
    """Return what the finishing call was answered each time its work was not accepted, by the journal."""
    return [
        block["content"]
        for turn in told
        if turn.results is not None
        for call in _calls(turn)
        for block in json.loads(turn.results)["content"]
        if call["name"] == finishing
        and block.get("tool_use_id") == call["id"]
        and block["content"].startswith(REFUSED)
    ]


def conversation(attempt: Attempt, journal: Sequence[Turn]) -> list[dict[str, Any]]:
    """Return the messages so far: the opening, then each reply and its answer, as they were journaled."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": json.loads(attempt.opening)}]
    for turn in journal:
        messages.append(json.loads(turn.reply))
        if turn.results is not None:
            messages.append(json.loads(turn.results))
    return messages


def opening(text: str) -> str:
    """Return the content of a first message as journaled."""
    return json.dumps([{"type": "text", "text": text}], ensure_ascii=False)


async def _call(
    parts: Parts, attempt: Attempt, header: Header, messages: list[dict[str, Any]], n: int
) -> Turn:
    await parts.database.run(_mark_request, attempt.id)
    lost: list[pricing.Usage] = []

    def hear(event: dict[str, Any]) -> None:
        if event["type"] == "cancelled":
            lost.append(pricing.Usage.from_dict(event["wasted"]))

    try:
        reply: Reply = await parts.models.turn(header, messages, on_event=hear)
    except ModelFailure as failure:
        await parts.database.run(_waste, attempt.id, attempt.model, failure.wasted)
        raise
    except asyncio.CancelledError:
        # Stopped in the middle: what was asked and streamed so far is paid all the same.
        for paid in lost:
            await parts.database.run(_stopped, parts, attempt.id, attempt.model, paid)
        raise
    if not reply.blocks():
        # An empty message cannot be sent back as part of the conversation.
        await parts.database.run(_waste, attempt.id, attempt.model, reply.usage)
        raise AttemptFailed(FailureKind.CONNECTION, "The model's reply was empty.")
    turn = _turn(attempt, n, reply)
    # Cancelled here, the thread still writes: what was paid is kept.
    await parts.database.run(_journal, turn)
    _log.info("turn", attempt=attempt.id, n=n, stop=reply.stop_reason, cost=str(reply.cost))
    return turn


def _turn(attempt: Attempt, n: int, reply: Reply) -> Turn:
    usage = reply.usage
    return Turn(
        attempt_id=attempt.id or 0,
        conversation=attempt.conversation,
        n=n,
        reply=reply.message,
        stop_reason=reply.stop_reason,
        cut=reply.cut,
        request_hash=reply.request_hash,
        request_id=reply.request_id,
        model=reply.model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read=usage.cache_read,
        cache_write_5m=usage.cache_write_5m,
        cache_write_1h=usage.cache_write_1h,
        cost_usd=reply.cost,
    )


def _journal(db: Session, turn: Turn) -> None:
    # The object the loop keeps stays detached: it is answered in a later transaction.
    db.add(Turn(**turn.model_dump()))
    attempt = store.attempt(db, turn.attempt_id)
    attempt.waits = 0


def _mark_request(db: Session, attempt_id: int | None) -> None:
    attempt = store.attempt(db, attempt_id or 0)
    attempt.first_request_at = attempt.first_request_at or now()


def _start_over(db: Session, attempt_id: int | None) -> int:
    """Begin a new conversation of the same attempt; what it edited stays in the workspace."""
    attempt = store.attempt(db, attempt_id or 0)
    attempt.conversation += 1
    return attempt.conversation


def _waste(db: Session, attempt_id: int | None, model: str, wasted: pricing.Usage) -> None:
    store.attempt(db, attempt_id or 0).wasted_usd += pricing.cost(model, wasted)


def _stopped(db: Session, parts: Parts, attempt_id: int | None, model: str, paid: pricing.Usage) -> None:
    """Note what a call cost that was aborted, and tell it where the build's cost is shown."""
    _waste(db, attempt_id, model, paid)
    records.refresh(db, parts, store.build(db, store.attempt(db, attempt_id or 0).build_id))


async def _widen(parts: Parts, attempt: Attempt, toolbox: Toolbox) -> list[str]:
    """Let paths that a person allowed since the last turn count from now on; return those."""
    if toolbox.contract is None:
        return []
    known = toolbox.contract.allowed_by_person
    allowed = await parts.database.ask(store.allowed_paths, attempt.build_id, attempt.phase)
    toolbox.contract = replace(toolbox.contract, allowed_by_person=allowed)
    return [path for path in allowed if path not in known]


async def _answer(parts: Parts, toolbox: Toolbox, journal: list[Turn], allowed: list[str]) -> None:
    """Run the tools of the newest turn and journal what they answered, and what a person `allowed` meanwhile."""
    turn = journal[-1]
    content, ended = await asyncio.to_thread(_run_tools, toolbox, turn)
    if not content:
        if _unfinished(journal) > _NUDGES:
            raise AttemptFailed(FailureKind.NO_FINISH, _last_words(turn))
        content = [{"type": "text", "text": prompts.fill("nudge", tool=toolbox.finishing)}]
    if allowed:
        content.append(
            {"type": "text", "text": prompts.fill("allowed", paths=[f"`{path}`" for path in allowed])}
        )
    results = json.dumps({"role": "user", "content": content}, ensure_ascii=False)
    await parts.database.run(store.answer_turn, turn.attempt_id, turn.conversation, turn.n, results)
    turn.results = results
    if ended is not None:
        raise ended


def _run_tools(toolbox: Toolbox, turn: Turn) -> tuple[list[dict[str, Any]], AttemptFailed | None]:
    """Return the answers to a turn's calls, and what one of them ended the attempt with: the edits before it count."""
    blocks = []
    ended: AttemptFailed | None = None
    for call in _calls(turn):
        if turn.cut:
            answer = Answer(prompts.fill("cut"), is_error=True)
        elif toolbox.result or ended:
            answer = Answer("The attempt is over.", is_error=True)
        else:
            try:
                answer = toolbox.execute(call["name"], call["input"])
            except AttemptFailed as failure:
                ended, answer = failure, Answer(failure.detail, is_error=True)
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call["id"], "content": answer.text}
        if answer.is_error:
            block["is_error"] = True
        blocks.append(block)
    return blocks, ended


def _calls(turn: Turn) -> list[dict[str, Any]]:
    return [block for block in json.loads(turn.reply)["content"] if block["type"] == "tool_use"]


def _replay(toolbox: Toolbox, turn: Turn) -> None:
    """Do again what an answered turn did."""
    for name, given in accepted(turn):
        if name == toolbox.finishing:
            toolbox.result = dict(given)
        else:
            toolbox.replay(name, given)


def _unfinished(journal: Sequence[Turn]) -> int:
    """Return how many of the newest turns in a row called no tool."""
    count = 0
    for turn in reversed(journal):
        if _calls(turn):
            break
        count += 1
    return count


def _last_words(turn: Turn) -> str:
    texts = [block["text"] for block in json.loads(turn.reply)["content"] if block["type"] == "text"]
    return " ".join(texts)[:1000] or "It said nothing."


async def _check_limits(
    parts: Parts, attempt: Attempt, header: Header, messages: list[dict[str, Any]], limits: Limits
) -> None:
    """Stop before a call that could pass a limit; the cost of the call is projected at its worst."""
    used = await parts.database.ask(store.turns, attempt.id or 0)
    if len(used) >= limits.turns:
        raise AttemptFailed(FailureKind.OUT_OF_TURNS, f"It used all {limits.turns} turns.")
    spent = await parts.database.ask(store.cost_of_attempt, attempt.id or 0)
    tokens = turns.estimate(header, messages)
    cached = min(used[-1].cache_read + used[-1].cache_write_5m, tokens) if used else 0
    next_call = pricing.project(header.model, tokens, header.max_tokens, cached=cached)
    for name, left in (("phase", limits.phase_usd), ("build", limits.build_usd)):
        if spent + next_call > left:
            raise AttemptFailed(
                FailureKind.OUT_OF_BUDGET,
                f"The next call could cost up to ${next_call:.2f}, and ${max(left - spent, Decimal(0)):.2f} are "
                f"left of the {name}'s budget.",
            )


def _check_patterns(journal: Sequence[Turn], toolbox: Toolbox) -> None:
    """Stop an attempt that goes round in circles."""
    calls: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    unchanged = 0
    for turn in journal:
        changed = any(name in CHANGES for name, _given in accepted(turn))
        unchanged = 0 if changed else unchanged + 1
        results = json.loads(turn.results)["content"] if turn.results else []
        answers = {block.get("tool_use_id"): block for block in results}
        for call in _calls(turn):
            answer = answers.get(call["id"], {})
            calls[json.dumps([call["name"], call["input"], answer.get("content")])] += 1
            if answer.get("is_error"):
                errors[str(answer.get("content"))] += 1
    if calls and calls.most_common(1)[0][1] >= _SAME_CALL:
        raise AttemptFailed(
            FailureKind.STUCK, f"It made the same call {_SAME_CALL} times with the same result."
        )
    if errors and errors.most_common(1)[0][1] >= _SAME_ERROR:
        raise AttemptFailed(
            FailureKind.STUCK, f"It met the same error {_SAME_ERROR} times: {errors.most_common(1)[0][0]}"
        )
    if toolbox.contract is not None and unchanged >= _NO_CHANGE:
        raise AttemptFailed(FailureKind.STUCK, f"It changed nothing in {_NO_CHANGE} turns.")
