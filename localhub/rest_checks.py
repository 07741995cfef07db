"""REST: check runs, check suites, commit statuses, workflow runs and their jobs."""

from collections.abc import Iterable

from localhub.payloads import repository_json
from localhub.payloads_checks import (
    annotation_json,
    check_run_json,
    job_json,
    latest,
    simple_status_json,
    status_json,
    suite_json,
    workflow_run_json,
)
from localhub.records import CheckRun, CheckSuite, Job, Json, Status, WorkflowRun
from localhub.refusals import Refusal, invalid, not_accessible, not_found, unprocessable
from localhub.reports import (
    CONCLUSIONS,
    STATUSES,
    announce_workflow,
    combined_state,
    create_run,
    rerequest,
    set_status,
    update_run,
)
from localhub.rest import Answer, Call, Routes

routes = Routes()
TEXT_LIMIT = 65_535
SUITE_LIMIT = 1000


def _run(call: Call) -> CheckRun:
    return call.state.check_run(call.repository, int(call.params["id"]))


def _show_run(call: Call, run: CheckRun) -> Json:
    return check_run_json(call.state, call.repository, run)


def _wanted(call: Call) -> Json:
    """Return the body of a check run after the checks that GitHub makes."""
    wanted = call.json
    output = wanted.get("output") or {}
    if wanted.get("status", "queued") not in STATUSES:
        raise invalid("CheckRun", "status")
    if wanted.get("conclusion") is not None and wanted["conclusion"] not in CONCLUSIONS:
        raise invalid("CheckRun", "conclusion")
    if output and (not output.get("title") or output.get("summary") is None):
        raise unprocessable(
            "Invalid request.\n\nFor 'properties/output', title and summary weren't supplied."
        )
    if any(len(output.get(key) or "") > TEXT_LIMIT for key in ("summary", "text")):
        raise unprocessable("Invalid request.\n\nOnly 65535 characters are allowed in summary and text.")
    if len(output.get("annotations") or []) > 50:
        raise unprocessable("Invalid request.\n\nNo more than 50 items are allowed in annotations.")
    return wanted


@routes.on("POST", "/repos/{owner}/{repo}/check-runs", "checks:write")
def create_check_run(call: Call) -> Answer:
    """Report a check run; only Apps may."""
    if not call.caller.app:
        raise Refusal(403, "You must authenticate via a GitHub App.")
    return Answer(_show_run(call, create_run(call.state, call.repository, call.app, _wanted(call))), 201)


@routes.on("GET", "/repos/{owner}/{repo}/check-runs/{id}", "checks:read")
def get_check_run(call: Call) -> Answer:
    """Return one check run."""
    return Answer(_show_run(call, _run(call)))


@routes.on("PATCH", "/repos/{owner}/{repo}/check-runs/{id}", "checks:write")
def update_check_run(call: Call) -> Answer:
    """Change a check run of the App's own."""
    run = _run(call)
    if run.app is not call.caller.app:
        raise Refusal(
            403, "Invalid app_id `%s` - check run can only be modified by the GitHub App that created it."
        )
    return Answer(_show_run(call, update_run(call.state, call.repository, run, _wanted(call))))


@routes.on("GET", "/repos/{owner}/{repo}/check-runs/{id}/annotations", "checks:read")
def list_annotations(call: Call) -> Answer:
    """List the annotations of a check run."""
    run = _run(call)
    return call.listing(run.annotations, lambda item: annotation_json(call.state, call.repository, run, item))


@routes.on("POST", "/repos/{owner}/{repo}/check-runs/{id}/rerequest", "checks:write")
def rerequest_check_run(call: Call) -> Answer:
    """Ask the App of a check run to run it again."""
    run = _run(call)
    if call.caller.app and run.app is not call.caller.app:
        raise not_accessible()
    rerequest(call.state, call.repository, run, call.actor)
    return Answer({}, 201)


def _suites(call: Call) -> list[CheckSuite]:
    sha = call.commit(call.params["ref"]).sha
    mine = [suite for suite in call.repository.suites if suite.head_sha == sha]
    return mine[-SUITE_LIMIT:]


def _runs(call: Call, suites: Iterable[CheckSuite]) -> Answer:
    """List the runs of some suites, newest first, by `filter`, `check_name`, `app_id` and `status`."""
    query = call.query
    runs: list[CheckRun] = []
    for suite in suites:
        if query.get("app_id") in (None, str(suite.app.id)):
            runs += suite.runs if query.get("filter") == "all" else latest(suite.runs)
    runs = [run for run in runs if query.get("check_name") in (None, run.name)]
    runs = [run for run in runs if query.get("status") in (None, run.status)]
    runs.sort(key=lambda run: run.id, reverse=True)
    return call.listing(runs, lambda run: _show_run(call, run), "check_runs")


@routes.on("GET", "/repos/{owner}/{repo}/commits/{ref:path}/check-runs", "checks:read")
def list_check_runs(call: Call) -> Answer:
    """List the check runs of a commit."""
    return _runs(call, _suites(call))


@routes.on("GET", "/repos/{owner}/{repo}/check-suites/{id}/check-runs", "checks:read")
def list_suite_runs(call: Call) -> Answer:
    """List the check runs of a suite."""
    return _runs(call, [_suite(call)])


def _suite(call: Call) -> CheckSuite:
    for suite in call.repository.suites:
        if suite.id == int(call.params["id"]):
            return suite
    raise not_found()


@routes.on("GET", "/repos/{owner}/{repo}/check-suites/{id}", "checks:read")
def get_check_suite(call: Call) -> Answer:
    """Return one check suite."""
    return Answer(suite_json(call.state, call.repository, _suite(call)))


@routes.on("GET", "/repos/{owner}/{repo}/commits/{ref:path}/check-suites", "checks:read")
def list_check_suites(call: Call) -> Answer:
    """List the check suites of a commit."""
    suites = [s for s in _suites(call) if call.query.get("app_id") in (None, str(s.app.id))]
    return call.listing(suites, lambda suite: suite_json(call.state, call.repository, suite), "check_suites")


# Commit statuses.


def _statuses(call: Call) -> list[Status]:
    sha = call.commit(call.params["ref"]).sha
    return [status for status in call.repository.statuses if status.sha == sha]


@routes.on("POST", "/repos/{owner}/{repo}/statuses/{sha}", "statuses:write")
def create_status(call: Call) -> Answer:
    """Report a commit status."""
    status = set_status(call.state, call.repository, call.params["sha"], call.json, call.actor)
    return Answer(status_json(call.state, call.repository, status), 201)


@routes.on("GET", "/repos/{owner}/{repo}/commits/{ref:path}/statuses", "statuses:read")
def list_statuses(call: Call) -> Answer:
    """List the statuses of a commit, newest first, every one ever set."""
    newest_first = list(reversed(_statuses(call)))
    return call.listing(newest_first, lambda status: status_json(call.state, call.repository, status))


@routes.on("GET", "/repos/{owner}/{repo}/commits/{ref:path}/status", "statuses:read")
def get_combined_status(call: Call) -> Answer:
    """Return the combined status of a commit: `pending` when there is none."""
    repository, sha = call.repository, call.commit(call.params["ref"]).sha
    state, newest = combined_state(_statuses(call))
    chosen, headers = call.page(newest)
    url = f"{call.state.api_url}/repos/{repository.full_name}/commits/{sha}"
    body = {
        "state": state,
        "statuses": [simple_status_json(call.state, repository, status) for status in chosen],
        "sha": sha,
        "total_count": len(newest),
        "repository": repository_json(call.state, repository),
        "commit_url": url,
        "url": f"{url}/status",
    }
    return Answer(body, headers=headers)


# GitHub Actions.


def _workflow_run(call: Call) -> WorkflowRun:
    for run in call.repository.workflow_runs:
        if run.id == int(call.params["id"]):
            return run
    raise not_found()


@routes.on("GET", "/repos/{owner}/{repo}/actions/runs", "actions:read")
def list_workflow_runs(call: Call) -> Answer:
    """List workflow runs, newest first, by `head_sha`, `event`, `branch` and `status`."""
    query = call.query
    runs = [
        run
        for run in reversed(call.repository.workflow_runs)
        if query.get("head_sha") in (None, run.head_sha)
    ]
    runs = [run for run in runs if query.get("event") in (None, run.event)]
    runs = [run for run in runs if query.get("branch") in (None, run.head_branch)]
    runs = [run for run in runs if query.get("status") in (None, run.status, run.conclusion)]
    show = lambda run: workflow_run_json(call.state, call.repository, run)  # noqa: E731
    return call.listing(runs, show, "workflow_runs")


@routes.on("GET", "/repos/{owner}/{repo}/actions/runs/{id}", "actions:read")
def get_workflow_run(call: Call) -> Answer:
    """Return one workflow run."""
    return Answer(workflow_run_json(call.state, call.repository, _workflow_run(call)))


@routes.on("POST", "/repos/{owner}/{repo}/actions/runs/{id}/rerun-failed-jobs", "actions:write")
@routes.on("POST", "/repos/{owner}/{repo}/actions/runs/{id}/rerun", "actions:write")
def rerun_workflow(call: Call) -> Answer:
    """Run a completed workflow again as its next attempt."""
    run = _workflow_run(call)
    if run.status != "completed":
        raise Refusal(403, "This workflow is already running")
    run.status, run.conclusion, run.run_attempt = "queued", None, run.run_attempt + 1
    run.started_at = run.updated_at = call.state.now()
    announce_workflow(call.state, call.repository, run, "requested")
    return Answer({}, 201)


@routes.on("GET", "/repos/{owner}/{repo}/actions/runs/{id}/jobs", "actions:read")
def list_jobs(call: Call) -> Answer:
    """List the jobs of a workflow run, of its newest attempt unless `filter=all`."""
    run = _workflow_run(call)
    jobs = [job for job in run.jobs if call.query.get("filter") == "all" or job.attempt == run.run_attempt]
    return call.listing(jobs, lambda job: job_json(call.state, call.repository, run, job), "jobs")


def _job(call: Call) -> tuple[WorkflowRun, Job]:
    for run in call.repository.workflow_runs:
        for job in run.jobs:
            if job.check.id == int(call.params["id"]):
                return run, job
    raise not_found()


@routes.on("GET", "/repos/{owner}/{repo}/actions/jobs/{id}", "actions:read")
def get_job(call: Call) -> Answer:
    """Return one job."""
    return Answer(job_json(call.state, call.repository, *_job(call)))


@routes.on("GET", "/repos/{owner}/{repo}/actions/jobs/{id}/logs", "actions:read")
def get_job_log(call: Call) -> Answer:
    """Redirect to the text that a job printed, at an address that needs no token."""
    _, job = _job(call)
    url = f"{call.state.url}/{call.repository.full_name}/runs/{job.check.id}/log"
    return Answer(status=302, headers={"Location": url})
