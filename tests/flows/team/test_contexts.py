"""Contexts: what a run reads is made of live files and memory, anew for every turn."""

import asyncio
from pathlib import Path

import pytest

from brainpilot_rt.context.assembly import Assembler
from brainpilot_rt.context.compaction import SYSTEM
from brainpilot_rt.context.conversation import fold
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import FatalFault
from brainpilot_rt.domain.ids import USER
from brainpilot_rt.domain.memory import Draft
from brainpilot_rt.domain.messages import ToolResultMessage, UserMessage
from brainpilot_rt.domain.model_calls import AttemptFailed, ModelRequest
from brainpilot_rt.domain.thinking import ContextSection
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.settings import AgentSettings
from brainpilot_rt.testing.models import Call, Gate, ScriptedModel
from brainpilot_rt.testing.team import SESSION, Setup, Team, team
from tests.flows.team.moves import memory_log

LOOK = Call("list_agents", {})
SMALL = Setup(agents=AgentSettings(context_chars_max=4_000))


async def contexts(crew: Team) -> list[ev.ContextAssembled]:
    return [one.event for one in await crew.events() if isinstance(one.event, ev.ContextAssembled)]


def section(context: ev.ContextAssembled, name: str) -> ContextSection | None:
    return next((one for one in context.sections if one.name == name), None)


def tree(root: Path) -> Path:
    return root / "data" / "workspaces" / SESSION


def summaries(model: ScriptedModel) -> list[ModelRequest]:
    return [one for one in model.requests if one.system == SYSTEM]


@pytest.mark.requirement("context")
async def test_a_file_and_a_fact_changed_during_a_turn_are_read_in_the_next(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", gate := Gate(), LOOK)
    model.say("principal", "Done.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        (tree(tmp_path) / "AGENTS.md").write_text("Write short sentences.")
        await crew.post("Go.")
        await gate.reached.wait()
        (tree(tmp_path) / "AGENTS.md").write_text("Write long sentences.")
        await crew.organs.memories.remember(
            SESSION,
            Draft(section="facts", content="The user is Ada.", agent=USER, block="human"),
        )
        gate.open()
        await crew.settled()
        first, second = (request.system for request in model.requests)
        assert "short" in first
        assert "Ada" not in first
        assert "long" in second
        assert "short" not in second
        assert "The user is Ada." in second
        one, two = await contexts(crew)
        assert section(one, "memory") is None
        known = section(two, "memory")
        assert known is not None
        assert (known.items, len(known.item_ids), known.budget) == (1, 1, 1200)


@pytest.mark.requirement("context")
async def test_a_text_is_stored_once_and_named_by_its_digest_after_that(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", LOOK)
    model.say("principal", "One.")
    model.say("principal", "Two.")
    log = memory_log()
    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.settled()
        first, second = await contexts(crew)
        personas = [section(first, "persona"), section(second, "persona")]
        assert [one and one.text is not None for one in personas] == [True, False]
        assert len({one and one.digest for one in personas}) == 1
        shown = await crew.backend.turns.context(SESSION, 2)
        texts = {one["name"]: one["text"] for one in shown["sections"]}
        assert "A test." in texts["persona"]
    async with team(log, model.stream, tmp_path) as crew:
        await crew.post("Again.")
        await crew.settled()
        *_, third = await contexts(crew)
        again = section(third, "persona")
        assert again is not None
        assert again.text is not None  # another life of the daemon
        listed = await crew.backend.turns.recent(SESSION, 2)
        assert (listed["total"], [one["n"] for one in listed["turns"]]) == (3, [2, 3])
        shown = await crew.backend.turns.context(SESSION, "latest")
        assert (shown["n"], shown["agent"], shown["total"]) == (3, "principal", 3)


@pytest.mark.requirement("context")
async def test_what_nobody_can_read_is_said_and_ends_nothing(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", "Done.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        (tree(tmp_path) / "SOUL.md").symlink_to("/etc/passwd")
        (tree(tmp_path) / "reference").write_text("not a folder")
        await crew.post("Go.")
        await crew.settled()
        [context] = await contexts(crew)
        soul, reference = section(context, "soul"), section(context, "reference")
        assert soul is not None
        assert soul.why
        assert soul.tokens == 0
        assert reference is None or reference.why
        assert "root:" not in model.requests[0].system


@pytest.mark.requirement("context")
async def test_a_model_that_fails_is_told_in_one_line_until_it_answers(tmp_path: Path):
    model = ScriptedModel()
    attempt = AttemptFailed(attempt=1, attempts_max=2, delay_s=0.1, reason="too busy")
    model.say("principal", attempt, FatalFault("too busy"))
    model.say("principal", "Back.")
    model.say("principal", "Well.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        for text in ("One.", "Two.", "Three."):
            await crew.post(text)
            await crew.settled()
        told = [section(context, "heartbeat") for context in await contexts(crew)]
        assert [one is not None for one in told] == [False, True, False]
        assert "Degraded: the model fails: too busy" in model.requests[1].system


@pytest.mark.requirement("compaction")
async def test_a_long_conversation_is_compacted_and_stays_so_after_a_restart(tmp_path: Path):
    model = ScriptedModel()
    log = memory_log()
    for number in range(8):
        model.say("principal", f"{number} " + "x" * 500)
    async with team(log, model.stream, tmp_path, SMALL) as crew:
        await crew.create()
        for number in range(3):
            await crew.post(f"Question {number}.")
            await crew.settled()
        for number in range(3, 7):
            await crew.post(f"Question {number}. " + "y" * 200)
            await crew.settled()
        compacted = [
            one.event
            for one in await crew.events()
            if isinstance(one.event, ev.ConversationCompacted)
        ]
        assert len(compacted) == 1
        assert compacted[0].chars_after < compacted[0].chars_before * 0.9
        [asked] = summaries(model)
        assert "Question 0." in str(asked.messages[0])
        after = model.requests[model.requests.index(asked) + 1]
        text = "\n".join(one.text for one in after.messages if isinstance(one, UserMessage))
        assert "summary" in text
        assert compacted[0].summary in text
        assert "Question 0." not in text
        paid = [one.event for one in await crew.events() if isinstance(one.event, ev.ModelAsked)]
        assert [one.purpose for one in paid] == ["compact"]
        messages = (await crew.organs.conversations.of(SESSION, after.agent)).messages()
    async with team(log, model.stream, tmp_path, SMALL) as crew:
        again = (await crew.organs.conversations.of(SESSION, after.agent)).messages()
        assert again == messages


@pytest.mark.parametrize(
    ("said", "code"),
    [("z" * 9_000, "no_room_freed"), ("", "empty_summary"), (None, "model_failed")],
)
@pytest.mark.requirement("compaction")
async def test_a_compaction_that_frees_nothing_is_tried_twice_and_the_run_goes_on(
    tmp_path: Path, said: str | None, code: str
):
    model = ScriptedModel()
    model.say("principal", "x" * 2_000)
    model.say("principal", "x" * 2_000)

    def refuse() -> None:
        model.say("principal", FatalFault("no model") if said is None else said)

    refuse()
    model.say("principal", LOOK)
    refuse()
    model.say("principal", LOOK)
    model.say("principal", "Done.")
    async with team(memory_log(), model.stream, tmp_path, SMALL) as crew:
        await crew.create()
        for text in ("One.", "Two.", "Three."):
            await crew.post(text)
            await crew.settled()
        failed = [
            one.event for one in await crew.events() if isinstance(one.event, ev.CompactionFailed)
        ]
        assert [(one.code, one.attempt) for one in failed] == [(code, 1), (code, 2)]
        assert await answers(crew) == ["x" * 2_000, "x" * 2_000, "Done."]


async def answers(crew: Team) -> list[str]:
    return [
        one.event.answer
        for one in await crew.events()
        if isinstance(one.event, ev.HostTurnFinished)
    ]


@pytest.mark.requirement("context")
async def test_what_is_no_longer_in_the_window_is_remembered_for_the_model(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", "The key is under the red stone. " + "x" * 3_000)
    model.say("principal", "y" * 3_000)
    model.say("principal", FatalFault("no summary today"))
    model.say("principal", "Done.")
    async with team(memory_log(), model.stream, tmp_path, SMALL) as crew:
        await crew.create()
        for text in ("Where is the key?", "Go on.", "And the key?"):
            await crew.post(text)
            await crew.settled()
            await asyncio.sleep(1)  # later
        first, *_, last = await contexts(crew)
        assert section(first, "messages") is None
        shown, conversation = section(last, "messages"), section(last, "conversation")
        assert conversation is not None
        assert conversation.left_out == 2
        assert shown is not None
        assert (shown.items, shown.left_out) == (2, 0)
        assert "The key is under the red stone." in model.requests[-1].system


def pairs_are_whole(request: ModelRequest) -> bool:
    results = [one.call_id for one in request.messages if isinstance(one, ToolResultMessage)]
    calls = [
        call.call_id
        for one in request.messages
        if one.role == "assistant"
        for call in one.tool_calls
    ]
    return results == calls


@pytest.mark.requirement("compaction")
async def test_calls_keep_their_results_when_a_run_of_many_turns_is_compacted(tmp_path: Path):
    model = ScriptedModel()
    for number in range(30):
        model.say("principal", f"{number} " + "x" * 300, Call("list_agents", {"number": number}))
    model.say("principal", "Done.")
    log: MemoryEventLog = memory_log()
    async with team(log, model.stream, tmp_path, SMALL) as crew:
        await crew.create()
        await crew.post("The request, word for word.")
        await crew.settled()
        assert all(pairs_are_whole(request) for request in model.requests)
        assert summaries(model)
        last = model.requests[-1]
        assert "The request, word for word." in str(last.messages)
        events = await crew.events()
        kept = (await crew.organs.conversations.of(SESSION, last.agent)).messages()
    assert fold(events, last.agent) == kept
    for end in range(len(events)):  # wherever a crash cuts the log, what is read back is whole
        messages = Assembler().assemble("", fold(events[:end], last.agent)).messages
        assert pairs_are_whole(last.model_copy(update={"messages": messages}))
