"""Providers and models with list prices, from the offline table of genai-prices."""

from functools import cache
from typing import Any, cast


@cache
def catalogue() -> list[dict[str, Any]]:
    """Every provider of the table with its models. Imports the table: about 0.1 s, on a thread."""
    from genai_prices.data import providers

    return [
        {
            "id": provider.id,
            "name": provider.name,
            "models": [
                {
                    "id": model.id,
                    "name": model.name or model.id,
                    "context_window": model.context_window,
                    "input_usd_per_mtok": _plain(model.prices, "input_mtok"),
                    "output_usd_per_mtok": _plain(model.prices, "output_mtok"),
                }
                for model in provider.models
                if not model.deprecated
            ],
        }
        for provider in providers
    ]


def _plain(prices: object, name: str) -> float | None:
    """The price of an ordinary call today; None where there is none."""
    if isinstance(prices, list):  # the last one is the newest
        prices = cast("list[Any]", prices)[-1].prices
    price = getattr(prices, name, None)
    price = getattr(price, "base", price)
    return None if price is None else float(price)
