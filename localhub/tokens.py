"""Who asks: JWTs of Apps, tokens of installations, tokens of people, and what each may do."""

import base64
import re
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta

import jwt
from jwt.types import Options

from localhub.records import Actor, App, Installation, Repository, User
from localhub.refusals import Refusal, bad_credentials, not_accessible, not_found, out_of_reach, unprocessable
from localhub.state import State, Token

LIFETIME = timedelta(hours=1)
LEEWAY = 5
MAXIMUM = 600
LEVELS = ("none", "read", "write", "admin")
ROLE_NEEDED = {"read": "read", "write": "write", "admin": "admin"}
JWT_SHAPE = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+\Z")


@dataclass(frozen=True)
class Caller:
    """Who sent a request: an App by its JWT, an installation by its token, a person, or nobody."""

    app: App | None = None
    token: Token | None = None
    user: User | None = None

    @property
    def name(self) -> str:
        """The caller as the request log writes it."""
        if self.token and self.app:
            return f"{self.app.slug}[bot]"
        if self.app:
            return f"app/{self.app.slug}"
        return self.user.login if self.user else ""

    @property
    def by_jwt(self) -> bool:
        """Whether the App itself asks, not one of its installations."""
        return self.app is not None and self.token is None

    @property
    def actor(self) -> Actor:
        """The account whose name an action carries; refuses with 401 when nobody asks."""
        if self.token and self.app:
            return Actor(self.app.bot_user, self.app)
        if self.user:
            return Actor(self.user)
        raise bad_credentials()

    def sees(self, repository: Repository) -> bool:
        """Whether this caller may know that the repository exists."""
        if not repository.private:
            return True
        if self.token:
            return self._covers(repository)
        return self.user is not None and repository.allows(self.user, "read")

    def _covers(self, repository: Repository) -> bool:
        if not self.token:
            return False
        chosen = self.token.repositories
        installed = repository in self.token.installation.repositories
        return installed and (chosen is None or repository in chosen)

    def may(self, repository: Repository, permission: str, level: str) -> bool:
        """Whether this caller holds a permission such as `contents`, `write` on a repository."""
        if self.token:
            if not self._covers(repository):
                return level == "read" and not repository.private and permission == "metadata"
            held = self.token.permissions.get(permission, "none")
            return LEVELS.index(held) >= LEVELS.index(level)
        if self.user:
            if level == "write" and permission == "issues":
                return repository.allows(self.user, "read")
            return repository.allows(self.user, ROLE_NEEDED[level])
        return level == "read" and not repository.private

    def need(self, repository: Repository, *wanted: str) -> None:
        """Refuse unless one of the wanted `permission:level` pairs is held."""
        if not self.sees(repository):
            raise not_found()
        pairs = [tuple(want.split(":", 1)) for want in wanted]
        if any(self.may(repository, permission, level) for permission, level in pairs):
            return
        if not self.token and not self.user and not self.app:
            raise Refusal(401, "Requires authentication")
        raise not_accessible(self.app is not None)


NOBODY = Caller()
# The times and the issuer are checked here, with GitHub's own sentences.
UNCHECKED: Options = {
    "verify_exp": False,
    "verify_iat": False,
    "verify_iss": False,
    "verify_aud": False,
    "verify_sub": False,
}


def identify(state: State, authorization: str) -> Caller:
    """Return who an `Authorization` header stands for; refuses with 401 for anything unknown."""
    if not authorization:
        return NOBODY
    scheme, _, value = authorization.partition(" ")
    value = value.strip()
    if scheme.lower() == "basic":
        value = _password(value)
    elif scheme.lower() not in ("bearer", "token"):
        raise bad_credentials()
    if value in state.tokens:
        return _installation(state, state.tokens[value])
    if value.startswith("ghp_"):
        for user in state.users.values():
            if user.token and secrets.compare_digest(user.token.encode(), value.encode()):
                return Caller(user=user)
    elif not value.startswith("ghs_") and JWT_SHAPE.match(value):
        return Caller(app=app_of_jwt(state, value))
    raise bad_credentials()


def _password(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except ValueError as error:
        raise bad_credentials() from error


def _installation(state: State, token: Token) -> Caller:
    if state.now() >= token.expires_at or token.installation.id not in state.installations:
        raise bad_credentials()
    if time.time() - token.born < state.faults.token_delay_seconds:
        raise bad_credentials()
    if token.installation.suspended_at:
        raise Refusal(403, "This installation has been suspended")
    return Caller(app=token.installation.app, token=token)


def app_of_jwt(state: State, value: str) -> App:
    """Return the App that signed a JWT; refuses one that is forged, too long, expired or from the future."""
    try:
        claims = jwt.decode(value, options={"verify_signature": False})
    except jwt.InvalidTokenError as error:
        raise Refusal(401, "A JSON web token could not be decoded") from error
    issuer = str(claims.get("iss", ""))
    app = next((a for a in state.apps.values() if issuer in (str(a.id), a.client_id)), None)
    if not app:
        raise Refusal(401, "Integration not found")
    _check_times(claims.get("iat"), claims.get("exp"))
    try:
        jwt.decode(value, app.key.public_key(), algorithms=["RS256"], options=UNCHECKED)
    except jwt.InvalidTokenError as error:
        raise Refusal(401, "A JSON web token could not be decoded") from error
    return app


def _check_times(issued: object, expires: object) -> None:
    now = time.time()
    if not isinstance(issued, int | float) or issued > now + LEEWAY:
        message = (
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
        )
        raise Refusal(401, message)
    if not isinstance(expires, int | float) or expires <= now - LEEWAY:
        message = (
            "'Expiration time' claim ('exp') must be a numeric value representing the future time "
            "at which the assertion expires"
        )
        raise Refusal(401, message)
    if expires > now + MAXIMUM + LEEWAY:
        raise Refusal(401, "'Expiration time' claim ('exp') is too far in the future")


def mint(
    state: State,
    installation: Installation,
    repositories: list[Repository] | None = None,
    permissions: dict[str, str] | None = None,
) -> Token:
    """Make an installation token; refuses with 422 what was not granted to the installation."""
    granted = installation.permissions
    for name, level in (permissions or {}).items():
        if level not in LEVELS or LEVELS.index(granted.get(name, "none")) < LEVELS.index(level):
            raise unprocessable("The permissions requested are not granted to this installation.")
    if repositories is not None and any(r not in installation.repositories for r in repositories):
        raise out_of_reach()
    scope = dict(permissions) if permissions else dict(granted)
    token = Token(
        _token_text(installation.app),
        installation,
        scope | {"metadata": "read"},
        repositories,
        state.now() + LIFETIME,
    )
    state.tokens[token.value] = token
    return token


def _token_text(app: App) -> str:
    """Return a token of the stateless shape: an App id and a JWT-like tail of some 480 characters."""
    return (
        f"ghs_{app.id}_{secrets.token_urlsafe(27)}.{secrets.token_urlsafe(240)}.{secrets.token_urlsafe(64)}"
    )
