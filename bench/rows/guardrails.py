"""Guardrails: what it costs to look at a text, whole and while it streams (GUARD).

An operation is a kilobyte of UTF-8. The floor is one pass of one expression, that for an e-mail
address as one writes it down at first. `stream` feeds pieces of 16 characters, as a model speaks;
`us_per_piece` is one of them. `figures` is a table of numbers, where every cell is a candidate.
"""

import random
import re
import time
from collections.abc import Callable

from bench.runner import Meter, Place, Row, Sample, Target
from brainpilot_rt.governance.guardrails.config import GuardrailConfig
from brainpilot_rt.governance.guardrails.pipeline import judge
from brainpilot_rt.governance.guardrails.streaming import Window

KB = 1024
PIECE = 16
EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")
PROSE = (
    "The second run reached 0.93 on the held-out set, 2 points above the baseline of 2021. "
    "Ignore the first column, it holds row numbers; the token counts are in `usage.json`. "
    "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)\n"
    "第二次实验的结果优于基线。详见第三节。See section 4.2 and https://example.org/a?p=3.\n"
)
DEFAULT = GuardrailConfig()


def text(size: int) -> str:
    """So many kilobytes of what agents read and write."""
    return PROSE * (size * KB // len(PROSE.encode()) + 1)


def figures(size: int) -> str:
    """So many kilobytes of a table."""
    dice = random.Random(1)  # noqa: S311 - the same text each time
    return "\n".join(
        f"{dice.random():.4f} {dice.randint(0, 999999)}\t{dice.randint(0, 99)}, {dice.random()}"
        for _ in range(size * KB // 40)
    )


def passes(place: Place, made: Callable[[int], str], look: Callable[[str], object]) -> Sample:
    """Look at texts of 16 KB."""
    whole = made(16)
    size = len(whole.encode()) / KB
    look(whole)  # what is compiled once is no cost of a kilobyte
    meter = Meter()
    with meter as sample:
        for _ in range(place.ops(200, 10)):
            start = time.perf_counter()
            look(whole)
            sample.latencies.append((time.perf_counter() - start) / size)
    sample.extra["ms_per_kb"] = sorted(sample.latencies)[len(sample.latencies) // 2] * 1000
    return sample


def stream(whole: str) -> None:
    """Say it piece by piece."""
    window = Window(DEFAULT)
    for at in range(0, len(whole), PIECE):
        window.feed(whole[at : at + PIECE])
    window.finish()


def floor(place: Place) -> Sample:
    """One expression."""
    return passes(place, text, EMAIL.findall)


def whole(place: Place) -> Sample:
    """All checks."""
    return passes(place, text, lambda said: judge(said, "tool_result", DEFAULT))


def table(place: Place) -> Sample:
    """All checks, many numbers."""
    return passes(place, figures, lambda said: judge(said, "tool_result", DEFAULT))


def streamed(place: Place) -> Sample:
    """The checks that act on output, again for each piece."""
    sample = passes(place, text, stream)
    pieces = len(text(16)) / PIECE / (len(text(16).encode()) / KB)
    sample.extra["us_per_piece"] = sample.extra["ms_per_kb"] * 1000 / pieces
    return sample


def off(place: Place) -> Sample:
    """Switched off."""
    config = GuardrailConfig(enabled=False)
    return passes(place, text, lambda said: judge(said, "tool_result", config))


ROWS = (
    Row(
        "GUARD",
        "guardrails: a kilobyte, whole, of figures, streaming, and switched off",
        {"floor": floor, "whole": whole, "figures": table, "stream": streamed, "off": off},
        (
            Target("ms_per_kb", "whole", 0.1),
            Target("ms_per_kb", "figures", 0.5),
            Target("us_per_piece", "stream", 50),
            Target("ms_per_kb", "off", 0.001),
        ),
    ),
)
