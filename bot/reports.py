"""What CI reports on a commit, and what is required of it: frozen values, in GitHub's words. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckRun:
    """One check run as GitHub reports it; `status` and `conclusion` are its words, known to us or not."""

    id: int
    name: str
    app_id: int
    status: str
    conclusion: str | None = None
    started_at: str = ""
    """ISO 8601, as GitHub writes it; empty when not started."""
    suite_id: int | None = None
    url: str = ""
    title: str = ""
    summary: str = ""
    text: str = ""
    # A job of GitHub Actions, so its suite belongs to a workflow run.
    of_actions: bool = False
    sha: str = ""
    """The commit it reports on, where GitHub says so."""


@dataclass(frozen=True)
class Status:
    """One legacy commit status; the newest of a context counts."""

    id: int
    context: str
    state: str
    creator_id: int = 0
    created_at: str = ""
    url: str = ""
    description: str = ""
    bot: str = ""
    """The slug of the App through which it was set; empty where a person's account set it."""
    # The App that set it, 0 where none is known; a required check of one App takes no other's.
    app_id: int = 0


@dataclass(frozen=True)
class WorkflowRun:
    """One run of a workflow; its jobs are check runs of suite `suite_id`, once they exist."""

    id: int
    name: str
    status: str
    conclusion: str | None = None
    event: str = "push"
    run_attempt: int = 1
    suite_id: int | None = None
    url: str = ""
    created_at: str = ""
    workflow_id: int = 0
    # When this attempt started (`run_started_at`); a check that started before is an earlier one's.
    started_at: str = ""
    sha: str = ""
    """The commit it runs on, where GitHub says so."""
    awaited: bool = False
    """GitHub was asked to run it again and does not show that yet."""

    @property
    def key(self) -> str:
        """Name this attempt of this run."""
        return f"run:{self.id}/{self.run_attempt}"


@dataclass(frozen=True)
class Required:
    """A check that must be green: by name, and of one App where the rule says so."""

    name: str
    app_id: int | None = None
