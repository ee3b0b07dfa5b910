"""A kill, or an error, at every call that opens, writes, syncs, moves, removes or closes a file.

For each thread of the state core and each call it makes: the first time, the second, and so on
until a life gets through. After each death the core starts again on what is left and is judged;
after each error it may refuse, retry or end, but not acknowledge what is not there, nor hang.
"""

import random
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from typing_extensions import override

from proof.corelife import THREADS, Lives, Said, judge
from proof.stage import Number, Outcome, Stage, Task

CALLS: Final = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2",
    "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "ftruncate", "close",
)  # fmt: skip
_SPACE: Final = ("openat", "write", "pwrite64", "fsync", "fdatasync", "renameat", "renameat2",
                 "mkdir", "mkdirat", "ftruncate")  # fmt: skip
ERRORS: Final[Mapping[str, tuple[str, ...]]] = {
    "ENOSPC": _SPACE,
    "EIO": (*_SPACE, "unlink", "unlinkat", "close"),
    "EMFILE": ("openat",),
    "EINTR": ("openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "close"),
    "EACCES": ("openat", "mkdir", "mkdirat", "renameat", "renameat2", "unlink", "unlinkat"),
}
"""What each call may really answer."""
KILL: Final = "SIGKILL"
WORKERS: Final = 2
SHOWN: Final = 3
_CALLED: Final = re.compile(r"(?:\[pid +\d+\] )?(\w+)\(")


@dataclass(frozen=True, slots=True)
class Point:
    """Where, and what happens there."""

    thread: str
    call: str
    nth: int
    what: str

    @property
    def inject(self) -> str:
        """As strace takes it."""
        how = f"signal={KILL}" if self.what == KILL else f"error={self.what}"
        return f"{self.call}:{how}:when={self.nth}"

    @override
    def __str__(self) -> str:
        return f"{self.what} at {self.call} {self.nth} of thread {self.thread}"


@dataclass(slots=True)
class Seen:
    """What came of the points, together."""

    reached: Counter[str] = field(default_factory=Counter[str])
    """Lives that were hit, by what hit them."""
    ended: Counter[str] = field(default_factory=Counter[str])
    """Of these, lives that ended because of an error, by error."""
    refused: int = 0
    """Requests that were refused and asked again."""
    acknowledged: int = 0
    findings: Counter[str] = field(default_factory=Counter[str])
    shown: list[str] = field(default_factory=list[str])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, point: Point, said: Said, found: list[str]) -> None:
        """One life and its judgement."""
        with self.lock:
            self.reached[point.what] += 1
            self.ended[point.what] += point.what != KILL and said.code != 0
            self.refused += len(said.refused)
            self.acknowledged += len(said.posted) + len(said.sent)
            for one in found:
                kind = one.partition(":")[0]
                self.findings[kind] += 1
                if self.findings[kind] <= SHOWN:
                    self.shown.append(f"{point}: {one} (said {said.refused[:2]} {said.ended})")


def run(task: Task) -> Outcome:
    """Count the calls, then hit them."""
    outcome = Outcome()
    if shutil.which("strace") is None:
        outcome.short.append("no strace here: no call was made to fail")
        return outcome
    with Lives() as lives:
        counts = {thread: _counted(lives, task.folder / thread, thread) for thread in THREADS}
    points = list(_points(counts))
    total = Counter(point.what for point in points)
    if task.tier == "quick":
        points = random.Random(task.seed).sample(points, min(len(points), task.count(40, 40)))
    task.say(f"{len(points)} points")
    seen = _hit_all(task, points)
    outcome.failures = seen.shown + [f"{n} findings {kind!r}" for kind, n in seen.findings.items()]
    kills = seen.reached.pop(KILL, 0)
    outcome.numbers = [
        Number("file and SQLite calls at which the core was killed", "all of N",
               f"{kills} of {total[KILL]}", "state core without HTTP; each thread by itself"),
        Number("injected I/O errors", "each errno at each point",
               ", ".join(f"{what} {n}" for what, n in sorted(seen.reached.items())),
               f"wrongly acknowledged: {seen.findings['lost']}; {seen.refused} requests refused "
               f"and repeated, {sum(seen.ended.values())} lives ended in order"),
    ]  # fmt: skip
    outcome.figures = {
        "calls": counts, "kills": kills, "errors": dict(seen.reached), "ended": dict(seen.ended),
        "refused": seen.refused, "acknowledged": seen.acknowledged,
        "findings": dict(seen.findings),
    }  # fmt: skip
    outcome.text = (
        "SIGKILL and errno by strace, which counts per thread. A short write is not among them: "
        "strace can claim one but not do one; a real one (RLIMIT_FSIZE) is in the tests of files."
    )
    return outcome


def _counted(lives: Lives, folder: Path, thread: str) -> dict[str, int]:
    folder.mkdir()
    said = lives.live(folder, thread, ",".join(CALLS), None)
    shutil.rmtree(folder)
    return Counter(found[1] for line in said.traced if (found := _CALLED.match(line)))


def _points(counts: Mapping[str, Mapping[str, int]]) -> Iterable[Point]:
    for thread, calls in counts.items():
        for call, count in calls.items():
            for what in (KILL, *(error for error, where in ERRORS.items() if call in where)):
                yield from (Point(thread, call, nth, what) for nth in range(1, count + 1))


def _hit_all(task: Task, points: list[Point]) -> Seen:
    seen = Seen()
    shares = [points[number::WORKERS] for number in range(WORKERS)]

    def work(number: int) -> None:
        with Lives() as lives:
            for done, point in enumerate(shares[number]):
                folder = task.folder / f"{number}-{done}"
                folder.mkdir()
                said = lives.live(folder, point.thread, point.call, point.inject)
                if point.what != KILL or said.killed or said.hung:
                    seen.add(point, said, judge(folder, said))
                shutil.rmtree(folder)
                if done % 20 == 0:
                    task.say(f"{sum(seen.reached.values())} of {len(points)}, last {point}")

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, range(WORKERS)))
    return seen


STAGE = Stage(
    name="syscalls",
    title="A kill or an error at every call on a file",
    run=run,
    faults=("A3", "A4", "A5", "A6", "A10", "A12", "A13", "A14", "A15", "A16", "B2", "D1", "D4"),
    order=40,
)
