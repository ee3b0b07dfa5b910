"""The watcher over real files: fast, restartable, and never relied upon."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.mailbox.watcher import FileWatcher, Hint
from tests.unit.mailbox.office import (
    PRINCIPAL,
    SESSION,
    Told,
    a_letter,
    crashed,
    drop,
    join,
    open_office,
)

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(30)]


class Hints:
    """What the watcher said, and a way to wait for it."""

    def __init__(self) -> None:
        self.said: list[Hint] = []
        self.troubles: list[str] = []
        self._more = asyncio.Event()

    def hint(self, paths: Hint) -> None:
        self.said.append(paths)
        self._more.set()

    async def until(self, path: Path | None, *, times: int = 1) -> None:
        """Wait until this path was named so often; None: the watcher armed, or lost track."""
        wanted = None if path is None else str(path)
        while times > sum(
            paths is None if wanted is None else paths is not None and wanted in paths
            for paths in self.said
        ):
            self._more.clear()
            await self._more.wait()


@asynccontextmanager
async def watching(root: Path) -> AsyncGenerator[tuple[Hints, FileWatcher]]:
    hints = Hints()
    watcher = FileWatcher(hints.troubles.append)
    tasks = TaskSet(on_crash=crashed)
    tasks.spawn(watcher.watch(root, hints.hint), name="watcher")
    try:
        await hints.until(None)
        yield hints, watcher
    finally:
        assert await tasks.close(5.0) == []


async def test_a_file_renamed_into_place_is_reported_once_the_watcher_is_armed(tmp_path: Path):
    async with watching(tmp_path) as (hints, watcher):
        (tmp_path / "box").mkdir()
        (tmp_path / ".part").write_bytes(b"x")
        (tmp_path / ".part").rename(tmp_path / "note.json")
        await hints.until(tmp_path / "note.json")
        assert not watcher.degraded
    assert hints.troubles == []


@pytest.mark.fault("E3", "C18")
async def test_a_name_that_is_no_utf8_costs_a_restart_and_nothing_else(tmp_path: Path):
    async with watching(tmp_path) as (hints, _):
        (tmp_path / os.fsdecode(b"\xff.json")).touch()
        await hints.until(None, times=3)
        (tmp_path / "after.json").write_bytes(b"x")
        await hints.until(tmp_path / "after.json")
    assert len(hints.troubles) >= 1


async def test_a_root_deleted_and_made_again_is_watched_again(tmp_path: Path):
    root = tmp_path / "mail"
    root.mkdir()
    async with watching(root) as (hints, _):
        root.rmdir()
        await hints.until(None, times=2)
        root.mkdir()
        await hints.until(None, times=3)
        (root / "note.json").write_bytes(b"x")
        await hints.until(root / "note.json")


@pytest.mark.fault("E2")
async def test_a_root_that_cannot_be_watched_is_polled_and_flagged(tmp_path: Path):
    hints = Hints()
    watcher = FileWatcher(hints.troubles.append)
    tasks = TaskSet(on_crash=crashed)
    tasks.spawn(watcher.watch(tmp_path / "missing", hints.hint), name="watcher")
    await hints.until(None, times=6)
    assert watcher.degraded
    assert await tasks.close(5.0) == []


async def test_a_storm_of_two_thousand_files_is_found_through_the_watcher(tmp_path: Path):
    told = Told()
    watcher = FileWatcher(print)
    async with open_office(tmp_path, told, watcher=watcher):
        home = tmp_path / SESSION / PRINCIPAL
        for number in range(2_000):
            drop(home, f"n{number:04d}.json", b'{"to":"principal","content":"%d"}' % number)
        await told.until(lambda: len(told.letters) >= 2_000)
        assert sorted(told.contents, key=int) == [str(number) for number in range(2_000)]


async def test_a_letter_dropped_with_its_new_mailbox_is_not_missed(tmp_path: Path):
    told = Told()
    async with open_office(tmp_path, told, watcher=FileWatcher(print)) as office:
        bots = [join(tmp_path, f"bot-{number}") for number in range(50)]
        await told.until(lambda: len(told.joined) == len(bots))
        await office.place(a_letter(to=told.joined[0]))
        letter = next(iter((tmp_path / SESSION / told.joined[0] / "new").iterdir()))
        letter.rename(letter.parent.parent / "cur" / letter.name)
        await told.until(lambda: bool(told.receipts))
        assert told.receipts[0][1] == "claimed"


async def test_looking_into_a_mailbox_is_no_change_of_it(tmp_path: Path):
    told = Told()
    async with (
        open_office(tmp_path, told, watcher=FileWatcher(print)) as office,
        watching(tmp_path) as (hints, _),
    ):
        before = len(hints.said)
        for _ in range(3):
            await office.scan()
        (tmp_path / "mark").touch()
        await hints.until(tmp_path / "mark")
        changed = {path for said in hints.said[before:] for path in said or ()}
        assert changed == {str(tmp_path / "mark")}
