"""Named points at which a test makes the process die, fail, wait or stop.

Crash safety is proven by dying at every durable step and looking at what is left. Each such step
calls `hit("its name")`. While nothing is configured that is one dictionary lookup. Counting is
process-wide, so that "the third fsync" means the third one of any thread.

A specification is a list of `name=action[@n[+]]` separated by `;`. It acts at the n-th hit (the
first unless told otherwise), with `+` also at every later one. Actions:

    kill            SIGKILL to the own process: no clean-up of any kind
    raise:ENOSPC    OSError with that errno
    delay:250       sleep for so many milliseconds, blocking the calling thread
    pause           block the calling thread until `release`

`*=trace:PATH` arms nothing: it keeps, in a file that outlives the process however it ends, the name
hit last, when, and how often each name was hit. A parent that kills at random reads there what it
has hit.

The names reached so far are kept (`reached`), so that a test run can show that no point was missed.
This state is module-wide on purpose: a point sits deep in code that must not carry a parameter for
it. Only `settings` and tests configure it.
"""

import errno
import mmap
import os
import re
import signal
import struct
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

_Action: TypeAlias = Literal["kill", "raise", "delay", "pause", "pass"]


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_die: Final[list[Callable[[], None]]] = [_kill_self]

_FORM: Final = re.compile(
    r"(?P<name>[^=;@\s]+)=(?P<action>kill|pause|raise:(?P<errno>E[A-Z0-9]+)|delay:(?P<ms>\d+))"
    r"(?:@(?P<nth>[1-9]\d*)(?P<onwards>\+)?)?"
)
_TRACE: Final = re.compile(r"\*=trace:(?P<path>.+)")

TRACE_RECORD: Final = struct.Struct("<56sQ")
"""The trace: records of 64 bytes, native to no machine. The first is the name hit last (UTF-8,
filled up with zeros) and when (monotonic nanoseconds); each further one a name and its count."""
_TRACED_NAMES: Final = 255


class _Trace:
    """The file that says what was hit. Written through memory: a killed process loses nothing."""

    def __init__(self, path: Path) -> None:
        size = TRACE_RECORD.size * (_TRACED_NAMES + 1)
        with path.open("w+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self._places: dict[str, int] = {}
        self._lock = threading.Lock()

    def note(self, name: str, hits: int) -> None:
        with self._lock:
            place = self._places.setdefault(name, TRACE_RECORD.size * (len(self._places) + 1))
            TRACE_RECORD.pack_into(self._map, place, name.encode(), hits)
            TRACE_RECORD.pack_into(self._map, 0, name.encode(), time.monotonic_ns())


class _Point:
    """One watched point: what it does, when, and how often it was hit."""

    def __init__(self, name: str, action: _Action) -> None:
        self.name = name
        self.action: _Action = action
        self.errno = 0
        self.delay_s = 0.0
        self.nth = 1
        self.onwards = False
        self.hits = 0
        self.trace: _Trace | None = None
        self.lock = threading.Lock()
        self.paused = threading.Event()
        self.released = threading.Event()

    @classmethod
    def read(cls, found: re.Match[str]) -> "_Point":
        point = cls(found["name"], cast("_Action", found["action"].partition(":")[0]))
        point.errno = _errno_named(found["errno"]) if found["errno"] else 0
        point.delay_s = int(found["ms"] or 0) / 1000
        point.nth = int(found["nth"] or 1)
        point.onwards = found["onwards"] is not None
        return point

    def act(self) -> None:
        with self.lock:
            self.hits += 1
            due = self.hits == self.nth or (self.onwards and self.hits > self.nth)
            if self.trace is not None:
                self.trace.note(self.name, self.hits)
        if not due:
            return
        match self.action:
            case "kill":
                _die[-1]()
            case "raise":
                raise OSError(self.errno, os.strerror(self.errno), f"failpoint {self.name}")
            case "delay":
                time.sleep(self.delay_s)
            case "pause":
                self.paused.set()
                self.released.wait()
            case "pass":
                pass


class _Points(dict[str, _Point | None]):
    """Every name reached or configured; a first look at a name is what records it."""

    trace: _Trace | None = None

    def __missing__(self, name: str) -> _Point | None:
        # setdefault: another thread may have configured the name since the lookup failed.
        point = None if self.trace is None else _Point(name, "pass")
        if point is not None:
            point.trace = self.trace
        return self.setdefault(name, point)


_points: Final = _Points()


def hit(name: str) -> None:
    """Do what is configured for this point; usually nothing."""
    point = _points[name]
    if point is not None:
        point.act()


def configure(spec: str) -> None:
    """Arm points; counting starts afresh. ValueError for what cannot be read, then none is armed.

    Points that the specification does not name stay as they are. An empty one arms nothing.
    """
    points: list[_Point] = []
    for part in filter(None, (part.strip() for part in spec.split(";"))):
        if traced := _TRACE.fullmatch(part):
            _points.trace = _Trace(Path(traced["path"]))
            _forget_unarmed()
            continue
        found = _FORM.fullmatch(part)
        if found is None:
            msg = f"failpoint {part!r} is not name=kill|raise:ERRNO|delay:MS|pause[@n[+]]"
            raise ValueError(msg)
        points.append(_Point.read(found))
    for point in points:
        point.trace = _points.trace
        _points[point.name] = point


def _forget_unarmed() -> None:
    """Names reached before there was a trace are looked at anew, so that it shows them too."""
    for name, point in list(_points.items()):
        if point is None:
            del _points[name]


@contextmanager
def dying(how: Callable[[], None]) -> Generator[None]:
    """Within the block `kill` calls this instead: for tests that die without their process."""
    _die.append(how)
    try:
        yield
    finally:
        _die.remove(how)


def reset() -> None:
    """Disarm every point, let go whatever is paused, forget the names reached."""
    points = list(_points.values())
    _points.clear()
    _points.trace = None
    for point in points:
        if point is not None:
            point.released.set()


def reached() -> frozenset[str]:
    """The names hit since the start or the last `reset`."""
    return frozenset(
        name for name, point in list(_points.items()) if point is None or point.hits > 0
    )


def wait_paused(name: str, timeout_s: float) -> bool:
    """Block until a thread stands at this `pause` point; False when none came in time."""
    return _armed(name).paused.wait(timeout_s)


def release(name: str) -> None:
    """Let the threads at this `pause` point go on, those that come later as well."""
    _armed(name).released.set()


def _armed(name: str) -> _Point:
    point = _points.get(name)
    if point is None:
        msg = f"failpoint {name} is not configured"
        raise ValueError(msg)
    return point


def _errno_named(name: str) -> int:
    for number, known in errno.errorcode.items():
        if known == name:
            return number
    msg = f"failpoint: unknown errno {name}"
    raise ValueError(msg)
