"""Moments as text."""

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=512)
def iso(at_ms: int) -> str:
    """Unix milliseconds as ISO 8601 with milliseconds, UTC."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
