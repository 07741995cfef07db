"""The embedded GitHub as Python: make a world, act in it as people and as CI do, read what became of it."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from localhub import issues, pulls, refs, reports
from localhub.checks import CheckRunner
from localhub.merges import merge_pull
from localhub.objects import Person, RefUpdate, TreeEdit
from localhub.records import (
    ZERO,
    Actor,
    App,
    CheckCommand,
    CheckRun,
    Comment,
    Issue,
    Json,
    Reaction,
    Repository,
    Review,
    Status,
    WorkflowRun,
)
from localhub.registry import Registry
from localhub.webhooks import Sender

ACTIONS_APP = "github-actions"
CI_APP = "local-ci"


class Hub(Registry):
    """One simulated GitHub: state in memory, repositories below `data_dir`; every method is thread-safe."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self._sender = Sender(self.state)
        self._checks = CheckRunner(self.state)
        self.state.wake = self._wake

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wake(self) -> None:
        self._checks.start_queued()
        self._sender.wake()

    def close(self) -> None:
        """Stop what runs in the background; the state stays readable."""
        self._checks.close()
        self._sender.close()
        for repository in self.state.repositories.values():
            repository.objects.close()

    def wait_idle(self, timeout: float = 30) -> None:
        """Wait until every delivery is sent and CI has nothing to do; raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while not (self._sender.idle and self._checks.idle and self._sender.idle):
            if time.monotonic() > deadline:
                raise TimeoutError("the embedded GitHub is still busy")
            time.sleep(0.01)

    # People.

    def open_issue(
        self, repository: str, *, title: str, body: str = "", author: str, labels: Sequence[str] = ()
    ) -> Issue:
        """Open an issue as a person."""
        with self.state.lock:
            state, found, actor = self._on(repository, author)
            issue = issues.open_issue(state, found, title, body, actor)
            for name in labels:
                issues.add_label(state, found, issue, name, actor)
            return issue

    def edit_issue(
        self, repository: str, number: int, *, title: str | None = None, body: str | None = None, by: str
    ) -> Issue:
        """Change title or body of an issue or pull request."""
        with self.state.lock:
            state, found, actor = self._on(repository, by)
            issue = self.issue(repository, number)
            edit = pulls.edit_pull if issue.pull else issues.edit_issue
            edit(state, found, issue, title, body, actor)
            return issue

    def close_issue(self, repository: str, number: int, by: str, reason: str = "completed") -> None:
        """Close an issue or pull request."""
        self._set_state(repository, number, "closed", by, reason)

    def reopen_issue(self, repository: str, number: int, by: str) -> None:
        """Reopen an issue or pull request."""
        self._set_state(repository, number, "open", by, "")

    def _set_state(self, repository: str, number: int, wanted: str, by: str, reason: str) -> None:
        with self.state.lock:
            state, found, actor = self._on(repository, by)
            issue = self.issue(repository, number)
            if issue.pull:
                pulls.set_pull_state(state, found, issue, wanted, actor)
            else:
                issues.set_issue_state(state, found, issue, wanted, actor, reason)

    def label(self, repository: str, number: int, name: str, by: str) -> None:
        """Put a label on an issue or pull request."""
        self._label(repository, number, name, by, remove=False)

    def unlabel(self, repository: str, number: int, name: str, by: str) -> None:
        """Take a label off an issue or pull request."""
        self._label(repository, number, name, by, remove=True)

    def _label(self, repository: str, number: int, name: str, by: str, remove: bool) -> None:
        with self.state.lock:
            state, found, actor = self._on(repository, by)
            issue = self.issue(repository, number)
            if issue.pull:
                pulls.label_pull(state, found, issue, name, actor, remove)
            elif remove:
                issues.remove_label(state, found, issue, name, actor)
            else:
                issues.add_label(state, found, issue, name, actor)

    def comment(self, repository: str, number: int, body: str, by: str) -> Comment:
        """Comment on an issue or pull request."""
        with self.state.lock:
            state, found, actor = self._on(repository, by)
            return issues.add_comment(state, found, self.issue(repository, number), body, actor)

    def edit_comment(self, repository: str, comment_id: int, body: str, by: str) -> Comment:
        """Change a comment's text."""
        with self.state.lock:
            state, found, actor = self._on(repository, by)
            issue, comment = state.comment(found, comment_id)
            issues.edit_comment(state, found, issue, comment, body, actor)
            return comment

    def delete_comment(self, repository: str, comment_id: int, by: str) -> None:
        """Delete a comment."""
        with self.state.lock:
            state, found, actor = self._on(repository, by)
            issue, comment = state.comment(found, comment_id)
            issues.delete_comment(state, found, issue, comment, actor)

    def react(self, repository: str, comment_id: int, content: str, by: str) -> Reaction:
        """React to a comment."""
        with self.state.lock:
            state, found, actor = self._on(repository, by)
            reactions = state.comment(found, comment_id)[1].reactions
            return issues.react(state, reactions, content, actor.user)[0]

    def open_pull(
        self,
        repository: str,
        *,
        title: str,
        head: str,
        base: str = "",
        body: str = "",
        draft: bool = False,
        by: str,
    ) -> Issue:
        """Open a pull request as a person."""
        with self.state.lock:
            state, found, actor = self._on(repository, by)
            wanted = {"title": title, "head": head, "base": base or found.default_branch, "body": body}
            return pulls.open_pull(state, found, wanted | {"draft": draft}, actor)

    def set_draft(self, repository: str, number: int, draft: bool, by: str) -> None:
        """Make a pull request ready for review, or a draft again."""
        with self.state.lock:
            state, found, actor = self._on(repository, by)
            pulls.set_draft(state, found, self.issue(repository, number), draft, actor)

    def merge_pull(self, repository: str, number: int, by: str) -> str:
        """Merge a pull request and return the merge commit."""
        with self.state.lock:
            state, found, actor = self._on(repository, by)
            return merge_pull(state, found, self.issue(repository, number), actor)

    def review(self, repository: str, number: int, verdict: str, body: str = "", *, by: str) -> Review:
        """Review a pull request: APPROVED, CHANGES_REQUESTED or COMMENTED."""
        with self.state.lock:
            state, found, actor = self._on(repository, by)
            return pulls.submit_review(state, found, self.issue(repository, number), verdict, body, actor)

    def push_commit(
        self, repository: str, branch: str, files: Mapping[str, str | None], message: str, by: str
    ) -> str:
        """Push a commit that writes files (None deletes one); a new branch starts at the default branch."""
        with self.state.lock:
            state, found, actor = self._on(repository, by)
            objects = found.objects
            before = objects.resolve(f"refs/heads/{branch}")
            parent = before or self.head(repository) or ""
            edits = [
                TreeEdit(
                    path, "100644", "blob", None if text is None else objects.write("blob", text.encode())
                )
                for path, text in files.items()
            ]
            tree = objects.write_tree(objects.resolve(f"{parent}^{{tree}}"), edits)
            author = Person(actor.user.login, actor.user.email, int(state.now().timestamp()))
            sha = objects.write_commit(tree, [parent], author, author, message)
            refs.move(state, found, [RefUpdate(f"refs/heads/{branch}", before or ZERO, sha)], actor)
            return sha

    def set_branch(self, repository: str, branch: str, sha: str, by: str) -> None:
        """Force a branch to a commit."""
        with self.state.lock:
            state, found, actor = self._on(repository, by)
            ref = f"refs/heads/{branch}"
            update = RefUpdate(ref, found.objects.resolve(ref) or ZERO, sha)
            refs.move(state, found, [update], actor, forced=[ref])

    def delete_branch(self, repository: str, branch: str, by: str) -> None:
        """Delete a branch."""
        with self.state.lock:
            state, found, actor = self._on(repository, by)
            refs.delete(state, found, f"refs/heads/{branch}", actor)

    # CI.

    def add_checks(
        self, repository: str, entries: Sequence[Mapping[str, Any]], on_default: bool = False
    ) -> None:
        """Let the CI App run commands (`name`, `command`, `timeout`) on every pushed commit of a branch."""
        with self.state.lock:
            found = self.repository(repository)
            found.commands += [CheckCommand(**entry) for entry in entries]
            found.checks_on_default = on_default
            self._foreign_app(CI_APP, found)

    def ci_enabled(self, repository: str, enabled: bool) -> None:
        """Switch the CI App on or off for a repository."""
        self.repository(repository).ci_enabled = enabled

    def _foreign_app(self, slug: str, repository: Repository) -> App:
        app = self.state.app_by_slug(slug) or self.create_app(slug, permissions={"checks": "write"})
        if not self.state.installation_on(app, repository):
            self.install(app, repository.full_name)
        return app

    def report_check(
        self,
        repository: str,
        sha: str,
        *,
        name: str = "tests",
        status: str = "completed",
        conclusion: str | None = None,
        app: str = "other-ci",
        title: str = "",
        summary: str = "",
        text: str | None = None,
        annotations: Sequence[Json] = (),
        details_url: str = "",
        rerun: bool = False,
    ) -> CheckRun:
        """Report a check run as another App would, with any conclusion.

        An unfinished run of that name is updated, else a new one is made; `rerun` always makes a new one.
        """
        with self.state.lock:
            found = self.repository(repository)
            reporter = self._foreign_app(app, found)
            wanted: Json = {"name": name, "head_sha": sha, "status": status, "details_url": details_url}
            if conclusion:
                wanted["conclusion"] = conclusion
            if title or summary or text or annotations:
                output = {"title": title or name, "summary": summary, "text": text}
                wanted["output"] = output | {"annotations": list(annotations)}
            suite = reports.suite_for(self.state, found, reporter, sha)
            open_runs = [run for run in suite.runs if run.name == name and run.status != "completed"]
            if open_runs and not rerun:
                return reports.update_run(self.state, found, open_runs[-1], wanted)
            return reports.create_run(self.state, found, reporter, wanted)

    def report_status(
        self,
        repository: str,
        sha: str,
        context: str,
        state: str,
        description: str = "",
        target_url: str = "",
        by: str = "",
    ) -> Status:
        """Report a legacy commit status."""
        with self.state.lock:
            user = self.state.user(by) if by else self.state.make_user("status-bot")
            wanted = {
                "context": context,
                "state": state,
                "description": description,
                "target_url": target_url,
            }
            return reports.set_status(self.state, self.repository(repository), sha, wanted, Actor(user))

    def report_workflow_run(
        self,
        repository: str,
        sha: str,
        name: str,
        status: str,
        conclusion: str | None = None,
        event: str = "push",
        run_attempt: int = 1,
        jobs: Sequence[Json] = (),
    ) -> WorkflowRun:
        """Report a run of GitHub Actions; `jobs` hold name, status, conclusion, log and steps."""
        with self.state.lock:
            found = self.repository(repository)
            app = self.state.app_by_slug(ACTIONS_APP) or self.create_app(
                ACTIONS_APP, permissions={"checks": "read"}
            )

            def apply(run: WorkflowRun) -> None:
                run.status, run.conclusion, run.run_attempt = status, conclusion, run_attempt
                for job in jobs:
                    reports.add_job(self.state, found, run, dict(job))

            return reports.set_workflow_run(self.state, found, app, name, sha, event, apply)
