"""Why does this answer say that, and what did it cost: three agents, their files, their letters."""

from decimal import Decimal
from pathlib import Path

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import PRINCIPAL
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.testing.models import Call, Gate, Reply, ScriptedModel
from brainpilot_rt.testing.team import SESSION, Setup, Team, team
from brainpilot_rt.tools.editing import editing_tools
from brainpilot_rt.tools.tracing import graph_tools
from brainpilot_rt.trace.causes import Causes
from brainpilot_rt.trace.chains import chain, find, spent_by
from tests.flows.team.moves import memory_log, send

CITED = '[notes.md:1-1 "It rains."]'


def paid(*steps: str | Call | Gate) -> Reply:
    return Reply(steps, usage=Usage(input=100, output=10), cost_usd=Decimal("0.01"))


def rehearse(*held: Gate) -> ScriptedModel:
    """The principal asks the librarian, who reads a file; then the writer, who writes one.

    Both wait at `held` before they begin: a result that comes while the principal still speaks
    would join that run.
    """
    librarian, writer = held
    model = ScriptedModel()
    model.script("principal", paid(send("librarian", "What does it do?")), paid("Waiting."))
    model.script("librarian", paid(librarian, Call("read", {"path": "notes.md"})))
    model.script("librarian", paid(send("principal", f"It rains {CITED}")), paid("Done."))
    model.script("principal", paid(send("writer", f"Write it: {CITED}")), paid("Waiting."))
    written = Call("write", {"path": "out/answer.md", "content": "Rain."})
    model.script("writer", paid(writer, written))
    model.script("writer", paid(send("principal", "It is in out/answer.md")), paid("Done."))
    model.script("principal", paid(f"It rains. {CITED}"))
    return model


async def played(crew: Team, *held: Gate) -> Causes:
    """The whole story; the causes of its end."""
    await crew.create()
    crew.organs.workspace(SESSION).write("notes.md", b"It rains.\n")
    await crew.post("What does it do?")
    for gate in held:
        await gate.reached.wait()
        await crew.until(lambda state: state.agents[PRINCIPAL].run_id is None)
        gate.open()
    await crew.settled()
    return await crew.backend.trace_views.causes(SESSION)


@pytest.mark.requirement("causes")
async def test_an_answer_is_led_to_by_letters_runs_calls_files_and_their_costs(tmp_path: Path):
    held = (Gate(), Gate())
    setup = Setup(tools=editing_tools())
    async with team(memory_log(), rehearse(*held).stream, tmp_path, setup) as crew:
        graph = await played(crew, *held)
        answer = find(graph, "latest")
        led = chain(graph, answer)
        assert led[0].label == "user to principal: What does it do?"
        assert led[-1] is answer
        assert [one.agent for one in led if one.kind == "run"] == [
            "principal",
            "librarian",
            "principal",
            "writer",
            "principal",
        ]
        cited = find(graph, "notes.md:1-1")
        assert (cited.text, cited.status) == ("It rains.", "verified")
        assert cited in led
        assert find(graph, "notes.md") in led
        # To say "Waiting." and "Done." was paid for, and did not lead to the answer.
        whole, why = spent_by(graph.nodes.values()), spent_by(led)
        state = crew.state()
        assert whole["total"]["usage"]["total"] == state.usage.total == 1210
        assert Decimal(whole["total"]["cost_usd"]) == state.cost_usd == Decimal("0.11")
        assert (whole["total"]["model_calls"], why["total"]["model_calls"]) == (11, 7)
        assert set(why["by_agent"]) == {"principal", "librarian", "writer"}


@pytest.mark.requirement("causes")
async def test_a_file_is_explained_by_the_call_that_wrote_it(tmp_path: Path):
    held = (Gate(), Gate())
    async with team(
        memory_log(), rehearse(*held).stream, tmp_path, Setup(tools=editing_tools())
    ) as crew:
        graph = await played(crew, *held)
        led = chain(graph, find(graph, "/workspace/out/answer.md"))
        assert [one.facts["tool"] for one in led if one.kind == "call"][-1] == "write"
        assert led[-1].agent == "writer"


@pytest.mark.requirement("causes")
async def test_the_causes_are_the_same_after_a_restart(tmp_path: Path):
    held = (Gate(), Gate())
    log = memory_log()
    setup = Setup(tools=editing_tools())
    async with team(log, rehearse(*held).stream, tmp_path, setup) as crew:
        before = await played(crew, *held)
    async with team(log, ScriptedModel().stream, tmp_path, setup) as crew:
        after = await crew.backend.trace_views.causes(SESSION)
    assert {one: after.nodes[one] for one in before.nodes} == before.nodes


@pytest.mark.requirement("causes")
async def test_who_waits_for_whom_is_seen_while_they_wait(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian"))
    model.say("principal", "Waiting.")
    gate = model.hang("librarian")
    async with team(memory_log(), model.stream, tmp_path, Setup(audited=False)) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        graph = await crew.backend.trace_views.causes(SESSION)
        [wait] = graph.waits.values()
        assert (wait.waiting, wait.waited_for) == ("principal", "librarian")
        assert graph.circle == []


@pytest.mark.requirement("trace")
async def test_what_agents_record_becomes_nodes_of_the_reasoning_graph(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", Call("record_trace", {"description": "It rains", "artifacts": ["a"]}))
    model.say("principal", "Noted.")
    step = {"title": "It rains", "type": "finding", "artifacts": [{"path": "/workspace/a"}]}
    model.say("trace", Call("create_trace_node", step), Call("create_trace_node", step))
    model.say("trace", "Done.")
    async with team(memory_log(), model.stream, tmp_path, Setup(tools=graph_tools())) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.settled()
        assert "It rains" in model.requests_of("trace")[0].messages[-1].model_dump_json()
        views = crew.backend.trace_views
        [node] = (await views.graph(SESSION))["nodes"]
        assert (node["title"], node["artifacts"]) == ("It rains", [{"path": "a"}])
        results = [
            one.event.content
            for one in await crew.events()
            if isinstance(one.event, ev.ToolFinished) and one.event.agent == "trace"
        ]
        assert "already" in results[1]
        graph = await views.causes(SESSION)
        led = chain(graph, graph.nodes[node["id"]])
        assert [one.agent for one in led if one.kind == "run"] == ["principal", "trace"]
