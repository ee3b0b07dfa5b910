"""Who touches the database files of a running daemon: SQLite, and nobody else."""

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

import brainpilot_rt
from brainpilot_rt.testing.daemon import DaemonHome
from tests.realtime.daemon.world import finished, log_lines, say, session, violations

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

HOOK = """
import os, sys, traceback

FILES = {name + end for name in ("log.db", "retrieval.db")
         for end in ("", "-wal", "-shm", "-journal")}

def hook(event, arguments):
    if event == "sqlite3.connect":
        with open(os.environ["SEEN"] + ".connects", "a") as connects:
            print(os.path.basename(os.fspath(arguments[0])), file=connects)
        return
    if event == "open":
        name = arguments[0]
        name = os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else ""
        if os.path.basename(name) not in FILES:
            return
    elif event not in {"os.fork", "os.forkpty"}:
        return
    said = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    stack = "".join(traceback.format_stack(limit=6))
    os.write(said, f"{event} {arguments!r}\\n{stack}\\n".encode())
    os.close(said)

sys.addaudithook(hook)
"""


def watched(tmp_path: Path) -> dict[str, str]:
    """An environment in which every such hand is written down in `seen`."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    root = Path(brainpilot_rt.__file__).parents[1]
    return {"PYTHONPATH": f"{hook}{os.pathsep}{root}", "SEEN": str(tmp_path / "seen")}


@pytest.mark.fault("D6", "D7", "D8")
async def test_the_database_is_opened_once_by_sqlite_alone_and_nothing_forks_beside_it(
    tmp_path: Path,
) -> None:
    """Another open and close in the process would drop SQLite's locks; a fork would share them.

    And SQLite before 3.51.3 may lose a commit when two connections write or checkpoint at once.
    """
    env = watched(tmp_path) | {"BP_OFFLINE": "1", "BP_CHECKPOINT_PAGES": "10"}
    home = DaemonHome(tmp_path / "home", env=env)
    home.root.mkdir()
    for _ in range(2):
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "Hello.")
            assert violations(await finished(daemon, name)) == []
            assert (await daemon.http.get("/metrics")).status_code == 200
            assert await log_lines(daemon, name)
            assert (await daemon.http.delete(f"/sessions/{name}")).status_code < 300
            assert await daemon.stop() == 0
    assert not (tmp_path / "seen").exists(), (tmp_path / "seen").read_text()
    connects = Counter((tmp_path / "seen.connects").read_text().split())
    assert connects["log.db"] == 2
    assert connects["retrieval.db"] == 2


@pytest.mark.fault("D6", "D7")
async def test_the_one_who_watches_sees_an_open_and_a_fork(tmp_path: Path) -> None:
    """A watcher that saw nothing would prove nothing."""
    program = "import os; open('log.db', 'w').close(); os.fork() or os._exit(0)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=tmp_path, env=watched(tmp_path)
    )
    assert await process.wait() == 0
    said = (tmp_path / "seen").read_text().splitlines()
    assert [line.split()[0] for line in said if line.startswith(("open ", "os."))] == [
        "open",
        "os.fork",
    ]
