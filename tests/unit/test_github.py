"""The calls to GitHub: what is sent, what is made of the answer, and what a repetition does."""

import asyncio
import base64

import httpx
import pytest
import respx

from bot.errors import Denied, Missing, Moved, Rejected, Transient
from bot.github import Annotation, AppFacts, Comparison, FileChange, PermissionFacts
from bot.reports import Required
from tests.unit.github_bench import (
    API,
    COMMENT,
    COMMIT,
    ISSUE,
    OTHER,
    PULL,
    REPOSITORY,
    SHA,
    TREE,
    Bench,
    sent,
)

R = httpx.Response
BRANCH = "phasegate/issue-5"
REF = f"/git/ref/heads/{BRANCH}"
NEXT = {"link": f'<{API}/whatever?page=2>; rel="next", <{API}/whatever?page=2>; rel="last"'}


@pytest.fixture
def bench():
    with respx.mock(assert_all_called=False) as mock:
        yield Bench(mock)


def refused(*messages, status=422):
    return R(
        status, json={"message": "Validation Failed", "errors": [{"message": text} for text in messages]}
    )


def at(sha):
    return {"ref": f"refs/heads/{BRANCH}", "object": {"type": "commit", "sha": sha}}


# The App


def test_the_app_knows_its_own_user(bench):
    bench.mock.get(f"{API}/app").respond(json={"id": 1, "slug": "gate"})
    bench.mock.get(f"{API}/users/gate%5Bbot%5D").respond(json={"id": 99})

    assert bench.run(lambda github: github.app()) == AppFacts(1, "gate", "gate[bot]", 99)


def test_who_we_are_is_asked_once(bench):
    route = bench.mock.get(f"{API}/app").respond(json={"id": 1, "slug": "gate"})
    user = bench.mock.get(f"{API}/users/gate%5Bbot%5D").respond(json={"id": 99})

    async def work(github):
        await github.start()
        return await github.app()

    bench.run(work)

    assert route.call_count == 1
    assert "authorization" not in user.calls[0].request.headers


def test_an_own_user_that_is_hidden_is_asked_for_again_with_a_token(bench):
    bench.mock.get(f"{API}/app").respond(json={"id": 1, "slug": "gate"})
    user = bench.answers(bench.mock.get(f"{API}/users/gate%5Bbot%5D"), R(401), {"id": 99})
    bench.on("GET", "/issues/5", ISSUE)

    async def work(github):
        first = await github.app()
        await github.repository(7, "acme/shop", 42).issue(5)
        return first.bot_id, (await github.app()).bot_id

    assert bench.run(work) == (0, 99)
    assert user.calls[1].request.headers["authorization"] == "token ghs_1"


def test_a_start_outlives_an_outage_but_not_a_wrong_key(bench):
    bench.answers(bench.mock.get(f"{API}/app"), R(503))
    bench.run(lambda github: github.start())
    bench.answers(bench.mock.get(f"{API}/app"), R(401, json={"message": "could not be decoded"}))
    with pytest.raises(Denied, match="could not be decoded"):
        bench.run(lambda github: github.start())


@pytest.mark.parametrize(
    "name", ["acme", "acme/../evil", "../..", "acme/shop/issues", "acme/sh op", "acme/shop?x=1"]
)
def test_a_repository_name_that_could_lead_elsewhere_is_refused(bench, name):
    async def work(github):
        github.repository(7, name, 42)

    with pytest.raises(ValueError, match="not a repository name"):
        bench.run(work)


def delivery(number, guid, status, hour):
    return {"id": number, "guid": guid, "status_code": status, "delivered_at": f"2026-11-22T{hour:02}:00:00Z"}


def test_deliveries_of_which_no_try_arrived_are_found_over_all_pages(bench):
    first = [delivery(5, "e", 202, 9), delivery(4, "a", 204, 9), delivery(3, "c", 502, 8)]
    second = [delivery(2, "b", 0, 7), delivery(1, "a", 500, 7), delivery(0, "old", 500, 3)]
    link = {"link": f'<{API}/app/hook/deliveries?per_page=100&cursor=v1_3>; rel="next"'}
    route = bench.mock.get(f"{API}/app/hook/deliveries")
    bench.answers(route, R(200, json=first, headers=link), R(200, json=second, headers=link), [])

    assert bench.run(lambda github: github.missed_deliveries("2026-11-22T06:00:00Z")) == [2, 3]
    assert route.calls[1].request.url.params["cursor"] == "v1_3"
    assert route.calls[1].request.headers["authorization"].startswith("Bearer ey")


def test_a_delivery_is_asked_for_again(bench):
    route = bench.mock.post(f"{API}/app/hook/deliveries/3/attempts")
    bench.answers(route, R(502), R(202, json={}))
    bench.run(lambda github: github.redeliver(3))

    assert route.call_count == 2


# Issues


def test_an_issue_is_read_with_its_nulls_as_empty_words(bench):
    bench.on("GET", "/issues/5", ISSUE)
    issue = bench.ask(lambda repository: repository.issue(5))

    assert (issue.body, issue.labels, issue.author_id) == ("", ("agent-build", "old"), 11)
    assert not issue.is_pull_request


def test_an_issue_of_a_deleted_account_is_by_ghost(bench):
    bench.on("GET", "/issues/5", ISSUE | {"user": None, "pull_request": {}})
    issue = bench.ask(lambda repository: repository.issue(5))

    assert (issue.author_login, issue.author_id) == ("ghost", 0)
    assert issue.is_pull_request


def test_comments_are_read_to_the_last_page(bench):
    route = bench.on("GET", "/issues/5/comments", R(200, json=[COMMENT] * 100, headers=NEXT), [COMMENT])
    comments = bench.ask(lambda repository: repository.comments(5, since="2026-11-01T00:00:00Z"))

    assert len(comments) == 101
    assert dict(route.calls[1].request.url.params) == {
        "since": "2026-11-01T00:00:00Z",
        "per_page": "100",
        "page": "2",
    }


def test_a_page_that_is_full_without_a_link_is_followed_by_another(bench):
    route = bench.on("GET", "/issues/5/comments", [COMMENT] * 100, [])
    assert len(bench.ask(lambda repository: repository.comments(5))) == 100
    assert route.call_count == 2


def test_a_list_without_end_is_rejected(bench):
    bench.on("GET", "/issues/5/comments", R(200, json=[COMMENT], headers=NEXT))
    with pytest.raises(Rejected, match="too many pages"):
        bench.ask(lambda repository: repository.comments(5))


def test_a_posted_comment_says_through_which_app(bench):
    bench.on("POST", "/issues/5/comments", R(201, json=COMMENT))
    comment = bench.ask(lambda repository: repository.comment(5, "hello"))

    assert (comment.id, comment.app_id, comment.author_type, comment.node_id) == (9, 1, "Bot", "IC_9")


def test_an_edit_may_be_repeated(bench):
    edit = bench.on("PATCH", "/issues/comments/9", R(502), COMMENT)
    bench.ask(lambda repository: repository.edit_comment(9, "new"))

    assert sent(edit) == {"body": "new"}
    assert edit.call_count == 2


def test_reactions_may_be_repeated(bench):
    comment = bench.on("POST", "/issues/comments/9/reactions", R(502), R(201, json={"id": 1}))
    bench.ask(lambda repository: repository.react(9, "eyes"))

    assert sent(comment) == {"content": "eyes"}
    assert comment.call_count == 2


# People and files


def test_a_permission_holds_the_role_and_the_id(bench):
    answer = {"permission": "write", "role_name": "maintain", "user": {"id": 11}}
    bench.on("GET", "/collaborators/ann/permission", answer)
    assert bench.ask(lambda repository: repository.permission("ann")) == PermissionFacts(
        "write", "maintain", 11
    )


@pytest.mark.parametrize("status", [404, 422, 400])
def test_an_account_that_is_no_person_may_do_nothing(bench, status):
    bench.on("GET", "/collaborators/some%5Bbot%5D/permission", R(status, json={"message": "is not a user"}))
    assert bench.ask(lambda repository: repository.permission("some[bot]")) == PermissionFacts(
        "none", "none", 0
    )


def test_a_permission_that_cannot_be_read_is_not_taken_for_none(bench):
    bench.on("GET", "/collaborators/ann/permission", R(503))
    with pytest.raises(Transient):
        bench.ask(lambda repository: repository.permission("ann"))


def test_a_file_is_read_as_text(bench):
    content = base64.encodebytes("größer\n".encode()).decode()
    answer = {"type": "file", "encoding": "base64", "content": content}
    route = bench.on("GET", "/contents/.github/phase%20gate.yml", answer)

    assert bench.ask(lambda repository: repository.file(".github/phase gate.yml", "main")) == "größer\n"
    assert route.calls[0].request.url.params["ref"] == "main"


@pytest.mark.parametrize("answer", [R(404), [{"name": "a"}], {"type": "submodule"}])
def test_what_is_no_file_is_none(bench, answer):
    bench.on("GET", "/contents/a", answer)
    assert bench.ask(lambda repository: repository.file("a", "main")) is None


def test_a_file_too_large_for_the_api_is_rejected(bench):
    bench.on("GET", "/contents/a", {"type": "file", "encoding": "none", "content": ""})
    with pytest.raises(Rejected, match="too large"):
        bench.ask(lambda repository: repository.file("a", "main"))


@pytest.mark.parametrize("path", ["", "/etc/passwd", "a/../b", "a//b", "./a", ".."])
def test_a_path_that_leaves_the_repository_is_refused(bench, path):
    with pytest.raises(ValueError, match="not a path"):
        bench.ask(lambda repository: repository.file(path, "main"))


@pytest.mark.parametrize(
    ("answer", "found"), [(R(404), False), ([{"name": "README.md"}], False), ([{"name": "ci.yml"}], True)]
)
def test_workflow_files_are_looked_for_at_the_commit(bench, answer, found):
    bench.on("GET", "/contents/.github/workflows", answer, params={"ref": SHA})
    assert bench.ask(lambda repository: repository.has_workflows(SHA)) is found


# Branches


def test_a_branch_that_is_not_there_has_no_head(bench):
    bench.on("GET", REF, at(SHA), R(404))

    async def work(repository):
        return await repository.branch_head(BRANCH), await repository.branch_head(BRANCH)

    assert bench.ask(work) == (SHA, None)


def test_a_branch_made_by_a_call_whose_answer_was_lost_is_fine(bench):
    bench.on("POST", "/git/refs", R(502), refused("Reference already exists"))
    bench.on("GET", REF, at(SHA))
    bench.ask(lambda repository: repository.create_branch(BRANCH, SHA))


def test_a_branch_of_that_name_elsewhere_has_moved(bench):
    bench.on("POST", "/git/refs", refused("Reference already exists"))
    bench.on("GET", REF, at(OTHER))
    with pytest.raises(Moved):
        bench.ask(lambda repository: repository.create_branch(BRANCH, SHA))


def test_a_branch_that_cannot_be_made_is_rejected(bench):
    bench.on("POST", "/git/refs", refused("Object does not exist"))
    bench.on("GET", REF, R(404))
    with pytest.raises(Rejected, match="Object does not exist"):
        bench.ask(lambda repository: repository.create_branch(BRANCH, SHA))


def move(repository):
    return repository.move_branch(BRANCH, before=SHA, after=OTHER, force=True)


def test_a_branch_moves_only_from_where_it_must_be(bench):
    bench.on("GET", "", REPOSITORY)
    route = bench.graphql({"data": {"updateRefs": {}}})
    bench.ask(move)

    update = {"name": f"refs/heads/{BRANCH}", "beforeOid": SHA, "afterOid": OTHER, "force": True}
    assert sent(route)["variables"] == {"input": {"repositoryId": "R_42", "refUpdates": [update]}}


def test_the_repository_is_asked_once_for_its_name_in_graphql(bench):
    facts = bench.on("GET", "", REPOSITORY)
    bench.graphql({"data": {"updateRefs": {}}})

    async def work(repository):
        await move(repository)
        await move(repository)
        return await repository.facts()

    assert bench.ask(work).default_branch == "main"
    assert facts.call_count == 2


def test_a_move_whose_answer_was_lost_is_fine(bench):
    bench.on("GET", "", REPOSITORY)
    bench.on("GET", REF, at(OTHER))
    route = bench.graphql(R(502), {"errors": [{"message": "expected oid"}]})
    bench.ask(move)

    assert route.call_count == 2


@pytest.mark.parametrize("head", [at("d" * 40), R(404)])
def test_a_branch_that_a_person_moved_or_deleted_is_left_alone(bench, head):
    bench.on("GET", "", REPOSITORY)
    bench.on("GET", REF, head)
    bench.graphql({"errors": [{"message": "expected oid"}]})
    with pytest.raises(Moved):
        bench.ask(move)


@pytest.mark.parametrize(("kind", "error"), [("UNPROCESSABLE", Rejected), ("FORBIDDEN", Denied)])
def test_a_move_that_a_rule_refuses_keeps_the_words_of_github(bench, kind, error):
    bench.on("GET", "", REPOSITORY)
    bench.on("GET", REF, at(SHA))
    bench.graphql({"errors": [{"type": kind, "message": "Cannot force-push to this branch"}]})
    with pytest.raises(error, match="Cannot force-push"):
        bench.ask(move)


def test_a_kept_ref_that_exists_is_pointed_anew(bench):
    bench.on("POST", "/git/refs", refused("Reference already exists"))
    patch = bench.on("PATCH", "/git/refs/phasegate/12/red-1", {})
    bench.ask(lambda repository: repository.point_ref("refs/phasegate/12/red-1", SHA))

    assert sent(patch) == {"sha": SHA, "force": True}


def test_a_kept_ref_that_is_refused_stops_nothing(bench):
    bench.on("POST", "/git/refs", R(403))
    bench.ask(lambda repository: repository.point_ref("refs/phasegate/12/red-1", SHA))


def test_only_refs_of_our_own_are_pointed(bench):
    with pytest.raises(ValueError, match="not a ref of ours"):
        bench.ask(lambda repository: repository.point_ref("refs/heads/main", SHA))


# Commits


def make(repository, files, **changes):
    asked = {"parent": OTHER, "base_tree": TREE, "message": "Add", "expected_tree": "e" * 40} | changes
    return repository.commit_files(files=files, **asked)


def test_a_commit_is_made_of_text_inline_and_blobs_for_the_rest(bench):
    blob = bench.on("POST", "/git/blobs", R(201, json={"sha": "f" * 40}))
    tree = bench.on("POST", "/git/trees", R(201, json={"sha": "e" * 40}))
    commit = bench.on("POST", "/git/commits", R(201, json={"sha": SHA, "verification": {"verified": True}}))
    files = {
        "bin.dat": FileChange("100644", b"a\0b"),
        "empty": FileChange("100644", b""),
        "gone": None,
        "link": FileChange("120000", b"run"),
        "run": FileChange("100755", "größer".encode()),
    }

    assert bench.ask(lambda repository: make(repository, files)) == SHA
    assert [sent(blob, nth)["content"] for nth in (0, 1)] == ["YQBi", ""]
    assert sent(tree) == {
        "base_tree": TREE,
        "tree": [
            {"path": "bin.dat", "mode": "100644", "type": "blob", "sha": "f" * 40},
            {"path": "empty", "mode": "100644", "type": "blob", "sha": "f" * 40},
            {"path": "gone", "mode": "100644", "type": "blob", "sha": None},
            {"path": "link", "mode": "120000", "type": "blob", "content": "run"},
            {"path": "run", "mode": "100755", "type": "blob", "content": "größer"},
        ],
    }
    assert sent(commit) == {"message": "Add", "tree": "e" * 40, "parents": [OTHER]}


def test_large_text_and_latin_text_go_up_as_blobs(bench):
    blob = bench.on("POST", "/git/blobs", R(201, json={"sha": "f" * 40}))
    tree = bench.on("POST", "/git/trees", R(201, json={"sha": "e" * 40}))
    bench.on("POST", "/git/commits", R(201, json={"sha": SHA}))
    large = {f"{number:02}": FileChange("100644", b"x" * 128 * 1024) for number in range(17)}
    files = {"+": FileChange("100644", "größer".encode("latin-1")), "a": FileChange("100644", b"x" * 200_000)}
    bench.ask(lambda repository: make(repository, files | large))

    assert blob.call_count == 3
    assert [entry["path"] for entry in sent(tree)["tree"] if "sha" in entry] == ["+", "16", "a"]


def test_a_tree_other_than_the_expected_one_becomes_no_commit(bench):
    bench.on("POST", "/git/trees", R(201, json={"sha": "d" * 40}))
    commit = bench.on("POST", "/git/commits", R(201, json={"sha": SHA}))
    with pytest.raises(Rejected, match=r"where e+ was expected"):
        bench.ask(lambda repository: make(repository, {"a": None}))

    assert commit.call_count == 0


def test_a_short_sha_is_never_sent(bench):
    with pytest.raises(ValueError, match="not a full commit SHA"):
        bench.ask(lambda repository: make(repository, {}, base_tree="abc"))


def test_the_commits_of_a_branch_are_found_with_their_trailers(bench):
    compare = f"/compare/{OTHER}...phasegate%2Fissue-5"
    newest = COMMIT | {"sha": "d" * 40, "author": None}
    bench.on("GET", compare, R(200, json={"commits": [COMMIT] * 100}, headers=NEXT), {"commits": [newest]})
    commits = bench.ask(lambda repository: repository.commits(BRANCH, OTHER))

    assert len(commits) == 101
    assert (commits[0].author_login, commits[0].tree, commits[0].parents) == ("gate[bot]", TREE, (OTHER,))
    assert (commits[-1].sha, commits[-1].author_login, commits[-1].author_id) == ("d" * 40, "", 0)
    assert "Phasegate-Attempt: 3" in commits[0].message


def test_a_commit_and_a_comparison_are_read(bench):
    bench.on("GET", f"/commits/{SHA}", COMMIT)
    answer = {"status": "ahead", "ahead_by": 2, "behind_by": 0, "merge_base_commit": {"sha": OTHER}}
    bench.on("GET", f"/compare/main...{SHA}", answer)

    async def work(repository):
        return await repository.commit(SHA), await repository.compare("main", SHA)

    commit, comparison = bench.ask(work)

    assert commit.sha == SHA
    assert comparison == Comparison("ahead", 2, 0, OTHER)


# Pull requests


def open_pull(repository, **changes):
    asked = {"branch": BRANCH, "base": "main", "title": "Add login", "body": "", "draft": True} | changes
    return repository.open_pull(**asked)


def test_a_pull_request_is_opened_as_a_draft(bench):
    route = bench.on("POST", "/pulls", R(201, json=PULL))
    pull = bench.ask(open_pull)

    assert (pull.number, pull.draft, pull.mergeable, pull.head_ref) == (6, True, None, BRANCH)
    assert sent(route)["draft"] is True


def test_where_drafts_are_not_supported_the_title_says_so(bench):
    route = bench.on(
        "POST", "/pulls", refused("Draft pull requests are not supported in this repository."), PULL
    )
    bench.ask(open_pull)

    assert (sent(route)["draft"], sent(route)["title"]) == (False, "WIP: Add login")


def test_a_pull_request_that_exists_is_returned(bench):
    bench.on("POST", "/pulls", R(502), refused(f"A pull request already exists for acme:{BRANCH}."))
    bench.on("GET", "/pulls", [PULL])
    assert bench.ask(open_pull).number == 6


def test_a_branch_that_github_has_not_heard_of_everywhere_is_tried_again_later(bench):
    fault = {"message": "Validation Failed", "errors": [{"field": "head", "code": "invalid"}]}
    bench.on("POST", "/pulls", R(422, json=fault))
    bench.on("GET", "/pulls", [])
    bench.on("GET", REF, at(SHA))
    with pytest.raises(Transient):
        bench.ask(open_pull)


def test_a_pull_request_without_commits_is_rejected(bench):
    bench.on("POST", "/pulls", refused("No commits between main and phasegate/issue-5"))
    bench.on("GET", "/pulls", [])
    with pytest.raises(Rejected, match="No commits between"):
        bench.ask(open_pull)


def test_the_pull_request_of_a_branch_is_the_open_one_and_of_this_repository(bench):
    closed = PULL | {"number": 8, "state": "closed", "merged_at": "2026-11-01T10:00:00Z"}
    fork = PULL | {"number": 9, "head": PULL["head"] | {"repo": {"id": 43}}}
    gone = PULL | {"number": 10, "head": PULL["head"] | {"repo": None}}
    other = PULL | {"number": 11, "head": PULL["head"] | {"ref": "other"}}
    route = bench.on("GET", "/pulls", [closed, fork, gone, other, PULL])

    assert bench.ask(lambda repository: repository.pull_of(BRANCH, state="all")).number == 6
    assert route.calls[0].request.url.params["head"] == f"acme:{BRANCH}"


def test_a_merged_pull_request_is_known_from_a_list_too(bench):
    listed = {key: value for key, value in PULL.items() if key not in ("merged", "mergeable")}
    bench.on("GET", "/pulls", [listed | {"state": "closed", "merged_at": "2026-11-01T10:00:00Z"}])
    assert bench.ask(lambda repository: repository.pull_of(BRANCH, state="all")).merged


def test_a_pull_request_is_read_and_edited(bench):
    bench.on("GET", "/pulls/6", PULL | {"mergeable": False})
    route = bench.on("PATCH", "/pulls/6", PULL)

    async def work(repository):
        await repository.edit_pull(6, body="guide")
        return await repository.pull(6)

    assert bench.ask(work).mergeable is False
    assert sent(route) == {"body": "guide"}


def test_a_draft_is_made_ready(bench):
    bench.graphql({"data": {"markPullRequestReadyForReview": {"pullRequest": {"isDraft": False}}}})
    assert bench.ask(lambda repository: repository.ready_pull("PR_6")) is True


@pytest.mark.parametrize(("draft", "ready"), [(True, False), (False, True)])
def test_where_making_it_ready_is_refused_the_pull_request_is_looked_at(bench, draft, ready):
    refusal = {"errors": [{"type": "FORBIDDEN", "message": "Resource not accessible by integration"}]}
    bench.graphql(refusal, {"data": {"node": {"isDraft": draft}}})
    assert bench.ask(lambda repository: repository.ready_pull("PR_6")) is ready


# Checks

RUN = {
    "id": 1,
    "name": "test",
    "head_sha": SHA,
    "app": {"id": 15368},
    "status": "completed",
    "conclusion": "startup_failure",
    "started_at": None,
    "check_suite": {"id": 3},
    "html_url": None,
    "details_url": "https://ci.example/1",
    "output": {"title": None, "summary": "2 failed"},
}


def test_check_runs_pass_with_words_that_nobody_knows(bench):
    runs = [RUN, RUN | {"id": 2, "status": "sleeping", "conclusion": None}]
    bench.on("GET", f"/commits/{SHA}/check-runs", {"total_count": 2, "check_runs": runs})
    first, second = bench.ask(lambda repository: repository.check_runs(SHA))

    assert (first.app_id, first.conclusion, first.suite_id) == (15368, "startup_failure", 3)
    assert (first.url, first.summary, first.title, first.started_at) == (
        "https://ci.example/1",
        "2 failed",
        "",
        "",
    )
    assert second.status == "sleeping"


@pytest.mark.parametrize(("total", "error"), [(2, Transient), (1500, Rejected)])
def test_a_list_that_was_cut_is_never_taken_for_all(bench, total, error):
    bench.on("GET", f"/commits/{SHA}/check-runs", {"total_count": total, "check_runs": [RUN]})
    with pytest.raises(error, match=f"1 of {total}"):
        bench.ask(lambda repository: repository.check_runs(SHA))


def test_statuses_and_workflow_runs_of_the_commit_are_read(bench):
    status = {
        "id": 4,
        "context": "ci/x",
        "state": "pending",
        "creator": None,
        "created_at": "2026-11-01T10:00:00Z",
    }
    run = {
        "id": 5,
        "name": "CI",
        "head_sha": SHA,
        "status": None,
        "event": "push",
        "run_attempt": 2,
        "check_suite_id": 3,
        "html_url": "https://github.com/acme/shop/actions/runs/5",
        "created_at": "2026-11-01T10:00:00Z",
        "workflow_id": 8,
    }
    bench.on("GET", f"/commits/{SHA}/statuses", [status])
    runs = {"total_count": 2, "workflow_runs": [run, run | {"head_sha": OTHER}]}
    bench.on("GET", "/actions/runs", runs, params={"head_sha": SHA})

    async def work(repository):
        return await repository.statuses(SHA), await repository.workflow_runs(SHA)

    (found,), (ran,) = bench.ask(work)

    assert (found.context, found.creator_id, found.url) == ("ci/x", 0, "")
    assert (ran.status, ran.conclusion, ran.run_attempt, ran.suite_id) == ("queued", None, 2, 3)


def test_the_app_of_a_status_is_found_by_its_bot_and_asked_for_once(bench):
    """A private App of somebody else is not shown to us."""
    when = {"created_at": "2026-11-01T10:00:00Z", "state": "success"}
    creators = [
        {"login": "ci-bot[bot]", "id": 8, "type": "Bot"},
        {"login": "secret[bot]", "id": 9, "type": "Bot"},
        {"login": "ann", "id": 11, "type": "User"},
    ]
    rows = [{"id": n, "context": f"ci/{n}", "creator": creator, **when} for n, creator in enumerate(creators)]
    bench.on("GET", f"/commits/{SHA}/statuses", rows, rows)
    public = bench.mock.get(f"{API}/apps/ci-bot").respond(json={"id": 77})
    private = bench.mock.get(f"{API}/apps/secret").respond(404, json={"message": "Not Found"})

    async def work(repository):
        return [await repository.statuses(SHA) for _ in range(2)]

    first, second = bench.ask(work)

    assert [one.app_id for one in first] == [77, 0, 0]
    assert second == first
    assert (len(public.calls), len(private.calls)) == (1, 1)


@pytest.mark.parametrize(("status", "error"), [(403, Denied), (404, Missing)])
def test_workflow_runs_that_may_not_be_read_are_an_error(bench, status, error):
    bench.on("GET", "/actions/runs", R(status, json={"message": "no"}))
    with pytest.raises(error):
        bench.ask(lambda repository: repository.workflow_runs(SHA))


RULES = [
    {"type": "deletion"},
    {
        "type": "required_status_checks",
        "parameters": {
            "required_status_checks": [{"context": "test", "integration_id": 15368}, {"context": "lint"}]
        },
    },
]


def protected(**checks):
    return {"protected": True, "protection": {"enabled": True, "required_status_checks": checks}}


def test_required_checks_come_from_rules_and_classic_protection(bench):
    bench.on("GET", "/rules/branches/release%2F1", RULES)
    checks = [
        {"context": "lint", "app_id": -1},
        {"context": "docs", "app_id": 7},
        {"context": "lint", "app_id": None},
    ]
    bench.on("GET", "/branches/release%2F1", protected(enforcement_level="everyone", checks=checks))
    found = bench.ask(lambda repository: repository.required_checks("release/1"))

    assert found == [Required("test", 15368), Required("lint"), Required("docs", 7)]


def test_protection_that_is_off_or_hidden_requires_nothing(bench):
    """Classic protection is shown with its branch; the rest of it is for those who administer the repository."""
    bench.on("GET", "/rules/branches/main", [])
    off = protected(enforcement_level="off", checks=[{"context": "lint"}])
    bench.on("GET", "/branches/main", off, *[{"protected": True}] * 3)
    bench.on(
        "GET",
        "/branches/main/protection/required_status_checks",
        R(403),
        R(404),
        {"contexts": ["old"]},
    )

    async def work(repository):
        return [await repository.required_checks("main") for _ in range(4)]

    assert bench.ask(work) == [[], [], [], [Required("old")]]


def test_a_plan_without_rules_has_none(bench):
    """GitHub says so for a private repository that nobody pays for."""
    words = "Upgrade to GitHub Pro or make this repository public to enable this feature."
    bench.on("GET", "/rules/branches/main", R(403, json={"message": words}))
    bench.on("GET", "/branches/main", {"protected": False})

    assert bench.ask(lambda repository: repository.required_checks("main")) == []


def test_a_server_that_knows_no_rules_has_none(bench):
    """Older ones of GitHub Enterprise answer 404, whatever the branch."""
    bench.on("GET", "/rules/branches/main", R(404, json={"message": "Not Found"}))
    bench.on("GET", "/branches/main", {"protected": False})

    assert bench.ask(lambda repository: repository.required_checks("main")) == []


def test_rules_that_may_not_be_read_are_not_taken_for_none(bench):
    bench.on("GET", "/rules/branches/main", R(403, json={"message": "no"}))
    with pytest.raises(Denied):
        bench.ask(lambda repository: repository.required_checks("main"))


@pytest.mark.parametrize(("status", "error"), [(403, Denied), (404, Missing)])
def test_a_base_branch_that_may_not_be_read_is_not_taken_for_unprotected(bench, status, error):
    bench.on("GET", "/rules/branches/main", [])
    bench.on("GET", "/branches/main", R(status, json={"message": "no"}))
    with pytest.raises(error):
        bench.ask(lambda repository: repository.required_checks("main"))


def test_rules_that_cannot_be_read_now_are_not_taken_for_none(bench):
    bench.on("GET", "/rules/branches/main", R(503))
    with pytest.raises(Transient):
        bench.ask(lambda repository: repository.required_checks("main"))


def test_annotations_are_read(bench):
    raw = {"path": "a.py", "start_line": 3, "annotation_level": "failure", "message": "no", "title": None}
    bench.on("GET", "/check-runs/1/annotations", [raw])
    assert bench.ask(lambda repository: repository.annotations(1)) == [
        Annotation("a.py", 3, "failure", "no", "")
    ]


def test_the_end_of_a_log_is_fetched_without_our_token(bench):
    bench.on("GET", "/actions/jobs/1/logs", R(302, headers={"location": "https://logs.example/1?sig=x"}))
    logs = bench.mock.get("https://logs.example/1?sig=x").respond(text="x" * 70_000 + "the end")
    text = bench.ask(lambda repository: repository.job_log(1))

    assert len(text) == 65536
    assert text.endswith("the end")
    assert "authorization" not in logs.calls[0].request.headers


def test_a_log_in_the_answer_itself_is_cut_too(bench):
    bench.on("GET", "/actions/jobs/1/logs", R(200, text="x" * 70_000))
    assert len(bench.ask(lambda repository: repository.job_log(1))) == 65536


@pytest.mark.parametrize(
    ("location", "answer", "error"),
    [
        ("http://logs.example/1", R(200), Rejected),
        ("http://127.0.0.1/1", R(200), Rejected),
        ("https://logs.example/1", R(410), Missing),
        ("https://logs.example/1", R(403), Transient),
        ("https://logs.example/1", httpx.ReadTimeout("slow"), Transient),
    ],
)
def test_a_log_that_is_gone_or_elsewhere_is_an_error(bench, location, answer, error):
    bench.on("GET", "/actions/jobs/1/logs", R(302, headers={"location": location}))
    bench.mock.get(location).mock(side_effect=[answer])
    with pytest.raises(error):
        bench.ask(lambda repository: repository.job_log(1))


def test_a_rerun_takes_a_token_for_actions_alone(bench):
    bench.on("POST", "/actions/runs/5/rerun-failed-jobs", R(201, json={}))
    bench.ask(lambda repository: repository.rerun_failed(5))

    assert sent(bench.mint)["permissions"] == {"metadata": "read", "actions": "write"}


def test_calls_from_many_tasks_share_one_token(bench):
    bench.on("GET", "/pulls/6", PULL)
    bench.on("GET", "/issues/5", ISSUE)

    async def work(github):
        handles = [github.repository(7, "acme/shop", 42) for _ in range(3)]
        return await asyncio.gather(*(handle.issue(5) for handle in handles), handles[0].pull(6))

    bench.run(work)

    assert bench.mint.call_count == 1
