"""The record: a whole build as plain data, for pages, comments and other people's programs."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlmodel import Session

from bot import advice, comments, outbox, plans, sanitize, store, turns
from bot.advice import Budget, History
from bot.errors import FailureKind
from bot.parts import Parts, Reading
from bot.policy import Rules
from bot.states import State
from bot.tables import Attempt, Build, PhaseState, PlanVersion, Turn, now


def record(db: Session, reading: Reading, build: Build) -> dict[str, Any]:
    """Return the record of a build without any secret; money is in USD, times are ISO 8601 in UTC."""
    whole: dict[str, Any] = sanitize.redact_all(_whole(db, reading, build), reading.settings.secrets)
    return whole


def _whole(db: Session, reading: Reading, build: Build) -> dict[str, Any]:
    number = build.id or 0
    version = store.plan(db, number)
    plan = plans.Plan.model_validate_json(version.plan) if version else None
    journal: dict[int, list[Turn]] = {}
    for turn in store.turns_of_build(db, number):
        journal.setdefault(turn.attempt_id, []).append(turn)
    attempts = [_attempt(a, journal.get(a.id or 0, [])) for a in store.attempts(db, number)]
    rules = reading.rules(build)
    forecast = plans.forecast_plan(plan, rules.executor_model) if plan else (Decimal(0), Decimal(0))
    moves = store.moves(db, number)
    return {
        "id": number,
        "repository": build.repository,
        "issue": build.issue,
        "state": build.state,
        "branch": build.branch,
        "pull_request": build.pull_request,
        "base": build.base,
        "head": build.head,
        "phase": build.phase,
        "opened_by": build.opened_by,
        "ended_by": moves[-1].by if moves and build.ended_at else "",
        "failure": build.failure or None,
        "waits": _waits(db, build),
        "released": store.read_list(build.released),
        "plan": _plan(version, plan) if version and plan else None,
        "phases": _phases(db, build, plan, attempts, rules.executor_model) if plan else [],
        "attempts": [a for a in attempts if not a["phase"]],
        "moves": [
            {
                "at": m.at.isoformat(),
                "from": m.before,
                "to": m.after,
                "trigger": m.trigger,
                "by": m.by,
                "detail": m.detail,
            }
            for m in moves
        ],
        "cost_usd": _usd(sum((Decimal(str(a["cost_usd"])) for a in attempts), Decimal(0))),
        "forecast_usd": [_usd(value) for value in forecast],
        "budget_usd": _usd(rules.build_budget),
    }


def _waits(db: Session, build: Build) -> dict[str, str] | None:
    """Return what the present attempt waits for and until when, or None."""
    attempt = store.attempt(db, build.attempt) if build.attempt is not None else None
    if attempt is None or attempt.resumes_at is None or attempt.outcome:
        return None
    why = next((m for m in reversed(store.moves(db, build.id or 0)) if m.trigger == "attempt_waits"), None)
    return {"for": why.detail.partition(":")[0] if why else "", "until": attempt.resumes_at.isoformat()}


def waits(db: Session, build: Build) -> bool:
    """Whether the build's attempt waits to go on by itself."""
    return _waits(db, build) is not None


def _usd(amount: Decimal) -> float:
    return float(round(amount, 6))


def _plan(version: PlanVersion, plan: plans.Plan) -> dict[str, Any]:
    return {
        "version": version.version,
        "hash": version.hash,
        "size": plans.size(plan).value,
        **plan.model_dump(mode="json"),
        "unmatched": store.read_list(version.flagged),
        "red_on_base": store.read_list(version.red_on_base),
        "approved_by": version.approved_by or None,
        "approved_at": version.approved_at.isoformat() if version.approved_at else None,
    }


def _attempt(attempt: Attempt, turns: list[Turn]) -> dict[str, Any]:
    usages = [store.usage(turn) for turn in turns]
    paid = sum((turn.cost_usd for turn in turns), Decimal(0)) + attempt.wasted_usd
    return {
        "id": attempt.id,
        "number": attempt.number,
        "kind": attempt.kind,
        "phase": attempt.phase,
        "model": attempt.model,
        "outcome": attempt.outcome or "running",
        "failure": attempt.failure or None,
        "detail": attempt.detail or None,
        "commit": attempt.commit or None,
        "turns": len(turns),
        "input_tokens": sum(usage.total_input for usage in usages),
        "output_tokens": sum(usage.output_tokens for usage in usages),
        "cached_tokens": sum(usage.cache_read for usage in usages),
        "cost_usd": _usd(paid),
        "started_at": attempt.started_at.isoformat() if attempt.started_at else None,
        "first_request_at": attempt.first_request_at.isoformat() if attempt.first_request_at else None,
        "ended_at": attempt.ended_at.isoformat() if attempt.ended_at else None,
    }


def _phases(
    db: Session, build: Build, plan: plans.Plan, attempts: list[dict[str, Any]], model: str
) -> list[dict[str, Any]]:
    begun = {phase.number: phase for phase in store.phases(db, build.id or 0)}
    rows = []
    for number, phase in enumerate(plan.phases, start=1):
        fact = begun.get(number) or PhaseState(build_id=build.id or 0, number=number)
        verdict = store.read_object(fact.verdict)
        own = [attempt for attempt in attempts if attempt["phase"] == number]
        rows.append(
            {
                "number": number,
                "title": phase.title,
                "state": _phase_state(build, fact),
                "commit": fact.commit or None,
                "base": fact.base or None,
                "summary": fact.summary or None,
                "decisions": store.read_list(fact.decisions),
                "checks": verdict.get("results", []),
                "verdict": verdict.get("outcome"),
                "verdict_reason": verdict.get("reason"),
                "notes": verdict.get("notes", []),
                "released_by": fact.released_by or None,
                "release_reason": fact.release_reason or None,
                "attempts": own,
                "cost_usd": _usd(sum((Decimal(str(attempt["cost_usd"])) for attempt in own), Decimal(0))),
                "forecast_usd": [_usd(value) for value in plans.forecast(phase, model)],
            }
        )
    return rows


def _phase_state(build: Build, fact: PhaseState) -> str:
    if fact.finished_at:
        return "done"
    if fact.number != build.phase:
        return "waiting"
    states = {State.RUNNING: "running", State.AWAITING_CHECKS: "checking", State.PAUSED: "paused"}
    return states.get(State(build.state), "waiting")


def refresh(db: Session, parts: Parts, build: Build) -> None:
    """Bring the build's sticky comment up to date: the newest plan with its progress."""
    view = record(db, parts, build)
    if view["plan"] is None:
        outbox.say(db, parts, build, plan_key(build, 1), comments.planning(view))
        return
    body = comments.plan(
        view, repository_url=repository_url(parts, build), details_url=details_url(parts, build)
    )
    outbox.say(db, parts, build, plan_key(build, view["plan"]["version"]), body)


def supersede(db: Session, parts: Parts, build: Build, version: int) -> None:
    """Fold the comment of the plan before `version`."""
    old = store.notice(db, plan_key(build, version - 1)) if version > 1 else None
    if old is not None:
        body = old.body.rsplit("\n\n<!-- phasegate:", 1)[0]
        folded = comments.superseded(body, version=version - 1, newest=version)
        outbox.say(db, parts, build, plan_key(build, version - 1), folded)


def say_paused(
    db: Session,
    parts: Parts,
    build: Build,
    attempt: Attempt | None,
    *,
    evidence: list[tuple[str, str]] | None = None,
    detail: str = "",
    paths: str = "",
    retry_after: float | None = None,
) -> None:
    """Say why a build is paused and what to reply."""
    rules = parts.rules(build)
    kind = FailureKind(build.failure or FailureKind.BUG)
    history = replace(
        _history(db, build, attempt, rules, paths, retry_after), budget=_budget(db, parts, build, rules)
    )
    number = len(store.moves(db, build.id or 0))
    page = details_url(parts, build)
    body = comments.paused(
        record(db, parts, build),
        advice.advise(kind, history, rules.ladder),
        where=_where(db, build),
        detail=detail or (attempt.detail if attempt else ""),
        evidence=[*(evidence or []), *([("Details", page)] if page else [])],
        attempt_usd=store.cost_of_attempt(db, attempt.id) if attempt and attempt.id else None,
        last_good=last_good(db, build),
        repository_url=repository_url(parts, build),
    )
    outbox.say(db, parts, build, f"build={build.id} paused={number}", body)


def _history(
    db: Session,
    build: Build,
    attempt: Attempt | None,
    rules: Rules,
    paths: str,
    retry_after: float | None,
) -> History:
    """Return what advice hangs on: how the attempts at the present work went, in plain values."""
    own = store.attempts_at(db, build.id or 0, build.phase) if build.phase else []
    if attempt is not None and not attempt.phase:
        own = [a for a in store.attempts(db, build.id or 0) if a.kind == attempt.kind]
    last = attempt or (own[-1] if own else None)
    clears = now() + timedelta(seconds=retry_after) if retry_after else None
    return History(
        model=last.model if last else rules.executor_model,
        work=attempt.kind if attempt else "gate",
        phase=build.phase,
        tried=tuple(dict.fromkeys(a.model for a in own if a.outcome == "failed")),
        red=sum(1 for a in own if a.outcome == "done" and a.phase),
        kept=_kept(db, attempt) if attempt else 0,
        clears_at=comments.moment(clears) if clears else "",
        paths=paths,
    )


def _budget(db: Session, parts: Parts, build: Build, rules: Rules) -> Budget:
    """Return the narrower of what is left for the build and for the present phase."""
    number, known = build.id or 0, parts.settings
    phase = (
        Decimal(0)
        if build.left in (State.PLANNING, State.VERIFYING)
        else store.cost_of_phase(db, number, build.phase)
    )
    lefts = {
        "build": rules.build_budget - store.cost(db, number),
        "phase": rules.phase_budget - phase,
    }
    name = min(lefts, key=lambda each: lefts[each])
    cap = known.build_budget_usd if name == "build" else min(known.phase_budget_usd, known.build_budget_usd)
    allowed = rules.build_budget if name == "build" else rules.phase_budget
    return Budget(name, lefts[name], cap, lowered=allowed < cap)


def _kept(db: Session, attempt: Attempt) -> int:
    """Return in how many files the next attempt would find edits of this one and of those it followed."""
    touched: set[str] = set()
    chain: Attempt | None = attempt if attempt.phase else None
    while chain is not None:
        for turn in store.turns(db, chain.id or 0):
            for name, given in turns.accepted(turn.reply, turn.results):
                if name in turns.CHANGES:
                    touched |= {given[key] for key in ("path", "from_path", "to_path") if key in given}
        chain = store.attempt(db, chain.follows) if chain.follows is not None else None
    return len(touched)


def _where(db: Session, build: Build) -> str:
    if build.left == State.PLANNING:
        return "planning"
    if build.left == State.VERIFYING:
        return "verification"
    version = store.plan(db, build.id or 0)
    if version is None or not build.phase:
        return "planning"
    plan = plans.Plan.model_validate_json(version.plan)
    title = plan.phases[build.phase - 1].title if build.phase <= len(plan.phases) else ""
    return f"phase {build.phase} of {len(plan.phases)}, “{title}”"


def last_good(db: Session, build: Build) -> str:
    """Return the commit of the last finished phase, or nothing."""
    finished = [phase.commit for phase in store.phases(db, build.id or 0) if phase.finished_at]
    return finished[-1] if finished else ""


def plan_key(build: Build, version: int) -> str:
    """Return the key of the comment of one plan version."""
    return f"build={build.id} plan={version}"


def repository_url(parts: Parts, build: Build) -> str:
    """Return the repository's page."""
    return f"{parts.settings.github_server_url.rstrip('/')}/{build.repository}"


def details_url(parts: Parts, build: Build) -> str:
    """Return where the build's record is, or nothing where this bot has no public address."""
    public = parts.settings.public_url
    return f"{public.rstrip('/')}/builds/{build.id}.json" if public else ""
