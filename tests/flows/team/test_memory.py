"""Memory over a whole team: it outlives agents and restarts, and never holds up a run."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.domain.memory import Draft
from brainpilot_rt.domain.messages import AssistantMessage
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRequest
from brainpilot_rt.domain.thinking import COMPACT_HEAD
from brainpilot_rt.models import offline
from brainpilot_rt.settings import SessionLimits
from brainpilot_rt.testing.models import Call, Gate, Reply, ScriptedModel
from brainpilot_rt.testing.team import SESSION, LoopClock, Setup, Stream, Team, team
from tests.flows.team.moves import memory_log, notices, send
from tests.flows.team.test_crash_prefixes import NotedLog

LIBRARIAN = AgentName("librarian")
FINDING = {
    "claim": "Flutter begins at 20 Hz.",
    "path": "notes.txt",
    "start_line": 2,
    "end_line": 2,
    "quote": "flutter begins at 20 Hz",
    "confidence": 4.2,
}


async def told(crew: Team, tool: str) -> list[str]:
    return [
        one.event.content
        for one in await crew.events()
        if isinstance(one.event, ev.ToolFinished) and one.event.name == tool
    ]


def notes(crew: Team) -> None:
    root = crew.organs.workspace(SESSION).root
    root.mkdir(parents=True, exist_ok=True)
    (root / "notes.txt").write_text("Tunnel 3.\nIn it, flutter begins at 20 Hz.\n")


@pytest.mark.requirement("memory")
async def test_a_finding_outlives_its_agent_its_session_in_memory_and_a_restart(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("librarian"))
    model.say("principal", "Waiting.")
    model.say("librarian", Call("record_finding", FINDING))
    model.say("librarian", send("principal", "found"))
    model.say("librarian", "Done.")
    model.say("principal", Call("destroy_agent", {"name": "librarian"}))
    model.say("principal", Call("recall", {"query": "flutter"}))
    model.say("principal", "At 20 Hz.")
    log = memory_log()
    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        notes(crew)
        await crew.post("When does flutter begin?")
        await crew.settled()
        [item] = await crew.organs.memories.items(SESSION, "findings")
        assert item.finding is not None
        assert (item.finding.verified, item.finding.confidence) == (True, 1.0)
        assert item.agent == "librarian"
        assert "librarian" not in crew.state().queued_for(LIBRARIAN)
        assert any("Flutter begins at 20 Hz." in one for one in await told(crew, "recall"))
        await crew.backend.evict_session(SESSION)
        assert await crew.organs.memories.items(SESSION, "findings") == (item,)
    async with team(log, model.stream, tmp_path) as crew:
        assert await crew.organs.memories.items(SESSION, "findings") == (item,)
        memory = await crew.organs.memories.of(SESSION)
        said = [one.content for one in memory.items("messages", AgentName("principal"))]
        assert said[0] == "user: When does flutter begin?"
        assert said[-1] == "assistant: At 20 Hz."


@pytest.mark.requirement("evidence")
async def test_a_quote_that_is_not_in_its_lines_is_kept_as_not_verified(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", Call("record_finding", {**FINDING, "start_line": 1, "end_line": 1}))
    model.say("principal", Call("record_finding", {**FINDING, "path": "none.txt"}))
    model.say("principal", "Done.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        notes(crew)
        await crew.post("Go.")
        await crew.settled()
        items = await crew.organs.memories.items(SESSION, "findings")
        assert [one.finding and one.finding.verified for one in items] == [False, False]
        assert all("not verified" in one for one in await told(crew, "record_finding"))
        assert "no such text file" in items[1].content


@pytest.mark.requirement("memory")
async def test_a_full_section_is_said_to_the_model_and_the_run_goes_on(tmp_path: Path):
    model = ScriptedModel()
    fact = {"section": "facts", "content": "likes tea", "block": "human"}
    model.say("principal", Call("remember", fact))
    model.say("principal", Call("remember", {**fact, "content": "likes milk"}))
    model.say("principal", "Noted.")
    setup = Setup(limits=SessionLimits(facts_human_max=1))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await crew.post("Remember.")
        await crew.settled()
        kept, full = await told(crew, "remember")
        assert kept.startswith("Kept in facts as ")
        assert "1 of 1 facts in block human" in full
        assert [one.event.type for one in await crew.events()].count("memory_refused") == 1


@pytest.mark.requirement("memory")
async def test_an_agent_forgets_what_is_its_own_and_lists_what_there_is(tmp_path: Path):
    model = ScriptedModel()
    user = AgentName("user")
    log = memory_log()
    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        tea = Draft(section="facts", content="likes tea", agent=user)
        fact = await crew.organs.memories.remember(SESSION, tea)
        note = Draft(section="lessons", content="note", agent=AgentName("principal"))
        own = await crew.organs.memories.remember(SESSION, note)
        model.say(
            "principal", *(Call("forget", {"item_id": one}) for one in (fact.id, own.id, "x"))
        )
        model.say("principal", Call("recall", {}))
        model.say("principal", Call("recall", {"section": "facts"}))
        model.say("principal", Call("recall", {"query": "nothing like it"}))
        model.say("principal", "Done.")
        await crew.post("Tidy up.")
        await crew.settled()
        forgot = await told(crew, "forget")
        assert f"Item {own.id} is forgotten." in forgot
        assert "There is no item x that can be forgotten." in forgot
        assert any("only they may forget it" in one for one in forgot)
        counted, facts, nothing = await told(crew, "recall")
        assert "facts: 1 items" in counted
        assert "lessons" not in counted
        assert facts == f"### facts · {fact.id} · by user\n  likes tea"
        assert nothing == "Nothing is remembered that fits."


async def seen(crew: Team, kind: str, count: int = 1) -> None:
    """Wait until the log holds so many events of this type."""
    arrived = asyncio.Event()
    undo = crew.organs.hub.listen(lambda _item: arrived.set())
    while sum(one.event.type == kind for one in await crew.events()) < count:
        await arrived.wait()
        arrived.clear()
    undo()


def summarising(model: ScriptedModel, answers: ScriptedModel) -> Stream:
    """Requests for a summary are answered by a model of their own."""

    def stream(request: ModelRequest) -> AsyncIterator[ModelEvent]:
        asked = request.system.startswith(COMPACT_HEAD)
        return (answers if asked else model).stream(request)

    return stream


def overflowing(model: ScriptedModel, count: int = 10) -> None:
    """A run that writes more lessons than the section holds."""
    for number in range(count):
        lesson = {"section": "lessons", "content": f"lesson {number} ".ljust(7_900, ".")}
        model.say("principal", Call("remember", lesson))
    model.say("principal", "Learnt.")


@pytest.mark.requirement("memory")
async def test_evicted_lessons_are_summarised_beside_the_run(tmp_path: Path):
    model, answers = ScriptedModel(), ScriptedModel()
    overflowing(model)
    answers.say("*", gate := Gate(), "All lessons in short.")
    async with team(memory_log(), summarising(model, answers), tmp_path) as crew:
        await crew.create()
        await crew.post("Learn.")
        await gate.reached.wait()
        await crew.settled()
        assert len(await crew.organs.memories.items(SESSION, "lessons")) < 9
        gate.open()
        await seen(crew, "memory_summarised")
        lessons = await crew.organs.memories.items(SESSION, "lessons")
        assert lessons[0].content == "All lessons in short."
        kinds = [one.event.type for one in await crew.events()]
        assert kinds[kinds.index("memory_summarised") - 1] == "model_asked"
        asked = answers.requests[0]
        assert asked.tools == ()
        assert "lesson 0" in str(asked.messages[0])


@pytest.mark.requirement("memory")
async def test_what_is_evicted_during_a_summary_is_summarised_after_it(tmp_path: Path):
    model, answers = ScriptedModel(), ScriptedModel()
    overflowing(model, count=20)
    answers.say("*", gate := Gate(), "Summary 0.")
    for number in range(1, 4):
        answers.say("*", f"Summary {number}.")
    async with team(memory_log(), summarising(model, answers), tmp_path) as crew:
        await crew.create()
        await crew.post("Learn.")
        await gate.reached.wait()
        await crew.settled()
        gate.open()
        await seen(crew, "memory_summarised", count=4)
        evicted = [
            one.event for one in await crew.events() if isinstance(one.event, ev.MemoryEvicted)
        ]
        summarised = [
            one.event for one in await crew.events() if isinstance(one.event, ev.MemorySummarised)
        ]
        assert [one.item_ids for one in summarised] == [one.item_ids for one in evicted]
        assert len(evicted) == 4


@pytest.mark.requirement("memory")
async def test_the_offline_model_summarises_what_was_evicted(tmp_path: Path):
    model = ScriptedModel()
    overflowing(model)

    def stream(request: ModelRequest) -> AsyncIterator[ModelEvent]:
        asked = request.system.startswith(COMPACT_HEAD)
        return offline.stream(request) if asked else model.stream(request)

    async with team(memory_log(), stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Learn.")
        await crew.settled()
        await seen(crew, "memory_summarised")
        lessons = await crew.organs.memories.items(SESSION, "lessons")
        assert "lesson 0" in lessons[0].content
        assert len(lessons[0].content) < 8_000


@pytest.mark.requirement("memory")
async def test_a_summary_that_fails_or_is_longer_is_given_up_and_said(tmp_path: Path):
    for number, reply in enumerate((Reply(("x" * 40_000,)), Reply(("",)), None)):
        model, answers = ScriptedModel(), ScriptedModel()
        overflowing(model)
        if reply is not None:
            answers.script("*", reply)
        folder = tmp_path / str(number)
        async with team(memory_log(), summarising(model, answers), folder) as crew:
            await crew.create()
            await crew.post("Learn.")
            await crew.settled()
            await seen(crew, "notice_posted")
            assert await notices(crew, "memory_not_summarised")
            assert "memory_summarised" not in [one.event.type for one in await crew.events()]


@pytest.mark.requirement("memory")
async def test_a_memory_is_read_once_however_many_ask_at_once(tmp_path: Path):
    log = memory_log()
    async with team(log, ScriptedModel().stream, tmp_path) as crew:
        await crew.create()
    async with team(log, ScriptedModel().stream, tmp_path) as crew:
        memories = crew.organs.memories
        async with asyncio.TaskGroup() as group:
            found = [group.create_task(memories.of(SESSION)) for _ in range(9)]
        assert len({id(one.result()) for one in found}) == 1
        await crew.backend.delete_session(SESSION)
        with pytest.raises(NotFound):
            await memories.of(SESSION)


@pytest.mark.requirement("memory")
async def test_many_may_ask_for_a_memory_while_it_is_read_and_miss_nothing(tmp_path: Path):
    log = memory_log()
    async with team(log, ScriptedModel().stream, tmp_path) as crew:
        await crew.create()
        memories = crew.organs.memories
        user = AgentName("user")

        async def keep(number: int) -> None:
            await memories.remember(
                SESSION, Draft(section="facts", content=f"fact {number}", agent=user)
            )

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(keep(number))
        memory = await memories.of(SESSION)
        assert len(memory.items("facts")) == 20
        assert len(crew.state().memory["facts", AgentName("")]) == 20


def keeping(request: ModelRequest) -> Reply:
    """What to do next, by what the conversation holds: so that it can be asked again."""
    said = [one for one in request.messages if isinstance(one, AssistantMessage)]
    called = {call.name for one in said for call in one.tool_calls}
    if "remember" not in called:
        lesson = {"section": "lessons", "content": "Measure twice."}
        return Reply((Call("remember", lesson), Call("record_finding", FINDING)))
    return Reply(("Kept.",))


@pytest.mark.timeout(120)
@pytest.mark.requirement("memory")
async def test_a_crash_after_any_commit_keeps_everything_once(tmp_path: Path):
    async def stream(request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        model = ScriptedModel()
        model.script(request.agent, keeping(request))
        async for event in model.stream(request):
            yield event

    first = NotedLog(clock=LoopClock())
    async with team(first, stream, tmp_path) as crew:
        await crew.create()
        notes(crew)
        await crew.post("Go.")
        await crew.settled()
        history = [one.event for one in await crew.events()]
    started = next(at for at, one in enumerate(history, 1) if isinstance(one, ev.RunStarted))
    for cut in (one for one in first.cuts if one >= started):
        log = memory_log()
        await log.append(SESSION, history[:cut], title="t", busy=True)
        async with team(log, stream, tmp_path) as crew:
            await crew.settled()
            for section in ("lessons", "findings"):
                assert len(await crew.organs.memories.items(SESSION, section)) == 1, cut
            assert len(crew.state().memory) == 2
