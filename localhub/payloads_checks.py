"""Check suites, check runs, statuses and workflow runs as GitHub's JSON."""

import zlib

from localhub.payloads import app_json, repository_json, user_json
from localhub.payloads_git import person_json
from localhub.payloads_pulls import short_pull_json
from localhub.records import CheckRun, CheckSuite, Job, Json, Repository, Status, WorkflowRun
from localhub.state import State, node_id, stamp


def _pulls(state: State, repository: Repository, sha: str) -> list[Json]:
    open_pulls = [i for i in repository.pulls if i.state == "open" and i.head_sha == sha]
    return [short_pull_json(state, repository, issue) for issue in open_pulls]


def head_commit_json(repository: Repository, sha: str) -> Json:
    """Return a commit in the short form that suites and workflow runs embed."""
    commit = repository.objects.commit(sha)
    if not commit:
        return {"id": sha, "tree_id": "", "message": "", "timestamp": None, "author": None, "committer": None}
    author, committer = person_json(commit.author), person_json(commit.committer)
    return {
        "id": sha,
        "tree_id": commit.tree,
        "message": commit.message,
        "timestamp": author["date"],
        "author": {"name": author["name"], "email": author["email"]},
        "committer": {"name": committer["name"], "email": committer["email"]},
    }


def suite_json(state: State, repository: Repository, suite: CheckSuite) -> Json:
    """Return a check suite."""
    url = f"{state.api_url}/repos/{repository.full_name}/check-suites/{suite.id}"
    return {
        "id": suite.id,
        "node_id": node_id("CS", suite.id),
        "head_branch": suite.head_branch,
        "head_sha": suite.head_sha,
        "status": suite.status,
        "conclusion": suite.conclusion,
        "url": url,
        "before": suite.before,
        "after": suite.head_sha,
        "pull_requests": _pulls(state, repository, suite.head_sha),
        "app": app_json(state, suite.app),
        "repository": repository_json(state, repository),
        "created_at": stamp(suite.created_at),
        "updated_at": stamp(suite.updated_at),
        "head_commit": head_commit_json(repository, suite.head_sha),
        "latest_check_runs_count": len(latest(suite.runs)),
        "check_runs_url": f"{url}/check-runs",
        "rerequestable": True,
        "runs_rerequestable": True,
    }


def latest(runs: list[CheckRun]) -> list[CheckRun]:
    """Return the newest run of each name in a suite, oldest first."""
    return list({run.name: run for run in runs}.values())


def check_run_json(state: State, repository: Repository, run: CheckRun) -> Json:
    """Return a check run with its output and the App that reported it."""
    url = f"{state.api_url}/repos/{repository.full_name}/check-runs/{run.id}"
    page = f"{state.url}/{repository.full_name}/runs/{run.id}"
    return {
        "id": run.id,
        "name": run.name,
        "node_id": node_id("CR", run.id),
        "head_sha": run.head_sha,
        "external_id": run.external_id,
        "url": url,
        "html_url": page,
        "details_url": run.details_url or page,
        "status": run.status,
        "conclusion": run.conclusion,
        "started_at": stamp(run.started_at),
        "completed_at": stamp(run.completed_at),
        "output": {
            "title": run.title,
            "summary": run.summary,
            "text": run.text,
            "annotations_count": len(run.annotations),
            "annotations_url": f"{url}/annotations",
        },
        "check_suite": {"id": run.suite.id},
        "app": app_json(state, run.app),
        "pull_requests": _pulls(state, repository, run.head_sha),
    }


def annotation_json(state: State, repository: Repository, run: CheckRun, annotation: Json) -> Json:
    """Return one annotation of a check run."""
    path = annotation["path"]
    return {
        "path": path,
        "blob_href": f"{state.api_url}/repos/{repository.full_name}/contents/{path}?ref={run.head_sha}",
        "start_line": annotation["start_line"],
        "start_column": annotation.get("start_column"),
        "end_line": annotation.get("end_line", annotation["start_line"]),
        "end_column": annotation.get("end_column"),
        "annotation_level": annotation.get("annotation_level", "failure"),
        "title": annotation.get("title"),
        "message": annotation["message"],
        "raw_details": annotation.get("raw_details"),
    }


def status_json(state: State, repository: Repository, status: Status) -> Json:
    """Return one commit status with its creator."""
    return simple_status_json(state, repository, status) | {"creator": user_json(state, status.creator)}


def simple_status_json(state: State, repository: Repository, status: Status) -> Json:
    """Return one commit status as the combined answer lists it."""
    return {
        "url": f"{state.api_url}/repos/{repository.full_name}/statuses/{status.sha}",
        "avatar_url": f"{state.url}/avatars/{status.creator.id}",
        "id": status.id,
        "node_id": node_id("SC", status.id),
        "state": status.state,
        "description": status.description or None,
        "target_url": status.target_url or None,
        "context": status.context,
        "required": False,
        "created_at": stamp(status.created_at),
        "updated_at": stamp(status.created_at),
    }


def workflow_run_json(state: State, repository: Repository, run: WorkflowRun) -> Json:
    """Return a run of a workflow of GitHub Actions."""
    url = f"{state.api_url}/repos/{repository.full_name}/actions/runs/{run.id}"
    actor = user_json(state, repository.owner)
    head = head_commit_json(repository, run.head_sha)
    return {
        "id": run.id,
        "name": run.name,
        "node_id": node_id("WFR", run.id),
        "check_suite_id": run.suite.id,
        "check_suite_node_id": node_id("CS", run.suite.id),
        "head_branch": run.head_branch,
        "head_sha": run.head_sha,
        "path": f".github/workflows/{run.name}.yml",
        "run_number": run.run_number,
        "run_attempt": run.run_attempt,
        "referenced_workflows": [],
        "event": run.event,
        "status": run.status,
        "conclusion": run.conclusion,
        "workflow_id": zlib.crc32(run.name.encode()),
        "url": url,
        "html_url": f"{state.url}/{repository.full_name}/commit/{run.head_sha}",
        "pull_requests": _pulls(state, repository, run.head_sha),
        "created_at": stamp(run.created_at),
        "updated_at": stamp(run.updated_at),
        "run_started_at": stamp(run.started_at or run.created_at),
        "actor": actor,
        "triggering_actor": actor,
        "jobs_url": f"{url}/jobs",
        "logs_url": f"{url}/logs",
        "check_suite_url": f"{state.api_url}/repos/{repository.full_name}/check-suites/{run.suite.id}",
        "artifacts_url": f"{url}/artifacts",
        "cancel_url": f"{url}/cancel",
        "rerun_url": f"{url}/rerun",
        "previous_attempt_url": f"{url}/attempts/{run.run_attempt - 1}" if run.run_attempt > 1 else None,
        "workflow_url": f"{state.api_url}/repos/{repository.full_name}/actions/workflows/1",
        "head_commit": head,
        "repository": repository_json(state, repository),
        "head_repository": repository_json(state, repository),
        "display_title": head["message"].partition("\n")[0] or run.name,
    }


def job_json(state: State, repository: Repository, run: WorkflowRun, job: Job) -> Json:
    """Return one job of a workflow run."""
    check = job.check
    url = f"{state.api_url}/repos/{repository.full_name}"
    return {
        "id": check.id,
        "run_id": run.id,
        "run_url": f"{url}/actions/runs/{run.id}",
        "run_attempt": job.attempt,
        "node_id": node_id("CR", check.id),
        "head_sha": run.head_sha,
        "url": f"{url}/actions/jobs/{check.id}",
        "html_url": f"{state.url}/{repository.full_name}/runs/{check.id}",
        "status": check.status,
        "conclusion": check.conclusion,
        "created_at": stamp(check.started_at or run.created_at),
        "started_at": stamp(check.started_at or run.created_at),
        "completed_at": stamp(check.completed_at),
        "name": check.name,
        "steps": job.steps,
        "check_run_url": f"{url}/check-runs/{check.id}",
        "labels": ["local"],
        "runner_id": None,
        "runner_name": None,
        "runner_group_id": None,
        "runner_group_name": None,
        "workflow_name": run.name,
        "head_branch": run.head_branch,
    }
