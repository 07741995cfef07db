"""Every knob of the process, each with its sentence; read once at the start."""

import base64
import binascii
import difflib
import ipaddress
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticUndefined
from pydantic_core.core_schema import ValidationInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bot import pricing
from bot.errors import SettingsError

PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----(.*?)-----END \1-----", re.DOTALL)
RSA_OID = bytes.fromhex("2a864886f70d010101")
EXAMPLE_SECRET = "replace-me"
"""Marks the secrets of `.env.example`, so that nobody goes live with a published one."""


def _split_url(text: str) -> SplitResult:
    """Return the parts of a plain web address; ValueError says what is wrong with it."""
    try:
        url = urlsplit(text)
        usable = url.hostname is not None and url.port != 0
    except ValueError:
        usable = False
    if not usable or url.scheme not in ("https", "http") or re.search(r"[\s\\]", text):
        raise ValueError("must be a full URL such as https://host.example")
    if url.username is not None or url.password is not None or url.query or url.fragment:
        raise ValueError("must be a plain URL without user name, query or fragment")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _plain_url(text: str) -> str:
    url = _split_url(text.strip())
    if url.scheme == "http" and not _is_loopback(url.hostname or ""):
        raise ValueError("must begin with https://; http:// is for this machine only")
    return url.geturl().rstrip("/")


def _split_list(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _priced(model: str) -> str:
    if not pricing.known(model):
        raise ValueError(
            f"must name models of known price, not {model}; known are {', '.join(pricing.models())}"
        )
    return model


def _check_ladder(models: tuple[str, ...]) -> tuple[str, ...]:
    if not models or len(set(models)) < len(models):
        raise ValueError("must name at least one model, and each only once")
    return models


def _wrap_pem(text: str) -> str:
    """Return an RSA private key as clean PEM, its line breaks mended; ValueError when it is none."""
    found = PEM.search(text.replace("\\r", "").replace("\\n", "\n"))
    if found is None:
        raise ValueError("holds no PEM private key; use the .pem file that GitHub made for the App")
    kind, body = found.group(1), "".join(found.group(2).split())
    try:
        der = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        der = b""
    if kind not in ("RSA PRIVATE KEY", "PRIVATE KEY") or (kind == "PRIVATE KEY" and RSA_OID not in der[:40]):
        raise ValueError("must be an RSA private key without a passphrase, as GitHub makes it")
    if not _is_whole_der(der):
        raise ValueError("is a damaged private key; copy the whole .pem file again")
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""])


def _is_whole_der(der: bytes) -> bool:
    """Return whether `der` is one sequence of exactly the length it states: a cut copy of a key is not."""
    if len(der) < 256 or der[0] != 0x30 or not 0x81 <= der[1] <= 0x84:
        return False
    end = 2 + (der[1] & 0x7F)
    return len(der) == end + int.from_bytes(der[2:end], "big")


def _database(text: str) -> str:
    # SQLAlchemy knows neither "postgres" nor that psycopg 3 is the driver installed here.
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", text)
    if url and not url.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError("must begin with sqlite:/// or postgresql://")
    try:
        urlsplit(url)
    except ValueError:
        raise ValueError("must be a full database URL such as postgresql://user:password@host/name") from None
    return url


Url = Annotated[str, AfterValidator(_plain_url)]
Model = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$", max_length=200), AfterValidator(_priced)
]
Count = Annotated[int, Field(ge=1)]
Duration = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Dollars = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What the operator decides; frozen, and every field has its line in `.env.example`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
    )

    github_app_id: int = Field(gt=0, description="The App's numeric id, from its page on GitHub.")
    github_private_key: SecretStr | None = Field(
        None, description=r"The App's private key as PEM text, line breaks real or written as \n."
    )
    github_private_key_file: Path | None = Field(
        None,
        validate_default=True,
        description="The file with the App's private key, instead of the text.",
    )
    github_webhook_secret: SecretStr = Field(
        description="The App's webhook secret; comma-separated while it is being changed: current, previous."
    )
    github_api_url: Url = Field("https://api.github.com", description="Where GitHub's REST API is.")
    github_server_url: Url = Field(
        "https://github.com",
        description="Where GitHub's pages and repositories are; change it with the API's.",
    )
    anthropic_api_key: SecretStr = Field(min_length=1, description="The key that pays for the models' work.")
    anthropic_base_url: Url = Field("https://api.anthropic.com", description="Where the models are called.")
    data_dir: Path = Field(
        Path("data"), validate_default=True, description="The folder for mirrors and the database."
    )
    database_url: str = Field(
        "",
        validate_default=True,
        repr=False,
        description="The database, sqlite:/// or postgresql://; empty is a SQLite file in DATA_DIR.",
    )
    public_url: Url | None = Field(
        None, description="Where people reach the bot's pages; without it comments carry no links to them."
    )
    label: str = Field(
        "agent-build", min_length=1, max_length=50, description="The issue label that starts a build."
    )
    planner_model: Model = Field("claude-opus-5-5", description="The model that writes plans.")
    executor_model: Model = Field("claude-sonnet-5-5", description="The model that writes phases.")
    verifier_model: Model = Field("claude-opus-5-5", description="The model that verifies a finished build.")
    model_ladder: Annotated[
        tuple[Model, ...], NoDecode, BeforeValidator(_split_list), AfterValidator(_check_ladder)
    ] = Field(
        ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-2"),
        description="The models that advice chooses from, comma-separated, weakest first.",
    )
    build_budget_usd: Dollars = Field(
        Decimal("10"), description="The most one build may cost, in US dollars; a policy may lower it."
    )
    phase_budget_usd: Dollars = Field(
        Decimal("3"), description="The most one phase may cost, in US dollars; a policy may lower it."
    )
    max_turns: Count = Field(60, description="The most model calls of one attempt.")
    checks_settle_seconds: Duration = Field(
        30, description="How long a set of checks must stay unchanged to count as complete, in seconds."
    )
    checks_poll_seconds: Duration = Field(
        60, description="How often waiting builds read their checks, in seconds."
    )
    checks_timeout_minutes: Duration = Field(
        60, description="How long builds wait for their checks, in minutes."
    )
    reconcile_seconds: Duration = Field(
        300, description="How often live builds and missed deliveries are looked up, in seconds."
    )
    concurrent_attempts: Count = Field(8, description="The most attempts that run at the same time.")
    concurrent_attempts_per_installation: Count = Field(
        3, description="The most attempts of one installation that run at the same time."
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="How log lines look, console or json."
    )

    _pem: SecretStr = PrivateAttr()

    @field_validator("github_private_key")
    @classmethod
    def _mend_key(cls, value: SecretStr | None) -> SecretStr | None:
        return value and SecretStr(_wrap_pem(value.get_secret_value()))

    @field_validator("github_private_key_file")
    @classmethod
    def _one_key(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        # A key that was found wrong is absent from `data`: that fault is told already.
        inline = info.data.get("github_private_key", ...)
        if value is not None and inline is not None:
            raise ValueError("and GITHUB_PRIVATE_KEY are both set; keep one of them")
        if value is None and inline is None:
            raise ValueError("or GITHUB_PRIVATE_KEY is missing; set one to the App's private key")
        if value is not None:
            _read_key(value)
        return value

    @field_validator("github_webhook_secret")
    @classmethod
    def _some_secret(cls, value: SecretStr) -> SecretStr:
        if not _split_list(value.get_secret_value()):
            raise ValueError("must hold at least one secret")
        return value

    @field_validator("anthropic_api_key")
    @classmethod
    def _fits_header(cls, value: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError("holds a space or another character that no key has; copy it again")
        return value

    @field_validator("data_dir")
    @classmethod
    def _whole_path(cls, value: Path) -> Path:
        # Git runs in other folders, so the path must not depend on the current one.
        return value.expanduser().absolute()

    @field_validator("database_url")
    @classmethod
    def _some_database(cls, value: str, info: ValidationInfo) -> str:
        return _database(value) or f"sqlite:///{info.data.get('data_dir', Path())}/phasegate.db"

    def model_post_init(self, context: Any) -> None:
        """Keep the key: its file may be gone, or another one, by the time the key is needed."""
        self._pem = self.github_private_key or SecretStr(_read_key(self.github_private_key_file or Path()))

    @property
    def private_key(self) -> SecretStr:
        """The App's private key as PEM text, from the setting or its file."""
        return self._pem

    @property
    def webhook_secrets(self) -> tuple[bytes, ...]:
        """The webhook secrets a delivery may be signed with, current first."""
        return tuple(secret.encode() for secret in _split_list(self.github_webhook_secret.get_secret_value()))

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret text of the process, for removal from whatever leaves it."""
        key = self.private_key.get_secret_value()
        password = urlsplit(self.database_url).password
        # A key may leak line by line; its last line can be too short to tell from other text.
        known = [self.anthropic_api_key.get_secret_value(), key, *filter(_is_telling, key.splitlines()[1:-1])]
        known += [secret.decode() for secret in self.webhook_secrets]
        return tuple(known + ([password, unquote(password)] if password else []))

    @property
    def published_secrets(self) -> tuple[str, ...]:
        """Names of the secrets that still hold the published value of `.env.example`."""
        return tuple(
            name.upper()
            for name in ("github_webhook_secret", "anthropic_api_key")
            if EXAMPLE_SECRET in getattr(self, name).get_secret_value()
        )


def _is_telling(line: str) -> bool:
    return len(line) >= 16


def _read_key(path: Path) -> str:
    try:
        text = path.expanduser().read_text("ascii")
    except (OSError, UnicodeDecodeError) as fault:
        reason = (isinstance(fault, OSError) and fault.strerror) or "not a text file"
        raise ValueError(f"cannot be read ({reason}); name the App's .pem file") from None
    return _wrap_pem(text)


def load(env_file: str | Path | None = ".env", **given: Any) -> Settings:
    """Return the settings: `given`, environment, `env_file`; SettingsError has one line per fault."""
    try:
        return Settings(_env_file=env_file, **given)
    except ValidationError as error:
        faults = [_sentence(fault) for fault in error.errors(include_url=False, include_input=False)]
    except (OSError, UnicodeDecodeError):
        faults = [f"{env_file} cannot be read; make it a UTF-8 text file that this user may read."]
    # Raised outside the handler, so that no traceback holds the error that knows the values.
    raise SettingsError("\n".join(dict.fromkeys(faults)))


def _sentence(fault: Mapping[str, Any]) -> str:
    name = str(fault["loc"][0])
    match fault["type"]:
        case "extra_forbidden":
            return _unknown(name)
        case "missing":
            return f"{name.upper()} is missing; set it in the environment or in .env: {_description(name)}"
        case "value_error":
            return f"{name.upper()} {fault['ctx']['error']}."
        case "string_pattern_mismatch":
            return f"{name.upper()} must be a model's id, such as claude-sonnet-5-5."
        case _:
            reason = fault["msg"].replace("Input should", "must").replace("String should", "must")
            return f"{name.upper()} {reason[:1].lower()}{reason[1:]}."


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0.75)
    if near:
        return f".env sets {name.upper()}, which is no setting; did you mean {near[0].upper()}?"
    # A line of a private key pasted without quotes arrives here as a name; those never have an underscore.
    if re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", name):
        return f".env sets {name.upper()}, which is no setting; remove the line."
    return ".env has a line that is no setting; a value over several lines must stand in double quotes."


def _description(name: str) -> str:
    return Settings.model_fields[name].description or ""


def example(name: str) -> str:
    """Return the default of one setting as it stands in `.env.example`; empty where it has none."""
    default = Settings.model_fields[name].default
    if default is None or default is PydanticUndefined:
        return ""
    return ",".join(default) if isinstance(default, tuple) else str(default)


def table() -> str:
    """Return the settings as a Markdown table: name, default, meaning."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else f"`{example(name)}`" if example(name) else ""
        rows.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"
