"""What a row is, and how its arms are measured.

A machine that is shared, virtual or warm moves by tens of percent between runs, so an absolute
figure says little. Every row therefore has arms that run next to each other: the floor (the least
the hardware and the library can do), a peer, and ours. The arms of one repetition run in shuffled
order in one fresh directory, and a target is a ratio of two arms of the same repetition. Reported
is the median over the repetitions with its range.

Files are never deleted between arms or repetitions: a file system that avoids inodes deleted a
moment ago makes the next arm pay for the last one's clean-up.
"""

import asyncio
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")

IDLE_SHARE = 0.3
"""A repetition starts when others use less than this share of the machine."""
IDLE_WAIT_S = 10.0
FLUSHES_FIELD = 15
"""Of `/sys/block/*/stat`: completed flush requests."""


@dataclass(frozen=True)
class Place:
    """Where and how an arm runs."""

    folder: Path
    """Fresh for each arm, beside those of the other arms of the repetition."""
    quick: bool
    loop: Literal["uvloop", "asyncio"]

    def ops(self, usual: int, quick: int) -> int:
        """How many operations to measure."""
        return quick if self.quick else usual

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop that is being measured."""
        factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
        if self.loop == "uvloop":
            import uvloop  # noqa: PLC0415 - absent on some platforms

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)


@dataclass
class Sample:
    """What an arm measured. `Meter` fills it."""

    latencies: list[float] = field(default_factory=list[float])
    """Seconds, one per operation."""
    seconds: float = 0.0
    cpu_s: float = 0.0
    flushes: int | None = None
    others_share: float = 0.0
    """Of all processors, what other processes used meanwhile."""
    extra: dict[str, float] = field(default_factory=dict[str, float])
    """Counts and figures of the row's own, for targets or for information."""

    def figures(self) -> dict[str, float]:
        """The figures a target may name."""
        count = max(1, len(self.latencies))
        found = {"rate": count / self.seconds, "cpu_us": self.cpu_s / count * 1e6, **self.extra}
        if self.latencies:
            ordered = sorted(self.latencies)
            found["p50_us"] = statistics.median(ordered) * 1e6
            found["p99_us"] = ordered[math.ceil(0.99 * len(ordered)) - 1] * 1e6
        if self.flushes is not None:
            found["flushes"] = self.flushes / count
        return found


class Meter:
    """Measures the block under `with`: time, own processor time, device flushes, what others used.

    Setting up and tearing down belong outside the block. `meter.sample.latencies` takes the time of
    each operation.
    """

    def __init__(self) -> None:
        self.sample = Sample()

    def __enter__(self) -> Sample:
        self._flushes = device_flushes()
        self._busy = busy_seconds()
        self._cpu = time.process_time()
        self._start = time.perf_counter()
        return self.sample

    def __exit__(self, *_: object) -> None:
        sample = self.sample
        sample.seconds = time.perf_counter() - self._start
        sample.cpu_s = time.process_time() - self._cpu
        others = busy_seconds() - self._busy - sample.cpu_s
        sample.others_share = max(0.0, others / (sample.seconds * (os.cpu_count() or 1)))
        flushes = device_flushes()
        if flushes is not None and self._flushes is not None:
            sample.flushes = flushes - self._flushes


@dataclass(frozen=True)
class Target:
    """`figure` of `arm`, divided by that of `over` if given, must not pass `limit`."""

    figure: str
    arm: str
    limit: float
    over: str | None = None
    at_least: bool = False
    stretch: float | None = None

    def value(self, figures: Mapping[str, Mapping[str, float]]) -> float:
        """What one repetition gave."""
        own = figures[self.arm][self.figure]
        return own if self.over is None else own / figures[self.over][self.figure]

    def met(self, value: float, slack: float = 1.0) -> bool:
        """Whether the limit holds, loosened by `slack`."""
        return value >= self.limit / slack if self.at_least else value <= self.limit * slack


@dataclass(frozen=True)
class Row:
    """One line of the table of targets."""

    id: str
    what: str
    arms: Mapping[str, Callable[[Place], Sample]]
    targets: Sequence[Target] = ()


@dataclass(frozen=True)
class Spread:
    """Median over the repetitions, and its range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Result:
    """A row, measured."""

    row: Row
    figures: Mapping[str, Mapping[str, Spread]]
    """Arm -> figure -> its spread."""
    ratios: Sequence[Spread]
    """One for each target."""
    others_share: float
    """The highest share of the machine that others used during any arm."""

    def missed(self, slack: float = 1.0) -> list[Target]:
        """The targets that do not hold."""
        pairs = zip(self.row.targets, self.ratios, strict=True)
        return [target for target, ratio in pairs if not target.met(ratio.median, slack)]


@dataclass(frozen=True)
class Plan:
    """How to measure every row of a run."""

    folder: Path
    repetitions: int = 5
    quick: bool = False
    loop: Literal["uvloop", "asyncio"] = "uvloop"
    seed: int = 1

    def measure(self, row: Row) -> Result:
        """Run all repetitions of a row."""
        dice = random.Random(f"{self.seed} {row.id}")  # noqa: S311 - the order of arms is no secret
        repeated: list[dict[str, dict[str, float]]] = []
        others = 0.0
        for number in range(self.repetitions):
            if not self.quick:
                wait_until_idle()
            names = list(row.arms)
            dice.shuffle(names)
            figures: dict[str, dict[str, float]] = {}
            for name in names:
                folder = self.folder / row.id / str(number) / name.replace(" ", "-")
                folder.mkdir(parents=True)
                sample = row.arms[name](Place(folder, self.quick, self.loop))
                figures[name] = sample.figures()
                others = max(others, sample.others_share)
            repeated.append(figures)
        return Result(
            row,
            {
                arm: {
                    figure: Spread.of([each[arm][figure] for each in repeated])
                    for figure in repeated[0][arm]
                }
                for arm in row.arms
            },
            [Spread.of([target.value(each) for each in repeated]) for target in row.targets],
            others,
        )


def busy_seconds() -> float:
    """Processor seconds used by everybody since boot; 0 where the system does not tell."""
    with suppress(OSError, ValueError):
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:8]]
        user, nice, system, _idle, _io, irq, soft = ticks
        return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")
    return 0.0


def device_flushes() -> int | None:
    """Flush requests that all block devices completed since boot, if the system tells."""
    total, known = 0, False
    for stat in Path("/sys/block").glob("*/stat"):
        words = stat.read_text().split()
        if len(words) > FLUSHES_FIELD:
            total += int(words[FLUSHES_FIELD])
            known = True
    return total if known else None


def wait_until_idle() -> None:
    """Return when others leave the machine alone, or after `IDLE_WAIT_S`."""
    ends_at = time.monotonic() + IDLE_WAIT_S
    while time.monotonic() < ends_at:
        before, step = busy_seconds(), 0.25
        time.sleep(step)
        if (busy_seconds() - before) / (step * (os.cpu_count() or 1)) < IDLE_SHARE:
            return
