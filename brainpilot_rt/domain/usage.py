"""Tokens and money. Money is `Decimal` US dollars; an unknown price is `None`, never zero (D16)."""

from decimal import Decimal
from typing import Final

from brainpilot_rt.domain.values import Value


class Usage(Value):
    """Tokens of one or more model calls, as the provider reported them."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    estimated: bool = False
    """True when the provider sent no usage and the numbers are our estimate."""

    @property
    def total(self) -> int:
        """Sum of the four counters."""
        return self.input + self.output + self.cache_read + self.cache_write

    def counters(self) -> dict[str, int]:
        """As BrainPilot shows them."""
        return {
            "input": self.input,
            "output": self.output,
            "cacheRead": self.cache_read,
            "cacheWrite": self.cache_write,
            "total": self.total,
        }

    def plus(self, other: "Usage") -> "Usage":
        """Add two usages; an estimate in either makes the sum an estimate."""
        return Usage(
            input=self.input + other.input,
            output=self.output + other.output,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            estimated=self.estimated or other.estimated,
        )


NO_USAGE: Final = Usage()
"""Nothing used."""


def add_cost(left: Decimal | None, right: Decimal | None) -> Decimal | None:
    """Sum two costs; unknown plus anything stays unknown."""
    if left is None or right is None:
        return None
    return left + right
