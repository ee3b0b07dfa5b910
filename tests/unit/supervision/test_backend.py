"""What the server is told: of sessions in memory and out of it, and of words that are answers."""

import asyncio
from pathlib import Path

import pytest

from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.eventlog.port import Receipt
from brainpilot_rt.server.wires.brainpilot_views import session_json
from brainpilot_rt.supervision.answers import NewSession
from brainpilot_rt.testing.models import Call, ScriptedModel
from brainpilot_rt.testing.team import SESSION, team
from tests.flows.team.moves import memory_log


async def test_a_session_that_is_not_in_memory_is_listed_without_what_only_its_events_tell(
    tmp_path: Path,
):
    async with team(memory_log(), ScriptedModel().stream, tmp_path) as crew:
        new = NewSession(session=SESSION, title="One", thinking="low", model_id="m")
        made = await crew.backend.create_session(new)
        assert (made.thinking, made.model_id, made.domain_resources) == ("low", "m", "full")
        assert await crew.backend.evict_session(SESSION) == 1
        assert await crew.backend.evict_session(SESSION) == 0
        (listed,) = await crew.backend.list_sessions()
        shown = {"id", "title", "createdAt", "updatedAt", "busy"}
        assert (listed.title, set(session_json(listed))) == ("One", shown)
        await crew.backend.view(SESSION)
        (loaded,) = await crew.backend.list_sessions()
        assert (loaded.thinking, loaded.model_id, loaded.domain_resources) == ("low", "m", "full")


async def test_a_session_that_is_there_already_is_not_told_as_the_one_that_was_wanted(
    tmp_path: Path,
):
    async with team(memory_log(), ScriptedModel().stream, tmp_path) as crew:
        told: list[object] = []

        def durable(made: object) -> Receipt:
            told.append(made)
            return Receipt(key=f"k{len(told)}", fingerprint="f", status=201, body=b"", at_ms=0)

        create = crew.backend.create_session
        first = await create(NewSession(session=SESSION, title="One"), durable)
        again = await create(NewSession(session=SESSION, title="Two"), durable)
        assert told == [first]
        assert (again.title, again.created_ms) == ("One", first.created_ms)


async def test_words_that_answer_a_question_are_accepted_and_make_no_letter(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", Call("ask_user", {"question": "Which?"}))
    model.say("principal", "Good.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        first = await crew.post("Go.")
        await crew.until(lambda state: state.questions)
        second = await crew.post("The red one.")
        assert first.letter_id is not None
        assert (second.letter_id, second.queued) == (None, False)
        assert second.host_run_id == first.host_run_id
        state = await crew.settled()
        assert not state.letters


@pytest.mark.fault("J10")
async def test_a_message_on_its_way_into_the_log_keeps_the_daemon_alive(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", "Good.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        epoch = crew.backend.liveness().idle_epoch
        async with asyncio.TaskGroup() as group:
            posting = group.create_task(crew.post("Go."))
            await asyncio.sleep(0)
            assert not posting.done()
            assert crew.backend.shutdown_if_idle(epoch) == ("1 request",)
        await crew.settled()


@pytest.mark.fault("J10")
async def test_a_daemon_that_has_agreed_to_stop_takes_nothing(tmp_path: Path):
    async with team(memory_log(), ScriptedModel().stream, tmp_path) as crew:
        await crew.create()
        assert crew.backend.shutdown_if_idle(crew.backend.liveness().idle_epoch) == ()
        with pytest.raises(Unavailable):
            await crew.post("Go.")
        assert [one.event.type for one in await crew.events()][-1] != "letter_accepted"
