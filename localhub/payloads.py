"""Accounts, Apps, repositories, issues, comments and reactions as GitHub's JSON."""

from collections import Counter

from localhub.records import (
    App,
    Comment,
    Installation,
    Issue,
    Json,
    Label,
    Reaction,
    Repository,
    Review,
    User,
)
from localhub.state import State, node_id, stamp

REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")

_REPOSITORY_URLS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}

_USER_URLS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}


def user_json(state: State, user: User) -> Json:
    """Return an account in its short form (`simple-user`)."""
    url = f"{state.api_url}/users/{user.login}"
    page = f"/apps/{user.login.removesuffix('[bot]')}" if user.type == "Bot" else f"/{user.login}"
    return {
        "login": user.login,
        "id": user.id,
        "node_id": node_id("U", user.id),
        "avatar_url": f"{state.url}/avatars/{user.id}",
        "gravatar_id": "",
        "url": url,
        "html_url": state.url + page,
        **{key: url + tail for key, tail in _USER_URLS.items()},
        "type": user.type,
        "user_view_type": "public",
        "site_admin": False,
    }


def app_json(state: State, app: App) -> Json:
    """Return an App (`integration`)."""
    return {
        "id": app.id,
        "client_id": app.client_id,
        "slug": app.slug,
        "node_id": node_id("A", app.id),
        "owner": user_json(state, app.owner),
        "name": app.slug,
        "description": "",
        "external_url": f"{state.url}/apps/{app.slug}",
        "html_url": f"{state.url}/apps/{app.slug}",
        "created_at": stamp(app.created_at),
        "updated_at": stamp(app.created_at),
        "permissions": dict(app.permissions),
        "events": list(app.events),
        "installations_count": sum(i.app is app for i in state.installations.values()),
    }


def installation_json(state: State, installation: Installation) -> Json:
    """Return an installation of an App."""
    url = f"{state.api_url}/app/installations/{installation.id}"
    return {
        "id": installation.id,
        "node_id": node_id("I", installation.id),
        "account": user_json(state, installation.account),
        "repository_selection": "selected",
        "access_tokens_url": f"{url}/access_tokens",
        "repositories_url": f"{state.api_url}/installation/repositories",
        "html_url": f"{state.url}/settings/installations/{installation.id}",
        "app_id": installation.app.id,
        "client_id": installation.app.client_id,
        "app_slug": installation.app.slug,
        "target_id": installation.account.id,
        "target_type": installation.account.type,
        "permissions": dict(installation.permissions),
        "events": list(installation.app.events),
        "created_at": stamp(installation.created_at),
        "updated_at": stamp(installation.created_at),
        "single_file_name": None,
        "has_multiple_single_files": False,
        "single_file_paths": [],
        "suspended_by": None,
        "suspended_at": stamp(installation.suspended_at),
    }


def repository_json(state: State, repository: Repository) -> Json:
    """Return a repository in the form that lists and payloads embed."""
    url = f"{state.api_url}/repos/{repository.full_name}"
    page = f"{state.url}/{repository.full_name}"
    open_issues = sum(issue.state == "open" for issue in repository.issues.values())
    return {
        "id": repository.id,
        "node_id": node_id("R", repository.id),
        "name": repository.name,
        "full_name": repository.full_name,
        "private": repository.private,
        "owner": user_json(state, repository.owner),
        "html_url": page,
        "description": None,
        "fork": False,
        "url": url,
        **{key: url + tail for key, tail in _REPOSITORY_URLS.items()},
        "git_url": f"git:{page.partition(':')[2]}.git",
        "ssh_url": f"git@localhub.invalid:{repository.full_name}.git",
        "clone_url": f"{page}.git",
        "svn_url": page,
        "mirror_url": None,
        "homepage": None,
        "size": 1,
        "stargazers_count": 0,
        "watchers_count": 0,
        "language": None,
        "has_issues": True,
        "has_projects": False,
        "has_downloads": False,
        "has_wiki": False,
        "has_pages": False,
        "has_discussions": False,
        "forks_count": 0,
        "archived": False,
        "disabled": False,
        "open_issues_count": open_issues,
        "license": None,
        "allow_forking": True,
        "is_template": False,
        "web_commit_signoff_required": False,
        "topics": [],
        "visibility": "private" if repository.private else "public",
        "forks": 0,
        "open_issues": open_issues,
        "watchers": 0,
        "default_branch": repository.default_branch,
        "created_at": stamp(repository.created_at),
        "updated_at": stamp(repository.pushed_at),
        "pushed_at": stamp(repository.pushed_at),
    }


def full_repository_json(state: State, repository: Repository) -> Json:
    """Return a repository as `GET /repos/{owner}/{repo}` answers it."""
    merging = {
        "allow_squash_merge": True,
        "allow_merge_commit": True,
        "allow_rebase_merge": True,
        "allow_auto_merge": False,
        "delete_branch_on_merge": False,
        "allow_update_branch": False,
    }
    return (
        repository_json(state, repository)
        | merging
        | {"network_count": 0, "subscribers_count": 0, "temp_clone_token": None}
    )


def association(repository: Repository, user: User) -> str:
    """Return the `author_association` of an account."""
    if user is repository.owner:
        return "OWNER"
    return "COLLABORATOR" if repository.roles.get(user.login.lower(), "none") != "none" else "NONE"


def label_json(state: State, repository: Repository, label: Label) -> Json:
    """Return a label."""
    return {
        "id": label.id,
        "node_id": node_id("LA", label.id),
        "url": f"{state.api_url}/repos/{repository.full_name}/labels/{label.name}",
        "name": label.name,
        "color": label.color,
        "default": False,
        "description": label.description or None,
        "archived_at": None,
        "archived_by": None,
    }


def rollup_json(url: str, reactions: list[Reaction]) -> Json:
    """Return the count of reactions by kind."""
    counts = Counter(reaction.content for reaction in reactions)
    return {"url": url, "total_count": len(reactions), **{content: counts[content] for content in REACTIONS}}


def reaction_json(state: State, reaction: Reaction) -> Json:
    """Return one reaction."""
    return {
        "id": reaction.id,
        "node_id": node_id("REA", reaction.id),
        "user": user_json(state, reaction.user),
        "content": reaction.content,
        "created_at": stamp(reaction.created_at),
    }


def issue_json(state: State, repository: Repository, issue: Issue) -> Json:
    """Return an issue, or a pull request seen as one."""
    kind = "pull" if issue.pull else "issues"
    url = f"{state.api_url}/repos/{repository.full_name}/issues/{issue.number}"
    page = f"{state.url}/{repository.full_name}/{kind}/{issue.number}"
    body: Json = {
        "id": issue.id,
        "node_id": node_id("PR" if issue.pull else "I", issue.id),
        "url": url,
        "repository_url": f"{state.api_url}/repos/{repository.full_name}",
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": page,
        "number": issue.number,
        "title": issue.title,
        "user": user_json(state, issue.author),
        "labels": [label_json(state, repository, repository.labels[name.lower()]) for name in issue.labels],
        "state": issue.state,
        "state_reason": issue.state_reason,
        "locked": False,
        "active_lock_reason": None,
        "assignee": user_json(state, issue.assignees[0]) if issue.assignees else None,
        "assignees": [user_json(state, user) for user in issue.assignees],
        "milestone": None,
        "comments": len(issue.comments),
        "created_at": stamp(issue.created_at),
        "updated_at": stamp(issue.updated_at),
        "closed_at": stamp(issue.closed_at),
        "closed_by": user_json(state, issue.closed_by) if issue.closed_by else None,
        "author_association": association(repository, issue.author),
        "body": issue.body,
        "reactions": rollup_json(f"{url}/reactions", issue.reactions),
        "timeline_url": f"{url}/timeline",
        "performed_via_github_app": app_json(state, issue.app) if issue.app else None,
    }
    if issue.pull:
        pull = f"{state.api_url}/repos/{repository.full_name}/pulls/{issue.number}"
        body["draft"] = issue.pull.draft
        body["pull_request"] = {
            "url": pull,
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "merged_at": stamp(issue.pull.merged_at),
        }
    return body


def comment_json(state: State, repository: Repository, issue: Issue, comment: Comment) -> Json:
    """Return a comment on an issue or pull request."""
    api = f"{state.api_url}/repos/{repository.full_name}/issues"
    kind = "pull" if issue.pull else "issues"
    return {
        "id": comment.id,
        "node_id": node_id("IC", comment.id),
        "url": f"{api}/comments/{comment.id}",
        "html_url": f"{state.url}/{repository.full_name}/{kind}/{issue.number}#issuecomment-{comment.id}",
        "issue_url": f"{api}/{issue.number}",
        "body": comment.body,
        "user": user_json(state, comment.author),
        "created_at": stamp(comment.created_at),
        "updated_at": stamp(comment.updated_at),
        "author_association": association(repository, comment.author),
        "reactions": rollup_json(f"{api}/comments/{comment.id}/reactions", comment.reactions),
        "performed_via_github_app": app_json(state, comment.app) if comment.app else None,
    }


def review_json(state: State, repository: Repository, issue: Issue, review: Review) -> Json:
    """Return a submitted review of a pull request."""
    page = f"{state.url}/{repository.full_name}/pull/{issue.number}"
    pull = f"{state.api_url}/repos/{repository.full_name}/pulls/{issue.number}"
    link = f"{page}#pullrequestreview-{review.id}"
    return {
        "id": review.id,
        "node_id": node_id("PRR", review.id),
        "user": user_json(state, review.author),
        "body": review.body,
        "state": review.state,
        "html_url": link,
        "pull_request_url": pull,
        "_links": {"html": {"href": link}, "pull_request": {"href": pull}},
        "submitted_at": stamp(review.submitted_at),
        "commit_id": review.commit_id,
        "author_association": association(repository, review.author),
    }
