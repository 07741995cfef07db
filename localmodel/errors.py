"""How the API says no."""

from typing import Any


class ApiError(Exception):
    """A refusal as the API answers it: HTTP status, error type and message, and what the record calls it."""

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        outcome: str = "invalid",
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.outcome = outcome
        self.code = code
        self.headers = headers or {}

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the JSON body of the refusal."""
        details = {"error_code": self.code} if self.code else None
        error = {"details": details, "type": self.kind, "message": self.message}
        return {"type": "error", "error": error, "request_id": request_id}


def invalid(message: str, *, outcome: str = "invalid") -> ApiError:
    """Return the 400 the API answers to a request it does not understand."""
    return ApiError(400, "invalid_request_error", message, outcome=outcome)
