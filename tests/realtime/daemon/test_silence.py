"""A model that says nothing for a long time is alive, is seen to be, and is waited for.

`BP_TEST_SILENCE_S` makes the silence longer; ten minutes is what people see.
"""

import asyncio
import os
from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome
from tests.realtime.daemon.provider import Ask, Reply, provider
from tests.realtime.daemon.world import finished, get, log_lines, of_type, say, session, violations

SILENCE_S = float(os.environ.get("BP_TEST_SILENCE_S", "4"))  # noqa: TID251 - no setting of ours

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60 + SILENCE_S)]


async def test_silent_models_are_seen_alive_and_finish(tmp_path: Path) -> None:
    enough = asyncio.Event()

    async def script(ask: Ask) -> Reply:
        if "late" in ask.last:
            yield "So far "
        await enough.wait()
        yield "so good."

    async with provider(script) as told:
        home = DaemonHome(tmp_path, env=told.env)
        home.configure(f"[agents]\nstall_notice_s = {SILENCE_S / 4}\n")
        async with home.running() as daemon:
            early, late = await session(daemon), await session(daemon)
            await say(daemon, early, "be silent from the start")
            await say(daemon, late, "be silent of late")
            await told.until_asked(2)
            began = asyncio.get_running_loop().time()
            looks = 0
            while asyncio.get_running_loop().time() - began < SILENCE_S:
                facts = await get(daemon, "/metrics")
                assert (facts["runningAgents"], facts["reclaimable"]) == (2, False)
                epoch = facts["idleEpoch"]
                refused = await daemon.http.post("/shutdown", json={"ifIdleEpoch": epoch})
                assert refused.status_code == 409, refused.text
                assert refused.json()["reasons"] != []
                looks += 1
                await asyncio.sleep(SILENCE_S / 40)
            assert looks > 10
            for name in (early, late):
                stalls = of_type(await log_lines(daemon, name), "model_stalled")
                assert 1 <= len(stalls) <= 5, stalls
            enough.set()
            answers: list[str] = []
            for name in (early, late):
                lines = await finished(daemon, name)
                assert violations(lines) == []
                answers += [line["answer"] for line in of_type(lines, "host_turn_finished")]
            assert answers == ["so good.", "So far so good."]
            assert len(told.asks) == 2
