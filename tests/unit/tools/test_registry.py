"""Tools by name and what a model is told of them."""

import asyncio
import json
import threading
from pathlib import Path
from typing import cast

import pytest

from brainpilot_rt.domain.tools import ANY_FOREIGN, Effect
from brainpilot_rt.governance.access import allowed_tools
from brainpilot_rt.testing.desk import Desk
from brainpilot_rt.testing.shelf import shelf
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.editing import editing_tools
from brainpilot_rt.tools.finding import finding_tools
from brainpilot_rt.tools.memory import MemoryShelf, memory_tools
from brainpilot_rt.tools.planning import planning_tools
from brainpilot_rt.tools.registry import Arguments, Registry, Tool, ToolOutput, on_thread
from brainpilot_rt.tools.retrieving import search_tool
from brainpilot_rt.tools.sandbox import NotEnforceable, Sandbox
from brainpilot_rt.tools.shell import ShellMode, ShellPolicy, shell_tool
from brainpilot_rt.tools.skills import skill_tool
from brainpilot_rt.tools.team import team_tools
from brainpilot_rt.tools.tracing import graph_tools


def registry() -> Registry:
    bash = shell("unsandboxed", NotEnforceable("not here"))
    assert bash is not None
    singles = [bash, search_tool(), skill_tool(shelf())]
    work = [*team_tools(), *editing_tools(), *finding_tools(), *graph_tools()]
    return Registry([*work, *memory_tools(cast("MemoryShelf", None)), *planning_tools(), *singles])


def shell(mode: ShellMode, sandbox: Sandbox | NotEnforceable) -> Tool | None:
    return shell_tool(ShellPolicy(mode=mode, sandbox=sandbox, marker_prefix="t"))


def test_every_tool_of_the_access_table_exists_and_is_in_it():
    roles = ("principal", "engineer", "writer", "librarian", "auditor", "trace", "other")
    named = frozenset[str]().union(*(allowed_tools(role) for role in roles))
    assert {one.name for one in registry()} == named - {ANY_FOREIGN}


def test_schemas_hold_only_what_a_model_needs():
    for spec in registry().specs():
        text = json.dumps(spec.parameters)
        assert spec.description
        assert '"null"' not in text
        assert "$ref" not in text
        assert spec.parameters["type"] == "object"
    parameters = registry().only(["create_trace_node"]).specs()[0].parameters
    assert set(parameters["properties"]) == {
        *("title", "type", "status", "description", "parent_id", "artifacts"),
    }
    assert parameters["required"] == ["title"]
    sending = registry().only(["send_message"]).specs()[0].parameters
    assert sending["required"] == ["content"]
    assert sending["properties"]["msg_type"]["enum"] == ["task_delegate", "result_deliver"]


def test_repeating_a_call_is_classed():
    tools = registry()
    assert tools.effect("bash") is Effect.IRREVERSIBLE
    assert tools.effect("edit") is Effect.IRREVERSIBLE  # "a" to "aa", done twice, is "aaa"
    assert tools.effect("write") is Effect.IDEMPOTENT
    assert tools.effect("send_message") is Effect.IDEMPOTENT
    assert {tools.effect(name) for name in ("read", "grep", "search", "no such")} == {Effect.PURE}


def test_bash_is_offered_only_where_its_policy_can_be_kept():
    held, missing = Sandbox(Path("/bwrap")), NotEnforceable("not here")
    assert shell("sandbox", held)
    assert shell("ask", missing)
    assert shell("sandbox", missing) is None
    assert shell("off", held) is None


def test_a_name_given_twice_is_an_error():
    with pytest.raises(ValueError, match="same name"):
        Registry([*registry(), *registry()])


@pytest.mark.realtime
@pytest.mark.fault("E10")
async def test_tools_that_hang_on_their_threads_leave_the_threads_of_all_others_free(desk: Desk):
    over = threading.Event()

    def hang(_context: ToolContext, _wanted: Arguments) -> ToolOutput:
        over.wait()
        return ToolOutput("done")

    async def call() -> None:
        await on_thread(hang)(desk.context(), Arguments())

    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(call())
        await asyncio.sleep(0)
        assert await asyncio.to_thread(int, "42") == 42
        over.set()
