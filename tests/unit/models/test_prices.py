from decimal import Decimal

from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.models.prices import Prices
from brainpilot_rt.models.providers import (
    ANTHROPIC_MODEL,
    ANTHROPIC_URL,
    OFFLINE,
    OPENAI_MODEL,
    OPENAI_URL,
    Dialect,
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


async def test_an_unknown_model_or_server_has_no_price() -> None:
    known = profile(Dialect.OPENAI_CHAT, base_url=OPENAI_URL)
    elsewhere = profile(Dialect.OPENAI_CHAT, base_url="http://127.0.0.1:8000/v1")
    assert await Prices().cost(known, "no-such-model", USAGE) is None
    assert await Prices().cost(elsewhere, "gpt-4o-mini", USAGE) is None


async def test_what_runs_here_costs_nothing() -> None:
    assert await Prices().cost(OFFLINE, "offline", USAGE) == Decimal(0)
