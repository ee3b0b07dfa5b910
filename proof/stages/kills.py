"""Random `kill -9`: a team at work is killed again and again, and every death is judged.

Two lines of homes live beside each other. A home lives through some dozens of deaths, then it comes
to rest and is judged in full; one home lives through the whole run. The moment of a death is
chosen by chance in one of five ways (`Plan`), so that every phase of the work is met often enough;
what the daemon was really doing is read from its trace.
"""

import contextlib
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Final, Literal, TypeAlias

from brainpilot_rt.testing.daemon import DaemonHome
from proof.life import Life, NotStarted, Nursery, Trace
from proof.oracle import Oracle, judge
from proof.points import phase_of, reached
from proof.stage import Outcome, Stage, Task
from proof.tally import IDLE_MS, Tally, summed, told
from proof.workload import Books, Client, fsync_floor, new_home

How: TypeAlias = Literal["start", "time", "request", "phase", "stop"]

LINES: Final = 2
DEATHS_PER_HOME: Final = 40
ELDER_EVERY: Final = 40
"""Every n-th kill of the first line is one of the home that lives through the whole run."""
REAL_SHARE: Final = 0.02
"""Lives that start through the command line."""
FAILURES_MAX: Final = 20
SLOW_S: Final = 10.0
"""A home that takes longer to come to rest is kept, to be looked at."""
PATIENCE_S: Final = 1.5
"""Longest wait for the moment that a plan wants."""

_HOW: Final[Mapping[How, float]] = {
    "start": 0.12, "time": 0.2, "request": 0.16, "phase": 0.42, "stop": 0.1,
}  # fmt: skip
_WANTED: Final = ("write", "consume", "turn", "tool", "commit", "checkpoint")
_MODEL_CALL: Final = "turn.model_called.before"
_READY: Final = "boot.ready.before"


@dataclass(frozen=True, slots=True)
class Plan:
    """When a life is to end."""

    how: How
    """`start`: before it is ready; `time`: any time after; `request`: just after one was sent;
    `phase`: when the trace shows one; `stop`: while it stops after a SIGTERM."""
    requests: int
    """Sent before the moment is looked for."""
    delay_s: float
    phase: str = ""
    checkpoints: bool = False
    """Checkpoint after few pages, so that checkpoints are met."""


def planned(rng: random.Random, start_s: float) -> Plan:
    """A plan by chance. `start_s`: how long a start takes at present."""
    how = rng.choices(list(_HOW), list(_HOW.values()))[0]
    checkpoints = rng.random() < 0.5
    match how:
        case "start":
            return Plan(how, 0, rng.uniform(0, 1.1) * start_s)
        case "time":
            return Plan(how, rng.randrange(10, 40), rng.uniform(0, 0.1), "", checkpoints)
        case "request":
            return Plan(how, rng.randrange(8, 50), rng.expovariate(500), "", checkpoints)
        case "phase":
            phase = rng.choice(_WANTED)
            delay_s = rng.choice((0.0, rng.expovariate(2000)))
            return Plan(how, rng.randrange(10, 40), delay_s, phase, phase == "checkpoint")
        case "stop":
            phase = rng.choice(("checkpoint", "stop", ""))
            return Plan(how, rng.randrange(10, 40), rng.uniform(0, 0.3), phase, checkpoints)


@dataclass(slots=True)
class Quota:
    """How many kills are left to do, shared by the lines."""

    left: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> bool:
        """One more?"""
        with self.lock:
            self.left -= 1
            return self.left >= 0

    def give_back(self) -> None:
        """One that was not used."""
        with self.lock:
            self.left += 1


@dataclass(slots=True)
class Place:
    """A home with everything that is known of it."""

    name: str
    home: DaemonHome
    books: Books
    oracle: Oracle
    deaths: int = 0

    @classmethod
    def new(cls, root: Path, name: str) -> "Place":
        """A fresh one."""
        home, books = new_home(root / name, name)
        return cls(name, home, books, Oracle(home, books))


class Line:
    """Kills one daemon after the other."""

    def __init__(self, number: int, task: Task, quota: Quota, nursery: Nursery) -> None:
        self.tally = Tally()
        self._number = number
        self._task = task
        self._quota = quota
        self._nursery = nursery
        self._homes = 0
        self._start_s = 0.1
        self._elder = Place.new(task.folder, f"{number}e") if number == 0 else None

    def run(self) -> Tally:
        """Go on until nothing is left to do or too much is broken."""
        place = self._new()
        total = 0
        while len(self.tally.failures) < FAILURES_MAX and self._quota.take():
            total += 1
            if self._elder is not None and total % ELDER_EVERY == 0:
                self._elder = self._die(self._elder) or Place.new(self._task.folder, f"0e{total}")
                continue
            place = self._die(place) or self._new()
            if place.deaths >= DEATHS_PER_HOME:
                self._rest(place)
                place = self._new()
        for one in filter(None, (place, self._elder)):
            self._rest(one)
        return self.tally

    def _new(self) -> Place:
        self._homes += 1
        return Place.new(self._task.folder, f"{self._number}h{self._homes}")

    def _die(self, place: Place) -> Place | None:
        """One life and its death; None when the home is given up because something is wrong."""
        place.deaths += 1
        rng = random.Random(f"{self._task.seed} {place.name} {place.deaths}")
        plan = planned(rng, self._start_s)
        real = rng.random() < REAL_SHARE
        trace = Trace(place.home.root / "trace")
        env = {"BP_CHECKPOINT_PAGES": "40"} if plan.checkpoints else {}
        turns = place.oracle.types["model_replied"]
        life = self._nursery.start(place.home, real=real, FAILPOINTS=trace.spec, **env)
        try:
            wrong = self._live(life, place, plan, trace, rng)
        except (NotStarted, TimeoutError) as fault:
            wrong = [f"{type(fault).__name__}: {str(fault)[-400:]}"]
        finally:
            life.kill()
            trace.close()
        wrong += place.oracle.after_death()
        tally = self.tally
        tally.counts["real lives"] += real
        calls = reached(trace.path).get(_MODEL_CALL, 0)
        tally.counts["model calls"] += calls
        kept = place.oracle.types["model_replied"] - turns
        tally.counts["model calls without a kept reply"] += max(0, calls - kept)
        if life.told and not real:
            ready = tally.elder_ready_ms if place is self._elder else tally.ready_ms
            ready.append(life.ready_s * 1000)
            self._start_s = life.ready_s
        if tally.counts["kills"] % 25 == 0:
            self._task.say(f"line {self._number}: {tally.counts['kills']} kills")
        return place if not wrong else self._give_up(place, wrong, plan)

    def _live(
        self, life: Life, place: Place, plan: Plan, trace: Trace, rng: random.Random
    ) -> list[str]:
        """Work until death strikes; notes what it struck."""
        struck = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            if plan.how != "start":
                life.ready()
            death = pool.submit(_strike, life, place.books, plan, trace, struck)
            if plan.how != "start":
                with contextlib.closing(Client(life, place.books, rng)) as client:
                    client.work(struck)
            struck_ns = death.result()
        code = life.wait()
        if code == 0 and plan.how == "stop":
            self.tally.counts["stopped before the kill"] += 1
            self._quota.give_back()
            return []
        self.tally.counts["kills"] += 1
        self.tally.hows[plan.how] += 1
        self.tally.phases[_phase(trace, struck_ns)] += 1
        if code == -SIGKILL:
            return []
        return [f"it ended by itself, with {code}: {life.said()[-400:]}"]

    def _rest(self, place: Place) -> None:
        """Let a home come to rest, judge it in full, sum it up, throw it away."""
        try:
            wrong = judge(
                place.home,
                place.books,
                self._nursery,
                oracle=place.oracle,
                doctor=place is self._elder,
            )
        except (NotStarted, TimeoutError) as fault:
            wrong = [f"{type(fault).__name__}: {str(fault)[-400:]}"]
        self.tally.counts["homes judged"] += 1
        self.tally.rest_ms.append(place.oracle.rest_s * 1000)
        if place.oracle.rest_s > SLOW_S:
            self._keep(place)
            self._task.say(f"{place.name} took {place.oracle.rest_s:.1f} s to come to rest")
        if wrong:
            self._give_up(place, wrong, None)
        else:
            self._sum(place)

    def _sum(self, place: Place) -> None:
        self.tally.counts.update(place.oracle.figures())
        self.tally.refused.update(place.books.refused)
        self.tally.answer_ms += place.books.latencies_ms
        shutil.rmtree(place.home.root, ignore_errors=True)

    def _give_up(self, place: Place, wrong: Sequence[str], plan: Plan | None) -> None:
        kept = self._keep(place)
        which = f"seed {self._task.seed}, home {place.name}, death {place.deaths}, {plan}"
        self.tally.failures += [f"{which}, kept in {kept}: {text}" for text in wrong[:5]]
        self._task.say(self.tally.failures[-1])
        self._sum(place)

    def _keep(self, place: Place) -> Path:
        """Copy a home to where it outlives the run."""
        kept = Path(tempfile.gettempdir()) / f"proof-kills-{self._task.seed}-{place.name}"
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(place.home.root, kept, dirs_exist_ok=True, symlinks=True)
        return kept


def _strike(life: Life, books: Books, plan: Plan, trace: Trace, struck: threading.Event) -> int:
    """Wait for the moment, then kill; when that was (monotonic nanoseconds)."""
    ends = time.monotonic() + PATIENCE_S
    enough = books.sent + plan.requests
    while books.sent < enough and time.monotonic() < ends and life.alive():
        time.sleep(0.0002)
    if plan.how == "stop":
        life.send(SIGTERM)
    if plan.phase:
        _await_phase(plan.phase, trace, ends)
    if not (plan.how == "stop" and plan.phase):
        time.sleep(plan.delay_s)
    struck_ns = time.monotonic_ns()
    life.send(SIGKILL)
    struck.set()
    return struck_ns


def _await_phase(phase: str, trace: Trace, ends: float) -> None:
    begun = time.monotonic_ns()
    while time.monotonic() < ends:
        name, at_ns = trace.last()
        if at_ns > begun and phase_of(name) == phase:
            return
        time.sleep(0.00005)


def _phase(trace: Trace, struck_ns: int) -> str:
    """What a life was doing when it died: the phase of the point it hit last."""
    if _READY not in reached(trace.path):
        return "recovery"
    name, at_ns = trace.last()
    phase = phase_of(name)
    return "idle" if phase == "recovery" or struck_ns - at_ns > IDLE_MS * 1e6 else phase


def run(task: Task) -> Outcome:
    """Kill, judge, count."""
    floor = fsync_floor(task.folder)
    quota = Quota(task.count(50, 10_000))
    with Nursery() as nursery, ThreadPoolExecutor(LINES) as pool:
        lines = [Line(number, task, quota, nursery) for number in range(LINES)]
        tally = summed(list(pool.map(Line.run, lines)))
    return told(tally, floor)


STAGE = Stage(
    name="kills",
    title="random kills of a team at work",
    run=run,
    faults=("A1", "A2", "A3", "A4", "A5", "A6", "A8", "B1", "B2", "B3", "B5", "B6", "B7", "B8",
            "F1", "F2", "F12", "H13", "I4"),
    aside=True,
    order=10,
)  # fmt: skip
