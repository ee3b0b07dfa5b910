"""Bytes that strangers may write, mutated: only errors of the right type, in bounded time.

The quick tier mutates the corpus in this process. The nightly one runs atheris (libFuzzer, guided
by the coverage of the product's own modules) for each target in a process of its own, with limits
on memory and on the time of one input; what it finds is said as bytes that show it again.
"""

import importlib.util
import os
import random
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proof.shown import ROOT
from proof.stage import Number, Outcome, Stage, Task
from proof.targets import TARGETS, seeds

INPUT_S_MAX = 5
INPUT_BYTES_MAX = 16_384
RSS_MB_MAX = 1024
_WORDS = (
    *(
        b"\0",
        b"\r",
        b"\n\n",
        b"\r\n",
        b"..",
        b"/",
        b"%2e",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
    ),
    *(b"[" * 2000, b'{"a":' * 500, b"9" * 5000, b"1e400", b"NaN", b"-", b"~", b".", b"{a,b}" * 40),
    *(b"*a" * 60, b"data: ", b"\x01", b"sk-", b"-----BEGIN ", b"eyJ", b"true", b"\\ud800", b","),
)


def run(task: Task) -> Outcome:
    """Mutate, or let atheris do it."""
    outcome = Outcome()
    guided = task.tier == "nightly" and importlib.util.find_spec("atheris") is not None
    if task.tier == "nightly" and not guided:
        outcome.short.append("atheris is not installed here: plain mutation without coverage")
    began = os.times()
    figures: dict[str, Any] = {}
    for name in TARGETS:
        task.say(name)
        figures[name] = _guided(task, name, outcome) if guided else _plain(task, name, outcome)
    spent = sum(os.times()[:4]) - sum(began[:4])
    count = sum(one["inputs"] for one in figures.values())
    outcome.figures = {"targets": figures, "guided": guided, "cpu_s": spent}
    outcome.numbers.append(
        Number(
            "fuzzed inputs: crashes, hangs, wrong errors, broken properties",
            "0",
            f"{len(outcome.failures)} of {count:,} inputs",
            f"{len(figures)} readers of foreign bytes, {spent / 3600:.2f} CPU hours, "
            + ("guided by coverage" if guided else "plain mutation"),
        )
    )
    return outcome


def mutated(dice: random.Random, corpus: list[bytes]) -> Iterator[bytes]:
    """Inputs without end, made of a corpus."""
    while True:
        data = bytearray(dice.choice(corpus))
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(data) + 1)
            match dice.randrange(5):
                case 0:
                    data[at:at] = dice.choice(_WORDS)
                case 1:
                    del data[at : at + dice.randrange(1, 9)]
                case 2:
                    data[at : at + 1] = bytes([dice.randrange(256)])
                case 3:
                    other = dice.choice(corpus)
                    data[at:at] = other[dice.randrange(len(other) + 1) :]
                case _:
                    data[at:at] = data[at : at + dice.randrange(1, 64)] * dice.randrange(1, 4)
        yield bytes(data[:INPUT_BYTES_MAX])


def _plain(task: Task, name: str, outcome: Outcome) -> dict[str, Any]:
    corpus = seeds(name)
    made = mutated(random.Random(f"{task.seed} {name}"), corpus)
    slowest, count, number = 0.0, task.count(1500, 100_000), 0
    for number in range(count):
        data = corpus[number] if number < len(corpus) else next(made)
        began = time.process_time()
        try:
            TARGETS[name](data)
        except Exception:  # noqa: BLE001 - whatever a target lets out is a finding
            outcome.failures.append(
                f"{name} (seed {task.seed}): {data!r}\n{traceback.format_exc(limit=-6)}"
            )
            break
        slowest = max(slowest, time.process_time() - began)
        if number % 5000 == 0:
            task.say(f"{name}: {number:,} inputs")
    if slowest > INPUT_S_MAX:
        outcome.failures.append(f"{name} (seed {task.seed}): one input took {slowest:.1f} s")
    return {"inputs": number + 1, "slowest_ms": slowest * 1000}


def _guided(task: Task, name: str, outcome: Outcome) -> dict[str, Any]:
    found, grown = task.folder / f"found-{name}-", task.folder / name
    grown.mkdir()
    ended = subprocess.Popen(
        [
            *(sys.executable, "-m", "proof.fuzzing", name),
            *(str(grown), str(ROOT / "proof" / "corpus" / name)),
            *(f"-max_total_time={task.count(5, 120)}", f"-seed={task.seed}"),
            *(f"-timeout={INPUT_S_MAX}", f"-rss_limit_mb={RSS_MB_MAX}"),
            *(f"-max_len={INPUT_BYTES_MAX}", f"-artifact_prefix={found}", "-print_final_stats=1"),
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert ended.stderr is not None
    said: list[str] = []
    try:
        for line in ended.stderr:
            said.append(line.rstrip())
            if line.startswith("#") and "pulse" in line:
                task.say(f"{name}: {line.strip()}")
        code = ended.wait()
    finally:
        ended.kill()
        ended.wait()
    if code != 0:
        shown = [f"{file.name}: {file.read_bytes()!r}" for file in _artifacts(found)]
        outcome.failures.append("\n".join([f"{name} (seed {task.seed})", *shown, *said[-60:]]))
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", "\n".join(said)))
    covered = re.findall(r"cov: (\d+)", "\n".join(said))
    return {
        "inputs": int(stats.get("number_of_executed_units", 0)),
        "covered": int(covered[-1]) if covered else 0,
        "rss_mb": int(stats.get("peak_rss_mb", 0)),
        "grown": len(list(grown.iterdir())),
    }


def _artifacts(prefix: Path) -> list[Path]:
    return sorted(prefix.parent.glob(f"{prefix.name}*"))


STAGE = Stage(
    name="fuzz",
    title="Mutated bytes for everything that reads what strangers write",
    run=run,
    faults=(
        "C1",
        "C2",
        "C3",
        "C4",
        "C5",
        "C6",
        "C7",
        "C8",
        "C9",
        "C11",
        "G8",
        "G9",
        "I2",
        "I6",
        "S11",
    ),
)
