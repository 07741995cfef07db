"""What the application is told from outside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Settings:
    """Every setting, with the value it has when nothing is said."""

    database_url: str = "sqlite:///desk.db"
    sign_up_open: bool = True

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings; raises ValueError for a flag that is neither true nor false."""
        return cls(
            database_url=environment.get("DATABASE_URL", cls.database_url),
            sign_up_open=_flag(environment, "SIGN_UP_OPEN", default=cls.sign_up_open),
        )


def _flag(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    """Read one flag, `true` or `false` in any case."""
    text = environment.get(name, str(default)).strip().lower()
    if text not in ("true", "false"):
        raise ValueError(f"{name} must be true or false, not {text!r}")
    return text == "true"
