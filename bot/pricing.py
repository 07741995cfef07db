"""What a model costs and how much fits in: token counts in, USD out. Pure; the figures are in models.json."""

import json
from dataclasses import asdict, dataclass
from decimal import Decimal
from importlib.resources import files
from typing import Any

from bot.errors import UserError


@dataclass(frozen=True)
class Usage:
    """Tokens of one or more calls; the five counts never overlap."""

    input_tokens: int = 0
    """Input that was neither read from nor written to the cache."""
    output_tokens: int = 0
    """Output, thinking included."""
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def total_input(self) -> int:
        """The whole prompt in tokens."""
        return self.input_tokens + self.cache_read + self.cache_write_5m + self.cache_write_1h

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read + other.cache_read,
            self.cache_write_5m + other.cache_write_5m,
            self.cache_write_1h + other.cache_write_1h,
        )

    def to_dict(self) -> dict[str, int]:
        """The counts by name, for the journal and the record."""
        return asdict(self)

    @classmethod
    def from_dict(cls, counts: dict[str, int]) -> "Usage":
        """The usage that `to_dict` wrote; a missing count is 0, an unknown one is left out."""
        return cls(**{name: counts[name] for name in cls.__dataclass_fields__ if name in counts})

    @classmethod
    def from_api(cls, counts: dict[str, Any]) -> "Usage":
        """The usage in the words of the Messages API; cache writes not broken down were for 5 minutes."""
        written = counts.get("cache_creation_input_tokens") or 0
        one_hour = (counts.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0
        return cls(
            input_tokens=counts.get("input_tokens") or 0,
            output_tokens=counts.get("output_tokens") or 0,
            cache_read=counts.get("cache_read_input_tokens") or 0,
            cache_write_5m=max(written - one_hour, 0),
            cache_write_1h=one_hour,
        )


@dataclass(frozen=True)
class _Band:
    """Prices in USD per million tokens for prompts of at most `up_to` tokens."""

    up_to: int | None
    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal


@dataclass(frozen=True)
class _Model:
    """One line of the price table."""

    id: str
    window: int
    max_output: int
    thinking: str
    effort: str
    bands: tuple[_Band, ...]

    def band(self, prompt: int) -> _Band:
        """The prices for a prompt of that many tokens."""
        return next(band for band in self.bands if band.up_to is None or prompt <= band.up_to)


def _read_band(row: dict[str, Any]) -> _Band:
    return _Band(up_to=row["up_to"], **{name: Decimal(row[name]) for name in row if name != "up_to"})


def _read_table(text: str) -> tuple[tuple[str, ...], dict[str, _Model]]:
    order: list[str] = []
    table: dict[str, _Model] = {}
    for row in json.loads(text)["models"]:
        bands = tuple(_read_band(band) for band in row["prices"])
        model = _Model(row["id"], row["window"], row["max_output"], row["thinking"], row["effort"], bands)
        order.append(model.id)
        for name in (model.id, *row.get("aliases", ())):
            table[name] = model
    return tuple(order), table


_ORDER, _TABLE = _read_table(files("bot").joinpath("models.json").read_text(encoding="utf-8"))


def known(model: str) -> bool:
    """Whether the price table holds the model, by its id or its dated id."""
    return model in _TABLE


def models() -> tuple[str, ...]:
    """The ids in the price table: today's line from the weakest to the strongest, then older ones."""
    return _ORDER


def _find(model: str) -> _Model:
    if model not in _TABLE:
        name = "".join(char for char in model if char.isprintable() and char != "`")[:80]
        listed = ", ".join(f"`{each}`" for each in _ORDER)
        raise UserError(f"I know no price for the model `{name}`. I know: {listed}.")
    return _TABLE[model]


def cost(model: str, usage: Usage) -> Decimal:
    """What a call with that usage costs in USD, unrounded; UserError for a model of no known price.

    Give it one call at a time: where the price depends on the size of the prompt, a sum of calls is dearer.
    """
    band = _find(model).band(usage.total_input)
    total = (
        usage.input_tokens * band.input
        + usage.output_tokens * band.output
        + usage.cache_read * band.cache_read
        + usage.cache_write_5m * band.cache_write_5m
        + usage.cache_write_1h * band.cache_write_1h
    )
    return total / 1_000_000


def project(model: str, input_tokens: int, max_tokens: int, *, cached: int = 0) -> Decimal:
    """The most the next call can cost in USD: a prompt of `input_tokens` and `max_tokens` of output.

    `cached` of the input tokens are counted as read from the cache; the rest is counted as written to it.
    UserError for a model of no known price.
    """
    read = min(cached, input_tokens)
    usage = Usage(cache_write_5m=input_tokens - read, cache_read=read, output_tokens=max_tokens)
    return cost(model, usage)


def window(model: str) -> int:
    """How many tokens of prompt and output together fit; UserError for an unknown model."""
    return _find(model).window


def max_output(model: str) -> int:
    """The largest `max_tokens` the model takes; UserError for an unknown model."""
    return _find(model).max_output


def thinking(model: str) -> str:
    """How the model thinks: `always`, `adaptive` or `extended`; UserError for an unknown model."""
    return _find(model).thinking


def default_effort(model: str) -> str:
    """The effort the model uses when none is asked for, empty where it takes none; UserError if unknown."""
    return _find(model).effort
