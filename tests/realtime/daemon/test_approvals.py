"""A call that waits for a person outlives its daemon, and runs once, after one word."""

from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome
from tests.realtime.daemon.world import finished, log_lines, say, session, until

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

WRITE = '[[tool:write {"path":"/workspace/.mcp.json","content":"{}"}]]'


@pytest.mark.fault("J8", "I9")
@pytest.mark.parametrize(("word", "written"), [("approve", 200), ("deny", 404)])
async def test_what_waits_survives_a_kill_and_is_decided_once_from_another_terminal(
    tmp_path: Path, word: str, written: int
):
    home = DaemonHome(tmp_path, env={"BP_MOCK": "1"})
    async with home.running() as daemon:
        one = await session(daemon)
        await say(daemon, one, WRITE)
        await until(daemon, one, lambda frame: frame["type"] == "user_input_request")
        (before,) = (await daemon.http.get("/approvals")).json()["approvals"]
        await daemon.kill()
    file = f"/sessions/{one}/files/content?path=/workspace/.mcp.json"
    async with home.running() as daemon:
        (after,) = (await daemon.http.get("/approvals")).json()["approvals"]
        same = ("id", "callId", "args", "digest", "requestedAt", "expiresAt")
        assert {name: after[name] for name in same} == {name: before[name] for name in same}
        found = await daemon.http.get(file)
        assert found.status_code == 404
        decided = await home.command("approvals", word, after["id"])
        assert decided.code == 0, decided.err
        await finished(daemon, one)
        late = await home.command("approvals", "approve", after["id"])
        assert late.code == 1
        assert "already" in late.err
        found = await daemon.http.get(file)
        assert found.status_code == written
        kinds = [line["type"] for line in await log_lines(daemon, one)]
        assert kinds.count("approval_requested") == kinds.count("approval_decided") == 1
        assert kinds.count("tool_finished") == 1
