"""`python -m proof`: run stages, say what they saw, write the report."""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.__main__ import commit, machine
from proof.report import Header, Ran, as_json, number_line, render
from proof.shown import ROOT, shown_by_stages, shown_by_tests
from proof.stage import Outcome, Stage, Task, Tier, all_stages

REPORT = ROOT / "docs" / "RELIABILITY.md"
FIGURES = ROOT / "proof" / "figures.json"
EXIT_BROKEN = 1
EXIT_USAGE = 2


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/prove", description=__doc__)
    tier = parser.add_mutually_exclusive_group()
    tier.add_argument("--quick", dest="tier", action="store_const", const="quick", default="quick")
    tier.add_argument("--nightly", dest="tier", action="store_const", const="nightly")
    parser.add_argument("stage", nargs="*", help="only these (all without); no report is written")
    parser.add_argument("--seed", type=int, default=1, help="what every random choice comes from")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the counts")
    parser.add_argument("--jobs", type=int, default=2, help="stages at a time beside the long one")
    parser.add_argument("--report", type=Path, help=f"where to write it (nightly: {REPORT.name})")
    parser.add_argument("--json", action="store_true", help="the figures on standard output")
    parser.add_argument("--list", action="store_true", help="name the stages")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit code is 1 when a promise was broken."""
    chosen = options(arguments)
    stages = all_stages()
    if chosen.list:
        for stage in stages.values():
            print(f"{stage.name:12} {stage.title}")
        return 0
    unknown = [name for name in chosen.stage if name not in stages]
    if unknown:
        print(f"prove: no stage {unknown[0]!r}; there are {', '.join(stages)}", file=sys.stderr)
        return EXIT_USAGE
    wanted = [stage for stage in stages.values() if _wanted(stage, chosen)]
    started, begun = datetime.now(UTC), time.monotonic()  # noqa: TID251 - the date of the report
    ran = run_all(wanted, chosen)
    header = Header(
        commit=commit(),
        seed=chosen.seed,
        tier=chosen.tier,
        scale=chosen.scale,
        started=started.strftime("%Y-%m-%d %H:%M UTC"),
        took_s=time.monotonic() - begun,
        command=" ".join(["scripts/prove", *(sys.argv[1:] if arguments is None else arguments)]),
        machine=machine(),
    )
    figures = as_json(header, ran)
    if chosen.json:
        print(json.dumps(figures))
    report = chosen.report or (REPORT if chosen.tier == "nightly" and not chosen.stage else None)
    if report is not None:
        report.write_text(render(header, ran, _shown(stages)), encoding="utf-8")
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        _say(f"written: {report}")
    return EXIT_BROKEN if any(one.outcome.failures for one in ran) else 0


def run_all(stages: Sequence[Stage], chosen: argparse.Namespace) -> list[Ran]:
    """Run them: those that run aside beside the others, which run `--jobs` at a time.

    Each in a process of its own: what a stage arms (failpoints, limits, a loop's policy) must not
    reach its neighbours.
    """
    order = [chosen.seed, chosen.tier, chosen.scale]
    fresh = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(len(stages) or 1, fresh, max_tasks_per_child=1) as aside,
        ProcessPoolExecutor(chosen.jobs, fresh, max_tasks_per_child=1) as pool,
    ):
        running = [
            (stage, (aside if stage.aside else pool).submit(run_one, stage.name, *order))
            for stage in stages
        ]
        return [Ran(stage, *future.result()) for stage, future in running]


def run_one(name: str, seed: int, tier: Tier, scale: float) -> tuple[Outcome, float]:
    """Run a stage in a folder of its own; what it raises is a failure of the stage."""
    stage = all_stages()[name]
    begun = time.monotonic()

    def say(text: str) -> None:
        _say(f"{name} {time.monotonic() - begun:6.0f} s: {text}")

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


def _wanted(stage: Stage, chosen: Any) -> bool:
    if chosen.stage:
        return stage.name in chosen.stage
    return chosen.tier == "nightly" or stage.quick


def _shown(stages: dict[str, Stage]) -> dict[str, list[str]]:
    tests, harnesses = shown_by_tests(), shown_by_stages(stages)
    return {row: [*tests.get(row, ()), *harnesses.get(row, ())] for row in {*tests, *harnesses}}


def _say(text: str) -> None:
    # One write: the stages speak from processes of their own.
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
