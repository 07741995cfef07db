"""What can be made to go wrong on purpose: fields that are harmless until a test sets them."""

import re
from dataclasses import dataclass, field

from localhub.records import Json

SECONDARY = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again. "
    "If you reach out to GitHub Support for help, please include the request ID."
)


@dataclass
class FaultRule:
    """The next `count` matching requests are answered so; `after` does the work and loses its answer."""

    path: str = ""
    method: str = ""
    status: int = 502
    body: Json | str = field(default_factory=lambda: {"message": "Server Error"})
    headers: dict[str, str] = field(default_factory=dict)
    count: int = 1
    after: bool = False

    def matches(self, method: str, path: str) -> bool:
        """Whether this rule speaks of a request; `path` is a regular expression found anywhere in it."""
        return self.count > 0 and self.method in ("", method) and re.search(self.path, path) is not None


@dataclass
class Faults:
    """The knobs of `hub.faults`."""

    fail_next: list[FaultRule] = field(default_factory=list)
    slow: list[tuple[str, float]] = field(default_factory=list)
    token_delay_seconds: float = 0
    down: bool = False
    drop_deliveries: bool = False
    double_deliveries: bool = False
    shuffle_deliveries: bool = False
    zombie_suite: bool = False
    ready_refused: bool = False
    mergeable_unknown: bool = False

    def fail(
        self,
        path: str,
        status: int = 502,
        *,
        method: str = "",
        body: Json | str | None = None,
        headers: dict[str, str] | None = None,
        count: int = 1,
        after: bool = False,
    ) -> FaultRule:
        """Make the next matching requests fail; `after` performs them and then answers the failure."""
        text: Json | str = {"message": "Server Error"} if body is None else body
        rule = FaultRule(path, method, status, text, headers or {}, count, after)
        self.fail_next.append(rule)
        return rule

    def secondary_limit(self, path: str, *, method: str = "", count: int = 1) -> FaultRule:
        """Answer with a secondary rate limit that only its message gives away."""
        return self.fail(path, 403, method=method, body={"message": SECONDARY}, count=count)

    def retry_after(self, path: str, seconds: int, *, method: str = "", count: int = 1) -> FaultRule:
        """Answer 429 with a `retry-after` header."""
        headers = {"retry-after": str(seconds)}
        return self.fail(path, 429, method=method, body={"message": SECONDARY}, headers=headers, count=count)

    def take(self, method: str, path: str, *, after: bool) -> FaultRule | None:
        """Return the rule for a request and use it up once, or None."""
        for rule in self.fail_next:
            if rule.after == after and rule.matches(method, path):
                rule.count -= 1
                return rule
        return None

    def delay(self, path: str) -> float:
        """Return how many seconds a request to this path waits before it is handled."""
        return max((seconds for pattern, seconds in self.slow if re.search(pattern, path)), default=0)
