"""A log that was restored or replaced gets a new epoch; one that merely crashed keeps its own."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.domain.events import DaemonStopped
from brainpilot_rt.eventlog.sqlite import SqliteEventLog
from brainpilot_rt.testing.contracts.eventlog import S1, events, numbers
from brainpilot_rt.testing.sources import ManualClock

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(30), pytest.mark.fault("C25")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def life(folder: Path, count: int = 3, *, pages: int = 3000) -> str:
    """Open, append, stop in order; the epoch."""
    log = await SqliteEventLog.open(folder / "log.db", clock=ManualClock(), checkpoint_pages=pages)
    await log.append(S1, events(count))
    await log.close()
    return log.epoch


async def death(folder: Path, count: int = 3, *, pages: int = 3000) -> str:
    """Open, append, and be killed: the files stay as they are at that moment."""
    log = await SqliteEventLog.open(folder / "log.db", clock=ManualClock(), checkpoint_pages=pages)
    for _ in range(count):
        await log.append(S1, events(1))
    dead = folder.with_name("dead")
    shutil.copytree(folder, dead)
    await log.close()
    shutil.rmtree(folder)
    dead.rename(folder)
    return log.epoch


async def found(folder: Path) -> tuple[str, int]:
    """The epoch of the next opening, and how many events it finds."""
    log = await SqliteEventLog.open(folder / "log.db", clock=ManualClock())
    head = await log.head(S1)
    assert numbers(await log.read(S1)) == list(range(1, head + 1))
    await log.close()
    return log.epoch, head


async def test_stops_and_deaths_keep_the_epoch_and_the_events(folder: Path):
    folder = folder / "data"
    folder.mkdir()
    epoch = await life(folder)
    assert await life(folder) == epoch
    assert await death(folder) == epoch
    assert await found(folder) == (epoch, 9)
    assert await death(folder, pages=1) == epoch
    assert await found(folder) == (epoch, 12)


@pytest.mark.parametrize("pages", [1, 3000], ids=["after a checkpoint", "before one"])
async def test_a_log_whose_newest_part_was_deleted_begins_a_new_epoch(folder: Path, pages: int):
    folder = folder / "data"
    folder.mkdir()
    epoch = await life(folder)
    assert await death(folder, pages=pages) == epoch
    (folder / "log.db-wal").unlink()
    new, _ = await found(folder)
    assert new != epoch
    assert (await found(folder))[0] == new


@pytest.mark.parametrize("harm", ["truncate", "delete", "garbage"])
async def test_a_damaged_index_of_the_newest_part_is_made_again(folder: Path, harm: str):
    folder = folder / "data"
    folder.mkdir()
    epoch = await death(folder)
    index = folder / "log.db-shm"
    if harm == "delete":
        index.unlink()
    else:
        index.write_bytes(b"" if harm == "truncate" else b"\xa5" * 32768)
    assert await found(folder) == (epoch, 3)


def copied(folder: Path, to: Path) -> None:
    shutil.copy(folder / "log.db", to)


def backed_up(folder: Path, to: Path) -> None:
    with (
        closing(sqlite3.connect(folder / "log.db")) as live,
        closing(sqlite3.connect(to)) as copy,
    ):
        live.backup(copy)


@pytest.mark.parametrize("how", [copied, backed_up])
async def test_an_older_copy_in_the_place_of_the_log_begins_a_new_epoch(
    folder: Path, how: Callable[[Path, Path], None]
):
    copy, data = folder / "copy.db", folder / "data"
    data.mkdir()
    epoch = await life(data)
    how(data, copy)
    assert await life(data) == epoch
    shutil.copy(copy, data / "log.db")
    new, head = await found(data)
    assert new != epoch
    assert head == 3


async def test_a_backup_of_a_running_log_begins_a_new_epoch_where_it_is_restored(folder: Path):
    data = folder / "data"
    data.mkdir()
    log = await SqliteEventLog.open(data / "log.db", clock=ManualClock())
    await log.append(S1, events(2))
    backed_up(data, folder / "copy.db")
    await log.append(S1, events(2))
    await log.close()
    shutil.copy(folder / "copy.db", data / "log.db")
    new, head = await found(data)
    assert new != log.epoch
    assert head == 2


async def test_a_log_moved_without_its_mark_begins_a_new_epoch(folder: Path):
    data, elsewhere = folder / "data", folder / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    epoch = await life(data)
    shutil.copy(data / "log.db", elsewhere)
    new, head = await found(elsewhere)
    assert new != epoch
    assert head == 3


async def test_an_event_of_the_old_lineage_is_no_event_of_the_new(folder: Path):
    """The place is given again to something else: only the epoch tells the two apart."""
    data = folder / "data"
    data.mkdir()
    epoch = await life(data, 1)
    shutil.copy(data / "log.db", folder / "copy.db")
    log = await SqliteEventLog.open(data / "log.db", clock=ManualClock())
    [seen] = await log.append(S1, [DaemonStopped(reason="before")])
    await log.close()
    shutil.copy(folder / "copy.db", data / "log.db")
    log = await SqliteEventLog.open(data / "log.db", clock=ManualClock())
    [other] = await log.append(S1, [DaemonStopped(reason="after")])
    await log.close()
    assert (seen.seq, epoch) == (other.seq, epoch)
    assert log.epoch != epoch


@pytest.mark.parametrize("place", ["files.create.before", "stop.clean.before"])
async def test_a_stop_that_can_keep_only_one_of_its_two_marks_is_as_clean_as_another(
    folder: Path, place: str
):
    folder = folder / "data"
    folder.mkdir()
    log = await SqliteEventLog.open(folder / "log.db", clock=ManualClock())
    await log.append(S1, events(3))
    failpoints.configure(f"{place}=raise:ENOSPC")
    try:
        await log.close()
    finally:
        failpoints.reset()
    assert await found(folder) == (log.epoch, 3)
