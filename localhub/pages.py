"""The pages of the embedded GitHub: what is open, each thread with its comments, commits and checks."""

import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from jinja2 import Environment, PackageLoader
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, Router

from localhub import issues, manifests, pulls
from localhub.installations import install
from localhub.markdown import render
from localhub.objects import EMPTY_TREE, Commit, FileChange
from localhub.payloads_checks import latest
from localhub.payloads_pulls import pull_of
from localhub.records import App, CheckRun, Issue, Repository, Status, User
from localhub.refusals import Refusal, not_found
from localhub.reports import combined_state
from localhub.rest import resolve
from localhub.state import State

FACES = {
    "+1": "👍",
    "-1": "👎",
    "laugh": "😄",
    "hooray": "🎉",
    "confused": "😕",
    "heart": "❤️",
    "rocket": "🚀",
    "eyes": "👀",
}
MARKS = {"success": "✓", "failure": "✗", "timed_out": "✗", "error": "✗", "neutral": "–", "skipped": "–"}
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'"
)
REGISTER = "/settings/apps/new"


def mark(run: CheckRun | Status) -> str:
    """Return a sign for what a check says: ✓, ✗, – or a dot while it has not spoken."""
    said = run.conclusion if isinstance(run, CheckRun) else run.state
    return MARKS.get(said or "", "●")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("localhub"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"markdown": render, "mark": mark, "path": quote}
    environment.globals["faces"] = FACES
    return environment


TEMPLATES = _environment()


@dataclass(frozen=True)
class ShownCommit:
    """A commit with its diff and what CI says of it."""

    commit: Commit
    changes: list[FileChange]
    runs: list[CheckRun]
    statuses: list[Status]


@dataclass(frozen=True)
class Person:
    """Someone to comment as, with the role they have."""

    user: User
    role: str


def people(state: State, repository: Repository) -> list[Person]:
    """Return the persons one can act as, those with the most rights first."""
    order = ("admin", "maintain", "write", "triage", "read", "none")
    found = [Person(user, repository.role(user)) for user in state.users.values() if user.token]
    return sorted(found, key=lambda person: order.index(person.role))


def show_commit(repository: Repository, sha: str) -> ShownCommit:
    """Return a commit for a page; refuses with 404 an unknown one."""
    commit = repository.objects.commit(sha)
    if not commit:
        raise not_found()
    changes = repository.objects.diff(commit.parents[0] if commit.parents else EMPTY_TREE, commit.sha)
    suites = [suite for suite in repository.suites if suite.head_sha == commit.sha]
    runs = [run for suite in suites for run in latest(suite.runs)]
    statuses = [status for status in repository.statuses if status.sha == commit.sha]
    return ShownCommit(commit, changes, runs, combined_state(statuses)[1])


class Pages:
    """The handlers of the pages; each is called under the lock with the request."""

    def __init__(self, state: State) -> None:
        self.state = state

    def _repository(self, request: Request) -> Repository:
        return self.state.repository(f"{request.path_params['owner']}/{request.path_params['repo']}")

    def _thread(self, request: Request) -> tuple[Repository, Issue]:
        repository = self._repository(request)
        return repository, self.state.issue(repository, request.path_params["number"])

    def index(self, request: Request, form: dict[str, str]) -> Response:
        """List every repository with its issues and pull requests."""
        return _page("index.html", repositories=list(self.state.repositories.values()))

    def repository(self, request: Request, form: dict[str, str]) -> Response:
        """List the issues and pull requests of one repository."""
        return _page("index.html", repositories=[self._repository(request)])

    def thread(self, request: Request, form: dict[str, str]) -> Response:
        """Show an issue or pull request with everything said and done."""
        repository, issue = self._thread(request)
        commits: list[ShownCommit] = []
        if issue.pull:
            pull = pull_of(issue)
            shas = repository.objects.between(pull.base_sha, pull.head_sha, limit=50)
            commits = [show_commit(repository, sha) for sha in shas]
        mention = re.compile(rf"#{issue.number}\b")
        related = [p for p in repository.pulls if p is not issue and mention.search(f"{p.title} {p.body}")]
        labels = [repository.labels[name.lower()] for name in issue.labels]
        free = [label for label in repository.labels.values() if label.name not in issue.labels]
        return _page(
            "thread.html",
            repository=repository,
            issue=issue,
            pull=issue.pull,
            commits=commits,
            labels=labels,
            free_labels=free,
            related=related,
            people=people(self.state, repository),
            chosen=request.cookies.get("as", ""),
        )

    def comment(self, request: Request, form: dict[str, str]) -> Response:
        """Add a comment as the chosen person, or close or reopen."""
        repository, issue = self._thread(request)
        actor = self.state.actor(form.get("as", ""))
        if form.get("body", "").strip():
            body = form["body"].replace("\r\n", "\n")
            issues.add_comment(self.state, repository, issue, body, actor)
        wanted = {"close": "closed", "reopen": "open"}.get(form.get("do", ""))
        if wanted and issue.pull:
            pulls.set_pull_state(self.state, repository, issue, wanted, actor)
        elif wanted:
            issues.set_issue_state(self.state, repository, issue, wanted, actor)
        return _back(repository, issue, actor.user)

    def label(self, request: Request, form: dict[str, str]) -> Response:
        """Put a label on or take it off as the chosen person, who needs the triage role for it."""
        repository, issue = self._thread(request)
        actor = self.state.actor(form.get("as", ""))
        if not repository.allows(actor.user, "triage"):
            raise Refusal(403, f"{actor.user.login} may not label here")
        remove, name = form.get("do") == "remove", form.get("name", "")
        if issue.pull:
            pulls.label_pull(self.state, repository, issue, name, actor, remove)
        elif remove:
            issues.remove_label(self.state, repository, issue, name, actor)
        else:
            issues.add_label(self.state, repository, issue, name, actor)
        return _back(repository, issue, actor.user)

    def commit(self, request: Request, form: dict[str, str]) -> Response:
        """Show one commit with its diff and checks."""
        repository = self._repository(request)
        shown = show_commit(repository, resolve(repository, request.path_params["sha"]) or "")
        return _page("commit.html", repository=repository, shown=shown)

    def run(self, request: Request, form: dict[str, str]) -> Response:
        """Show one check run with its output."""
        repository = self._repository(request)
        return _page(
            "run.html", repository=repository, run=self.state.check_run(repository, request.path_params["id"])
        )

    def log(self, request: Request, form: dict[str, str]) -> Response:
        """Return what a job of a workflow run printed."""
        for run in self._repository(request).workflow_runs:
            for job in run.jobs:
                if job.check.id == request.path_params["id"]:
                    return PlainTextResponse(job.log)
        raise not_found()

    def blob(self, request: Request, form: dict[str, str]) -> Response:
        """Show one file; the ref may hold slashes, so the longest name that is one wins."""
        repository, path = self._repository(request), request.path_params["path"]
        parts = path.split("/")
        for split in range(len(parts) - 1, 0, -1):
            sha = resolve(repository, "/".join(parts[:split]))
            name = "/".join(parts[split:])
            found = repository.objects.read(f"{sha}:{name}") if sha else None
            if found and found.kind == "blob":
                lines = found.data.decode(errors="replace").splitlines()
                return _page("file.html", repository=repository, name=name, lines=lines, sha=sha)
        raise not_found()

    def register(self, request: Request, form: dict[str, str]) -> Response:
        """Register an App from a manifest and send the browser back with the code that fetches its keys."""
        code, back = manifests.register(self.state, form.get("manifest", ""))
        query = urlencode({"code": code, "state": request.query_params.get("state", "")})
        return RedirectResponse(f"{back}?{query}", 303)

    def _app(self, request: Request) -> App:
        app = self.state.app_by_slug(request.path_params["slug"])
        if not app:
            raise not_found()
        return app

    def choose(self, request: Request, form: dict[str, str]) -> Response:
        """Ask on which repository an App is to be installed."""
        return _page(
            "install.html", app=self._app(request), repositories=list(self.state.repositories.values())
        )

    def install(self, request: Request, form: dict[str, str]) -> Response:
        """Install an App on the chosen repository."""
        repository = self.state.repository(form.get("repository", ""))
        install(self.state, self._app(request), [repository])
        return RedirectResponse(f"/{repository.full_name}", 303)

    def avatar(self, request: Request, form: dict[str, str]) -> Response:
        """Return a coloured square."""
        hue = request.path_params["id"] * 47 % 360
        shape = f'<rect width="8" height="8" fill="hsl({hue} 50% 50%)"/>'
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8">{shape}</svg>'
        return Response(svg, media_type="image/svg+xml")


def _page(template: str, **values: Any) -> Response:
    nonce = secrets.token_urlsafe(16)
    page = TEMPLATES.get_template(template).render(nonce=nonce, **values)
    return HTMLResponse(page, headers={"Content-Security-Policy": POLICY.format(nonce=nonce)})


def _back(repository: Repository, issue: Issue, user: User) -> Response:
    kind = "pull" if issue.pull else "issues"
    answer = RedirectResponse(f"/{repository.full_name}/{kind}/{issue.number}#end", 303)
    answer.set_cookie("as", user.login, samesite="strict")
    return answer


Handler = Callable[[Request, dict[str, str]], Response]


def _endpoint(state: State, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    def handle(request: Request, form: dict[str, str]) -> Response:
        with state.lock:
            try:
                return handler(request, form)
            except Refusal as refusal:
                return PlainTextResponse(refusal.message, refusal.status)

    async def endpoint(request: Request) -> Response:
        form: dict[str, str] = {}
        if request.method == "POST":
            origin = request.headers.get("origin")
            # Another site must not act here with a form of its own, except to register an App.
            foreign = bool(origin) and urlsplit(origin or "").netloc != request.headers.get("host")
            if foreign and request.url.path != REGISTER:
                return PlainTextResponse("Cross-site form", 403)
            form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        return await run_in_threadpool(handle, request, form)

    return endpoint


def router(state: State) -> Router:
    """Return the ASGI router of the pages."""
    pages = Pages(state)
    below = "/{owner}/{repo}"
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/", pages.index),
        ("GET", "/avatars/{id:int}", pages.avatar),
        ("POST", REGISTER, pages.register),
        ("GET", "/apps/{slug}/installations/new", pages.choose),
        ("POST", "/apps/{slug}/installations/new", pages.install),
        ("GET", below, pages.repository),
        ("GET", below + "/issues/{number:int}", pages.thread),
        ("GET", below + "/pull/{number:int}", pages.thread),
        ("POST", below + "/issues/{number:int}/comment", pages.comment),
        ("POST", below + "/issues/{number:int}/label", pages.label),
        ("GET", below + "/commit/{sha}", pages.commit),
        ("GET", below + "/runs/{id:int}", pages.run),
        ("GET", below + "/runs/{id:int}/log", pages.log),
        ("GET", below + "/blob/{path:path}", pages.blob),
    ]
    return Router(
        [Route(path, _endpoint(state, handler), methods=[method]) for method, path, handler in table]
    )
