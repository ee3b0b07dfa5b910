"""A daemon that dies at a named durable step, wherever that is: start-up, request, run or mailbox.

The client is the simplest careful one: it repeats what it asked under the same keys until it has an
answer. `BP_TEST_KILL_EVERY` (a step, 1 for all) runs the whole grid instead of the sample.
"""

import os
from pathlib import Path

import httpx
import pytest

from brainpilot_rt.testing.daemon import DaemonHome, NotStarted, RunningDaemon
from tests.realtime.daemon.provider import provider
from tests.realtime.daemon.test_kill import answer_of, repeated, team_script, tidy
from tests.realtime.daemon.world import Json, export, finished, of_type, true, violations

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

EVERY = int(os.environ.get("BP_TEST_KILL_EVERY", "0"))  # noqa: TID251 - no setting of ours
SAMPLE = [
    "log.commit.before=kill@2",
    "log.commit.after=kill@3",
    "log.commit.half=kill@7",
    "log.commit.after=kill@11",
    "files.rename.before=kill@5",
    "files.rename.after=kill@9",
]
STEPS = ("log.commit.before", "log.commit.half", "log.commit.after", "files.rename.before",
         "files.rename.after", "files.create.after", "files.mkdir.after")  # fmt: skip
GRID = [f"{step}=kill@{nth}" for step in STEPS for nth in range(1, 50, EVERY)] if EVERY else SAMPLE

SESSION = "pulled-plug"


async def life(home: DaemonHome, failpoints: str) -> bool:
    """One life of the daemon, asked for the session and the turn; False when it died of it."""
    try:
        daemon = await home.start(FAILPOINTS=failpoints)
    except NotStarted:
        return False
    try:
        await ask(daemon)
        await finished(daemon, SESSION)
        await true(lambda: daemon.process.returncode is not None or tidy(daemon.mailboxes, SESSION))
        return await daemon.stop() == 0
    except httpx.TransportError:
        return False
    finally:
        await daemon.http.aclose()
        await daemon.kill()


async def ask(daemon: RunningDaemon) -> None:
    """Create the session and post the message, or find that it is done already."""
    for path, body in (
        ("/sessions", {"id": SESSION}),
        (f"/sessions/{SESSION}/messages", {"content": "do it"}),
    ):
        answer = await daemon.http.post(path, json=body, headers={"idempotency-key": f"k{path}"})
        assert answer.status_code in {200, 201}, answer.text


@pytest.mark.parametrize("failpoints", GRID)
async def test_wherever_it_dies_the_next_daemon_finishes_and_nothing_is_done_twice(
    tmp_path: Path, failpoints: str
) -> None:
    async with provider(team_script({})) as told:
        home = DaemonHome(tmp_path, env=told.env)
        if not await life(home, failpoints):
            assert await life(home, "")
        lines: list[Json] = await export(home, SESSION)
        assert violations(lines) == []
        assert answer_of(lines).endswith("Both are done.")
        assert len(of_type(lines, "task_opened")) == 2
        assert all(again == 1 for again in repeated(told).values())
