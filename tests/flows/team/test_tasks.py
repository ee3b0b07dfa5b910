"""Delegation: every task ends with exactly one terminal letter, and a host turn waits for all."""

import asyncio
from pathlib import Path

import pytest

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.ids import EXTERNAL, PRINCIPAL, AgentName
from brainpilot_rt.domain.letters import LetterKind
from brainpilot_rt.settings import AgentSettings, SessionLimits
from brainpilot_rt.testing.models import Call, Gate, Reply, ScriptedModel
from brainpilot_rt.testing.team import SESSION, Setup, Team, team
from tests.flows.team.moves import (
    closed_tasks,
    drop,
    ends,
    join,
    memory_log,
    notices,
    receipt,
    send,
)

LIBRARIAN = AgentName("librarian")
ENGINEER = AgentName("engineer")


async def results(crew: Team, to: str) -> list[str]:
    return [
        one.event.letter.content
        for one in await crew.events()
        if isinstance(one.event, ev.LetterAccepted)
        and one.event.letter.to == to
        and one.event.letter.kind is LetterKind.RESULT_DELIVER
    ]


async def tool_results(crew: Team, agent: str) -> list[tuple[str, str]]:
    return [
        (one.event.status, one.event.content)
        for one in await crew.events()
        if isinstance(one.event, ev.ToolFinished) and one.event.agent == agent
    ]


@pytest.mark.requirement("host-turn")
async def test_the_host_turn_ends_with_the_answer_after_the_last_result(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian"))
    model.say("principal", "Waiting.")
    model.say("librarian", gate := Gate(), send("principal", "found"))
    model.say("librarian", "Done.")
    model.say("principal", "Here it is.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        await crew.until(lambda state: len(state.runs) == 1)
        assert await ends(crew) == []
        gate.open()
        await crew.settled()
        [end] = [
            one.event for one in await crew.events() if isinstance(one.event, ev.HostTurnFinished)
        ]
        assert (end.outcome, end.answer, end.runs, end.letters) == (
            "completed",
            "Here it is.",
            3,
            3,
        )
        assert await crew.violations() == []


@pytest.mark.requirement("task-terminal")
async def test_a_silent_specialist_is_reminded_once_and_then_spoken_for(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian"))
    model.say("principal", "Waiting.")
    model.say("librarian", "I know it.")
    model.say("librarian", "I still know it.")
    model.say("principal", "It was silent.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.settled()
        reminders = [one for one in await crew.events() if isinstance(one.event, ev.TaskReminded)]
        assert len(reminders) == 1
        assert len(model.requests_of("librarian")) == 2
        assert await closed_tasks(crew) == ["failed"]
        [told] = await results(crew, "principal")
        assert "ended without delivering" in told
        assert "I still know it." in told
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("task-terminal")
async def test_a_specialist_that_waits_for_its_own_delegation_is_not_silent(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian"))
    model.say("principal", "Waiting.")
    model.say("librarian", send("engineer"))
    model.say("librarian", "I wait too.")
    model.say("engineer", gate := Gate(), send("librarian", "built"))
    model.say("engineer", "Done.")
    model.say("librarian", send("principal", "found and built"))
    model.say("librarian", "Done.")
    model.say("principal", "Good.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        await crew.until(lambda state: len(state.runs) == 1)
        assert len(crew.state().tasks) == 2
        gate.open()
        await crew.settled()
        assert [one for one in await crew.events() if isinstance(one.event, ev.TaskReminded)] == []
        assert await closed_tasks(crew) == ["result", "result"]
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("task-terminal")
async def test_two_agents_that_wait_for_each_other_do_not_wait_for_ever(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian"))
    model.say("principal", "Waiting.")
    model.say("librarian", send("engineer", "you do it"))
    model.say("librarian", "I wait.")
    model.say("engineer", send("librarian", "no, you", msg_type="task_delegate"))
    model.say("engineer", "I wait.")
    model.say("librarian", "Hm.")
    for agent in ("engineer", "librarian"):
        for _ in range(3):
            model.say(agent, "Hm.")
    model.say("principal", "They could not.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.settled()
        assert await ends(crew) == ["completed"]
        assert await closed_tasks(crew) == ["failed"] * 3
        assert await crew.violations() == []


@pytest.mark.requirement("task-identity")
async def test_a_plain_note_does_not_close_a_task_that_was_not_read(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian", "one"))
    model.say("principal", gate := Gate(), send("librarian", "two"))
    model.say("principal", "Waiting.")
    model.say(
        "librarian", second := Gate(), send("principal", "first"), send("principal", "a note")
    )
    model.say(
        "librarian",
        "Done with one.",
    )
    model.say("librarian", send("principal", "second"))
    model.say("librarian", "Done.")
    for _ in range(3):
        model.say("principal", "Read.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await second.reached.wait()
        gate.open()
        await crew.until(lambda state: len(state.tasks) == 2)
        second.open()
        await crew.settled()
        closing = {
            one.event.letter_id
            for one in await crew.events()
            if isinstance(one.event, ev.TaskClosed)
        }
        said = [
            one.event.letter.content
            for one in await crew.events()
            if isinstance(one.event, ev.LetterAccepted) and one.event.letter_id in closing
        ]
        assert said == ["first", "second"]
        assert await crew.violations() == []


@pytest.mark.parametrize("task_id", ["task_forged", "../../etc/passwd"])
@pytest.mark.requirement("task-identity")
async def test_a_forged_task_id_delivers_nothing_and_delegates_nothing(
    tmp_path: Path, task_id: str
):
    model = ScriptedModel()
    model.say("principal", send("librarian"))
    model.say("principal", "Waiting.")
    model.say("librarian", send("engineer", "done", task_id=task_id))
    model.say("librarian", send("principal", "found"))
    model.say("librarian", "Done.")
    model.say("principal", "Good.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.settled()
        [(status, said), *_] = await tool_results(crew, "librarian")
        assert status == "failed"
        assert "is not open" in said
        assert ENGINEER not in crew.state().agents
        assert await closed_tasks(crew) == ["result"]
        assert await crew.violations() == []


@pytest.mark.requirement("task-identity")
async def test_a_task_of_somebody_else_can_not_be_delivered(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian"), send("engineer"))
    model.say("principal", "Waiting.")
    model.say("librarian", hold := Gate(), send("principal", "found"))
    model.say("librarian", "Done.")
    model.say("principal", "One.")
    model.say("principal", "Two.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        model.say("engineer", ready := Gate())
        await crew.post("Go.")
        await ready.reached.wait()
        await hold.reached.wait()
        theirs = next(t for t in crew.state().tasks.values() if t.assignee == LIBRARIAN)
        model.say("engineer", send("principal", "mine!", task_id=theirs.task_id))
        model.say("engineer", send("principal", "built"))
        model.say("engineer", "Done.")
        ready.open()
        await crew.until(lambda state: len(state.tasks) == 1)
        hold.open()
        await crew.settled()
        assert ("failed", f"task {theirs.task_id} belongs to librarian") in await tool_results(
            crew, "engineer"
        )
        assert sorted(await results(crew, "principal")) == ["built", "found"]
        assert await crew.violations() == []


@pytest.mark.requirement("task-identity")
async def test_a_task_is_delivered_once_however_often_the_model_says_so(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian"))
    model.say("principal", "Waiting.")
    model.say("librarian", gate := Gate())
    model.say("principal", "Read.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        [task_id] = crew.state().tasks
        twice = [send("principal", text, task_id=task_id) for text in ("found", "found again")]
        model.say("librarian", *twice)
        model.say("librarian", "Done.")
        gate.open()
        await crew.settled()
        assert await results(crew, "principal") == ["found"]
        assert [status for status, _ in await tool_results(crew, "librarian")] == [
            "completed",
            "failed",
        ]
        assert await crew.violations() == []


@pytest.mark.requirement("mail-pressure")
async def test_results_fit_into_a_full_mailbox_and_new_work_does_not(tmp_path: Path):
    limits = SessionLimits(mailbox_depth_max=1, letters_batch_max=1)
    model = ScriptedModel()
    model.say("principal", send("librarian"), send("engineer"), send("engineer", "more"))
    model.say("principal", hold := Gate(), "Waiting.")
    model.say("engineer", gate := Gate(), send("principal", "built"))
    model.say("librarian", books := Gate(), send("principal", "found"))
    model.say("librarian", send("principal", "and a note"))
    for agent in ("librarian", "engineer"):
        for _ in range(3):
            model.say(agent, "Done.")
    for _ in range(6):
        model.say("principal", "Read.")
    async with team(memory_log(), model.stream, tmp_path, Setup(limits=limits)) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        await hold.reached.wait()
        books.open()
        await crew.until(lambda state: LIBRARIAN not in {one.agent for one in state.runs.values()})
        assert len(crew.state().queued_for(PRINCIPAL)) == 1
        gate.open()
        await crew.until(lambda state: len(state.queued_for(PRINCIPAL)) == 2)
        hold.open()
        await crew.settled()
        assert "found" in await results(crew, "principal")
        refused = [
            text for status, text in await tool_results(crew, "librarian") if status == "failed"
        ]
        assert len(refused) == 1
        assert "unread letters" in refused[0]
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.parametrize("size", [2, 3, 5, 17])
@pytest.mark.requirement("chain-caps")
async def test_a_ring_of_agents_ends_loudly_and_once(tmp_path: Path, size: int):
    ring = [f"node-{number}" for number in range(size)]
    model = ScriptedModel()
    model.say("principal", *(Call("create_agent", {"agent_type": name}) for name in ring))
    model.say("principal", send(ring[0], "round", msg_type="task_delegate"))
    for place, name in enumerate(ring):
        onwards = ring[(place + 1) % size]
        for _ in range(40):
            model.say(name, send(onwards, "round", msg_type="task_delegate"))
            model.say(name, "Sent.")
    for _ in range(60):
        model.say("principal", "Hm.")
    limits = SessionLimits(root_hops_max=12)
    async with team(memory_log(), model.stream, tmp_path, Setup(limits=limits)) as crew:
        await crew.create()
        await crew.post("Go.")
        state = await crew.settled()
        assert not state.busy
        assert not state.tasks
        assert len(await notices(crew, "chain_stopped")) == 1
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.parametrize("cap", [{"root_letters_max": 10}, {"root_runs_max": 10}])
@pytest.mark.requirement("chain-caps")
async def test_ping_pong_ends_at_its_cap(tmp_path: Path, cap: dict[str, int]):
    model = ScriptedModel(otherwise=Reply((send("engineer", "ping", msg_type="task_delegate"),)))
    for _ in range(200):
        model.say("engineer", send("librarian", "pong", msg_type="task_delegate"))
        model.say("engineer", "Sent.")
        model.say("librarian", send("engineer", "ping", msg_type="task_delegate"))
        model.say("librarian", "Sent.")
        model.say("principal", "Hm.")
    limits = SessionLimits.model_validate(cap)
    setup = Setup(limits=limits, agents=AgentSettings(max_turns=4))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await crew.post("Go.", agent="librarian")
        state = await crew.settled()
        assert not state.busy
        assert not state.tasks
        assert len(await notices(crew, "chain_stopped")) == 1
        assert len(model.requests) < 60
        assert await crew.violations() == []


@pytest.mark.requirement("host-turn")
async def test_a_message_that_joins_a_run_without_a_turn_still_gets_its_turn(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", gate := Gate(), "Working on it.")
    model.say("principal", "Answered both.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await drop(crew, "principal", "do this", kind="task_delegate")
        await gate.reached.wait()
        posted = await crew.post("And I?")
        assert posted.queued
        gate.open()
        model.say("principal", send("external", "did it"))
        model.say("principal", "Sent.")
        state = await crew.settled()
        assert not state.busy
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("steer")
async def test_a_queued_message_is_echoed_once_when_it_is_taken_up(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", gate := Gate(), "First.")
    model.say("principal", "Second.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        first = await crew.post("One.")
        await gate.reached.wait()
        second = await crew.post("Two.")
        assert (first.queued, second.queued) == (False, True)
        assert first.host_run_id == second.host_run_id
        gate.open()
        await crew.settled()
        echoes = [
            (one.event.type, echo.text)
            for one in await crew.events()
            if isinstance(one.event, ev.RunStarted | ev.LettersJoined)
            for echo in one.event.echo
        ]
        assert echoes == [("letters_joined", "Two.")]
        assert await ends(crew) == ["completed"]


@pytest.mark.requirement("steer")
@pytest.mark.fault("B8", "B9")
async def test_letters_accepted_in_the_instant_of_a_boundary_are_read(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", Call("record_trace", {"description": "a step"}))
    model.say("principal", "Answer.")
    model.say("principal", "Later.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("One.")
        posts: list[asyncio.Task[object]] = []
        async with asyncio.TaskGroup() as group:

            def on_item(item: object) -> None:
                if isinstance(item, ev.Recorded) and isinstance(item.event, ev.ToolFinished):
                    posts.append(group.create_task(crew.post("Two.")))
                    posts.append(group.create_task(crew.post("Three.")))

            undo = crew.organs.hub.listen(on_item)
            await crew.until(lambda state: state.host_turn is None)
            undo()
        await crew.settled()
        shown = "\n".join(
            str(message)
            for request in model.requests_of("principal")
            for message in request.messages
        )
        assert "Two." in shown
        assert "Three." in shown
        assert await crew.violations() == []


@pytest.mark.requirement("external-agents")
async def test_an_external_agent_holds_the_turn_open_until_it_answers(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("robot"))
    model.say("principal", "Waiting.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        robot = await join(crew, "robot")
        await crew.post("Go.")
        await crew.settled()
        await asyncio.sleep(24 * 3600)
        assert await ends(crew) == []
        [task] = crew.state().tasks.values()
        for what in ("placed", "claimed", "claimed", "consumed", "consumed"):
            await receipt(crew, "robot", task.letter_id, what)
        assert crew.state().host_turn is not None
        model.say("principal", "It says yes.")
        await drop(crew, "principal", "yes", task_id=task.task_id)
        state = await crew.settled()
        assert not state.busy
        [letter] = [
            one.event.letter
            for one in await crew.events()
            if isinstance(one.event, ev.LetterReceived)
        ]
        assert (letter.from_, letter.kind, letter.authority.tainted) == (
            robot,
            LetterKind.RESULT_DELIVER,
            True,
        )
        assert await ends(crew) == ["completed"]
        assert await closed_tasks(crew) == ["result"]
        assert await crew.violations() == []


@pytest.mark.requirement("task-terminal")
async def test_an_external_agent_that_leaves_cancels_what_it_held(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("robot"))
    model.say("principal", "Waiting.")
    model.say("principal", "It left.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await join(crew, "robot")
        await crew.post("Go.")
        await crew.until(lambda state: state.tasks and not state.runs)
        await crew.organs.manager.dispatch(SESSION, cmd.LeaveExternal(agent=AgentName("robot")))
        state = await crew.settled()
        assert not state.busy
        assert await closed_tasks(crew) == ["cancelled"]
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("mail-foreign")
async def test_a_foreign_letter_can_not_answer_a_managed_agents_task(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian"))
    model.say("principal", "Waiting.")
    model.say("librarian", gate := Gate(), send("principal", "found"))
    model.say("librarian", "Done.")
    for _ in range(3):
        model.say("principal", "Read.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        [task_id] = crew.state().tasks
        [received, *_] = await drop(crew, "principal", "forged", task_id=task_id)
        assert isinstance(received.event, ev.LetterReceived)
        assert received.event.letter.from_ == EXTERNAL
        assert task_id in crew.state().tasks
        gate.open()
        await crew.settled()
        assert await closed_tasks(crew) == ["result"]
        assert await crew.violations() == []


@pytest.mark.requirement("mail-foreign")
async def test_a_foreign_answer_in_the_wrong_mailbox_is_refused(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("robot"))
    model.say("principal", "Waiting.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await join(crew, "robot")
        await crew.post("Go.")
        await crew.settled()
        [task_id] = crew.state().tasks
        with pytest.raises(BadRequest):
            await drop(crew, "librarian", "yes", task_id=task_id)
        assert task_id in crew.state().tasks


@pytest.mark.requirement("mail-foreign")
async def test_the_same_foreign_letter_is_accepted_once(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", gate := Gate(), "Read.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        letter_id = crew.organs.new_id()
        assert await drop(crew, "principal", "hello", letter_id=letter_id)
        assert await drop(crew, "principal", "hello", letter_id=letter_id) == []
        gate.open()
        await crew.settled()
        assert await drop(crew, "principal", "hello", letter_id=letter_id) == []
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("mail-foreign")
async def test_the_result_of_a_foreign_delegation_is_delivered_into_the_log(tmp_path: Path):
    model = ScriptedModel()
    model.say("librarian", send("external", "found it"))
    model.say("librarian", "Done.")
    async with team(memory_log(), model.stream, tmp_path, Setup(mail=True)) as crew:
        await crew.create()
        await drop(crew, "librarian", "look it up", kind="task_delegate")
        state = await crew.settled()
        assert not state.busy
        assert await closed_tasks(crew) == ["result"]
        assert await results(crew, "external") == ["found it"]
        assert await crew.violations() == []


@pytest.mark.requirement("mail-expiry")
async def test_an_unread_letter_expires_and_its_task_is_answered(tmp_path: Path):
    model = ScriptedModel()
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        robot = await join(crew, "robot")
        await drop(crew, "robot", "quick", kind="task_delegate", ttl_s=60)
        assert len(crew.state().queued_for(robot)) == 1
        await asyncio.sleep(59)
        assert crew.state().letters
        await asyncio.sleep(2)
        assert not crew.state().letters
        assert await closed_tasks(crew) == ["failed"]
        assert await crew.violations() == []


@pytest.mark.requirement("questions-typed")
async def test_a_typed_message_answers_the_question_that_is_open(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", Call("ask_user", {"question": "Red or blue?"}))
    model.say("principal", "Blue then.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Paint.")
        await crew.until(lambda state: state.questions)
        posted = await crew.post("blue")
        assert not posted.queued
        await crew.settled()
        assert await tool_results(crew, "principal") == [("completed", "blue")]
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("questions-typed")
async def test_an_answer_that_came_second_is_a_message(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", Call("ask_user", {"question": "Red or blue?"}))
    model.say("principal", "Blue then.")
    model.say("principal", "And that.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Paint.")
        await crew.until(lambda state: state.questions)
        async with asyncio.TaskGroup() as group:
            for text in ("blue", "and hurry"):
                group.create_task(crew.post(text))
        state = await crew.settled()
        assert not state.busy
        shown = "\n".join(str(one) for one in model.requests_of("principal")[-1].messages)
        assert "blue" in shown
        assert "and hurry" in shown
        assert await crew.violations() == []
