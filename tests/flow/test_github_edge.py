"""Every call to GitHub against the embedded one: over real HTTP, into real bare repositories."""

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.errors import Denied, Missing, Moved, Rejected, Transient
from bot.github import FileChange, GitHub, Repository
from bot.reports import Required
from localhub import Hub, serve
from localhub.world import PERMISSIONS

REPO = "acme/tally"
BRANCH = "phasegate/issue-1-cache"
FILES = {
    "README.md": "# Tally\n",
    "tally/count.py": "def count(items):\n    return len(items)\n",
    "old.txt": "old\n",
}


class Edge:
    """A served hub with one repository, and a bot's client for it."""

    def __init__(self, hub: Hub, api_url: str, server_url: str, permissions: dict[str, str]) -> None:
        self.hub, self.api_url, self.server_url = hub, api_url, server_url
        self.app = hub.create_app("phasegate", permissions=permissions)
        self.installation = hub.install(self.app, REPO)
        self.private_key = self.app.private_key
        self.base = hub.head(REPO) or ""

    def run(self, work: Callable[[GitHub], Awaitable[Any]]) -> Any:
        """Run work with a client of its own."""

        async def main() -> Any:
            github = GitHub(
                app_id=str(self.app.id),
                private_key=self.private_key,
                api_url=self.api_url,
                server_url=self.server_url,
                pause=lambda seconds: asyncio.sleep(seconds / 5),
            )
            try:
                return await work(github)
            finally:
                await github.close()

        return asyncio.run(main())

    def ask(self, work: Callable[[Repository], Awaitable[Any]]) -> Any:
        """Run work on the repository."""
        number = self.hub.repository(REPO).id
        return self.run(lambda github: work(github.repository(self.installation, REPO, number)))

    def git(self, *arguments: str, **variables: str) -> str:
        """Run Git in the bare repository."""
        folder = self.hub.repository(REPO).objects.path
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def commit(self, text: str = "one\n", parent: str = "", message: str = "feat: one") -> str:
        """Commit a file through the client under test and return the commit."""
        parent = parent or self.base
        tree = self.git("rev-parse", f"{parent}^{{tree}}")
        blob = subprocess.run(
            ["git", "hash-object", "--stdin"], input=text, capture_output=True, text=True, check=True
        )
        rest = [line for line in self.git("ls-tree", tree).splitlines() if not line.endswith("\tone.txt")]
        entries = "\n".join([*rest, f"100644 blob {blob.stdout.strip()}\tone.txt"])
        wanted = self._mktree(entries)
        files = {"one.txt": FileChange("100644", text.encode())}
        return str(
            self.ask(
                lambda repository: repository.commit_files(
                    parent=parent, base_tree=tree, files=files, message=message, expected_tree=wanted
                )
            )
        )

    def _mktree(self, entries: str) -> str:
        folder = self.hub.repository(REPO).objects.path
        command = ["git", "-C", str(folder), "mktree", "--missing"]
        return subprocess.run(
            command, input=entries, capture_output=True, text=True, check=True
        ).stdout.strip()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    source = tmp_path / "source"
    for name, text in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    with Hub(tmp_path / "hub") as hub:
        for login in ("maria", "guest"):
            hub.create_user(login)
        hub.create_repository(REPO, source, private=True)
        hub.grant(REPO, "maria", "write")
        hub.open_issue(REPO, title="Cache the count", body="Please.", author="maria", labels=["agent-build"])
        yield hub


@pytest.fixture
def edge(hub: Hub) -> Iterator[Edge]:
    with serve(hub) as server:
        yield Edge(hub, server.api_url, server.url, PERMISSIONS)


# Who and where


def test_the_app_finds_itself(edge):
    async def work(github):
        await github.start()
        return await github.app()

    app = edge.run(work)

    assert (app.id, app.bot_login) == (edge.app.id, "phasegate[bot]")
    assert app.bot_id == edge.app.bot_user.id


def test_the_key_of_another_app_is_denied(edge):
    edge.private_key = edge.hub.create_app("other").private_key
    with pytest.raises(Denied):
        edge.run(lambda github: github.start())


def test_permissions_are_those_of_people(edge):
    async def work(repository):
        logins = ("maria", "guest", "nobody-at-all", "phasegate[bot]")
        return [(await repository.permission(login)).permission for login in logins]

    assert edge.ask(work)[:3] == ["write", "none", "none"]


def test_files_are_read_at_a_commit(edge):
    async def work(repository):
        facts = await repository.facts()
        paths = ("tally/count.py", "missing.py", "tally")
        return facts, [await repository.file(path, facts.default_branch) for path in paths]

    facts, texts = edge.ask(work)

    assert (facts.full_name, facts.private) == (REPO, True)
    assert texts == [FILES["tally/count.py"], None, None]


def test_deliveries_that_did_not_arrive_are_found_and_sent_again(edge):
    edge.app.events.append("issues")
    edge.app.webhook_url = "http://127.0.0.1:9/"
    edge.hub.open_issue(REPO, title="Another", author="maria")
    edge.hub.wait_idle()

    async def work(github):
        missed = await github.missed_deliveries("2020-01-01T00:00:00Z")
        await github.redeliver(missed[0])
        return missed

    assert len(edge.run(work)) == 1
    edge.hub.wait_idle()
    assert [delivery.redelivery for delivery in edge.hub.deliveries] == [False, True]
    assert edge.run(lambda github: github.missed_deliveries("2999-01-01T00:00:00Z")) == []


# Issues


def test_an_issue_is_read_as_its_author_wrote_it(edge):
    issue = edge.ask(lambda repository: repository.issue(1))
    assert (issue.title, issue.body, issue.labels) == ("Cache the count", "Please.", ("agent-build",))
    assert (issue.author_login, issue.author_type) == ("maria", "User")


def test_comments_are_posted_edited_and_listed(edge):
    edge.hub.comment(REPO, 1, "/approve-plan", by="maria")

    async def work(repository):
        made = await repository.comment(1, "The plan.")
        await repository.edit_comment(made.id, "The better plan.")
        return await repository.comments(1)

    listed = edge.ask(work)

    assert [(comment.body, comment.app_id) for comment in listed] == [
        ("/approve-plan", None),
        ("The better plan.", edge.app.id),
    ]


def test_a_comment_whose_answer_was_lost_stands_once(edge):
    edge.hub.faults.fail("/issues/1/comments", method="POST", after=True)
    with pytest.raises(Transient):
        edge.ask(lambda repository: repository.comment(1, "The plan."))

    assert [comment.body for comment in edge.hub.comments(REPO, 1)] == ["The plan."]


def test_more_comments_than_a_page_holds_are_all_read(edge):
    for number in range(103):
        edge.hub.comment(REPO, 1, f"{number}", by="maria")
    comments = edge.ask(lambda repository: repository.comments(1))

    assert [comment.body for comment in comments] == [str(number) for number in range(103)]


def test_a_reaction_is_given_once_beside_those_of_others(edge):
    comment = edge.hub.comment(REPO, 1, "/approve-plan", by="maria")
    edge.hub.react(REPO, comment.id, "eyes", by="maria")

    async def work(repository):
        await repository.react(comment.id, "eyes")
        await repository.react(comment.id, "eyes")

    edge.ask(work)
    assert len(edge.hub.reactions(REPO, comment.id)) == 2


# Commits and branches


def test_a_commit_has_the_tree_that_was_computed_here(edge):
    blobs = {"bin.dat": b"\xff\x00\x01", "empty.txt": b"", "run.sh": b"#!/bin/sh\n", "link": b"run.sh"}
    modes = {"run.sh": "100755", "link": "120000"}
    files: dict[str, FileChange | None] = {
        path: FileChange(modes.get(path, "100644"), content) for path, content in blobs.items()
    }
    entries = [
        f"{modes.get(path, '100644')} blob {_blob(content)}\t{path}" for path, content in blobs.items()
    ]
    kept = [line for line in edge.git("ls-tree", edge.base).splitlines() if not line.endswith("old.txt")]
    wanted = edge._mktree("\n".join(entries + kept))
    tree = edge.git("rev-parse", f"{edge.base}^{{tree}}")
    sha = edge.ask(
        lambda repository: repository.commit_files(
            parent=edge.base,
            base_tree=tree,
            files=files | {"old.txt": None},
            message="feat: größer\n\nPhasegate-Attempt: 3",
            expected_tree=wanted,
        )
    )
    commit = edge.ask(lambda repository: repository.commit(sha))

    assert (commit.tree, commit.parents) == (wanted, (edge.base,))
    assert commit.message.endswith("Phasegate-Attempt: 3")
    assert (commit.author_login, commit.author_id) == ("phasegate[bot]", edge.app.bot_user.id)


def _blob(content: bytes) -> str:
    command = ["git", "hash-object", "--stdin"]
    return subprocess.run(command, input=content, capture_output=True, check=True).stdout.decode().strip()


def test_a_tree_that_differs_is_rejected_before_there_is_a_commit(edge):
    tree = edge.git("rev-parse", f"{edge.base}^{{tree}}")
    files = {"one.txt": FileChange("100644", b"one\n")}
    with pytest.raises(Rejected, match="was expected"):
        edge.ask(
            lambda repository: repository.commit_files(
                parent=edge.base, base_tree=tree, files=files, message="feat: one", expected_tree="0" * 40
            )
        )

    assert not [request for request in edge.hub.requests if request.path.endswith("/git/commits")]


def test_a_branch_is_made_once_and_never_taken_over(edge):
    sha = edge.commit()

    async def work(repository):
        before = await repository.branch_head(BRANCH)
        await repository.create_branch(BRANCH, edge.base)
        await repository.create_branch(BRANCH, edge.base)
        with pytest.raises(Moved):
            await repository.create_branch(BRANCH, sha)
        return before, await repository.branch_head(BRANCH)

    assert edge.ask(work) == (None, edge.base)


def test_a_branch_moves_by_compare_and_swap(edge):
    one, two = edge.commit("one\n"), edge.commit("two\n")
    edge.hub.set_branch(REPO, BRANCH, edge.base, by="maria")

    async def work(repository):
        await repository.move_branch(BRANCH, before=edge.base, after=one)
        await repository.move_branch(BRANCH, before=edge.base, after=one)
        with pytest.raises(Rejected):
            await repository.move_branch(BRANCH, before=one, after=two)
        await repository.move_branch(BRANCH, before=one, after=two, force=True)
        with pytest.raises(Moved):
            await repository.move_branch(BRANCH, before=one, after=edge.base, force=True)
        return [commit.sha for commit in await repository.commits(BRANCH, "main")]

    assert edge.ask(work) == [two]


def test_a_move_whose_answer_was_lost_is_no_failure(edge):
    one = edge.commit("one\n")
    edge.hub.set_branch(REPO, BRANCH, edge.base, by="maria")
    edge.hub.faults.fail("graphql", after=True)
    edge.ask(lambda repository: repository.move_branch(BRANCH, before=edge.base, after=one))

    assert edge.hub.head(REPO, BRANCH) == one


def test_a_deleted_branch_has_moved(edge):
    one = edge.commit("one\n")
    with pytest.raises(Moved):
        edge.ask(lambda repository: repository.move_branch(BRANCH, before=edge.base, after=one))

    assert edge.hub.head(REPO, BRANCH) is None


def test_a_ruleset_that_forbids_force_is_told(edge):
    one, two = edge.commit("one\n"), edge.commit("two\n")
    edge.hub.set_branch(REPO, BRANCH, one, by="maria")
    edge.hub.forbid_force(REPO, "phasegate/*")
    with pytest.raises((Rejected, Denied)):
        edge.ask(lambda repository: repository.move_branch(BRANCH, before=one, after=two, force=True))

    assert edge.hub.head(REPO, BRANCH) == one


def test_a_red_commit_is_kept_under_a_ref_of_ours(edge):
    one, two = edge.commit("one\n"), edge.commit("two\n")

    async def work(repository):
        await repository.point_ref("refs/phasegate/12/red", one)
        await repository.point_ref("refs/phasegate/12/red", two)

    edge.ask(work)

    assert edge.hub.refs(REPO, "refs/phasegate/") == {"refs/phasegate/12/red": two}


def test_the_commits_of_a_branch_are_listed_oldest_first(edge):
    one = edge.commit("one\n", message="feat: one\n\nPhasegate-Attempt: 1")
    two = edge.commit("two\n", parent=one, message="feat: two\n\nPhasegate-Attempt: 2")
    edge.hub.set_branch(REPO, BRANCH, two, by="maria")

    async def work(repository):
        return await repository.commits(BRANCH, edge.base), await repository.compare("main", BRANCH)

    commits, comparison = edge.ask(work)

    assert [commit.message[-1] for commit in commits] == ["1", "2"]
    assert (comparison.status, comparison.ahead_by, comparison.merge_base) == ("ahead", 2, edge.base)


def test_a_git_token_fetches_and_only_the_other_one_pushes(edge):
    one = edge.commit("one\n")

    async def work(repository):
        return await repository.git_token(), await repository.git_token(write=True)

    read, write = edge.ask(work)
    address = f"{edge.server_url.replace('://', '://x-access-token:{}@')}/{REPO}.git"
    push = ["push", "--quiet", address, f"{one}:refs/heads/{BRANCH}"]

    assert edge.base in edge.git("ls-remote", address.format(read))
    with pytest.raises(subprocess.CalledProcessError):
        edge.git(*(part.format(read) for part in push), GIT_TERMINAL_PROMPT="0")
    edge.git(*(part.format(write) for part in push))
    assert edge.hub.head(REPO, BRANCH) == one


# Pull requests


def opened(repository, draft=True):
    return repository.open_pull(
        branch=BRANCH, base="main", title="Cache the count", body="Guide.", draft=draft
    )


@pytest.fixture
def pushed(edge: Edge) -> str:
    sha = edge.commit("one\n")
    edge.hub.set_branch(REPO, BRANCH, sha, by="maria")
    return sha


def test_a_draft_is_opened_once_edited_and_made_ready(edge, pushed):
    async def work(repository):
        made, again = await opened(repository), await opened(repository)
        await repository.edit_pull(made.number, title="Done", body="Read on.")
        ready = await repository.ready_pull(made.node_id)
        first = await repository.pull(made.number)
        await asyncio.sleep(0.1)
        return made, again, ready, first, await repository.pull(made.number)

    made, again, ready, first, pull = edge.ask(work)

    assert (made.draft, made.number, made.head_sha) == (True, again.number, pushed)
    assert ready
    assert (pull.title, pull.body, pull.draft, pull.merged) == ("Done", "Read on.", False, False)
    assert (first.mergeable, pull.mergeable) == (None, True)


def test_a_pull_request_whose_answer_was_lost_is_found(edge, pushed):
    edge.hub.faults.fail("/pulls$", method="POST", after=True)
    pull = edge.ask(opened)

    assert [found.number for found in edge.hub.pulls(REPO)] == [pull.number]


def test_where_drafts_are_not_allowed_the_title_says_wip(edge, pushed):
    edge.hub.repository(REPO).drafts_allowed = False
    pull = edge.ask(opened)

    assert (pull.title, pull.draft) == ("WIP: Cache the count", False)


def test_where_making_it_ready_is_refused_it_stays_a_draft(edge, pushed):
    edge.hub.faults.ready_refused = True

    async def work(repository):
        return await repository.ready_pull((await opened(repository)).node_id)

    assert edge.ask(work) is False


def test_the_pull_request_of_a_branch_is_found_open_or_closed(edge, pushed):
    number = edge.ask(opened).number
    edge.hub.close_issue(REPO, number, by="maria")

    async def work(repository):
        return await repository.pull_of(BRANCH), await repository.pull_of(BRANCH, state="all")

    standing, closed = edge.ask(work)

    assert standing is None
    assert (closed.number, closed.state) == (number, "closed")


def test_a_pull_request_without_commits_is_rejected(edge):
    edge.hub.set_branch(REPO, BRANCH, edge.base, by="maria")
    with pytest.raises(Rejected, match="No commits between"):
        edge.ask(opened)


# Checks


def test_check_runs_of_all_apps_are_read_with_their_evidence(edge):
    remark = {
        "path": "one.txt",
        "start_line": 1,
        "end_line": 1,
        "annotation_level": "failure",
        "message": "no",
    }
    edge.hub.report_check(REPO, edge.base, conclusion="failure", summary="1 failed", annotations=[remark])
    edge.hub.report_check(REPO, edge.base, name="lint", status="queued", app="lint-ci")

    async def work(repository):
        runs = await repository.check_runs(edge.base)
        return {run.name: run for run in runs}, await repository.annotations(
            next(run.id for run in runs if run.name == "tests")
        )

    runs, annotations = edge.ask(work)

    assert (runs["tests"].conclusion, runs["tests"].summary) == ("failure", "1 failed")
    assert (runs["lint"].status, runs["lint"].conclusion) == ("queued", None)
    assert runs["tests"].app_id != runs["lint"].app_id
    assert [(remark.path, remark.level, remark.message) for remark in annotations] == [
        ("one.txt", "failure", "no")
    ]


def test_statuses_workflow_runs_and_job_logs_are_read(edge):
    edge.hub.report_status(REPO, edge.base, "ci/old", "pending")
    job = {"name": "unit", "status": "completed", "conclusion": "failure", "log": "line\nAssertionError: 2\n"}
    edge.hub.report_workflow_run(REPO, edge.base, "CI", "completed", "failure", jobs=[job])

    async def work(repository):
        (check,) = await repository.check_runs(edge.base)
        found = await repository.statuses(edge.base), await repository.workflow_runs(edge.base)
        return *found, check, await repository.job_log(check.id)

    (status,), (run,), check, text = edge.ask(work)

    assert (status.context, status.state) == ("ci/old", "pending")
    assert (run.name, run.conclusion, run.suite_id) == ("CI", "failure", check.suite_id)
    assert text.endswith("AssertionError: 2\n")


def test_required_checks_come_from_the_rules_of_the_base(edge):
    edge.hub.require_checks(REPO, ["tests"])

    async def work(repository):
        await repository.create_branch(BRANCH, edge.base)
        return await repository.required_checks("main"), await repository.required_checks(BRANCH)

    assert edge.ask(work) == ([Required("tests")], [])


def test_a_repository_without_workflow_files_has_none(edge):
    assert edge.ask(lambda repository: repository.has_workflows(edge.base)) is False


# When it goes wrong


def test_a_token_that_is_not_known_everywhere_yet_is_waited_for(edge):
    edge.hub.faults.token_delay_seconds = 0.5
    assert edge.ask(lambda repository: repository.issue(1)).number == 1


def test_tokens_that_end_are_replaced_in_the_same_call(edge):
    async def work(repository):
        await repository.issue(1)
        edge.hub.expire_tokens()
        await asyncio.sleep(0)
        return await repository.issue(1)

    assert edge.ask(work).number == 1


def test_an_outage_of_a_moment_is_not_noticed(edge):
    edge.hub.faults.fail("/issues/1$", 502, body="<html>Unicorn</html>", count=2)
    assert edge.ask(lambda repository: repository.issue(1)).number == 1


def test_a_secondary_limit_is_told_with_a_wait(edge):
    edge.hub.faults.secondary_limit("/issues/1$")
    with pytest.raises(Transient) as fault:
        edge.ask(lambda repository: repository.issue(1))

    assert fault.value.retry_after == 60


def test_a_server_that_is_not_there_is_transient(edge):
    edge.api_url = "http://127.0.0.1:9"
    with pytest.raises(Transient):
        edge.ask(lambda repository: repository.issue(1))


def test_an_app_that_was_removed_or_suspended_is_told_apart(edge):
    edge.hub.suspend(edge.installation)
    with pytest.raises(Denied, match="suspended"):
        edge.ask(lambda repository: repository.issue(1))
    edge.hub.uninstall(edge.installation)
    with pytest.raises(Missing):
        edge.ask(lambda repository: repository.issue(1))


def test_a_repository_taken_out_of_the_installation_is_missing(edge):
    edge.hub.remove_from_installation(edge.installation, REPO)
    with pytest.raises(Missing, match="does not reach"):
        edge.ask(lambda repository: repository.issue(1))


def test_permissions_that_only_help_are_asked_for_again_without(hub):
    few = {"contents": "write", "issues": "write", "pull_requests": "write", "checks": "read"}
    with serve(hub) as server:
        edge = Edge(hub, server.api_url, server.url, few)

        async def work(repository):
            with pytest.raises(Denied):
                await repository.workflow_runs(edge.base)
            with pytest.raises(Denied, match="actions: write"):
                await repository.rerun_failed(1)
            return await repository.check_runs(edge.base)

        assert edge.ask(work) == []


def test_many_calls_at_once_share_one_token(edge):
    edge.ask(lambda repository: asyncio.gather(*(repository.issue(1) for _ in range(20))))
    minted = [request for request in edge.hub.requests if request.path.endswith("/access_tokens")]

    assert len(minted) == 1
