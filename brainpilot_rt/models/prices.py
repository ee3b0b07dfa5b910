"""What a call cost, from the offline table of genai-prices (D16).

An unknown price is None, never zero: a model that is not in the table, or a server whose address
the table does not know, may charge anything. Only what runs here for free (offline, mock, Ollama)
costs zero. The table is imported on a thread by the first call or by `warm()`; it is never fetched
from the network.
"""

import asyncio
from decimal import Decimal

from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.models.providers import ProviderProfile


class Prices:
    """The price table, loaded when first needed."""

    def __init__(self) -> None:
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
        await self.warm()
        return _lookup(profile.base_url, model, usage)


def _lookup(base_url: str, model: str, usage: Usage) -> Decimal | None:
    import genai_prices

    try:
        # Their input count includes what the cache served and took in; ours does not.
        found = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=usage.input + usage.cache_read + usage.cache_write,
                output_tokens=usage.output,
                cache_read_tokens=usage.cache_read,
                cache_write_tokens=usage.cache_write,
            ),
            model,
            provider_api_url=base_url,
        )
    except (LookupError, ValueError):
        return None
    return found.total_price
