"""How long to wait before trying again.

Exponential with full jitter: a delay drawn evenly between zero and a bound that doubles with every
attempt. Clients that failed together then come back spread out, which fixed delays or a narrow
jitter do not achieve (AWS Architecture Blog, "Exponential Backoff And Jitter"). What a server asks
for (`Retry-After`) is a lower bound, up to a cap of its own: a server's mistake must not park us.

Pure: the dice come in.
"""

from dataclasses import dataclass
from typing import Final

_DOUBLINGS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays before attempts."""

    base_s: float
    """Bound of the first delay, in seconds."""
    cap_s: float
    """Bound that is never passed, in seconds."""
    retry_after_cap_s: float
    """The longest `Retry-After` that is honoured, in seconds; a longer one counts as this."""

    def delay_s(self, attempt: int, dice: float, retry_after_s: float | None = None) -> float:
        """Seconds to wait after failure number `attempt`, counted from one.

        `dice` is a number in [0, 1), from `random.random`. ValueError for an attempt below one.
        """
        if attempt < 1:
            msg = f"attempts count from one, not {attempt}"
            raise ValueError(msg)
        # Bounded before it is a float: attempt 2000 would overflow.
        bound_s = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, _DOUBLINGS_MAX))
        asked_s = min(max(retry_after_s or 0.0, 0.0), self.retry_after_cap_s)
        return max(asked_s, bound_s * dice)
