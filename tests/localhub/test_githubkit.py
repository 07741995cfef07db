"""GitHub's description of each answer holds: githubkit's models are made from it and miss no field."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from githubkit import AppAuthStrategy, GitHub
from githubkit.cache import MemCacheStrategy
from githubkit.exception import RequestFailed

from localhub import Hub, serve
from localhub.world import EVENTS, PERMISSIONS
from tests.localhub.conftest import REPO

AT = {"owner": "acme", "repo": "notifications"}
WIDE = PERMISSIONS | {"checks": "write", "statuses": "write", "actions": "write", "administration": "read"}


class Talk:
    """A furnished hub, and githubkit as the App and as its installation."""

    def __init__(self, hub: Hub, app: GitHub[Any], bot: GitHub[Any]) -> None:
        self.hub, self.app, self.bot = hub, app, bot
        self.sha = hub.push_commit(
            REPO, "feature", {"a.txt": "one\n", "README.md": "# New\n"}, "feat: a", "maria"
        )
        self.issue = hub.open_issue(
            REPO, title="Retry", body="Please", author="maria", labels=["agent-build"]
        )
        self.comment = hub.comment(REPO, self.issue.number, "/status", by="maria")
        self.reaction = hub.react(REPO, self.comment.id, "eyes", by="phasegate[bot]")
        self.pull = hub.open_pull(REPO, title="Work", head="feature", body="x", draft=True, by="maria")
        note = {
            "path": "a.txt",
            "start_line": 1,
            "end_line": 1,
            "annotation_level": "failure",
            "message": "no",
        }
        self.run = hub.report_check(REPO, self.sha, conclusion="failure", summary="bad", annotations=[note])
        self.own_run = hub.report_check(REPO, self.sha, name="own", status="in_progress", app="phasegate")
        hub.report_status(REPO, self.sha, "legacy", "success", by="maria")
        job = {"name": "build", "status": "completed", "conclusion": "success", "log": "done\n"}
        self.workflow = hub.report_workflow_run(REPO, self.sha, "ci", "completed", "success", jobs=[job])
        hub.require_checks(REPO, ["tests"])
        hub.forbid_force(REPO, "main")
        self.tree = hub.commit(REPO, self.sha).tree
        self.blob = hub.repository(REPO).objects.resolve(f"{self.sha}:a.txt") or ""
        self.delivery = hub.deliveries[-1]


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Iterator[Talk]:
    hub = Hub(tmp_path_factory.mktemp("hub"))
    hub.create_user("maria")
    hub.create_repository(REPO, source)
    hub.grant(REPO, "maria", "maintain")
    app = hub.create_app("phasegate", permissions=WIDE, events=EVENTS)
    installation = hub.install(app, REPO)
    with serve(hub) as server:
        settings: dict[str, Any] = {"base_url": server.api_url, "http_cache": False, "timeout": 10}
        settings |= {"cache_strategy": MemCacheStrategy(), "auto_retry": False}
        as_app = GitHub(AppAuthStrategy(app.id, app.private_key), **settings)
        as_bot = as_app.with_auth(as_app.auth.as_installation(installation))
        with as_app, as_bot:
            yield Talk(hub, as_app, as_bot)


def commit_body(talk: Talk) -> dict[str, Any]:
    return {"message": "feat: x", "tree": talk.tree, "parents": [talk.sha]}


CALLS: dict[str, Callable[[Talk], Any]] = {
    "app": lambda t: t.app.rest.apps.get_authenticated(),
    "installations": lambda t: t.app.rest.apps.list_installations(),
    "installation": lambda t: t.app.rest.apps.get_repo_installation(**AT),
    "token": lambda t: t.app.rest.apps.create_installation_access_token(
        t.hub.deliveries[0].installation_id, repositories=["notifications"], permissions={"issues": "write"}
    ),
    "deliveries": lambda t: t.app.rest.apps.list_webhook_deliveries(),
    "delivery": lambda t: t.app.rest.apps.get_webhook_delivery(t.delivery.id),
    "redelivery": lambda t: t.app.rest.apps.redeliver_webhook_delivery(t.delivery.id),
    "hook config": lambda t: t.app.rest.apps.get_webhook_config_for_app(),
    "reachable": lambda t: t.bot.rest.apps.list_repos_accessible_to_installation(),
    "rate limit": lambda t: t.bot.rest.rate_limit.get(),
    "meta": lambda t: t.bot.rest.meta.get(),
    "versions": lambda t: t.bot.rest.meta.get_all_versions(),
    "user": lambda t: t.bot.rest.users.get_by_username("maria"),
    "repository": lambda t: t.bot.rest.repos.get(**AT),
    "permission": lambda t: t.bot.rest.repos.get_collaborator_permission_level(**AT, username="maria"),
    "file": lambda t: t.bot.rest.repos.get_content(**AT, path="notifications/send.py"),
    "folder": lambda t: t.bot.rest.repos.get_content(**AT, path="notifications"),
    "commits": lambda t: t.bot.rest.repos.list_commits(**AT),
    "commit": lambda t: t.bot.rest.repos.get_commit(**AT, ref="feature"),
    "compare": lambda t: t.bot.rest.repos.compare_commits(**AT, basehead="main...feature"),
    "branches": lambda t: t.bot.rest.repos.list_branches(**AT),
    "branch": lambda t: t.bot.rest.repos.get_branch(**AT, branch="main"),
    "rules": lambda t: t.bot.rest.repos.get_branch_rules(**AT, branch="main"),
    "merge": lambda t: t.bot.rest.repos.merge(**AT, base="behind", head="feature"),
    "issues": lambda t: t.bot.rest.issues.list_for_repo(**AT),
    "issue": lambda t: t.bot.rest.issues.get(**AT, issue_number=t.issue.number),
    "new issue": lambda t: t.bot.rest.issues.create(**AT, title="Another"),
    "edited issue": lambda t: t.bot.rest.issues.update(**AT, issue_number=t.issue.number, body="Please!"),
    "comments": lambda t: t.bot.rest.issues.list_comments(**AT, issue_number=t.issue.number),
    "all comments": lambda t: t.bot.rest.issues.list_comments_for_repo(**AT),
    "comment": lambda t: t.bot.rest.issues.get_comment(**AT, comment_id=t.comment.id),
    "new comment": lambda t: t.bot.rest.issues.create_comment(
        **AT, issue_number=t.issue.number, body="hello"
    ),
    "edited comment": lambda t: t.bot.rest.issues.update_comment(**AT, comment_id=t.comment.id, body="/help"),
    "labels": lambda t: t.bot.rest.issues.list_labels_on_issue(**AT, issue_number=t.issue.number),
    "added label": lambda t: t.bot.rest.issues.add_labels(**AT, issue_number=t.issue.number, labels=["x"]),
    "repository labels": lambda t: t.bot.rest.issues.list_labels_for_repo(**AT),
    "label": lambda t: t.bot.rest.issues.get_label(**AT, name="agent-build"),
    "new label": lambda t: t.bot.rest.issues.create_label(**AT, name="fresh"),
    "reactions": lambda t: t.bot.rest.reactions.list_for_issue_comment(**AT, comment_id=t.comment.id),
    "new reaction": lambda t: t.bot.rest.reactions.create_for_issue_comment(
        **AT, comment_id=t.comment.id, content="+1"
    ),
    "issue reaction": lambda t: t.bot.rest.reactions.create_for_issue(
        **AT, issue_number=t.issue.number, content="eyes"
    ),
    "issue reactions": lambda t: t.bot.rest.reactions.list_for_issue(**AT, issue_number=t.issue.number),
    "new blob": lambda t: t.bot.rest.git.create_blob(**AT, content="text", encoding="utf-8"),
    "blob": lambda t: t.bot.rest.git.get_blob(**AT, file_sha=t.blob),
    "new tree": lambda t: t.bot.rest.git.create_tree(
        **AT, base_tree=t.tree, tree=[{"path": "b", "mode": "100755", "type": "blob", "content": "x"}]
    ),
    "tree": lambda t: t.bot.rest.git.get_tree(**AT, tree_sha=t.tree, recursive="1"),
    "new commit": lambda t: t.bot.rest.git.create_commit(**AT, **commit_body(t)),
    "git commit": lambda t: t.bot.rest.git.get_commit(**AT, commit_sha=t.sha),
    "new ref": lambda t: t.bot.rest.git.create_ref(**AT, ref="refs/heads/fresh", sha=t.sha),
    "ref": lambda t: t.bot.rest.git.get_ref(**AT, ref="heads/feature"),
    "matching refs": lambda t: t.bot.rest.git.list_matching_refs(**AT, ref="heads/"),
    "moved ref": lambda t: t.bot.rest.git.update_ref(**AT, ref="heads/feature", sha=t.sha),
    "pulls": lambda t: t.bot.rest.pulls.list(**AT, head="acme:feature"),
    "pull": lambda t: t.bot.rest.pulls.get(**AT, pull_number=t.pull.number),
    "edited pull": lambda t: t.bot.rest.pulls.update(**AT, pull_number=t.pull.number, body="new"),
    "new pull": lambda t: t.bot.rest.pulls.create(**AT, title="b", head="other", base="main", draft=True),
    "pull files": lambda t: t.bot.rest.pulls.list_files(**AT, pull_number=t.pull.number),
    "pull commits": lambda t: t.bot.rest.pulls.list_commits(**AT, pull_number=t.pull.number),
    "reviews": lambda t: t.bot.rest.pulls.list_reviews(**AT, pull_number=t.pull.number),
    "check runs": lambda t: t.bot.rest.checks.list_for_ref(**AT, ref=t.sha),
    "suites": lambda t: t.bot.rest.checks.list_suites_for_ref(**AT, ref=t.sha),
    "suite": lambda t: t.bot.rest.checks.get_suite(**AT, check_suite_id=t.run.suite.id),
    "check run": lambda t: t.bot.rest.checks.get(**AT, check_run_id=t.run.id),
    "annotations": lambda t: t.bot.rest.checks.list_annotations(**AT, check_run_id=t.run.id),
    "new check run": lambda t: t.bot.rest.checks.create(
        **AT, name="mine", head_sha=t.sha, status="in_progress"
    ),
    "edited check run": lambda t: t.bot.rest.checks.update(
        **AT, check_run_id=t.own_run.id, data={"status": "completed", "conclusion": "neutral"}
    ),
    "new status": lambda t: t.bot.rest.repos.create_commit_status(**AT, sha=t.sha, state="pending"),
    "statuses": lambda t: t.bot.rest.repos.list_commit_statuses_for_ref(**AT, ref=t.sha),
    "combined": lambda t: t.bot.rest.repos.get_combined_status_for_ref(**AT, ref=t.sha),
    "workflow runs": lambda t: t.bot.rest.actions.list_workflow_runs_for_repo(**AT, head_sha=t.sha),
    "workflow run": lambda t: t.bot.rest.actions.get_workflow_run(**AT, run_id=t.workflow.id),
    "jobs": lambda t: t.bot.rest.actions.list_jobs_for_workflow_run(**AT, run_id=t.workflow.id),
    "job": lambda t: t.bot.rest.actions.get_job_for_workflow_run(**AT, job_id=t.workflow.jobs[0].check.id),
    "rerun": lambda t: t.bot.rest.actions.re_run_workflow(**AT, run_id=t.workflow.id),
}


@pytest.mark.parametrize("name", CALLS)
def test_githubkit_reads_every_answer(talk: Talk, name: str) -> None:
    if name == "new pull":
        talk.hub.push_commit(REPO, "other", {"o": "o"}, "feat: o", by="maria")
    if name == "merge":
        talk.hub.push_commit(REPO, "behind", {"h": "h"}, "feat: h", by="maria")
    answer = CALLS[name](talk)
    assert answer.parsed_data is not None


def test_a_job_log_is_found_behind_a_redirect(talk: Talk) -> None:
    answer = talk.bot.rest.actions.download_job_logs_for_workflow_run(
        **AT, job_id=talk.workflow.jobs[0].check.id
    )
    assert answer.text == "done\n"


def test_removals_answer_without_a_body(talk: Talk) -> None:
    rest = talk.bot.rest
    comment = talk.hub.comment(REPO, talk.issue.number, "gone soon", by="maria")
    mine = rest.reactions.create_for_issue_comment(**AT, comment_id=comment.id, content="rocket").parsed_data
    rest.reactions.delete_for_issue_comment(**AT, comment_id=comment.id, reaction_id=mine.id)
    rest.issues.delete_comment(**AT, comment_id=comment.id)
    talk.hub.label(REPO, talk.issue.number, "passing", by="maria")
    rest.issues.remove_label(**AT, issue_number=talk.issue.number, name="passing")
    rest.git.create_ref(**AT, ref="refs/heads/gone", sha=talk.sha)
    assert rest.git.delete_ref(**AT, ref="heads/gone").status_code == 204


def test_files_travel_as_base64_and_raw(talk: Talk) -> None:
    found = talk.bot.rest.repos.get_content(**AT, path="README.md", ref="feature").parsed_data
    raw = talk.bot.rest.repos.get_content(
        **AT, path="README.md", ref="feature", headers={"Accept": "application/vnd.github.raw+json"}
    )
    assert base64.b64decode(found.content) == b"# New\n"
    assert raw.text == "# New\n"


def test_protection_is_told_as_missing(talk: Talk) -> None:
    with pytest.raises(RequestFailed) as caught:
        talk.bot.rest.repos.get_branch_protection(**AT, branch="main")
    assert caught.value.response.status_code == 404
    assert caught.value.response.json()["message"] == "Branch not protected"


def test_a_revoked_token_is_unknown(talk: Talk) -> None:
    installation = talk.hub.deliveries[0].installation_id or 0
    made = talk.app.rest.apps.create_installation_access_token(installation).parsed_data
    once = GitHub(made.token, base_url=talk.bot.config.base_url, http_cache=False, auto_retry=False)
    with once:
        once.rest.apps.revoke_installation_access_token()
        with pytest.raises(RequestFailed) as caught:
            once.rest.repos.get(**AT)
    assert caught.value.response.json()["message"] == "Bad credentials"
