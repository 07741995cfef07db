import pytest

from app.settings import Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()


def test_the_environment_overrides_the_defaults() -> None:
    settings = Settings.from_environment({"DATABASE_URL": "sqlite://", "SIGN_UP_OPEN": "False"})

    assert settings == Settings(database_url="sqlite://", sign_up_open=False)


def test_a_flag_that_is_neither_true_nor_false_stops_the_start() -> None:
    with pytest.raises(ValueError, match="SIGN_UP_OPEN must be true or false"):
        Settings.from_environment({"SIGN_UP_OPEN": "perhaps"})
