"""The index of a running daemon: made by a question, seen in the metrics, gone with the session."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome
from tests.realtime.daemon.world import finished, say, session, true

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]


def indexed(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as database:
        found: int = database.execute("SELECT count(*) FROM passages").fetchone()[0]
        return found


async def test_what_was_indexed_of_a_session_goes_with_it(tmp_path: Path):
    home = DaemonHome(tmp_path / "home", env={"BP_OFFLINE": "1"})
    home.root.mkdir()
    async with home.running() as daemon:
        name = await session(daemon)
        work = home.data_dir / "workspaces" / name
        work.mkdir(parents=True, exist_ok=True)
        (work / "notes.txt").write_text("The lighthouse of Grindel is kept by Marta Voss.\n")
        await say(daemon, name, "Who keeps the lighthouse of Grindel?")
        await finished(daemon, name)
        index = home.data_dir / "retrieval.db"
        assert indexed(index) > 0
        asked = await daemon.http.get("/metrics", headers={"accept": "text/plain"})
        assert "brainpilot_rt_search_trees 1.0" in asked.text
        assert (await daemon.http.delete(f"/sessions/{name}")).status_code < 300
        await true(lambda: indexed(index) == 0)
