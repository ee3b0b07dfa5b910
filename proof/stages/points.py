"""Kills the real daemon at every failpoint, n-th hit by n-th hit, and looks at what is left.

A case is a home, a list of lives with what is armed in each, and last lives with nothing armed, in
which the day (`proof.day`) must come to its end; then the judge looks (`proof.daybook`).
"""

import itertools
import random
import re
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from brainpilot_rt.testing.daemon import DaemonHome
from proof.day import PATIENCE_S, Day, NotDone, Provider
from proof.daybook import Judged, judge, of_users, read_log
from proof.life import NotStarted, Nursery
from proof.points import declared, phase_of, reached
from proof.stage import Number, Outcome, Stage, Task

WORKERS: Final = 2
HITS: Final = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
"""Which hits of a point are killed at, as far as the day has them."""
HELD_S: Final = 3.0
"""How long a daemon is watched under an error that does not end."""
CUT: Final = "tool.executed.before=kill@2"
"""How a life ends whose successor is to have something to recover."""
ERRNOS: Final = ("ENOSPC", "EIO", "EMFILE", "EINTR")
ELSEWHERE: Final = {
    "files.rename.linked": "only where the system has no rename that refuses to overwrite; "
    "tests/unit/aiokit/test_files.py shows it",
}
"""Points that this machine cannot reach in a daemon."""
_FAILING: Final = re.compile(
    r"(files|mail\.(place|claim|done|release|bad|adopt)|log\.(commit|migrate|remove|checkpoint))"
    r"\..*(before|half)|files\.(create|write|fsync|dirsync)\.after|mail\.read\.after"
)
"""Points at which the system can refuse: before a step, and within a row of them."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is armed in each of the first lives, and how many of them must end by a kill."""

    lives: tuple[str, ...]
    errors: bool = False
    twice: bool = False
    """Restart once more at the end: nothing may change."""


@dataclass(slots=True)
class Tally:
    """What all cases saw together."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    cases: Counter[str] = field(default_factory=Counter[str])
    kills: Counter[str] = field(default_factory=Counter[str])
    unknown: Counter[str] = field(default_factory=Counter[str])
    unhit: int = 0
    """Armed kills that a life ended without: it did less than the life that was counted."""
    repeated: int = 0
    refused: int = 0
    events: int = 0
    acknowledged: int = 0
    hits: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list[str])

    def add(self, kind: str, case: Case, day: Day, judged: Judged, killed: Sequence[str]) -> None:
        """Add what a case came to. `killed`: the points at which its lives ended."""
        with self.lock:
            self.cases[kind] += 1
            self.kills.update(killed)
            self.unhit += 0 if case.errors else len(case.lives) - len(killed)
            phases = {phase_of(one) for one in killed}
            if phases == {"tool"}:
                self.unknown["tool kills"] += len(killed)
                self.unknown["unknown"] += judged.calls["unknown"]
            self.repeated += judged.repeated if killed and not case.errors else 0
            self.refused += day.refused
            self.events += judged.events
            self.acknowledged += len(day.acknowledged)
            self.failures += [f"{' | '.join(case.lives)}: {one}" for one in judged.wrong]


class Bench:
    """Runs cases, each in a home of its own."""

    def __init__(self, task: Task, nursery: Nursery, provider: Provider) -> None:
        self.task = task
        self.nursery = nursery
        self.provider = provider
        self.tally = Tally()
        self._numbers = itertools.count()

    def run(self, kind: str, case: Case) -> dict[str, int]:
        """One case; the points it hit, of all its lives."""
        number = next(self._numbers)
        root = self.task.folder / f"h{number}"
        root.mkdir()
        key = f"home-{number}"
        env = {**self.provider.env(key), "BP_CHECKPOINT_PAGES": "25"}
        day = Day(DaemonHome(root, env=env))
        hits: Counter[str] = Counter()
        killed: list[str] = []
        judged = Judged()
        try:
            self._through(day, case, hits, killed)
            asked = self.provider.asked.get(key, Counter())
            judged = judge(day, asked, len(killed), errors=case.errors)
            if case.twice and not judged.wrong:
                judged.wrong += self._again(day)
        except (NotDone, OSError, AssertionError, TimeoutError) as trouble:
            judged.wrong.append(f"{type(trouble).__name__}: {trouble}")
        self._keep_or_remove(root, case, judged)
        self.tally.add(kind, case, day, judged, killed)
        with self.tally.lock:
            self.tally.hits.update(hits)
        return dict(hits)

    def _through(self, day: Day, case: Case, hits: Counter[str], killed: list[str]) -> None:
        """Every life of a case; `NotDone` when the last ones do not bring the day to its end."""
        for spec in (*case.lives, "", ""):
            traced = day.home.root / f"trace-{day.home.lives}"
            done, code = self._life(day, spec, f"{spec};*=trace:{traced}")
            hits.update(reached(traced))
            if code == -9:
                killed.append(spec.partition("=")[0])
            elif code != 0 and not case.errors:
                raise NotDone(f"exit code {code} in a life with {spec!r}: {_said(day)}")
            if done and not spec:
                return
        raise NotDone(f"the last life did not come to its end: {_said(day)}")

    def _life(self, day: Day, spec: str, failpoints: str) -> tuple[bool, int]:
        """One life of the day: whether all was done, and its exit code."""
        held = spec.endswith("+")
        life = self.nursery.start(day.home, FAILPOINTS=failpoints)
        try:
            day.live(life, HELD_S if held else PATIENCE_S)
        except NotDone:
            if not held:
                raise
            return False, life.stop()
        except NotStarted:
            return False, life.wait()
        except httpx.HTTPError:
            return False, life.wait(5)
        finally:
            if life.code is None and life.alive():
                life.stop()
        return True, life.wait()

    def _again(self, day: Day) -> list[str]:
        before = of_users(read_log(day.home.data_dir / "log.db")[0])
        life = self.nursery.start(day.home)
        life.ready()
        life.stop()
        after = of_users(read_log(day.home.data_dir / "log.db")[0])
        return [] if before == after else ["a further restart changed a session"]

    def _keep_or_remove(self, root: Path, case: Case, judged: Judged) -> None:
        if judged.wrong:
            kept = Path(tempfile.mkdtemp(prefix="broken-day-"))
            shutil.copytree(root, kept, dirs_exist_ok=True)
            for what in judged.wrong:
                self.task.say(f"{' | '.join(case.lives)}: {what} ({kept})")
        shutil.rmtree(root, ignore_errors=True)


def _said(day: Day) -> str:
    log = day.home.root / "daemon.log"
    return log.read_text(errors="replace")[-400:] if log.exists() else ""


# --- which cases ----------------------------------------------------------------------------


def kills_everywhere(day: dict[str, int], recovery: dict[str, int]) -> list[Case]:
    """A kill at each of these hits of each point, of the day or of a recovery."""
    return [
        *(Case((f"{one}=kill@{n}",)) for one in sorted(day) for n in HITS if n <= day[one]),
        *(
            Case((CUT, f"{one}=kill@{n}"))
            for one in sorted(recovery)
            for n in HITS
            if n <= recovery[one] and (one not in day or phase_of(one) == "recovery")
        ),
    ]


def two_deep(day: dict[str, int], recovery: dict[str, int], count: int, seed: int) -> list[Case]:
    """A kill anywhere, then two in what the next lives do to recover."""
    dice = random.Random(seed)

    def one_of(hits: dict[str, int]) -> str:
        name = dice.choice(sorted(hits))
        return f"{name}=kill@{dice.randint(1, min(hits[name], 40))}"

    boot = {name: n for name, n in recovery.items() if phase_of(name) not in {"stop", "turn"}}
    return [
        Case((one_of(day), one_of(boot), one_of(boot)), twice=number % 5 == 0)
        for number in range(count)
    ]


def errors_everywhere(day: dict[str, int], *, hits: Sequence[int]) -> list[Case]:
    """Each error once at each point where the system can refuse."""
    return [
        Case((f"{one}=raise:{error}@{n}",), errors=True)
        for one in sorted(day)
        if _FAILING.fullmatch(one)
        for error in ERRNOS
        for n in hits
        if n <= day[one]
    ]


def errors_that_stay(day: dict[str, int]) -> list[Case]:
    """From a hit on the point fails for the rest of the life; then a life without trouble."""
    return [
        Case((f"{one}=raise:{error}@{n}+",), errors=True)
        for one in (
            "log.commit.before",
            "log.commit.half",
            "files.write.before",
            "files.create.before",
        )
        for error in ("ENOSPC", "EIO")
        for n in HITS
        if n <= day[one]
    ]


def some_of(cases: list[Case], count: int, seed: int) -> list[Case]:
    """A sample: the phases in turn, in each a point that was not taken yet, of it any hit."""
    dice = random.Random(seed)
    by_point: dict[str, list[Case]] = {}
    for case in cases:
        by_point.setdefault(case.lives[-1].partition("=")[0], []).append(case)
    phases: dict[str, list[str]] = {}
    for name in dice.sample(sorted(by_point), len(by_point)):
        phases.setdefault(phase_of(name), []).append(name)
    in_turn = itertools.zip_longest(*(phases[phase] for phase in sorted(phases)))
    names = [name for row in in_turn for name in row if name is not None]
    return [dice.choice(by_point[name]) for name in names[:count]]


# --- the stage ------------------------------------------------------------------------------


def run(task: Task) -> Outcome:
    """Baseline for the hits there are, then the cases, two at a time."""
    with Nursery() as nursery:
        provider = Provider()
        try:
            return _run(task, Bench(task, nursery, provider))
        finally:
            provider.close()


def _run(task: Task, bench: Bench) -> Outcome:
    tally = bench.tally
    day = bench.run("baseline", Case((), twice=True))
    recovery = bench.run("baseline", Case((CUT,), twice=True))
    kills = kills_everywhere(day, recovery)
    errors = errors_everywhere(day, hits=(1, 2, 5) if task.tier == "nightly" else (1,))
    stay = errors_that_stay(day)
    if task.tier == "quick":
        stay = random.Random(task.seed).sample(stay, task.count(1, 0))
        kills = some_of(kills, task.count(14, 0), task.seed)
        errors = some_of(errors, task.count(6, 0), task.seed)
    deep = two_deep(day, recovery, task.count(3, 300), task.seed)
    jobs = [("kill", one) for one in kills]
    jobs += [("two-deep", one) for one in deep] + [("error", one) for one in errors + stay]
    done = itertools.count(1)

    def work(job: tuple[str, Case]) -> None:
        bench.run(*job)
        number = next(done)
        if number % 10 == 0:
            task.say(f"{number} of {len(jobs)} cases, {len(tally.failures)} broken")

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, jobs))
    missed = sorted(declared() - tally.hits.keys() - ELSEWHERE.keys())
    tally.failures += [f"no life of the day reaches the failpoint {one}" for one in missed]
    return Outcome(
        failures=tally.failures,
        short=[f"{name} is not reached here: {why}" for name, why in ELSEWHERE.items()],
        numbers=_numbers(tally),
        figures={
            "points": len(declared()),
            "reached": len(declared() & tally.hits.keys()),
            "cases": dict(tally.cases),
            "kills": dict(tally.kills),
            "events": tally.events,
            "acknowledged": tally.acknowledged,
        },
    )


def _numbers(tally: Tally) -> list[Number]:
    kills = tally.kills.total()
    phases = Counter[str]()
    for name, count in tally.kills.items():
        phases[phase_of(name)] += count
    spread = ", ".join(f"{phase} {count}" for phase, count in phases.most_common())
    share = tally.unknown["unknown"] / max(1, tally.unknown["tool kills"])
    return [
        Number(
            "enumerated crash points",
            "all of N, plus N2 two-deep; failpoint coverage 100 %",
            f"{tally.cases['kill']} of N = {len(declared())} points and their hits, "
            f"N2 = {tally.cases['two-deep']}",
            f"{kills} kills: {spread}; {tally.unhit} armed kills were not reached",
        ),
        Number(
            "injected I/O errors",
            "each errno at each point; wrongly acknowledged = 0",
            f"{tally.cases['error']} cases of {', '.join(ERRNOS)}",
            f"some for good from a hit on; {tally.refused} requests refused with 5xx and repeated; "
            f"{tally.acknowledged} acknowledged, every one found in the log",
        ),
        Number(
            "`unknown` effects after a kill in a tool phase",
            "x % of kills in T3-T5",
            f"{share:.0%} of {tally.unknown['tool kills']} kills",
            "the rest had not begun, was recorded, or is safe to repeat",
        ),
        Number(
            "model calls repeated after a kill",
            "y per 1,000 kills",
            f"{1000 * tally.repeated / max(1, kills):.0f} per 1,000",
            "kills at chosen points, three conversations at work; a random kill costs less",
        ),
    ]


STAGE = Stage(
    "points",
    "The daemon dies at every durable step",
    run,
    faults=(
        "A1", "A2", "A3", "A4", "A5", "A6", "A8", "A10", "A12", "A13", "A16",
        "B1", "B2", "B3", "B5", "B6", "B7", "F2", "H13",
    ),
    order=20,
)  # fmt: skip
