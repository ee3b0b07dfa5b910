"""How long a start takes after a death: small logs, large ones, one beyond SQLite's lock page.

The sessions of a large log are copies, under names of their own, of one that a real daemon wrote;
they are put into the file while no daemon runs. Time runs from the start of the process by the
command line to the line that says where it listens, which comes after recovery.
"""

import random
import sqlite3
import statistics
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from brainpilot_rt.aiokit.sources import SystemClock, UlidSource
from brainpilot_rt.mailbox.codec import ForeignLetter
from brainpilot_rt.mailbox.sender import send_letter
from brainpilot_rt.testing.daemon import DaemonHome
from proof.life import Nursery
from proof.oracle import damage
from proof.stage import Number, Outcome, Stage, Task
from proof.workload import Books, Client, new_home, quiesce

TURNS: Final = 20
STARTS: Final = 7
TARGET_S: Final = 2.0
LOCK_PAGE: Final = 1 << 30
"""Byte at which SQLite keeps a page free for its locks: a log must be right on both sides of it."""
PAD_BYTES: Final = 6_000
PATIENCE_S: Final = 300.0
MODEL: Final = "model"
"""The session that is copied."""


@dataclass(slots=True)
class _Place:
    """The home, its books, and what starts its lives."""

    task: Task
    nursery: Nursery
    home: DaemonHome
    books: Books
    failures: list[str]
    mailboxes: Path = Path()

    @property
    def log(self) -> Path:
        """The log's file."""
        return self.home.data_dir / "log.db"


def run(task: Task) -> Outcome:
    """Grow a log in steps; kill and start at each size."""
    nightly = task.tier == "nightly"
    sizes = [(1_000, 0), (100_000, task.count(0, 10_000))] if nightly else [(1_000, 50)]
    numbers: list[Number] = []
    figures: dict[str, Any] = {}
    with Nursery() as nursery:
        root = task.folder / "home"
        root.mkdir()
        home, books = new_home(root, "recovery")
        place = _Place(task, nursery, home, books, [])
        _write_model(place)
        for events, letters in sizes:
            _grow(place, events)
            name = f"{events:,} events" + (f" and {letters:,} letters waiting" if letters else "")
            ready_s, rest_s = _starts(place, letters)
            figures[name] = {"ready_s": ready_s, "letters_taken_in_s": rest_s}
            numbers.append(_number(name, ready_s, rest_s))
            task.say(name)
        if nightly:
            numbers.append(_beyond_the_lock_page(place))
    return Outcome(failures=place.failures, numbers=numbers, figures=figures)


def _write_model(place: _Place) -> None:
    """One session of some turns, by a real daemon."""
    life = place.nursery.start(place.home)
    place.mailboxes = Path(life.ready()["mailbox_dir"])
    client = Client(life, place.books, random.Random(place.task.seed))
    client.request("POST", "/sessions", {"id": MODEL})
    place.books.sessions.append(MODEL)
    for number in range(TURNS):
        client.request("POST", f"/sessions/{MODEL}/messages", {"content": f"turn {number}"})
        quiesce(client)
    client.close()
    if (code := life.stop()) != 0:
        place.failures.append(f"the daemon that wrote the model ended with {code}")


def _grow(place: _Place, events: int, pad: int = 0) -> None:
    """Copies of the model until the log holds so many events."""
    with closing(sqlite3.connect(place.log)) as connection, connection:
        rows = connection.execute(
            "SELECT seq, at_ms, type, payload FROM events WHERE session = ? ORDER BY seq", (MODEL,)
        ).fetchall()
        (have,) = connection.execute("SELECT count(*) FROM events").fetchone()
        (pos,) = connection.execute("SELECT max(pos) FROM events").fetchone()
        (made,) = connection.execute("SELECT count(*) FROM sessions").fetchone()
        for number in range(made, made + -(-(events - have) // len(rows))):
            name = f"copy-{number}"
            connection.execute("INSERT INTO sessions VALUES (?, 0, '', 0)", (name,))
            connection.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (name, seq, pos + at, at_ms, kind, _copied(payload, name, pad))
                    for at, (seq, at_ms, kind, payload) in enumerate(rows, 1)
                ),
            )
            pos += len(rows)


def _copied(payload: bytes, name: str, pad: int) -> bytes:
    copied = payload.replace(f'"{MODEL}"'.encode(), f'"{name}"'.encode())
    return copied.rstrip() + b" " * pad  # space after JSON means nothing


def _starts(place: _Place, letters: int) -> tuple[list[float], list[float]]:
    """Seconds to ready of some starts after a kill, and until letters that waited are taken in."""
    ready_s: list[float] = []
    rest_s: list[float] = []
    for number in range(place.task.count(2, STARTS)):
        if letters and number == 0:
            _drop(place, letters)
        life = place.nursery.start(place.home, real=True)
        life.ready(PATIENCE_S)
        ready_s.append(life.ready_s)
        if letters and number == 0:
            rest_s.append(_until_taken_in(place, letters))
        life.kill()
    return ready_s, rest_s


def _drop(place: _Place, letters: int) -> None:
    """Letters of a foreign process, while no daemon runs."""
    new_id = UlidSource(SystemClock())
    for number in range(letters):
        letter = ForeignLetter(to="principal", content=f"letter {number}")
        send_letter(place.mailboxes, MODEL, letter, new_id=new_id)


def _until_taken_in(place: _Place, letters: int) -> float:
    begun = time.monotonic()
    count = 0
    sql = "SELECT count(*) FROM events WHERE session = ? AND type = 'letter_received'"
    while time.monotonic() - begun < PATIENCE_S:
        with closing(sqlite3.connect(f"file:{place.log}?mode=ro", uri=True)) as connection:
            (count,) = connection.execute(sql, (MODEL,)).fetchone()
        if count >= letters:
            return time.monotonic() - begun
        time.sleep(0.5)
    place.failures.append(f"only {count} of {letters} letters were taken in")
    return PATIENCE_S


def _beyond_the_lock_page(place: _Place) -> Number:
    """The log passes one GiB: it stays whole, and a daemon goes on writing on the other side."""
    size = place.log.stat().st_size
    with closing(sqlite3.connect(place.log)) as connection:
        (have,) = connection.execute("SELECT count(*) FROM events").fetchone()
    while (size := place.log.stat().st_size) < LOCK_PAGE + (64 << 20):
        have += 40_000
        _grow(place, have, PAD_BYTES)
        with closing(sqlite3.connect(place.log)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        place.task.say(f"the log holds {size >> 20} MB")
    life = place.nursery.start(place.home, real=True)
    life.ready(PATIENCE_S)
    client = Client(life, place.books, random.Random(place.task.seed))
    status, _ = client.request("POST", "/sessions", {"id": "beyond"})
    place.books.sessions[:] = ["beyond"]
    posted, _ = client.request("POST", "/sessions/beyond/messages", {"content": "hello"})
    place.failures += quiesce(client)
    if (status, posted) != (201, 200):
        place.failures.append(f"beyond the lock page the daemon answered {status} and {posted}")
    client.close()
    if (code := life.stop()) != 0:
        place.failures.append(f"the daemon with the large log ended with {code}")
    place.failures += damage(place.log)
    beside = f"{have:,} events; integrity checked; ready after {life.ready_s:.2f} s"
    measured = f"{place.log.stat().st_size >> 20} MB, goes on"
    return Number("a log beyond one GiB", "whole, and goes on", measured, beside)


def _number(name: str, ready_s: list[float], rest_s: list[float]) -> Number:
    beside = f"{len(ready_s)} starts by the command line after kill -9; worst {max(ready_s):.2f} s"
    if rest_s:
        beside += f"; all letters taken in {rest_s[0]:.1f} s after that"
    measured = f"{statistics.median(ready_s):.2f} s"
    return Number(f"recovery with {name}: ready", f"<= {TARGET_S:g} s", measured, beside)


STAGE = Stage("recovery", "Starts after a death, with logs of all sizes", run, ("D10", "B13"))
