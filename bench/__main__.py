"""`python -m bench [row ...]`: measure rows, print a table, keep the figures."""

import argparse
import importlib
import json
import os
import pkgutil
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench import rows
from bench.runner import Plan, Result, Row, Spread

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results.jsonl"
UNITS = {"p50_us": "us", "p99_us": "us", "cpu_us": "us", "rate": "/s"}
EXIT_MISSED = 1
EXIT_USAGE = 2


def all_rows() -> dict[str, Row]:
    """Every row of every module in `bench/rows`, by id."""
    found: dict[str, Row] = {}
    for module in pkgutil.iter_modules(rows.__path__):
        offered: Sequence[Row] = importlib.import_module(f"bench.rows.{module.name}").ROWS
        for row in offered:
            if found.setdefault(row.id, row) is not row:
                raise ValueError(f"two rows are called {row.id}")
    return found


def machine() -> dict[str, str]:
    """What the figures depend on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in _lines("/proc/cpuinfo")
            if "model name" in line
        ),
        platform.processor(),
    )
    packages = ("aiosqlite", "pydantic", "starlette", "uvicorn", "uvloop", "watchfiles")
    return {
        "cpu": f"{os.cpu_count()} x {cpu}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: metadata.version(name) for name in packages},
    }


def commit() -> str:
    """The commit measured, `+` when the tree differs from it."""
    try:
        head = subprocess.check_output(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT)  # noqa: S607 - the git of the developer's PATH
        changed = subprocess.check_output(["git", "status", "--porcelain"], cwd=ROOT)  # noqa: S607 - as above
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.decode().strip() + ("+" if changed.strip() else "")


def as_json(result: Result) -> dict[str, Any]:
    """One row's figures as plain data."""
    return {
        "row": result.row.id,
        "figures": {
            arm: {name: asdict(spread) for name, spread in figures.items()}
            for arm, figures in result.figures.items()
        },
        "targets": [
            {**asdict(target), "value": asdict(ratio), "met": target.met(ratio.median)}
            for target, ratio in zip(result.row.targets, result.ratios, strict=True)
        ],
        "others_share": round(result.others_share, 3),
    }


def show(result: Result) -> None:
    """Print one row: its arms, then its targets."""
    print(f"\n{result.row.id}  {result.row.what}")
    for arm, figures in result.figures.items():
        cells = [f"{name} {_number(figures[name], UNITS.get(name, ''))}" for name in figures]
        print(f"  {arm:<16} " + "   ".join(cells))
    for target, ratio in zip(result.row.targets, result.ratios, strict=True):
        subject = f"{target.figure} {target.arm}" + (f" / {target.over}" if target.over else "")
        sign = ">=" if target.at_least else "<="
        verdict = "met" if target.met(ratio.median) else "MISSED"
        stretch = f", stretch {target.stretch:g}" if target.stretch is not None else ""
        print(
            f"  {verdict:<7} {subject}: {_number(ratio)}  target {sign} {target.limit:g}{stretch}"
        )
    print(f"  others used up to {result.others_share:.0%} of the machine")


def main() -> int:
    """Measure what was asked for; 1 only with `--check` and a missed target."""
    options = arguments()
    known = all_rows()
    if options.list:
        for row in known.values():
            print(f"{row.id:<10} {row.what}")
        return 0
    unknown = [name for name in options.rows if name not in known]
    if unknown:
        print(f"no such row: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return EXIT_USAGE
    folder = work_folder(options.dir)
    repetitions = options.repetitions or (2 if options.quick else 5)
    plan = Plan(folder, repetitions, options.quick, options.loop, options.seed)
    header = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),  # noqa: TID251 - a label, not a measurement
        "commit": commit(),
        "command": " ".join(["python -m bench", *sys.argv[1:]]),
        "loop": options.loop,
        "quick": options.quick,
        "repetitions": repetitions,
        "machine": machine(),
    }
    if not options.json:
        print_header(header)
    results: list[Result] = []
    try:
        for name in options.rows or known:
            results.append(plan.measure(known[name]))
            if not options.json:
                show(results[-1])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        # Also when a row failed: the others were measured.
        record({**header, "rows": [as_json(result) for result in results]}, options)
    missed = options.check is not None and any(each.missed(options.check) for each in results)
    return EXIT_MISSED if missed else 0


def record(report: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Print or keep what was measured."""
    if options.json:
        print(json.dumps(report, indent=2))
    if not options.quick and report["rows"]:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(report, separators=(",", ":")) + "\n")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("rows", nargs="*", help="row ids; all rows when none is named")
    parser.add_argument("--list", action="store_true", help="print the rows there are")
    parser.add_argument("--quick", action="store_true", help="few operations; not recorded")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--repetitions", type=int, help="5 unless told otherwise, 2 with --quick")
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the arms")
    parser.add_argument("--dir", type=Path, help="where to write; a real disk, not memory")
    parser.add_argument(
        "--check",
        type=float,
        metavar="SLACK",
        help="exit 1 when a target is missed by more than this factor (2 for a smoke, 1 nightly)",
    )
    return parser.parse_args()


def work_folder(wanted: Path | None) -> Path:
    """A fresh folder on the checkout's file system, invisible to git."""
    base = wanted or ROOT / "bench" / ".work"
    base.mkdir(parents=True, exist_ok=True)
    if wanted is None:
        (base / ".gitignore").write_text("*\n", encoding="utf-8")
    return Path(tempfile.mkdtemp(prefix="run-", dir=base))


def print_header(header: Mapping[str, Any]) -> None:
    """Print what was measured, where and how."""
    for key, value in header.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if key == "machine" else value
        print(f"{key:<12} {shown}")


def _number(spread: Spread, unit: str = "") -> str:
    return f"{spread.median:.4g}{unit} [{spread.low:.4g}..{spread.high:.4g}]"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
