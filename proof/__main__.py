"""`python -m proof`: run stages, say what they saw, write the report."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.__main__ import commit, machine
from proof.report import Header, as_json, render, with_kept
from proof.running import run_all, speak
from proof.shown import ROOT, shown_by_stages, shown_by_tests
from proof.stage import Stage, all_stages

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
    parser.add_argument(
        "--again", action="store_true", help="put these stages into the last report, which says so"
    )
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
    ran = run_all(wanted, chosen.jobs, chosen.seed, chosen.tier, chosen.scale)
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
    if chosen.again:
        last = json.loads(FIGURES.read_text(encoding="utf-8"))
        header, ran = with_kept(last, ran, header, stages)
    figures = as_json(header, ran)
    if chosen.json:
        print(json.dumps(figures))
    whole = chosen.tier == "nightly" and not chosen.stage
    report = chosen.report or (REPORT if whole or chosen.again else None)
    if report is not None:
        report.write_text(render(header, ran, _shown(stages)), encoding="utf-8")
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        speak(f"written: {report}")
    return EXIT_BROKEN if any(one.outcome.failures for one in ran) else 0


def _wanted(stage: Stage, chosen: Any) -> bool:
    if chosen.stage:
        return stage.name in chosen.stage
    return chosen.tier == "nightly" or stage.quick


def _shown(stages: dict[str, Stage]) -> dict[str, list[str]]:
    tests, harnesses = shown_by_tests(), shown_by_stages(stages)
    return {row: [*tests.get(row, ()), *harnesses.get(row, ())] for row in {*tests, *harnesses}}


if __name__ == "__main__":
    sys.exit(main())
