"""The offline model thinks: it classifies, plans, has its specialists work, and cites.

The same team as ever; only the model is made of rules.
"""

import re
from pathlib import Path

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.citations import parse
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.passages import Passage, Passages
from brainpilot_rt.models import offline
from brainpilot_rt.testing.team import SESSION, Setup, Team, team
from brainpilot_rt.tools.editing import editing_tools
from brainpilot_rt.tools.retrieving import search_tool
from brainpilot_rt.workspace.files import Workspace
from tests.flows.team.moves import ends, memory_log

FILES = {
    "watering.md": (
        "# Watering\n\nThe tomatoes are watered in the morning, because wet leaves at night\n"
        "invite blight. Each bed gets twelve litres of water.\n"
    ),
    "soil.txt": "The soil of the north bed is heavy clay. It was limed in 2021.\n",
}
QUESTION = (
    "Find out why the tomatoes are watered in the morning, check what you find against the "
    "documents, and write a report."
)


async def grep(_session: SessionId, tree: Workspace, query: str, _count: int) -> Passages:
    words = re.findall(r"\w{4,}", query.lower())
    found = [
        Passage(path=path, start_line=1, end_line=text.count("\n"), text=text.rstrip(), score=1.0)
        for path in FILES
        if any(word in (text := tree.read_text(path)).lower() for word in words)
    ]
    return Passages(found)


def setup() -> Setup:
    return Setup(free=True, search=grep, tools=[search_tool(), *editing_tools()])


async def asked(crew: Team, question: str) -> list[ev.Recorded]:
    await crew.create()
    for path, text in FILES.items():
        crew.organs.workspace(SESSION).write(path, text.encode())
    await crew.post(question)
    await crew.settled()
    return await crew.events()


@pytest.mark.requirement("programs")
async def test_a_composite_question_becomes_a_plan_of_three_specialists_and_a_cited_report(
    tmp_path: Path,
):
    async with team(memory_log(), offline.stream, tmp_path, setup()) as crew:
        events = await asked(crew, QUESTION)
        assert await ends(crew) == ["completed"]
    facts = [one.event for one in events]
    [end] = [one for one in facts if isinstance(one, ev.HostTurnFinished)]
    assert "wet leaves at night" in end.answer
    assert len(end.citations) == len(parse(end.answer)) > 0
    assert end.unverified_citations == 0
    plans = [one for one in facts if isinstance(one, ev.PlanChanged)]
    assert [one.op for one in plans] == ["proposed", *["step_closed"] * 3]
    runs = {one.agent for one in facts if isinstance(one, ev.RunFinished)}
    assert runs == {"principal", "librarian", "auditor", "writer"}
    chosen = {(one.agent, one.program) for one in facts if isinstance(one, ev.IntentClassified)}
    assert {("principal", "plan_execute"), ("librarian", "research")} <= chosen
    assert [one for one in facts if isinstance(one, ev.PassagesRetrieved)]
    assert [one for one in facts if isinstance(one, ev.MemoryAdded)]
    assert {one.purpose for one in facts if isinstance(one, ev.ModelAsked)} == {"classify"}


@pytest.mark.requirement("programs")
async def test_a_simple_question_is_answered_as_ever(tmp_path: Path):
    async with team(memory_log(), offline.stream, tmp_path, setup()) as crew:
        events = await asked(crew, "Why are the tomatoes watered in the morning?")
        assert await ends(crew) == ["completed"]
    [end] = [one.event for one in events if isinstance(one.event, ev.HostTurnFinished)]
    assert "wet leaves at night" in end.answer
    assert not [one for one in events if isinstance(one.event, ev.PlanChanged)]


@pytest.mark.requirement("evidence")
async def test_a_question_that_nothing_answers_is_no_claim(tmp_path: Path):
    async with team(memory_log(), offline.stream, tmp_path, setup()) as crew:
        await asked(crew, "How many zeppelins crossed Patagonia?")
        assert await ends(crew) == ["completed"]
        [end] = [
            one.event for one in await crew.events() if isinstance(one.event, ev.HostTurnFinished)
        ]
        assert not end.citations
