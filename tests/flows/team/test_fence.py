"""Who comes too late changes nothing: a tool that goes on after the stop, a run that has ended."""

import asyncio
from pathlib import Path

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Conflict
from brainpilot_rt.domain.ids import PRINCIPAL, CallId
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.sessions.fence import admit
from brainpilot_rt.testing.models import Call, ScriptedModel
from brainpilot_rt.testing.team import Setup, team
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, tool
from tests.flows.team.moves import ends, memory_log

CALL = CallId("call_late")


class Nothing(Arguments):
    """No arguments."""


@pytest.mark.fault("H15")
@pytest.mark.requirement("stop-fence")
async def test_a_tool_that_will_not_be_stopped_holds_the_stop_and_tells_no_model(tmp_path: Path):
    started, released = asyncio.Event(), asyncio.Event()

    async def deed(_: ToolContext, _wanted: Nothing) -> ToolOutput:
        started.set()
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                asyncio.get_running_loop().call_later(1, released.set)
        return ToolOutput("done after all")

    bash: Tool = tool(deed, Nothing, name="bash", effect=Effect.IRREVERSIBLE)
    model = ScriptedModel()
    model.say("principal", Call("bash"))
    async with team(memory_log(), model.stream, tmp_path, Setup(tools=[bash])) as crew:
        await crew.create()
        await crew.post("Go.")
        await started.wait()
        await crew.stop()
        assert released.is_set(), "the stop was answered while the tool was at work"
        results = [
            one.event for one in await crew.events() if isinstance(one.event, ev.ToolFinished)
        ]
        assert [(one.content, one.status) for one in results] == [("done after all", "completed")]
        assert len(model.requests) == 1
        assert await ends(crew) == ["interrupted"]
        assert await crew.violations() == []


@pytest.mark.fault("H15", "E6")
@pytest.mark.requirement("stop-fence")
async def test_a_run_that_has_ended_can_state_no_fact(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", "Done.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        state = await crew.settled()
        [run] = [
            one.event.run_id for one in await crew.events() if isinstance(one.event, ev.RunStarted)
        ]
        for late in (
            ev.ToolStarted(run_id=run, call_id=CALL),
            ev.ModelStalled(run_id=run, agent=PRINCIPAL, turn=0, silent_s=60, reason="silent"),
        ):
            with pytest.raises(Conflict) as refused:
                admit(state, [late])
            assert refused.value.code == "fenced"
