"""The daemon inside of a program: the same promises, and nothing taken from the program."""

import asyncio
import json
import logging
import signal
import threading
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from brainpilot_rt.agents.definition import AgentDefinition, Profile, RequestContext, define_agent
from brainpilot_rt.daemon.runtime import Runtime
from brainpilot_rt.daemon.session import Session
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, Conflict, FatalFault, Unavailable
from brainpilot_rt.domain.messages import UserMessage
from brainpilot_rt.domain.model_calls import ModelRequest
from brainpilot_rt.settings import BadSettings
from brainpilot_rt.testing.daemon import DaemonHome
from brainpilot_rt.testing.models import Call, Gate, ScriptedModel, Step, answering
from brainpilot_rt.tools.functions import tool

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

ANY_PORT = {"http": {"port": 0}}


def echo(request: ModelRequest) -> Step:
    """Says how many words the last message has."""
    last = request.messages[-1]
    assert isinstance(last, UserMessage)
    return f"heard {last.text}"


async def read(session: Session, after: int = 0) -> AsyncGenerator[ev.Recorded]:
    """The events that are there now."""
    head = (await session.view()).seq
    async with aclosing(session.events(after=after)) as events:
        async for recorded in events:
            yield recorded
            if recorded.seq >= head:
                return


async def test_a_question_is_answered_word_by_word(tmp_path: Path):
    words: list[str] = []
    async with Runtime(tmp_path / "data", model=answering(echo)) as runtime:
        session = await runtime.session("notes", title="Notes")
        reply = await session.ask("hello there", on_text=words.append)
        listed = await runtime.sessions()

    assert (reply.outcome, str(reply), reply.reason) == ("completed", "heard hello there", "")
    assert "".join(words) == "heard hello there"
    assert [(one.session, one.title) for one in listed] == [("notes", "Notes")]


async def test_events_are_typed_and_a_cursor_goes_on_in_another_life(tmp_path: Path):
    async with Runtime(tmp_path, model=answering(echo)) as runtime:
        session = await runtime.session("notes")
        await session.ask("one")
        first = [one async for one in read(session)]
    async with Runtime(tmp_path, model=answering(echo)) as runtime:
        session = await runtime.session("notes")
        await session.ask("two")
        second = [one async for one in read(session, after=first[-1].seq)]

    assert [one.seq for one in (*first, *second)] == list(range(1, second[-1].seq + 1))
    answers = [one.event.answer for one in second if isinstance(one.event, ev.HostTurnFinished)]
    assert answers == ["heard two"]


async def test_a_directory_has_one_runtime_and_the_second_is_told_whose_it_is(tmp_path: Path):
    async with Runtime(tmp_path, model="offline"):
        with pytest.raises(Conflict, match="in use by process") as refused:
            async with Runtime(tmp_path, model="offline"):
                pass
        assert refused.value.code == "already_owned"
    async with Runtime(tmp_path, model="offline") as runtime:
        assert await runtime.sessions() == []


async def test_a_daemon_of_its_own_process_has_its_directory_alone(tmp_path: Path):
    home = DaemonHome(tmp_path, env={"BP_OFFLINE": "1"})
    async with home.running() as daemon:
        with pytest.raises(Conflict, match=str(daemon.process.pid)):
            await Runtime(home.data_dir, model="offline").__aenter__()


async def test_a_caller_that_leaves_harms_nothing(tmp_path: Path):
    model, gate = ScriptedModel(), Gate()
    model.say("principal", "Done", gate, ".")
    async with Runtime(tmp_path, model=model.stream) as runtime:
        session = await runtime.session("notes")
        asking = asyncio.create_task(session.ask("go"))  # noqa: TID251 - a caller of its own
        await gate.reached.wait()
        asking.cancel()
        await asyncio.wait([asking])
        gate.open()
        async with aclosing(session.events()) as events:
            async for recorded in events:
                if isinstance(recorded.event, ev.HostTurnFinished):
                    assert (recorded.event.outcome, recorded.event.answer) == ("completed", "Done.")
                    break
    assert model.abandoned == []


async def test_who_waits_when_it_closes_is_told_and_the_work_goes_on_at_the_next_opening(
    tmp_path: Path,
):
    model, gate = ScriptedModel(), Gate()
    model.say("principal", gate)
    async with Runtime(tmp_path, model=model.stream) as runtime:
        session = await runtime.session("notes")
        asking = asyncio.create_task(session.ask("go on"))  # noqa: TID251 - a caller of its own
        await gate.reached.wait()
    with pytest.raises(Unavailable, match="closed before the answer"):
        await asking
    with pytest.raises(Unavailable):
        await session.ask("still there?")
    with pytest.raises(Unavailable, match="not open"):
        await runtime.session("other")
    async with Runtime(tmp_path, model=answering(echo)) as runtime:
        session = await runtime.session("notes")
        async with aclosing(session.events()) as events:
            answers = [
                recorded.event.answer
                async for recorded in _upto_answer(events)
                if isinstance(recorded.event, ev.HostTurnFinished)
            ]
    assert answers == ["heard go on"]


async def _upto_answer(events: AsyncGenerator[ev.Recorded]) -> AsyncGenerator[ev.Recorded]:
    async for recorded in events:
        yield recorded
        if isinstance(recorded.event, ev.HostTurnFinished):
            return


async def test_a_question_of_an_agent_is_answered_by_the_program(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", Call("ask_user", {"question": "Which?", "options": ["red", "white"]}))
    model.say("principal", "As you say.")
    asked: list[ev.QuestionAsked] = []

    async def choose(question: ev.QuestionAsked) -> str:
        asked.append(question)
        return question.options[1]

    async with Runtime(tmp_path, model=model.stream) as runtime:
        session = await runtime.session()
        reply = await session.ask("choose", on_question=choose)
        assert await session.answer(asked[0].request_id, "red") is False
    assert str(reply) == "As you say."
    assert "white" in model.requests[-1].messages[-1].model_dump_json()


async def test_a_stop_and_a_failing_model_are_outcomes_with_a_reason(tmp_path: Path):
    model = ScriptedModel()
    gate = model.hang("principal")
    model.say("principal", FatalFault("the key is wrong", code="auth"))
    async with Runtime(tmp_path, model=model.stream) as runtime:
        session = await runtime.session("notes")
        asking = asyncio.create_task(session.ask("go"))  # noqa: TID251 - a caller of its own
        await gate.reached.wait()
        assert await session.interrupt() is True
        assert (await asking).outcome == "interrupted"
        failed = await session.ask("again")
        assert await session.interrupt("principal") is False
    assert (failed.outcome, failed.text) == ("failed", "")
    assert "the key is wrong" in failed.reason


async def test_it_listens_when_asked_to_and_its_traces_are_gone_afterwards(tmp_path: Path):
    def answered(url: str) -> dict[str, object]:
        token = (tmp_path / "token").read_text(encoding="ascii").strip()
        request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.loads(response.read())

    async with Runtime(tmp_path, model="offline", serve=True, settings=ANY_PORT) as runtime:
        await runtime.session("notes")
        assert runtime.url is not None
        sessions = await asyncio.to_thread(answered, f"{runtime.url}/sessions")
        assert (tmp_path / "daemon.json").exists()
    assert "notes" in json.dumps(sessions)
    assert runtime.url is None
    assert not (tmp_path / "daemon.json").exists()


async def test_signals_log_handlers_and_umask_stay_the_programs_own(tmp_path: Path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        async with Runtime(tmp_path, model="offline"):
            within = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    finally:
        logging.getLogger().removeHandler(handler)
    assert within == before
    assert handler.filters == []


async def test_members_of_the_program_get_letters_and_sessions_without_it_know_them_as_experts(
    tmp_path: Path,
):
    pilot = define_agent(id="pilot", system="You know the tides.", description="knows the tides")
    async with Runtime(tmp_path, agents=[pilot], model=answering(echo)) as runtime:
        session = await runtime.session("notes")
        reply = await session.ask("when?", agent="pilot")
        team = {one.name: (one.role, one.description) for one in (await session.view()).agents}
    assert str(reply) == "heard when?"
    assert ("pilot", "knows the tides") in team.values()
    async with Runtime(tmp_path, model=answering(echo)) as runtime:
        session = await runtime.session("notes")
        assert str(await session.ask("and now?", agent="pilot")) == "heard and now?"


async def test_a_profile_that_fails_fails_its_run_and_nothing_else(tmp_path: Path):
    def broken(context: RequestContext) -> AgentDefinition:
        raise KeyError(context.session)

    agents = [Profile("pilot", broken)]
    async with Runtime(tmp_path, agents=agents, model=answering(echo)) as runtime:
        session = await runtime.session("notes")
        failed = await session.ask("when?", agent="pilot")
        assert str(await session.ask("still there?")) == "heard still there?"
    assert (failed.outcome, failed.reason) == ("failed", "internal error: KeyError")


async def test_sessions_are_bound_to_the_model_that_was_named(tmp_path: Path):
    async with Runtime(tmp_path, model="openai:gpt-x:latest") as runtime:
        view = await (await runtime.session("notes")).view()
    assert (view.provider_id, view.model_id) == ("openai", "gpt-x:latest")


async def test_a_shutdown_over_http_ends_it_for_everybody(tmp_path: Path):
    async with Runtime(tmp_path, model="offline", serve=True, settings=ANY_PORT) as runtime:
        session = await runtime.session("notes")
        following = asyncio.create_task(_all(session))  # noqa: TID251 - a reader of its own
        token = (tmp_path / "token").read_text(encoding="ascii").strip()
        home = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        url = runtime.url

        def call(method: str, path: str, body: bytes | None = None) -> bytes:
            request = urllib.request.Request(f"{url}{path}", body, home, method=method)
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.read()

        epoch = json.loads(await asyncio.to_thread(call, "GET", "/metrics"))["idleEpoch"]
        body = json.dumps({"ifIdleEpoch": epoch}).encode()
        await asyncio.to_thread(call, "POST", "/shutdown", body)
        assert await following == 2
        with pytest.raises(Unavailable):
            await runtime.session("late")


async def _all(session: Session) -> int:
    """How many events there are until they end."""
    async with aclosing(session.events()) as events:
        return len([one async for one in events])


async def test_a_function_that_does_not_return_keeps_nobody_waiting_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    begun, free = threading.Event(), threading.Event()

    @tool
    def hang() -> str:
        """Wait for the test."""
        begun.set()
        free.wait()
        return "at last"

    runtime = await Runtime(
        tmp_path, tools=[hang], model=answering(lambda _request: Call("hang"))
    ).__aenter__()
    session = await runtime.session("notes")
    await session.post("go")
    await asyncio.to_thread(begun.wait)
    with monkeypatch.context() as patch:
        patch.setattr("brainpilot_rt.daemon.runtime.CLOSE_S", 0.2)
        with pytest.raises(Unavailable, match="does not return"):
            await runtime.__aexit__(None)
    free.set()
    await runtime.__aexit__(None)  # now to the end
    async with Runtime(tmp_path, model=answering(echo)) as again:
        assert [one.session for one in await again.sessions()] == ["notes"]


async def test_what_is_remembered_is_there_in_the_next_life(tmp_path: Path):
    async with Runtime(tmp_path, model="offline") as runtime:
        session = await runtime.session("notes")
        item = await session.remember("The user wants short answers.", block="human", pinned=True)
    async with Runtime(tmp_path, model="offline") as runtime:
        session = await runtime.session("notes")
        memory = await session.memory()
        assert [one.content for one in memory.items("facts")] == ["The user wants short answers."]
        await session.forget(item.id)
        assert not (await session.memory()).items("facts")


async def test_wrong_settings_and_wrong_names_are_errors_before_anything_is_touched(tmp_path: Path):
    wanted = tmp_path / "data"
    with pytest.raises(BadSettings, match="no group of settings 'thinkin'"):
        await Runtime(wanted, settings={"thinkin": {}}).__aenter__()
    with pytest.raises(BadSettings, match="plan_steps_max"):
        await Runtime(wanted, settings={"thinking": {"plan_steps_max": 0}}).__aenter__()
    with pytest.raises(ValueError, match="provider:model"):
        Runtime(wanted, model="gpt")
    assert not wanted.exists()
    async with Runtime(wanted, model="offline") as runtime:
        with pytest.raises(BadRequest):
            await runtime.session("../up")
        with pytest.raises(BadRequest):
            await runtime.session("x", workspace=tmp_path / "nowhere")
        with pytest.raises(Conflict, match="entered once"):
            await runtime.__aenter__()


async def test_whoever_gives_up_waiting_for_the_start_leaves_the_directory_free(tmp_path: Path):
    starting = asyncio.create_task(Runtime(tmp_path, model="offline").__aenter__())  # noqa: TID251 - to be cancelled
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    async with Runtime(tmp_path, model="offline") as runtime:
        assert await runtime.sessions() == []


async def test_an_error_of_the_program_closes_it_and_comes_out_as_it_is(tmp_path: Path):
    with pytest.raises(KeyError, match="mine"):
        async with Runtime(tmp_path, model="offline"):
            raise KeyError("mine")
    async with Runtime(tmp_path, model="offline") as runtime:
        assert await runtime.sessions() == []


async def test_a_directory_that_vanishes_ends_it_and_says_so(tmp_path: Path):
    runtime = await Runtime(tmp_path / "data", model=answering(echo)).__aenter__()
    session = await runtime.session("notes")
    (tmp_path / "data").rename(tmp_path / "gone")
    async with aclosing(session.events()) as events:
        async for _ in events:
            pass  # until it ends
    with pytest.raises(Unavailable):
        await session.post("anybody?")
    with pytest.raises(Unavailable, match="removed or replaced"):
        await runtime.__aexit__(None)


async def test_followers_of_a_deleted_session_come_to_their_end(tmp_path: Path):
    async with Runtime(tmp_path, model="offline", serve=True, settings=ANY_PORT) as runtime:
        session = await runtime.session("notes")
        token = (tmp_path / "token").read_text(encoding="ascii").strip()

        def delete() -> None:
            request = urllib.request.Request(
                f"{runtime.url}/sessions/notes",
                method="DELETE",
                headers={"authorization": f"Bearer {token}"},
            )
            urllib.request.urlopen(request, timeout=20).close()

        seen: list[str] = []
        async with aclosing(session.events()) as events:
            async for recorded in events:
                if not seen:
                    await asyncio.to_thread(delete)
                seen.append(recorded.event.type)
        assert seen[0] == "session_created"
