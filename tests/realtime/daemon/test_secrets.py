"""What a daemon keeps to itself on a machine with others: modes, memory, the home folder."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome
from tests.realtime.daemon.world import finished, say, session

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]


@pytest.mark.fault("S25")
async def test_all_that_a_daemon_writes_is_private_under_an_open_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        home = DaemonHome(tmp_path, env={"BP_OFFLINE": "1"})
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "hello")
            await finished(daemon, name)
            await daemon.stop()
    finally:
        os.umask(before)
    found = [home.data_dir, *home.data_dir.rglob("*")]
    assert len(found) > 10
    open_ones = [one for one in found if stat.S_IMODE(one.lstat().st_mode) & 0o077]
    assert open_ones == []


@pytest.mark.fault("S24")
@pytest.mark.skipif(sys.platform != "linux", reason="prctl is a call of Linux")
def test_a_daemon_leaves_no_core_file_and_is_not_to_be_looked_into() -> None:
    ask = (
        "import ctypes, resource\n"
        "from brainpilot_rt.daemon.privacy import keep_memory_private\n"
        "keep_memory_private()\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )
    done = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == "(0, 0) 0"


@pytest.mark.fault("S19")
async def test_the_home_folder_and_what_is_above_it_is_no_workspace(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env={"BP_OFFLINE": "1"})
    async with home.running() as daemon:
        for folder in (tmp_path, tmp_path.parent):
            answer = await daemon.http.post("/sessions", json={"workspace": str(folder)})
            assert (answer.status_code, "home folder" in answer.text) == (400, True)
        (tmp_path / "work").mkdir()
        await session(daemon, workspace=str(tmp_path / "work"))
