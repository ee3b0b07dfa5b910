"""A run ends whatever breaks at its end: with nothing of what it came to, but never not."""

import asyncio
from collections.abc import Generator
from pathlib import Path

import pytest

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.domain import events as ev
from brainpilot_rt.testing.models import Gate, ScriptedModel
from brainpilot_rt.testing.team import Team, team
from tests.flows.team.moves import ends, memory_log, notices

APPEND = "session.append.before"


@pytest.fixture(autouse=True)
def disarmed() -> Generator[None]:
    yield
    failpoints.reset()


async def told_of_a_crash(crew: Team) -> None:
    await crew.settled()
    assert await ends(crew) == ["failed"]
    [end] = [one.event for one in await crew.events() if isinstance(one.event, ev.RunFinished)]
    assert (end.outcome, end.error_code) == ("failed", "crash")
    assert end.reason == "internal error: OSError"
    assert len(await notices(crew, "crash")) == 1
    assert await crew.violations() == []


@pytest.mark.requirement("run-told")
async def test_an_end_that_can_not_be_recorded_as_it_is_is_a_failed_run(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", gate := Gate(), "Done.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        failpoints.configure(f"{APPEND}=raise:EIO")
        gate.open()
        await told_of_a_crash(crew)


@pytest.mark.requirement("run-told")
async def test_a_run_is_ended_as_soon_as_that_can_be_done_and_its_model_not_asked_again(
    tmp_path: Path,
):
    model = ScriptedModel()
    model.say("principal", gate := Gate(), "Done.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        failpoints.configure(f"{APPEND}=raise:EIO@1+")
        gate.open()
        await asyncio.sleep(600)
        assert crew.state().runs
        failpoints.reset()
        await told_of_a_crash(crew)
    assert len(model.requests) == 1
