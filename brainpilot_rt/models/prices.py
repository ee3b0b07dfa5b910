"""What a call cost, from what the owner declared and the offline table of genai-prices (D16).

An unknown price is None, never zero: a model that is not in the table, or a server whose address
the table does not know, may charge anything. Only what runs here for free (offline, mock, Ollama)
costs zero. The table is imported on a thread by the first call or by `warm()`; it is never fetched
from the network.

Budgets need a number all the same. For a call whose price is not known they count, in this order:
the list price of a model of that very name at its maker, or the prices the settings assume; both
are marked as estimates, and the cost stays unknown.
"""

import asyncio
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final

from brainpilot_rt.domain.governing import PICO
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.models.providers import ProviderProfile, TokenPrices

_MILLION: Final = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Quote:
    """What some usage costs."""

    cost_usd: Decimal | None
    """None: the price is not known."""
    counted_usd: Decimal
    """What budgets count, in whole picodollars."""
    estimated: bool = False
    """What is counted is not the provider's own price."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """Prices of a model nobody knows, in US dollars per million tokens."""

    input_usd: Decimal = Decimal(5)
    output_usd: Decimal = Decimal(25)


class Prices:
    """The price table, loaded when first needed."""

    def __init__(self, assumed: Assumed | None = None) -> None:
        self._assumed = assumed or Assumed()
        self._loaded = False

    async def warm(self) -> None:
        """Import the table on a thread: about 0.1 s that no turn should pay on the loop."""
        if not self._loaded:
            await asyncio.to_thread(_lookup, "https://api.anthropic.com", "claude", Usage(input=1))
            self._loaded = True

    async def cost(self, profile: ProviderProfile, model: str, usage: Usage) -> Decimal | None:
        """US dollars for this usage; None when the price is not known."""
        if profile.free:
            return Decimal(0)
        if declared := profile.prices.get(model):
            return _of(declared, usage)
        await self.warm()
        return _lookup(profile.base_url, model, usage)

    async def quote(self, profile: ProviderProfile, model: str, usage: Usage) -> Quote:
        """The cost, and what budgets count for it."""
        cost = await self.cost(profile, model, usage)
        if cost is not None:
            return Quote(cost, _whole(cost), usage.estimated)
        named = _lookup("", model, usage)
        return Quote(None, _whole(self._guess(usage) if named is None else named), estimated=True)

    def _guess(self, usage: Usage) -> Decimal:
        taken = usage.input + usage.cache_read + usage.cache_write
        return (
            taken * self._assumed.input_usd + usage.output * self._assumed.output_usd
        ) / _MILLION


def _of(prices: TokenPrices, usage: Usage) -> Decimal:
    read = prices.input if prices.cache_read is None else prices.cache_read
    write = prices.input if prices.cache_write is None else prices.cache_write
    tokens = usage.input * prices.input + usage.output * prices.output
    return (tokens + usage.cache_read * read + usage.cache_write * write) / _MILLION


def _whole(usd: Decimal) -> Decimal:
    return usd.quantize(PICO, ROUND_HALF_UP)


def _lookup(base_url: str, model: str, usage: Usage) -> Decimal | None:
    """By the provider's address; without one by the name of the model alone."""
    # Their input count includes what the cache served and took in; ours does not.
    taken = usage.input + usage.cache_read + usage.cache_write
    return _table(base_url, model, taken, usage.output, usage.cache_read, usage.cache_write)


@lru_cache(maxsize=4096)
def _table(
    base_url: str, model: str, taken: int, output: int, cache_read: int, cache_write: int
) -> Decimal | None:
    import genai_prices

    usage = genai_prices.Usage(
        input_tokens=taken,
        output_tokens=output,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
    )
    try:
        found = genai_prices.calc_price(usage, model, provider_api_url=base_url or None)
    except (LookupError, ValueError):
        return None
    return found.total_price
