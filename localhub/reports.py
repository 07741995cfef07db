"""What CI says of a commit: check suites, check runs, statuses, workflow runs, with their events."""

from collections.abc import Callable
from typing import Any

from localhub.payloads_checks import check_run_json, latest, suite_json, workflow_run_json
from localhub.payloads_git import commit_json
from localhub.records import (
    Actor,
    App,
    CheckRun,
    CheckSuite,
    Job,
    Json,
    Repository,
    Status,
    WorkflowRun,
)
from localhub.refusals import invalid, unprocessable
from localhub.state import State, node_id, stamp
from localhub.webhooks import emit

# From worst to best: the conclusion of a suite is the worst of its runs.
WORST = (
    "startup_failure",
    "failure",
    "timed_out",
    "action_required",
    "cancelled",
    "stale",
    "success",
    "neutral",
    "skipped",
)
STATUSES = ("queued", "in_progress", "completed", "waiting", "requested", "pending")
CONCLUSIONS = (
    "action_required",
    "cancelled",
    "failure",
    "neutral",
    "success",
    "skipped",
    "stale",
    "timed_out",
)


def require_commit(repository: Repository, sha: object) -> str:
    """Return a full commit SHA; refuses one that is not in the repository."""
    if not isinstance(sha, str) or repository.objects.kind(sha) != "commit":
        raise unprocessable(f"No commit found for SHA: {sha}")
    return repository.objects.resolve(sha) or sha


def branch_of(repository: Repository, sha: str) -> str | None:
    """Return a branch whose head is this commit, the default branch last."""
    names = [
        ref.removeprefix("refs/heads/")
        for ref, at in repository.objects.refs("refs/heads/").items()
        if at == sha
    ]
    return min(names, key=lambda name: name == repository.default_branch, default=None)


def suite_for(
    state: State, repository: Repository, app: App, sha: str, branch: str | None = None
) -> CheckSuite:
    """Return the App's suite of a commit, made if there is none."""
    for suite in repository.suites:
        if suite.app is app and suite.head_sha == sha:
            return suite
    now = state.now()
    suite = CheckSuite(state.next_id(), app, sha, branch or branch_of(repository, sha), now, now)
    repository.suites.append(suite)
    state.nodes[node_id("CS", suite.id)] = (repository, suite)
    return suite


def request_suites(
    state: State, repository: Repository, sha: str, branch: str, before: str, actor: Actor
) -> None:
    """Make the suites that a push causes: one for every installed App that may write checks."""
    for installation in state.installed_on(repository):
        if installation.permissions.get("checks") != "write":
            continue
        suite = suite_for(state, repository, installation.app, sha, branch)
        suite.before = before
        content = {"check_suite": suite_json(state, repository, suite)}
        emit(state, repository, "check_suite", "requested", content, actor, only=installation.app)


def create_run(state: State, repository: Repository, app: App, wanted: Json) -> CheckRun:
    """Record a check run as the REST body describes it; refuses an unknown commit or malformed fields."""
    name = wanted.get("name")
    if not isinstance(name, str) or not name:
        raise invalid("CheckRun", "name", "missing_field")
    suite = suite_for(state, repository, app, require_commit(repository, wanted.get("head_sha")))
    run = CheckRun(state.next_id(), name, suite, "queued", None, state.now(), None)
    suite.runs.append(run)
    state.nodes[node_id("CR", run.id)] = (repository, run)
    _fill(state, run, wanted)
    _announce_run(state, repository, run, "created")
    if run.status == "completed":
        _announce_run(state, repository, run, "completed")
    _settle(state, repository, suite)
    return run


def update_run(state: State, repository: Repository, run: CheckRun, wanted: Json) -> CheckRun:
    """Change a check run as the REST body describes; announces its completion."""
    was = (run.status, run.conclusion)
    _fill(state, run, wanted)
    if run.status == "completed" and was != (run.status, run.conclusion):
        _announce_run(state, repository, run, "completed")
    _settle(state, repository, run.suite)
    return run


def _fill(state: State, run: CheckRun, wanted: Json) -> None:
    for key in ("name", "external_id", "details_url"):
        if wanted.get(key):
            setattr(run, key, wanted[key])
    if "status" in wanted:
        run.status = wanted["status"]
    if wanted.get("conclusion"):
        run.status, run.conclusion = "completed", wanted["conclusion"]
    elif run.status != "completed":
        run.conclusion, run.completed_at = None, None
    if run.status == "completed" and not run.conclusion:
        raise unprocessable('Invalid request.\n\n"conclusion" wasn\'t supplied.')
    if run.status == "completed" and not run.completed_at:
        run.completed_at = state.now()
    output = wanted.get("output") or {}
    run.title, run.summary = output.get("title", run.title), output.get("summary", run.summary)
    run.text = output.get("text", run.text)
    run.annotations += output.get("annotations") or []


def _announce_run(state: State, repository: Repository, run: CheckRun, action: str) -> None:
    body = check_run_json(state, repository, run)
    body["check_suite"] = suite_json(state, repository, run.suite)
    emit(state, repository, "check_run", action, {"check_run": body}, Actor(run.app.bot_user, run.app))


def _settle(state: State, repository: Repository, suite: CheckSuite) -> None:
    """Let a suite follow its runs; announces it when the last of them is completed."""
    runs = latest(suite.runs)
    suite.updated_at = state.now()
    if any(run.status != "completed" for run in runs):
        started = any(run.status != "queued" for run in runs)
        suite.status, suite.conclusion = "in_progress" if started else "queued", None
        return
    known = [run.conclusion for run in runs if run.conclusion in WORST]
    worst = min(known, key=WORST.index, default=runs[-1].conclusion if runs else None)
    was, suite.status, suite.conclusion = suite.status, "completed", worst
    if was != "completed":
        content = {"check_suite": suite_json(state, repository, suite)}
        emit(state, repository, "check_suite", "completed", content, Actor(suite.app.bot_user, suite.app))


def rerequest(state: State, repository: Repository, run: CheckRun, actor: Actor) -> None:
    """Ask the owning App for another run: the suite goes back to `queued`, the run itself is not touched."""
    run.suite.status, run.suite.conclusion = "queued", None
    content = {"check_run": check_run_json(state, repository, run)}
    emit(state, repository, "check_run", "rerequested", content, actor, only=run.app)


def set_status(state: State, repository: Repository, sha: str, wanted: Json, actor: Actor) -> Status:
    """Record a commit status as the REST body describes it and send the `status` event."""
    if wanted.get("state") not in ("error", "failure", "pending", "success"):
        raise invalid("Status", "state")
    status = Status(
        id=state.next_id(),
        sha=require_commit(repository, sha),
        context=wanted.get("context") or "default",
        state=wanted["state"],
        description=wanted.get("description") or "",
        target_url=wanted.get("target_url") or "",
        creator=actor.user,
        created_at=state.now(),
    )
    repository.statuses.append(status)
    commit = repository.objects.commit(status.sha)
    branches = [
        {"name": ref.removeprefix("refs/heads/"), "commit": {"sha": at, "url": ""}, "protected": False}
        for ref, at in repository.objects.refs("refs/heads/").items()
        if at == status.sha
    ]
    content = {
        "id": status.id,
        "sha": status.sha,
        "name": repository.full_name,
        "context": status.context,
        "state": status.state,
        "description": status.description or None,
        "target_url": status.target_url or None,
        "commit": commit_json(state, repository, commit) if commit else None,
        "branches": branches,
        "created_at": stamp(status.created_at),
        "updated_at": stamp(status.created_at),
    }
    emit(state, repository, "status", None, content, actor)
    return status


def combined_state(statuses: list[Status]) -> tuple[str, list[Status]]:
    """Return a commit's combined state (`pending` without any) and the newest status of each context."""
    newest = list({status.context: status for status in statuses}.values())
    states = {status.state for status in newest}
    if states & {"error", "failure"}:
        return "failure", newest
    return ("success" if states == {"success"} else "pending"), newest


def set_workflow_run(
    state: State,
    repository: Repository,
    app: App,
    name: str,
    sha: str,
    event: str,
    apply: Callable[[WorkflowRun], Any],
) -> WorkflowRun:
    """Find or make a workflow's run for a commit, let `apply` set its fields, and announce the change."""
    for found in repository.workflow_runs:
        if (found.name, found.head_sha, found.event) == (name, sha, event):
            run = found
            break
    else:
        now = state.now()
        suite = suite_for(state, repository, app, require_commit(repository, sha))
        number = sum(other.name == name for other in repository.workflow_runs) + 1
        args = (
            state.next_id(),
            name,
            sha,
            suite.head_branch,
            event,
            "queued",
            None,
            number,
            1,
            suite,
            now,
            now,
        )
        run = WorkflowRun(*args)
        repository.workflow_runs.append(run)
        announce_workflow(state, repository, run, "requested")
    before = (run.status, run.conclusion, run.run_attempt)
    apply(run)
    run.updated_at = state.now()
    if run.run_attempt != before[2]:
        run.started_at = run.updated_at
    if (run.status, run.conclusion, run.run_attempt) != before:
        action = run.status if run.status in ("completed", "in_progress") else "requested"
        announce_workflow(state, repository, run, action)
    return run


def announce_workflow(state: State, repository: Repository, run: WorkflowRun, action: str) -> None:
    """Send a `workflow_run` event."""
    content = {"workflow_run": workflow_run_json(state, repository, run), "workflow": None}
    emit(state, repository, "workflow_run", action, content, Actor(run.suite.app.bot_user, run.suite.app))


def add_job(state: State, repository: Repository, run: WorkflowRun, wanted: Json) -> Job:
    """Record a job of a workflow run as a check run of the Actions App, with the `log` it printed."""
    fields = {key: wanted[key] for key in ("name", "status", "conclusion", "output") if key in wanted}
    check = create_run(state, repository, run.suite.app, fields | {"head_sha": run.head_sha})
    job = Job(check, run.run_attempt, wanted.get("log", ""), wanted.get("steps", []))
    run.jobs.append(job)
    return job
