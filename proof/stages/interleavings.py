"""The same busy scenario in as many orders as there are seeds, on a loop that shuffles (7.3)."""

import logging

from proof.stage import Number, Outcome, Stage, Task
from tests.flows.reliability.busy import interleaving
from tests.flows.reliability.history import unheard

EVERY = 20


def run(task: Task) -> Outcome:
    """Play every seed; a failure names its own."""
    outcome = Outcome()
    count = task.count(40, 1000)
    logging.disable(logging.CRITICAL)
    try:
        for number in range(count):
            seed = task.seed * 1_000_000 + number
            with unheard():
                found = interleaving(seed, task.folder)
            outcome.failures += [f"interleaving({seed}): {one}" for one in found]
            if number % EVERY == 0:
                task.say(f"{number} of {count} seeds, {len(outcome.failures)} failures")
    finally:
        logging.disable(logging.NOTSET)
    outcome.figures = {"seeds": count, "failures": len(outcome.failures)}
    outcome.numbers = [
        Number(
            "seeds of the deterministic interleavings",
            "1,000",
            f"{count:,}",
            f"{len(outcome.failures)} failures; one loop, work for threads done on it in one piece",
        )
    ]
    return outcome


STAGE = Stage(
    name="interleavings",
    title="Deterministic interleavings",
    run=run,
    faults=("B9", "I9", "J10"),
)
