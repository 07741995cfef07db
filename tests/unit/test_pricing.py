"""What calls cost: every figure here is worked out by hand from the published prices."""

import json
from decimal import Decimal
from importlib.resources import files

import pytest

from bot import pricing
from bot.errors import UserError
from bot.pricing import Usage

ROWS = json.loads(files("bot").joinpath("models.json").read_text(encoding="utf-8"))["models"]
COUNTS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")


def test_each_kind_of_token_has_its_own_price():
    """A million of each on Opus 5.5: 4 in, 20 out, 0.20 read, 5 and 8 written."""
    prices = {
        "input_tokens": "4",
        "output_tokens": "20",
        "cache_read": "0.20",
        "cache_write_5m": "5",
        "cache_write_1h": "8",
    }
    for name, price in prices.items():
        assert pricing.cost("claude-opus-5-5", Usage(**{name: 1_000_000})) == Decimal(price)


def test_the_cost_of_a_call_is_the_exact_sum():
    usage = Usage(input_tokens=3, output_tokens=7, cache_read=1_001, cache_write_5m=11, cache_write_1h=13)
    assert pricing.cost("claude-sonnet-5-5", usage) == Decimal("0.0002556")


def test_nothing_costs_nothing():
    assert pricing.cost("claude-fable-5-2", Usage()) == 0


@pytest.mark.parametrize(("prompt", "price"), [(100_000, "0.01"), (100_001, "0.0500005")])
def test_haiku_is_dearer_from_the_first_token_of_the_second_band(prompt, price):
    assert pricing.cost("claude-haiku-5-5", Usage(input_tokens=prompt)) == Decimal(price)


def test_the_whole_prompt_chooses_the_band_and_the_band_prices_the_output_too():
    """Reads and writes count towards the 100,000; 0.05 read, 0.625 and 1 written, 2.50 out."""
    usage = Usage(1, output_tokens=1_000_000, cache_read=50_000, cache_write_5m=30_000, cache_write_1h=20_000)
    expected = (
        Decimal("2.50") + Decimal("0.0025") + Decimal("0.01875") + Decimal("0.02") + Decimal("0.0000005")
    )
    assert pricing.cost("claude-haiku-5-5", usage) == expected


def test_output_does_not_move_a_call_into_the_dearer_band():
    usage = Usage(input_tokens=1, output_tokens=1_000_000)
    assert pricing.cost("claude-haiku-5-5", usage) == Decimal("0.5000001")


def test_an_unknown_model_is_refused_with_the_list_of_the_known_ones():
    with pytest.raises(UserError) as refusal:
        pricing.cost("gpt-99", Usage())

    assert "`gpt-99`" in str(refusal.value)
    assert all(f"`{model}`" in str(refusal.value) for model in pricing.models())


@pytest.mark.parametrize(
    "ask", [pricing.window, pricing.max_output, pricing.thinking, pricing.default_effort]
)
def test_every_question_about_an_unknown_model_is_refused(ask):
    with pytest.raises(UserError):
        ask("claude-of-tomorrow")


def test_a_name_from_a_comment_cannot_break_out_of_its_quotes():
    with pytest.raises(UserError) as refusal:
        pricing.window("x` @everyone\n# Hello " + "y" * 500)

    assert str(refusal.value).startswith("I know no price for the model `x @everyone# Hello y")
    assert "y" * 90 not in str(refusal.value)


def test_a_projection_takes_the_dearest_way_the_input_can_go():
    """Everything written to the cache and every token of output used: 100,000 at 2.50 and 8,000 at 10."""
    assert pricing.project("claude-sonnet-5-5", 100_000, 8_000) == Decimal("0.33")


def test_a_projection_counts_what_is_expected_in_the_cache_at_the_price_of_a_read():
    assert pricing.project("claude-sonnet-5-5", 100_000, 0, cached=90_000) == Decimal("0.034")


def test_more_cached_than_there_is_does_not_make_a_call_cheaper():
    assert pricing.project("claude-sonnet-5-5", 1_000, 0, cached=9_000) == Decimal("0.0001")


@pytest.mark.parametrize("model", pricing.models())
def test_no_call_within_a_projection_costs_more_than_it(model):
    bound = pricing.project(model, 60_000, 4_000)
    for usage in (
        Usage(60_000, 4_000),
        Usage(0, 4_000, cache_write_5m=60_000),
        Usage(1, 1, cache_read=59_999),
    ):
        assert pricing.cost(model, usage) <= bound


def test_usages_add_up_count_by_count():
    total = Usage(1, 2, 3, 4, 5) + Usage(10, 20, 30, 40, 50)
    assert total == Usage(11, 22, 33, 44, 55)
    assert total.total_input == 143


def test_a_usage_survives_the_journal():
    usage = Usage(1, 2, 3, 4, 5)
    assert Usage.from_dict(json.loads(json.dumps(usage.to_dict()))) == usage


def test_a_usage_is_read_from_an_older_or_newer_journal():
    assert Usage.from_dict({"input_tokens": 7, "moon_tokens": 9}) == Usage(input_tokens=7)


def test_a_dated_id_has_the_price_of_its_model():
    assert pricing.known("claude-haiku-4-5-20251001")
    assert pricing.cost("claude-haiku-4-5-20251001", Usage(input_tokens=1_000_000)) == 1
    assert "claude-haiku-4-5-20251001" not in pricing.models()


def test_the_models_that_cannot_stop_thinking_are_marked():
    always = [model for model in pricing.models() if pricing.thinking(model) == "always"]
    assert always == ["claude-opus-5-5", "claude-fable-5-2", "claude-fable-5-1"]


def test_the_small_models_are_marked_as_small():
    assert pricing.window("claude-haiku-4-5") == 200_000
    assert pricing.max_output("claude-haiku-4-5") == 64_000
    assert pricing.default_effort("claude-haiku-4-5") == ""
    assert pricing.window("claude-opus-5-5") == 1_000_000


def test_the_table_holds_the_models_of_the_settings():
    line = ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-2")
    assert pricing.models()[:4] == line


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_every_row_of_the_table_is_whole(row):
    """Prices are strings in rising bands with an open end, and reads are the cheapest way in."""
    assert row["source"]
    assert row["thinking"] in {"always", "adaptive", "extended"}
    assert row["effort"] in {"", "low", "medium", "high", "xhigh", "max"}
    assert 0 < row["max_output"] < row["window"]
    assert row["prices"][-1]["up_to"] is None
    assert all(band["up_to"] for band in row["prices"][:-1])
    for band in row["prices"]:
        assert all(isinstance(band[name], str) for name in COUNTS)
        price = {name: Decimal(band[name]) for name in COUNTS}
        assert 0 < price["cache_read"] < price["input"] < price["output"]
        assert price["input"] * Decimal("1.25") == price["cache_write_5m"]
        assert price["input"] * 2 == price["cache_write_1h"]
