"""Pull requests as GitHub's JSON, and the lazy answer to whether one can be merged."""

from localhub.payloads import app_json, association, label_json, repository_json, rollup_json, user_json
from localhub.records import Issue, Json, Pull, Repository
from localhub.refusals import not_found
from localhub.state import State, node_id, stamp


def pull_of(issue: Issue) -> Pull:
    """Return the pull-request part of an issue; refuses with 404 when it is none."""
    if not issue.pull:
        raise not_found()
    return issue.pull


def mergeable(state: State, repository: Repository, pull: Pull, asked: bool) -> bool | None:
    """Return whether head merges cleanly; None until it was `asked` for once, as GitHub computes it then."""
    if pull.merged or state.faults.mergeable_unknown:
        return None
    base = repository.objects.resolve(f"refs/heads/{pull.base_ref}")
    if not base:
        return None
    pair = (base, pull.head_sha)
    if pull.asked_mergeable != pair:
        pull.asked_mergeable = pair if asked else pull.asked_mergeable
        return None
    return repository.objects.merge_tree(base, pull.head_sha) is not None


def _end_json(state: State, repository: Repository, ref: str, sha: str) -> Json:
    return {
        "label": f"{repository.owner.login}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": user_json(state, repository.owner),
        "repo": repository_json(state, repository),
    }


def short_pull_json(state: State, repository: Repository, issue: Issue) -> Json:
    """Return a pull request as check runs and suites mention it."""
    pull = pull_of(issue)
    api = f"{state.api_url}/repos/{repository.full_name}"
    repo = {"id": repository.id, "url": api, "name": repository.name}
    return {
        "id": issue.id,
        "number": issue.number,
        "url": f"{api}/pulls/{issue.number}",
        "head": {"ref": pull.head_ref, "sha": pull.head_sha, "repo": repo},
        "base": {"ref": pull.base_ref, "sha": pull.base_sha, "repo": repo},
    }


def simple_pull_json(state: State, repository: Repository, issue: Issue) -> Json:
    """Return a pull request as lists show it, without what has to be computed."""
    pull = pull_of(issue)
    api = f"{state.api_url}/repos/{repository.full_name}"
    url, page = f"{api}/pulls/{issue.number}", f"{state.url}/{repository.full_name}/pull/{issue.number}"
    links = {
        "self": url,
        "html": page,
        "issue": f"{api}/issues/{issue.number}",
        "comments": f"{api}/issues/{issue.number}/comments",
        "review_comments": f"{url}/comments",
        "review_comment": f"{api}/pulls/comments{{/number}}",
        "commits": f"{url}/commits",
        "statuses": f"{api}/statuses/{pull.head_sha}",
    }
    return {
        "id": issue.id,
        "node_id": node_id("PR", issue.id),
        "url": url,
        "html_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "issue_url": links["issue"],
        "commits_url": links["commits"],
        "review_comments_url": links["review_comments"],
        "review_comment_url": links["review_comment"],
        "comments_url": links["comments"],
        "statuses_url": links["statuses"],
        "number": issue.number,
        "state": issue.state,
        "locked": False,
        "title": issue.title,
        "user": user_json(state, issue.author),
        "body": issue.body,
        "labels": [label_json(state, repository, repository.labels[name.lower()]) for name in issue.labels],
        "milestone": None,
        "active_lock_reason": None,
        "created_at": stamp(issue.created_at),
        "updated_at": stamp(issue.updated_at),
        "closed_at": stamp(issue.closed_at),
        "merged_at": stamp(pull.merged_at),
        "merge_commit_sha": pull.merge_sha,
        "assignee": None,
        "assignees": [],
        "requested_reviewers": [],
        "requested_teams": [],
        "head": _end_json(state, repository, pull.head_ref, pull.head_sha),
        "base": _end_json(state, repository, pull.base_ref, pull.base_sha),
        "_links": {name: {"href": link} for name, link in links.items()},
        "author_association": association(repository, issue.author),
        "auto_merge": None,
        "draft": pull.draft,
        "performed_via_github_app": app_json(state, issue.app) if issue.app else None,
        "reactions": rollup_json(f"{links['issue']}/reactions", issue.reactions),
    }


def pull_json(state: State, repository: Repository, issue: Issue, asked: bool = False) -> Json:
    """Return a pull request in full, with its size; `asked` makes GitHub compute whether it can be merged."""
    pull = pull_of(issue)
    objects = repository.objects
    fork_point = objects.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha
    changes = objects.diff(fork_point, pull.head_sha)
    clean = mergeable(state, repository, pull, asked)
    words = {None: "unknown", True: "draft" if pull.draft else "clean", False: "dirty"}
    return simple_pull_json(state, repository, issue) | {
        "merged": pull.merged,
        "mergeable": clean,
        "rebaseable": clean,
        "mergeable_state": words[clean],
        "merged_by": user_json(state, pull.merged_by) if pull.merged_by else None,
        "comments": len(issue.comments),
        "review_comments": 0,
        "maintainer_can_modify": False,
        "commits": len(objects.between(pull.base_sha, pull.head_sha)),
        "additions": sum(change.additions for change in changes),
        "deletions": sum(change.deletions for change in changes),
        "changed_files": len(changes),
    }
