"""The memory of the user: what is kept there is read in every session, from the next turn on."""

from pathlib import Path

import pytest

from brainpilot_rt.domain.ids import USER, SessionId
from brainpilot_rt.domain.memory import Draft
from brainpilot_rt.supervision.answers import NewSession
from brainpilot_rt.supervision.memories import SHARED
from brainpilot_rt.testing.models import Call, Gate, ScriptedModel
from brainpilot_rt.testing.team import SESSION, Team, team
from tests.flows.team.moves import memory_log

ADA = Draft(section="facts", content="The user is Ada.", agent=USER, block="human")


async def keep(crew: Team, session: SessionId, draft: Draft) -> None:
    await crew.backend.create_session(NewSession(session=session))
    await crew.organs.memories.remember(session, draft)


@pytest.mark.requirement("memory")
async def test_a_fact_for_all_sessions_is_read_from_the_next_turn_on_and_after_a_restart(
    tmp_path: Path,
):
    model = ScriptedModel()
    model.say("principal", gate := Gate(), Call("list_agents", {}))
    model.say("principal", "Done.")
    model.say("principal", "Again.")
    log = memory_log()
    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        await keep(crew, SHARED, ADA)
        await keep(crew, SESSION, ADA.model_copy(update={"content": "Here it rains."}))
        gate.open()
        await crew.settled()
    async with team(log, model.stream, tmp_path) as crew:
        await crew.post("And now?")
        await crew.settled()
    before, after, again = (request.system for request in model.requests)
    assert "Ada" not in before
    for read in (after, again):
        assert read.count("The user is Ada.") == read.count("Here it rains.") == 1


@pytest.mark.requirement("memory")
async def test_in_the_session_that_holds_them_shared_facts_are_read_once(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", "Done.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await keep(crew, SHARED, ADA)
        await crew.post("Go.", session=SHARED)
        await crew.settled(SHARED)
    assert model.requests[0].system.count("The user is Ada.") == 1


@pytest.mark.requirement("memory")
async def test_a_shared_memory_that_was_deleted_is_read_no_more(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", "Done.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await keep(crew, SHARED, ADA)
        assert len((await crew.organs.memories.shared()).items("facts")) == 1
        await crew.backend.delete_session(SHARED)
        await crew.create()
        await crew.post("Go.")
        await crew.settled()
        assert "Ada" not in model.requests[0].system
        await keep(crew, SHARED, ADA)
        assert len((await crew.organs.memories.shared()).items("facts")) == 1
