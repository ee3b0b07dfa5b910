"""A daemon comes back: over a log that ends anywhere, after clean stops, again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typing_extensions import override

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import RetryableFault
from brainpilot_rt.domain.ids import PRINCIPAL, SessionId
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.sessions.recovery import repair
from brainpilot_rt.settings import SessionLimits
from brainpilot_rt.supervision import boot
from brainpilot_rt.testing.models import Call, Gate, ScriptedModel
from brainpilot_rt.testing.team import SESSION, LoopClock, Setup, Team, team
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, tool
from tests.flows.team.moves import drop, ends, memory_log, notices, send


async def after_crash(events: list[ev.Recorded]) -> MemoryEventLog:
    """A log that holds what was durable when the plug was pulled."""
    log = memory_log()
    await log.append(SESSION, [one.event for one in events], title="t", busy=True)
    return log


@pytest.mark.requirement("restart-continues")
async def test_a_clean_stop_with_mail_waiting_can_be_started_again(tmp_path: Path):
    log = memory_log()
    model = ScriptedModel()
    model.say("principal", gate := Gate())
    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("One.")
        await gate.reached.wait()
        assert (await crew.post("Two.")).queued
    model.say("principal", "Both.")
    model.say("principal", "And that.")
    async with team(log, model.stream, tmp_path) as crew:
        state = await crew.settled()
        assert not state.busy
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("restart-continues")
async def test_clean_stops_use_up_no_attempts(tmp_path: Path):
    log = memory_log()
    model = ScriptedModel()
    for number in range(5):
        model.say("principal", gate := Gate())
        async with team(log, model.stream, tmp_path) as crew:
            if number == 0:
                await crew.create()
                await crew.post("One.")
            await gate.reached.wait()
            [run] = crew.state().runs.values()
            assert run.attempt == 1
    model.say("principal", RetryableFault("busy"))
    model.say("principal", "There.")
    async with team(log, model.stream, tmp_path) as crew:
        await crew.settled()
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("crash-repair")
@pytest.mark.fault("B11")
@pytest.mark.fault("B11")
async def test_a_run_that_crashes_the_daemon_every_time_is_buried_with_a_notice(tmp_path: Path):
    model = ScriptedModel()
    gates = [model.hang("principal") for _ in range(10)]
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Poison.")
        await gates[0].reached.wait()
        log = await after_crash(await crew.events())
    crashes = 1
    while True:
        async with team(log, model.stream, tmp_path) as crew:
            if not crew.state().runs:
                break
            await gates[crashes].reached.wait()
            log = await after_crash(await crew.events())
        crashes += 1
    assert crashes == SessionLimits().attempts_max
    async with team(log, model.stream, tmp_path) as crew:
        assert not (await crew.settled()).busy
        assert len(await notices(crew, "poison")) == 1
        assert await ends(crew) == ["failed"]
        assert await crew.violations() == []


@pytest.mark.requirement("crash-repair")
async def test_a_crash_before_the_workers_start_is_no_attempt(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", gate := Gate())
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        log = await after_crash(await crew.events())
        for _ in range(5):
            manager = crew.organs.manager
            fresh = type(manager)(
                log,
                crew.organs.hub,
                clock=crew.organs.clock,
                new_id=crew.organs.new_id,
                limits=SessionLimits(),
            )
            await boot.repair_sessions(fresh, log)
            before = await log.head(SESSION)
            assert await fresh.amend(SESSION, repair) == []
            assert await log.head(SESSION) == before
            assert await boot.audit_session(log, SESSION) == []
    model.say("principal", "There.")
    async with team(log, model.stream, tmp_path) as crew:
        [run] = crew.state().runs.values()
        assert run.attempt == 2
        await crew.settled()
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("early", [True, False])
@pytest.mark.requirement("questions-durable")
async def test_a_question_survives_a_restart(tmp_path: Path, *, clean: bool, early: bool):
    log = memory_log()
    model = ScriptedModel()
    model.say("principal", Call("ask_user", {"question": "Red or blue?"}))
    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Paint.")
        state = await crew.until(lambda now: now.questions)
        [request] = state.questions
        events = await crew.events()
    if not clean:
        log = await after_crash(events)
    if early:  # answered before the workers start
        seed = await boot_only(log, crew)
        await seed.dispatch(SESSION, cmd.AnswerQuestion(request_id=request, answer="blue"))
    model.say("principal", "Blue then.")
    async with team(log, model.stream, tmp_path) as crew:
        if not early:
            await crew.until(lambda now: now.questions and now.runs)
            await asyncio.sleep(3600)
            assert not (await crew.post("blue")).queued
        await crew.settled()
        [result] = [
            one.event for one in await crew.events() if isinstance(one.event, ev.ToolFinished)
        ]
        assert (result.status, result.content) == ("completed", "blue")
        asked = [one for one in await crew.events() if isinstance(one.event, ev.QuestionAsked)]
        assert len(asked) == 1
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


class AnsweredMeanwhile(MemoryEventLog):
    """Whoever looks for an answer in this log is given one a moment after the look."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    @override
    async def read_back(
        self,
        session: SessionId,
        *,
        before: int | None = None,
        limit: int = 100,
        types: frozenset[str] | None = None,
    ) -> list[ev.Recorded]:
        found = await super().read_back(session, before=before, limit=limit, types=types)
        if types == frozenset({"question_answered"}) and self.meanwhile:
            await self.meanwhile()
        return found


@pytest.mark.requirement("questions-durable")
async def test_a_question_answered_while_its_call_resumes_is_not_asked_again(tmp_path: Path):
    log = AnsweredMeanwhile(clock=LoopClock())
    model = ScriptedModel()
    model.say("principal", Call("ask_user", {"question": "Red or blue?"}))
    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Paint.")
        await crew.until(lambda now: now.questions)
    model.say("principal", "Blue then.")
    async with team(log, model.stream, tmp_path) as crew:

        async def answer() -> None:
            if crew.state().questions:
                await crew.post("blue")

        log.meanwhile = answer
        await crew.until(lambda now: now.runs)
        await asyncio.sleep(1)
        await answer()
        await crew.settled()
        asked = [one for one in await crew.events() if isinstance(one.event, ev.QuestionAsked)]
        assert len(asked) == 1
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


async def boot_only(log: MemoryEventLog, crew: Team):
    organs = crew.organs
    manager = type(organs.manager)(
        log, organs.hub, clock=organs.clock, new_id=organs.new_id, limits=SessionLimits()
    )
    await boot.repair_sessions(manager, log)
    return manager


@pytest.mark.requirement("restart-continues")
async def test_a_retry_waits_out_its_pause_across_a_restart(tmp_path: Path):
    log = memory_log()
    model = ScriptedModel()
    model.say("principal", RetryableFault("busy", retry_after_s=200))
    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        state = await crew.until(lambda now: now.agents[PRINCIPAL].retry_at_ms)
        due = state.agents[PRINCIPAL].retry_at_ms
    model.say("principal", "There.")
    async with team(log, model.stream, tmp_path) as crew:
        await crew.settled()
        assert due is not None
        assert crew.organs.clock.now_ms() >= due
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("restart-continues")
async def test_a_stopped_session_stays_stopped_across_a_restart(tmp_path: Path):
    log = memory_log()
    model = ScriptedModel()
    model.say("principal", send("librarian"))
    model.say("principal", "Waiting.")
    model.say("librarian", gate := Gate())
    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        await crew.until(lambda now: len(now.runs) == 1)
        await crew.stop()
    async with team(log, model.stream, tmp_path) as crew:
        await asyncio.sleep(3600)
        assert not crew.state().runs
        assert len(crew.state().queued_for(PRINCIPAL)) == 1
        model.say("principal", "Right.")
        await crew.post("Go on.")
        assert not (await crew.settled()).busy
        assert await ends(crew) == ["interrupted", "completed"]
        assert await crew.violations() == []


class Nothing(Arguments):
    """No arguments."""


@pytest.mark.parametrize("effect", list(Effect))
@pytest.mark.requirement("crash-effects")
@pytest.mark.fault("H13")
async def test_a_call_cut_between_start_and_result_is_treated_by_its_class(
    tmp_path: Path, effect: Effect
):
    done: list[str] = []
    waiting = asyncio.Event()

    async def deed(context: ToolContext, wanted: Nothing) -> ToolOutput:
        done.append(context.call_id)
        if len(done) == 1:
            waiting.set()
            await asyncio.Event().wait()
        return ToolOutput("done")

    bash: Tool = tool(deed, Nothing, name="bash", effect=effect)
    model = ScriptedModel()
    model.say("principal", Call("bash"))
    async with team(memory_log(), model.stream, tmp_path, Setup(tools=[bash])) as crew:
        await crew.create()
        await crew.post("Go.")
        await waiting.wait()
        log = await after_crash(await crew.events())
    model.say("principal", "I see.")
    async with team(log, model.stream, tmp_path, Setup(tools=[bash])) as crew:
        await crew.settled()
        [result] = [
            one.event for one in await crew.events() if isinstance(one.event, ev.ToolFinished)
        ]
        assert len(model.requests) == 2
        if effect is Effect.IRREVERSIBLE:
            assert (len(done), result.status) == (1, "unknown")
        else:
            assert (done, result.status) == ([done[0]] * 2, "completed")
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.requirement("crash-effects")
@pytest.mark.fault("H13", "F3")
async def test_an_irreversible_call_killed_by_a_clean_stop_is_unknown_and_not_repeated(
    tmp_path: Path,
):
    log = memory_log()
    done: list[str] = []
    started = asyncio.Event()

    async def deed(context: ToolContext, wanted: Nothing) -> ToolOutput:
        done.append(context.call_id)
        started.set()
        await asyncio.Event().wait()
        return ToolOutput("done")

    bash: Tool = tool(deed, Nothing, name="bash", effect=Effect.IRREVERSIBLE)
    model = ScriptedModel()
    model.say("principal", Call("bash"))
    async with team(log, model.stream, tmp_path, Setup(tools=[bash])) as crew:
        await crew.create()
        await crew.post("Go.")
        await started.wait()
    model.say("principal", "I see.")
    async with team(log, model.stream, tmp_path, Setup(tools=[bash])) as crew:
        await crew.settled()
        [result] = [
            one.event for one in await crew.events() if isinstance(one.event, ev.ToolFinished)
        ]
        assert (len(done), result.status) == (1, "unknown")
        assert await crew.violations() == []


@pytest.mark.requirement("mail-expiry")
async def test_a_letter_that_expired_while_the_daemon_was_off_is_not_delivered(tmp_path: Path):
    log = memory_log()
    model = ScriptedModel()
    model.say("principal", gate := Gate())
    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("One.")
        await gate.reached.wait()
        await drop(crew, "principal", "quick", ttl_s=60)
    await asyncio.sleep(120)
    model.say("principal", "There.")
    async with team(log, model.stream, tmp_path) as crew:
        await crew.settled()
        shown = str(model.requests[-1].messages)
        assert "quick" not in shown
        expired = [one for one in await crew.events() if isinstance(one.event, ev.LetterExpired)]
        assert len(expired) == 1
        assert await crew.violations() == []
