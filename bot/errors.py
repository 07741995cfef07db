"""What can go wrong, grouped by who must act. The lowest module: it imports nothing of the bot."""

from enum import StrEnum


class BotError(Exception):
    """Something went wrong that we know by name."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class UserError(BotError):
    """A person asked for what we cannot do; the message is posted as Markdown."""


class Transient(BotError):
    """GitHub, the model or the network failed for now; the work is tried again later."""

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds the other side asked us to wait, or None."""


class Refused(BotError):
    """A delivery that is not from GitHub; answered with 401 and not stored."""


class Malformed(BotError):
    """A delivery that cannot be read; answered with `status` and not stored."""

    def __init__(self, message: str = "", *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class SettingsError(BotError):
    """A setting is missing or wrong; the start is stopped with one sentence per fault."""


class Missing(BotError):
    """GitHub has no such thing, or does not show it to us (404 or 410)."""


class Denied(BotError):
    """GitHub refuses this App the call (401 or 403 that is no rate limit); the operator must act."""


class Rejected(BotError):
    """GitHub understood the call and said no; the message is GitHub's own."""

    def __init__(self, message: str = "", *, status: int = 422) -> None:
        super().__init__(message)
        self.status = status
        """409 is a conflict, 422 any other no."""


class Moved(BotError):
    """A branch no longer stands where we left it, so nothing was written."""


class FailureKind(StrEnum):
    """Why an attempt ended without a result."""

    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    CONTEXT_OVERFLOW = "context_overflow"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    OUT_OF_TURNS = "out_of_turns"
    OUT_OF_BUDGET = "out_of_budget"
    NO_FINISH = "no_finish"
    STUCK = "stuck"
    REFUSED = "refused"
    BLOCKED = "blocked"
    SCOPE = "scope"
    TOO_LARGE = "too_large"
    TESTS_WEAKENED = "tests_weakened"
    CHECKS_RED = "checks_red"
    CHECKS_NONE = "checks_none"
    CHECKS_TIMEOUT = "checks_timeout"
    AUTH = "auth"
    BILLING = "billing"
    BAD_PLAN = "bad_plan"
    BAD_POLICY = "bad_policy"
    DENIED = "denied"
    CONFLICT = "conflict"
    GAPS = "gaps"
    STOPPED = "stopped"
    BUG = "bug"


class AttemptFailed(BotError):
    """An attempt ended without a result; `kind` says why and decides what follows."""

    def __init__(
        self, kind: FailureKind, detail: str, *, retry_after: float | None = None, paths: str = ""
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after
        self.paths = paths
        """What a person may `/allow`, where that is what is missing."""
