"""Rates of calls: token buckets, filled by the clock of whoever asks. Pure."""

import math
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final

_BUCKETS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls a minute, and so many at once. Both at least 1."""

    per_minute: float
    burst: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is left, as of a moment on the monotonic clock."""

    tokens: float
    at_s: float


def admit(bucket: Bucket | None, now_s: float, rate: Rate) -> tuple[Bucket, float]:
    """One call: the bucket after it and 0, or the bucket as it is and the seconds to wait.

    None is a full bucket. A clock that went backwards fills nothing.
    """
    tokens = float(rate.burst)
    if bucket is not None:
        gained = max(0.0, now_s - bucket.at_s) * rate.per_minute / 60
        tokens = min(tokens, bucket.tokens + gained)
    if tokens >= 1:
        return Bucket(tokens - 1, now_s), 0.0
    return Bucket(tokens, now_s), (1 - tokens) * 60 / rate.per_minute


class Rates:
    """The buckets of everybody; the most recently used are kept."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def admit(self, rates: Mapping[Hashable, Rate], now_s: float) -> float:
        """A call that several rates bind: seconds to wait, 0 when it may run now.

        A call that has to wait for one of them takes nothing from the others.
        """
        after = {key: admit(self._buckets.get(key), now_s, rate) for key, rate in rates.items()}
        wait_s = max((wait for _, wait in after.values()), default=0.0)
        if wait_s:
            return wait_s
        for key, (bucket, _) in after.items():
            self._buckets[key] = bucket
            self._buckets.move_to_end(key)
        while len(self._buckets) > _BUCKETS_MAX:
            self._buckets.popitem(last=False)
        return 0.0


def rate_reason(tool: str, wait_s: float) -> str:
    """For the model and for the record."""
    return f"rate_limited: {tool} is called too often; try again in {math.ceil(wait_s)} s"
