"""The ways GitHub says no, as exceptions that carry the status and the body of the answer."""

from localhub.records import Json

DOCUMENTATION = "https://docs.github.com/rest"


class Refusal(Exception):
    """An answer other than success: HTTP status, message, and GitHub's list of field errors."""

    def __init__(self, status: int, message: str, errors: list[Json] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors or []

    def body(self) -> Json:
        """The JSON body of the answer."""
        body: Json = {"message": self.message}
        if self.errors:
            body["errors"] = self.errors
        return body | {"documentation_url": DOCUMENTATION, "status": str(self.status)}


def bad_credentials() -> Refusal:
    """A token that is unknown, expired, revoked or missing."""
    return Refusal(401, "Bad credentials")


def not_found() -> Refusal:
    """Something that is not there, or that the caller may not know of."""
    return Refusal(404, "Not Found")


def not_accessible(app: bool = True) -> Refusal:
    """A permission that the token lacks; the wording differs between Apps and people."""
    if app:
        return Refusal(403, "Resource not accessible by integration")
    return Refusal(403, "Resource not accessible by personal access token")


def invalid(resource: str, field: str, code: str = "invalid", message: str = "") -> Refusal:
    """A request whose fields do not hold: 422 `Validation Failed` with one error."""
    error = {"resource": resource, "code": code, "field": field}
    return Refusal(422, "Validation Failed", [error | ({"message": message} if message else {})])


def rejected(resource: str, message: str) -> Refusal:
    """A request that is well formed and still refused, with GitHub's sentence."""
    return Refusal(422, "Validation Failed", [{"resource": resource, "code": "custom", "message": message}])


def out_of_reach() -> Refusal:
    """A repository that an installation token cannot be made for."""
    sentence = "There is at least one repository that does not exist or is not accessible"
    return Refusal(422, f"{sentence} to the parent installation.")


def unprocessable(message: str) -> Refusal:
    """A refusal with a bare sentence, as the Git database API gives."""
    return Refusal(422, message)
