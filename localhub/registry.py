"""The making of a world: accounts, repositories, Apps, installations, and the reading of what became."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from localhub import installations, issues, smart_http
from localhub.faults import Faults
from localhub.objects import Commit, Objects, Person, RefUpdate, TreeEdit
from localhub.records import (
    ROLES,
    ZERO,
    Actor,
    App,
    CheckRun,
    Comment,
    Delivery,
    Issue,
    Reaction,
    Repository,
    User,
)
from localhub.state import Request, State, node_id


class Registry:
    """What exists on the simulated GitHub, and who may do what there."""

    def __init__(self, data_dir: Path) -> None:
        self.state = State(data_dir)
        self.state.make_user("web-flow")

    # The world.

    @property
    def faults(self) -> Faults:
        """What is made to go wrong."""
        return self.state.faults

    @property
    def requests(self) -> list[Request]:
        """Every request answered so far, oldest first; paths without `/api/v3`, with their query."""
        return self.state.requests

    @property
    def deliveries(self) -> list[Delivery]:
        """Every webhook delivery so far, oldest first."""
        return self.state.deliveries

    def create_user(self, login: str) -> User:
        """Add a person; their `token` works on the REST API and for Git."""
        with self.state.lock:
            return self.state.make_user(login, person=True)

    def create_repository(
        self,
        name: str,
        source: Path | None = None,
        default_branch: str = "main",
        private: bool = False,
        drafts_allowed: bool = True,
    ) -> Repository:
        """Add a repository `owner/name` whose first commit holds the files of `source`."""
        owner_name, _, short = name.partition("/")
        with self.state.lock:
            state = self.state
            owner = state.make_user(owner_name, "Organization")
            path = state.data_dir / "repositories" / f"{name}.git"
            if (path / "config").exists():
                # Left by a process whose memory, and with it all else of this repository, is gone.
                shutil.rmtree(path)
            objects = Objects.create(path, default_branch)
            smart_http.install_hooks(path)
            now = state.now()
            made = (state.next_id(), owner, short, default_branch, private, drafts_allowed, objects, now, now)
            repository = Repository(*made)
            state.repositories[name.lower()] = repository
            state.nodes[node_id("R", repository.id)] = repository
            if source:
                tree = objects.read_folder(source)
            else:
                readme = objects.write("blob", f"# {short}\n".encode())
                tree = objects.write_tree(None, [TreeEdit("README.md", "100644", "blob", readme)])
            author = Person(owner.login, owner.email, int(now.timestamp()))
            sha = objects.write_commit(tree, [], author, author, "Initial commit\n")
            objects.update_refs([RefUpdate(f"refs/heads/{default_branch}", ZERO, sha)])
            return repository

    def grant(self, repository: str, login: str, role: str) -> None:
        """Give a person a role: admin, maintain, write, triage, read or none."""
        if role not in ROLES:
            raise ValueError(f"{role} is none of {', '.join(ROLES)}")
        with self.state.lock:
            self.state.user(login)
            self.repository(repository).roles[login.lower()] = role

    def rename_repository(self, name: str, new: str) -> None:
        """Give a repository `owner/name` another name; the API leads from the former one to it, Git does not."""
        with self.state.lock:
            found = self.state.repositories.pop(name.lower())
            found.name = new
            self.state.repositories[found.full_name.lower()] = found
            self.state.moved[name.lower()] = found.full_name

    def create_app(
        self,
        slug: str,
        webhook_url: str = "",
        webhook_secret: str = "",
        permissions: Mapping[str, str] | None = None,
        events: Sequence[str] = (),
    ) -> App:
        """Register an App; `webhook_url` may be set on it later."""
        with self.state.lock:
            return self.state.make_app(slug, permissions or {}, events, webhook_url, webhook_secret)

    def install(self, app: App, *repositories: str) -> int:
        """Install an App on repositories of one account and return the installation's id; announces it."""
        with self.state.lock:
            return installations.install(self.state, app, [self.repository(name) for name in repositories]).id

    def uninstall(self, installation_id: int) -> None:
        """Remove an installation: its tokens stop working at once."""
        with self.state.lock:
            installation = self.state.installations.pop(installation_id)
            installations.announce(
                self.state, installation, "installation", "deleted", installation.repositories
            )

    def suspend(self, installation_id: int, suspended: bool = True) -> None:
        """Suspend an installation, or wake it again."""
        with self.state.lock:
            installation = self.state.installations[installation_id]
            installation.suspended_at = self.state.now() if suspended else None
            action = "suspend" if suspended else "unsuspend"
            installations.announce(
                self.state, installation, "installation", action, installation.repositories
            )

    def remove_from_installation(self, installation_id: int, repository: str) -> None:
        """Take one repository out of an installation."""
        with self.state.lock:
            installation, found = self.state.installations[installation_id], self.repository(repository)
            installation.repositories.remove(found)
            installations.announce(self.state, installation, "installation_repositories", "removed", [found])

    def expire_tokens(self) -> None:
        """Let the hour of every installation token be over."""
        with self.state.lock:
            for token in self.state.tokens.values():
                token.expires_at = self.state.now()

    def require_checks(self, repository: str, names: Sequence[str]) -> None:
        """Require checks on the default branch by a ruleset."""
        self.repository(repository).required_checks = list(names)

    def forbid_force(self, repository: str, *patterns: str) -> None:
        """Forbid force pushes to branches by a ruleset, e.g. `phasegate/*`."""
        self.repository(repository).no_force = list(patterns)

    def create_label(self, repository: str, name: str, color: str = "ededed", description: str = "") -> None:
        """Add a label to a repository."""
        with self.state.lock:
            issues.make_label(self.state, self.repository(repository), name, color, description)

    # Reading.

    def repository(self, name: str) -> Repository:
        """Return a repository by `owner/name`."""
        return self.state.repository(name)

    def issue(self, repository: str, number: int) -> Issue:
        """Return an issue or pull request."""
        return self.state.issue(self.repository(repository), number)

    def issues(self, repository: str) -> list[Issue]:
        """Return the issues that are no pull requests, oldest first."""
        return [issue for issue in self.repository(repository).issues.values() if not issue.pull]

    def comments(self, repository: str, number: int) -> list[Comment]:
        """Return the comments of an issue or pull request, oldest first."""
        with self.state.lock:
            return list(self.issue(repository, number).comments)

    def pulls(self, repository: str) -> list[Issue]:
        """Return the pull requests, oldest first."""
        return self.repository(repository).pulls

    def reactions(self, repository: str, comment_id: int) -> list[Reaction]:
        """Return the reactions to a comment."""
        return list(self.state.comment(self.repository(repository), comment_id)[1].reactions)

    def refs(self, repository: str, prefix: str = "refs/") -> dict[str, str]:
        """Return full ref names and what they point to."""
        return self.repository(repository).objects.refs(prefix)

    def head(self, repository: str, branch: str = "") -> str | None:
        """Return the newest commit of a branch (the default branch if none is named), or None."""
        found = self.repository(repository)
        return found.objects.resolve(f"refs/heads/{branch or found.default_branch}")

    def commit(self, repository: str, name: str) -> Commit:
        """Return a commit by SHA or full ref name."""
        found = self.repository(repository).objects.commit(name)
        if not found:
            raise KeyError(name)
        return found

    def commits(self, repository: str, branch: str, base: str = "") -> list[Commit]:
        """Return the commits that a branch adds to its base (by default the default branch), oldest first."""
        found = self.repository(repository)
        onto = base or f"refs/heads/{found.default_branch}"
        return [self.commit(repository, sha) for sha in found.objects.between(onto, f"refs/heads/{branch}")]

    def file(self, repository: str, ref: str, path: str) -> str | None:
        """Return the text of a file at a branch, SHA or full ref, or None."""
        objects = self.repository(repository).objects
        found = objects.read(f"refs/heads/{ref}:{path}") or objects.read(f"{ref}:{path}")
        return found.data.decode() if found and found.kind == "blob" else None

    def files(self, repository: str, ref: str) -> dict[str, str]:
        """Return path and mode of every file at a commit."""
        objects = self.repository(repository).objects
        tree = objects.resolve(f"{ref}^{{tree}}") or objects.resolve(f"refs/heads/{ref}^{{tree}}") or ""
        return {entry.path: entry.mode for entry in objects.walk(tree) if entry.kind != "tree"}

    def check_runs(self, repository: str, sha: str) -> list[CheckRun]:
        """Return every check run of a commit, oldest first."""
        with self.state.lock:
            return [run for s in self.repository(repository).suites if s.head_sha == sha for run in s.runs]

    def _on(self, repository: str, login: str) -> tuple[State, Repository, Actor]:
        return self.state, self.repository(repository), self.state.actor(login)
