"""The plug is pulled after every single commit of a team's work, and the work still ends well.

One history is lived to its end. Then, for every place at which a crash can cut its log, a new
daemon is built on what was durable, works to the end with the same model, and is audited.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Sequence
from pathlib import Path

import pytest
from typing_extensions import override

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import CallId, SessionId
from brainpilot_rt.domain.letters import LetterKind
from brainpilot_rt.domain.messages import AssistantMessage, UserMessage
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRequest
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.eventlog.port import Receipt
from brainpilot_rt.sessions.evolve import evolve
from brainpilot_rt.sessions.state import SessionState
from brainpilot_rt.testing.models import Call, Reply, ScriptedModel, Thought
from brainpilot_rt.testing.team import SESSION, LoopClock, Setup, Team, team
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, tool


class Nothing(Arguments):
    """No arguments."""


class Deeds:
    """Tools that do nothing but count what was done."""

    def __init__(self) -> None:
        self.done: Counter[tuple[str, str]] = Counter()

    def tools(self) -> list[Tool]:
        async def deed(context: ToolContext, wanted: Nothing) -> ToolOutput:
            await asyncio.sleep(1)
            self.done[context.agent, context.call_id] += 1
            return ToolOutput("done")

        return [
            tool(deed, Nothing, name="bash", effect=Effect.IRREVERSIBLE),
            tool(deed, Nothing, name="read", effect=Effect.PURE),
        ]


class Play:
    """A model that answers from what the conversation holds, so that it can be asked again."""

    def __init__(self) -> None:
        self.asked = 0

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        self.asked += 1
        model = ScriptedModel()
        model.script(request.agent, _reply(request))
        async for event in model.stream(request):
            yield event


def _reply(request: ModelRequest) -> Reply:
    said = [one for one in request.messages if isinstance(one, AssistantMessage)]
    called = {call.name for one in said for call in one.tool_calls}
    read = "\n".join(one.text for one in request.messages if isinstance(one, UserMessage))
    if request.agent == "principal":
        return _principal(called, read)
    steps: list[tuple[str, Reply]] = {
        "engineer": [
            ("bash", Reply((Call("bash"), Call("read")))),
            ("", Reply(("I tell nobody.",))),
        ],
        "librarian": [
            ("read", Reply((Thought("Hm."), Call("read")))),
            ("send_message", Reply((_letter("principal", "books found"),))),
            ("", Reply(("Delivered.",))),
        ],
    }[request.agent]
    return next(reply for name, reply in steps if name not in called)


def _principal(called: set[str], read: str) -> Reply:
    if "send_message" not in called:
        asks = [_letter(name, f"work, {name}") for name in ("librarian", "engineer")]
        return Reply((Thought("Whom do I ask?"), "I ask two.", *asks))
    if "books found" in read and "engineer ended without" in read:
        return Reply(("All ", "done."))
    return Reply(("Waiting.",))


def _letter(to: str, content: str) -> Call:
    return Call("send_message", {"to": to, "content": content})


class NotedLog(MemoryEventLog):
    """Remembers where each append ended: the places at which a crash can cut the log."""

    cuts: tuple[int, ...] = ()

    @override
    def append(
        self,
        session: SessionId,
        events: Sequence[ev.Event],
        *,
        title: str | None = None,
        busy: bool | None = None,
        receipt: Receipt | None = None,
        at_ms: int | None = None,
    ) -> Awaitable[list[ev.Recorded]]:
        if session == SESSION and events:
            self.cuts = (*self.cuts, (self.cuts or (0,))[-1] + len(events))
        return super().append(session, events, title=title, busy=busy, receipt=receipt, at_ms=at_ms)


async def finished(crew: Team) -> SessionState:
    return await crew.until(lambda state: state.seq > 0 and not state.busy)


@pytest.mark.timeout(120)
@pytest.mark.requirement("crash-nothing-lost")
async def test_a_crash_after_any_commit_loses_and_doubles_nothing(tmp_path: Path):
    first = NotedLog(clock=LoopClock())
    deeds = Deeds()
    async with team(first, Play().stream, tmp_path, Setup(tools=deeds.tools())) as crew:
        await crew.create()
        await crew.post("Go.")
        await finished(crew)
        history = await crew.events()
        assert await crew.violations() == []
        assert await outcome(crew) == ("completed", "All done.")
    assert len(first.cuts) > 20
    posted = next(n for n, one in enumerate(history, 1) if isinstance(one.event, ev.RunStarted))
    for cut in first.cuts:
        if cut >= posted:
            again, cuts = await _resume(history[:cut], tmp_path, cut)
            # Crash once more, somewhere in what the second life added.
            later = [place for place in cuts if place > cut]
            if later:
                place = later[cut % len(later)]
                await _resume(again[:place], tmp_path, place)


async def _resume(
    prefix: list[ev.Recorded], root: Path, cut: int
) -> tuple[list[ev.Recorded], tuple[int, ...]]:
    log = NotedLog(clock=LoopClock())
    await log.append(SESSION, [one.event for one in prefix], title="t", busy=True)
    deeds = Deeds()
    async with team(log, Play().stream, root, Setup(tools=deeds.tools())) as crew:
        state = await finished(crew)
        history = await crew.events()
        assert await crew.violations() == [], cut
        assert await outcome(crew) == ("completed", "All done."), cut
        assert not state.tasks, cut
        assert _replayed(history) == state, cut
    _each_letter_was_consumed_once(history)
    _nothing_stayed_open(history)
    _no_irreversible_deed_was_done_twice(prefix, deeds)
    _no_reply_was_asked_for_again(history)
    return history, log.cuts


async def outcome(crew: Team) -> tuple[str, str]:
    ends = [one.event for one in await crew.events() if isinstance(one.event, ev.HostTurnFinished)]
    [end] = ends
    return end.outcome, end.answer


def _replayed(history: list[ev.Recorded]) -> SessionState:
    state = SessionState(session=SESSION)
    for recorded in history:
        state = evolve(state, recorded)
    return state


def _each_letter_was_consumed_once(history: list[ev.Recorded]) -> None:
    consumed = Counter(
        letter_id
        for one in history
        if isinstance(one.event, ev.RunFinished)
        for letter_id in one.event.letter_ids
    )
    accepted = [one.event for one in history if isinstance(one.event, ev.LetterAccepted)]
    assert consumed == Counter(one.letter_id for one in accepted)
    kinds = Counter(one.letter.kind for one in accepted)
    assert kinds[LetterKind.TASK_DELEGATE] == 2
    assert kinds[LetterKind.RESULT_DELIVER] == 2


def _nothing_stayed_open(history: list[ev.Recorded]) -> None:
    starts: Counter[str] = Counter()
    for one in history:
        match one.event:
            case ev.TextStarted(message_id=which) | ev.ToolPlanned(call_id=which):
                starts[which] += 1
            case ev.TextFinished(message_id=which) | ev.ToolFinished(call_id=which):
                starts[which] -= 1
            case _:
                pass
    assert not +starts
    assert not -starts


def _no_irreversible_deed_was_done_twice(prefix: list[ev.Recorded], deeds: Deeds) -> None:
    effects = {
        one.event.call_id: one.event.effect
        for one in prefix
        if isinstance(one.event, ev.ToolPlanned)
    }
    started = {one.event.call_id for one in prefix if isinstance(one.event, ev.ToolStarted)}
    for (_, call_id), times in deeds.done.items():
        assert times == 1
        irreversible = effects.get(CallId(call_id)) is Effect.IRREVERSIBLE
        assert not (irreversible and call_id in started)


def _no_reply_was_asked_for_again(history: list[ev.Recorded]) -> None:
    """A reply that is in the log is never paid for twice: each agent's turns differ."""
    replies = [one.event for one in history if isinstance(one.event, ev.ModelReplied)]
    delegations = [
        call
        for one in replies
        if one.agent == "principal"
        for call in one.message.tool_calls
        if call.name == "send_message"
    ]
    assert len(delegations) == 2
