"""REST: pull requests."""

from localhub.merges import merge_branch, merge_pull
from localhub.payloads import review_json
from localhub.payloads_git import commit_json, file_json
from localhub.payloads_pulls import pull_json, pull_of, simple_pull_json
from localhub.pulls import edit_pull, open_pull, set_pull_state
from localhub.records import Issue
from localhub.refusals import Refusal, invalid, unprocessable
from localhub.rest import Answer, Call, Routes
from localhub.tokens import NOBODY

routes = Routes()
READ = "pull_requests:read"
WRITE = "pull_requests:write"


def _pull(call: Call) -> Issue:
    issue = call.state.issue(call.repository, call.number)
    pull_of(issue)
    return issue


@routes.on("GET", "/repos/{owner}/{repo}/pulls", READ)
def list_pulls(call: Call) -> Answer:
    """List pull requests, newest first, by `state`, `head` (`owner:branch`) and `base`."""
    wanted, head, base = call.query.get("state", "open"), call.query.get("head", ""), call.query.get("base")
    pulls = [issue for issue in reversed(call.repository.pulls) if wanted in ("all", issue.state)]
    if base:
        pulls = [issue for issue in pulls if pull_of(issue).base_ref == base]
    # GitHub ignores a head that does not name its owner.
    if ":" in head:
        owner, _, branch = head.partition(":")
        mine = owner.lower() == call.repository.owner.login.lower()
        pulls = [issue for issue in pulls if mine and issue.head_ref == branch]
    return call.listing(pulls, lambda issue: simple_pull_json(call.state, call.repository, issue))


@routes.on("POST", "/repos/{owner}/{repo}/pulls", WRITE)
def create_pull(call: Call) -> Answer:
    """Open a pull request."""
    if call.caller is NOBODY:
        raise Refusal(401, "Requires authentication")
    issue = open_pull(call.state, call.repository, call.json, call.actor)
    return Answer(pull_json(call.state, call.repository, issue), 201)


@routes.on("GET", "/repos/{owner}/{repo}/pulls/{number}", READ)
def get_pull(call: Call) -> Answer:
    """Return a pull request; `mergeable` is null until GitHub has computed it."""
    return Answer(pull_json(call.state, call.repository, _pull(call), asked=True))


@routes.on("PATCH", "/repos/{owner}/{repo}/pulls/{number}", WRITE)
def update_pull(call: Call) -> Answer:
    """Change title, body or state."""
    issue, wanted = _pull(call), call.json
    edit_pull(call.state, call.repository, issue, wanted.get("title"), wanted.get("body"), call.actor)
    if "state" in wanted:
        set_pull_state(call.state, call.repository, issue, wanted["state"], call.actor)
    return Answer(pull_json(call.state, call.repository, issue))


@routes.on("GET", "/repos/{owner}/{repo}/pulls/{number}/files", READ)
def list_files(call: Call) -> Answer:
    """List the files that a pull request changes."""
    pull, objects = pull_of(_pull(call)), call.repository.objects
    fork = objects.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha
    changes = objects.diff(fork, pull.head_sha)[:3000]
    return call.listing(changes, lambda change: file_json(call.state, call.repository, pull.head_sha, change))


@routes.on("GET", "/repos/{owner}/{repo}/pulls/{number}/commits", READ)
def list_commits(call: Call) -> Answer:
    """List the commits of a pull request, oldest first, at most 250."""
    pull = pull_of(_pull(call))
    shas = call.repository.objects.between(pull.base_sha, pull.head_sha)
    return call.listing(shas, lambda sha: commit_json(call.state, call.repository, call.commit(sha)))


@routes.on("GET", "/repos/{owner}/{repo}/pulls/{number}/reviews", READ)
def list_reviews(call: Call) -> Answer:
    """List the reviews of a pull request."""
    issue = _pull(call)
    return call.listing(issue.reviews, lambda review: review_json(call.state, call.repository, issue, review))


@routes.on("GET", "/repos/{owner}/{repo}/pulls/{number}/comments", READ)
def list_review_comments(call: Call) -> Answer:
    """List the comments on lines of a pull request; there are none here."""
    _pull(call)
    return Answer([])


@routes.on("PUT", "/repos/{owner}/{repo}/pulls/{number}/merge", "contents:write")
def merge(call: Call) -> Answer:
    """Merge a pull request with a merge commit, if its head is still `sha` where that is given."""
    issue = _pull(call)
    expected = call.json.get("sha")
    if expected and expected != issue.head_sha:
        raise Refusal(409, "Head branch was modified. Review and try the merge again.")
    message = call.json.get("commit_message") or ""
    sha = merge_pull(call.state, call.repository, issue, call.actor, message, call.permissions)
    return Answer({"sha": sha, "merged": True, "message": "Pull Request successfully merged"})


@routes.on("PUT", "/repos/{owner}/{repo}/pulls/{number}/update-branch", WRITE)
def update_branch(call: Call) -> Answer:
    """Merge the base into a pull request's branch, if its head is still `expected_head_sha` where given."""
    issue = _pull(call)
    pull, objects = pull_of(issue), call.repository.objects
    expected = call.json.get("expected_head_sha")
    if expected and expected != pull.head_sha:
        raise unprocessable("expected head sha didn’t match current head ref.")
    base = objects.resolve(f"refs/heads/{pull.base_ref}")
    if not base:
        raise invalid("PullRequest", "base")
    message = f"Merge branch '{pull.base_ref}' into {pull.head_ref}"
    if not merge_branch(
        call.state, call.repository, pull.head_ref, base, message, call.actor, call.permissions
    ):
        raise unprocessable("There are no new commits on the base branch.")
    url = f"{call.state.url}/{call.repository.full_name}/pull/{issue.number}"
    return Answer({"message": "Updating pull request branch.", "url": url}, 202)
