"""Power loss: disks that a crash may legally leave, recovered from and judged.

Three scenes: a team with its mailboxes beside a log cut at the same point (`powerteam`), the files
that rest on no log (`powerfiles`), and the files of the log itself (`powersql`). Each scene is also
played on a disk that ignores what is synced: a model that saw no loss there would be blind.
"""

import multiprocessing
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from proof import powerfiles, powersql, powerteam
from proof.stage import Number, Outcome, Stage, Task

WORKERS: Final = 2
SHOWN: Final = 3
"""Findings of one kind that are said in full."""
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


@dataclass(slots=True)
class Seen:
    """What one scene came to."""

    points: int = 0
    states: int = 0
    distinct: int = 0
    findings: Counter[str] = field(default_factory=Counter[str])
    shown: list[str] = field(default_factory=list[str])

    def add(self, other: "Seen") -> None:
        """Take in what another worker saw of the same points."""
        self.points = max(self.points, other.points)
        self.states += other.states
        self.distinct += other.distinct
        self.findings += other.findings
        self.shown += other.shown

    def blame(self, point: int, findings: list[str]) -> None:
        """Keep what was wrong with one disk."""
        for one in findings:
            kind = one.partition(":")[0]
            self.findings[kind] += 1
            if self.findings[kind] <= SHOWN:
                self.shown.append(f"crash after step {point}: {one}")


Crash: TypeAlias = tuple[int, Any, Any]
"""The step it came after, what had been promised, what the disk holds."""


def look(
    crashes: Iterator[Crash], key: Callable[[Any], Any], judge: Callable[..., list[str]]
) -> Seen:
    """Judge every distinct disk."""
    seen, known = Seen(), set[int]()
    for point, promised, image in crashes:
        seen.points = max(seen.points, point + 1)
        seen.states += 1
        fingerprint = hash((key(promised), tuple(sorted(image.items()))))
        if fingerprint in known:
            continue
        known.add(fingerprint)
        seen.distinct += 1
        seen.blame(point, judge(promised, image))
    return seen


def look_at_team(taken: powerteam.Recording, seed: str, draws: int, share: tuple[int, int]) -> Seen:
    """The crash points of one worker: each n-th."""
    number, of = share
    crashes = powerteam.crashes(taken, random.Random(seed), draws)
    with _scratch() as folder:
        return look(
            (crash for crash in crashes if crash[0] % of == number),
            lambda moment: (moment.appends, len(moment.sent), len(moment.took)),
            partial(powerteam.judge, taken, root=folder),
        )


def look_at_log(calls: list[powersql.Call], seed: str, draws: int, share: tuple[int, int]) -> Seen:
    """The crash points of one worker: each n-th."""
    number, of = share

    def crashes(chance: random.Random) -> Iterator[Crash]:
        disk = powersql.Folder()
        for point, call in enumerate(calls):
            disk.play(call)
            if point % of == number:
                for how in range(draws):
                    yield point, disk.acknowledged, disk.image(chance, how)

    with _scratch() as folder:
        return look(
            crashes(random.Random(seed)),
            len,
            partial(powersql.judge, root=folder),
        )


def look_at_files(steps: Any, seed: str, draws: int) -> Seen:
    """The scene of the files; it costs next to nothing."""
    return look(
        powerfiles.crashes(steps, random.Random(seed), draws),
        lambda allowed: tuple(len(versions) for versions in allowed.values()),
        powerfiles.judge,
    )


def run(task: Task) -> Outcome:
    """Every scene, and every scene again on a disk that forgets."""
    outcome = Outcome()
    found: dict[str, Seen] = {}
    found["files"] = _files(task, outcome)
    found["team"] = _team(task, outcome)
    if shutil.which("strace") is None:
        outcome.short.append("no strace here: the files of the log were not watched")
    else:
        found["log"] = _log(task, outcome)
    for name, seen in found.items():
        outcome.failures += [f"{name}, seed {task.seed}, {text}" for text in seen.shown]
        for kind, count in seen.findings.items():
            outcome.failures.append(f"{name}: {count} findings {kind!r} in all")
    states = sum(one.states for one in found.values())
    distinct = sum(one.distinct for one in found.values())
    outcome.numbers.append(
        Number(
            "power-loss states",
            ">= 100,000",
            f"{states:,}",
            f"{distinct:,} different disks; "
            + ", ".join(f"{name} {one.states:,}" for name, one in found.items())
            + "; a model, not hardware",
        )
    )
    outcome.figures = {
        name: {"points": one.points, "states": one.states, "distinct": one.distinct,
               "findings": dict(one.findings)}
        for name, one in found.items()
    }  # fmt: skip
    outcome.text = (
        "A crash after each recorded step; of what was not synced by then any legal part is left: "
        "names in any order, files empty, cut or zeroed; writes of SQLite in any order, torn at "
        f"{powersql.SECTOR} bytes. With synchronous=NORMAL, and with a fsync that does nothing, "
        "the same scenes lose what was promised, as they must."
    )
    return outcome


def _team(task: Task, outcome: Outcome) -> Seen:
    draws, blind = task.count(4, 460), task.count(1, 2)
    taken = powerteam.record(_folder(task, "team"))
    task.say(f"a team in {len(taken.steps)} steps")
    seen = _shared(task, look_at_team, taken, draws)
    forgetful = powerteam.record(_folder(task, "team-blind"), blind=True)
    if not look_at_team(forgetful, f"blind {task.seed}", blind, (0, 4)).findings:
        outcome.failures.append("the model of mailboxes is blind: without fsync nothing was lost")
    return seen


def _files(task: Task, outcome: Outcome) -> Seen:
    seed, draws = f"files {task.seed}", task.count(256, 4096)
    seen = look_at_files(powerfiles.record(_folder(task, "files")), seed, draws)
    forgetful = powerfiles.record(_folder(task, "files-blind"), blind=True)
    if not look_at_files(forgetful, seed, 16).findings:
        outcome.failures.append("the model of files is blind: without fsync nothing was lost")
    return seen


def _log(task: Task, outcome: Outcome) -> Seen:
    calls = powersql.watch(_folder(task, "log"), task.count(12, 60))
    task.say(f"the log made {len(calls)} calls")
    seen = _shared(task, look_at_log, calls, task.count(4, 44))
    normal = powersql.watch(_folder(task, "log-normal"), 12, "NORMAL")
    if not look_at_log(normal, f"normal {task.seed}", 1, (0, 8)).findings["lost"]:
        outcome.failures.append("the model of the log is blind: NORMAL lost nothing")
    return seen


def _shared(task: Task, look_at: Callable[..., Seen], taken: Any, draws: int) -> Seen:
    """Quickly here, or thoroughly in processes of their own."""
    seed = f"{look_at.__name__} {task.seed}"
    if task.tier == "quick":
        return look_at(taken, seed, draws, (0, 1))
    seen, slices = Seen(), 24
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=spawning) as pool:
        parts = [
            pool.submit(look_at, taken, f"{seed} {number}", draws, (number, slices))
            for number in range(slices)
        ]
        for number, part in enumerate(parts, 1):
            seen.add(part.result())
            task.say(f"{number} of {slices}: {seen.states:,} states, {seen.distinct:,} disks")
    return seen


def _folder(task: Task, name: str) -> Path:
    folder = task.folder / name
    folder.mkdir()
    return folder


@contextmanager
def _scratch() -> Generator[Path]:
    """A folder to lay disks out in; in memory where possible."""
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="power-", dir=where) as folder:
        yield Path(folder)


STAGE = Stage(
    name="power",
    title="Power loss at every step",
    run=run,
    faults=("A3", "A4", "A5", "A7", "A8", "B4"),
    order=30,
)
