"""Faults of providers and of the log: tried again when it may help, once, and said so."""

import asyncio
from pathlib import Path

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Conflict, FatalFault, RetryableFault, Unavailable
from brainpilot_rt.domain.ids import PRINCIPAL
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.eventlog.port import Receipt
from brainpilot_rt.settings import SessionLimits
from brainpilot_rt.supervision.answers import Posted
from brainpilot_rt.testing.models import Call, Gate, ScriptedModel
from brainpilot_rt.testing.team import SESSION, Setup, team
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, tool
from tests.flows.team.moves import closed_tasks, drop, ends, memory_log, notices, send


@pytest.mark.requirement("retry")
async def test_a_run_that_may_succeed_later_does(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", RetryableFault("busy"))
    model.say("principal", RetryableFault("busy", retry_after_s=60))
    model.say("principal", "There.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await crew.post("Go.")
        state = await crew.settled()
        assert 62 <= loop.time() - began < 63
        assert not state.busy
        assert await ends(crew) == ["completed"]
        assert await notices(crew) == []
        attempts = [
            one.event.attempt for one in await crew.events() if isinstance(one.event, ev.RunStarted)
        ]
        assert attempts == [1, 2, 3]
        assert await crew.violations() == []


@pytest.mark.requirement("retry")
async def test_after_the_last_attempt_the_user_is_told_and_the_turn_has_failed(tmp_path: Path):
    model = ScriptedModel()
    for _ in range(3):
        model.say("principal", RetryableFault("busy"))
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        state = await crew.settled()
        assert not state.busy
        assert await ends(crew) == ["failed"]
        assert len(await notices(crew)) == 1
        assert await crew.violations() == []


@pytest.mark.requirement("retry")
async def test_a_fault_that_will_not_pass_is_not_tried_again(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian"))
    model.say("principal", "Waiting.")
    model.say("librarian", FatalFault("no key"))
    model.say("principal", "It failed.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.settled()
        assert len(model.requests_of("librarian")) == 1
        assert await closed_tasks(crew) == ["failed"]
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("retry")
async def test_a_retry_that_comes_due_while_others_work_costs_no_turning_in_place(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian"), send("engineer"))
    model.say("principal", RetryableFault("busy"))
    model.say("librarian", first := Gate(), send("principal", "found"))
    model.say("engineer", second := Gate(), send("principal", "built"))
    limits = SessionLimits(runs_concurrent_max=2)
    async with team(memory_log(), model.stream, tmp_path, Setup(limits=limits)) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.until(lambda state: state.agents[PRINCIPAL].retry_at_ms)
        await first.reached.wait()
        await second.reached.wait()
        await asyncio.sleep(3600)  # would never return if a timer fired again and again
        for agent in ("librarian", "engineer"):
            model.say(agent, "Done.")
        for _ in range(3):
            model.say("principal", "Read.")
        first.open()
        second.open()
        state = await crew.settled()
        assert not state.busy
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("mail-expiry")
async def test_a_retry_whose_letter_expired_ends_the_turn(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", RetryableFault("busy", retry_after_s=200))
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await drop(crew, "principal", "Go.", ttl_s=100)
        state = await crew.settled()
        assert not state.busy
        assert await ends(crew) == ["failed"]
        assert await crew.violations() == []


@pytest.mark.requirement("log-trouble")
async def test_trouble_with_the_log_delays_a_run_and_loses_nothing(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", "Hello to ", gate := Gate(), "you")
    model.say("principal", "Hello.")
    log = memory_log()
    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        await crew.until(lambda state: any(run.texts for run in state.runs.values()))
        log.fail_commits("disk full")
        gate.open()
        with pytest.raises(Unavailable):
            await crew.post("More.")
        await asyncio.sleep(60)
        assert crew.state().runs
        log.fail_commits(None)
        await crew.settled()
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []
        texts = [
            (one.event.text, one.event.aborted)
            for one in await crew.events()
            if isinstance(one.event, ev.TextFinished)
        ]
        assert texts == [("", True), ("Hello.", False)]
        assert len(model.requests) == 2  # nobody is paid while nothing can be kept


class Nothing(Arguments):
    """No arguments."""


@pytest.mark.requirement("log-trouble")
async def test_trouble_with_the_log_after_a_deed_does_not_do_it_twice(tmp_path: Path):
    log = memory_log()
    done: list[str] = []

    async def deed(context: ToolContext, wanted: Nothing) -> ToolOutput:
        done.append(context.call_id)
        log.fail_commits("disk full")
        return ToolOutput("done")

    bash: Tool = tool(deed, Nothing, name="bash", effect=Effect.IRREVERSIBLE)
    model = ScriptedModel()
    model.say("principal", Call("bash"))
    model.say("principal", "I see.")
    async with team(log, model.stream, tmp_path, Setup(tools=[bash])) as crew:
        await crew.create()
        await crew.post("Go.")
        await asyncio.sleep(60)
        log.fail_commits(None)
        await crew.settled()
        assert len(done) == 1
        [result] = [
            one.event for one in await crew.events() if isinstance(one.event, ev.ToolFinished)
        ]
        assert result.status == "unknown"
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("log-trouble")
async def test_a_stop_while_the_log_is_in_trouble_can_be_repeated_when_it_is_not(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", gate := Gate(), "lost")
    log = memory_log()
    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()

        def on_item(item: object) -> None:
            if isinstance(item, ev.Recorded) and isinstance(item.event, ev.StopRequested):
                log.fail_commits("disk full")

        undo = crew.organs.hub.listen(on_item)
        with pytest.raises(Unavailable):
            await crew.stop()
        undo()
        log.fail_commits(None)
        assert (await crew.stop()).interrupted
        assert not crew.state().runs
        assert crew.state().host_turn is None
        assert await crew.violations() == []
        crew.crashes.clear()  # the worker could not say how it ended


@pytest.mark.requirement("log-trouble")
async def test_a_reply_that_can_not_be_written_fails_its_run_and_nothing_else(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", "half a pair \ud800")
    model.say("principal", "Better.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        state = await crew.settled()
        assert not state.busy
        await crew.post("Again.")
        await crew.settled()
        assert await ends(crew) == ["failed", "completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("idempotency")
async def test_a_request_repeated_under_its_key_leaves_no_phantom_behind(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", "One.")
    model.say("principal", "Two.")

    def answered(_posted: Posted) -> Receipt:
        return Receipt(key="k", fingerprint="f", status=202, body=b"{}", at_ms=0)

    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()

        async def ask() -> str:
            try:
                await crew.backend.post_message(
                    SESSION, agent=None, content="Go.", message_id=None, receipt=answered
                )
            except Conflict:
                return "refused"
            return "accepted"

        async with asyncio.TaskGroup() as group:
            both = [group.create_task(ask()) for _ in range(2)]
            group.create_task(crew.post("Another."))
        assert sorted(one.result() for one in both) == ["accepted", "refused"]
        state = await crew.settled()
        assert not state.busy
        await crew.post("And now?")
        model.say("principal", "Three.")
        model.say("principal", "Four.")
        state = await crew.settled()
        assert not state.busy
        assert await crew.violations() == []


@pytest.mark.requirement("retry")
async def test_a_message_of_the_user_ends_a_pause_before_the_next_attempt(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", RetryableFault("busy", retry_after_s=200))
    model.say("principal", "Here I am.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("hello")
        await crew.until(lambda state: state.agents[PRINCIPAL].retry_at_ms is not None)
        began = asyncio.get_running_loop().time()
        await crew.post("are you there?")
        await crew.settled()
        assert asyncio.get_running_loop().time() - began < 10
        assert model.requests_of("principal")[-1].messages[-1].role == "user"
