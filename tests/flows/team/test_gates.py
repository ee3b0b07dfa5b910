"""Calls are stopped before they run: too many, in circles, of a broken tool."""

import asyncio
from pathlib import Path

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.settings import ThinkingSettings
from brainpilot_rt.testing.models import Call, ScriptedModel
from brainpilot_rt.testing.team import Setup, Team, team
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, tool
from tests.flows.team.moves import memory_log


class Look(Arguments):
    """Look at something."""

    at: str = ""


class Bench:
    """Two tools that can be broken: one with a breaker, one without."""

    def __init__(self, *outputs: ToolOutput) -> None:
        self.outputs = list(outputs)
        self.runs = 0

    def tools(self) -> list[Tool]:
        async def look(_context: ToolContext, wanted: Look) -> ToolOutput:
            self.runs += 1
            if wanted.at == "later":
                await asyncio.sleep(40)
            return self.outputs.pop(0) if self.outputs else ToolOutput("the same")

        return [
            tool(look, Look, name="search", effect=Effect.PURE),
            tool(look, Look, name="read", effect=Effect.PURE),
        ]


async def results(crew: Team) -> list[tuple[str, str]]:
    return [
        (one.event.status, one.event.content)
        for one in await crew.events()
        if isinstance(one.event, ev.ToolFinished)
    ]


def look(at: str = "", name: str = "search") -> Call:
    return Call(name, {"at": at})


BROKEN = ToolOutput("broken", failed=True)


@pytest.mark.requirement("gates")
async def test_a_tool_that_keeps_failing_is_left_alone_and_tried_again(tmp_path: Path):
    bench = Bench(BROKEN, BROKEN, ToolOutput("  "))
    model = ScriptedModel()
    for at in ("a", "b", "c", "d"):
        model.say("principal", look(at))
    model.say("principal", look("later", "read"))
    model.say("principal", look("e"))
    model.say("principal", look("f"))
    model.say("principal", "Done.")
    setup = Setup(tools=bench.tools(), thinking=ThinkingSettings(breaker_failures=3))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await crew.post("Look.")
        await crew.settled()
        states = [
            one.event for one in await crew.events() if isinstance(one.event, ev.CircuitChanged)
        ]
        assert [(one.state, one.tool) for one in states] == [
            ("open", "search"),
            ("half_open", "search"),
            ("closed", "search"),
        ]
        said = await results(crew)
        assert [status for status, _ in said] == [
            "failed", "failed", "completed", "refused", "completed", "completed", "completed"
        ]  # fmt: skip
        assert "failed 3 times in a row" in said[3][1]
        assert "30 s" in said[3][1]
    assert bench.runs == 6


@pytest.mark.requirement("gates")
async def test_tools_whose_failure_is_an_answer_have_no_breaker(tmp_path: Path):
    bench = Bench(*[BROKEN] * 8)
    model = ScriptedModel()
    for number in range(8):
        model.say("principal", look(str(number), "read"))
    model.say("principal", "Done.")
    async with team(memory_log(), model.stream, tmp_path, Setup(tools=bench.tools())) as crew:
        await crew.create()
        await crew.post("Look.")
        await crew.settled()
        assert {status for status, _ in await results(crew)} == {"failed"}
    assert bench.runs == 8


@pytest.mark.requirement("gates")
async def test_a_call_in_circles_is_refused_and_the_run_ended(tmp_path: Path):
    bench = Bench()
    model = ScriptedModel()
    for _ in range(20):
        model.say("principal", look("x", "read"))
    setup = Setup(tools=bench.tools(), thinking=ThinkingSettings(repeats_max=2))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await crew.post("Look.")
        await crew.settled()
        limits = [
            one.event for one in await crew.events() if isinstance(one.event, ev.LimitExceeded)
        ]
        assert [(one.kind, one.limit) for one in limits] == [("repeats", 2)] * 2
        assert [status for status, _ in await results(crew)] == [
            "completed", "completed", "refused", "refused", "refused"
        ]  # fmt: skip
    assert bench.runs == 2
    assert len(model.requests) == 5
    assert not model.requests[-1].tools


@pytest.mark.parametrize("call", [Call("read", {"at": 7}), Call("fly", {})])
@pytest.mark.requirement("gates")
async def test_a_call_that_is_none_is_not_made_for_ever(tmp_path: Path, call: Call):
    bench = Bench()
    model = ScriptedModel()
    for _ in range(20):
        model.say("principal", call)
    setup = Setup(tools=bench.tools(), thinking=ThinkingSettings(repeats_max=2))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await crew.post("Look.")
        await crew.settled()
        [limit] = [
            one.event for one in await crew.events() if isinstance(one.event, ev.LimitExceeded)
        ]
        assert (limit.kind, limit.limit, limit.actual) == ("repeats", 2, 3)
    assert bench.runs == 0
    assert len(model.requests) == 4


@pytest.mark.requirement("gates")
async def test_more_calls_than_one_reply_may_make_are_refused(tmp_path: Path):
    bench = Bench()
    model = ScriptedModel()
    model.say("principal", *(look(str(n)) for n in range(5)))
    model.say("principal", "Done.")
    setup = Setup(tools=bench.tools(), thinking=ThinkingSettings(tool_calls_turn_max=3))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await crew.post("Look.")
        await crew.settled()
        [limit] = [
            one.event for one in await crew.events() if isinstance(one.event, ev.LimitExceeded)
        ]
        assert (limit.kind, limit.limit, limit.actual) == ("tool_calls", 3, 5)
        statuses = sorted(status for status, _ in await results(crew))
        assert statuses == ["completed"] * 3 + ["refused"] * 2
    assert bench.runs == 3
