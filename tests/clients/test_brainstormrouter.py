"""The published client of agent runs, every method of every resource, against a running daemon."""

from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome
from tests.clients.venvs import drive

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(400)]


async def test_every_method_answers_with_data_of_this_daemon_or_a_typed_refusal(tmp_path: Path):
    home = DaemonHome(tmp_path, env={"BP_OFFLINE": "1"})
    async with home.running() as daemon:
        said = await drive("brainstormrouter==0.1.0", "brainstormrouter_client.py", daemon)
        assert said.count("ok ") == said.count("\n") >= 10
        kept = [path for path in home.data_dir.rglob("*") if path.is_file()]
        await daemon.stop()
        holding = {path.name for path in kept if b"sesame-1" in path.read_bytes()}
        assert not holding, "the key of a provider that was removed is still somewhere"
