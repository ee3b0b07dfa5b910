"""Stop, destroy, evict, delete: a fence first, then everything really ends, and nothing is lost."""

import asyncio
from pathlib import Path

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import NotFound, RetryableFault, Unavailable
from brainpilot_rt.domain.ids import PRINCIPAL, USER, AgentName
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.sessions.hub import Item
from brainpilot_rt.testing.models import Call, Gate, ScriptedModel
from brainpilot_rt.testing.team import SESSION, team
from tests.flows.team.moves import closed_tasks, drop, ends, join, memory_log, send

LIBRARIAN = AgentName("librarian")


@pytest.mark.requirement("stop-fence")
async def test_a_stop_ends_the_run_and_answers_when_idle(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", "Hel", gate := Gate(), "lo")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        answer = await crew.stop()
        assert answer.interrupted
        state = crew.state()
        assert not state.runs
        assert state.host_turn is None
        assert state.agents[PRINCIPAL].phase is AgentPhase.IDLE
        assert await ends(crew) == ["interrupted"]
        assert not (await crew.stop()).interrupted
        assert await crew.violations() == []


@pytest.mark.requirement("stop-single")
async def test_two_stops_at_once_make_one_notice(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", gate := Gate())
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(crew.stop()) for _ in range(3)]
        assert sorted(one.result().interrupted for one in answers) == [False, False, True]
        notices = [one for one in await crew.events() if isinstance(one.event, ev.NoticePosted)]
        assert len(notices) == 1


@pytest.mark.requirement("stop-fence")
async def test_letters_wait_behind_the_fence_until_the_user_speaks(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian"), send("engineer"))
    model.say("principal", "Waiting.")
    model.say("librarian", first := Gate())
    model.say("engineer", second := Gate(), send("principal", "built"))
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await first.reached.wait()
        await second.reached.wait()
        await crew.until(lambda state: len(state.runs) == 2)
        await crew.stop()
        assert len(crew.state().queued_for(PRINCIPAL)) == 2  # both tasks were cancelled
        await asyncio.sleep(3600)
        assert not crew.state().runs
        model.say("principal", "All right.")
        await crew.post("Go on.")
        state = await crew.settled()
        assert not state.busy
        assert await ends(crew) == ["interrupted", "completed"]
        assert await closed_tasks(crew) == ["cancelled", "cancelled"]
        assert await crew.violations() == []


@pytest.mark.requirement("stop-fence")
async def test_a_message_sent_while_a_stop_is_under_way_gets_its_own_turn(tmp_path: Path):
    held = asyncio.Event()
    model = ScriptedModel()
    model.say("principal", gate := Gate())
    model.say("principal", "Again.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        first = await crew.post("Go.")
        await gate.reached.wait()

        def on_item(item: object) -> None:
            if isinstance(item, ev.Recorded) and isinstance(item.event, ev.StopRequested):
                held.set()

        undo = crew.organs.hub.listen(on_item)
        async with asyncio.TaskGroup() as group:
            group.create_task(crew.stop())
            await held.wait()
            second = await crew.post("No, this.")
        undo()
        await crew.settled()
        assert second.host_run_id != first.host_run_id
        assert await ends(crew) == ["interrupted", "completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("stop-fence")
async def test_an_agent_stopped_in_back_off_does_not_try_again_by_itself(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", RetryableFault("busy"))
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.until(lambda state: state.agents[PRINCIPAL].retry_at_ms)
        assert (await crew.stop("principal")).interrupted
        await asyncio.sleep(3600)
        assert len(model.requests) == 1
        assert len(crew.state().queued_for(PRINCIPAL)) == 1
        model.say("principal", "Both read.")
        await crew.post("And?")
        await crew.settled()
        assert (await ends(crew))[-1] == "completed"
        assert await crew.violations() == []


@pytest.mark.requirement("agent-destroy")
async def test_a_running_agent_with_mail_can_be_destroyed(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian", "one"))
    model.say("principal", "Wait.")
    model.say("librarian", gate := Gate())
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        await crew.until(lambda now: len(now.runs) == 1)
        model.say("principal", send("librarian", "two"))
        model.say("principal", Call("destroy_agent", {"agent_type": "librarian"}))
        model.say("principal", "Gone.")
        await crew.post("Enough.")
        state = await crew.settled()
        assert state.agents[LIBRARIAN].phase is AgentPhase.STOPPED
        assert not state.busy
        assert not state.tasks
        assert (await ends(crew)) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("agent-destroy")
async def test_a_destroyed_agent_that_is_made_again_works(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian", "one"))
    model.say("principal", "Wait.")
    model.say("librarian", gate := Gate())
    model.say("principal", "So be it.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        await crew.until(lambda now: len(now.runs) == 1)
        await crew.supervisor.destroy(SESSION, LIBRARIAN, USER)
        await crew.settled()
        model.say("principal", send("librarian", "two"))
        model.say("principal", "Wait.")
        model.say("librarian", send("principal", "found"))
        model.say("librarian", "Done.")
        model.say("principal", "Good.")
        await crew.post("Again.")
        await crew.settled()
        assert await ends(crew) == ["completed", "completed"]
        letters = [
            one.event.letter
            for one in await crew.events()
            if isinstance(one.event, ev.LetterAccepted) and one.event.letter.to == LIBRARIAN
        ]
        assert [one.epoch for one in letters] == [1, 2]
        assert await crew.violations() == []


@pytest.mark.requirement("agent-destroy")
async def test_the_principal_can_not_destroy_itself(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", Call("destroy_agent", {"agent_type": "principal"}))
    model.say("principal", "I stay.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.settled()
        assert (await ends(crew)) == ["completed"]


@pytest.mark.requirement("session-evict")
async def test_a_message_during_an_eviction_keeps_the_session_in_use(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", gate := Gate())
    model.say("principal", again := Gate(), "Here.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()

        async def speak(group: asyncio.TaskGroup) -> None:
            def on_item(item: object) -> None:
                if isinstance(item, ev.Recorded) and isinstance(item.event, ev.HostTurnFinished):
                    undo()
                    group.create_task(crew.post("Wait."))

            undo = crew.organs.hub.listen(on_item)

        async with asyncio.TaskGroup() as group:
            await speak(group)
            await crew.backend.evict_session(SESSION)
        await again.reached.wait()
        again.open()
        await crew.settled()
        assert await ends(crew) == ["interrupted", "completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("session-evict")
async def test_an_evicted_session_is_revived_by_the_next_message(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", gate := Gate())
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        assert await crew.backend.evict_session(SESSION) == 1
        with pytest.raises(NotFound):
            crew.state()
        model.say("principal", "Back.")
        await crew.post("Hello?")
        await crew.settled()
        assert await ends(crew) == ["interrupted", "completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("session-evict")
async def test_an_evicted_session_does_not_forget_a_run_in_back_off(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", RetryableFault("busy"))
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.until(lambda state: state.agents[PRINCIPAL].retry_at_ms)
        await crew.backend.evict_session(SESSION)
        await asyncio.sleep(3600)
        model.say("principal", "Both.")
        await crew.post("Hello?")
        state = await crew.settled()
        assert not state.busy
        assert await crew.violations() == []


@pytest.mark.requirement("session-delete")
async def test_nothing_of_a_session_deleted_in_the_middle_of_work_comes_back(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", gate := Gate())
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        async with asyncio.TaskGroup() as group:
            deleted = group.create_task(crew.backend.delete_session(SESSION))
            refused = 0
            for _ in range(30):
                try:
                    await crew.post("Late.")
                except NotFound:
                    refused += 1
                await asyncio.sleep(0)
        assert deleted.result()
        assert refused
        assert await crew.backend.list_sessions() == []
        assert await crew.organs.log.head(SESSION) == 0
        await crew.create()
        model.say("principal", "New.")
        await crew.post("Hi.")
        await crew.settled()
        assert await crew.violations() == []


@pytest.mark.requirement("stop-fence")
async def test_a_call_that_was_stopped_takes_its_question_with_it(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", Call("ask_user", {"question": "Which?"}))
    model.say("principal", "Fine.", gate := Gate())
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        state = await crew.until(lambda now: now.questions)
        [question] = state.questions.values()
        assert await crew.backend.interrupt_tool(SESSION, question.call_id) == "interrupted"
        await gate.reached.wait()
        assert not crew.state().questions
        posted = await crew.post("This is no answer.")
        assert posted.letter_id in crew.state().letters
        model.say("principal", "Read.")
        gate.open()
        await crew.settled()
        assert await crew.violations() == []


@pytest.mark.requirement("stop-fence")
async def test_a_stop_cancels_open_questions(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", Call("ask_user", {"question": "Which?"}))
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.until(lambda now: now.questions)
        await crew.stop()
        assert not crew.state().questions
        cancelled = [
            one.event for one in await crew.events() if isinstance(one.event, ev.QuestionCancelled)
        ]
        assert [one.reason for one in cancelled] == ["interrupted"]
        assert await crew.violations() == []


@pytest.mark.requirement("stop-single")
async def test_a_session_whose_only_mail_is_an_external_agents_has_nothing_to_stop(tmp_path: Path):
    async with team(memory_log(), ScriptedModel().stream, tmp_path) as crew:
        await crew.create()
        robot = await join(crew, "robot")
        await drop(crew, "robot", "do", kind="task_delegate")
        assert crew.state().queued_for(robot)
        assert not (await crew.stop()).interrupted


@pytest.mark.fault("A10")
@pytest.mark.requirement("log-trouble")
async def test_a_stop_the_full_disk_refuses_ends_the_run_as_soon_as_there_is_room(tmp_path: Path):
    """The worker is gone when the log refuses its end: somebody must say it later."""
    model = ScriptedModel()
    model.hang("principal")
    model.say("principal", "Hello again.")
    log = memory_log()
    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await model.arrival("principal")

        def on_item(item: Item) -> None:
            if isinstance(item, ev.Recorded) and isinstance(item.event, ev.StopRequested):
                log.fail_commits("disk full")

        crew.organs.hub.listen(on_item)
        with pytest.raises(Unavailable):
            await crew.stop()
        assert crew.state().runs
        await asyncio.sleep(60)
        log.fail_commits(None)
        state = await crew.until(lambda state: not state.busy)
        assert not state.runs
        assert await ends(crew) == ["interrupted"]
        await crew.post("Still there?")
        await crew.settled()
        assert await ends(crew) == ["interrupted", "completed"]
