"""A state machine over the whole team: what may happen, in any order, with crashes (7.2)."""

import io
import logging
import time
import traceback
from collections import Counter
from contextlib import redirect_stdout

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from proof.stage import Number, Outcome, Stage, Task
from tests.flows.reliability import machine
from tests.flows.reliability.history import unheard

STEPS = 60
PORTION = 20
"""Examples between two signs of life."""
SECONDS = {"quick": 40.0, "nightly": 1800.0}
"""No portion begins later than that; what was not played is said."""


def run(task: Task) -> Outcome:
    """Play the examples in portions, each with a seed of its own; a failure carries its program."""
    outcome = Outcome()
    count = task.count(60, 3000)
    machine.seen.clear()
    logging.disable(logging.CRITICAL)
    end = time.monotonic() + SECONDS[task.tier] * max(1.0, task.scale)
    asked = 0
    try:
        while asked < count and time.monotonic() < end:
            portion = min(PORTION, count - asked)
            outcome.failures += _portion(task.seed * 1_000_000 + asked, portion)
            asked += portion
            task.say(f"{asked} of {count} examples, {len(outcome.failures)} failures")
    finally:
        logging.disable(logging.NOTSET)
    played = Counter(machine.seen)
    died, done = played.pop("died", 0), played.pop("examples", 0)
    outcome.figures = {"examples": done, "steps": STEPS, "deaths": died, "rules": dict(played)}
    outcome.numbers = [
        Number(
            "model-test examples",
            "300 a run, 50,000 a night",
            f"{done:,}",
            f"{sum(played.values()):,} steps, {died:,} deaths and restarts, "
            f"{len(outcome.failures)} open failures",
        )
    ]
    wanted = max(count, 300)
    if done < wanted:
        outcome.short.append(f"{done} examples instead of {wanted}: the time of a run is short")
    return outcome


def _portion(number: int, examples: int) -> list[str]:
    """Play until one fails. Its program is told as it was found: to shrink one takes minutes."""
    how = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.filter_too_much,
            HealthCheck.data_too_large,
        ],
    )
    with unheard(), redirect_stdout(io.StringIO()):
        try:
            run_state_machine_as_test(_seeded(number), settings=how)
        except Exception as failure:  # noqa: BLE001 - the failure of a portion is its result
            program = "\n".join(getattr(failure, "__notes__", []))
            short = "".join(traceback.format_exception_only(failure))
            return [f"model, seed {number}: {short}\n{program}"]
    return []


def _seeded(number: int) -> type[machine.Team]:
    class Seeded(machine.Team):
        pass

    return seed(number)(Seeded)


STAGE = Stage(
    name="model",
    title="Model test: everything, in any order",
    run=run,
    faults=("A19", "B8", "B10", "D12", "E4", "I3", "I9", "J10"),
)
