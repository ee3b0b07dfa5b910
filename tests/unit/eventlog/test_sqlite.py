"""The log in SQLite: the contract, and what only a file can do - survive, be damaged, be full."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.events import DaemonStopped, Recorded
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.eventlog.schema import prepare
from brainpilot_rt.eventlog.sqlite import SqliteEventLog
from brainpilot_rt.eventlog.store import LogConnection, LogStore
from brainpilot_rt.testing.contracts.eventlog import (
    S1,
    S2,
    AppendContract,
    ReadContract,
    event,
    events,
    numbers,
    receipt,
    refused,
)
from brainpilot_rt.testing.contracts.ledger import LedgerContract
from brainpilot_rt.testing.sources import ManualClock

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(30)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


OPENED: list[SqliteEventLog] = []


async def reopen(path: Path) -> SqliteEventLog:
    log = await SqliteEventLog.open(path, clock=ManualClock())
    OPENED.append(log)
    return log


@pytest.fixture(autouse=True)
async def none_left_open() -> AsyncIterator[None]:
    """A test that fails leaves no thread behind, which would keep the whole run from ending."""
    yield
    failpoints.reset()
    while OPENED:
        await OPENED.pop().close()


@pytest.fixture
async def log(path: Path) -> AsyncIterator[EventLog]:
    opened = await reopen(path)
    yield opened
    await opened.close()


class TestAppend(AppendContract):
    pass


class TestRead(ReadContract):
    pass


class TestLedger(LedgerContract):
    pass


def outside(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """What another program does to the file while no log is open."""
    rows: list[tuple[object, ...]] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            rows += connection.execute(statement).fetchall()
    return rows


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, content: bytes | bytearray) -> None:
    path.write_bytes(content)


# --- opening ----------------------------------------------------------------------------------


async def test_a_log_is_the_same_after_it_was_closed(path: Path):
    first = await reopen(path)
    placed = await first.append(S1, events(3), title="One", busy=True, receipt=receipt())
    row = await first.session(S1)
    await first.close()

    second = await reopen(path)
    assert (second.epoch, second.head_pos) == (first.epoch, 3)
    assert await second.read(S1) == placed
    assert await second.session(S1) == row
    assert await second.receipt("k1") == receipt()
    assert numbers(await second.append(S1, events(1))) == [4]
    await second.close()


async def test_the_file_is_private_and_closing_leaves_only_its_mark_beside_it(path: Path):
    log = await reopen(path)
    await log.append(S1, events(1))
    modes = {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == {0o600}
    await log.close()
    names = sorted(each.name for each in path.parent.iterdir())
    assert names == ["log.db", "log.db.seen"]


async def test_a_place_is_never_given_twice_although_its_session_was_deleted(path: Path):
    first = await reopen(path)
    await first.append(S1, events(5))
    await first.delete_session(S1)
    await first.close()
    second = await reopen(path)
    assert second.head_pos == 5
    assert [row.pos for row in await second.append(S2, events(1))] == [6]
    await second.close()


@pytest.mark.fault("D9")
async def test_a_log_of_a_newer_version_is_refused_and_not_touched(path: Path):
    await (await reopen(path)).close()
    outside(path, "PRAGMA user_version = 99")
    before = content_of(path)
    refusal = await refused(reopen(path))
    assert refusal.code == "log_newer"
    assert "99" in refusal.message
    assert content_of(path) == before


async def test_a_database_of_another_program_is_refused(path: Path):
    outside(path, "CREATE TABLE theirs (a)")
    assert (await refused(reopen(path))).code == "log_foreign"


async def test_a_file_that_is_no_database_is_refused(path: Path):
    write(path, b"not a database, but long enough to be looked at" * 100)
    assert (await refused(reopen(path))).code == "log_corrupt"


async def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path):
    assert isinstance(await refused(reopen(tmp_path / "no" / "log.db")), Unavailable)


@pytest.mark.fault("C24")
async def test_a_damaged_log_is_refused_after_an_unclean_stop(path: Path):
    log = await reopen(path)
    for number in range(200):
        await log.append(S1, [DaemonStopped(reason=f"{number}" * 300)])
    await log.close()
    outside(path, "UPDATE meta SET value = '0' WHERE key = 'clean'")
    content = bytearray(content_of(path))
    content[5 * 4096 : 9 * 4096] = b"\xa5" * (4 * 4096)
    write(path, content)
    refusal = await refused(reopen(path))
    assert refusal.code == "log_corrupt"
    assert "backup" in refusal.message
    assert content_of(path) == bytes(content)


async def test_only_a_clean_stop_is_marked_as_one(path: Path):
    marked = "SELECT value FROM meta WHERE key = 'clean'"
    log = await reopen(path)
    await log.append(S1, events(1))
    assert outside(path, marked) == [("0",)]
    await log.close()
    assert outside(path, marked) == [("1",)]


# --- failure ----------------------------------------------------------------------------------


@pytest.mark.fault("D4", "A10")
async def test_a_full_disk_fails_what_is_queued_and_the_log_recovers_by_itself(path: Path):
    connection = LogConnection(lambda: sqlite3.connect(path, isolation_level=None), 1)
    await connection
    epoch = await connection.run(partial(prepare, new_epoch="full"))
    log = SqliteEventLog(LogStore(connection, ManualClock(), epoch, 0))
    OPENED.append(log)
    order: list[str] = []
    log.on_failure(lambda failure: order.append(failure.code))
    large = DaemonStopped(reason="x" * 20_000)
    await log.append(S1, [event(1)])

    # The size at which SQLite says that the disk is full; it never goes below what is in use.
    await connection.execute("PRAGMA max_page_count = 1")
    waiting = [log.append(S1, [large], receipt=receipt(f"k{n}")) for n in range(20)]
    for work in waiting:
        refusal = await refused(work)
        assert isinstance(refusal, Unavailable)
        assert refusal.code == "disk_full"
        order.append("waiter")
    assert order[:2] == ["disk_full", "waiter"]
    assert numbers(await log.read(S1)) == [1]
    assert await log.receipt("k0") is None

    await connection.execute("PRAGMA max_page_count = 1000000")
    placed = await log.append(S1, [large], receipt=receipt("k0"))
    assert [(row.seq, row.pos) for row in placed] == [(2, 2)]
    await log.close()


@pytest.mark.parametrize("point", ["log.commit.before", "log.commit.after"])
@pytest.mark.fault("D4")
async def test_after_a_failed_commit_the_places_are_those_of_the_file(path: Path, point: str):
    log = await reopen(path)
    await log.append(S1, events(2))
    failpoints.configure(f"{point}=raise:EIO")
    assert isinstance(await refused(log.append(S1, events(1))), Unavailable)
    await log.append(S2, events(1))
    await log.append(S1, events(1))
    rows = await log.read_all()
    assert [row.pos for row in rows] == list(range(1, len(rows) + 1))
    assert numbers(await log.read(S1)) == list(range(1, len(rows)))
    await log.close()


async def test_appends_queue_up_while_a_commit_runs_and_share_the_next(path: Path):
    log = await reopen(path)
    commits: list[int] = []
    log.on_commit(lambda rows: commits.append(len(rows)))
    failpoints.configure("log.commit.before=pause")
    first = log.append(S1, [event(0)])
    assert await asyncio.to_thread(failpoints.wait_paused, "log.commit.before", 10)
    rest = [log.append(S1 if n % 2 else S2, [event(n)]) for n in range(600)]
    failpoints.release("log.commit.before")
    await first
    for work in rest:
        await work
    assert commits == [1, 512, 88]
    await log.close()


async def test_a_full_queue_is_busy_and_what_is_queued_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("brainpilot_rt.eventlog.writer.QUEUE_APPENDS", 2)
    log = await reopen(path)
    waiting = [log.append(S1, [event(n)]) for n in range(2)]
    assert (await refused(log.append(S1, [event(2)]))).code == "busy"
    for work in waiting:
        await work
    assert numbers(await log.append(S1, [event(3)])) == [3]
    await log.close()


async def test_a_cancelled_writer_leaves_nobody_waiting(path: Path):
    log = await reopen(path)
    waiting = log.append(S1, events(1))
    (writer,) = [task for task in asyncio.all_tasks() if task.get_name() == "log writer"]
    writer.cancel()
    assert isinstance(await refused(waiting), Unavailable)
    assert isinstance(await refused(log.append(S1, events(1))), Unavailable)
    await log.close()


@pytest.mark.fault("C24")
async def test_an_event_that_no_longer_parses_is_told_and_can_still_be_exported(path: Path):
    log = await reopen(path)
    await log.append(S1, events(2))
    await log.close()
    outside(path, """UPDATE events SET payload = '{"type":"unheard_of"}' WHERE seq = 2""")
    log = await reopen(path)
    refusal = await refused(log.read(S1))
    assert refusal.code == "log_corrupt"
    assert "event 2" in refusal.message
    assert [row.seq for row in await log.read_raw(S1)] == [1, 2]
    await log.close()


async def test_large_events_make_short_pages_and_complete_reads(path: Path):
    log = await reopen(path)
    large = [DaemonStopped(reason=f"{n} " + "x" * 600_000) for n in range(20)]
    placed: list[Recorded] = []
    for each in large:
        placed += await log.append(S1, [each])
    assert await log.read(S1) == placed
    assert await log.read_back(S1, limit=15) == placed[5:]
    await log.close()


async def test_a_cancelled_reader_leaves_the_log_usable(path: Path):
    log = await reopen(path)
    await log.append(S1, events(100))
    readers = [asyncio.get_running_loop().create_task(log.read(S1)) for _ in range(5)]
    await asyncio.sleep(0)
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)
    assert len(await log.read(S1)) == 100
    await log.close()


async def test_a_whole_function_runs_on_the_connections_thread_in_one_hop(path: Path):
    """What we rely on in aiosqlite, which does not promise it in public."""
    connection = LogConnection(lambda: sqlite3.connect(path, isolation_level=None), 1)
    await connection

    def work(inner: sqlite3.Connection) -> Sequence[object]:
        inner.execute("BEGIN")
        inner.execute("CREATE TABLE t (a)")
        inner.execute("COMMIT")
        return inner.execute("SELECT name FROM sqlite_schema").fetchall()

    assert await connection.run(work) == [("t",)]
    await connection.close()


def size_of(path: Path) -> int:
    return path.stat().st_size


async def test_the_log_is_moved_into_its_main_file_while_it_is_written(path: Path):
    log = await SqliteEventLog.open(path, clock=ManualClock(), checkpoint_pages=20)
    OPENED.append(log)
    before = size_of(path)
    for _ in range(20):
        await log.append(S1, [event(1)])
    assert size_of(path) > before


async def test_a_checkpoint_that_fails_takes_back_no_commit(path: Path):
    failpoints.configure("log.checkpoint.before=raise:EIO@1+")
    log = await SqliteEventLog.open(path, clock=ManualClock(), checkpoint_pages=1)
    OPENED.append(log)
    await log.append(S1, [event(1)])
    await log.append(S1, [event(1)])
    assert numbers(await log.read(S1)) == [1, 2]
