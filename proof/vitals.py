"""What a process weighs over time, read from outside, and whether that is flat."""

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from typing_extensions import override

_BARS: Final = " .:-=+*#"


@dataclass(frozen=True, slots=True)
class Vitals:
    """One look at a daemon."""

    at_s: float
    """Since the beginning of the watch."""
    rss_kb: int
    fds: int
    threads: int
    wal_kb: int
    log_kb: int


def look(pid: int, data_dir: Path, at_s: float) -> Vitals | None:
    """Read them; None when the process is gone."""
    try:
        status = dict(
            line.split(":", 1)
            for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
            if ":" in line
        )
        fds = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names are not needed
        rss_kb = int(status["VmRSS"].split()[0])
    except (OSError, KeyError):
        return None
    sizes = {path.name: path.stat().st_size for path in data_dir.glob("*.db*") if path.exists()}
    wal = sum(size for name, size in sizes.items() if name.endswith("-wal"))
    log = sum(size for name, size in sizes.items() if name.endswith(".db"))
    return Vitals(at_s, rss_kb, fds, int(status["Threads"]), wal // 1024, log // 1024)


@dataclass(frozen=True, slots=True)
class Trend:
    """A figure over time: its level after the warm-up, at the end, its highest, its slope."""

    early: float
    late: float
    high: float
    per_hour: float
    """Least squares over everything after the warm-up."""

    @property
    def growth(self) -> float:
        """Late over early, as a share."""
        return self.late / self.early - 1 if self.early else 0.0

    @override
    def __str__(self) -> str:
        return (
            f"{self.early:,.0f} -> {self.late:,.0f} (highest {self.high:,.0f}, "
            f"slope {self.per_hour:+,.0f} per hour)"
        )


def trend(points: Sequence[tuple[float, float]]) -> Trend:
    """Early is the median of the third quarter before the end of the first half, late of the last.

    The first quarter is warm-up: caches fill, sessions of the set are made for the first time.
    """
    values = [value for _, value in points]
    quarter = max(1, len(points) // 4)
    settled = points[quarter:]
    slope = 0.0
    if len(settled) > 2:
        slope = statistics.linear_regression(*zip(*settled, strict=True)).slope
    return Trend(
        statistics.median(values[quarter : 2 * quarter] or values),
        statistics.median(values[-quarter:]),
        max(values),
        slope * 3600,
    )


def curve(points: Sequence[tuple[float, float]], columns: int = 60) -> str:
    """The figure over time as a line of characters, from its lowest to its highest."""
    values = [value for _, value in points]
    low, high = min(values), max(values)
    step = max(1, len(values) // columns)
    shown = [statistics.median(values[at : at + step]) for at in range(0, len(values), step)]
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0
    return "".join(_BARS[round((value - low) * scale)] for value in shown)
