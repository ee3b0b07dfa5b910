"""Runs stages, each in a process of its own, and says what they see as they see it."""

import ctypes
import multiprocessing
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from proof.report import Ran, number_line
from proof.stage import Outcome, Stage, Task, Tier, all_stages

_PR_SET_PDEATHSIG: Final = 1


def run_all(stages: Sequence[Stage], jobs: int, seed: int, tier: Tier, scale: float) -> list[Ran]:
    """Run them: those that run aside beside the others, which run `jobs` at a time.

    Each in a process of its own: what a stage arms (failpoints, limits, a loop's policy) must not
    reach its neighbours.
    """
    fresh = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(len(stages) or 1, fresh, max_tasks_per_child=1) as aside,
        ProcessPoolExecutor(jobs, fresh, max_tasks_per_child=1) as pool,
    ):
        running = [
            (stage, (aside if stage.aside else pool).submit(run_one, stage.name, seed, tier, scale))
            for stage in stages
        ]
        return [Ran(stage, *future.result()) for stage, future in running]


def run_one(name: str, seed: int, tier: Tier, scale: float) -> tuple[Outcome, float]:
    """Run a stage in a folder of its own; what it raises is a failure of the stage."""
    _end_with_parent()
    stage = all_stages()[name]
    begun = time.monotonic()

    def say(text: str) -> None:
        speak(f"{name} {time.monotonic() - begun:6.0f} s: {text}")

    say(stage.title)
    with tempfile.TemporaryDirectory(prefix="prove-") as folder:
        try:
            outcome = stage.run(Task(Path(folder), seed, tier, say, scale))
        except Exception:  # noqa: BLE001 - the boundary of a stage: the others still run
            outcome = Outcome(failures=[f"the stage broke:\n{traceback.format_exc()}"])
    for number in outcome.numbers:
        say(number_line(number))
    for text in outcome.failures:
        say(f"BROKEN: {text}")
    say("held" if not outcome.failures else "broken")
    return outcome, time.monotonic() - begun


def _end_with_parent() -> None:
    """Leave, and clean up, when whoever asked for the stage is gone: a stage may take hours."""
    signal.signal(signal.SIGTERM, _leave)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _leave(signum: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)


def speak(text: str) -> None:
    """One line on standard error."""
    # One write: the stages speak from processes of their own.
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
