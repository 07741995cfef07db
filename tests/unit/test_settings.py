"""The settings: what is read, what stops the start, and that the example file is the truth."""

import base64
import traceback
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import ValidationError

from bot import settings
from bot.errors import SettingsError
from bot.settings import Settings, load

EXAMPLE = Path(__file__).parents[2] / ".env.example"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PKCS1 = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
PKCS8 = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
DER = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def pem(der: bytes, kind: str = "PRIVATE KEY") -> str:
    return f"-----BEGIN {kind}-----\n{base64.encodebytes(der).decode()}-----END {kind}-----\n"


REQUIRED = {
    "GITHUB_APP_ID": "12",
    "GITHUB_PRIVATE_KEY": PKCS1,
    "GITHUB_WEBHOOK_SECRET": "h00k-s3cret",
    "ANTHROPIC_API_KEY": "sk-test-key",
}


@pytest.fixture(autouse=True)
def environ(monkeypatch):
    """An environment without any setting; calling it sets variables."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    def set_all(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.fixture
def refused(environ):
    """What the start says when the variables given replace the required ones."""

    def start(env_file=None, **values):
        environ(**{**REQUIRED, **values})
        with pytest.raises(SettingsError) as caught:
            load(env_file)
        return str(caught.value)

    return start


def names_in_example() -> list[str]:
    lines = EXAMPLE.read_text().splitlines()
    return [line.partition("=")[0] for line in lines if line and not line.startswith("#")]


def test_every_setting_stands_in_the_example_with_its_sentence():
    """`.env.example` holds each field once, in order, under its description."""
    lines = EXAMPLE.read_text().splitlines()
    described = {line.partition("=")[0]: above for above, line in pairwise(lines)}

    assert names_in_example() == [name.upper() for name in Settings.model_fields]
    for name, field in Settings.model_fields.items():
        assert described[name.upper()] == f"# {field.description}"


def test_every_description_is_one_sentence():
    for field in Settings.model_fields.values():
        assert field.description
        assert field.description.endswith(".")


def test_the_example_loads_once_it_has_a_key_file(environ, tmp_path):
    key_file = tmp_path / "key.pem"
    key_file.write_text(PKCS1)
    environ(GITHUB_PRIVATE_KEY_FILE=str(key_file))

    assert load(EXAMPLE).github_app_id == 123456


def test_the_example_states_the_defaults(environ, tmp_path):
    """Loading the example gives what loading nothing gives, but for what must be filled in."""
    environ(**REQUIRED)
    from_nothing = load(None).model_dump()
    from_example = load(EXAMPLE, github_private_key_file=None).model_dump()
    filled_in = {"github_app_id", "github_webhook_secret", "anthropic_api_key"}

    assert {k: from_example[k] for k in from_nothing if k not in filled_in} == {
        k: v for k, v in from_nothing.items() if k not in filled_in
    }


def test_the_defaults_are_those_of_the_design(environ):
    environ(**REQUIRED)
    read = load(None)

    assert read.label == "agent-build"
    assert read.executor_model == "claude-sonnet-5-5"
    assert read.model_ladder[0] == "claude-haiku-5-5"
    assert (read.build_budget_usd, read.phase_budget_usd) == (Decimal(10), Decimal(3))
    assert (read.checks_settle_seconds, read.checks_poll_seconds, read.checks_timeout_minutes) == (30, 60, 60)


def test_the_database_is_a_file_in_the_data_folder_by_default(environ, tmp_path):
    environ(**REQUIRED, DATA_DIR=str(tmp_path))

    assert load(None).database_url == f"sqlite:///{tmp_path}/phasegate.db"


def test_the_data_folder_does_not_depend_on_where_git_runs(environ):
    environ(**REQUIRED)

    assert load(None).data_dir == Path.cwd() / "data"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_any_spelling_of_postgresql_uses_the_installed_driver(environ, scheme):
    environ(**REQUIRED, DATABASE_URL=f"{scheme}://me:p%40ss@db/phasegate")
    read = load(None)

    assert read.database_url == "postgresql+psycopg://me:p%40ss@db/phasegate"
    assert {"p%40ss", "p@ss"} <= set(read.secrets)


@pytest.mark.parametrize("url", ["mysql://db/x", "phasegate.db", "postgresql://[db/x"])
def test_another_database_is_refused(refused, url):
    assert refused(DATABASE_URL=url).startswith("DATABASE_URL must be")


def test_all_faults_are_told_at_once(environ):
    environ(LOG_FORMAT="xml", MAX_TURNS="0")
    with pytest.raises(SettingsError) as caught:
        load(None)

    assert [line.split()[0] for line in str(caught.value).splitlines()] == [
        "GITHUB_APP_ID",
        "GITHUB_PRIVATE_KEY_FILE",
        "GITHUB_WEBHOOK_SECRET",
        "ANTHROPIC_API_KEY",
        "MAX_TURNS",
        "LOG_FORMAT",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_APP_ID", "0"),
        ("GITHUB_APP_ID", "Iv1.abc"),
        ("BUILD_BUDGET_USD", "0"),
        ("BUILD_BUDGET_USD", "nan"),
        ("PHASE_BUDGET_USD", "-1"),
        ("CHECKS_SETTLE_SECONDS", "0"),
        ("CHECKS_POLL_SECONDS", "inf"),
        ("RECONCILE_SECONDS", "often"),
        ("CONCURRENT_ATTEMPTS", "0"),
        ("CONCURRENT_ATTEMPTS_PER_INSTALLATION", "1.5"),
        ("PLANNER_MODEL", "two words"),
        ("MODEL_LADDER", ","),
        ("PLANNER_MODEL", "claude-foo-1"),
        ("EXECUTOR_MODEL", "claude-foo-1"),
        ("VERIFIER_MODEL", "claude-foo-1"),
        ("MODEL_LADDER", "claude-haiku-5-5,claude-foo-1"),
        ("MODEL_LADDER", "claude-opus-5-5,claude-haiku-5-5,claude-opus-5-5"),
        ("LABEL", "   "),
        ("LABEL", "x" * 51),
        ("GITHUB_WEBHOOK_SECRET", " , "),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_setting(refused, name, value):
    said = refused(**{name: value})

    assert said.startswith(f"{name} must ")
    assert said.endswith(".")
    assert "\n" not in said


def test_fractions_of_seconds_are_welcome(environ):
    environ(**REQUIRED, CHECKS_POLL_SECONDS="0.05", CHECKS_TIMEOUT_MINUTES="0.5")
    read = load(None)

    assert (read.checks_poll_seconds, read.checks_timeout_minutes) == (0.05, 0.5)


def test_the_ladder_is_a_list_with_commas(environ):
    environ(**REQUIRED, MODEL_LADDER="claude-haiku-5-5, claude-opus-5-5 ,")

    assert load(None).model_ladder == ("claude-haiku-5-5", "claude-opus-5-5")


def test_a_model_of_no_known_price_is_named_beside_those_that_have_one(refused):
    said = refused(PLANNER_MODEL="claude-foo-1", MODEL_LADDER="claude-foo-2,claude-foo-3")

    assert [line.partition(";")[0] for line in said.splitlines()] == [
        "PLANNER_MODEL must name models of known price, not claude-foo-1",
        "MODEL_LADDER must name models of known price, not claude-foo-2",
        "MODEL_LADDER must name models of known price, not claude-foo-3",
    ]
    assert "known are claude-haiku-5-5, " in said


@pytest.mark.parametrize(
    "key", ["sk-ant two", "sk-ant\ntwo", "\N{RIGHT DOUBLE QUOTATION MARK}sk-ant", "sk-\xe4nt"]
)
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(refused, key):
    said = refused(ANTHROPIC_API_KEY=key)

    assert said == "ANTHROPIC_API_KEY holds a space or another character that no key has; copy it again."


def test_several_webhook_secrets_are_kept_in_order(environ):
    environ(**{**REQUIRED, "GITHUB_WEBHOOK_SECRET": "new, old"})

    assert load(None).webhook_secrets == (b"new", b"old")


def test_an_empty_variable_counts_as_not_set(environ):
    environ(**REQUIRED, PUBLIC_URL="", LABEL="")
    read = load(None)

    assert read.public_url is None
    assert read.label == "agent-build"


@pytest.mark.parametrize("name", ["GITHUB_API_URL", "GITHUB_SERVER_URL", "ANTHROPIC_BASE_URL", "PUBLIC_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "http://github.example",
        "http://localhost.example",
        "http://10.0.0.1",
        "ftp://localhost",
        "github.example",
        "https://",
        "https://user:word@host",
        "https://host/?q=1",
        "https://host:port",
        "https://ho st",
        "https://[",
    ],
)
def test_an_unsafe_address_is_refused(refused, name, url):
    assert refused(**{name: url}).startswith(f"{name} must ")


@pytest.mark.parametrize(
    "url", ["http://localhost:3000", "http://127.0.0.2:9/api", "http://[::1]:80", "https://x.y"]
)
def test_https_and_this_machine_are_safe_addresses(environ, url):
    environ(**REQUIRED, GITHUB_API_URL=f"{url}/")

    assert load(None).github_api_url == url


@pytest.mark.parametrize(
    "pasted",
    [
        PKCS1,
        PKCS8,
        PKCS1.replace("\n", "\\n"),
        PKCS1.replace("\n", "\r\n"),
        PKCS1.replace("\n", " "),
        f'"{PKCS8}"',
    ],
    ids=["pkcs1", "pkcs8", "escaped", "crlf", "one line", "quoted"],
)
def test_a_key_is_mended_however_it_was_pasted(environ, pasted):
    environ(**{**REQUIRED, "GITHUB_PRIVATE_KEY": pasted})
    read = load_pem_private_key(load(None).private_key.get_secret_value().encode(), None)

    assert isinstance(read, rsa.RSAPrivateKey)
    assert read.private_numbers() == KEY.private_numbers()


@pytest.mark.parametrize(
    "pasted",
    [
        "sekrit",
        PKCS1[:900] + "\n-----END RSA PRIVATE KEY-----\n",
        PKCS1.replace("RSA PRIVATE", "PUBLIC"),
        PKCS1.replace("MII", "M!I", 1),
        KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode(),
        KEY.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"x")
        ).decode(),
        pem(DER.replace(bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a864886f70d010102"))),
    ],
    ids=["no pem", "cut", "public", "not base64", "encrypted", "encrypted pkcs1", "not rsa"],
)
def test_what_is_no_plain_rsa_key_is_refused(refused, pasted):
    assert refused(GITHUB_PRIVATE_KEY=pasted).startswith("GITHUB_PRIVATE_KEY ")


def test_the_key_may_come_from_a_file(environ, tmp_path):
    (tmp_path / "key.pem").write_text(PKCS8)
    environ(**{**REQUIRED, "GITHUB_PRIVATE_KEY": "", "GITHUB_PRIVATE_KEY_FILE": str(tmp_path / "key.pem")})
    read = load(None)
    (tmp_path / "key.pem").unlink()

    assert read.private_key.get_secret_value() == PKCS8


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"nothing"])
def test_a_key_file_that_holds_no_key_is_refused(refused, tmp_path, content):
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    said = refused(GITHUB_PRIVATE_KEY="", GITHUB_PRIVATE_KEY_FILE=str(path))

    assert said.startswith("GITHUB_PRIVATE_KEY_FILE ")


def test_a_key_given_twice_is_refused(refused, tmp_path):
    assert "both set" in refused(GITHUB_PRIVATE_KEY_FILE=str(tmp_path / "key.pem"))


def test_an_unknown_name_in_the_file_is_refused(refused, tmp_path):
    (tmp_path / ".env").write_text("LABLE=x\nSOME_THING=y\n")
    said = refused(tmp_path / ".env")

    assert "LABLE, which is no setting; did you mean LABEL?" in said
    assert "SOME_THING, which is no setting" in said


def test_a_file_that_is_no_text_is_refused(refused, tmp_path):
    (tmp_path / ".env").write_bytes(b"LABEL=\xff\xfe\n")

    assert "cannot be read" in refused(tmp_path / ".env")


def test_no_fault_shows_a_secret(environ, tmp_path):
    """Not even a key pasted into `.env` without quotes, whose lines are then read as names."""
    lines = base64.encodebytes(DER)
    (tmp_path / ".env").write_text(f"GITHUB_PRIVATE_KEY={PKCS1}\nAbCdEfGh==\nZZtop=1\n{lines.decode()}")
    environ(GITHUB_WEBHOOK_SECRET=",", ANTHROPIC_API_KEY="", DATABASE_URL="mysql://me:hidden@db")
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / ".env")
    told = "".join(traceback.format_exception(caught.value)).lower()

    assert caught.value.__context__ is None
    assert not [line for line in PKCS1.lower().splitlines()[1:-1] if line in told]
    assert not [word for word in ("abcdefgh", "zztop", "hidden") if word in told]


def test_showing_the_settings_shows_no_secret(environ):
    environ(**REQUIRED, DATABASE_URL="postgresql://me:hidden@db/x")
    read = load(None)
    shown = repr(read)

    assert not [secret for secret in read.secrets if secret in shown]


def test_the_secrets_are_all_there_to_be_removed(environ):
    environ(**{**REQUIRED, "GITHUB_WEBHOOK_SECRET": "new,old"})
    known = load(None).secrets

    assert {"sk-test-key", "new", "old", PKCS1, PKCS1.splitlines()[5]} <= set(known)


def test_the_short_last_line_of_a_key_is_no_secret_of_its_own(environ):
    """Removing four letters from everything that is said would spoil it."""
    key = pem(bytes([0x30, 0x82, 1, 31]) + bytes(287), "RSA PRIVATE KEY")
    environ(**{**REQUIRED, "GITHUB_PRIVATE_KEY": key})

    assert "AAAA" not in load(None).secrets
    assert "A" * 64 in load(None).secrets


def test_secrets_of_the_example_are_recognised(environ):
    """So that a start with published secrets can be refused or warned about."""
    environ(GITHUB_PRIVATE_KEY=PKCS1)
    copied = load(EXAMPLE, github_private_key_file=None)
    environ(**REQUIRED)

    assert copied.published_secrets == ("GITHUB_WEBHOOK_SECRET", "ANTHROPIC_API_KEY")
    assert load(None).published_secrets == ()


def test_settings_cannot_be_changed(environ):
    environ(**REQUIRED)
    with pytest.raises(ValidationError):
        load(None).label = "other"


def test_the_table_lists_every_setting_once():
    rows = settings.table().splitlines()[2:]

    assert [row.split("`")[1] for row in rows] == names_in_example()
    assert "| `MAX_TURNS` | `60` | The most model calls of one attempt. |" in rows
