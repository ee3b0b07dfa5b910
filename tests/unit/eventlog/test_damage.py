"""What other hands do to the log: flipped bits, locks held, long readers, clocks that go back."""

import logging
import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.events import DaemonStopped
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog import schema, store
from brainpilot_rt.eventlog.sqlite import SqliteEventLog
from brainpilot_rt.testing.contracts.eventlog import S1, S2, events, numbers, refused
from brainpilot_rt.testing.sources import ManualClock

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(30)]

SESSIONS = [SessionId(f"s{number}") for number in range(4)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


async def opened(path: Path) -> SqliteEventLog:
    return await SqliteEventLog.open(path, clock=ManualClock())


async def filled(path: Path) -> None:
    log = await opened(path)
    for number in range(120):
        session = SESSIONS[number % len(SESSIONS)]
        await log.append(session, [DaemonStopped(reason=f"{number} " * 60)])
    await log.close()


def damaged(good: bytes, chance: random.Random) -> bytes:
    bad = bytearray(good)
    for _ in range(chance.choice((1, 8, 64))):
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
    return bytes(bad)


async def what_is_made_of(path: Path) -> list[str]:
    """`refused`, or of each session `whole`, `told` (its damage is) or `silent`."""
    before = content_of(path)
    try:
        log = await opened(path)
    except Unavailable:
        assert content_of(path) == before
        return ["refused"]
    outcomes: list[str] = []
    for session in SESSIONS:
        try:
            rows = await log.read(session)
        except Unavailable:
            outcomes.append("told")
        else:
            outcomes.append("whole" if numbers(rows) == list(range(1, 31)) else "silent")
    await log.close()
    return outcomes


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


@pytest.mark.fault("C24")
@pytest.mark.parametrize("clean", ["0", "1"], ids=["after a crash", "after a clean stop"])
async def test_flipped_bits_are_refused_or_told_and_never_written_over(path: Path, clean: str):
    await filled(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'clean'", (clean,))
    good, chance, outcomes = content_of(path), random.Random(24), Counter[str]()
    for _ in range(25):
        write(path, damaged(good, chance))
        outcomes.update(await what_is_made_of(path))
    assert outcomes["refused"]
    assert outcomes["whole"]
    assert not outcomes["silent"]


@pytest.mark.fault("D3")
async def test_a_lock_held_for_a_moment_is_waited_for(path: Path):
    log = await opened(path)
    await log.append(S1, events(1))
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as person:
        person.execute("BEGIN IMMEDIATE")
        waiting = log.append(S1, events(1))
        person.execute("COMMIT")
        assert numbers(await waiting) == [2]
    await log.close()


@pytest.mark.fault("D3")
async def test_behind_a_lock_that_stays_an_append_is_refused_and_the_next_one_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(schema, "_BUSY_MS", 50)
    log = await opened(path)
    await log.append(S1, events(1))
    with closing(sqlite3.connect(path, isolation_level=None)) as person:
        person.execute("BEGIN IMMEDIATE")
        refusal = await refused(log.append(S1, events(1)))
        assert isinstance(refusal, Unavailable)
        assert refusal.code == "log_locked"
        assert numbers(await log.read(S1)) == [1]
        person.execute("ROLLBACK")
    assert numbers(await log.append(S1, events(2))) == [2, 3]
    await log.close()


@pytest.mark.fault("D5")
async def test_a_reader_that_keeps_the_log_from_shrinking_is_named_and_blocks_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(store, "PAGES_PINNED", 20)
    log = await SqliteEventLog.open(path, clock=ManualClock(), checkpoint_pages=10)
    await log.append(S1, events(1))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
        with caplog.at_level(logging.WARNING):
            for _ in range(10):
                await log.append(S1, [DaemonStopped(reason="x" * 20_000)])
        assert "another program reads the log" in caplog.text
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
        reader.execute("COMMIT")
    assert numbers(await log.read(S1)) == list(range(1, 12))
    await log.close()
    assert sorted(one.name for one in path.parent.iterdir()) == ["log.db", "log.db.seen"]


@pytest.mark.fault("D12", "E4")
async def test_the_order_is_that_of_the_commits_whatever_the_clock_says(path: Path):
    log = await opened(path)
    for at_ms in (2**41, 5, 2**42, 1):
        await log.append(S1, events(1), at_ms=at_ms)
        await log.append(S2, events(1), at_ms=7)
    assert [row.at_ms for row in await log.read(S1)] == [2**41, 5, 2**42, 1]
    assert [row.pos for row in await log.read_all()] == list(range(1, 9))
    await log.close()


async def test_what_is_copied_while_it_runs_opens_as_it_was(path: Path, tmp_path: Path):
    log = await opened(path)
    await log.append(S1, events(5))
    elsewhere = tmp_path / "copy"
    elsewhere.mkdir()
    for one in path.parent.glob("log.db*"):
        shutil.copy(one, elsewhere)
    await log.close()
    copy = await opened(elsewhere / "log.db")
    assert numbers(await copy.read(S1)) == [1, 2, 3, 4, 5]
    await copy.close()
