from decimal import Decimal

import pytest

from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.models.prices import Assumed, Prices, Quote
from brainpilot_rt.models.providers import (
    ANTHROPIC_MODEL,
    ANTHROPIC_URL,
    OFFLINE,
    OPENAI_MODEL,
    OPENAI_URL,
    Dialect,
    TokenPrices,
)
from tests.unit.models.wires import profile

USAGE = Usage(input=1_000_000, output=1_000_000)


async def test_the_default_models_have_a_price() -> None:
    prices = Prices()
    for url, model in ((ANTHROPIC_URL, ANTHROPIC_MODEL), (OPENAI_URL, OPENAI_MODEL)):
        there = profile(Dialect.ANTHROPIC, base_url=url)
        cost = await prices.cost(there, model, USAGE)
        assert cost is not None
        assert cost > 0


async def test_tokens_from_the_cache_are_cheaper() -> None:
    there = profile(Dialect.ANTHROPIC, base_url=ANTHROPIC_URL)
    fresh = await Prices().cost(there, "claude-sonnet-4-5", Usage(input=1_000_000))
    cached = await Prices().cost(there, "claude-sonnet-4-5", Usage(cache_read=1_000_000))
    assert fresh is not None
    assert cached is not None
    assert 0 < cached < fresh


@pytest.mark.fault("J7")
async def test_an_unknown_model_or_server_has_no_price() -> None:
    known = profile(Dialect.OPENAI_CHAT, base_url=OPENAI_URL)
    elsewhere = profile(Dialect.OPENAI_CHAT, base_url="http://127.0.0.1:8000/v1")
    assert await Prices().cost(known, "no-such-model", USAGE) is None
    assert await Prices().cost(elsewhere, "gpt-4o-mini", USAGE) is None


async def test_what_runs_here_costs_nothing() -> None:
    assert await Prices().cost(OFFLINE, "offline", USAGE) == Decimal(0)
    assert await Prices().quote(OFFLINE, "offline", USAGE) == Quote(Decimal(0), Decimal(0))


async def test_a_price_that_is_known_at_the_address_is_counted_as_it_is() -> None:
    known = profile(Dialect.ANTHROPIC, base_url=ANTHROPIC_URL)
    quote = await Prices().quote(known, ANTHROPIC_MODEL, Usage(input=1000, output=10))
    assert not quote.estimated
    assert quote.cost_usd == quote.counted_usd > 0


async def test_declared_prices_are_used_before_those_of_the_table() -> None:
    declared = profile(
        Dialect.OPENAI_CHAT,
        models=("own",),
        prices={"own": TokenPrices(Decimal(2), Decimal(8), cache_read=Decimal("0.5"))},
    )
    usage = Usage(input=1_000_000, output=500_000, cache_read=200_000, cache_write=100_000)
    quote = await Prices().quote(declared, "own", usage)
    assert quote == Quote(Decimal("6.3"), Decimal("6.3"))
    assert await Prices().cost(declared, "own", usage) == Decimal("6.3")


async def test_a_model_by_its_makers_name_is_counted_at_its_list_price_and_stays_unknown() -> None:
    proxy = profile(Dialect.OPENAI_CHAT, base_url="https://proxy.example/v1")
    maker = profile(Dialect.OPENAI_CHAT, base_url=OPENAI_URL)
    quote = await Prices().quote(proxy, OPENAI_MODEL, USAGE)
    assert (quote.cost_usd, quote.estimated) == (None, True)
    assert quote.counted_usd == await Prices().cost(maker, OPENAI_MODEL, USAGE)


@pytest.mark.fault("J7")
async def test_what_nobody_knows_is_counted_at_the_assumed_prices() -> None:
    proxy = profile(Dialect.OPENAI_CHAT, base_url="https://proxy.example/v1")
    assumed = Assumed(Decimal(3), Decimal(7))
    quote = await Prices(assumed).quote(proxy, "no-such-model", USAGE)
    assert quote == Quote(None, Decimal(10), estimated=True)


async def test_what_is_counted_is_whole_picodollars() -> None:
    declared = profile(
        Dialect.OPENAI_CHAT, prices={"own": TokenPrices(Decimal("0.0000015"), Decimal(0))}
    )
    quote = await Prices().quote(declared, "own", Usage(input=1))
    assert quote.counted_usd == Decimal("0.000000000002")
