"""What an agent says from one message to the moment when it is somebody else's turn.

That moment is the end of the host turn, a call the caller has to run, or a question. A talk hears
the session from before the message is posted, so nothing of the answer is missed; what it hears is
kept within a bound, and a reader too slow for it is told so.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from decimal import Decimal
from typing import Final

from brainpilot_rt.aiokit.broadcast import Lagged, Subscription
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import (
    BadRequest,
    BudgetExceeded,
    Conflict,
    FatalFault,
    NotFound,
    Unavailable,
)
from brainpilot_rt.domain.ids import NAME, PRINCIPAL, UUID, AgentName, CallId, SessionId
from brainpilot_rt.domain.messages import ToolCall
from brainpilot_rt.domain.model_calls import StopReason
from brainpilot_rt.domain.usage import NO_USAGE, Usage, add_cost
from brainpilot_rt.server.hearing import Item, hearing, of_session
from brainpilot_rt.server.ports import Backend, Posted
from brainpilot_rt.server.wires.openai import End, Piece

_UNPAID: Final = frozenset({"budget_exhausted", "budget_exceeded", "agent_suspended"})


async def batches(heard: Subscription[Item]) -> AsyncGenerator[list[Item], None]:
    """What is heard, as it comes. `Unavailable` when the reader fell too far behind."""
    try:
        while await heard.ready():
            yield heard.take()
    except Lagged:
        raise Unavailable("this reader is too slow for what is said", code="lagged") from None


class Talk:
    """One exchange with the agent of a session."""

    def __init__(self, backend: Backend, session: SessionId, parallel_max: int) -> None:
        """`parallel_max`: calls that run at the same time."""
        self._backend = backend
        self._parallel_max = parallel_max
        self._session = session
        self._agent = AgentName("")
        self._heard = ("", 0)
        """Id of the text that was heard last, and how many characters of it."""
        self._open: dict[CallId, ToolCall] = {}
        self._names: dict[CallId, str] = {}
        self._custom: frozenset[str] = frozenset()
        """Names of the caller's tools."""
        self._running: set[CallId] = set()
        """Calls of them that have begun and have no result yet."""
        self._host = ""
        self._took: tuple[Usage, Decimal | None] = (NO_USAGE, Decimal(0))
        self._failure = ""

    async def say(self, post: Callable[[], Awaitable[Posted]]) -> AsyncGenerator[Piece, None]:
        """Say something by `post`, then give all that is answered.

        Who speaks instead of bringing results does not have them: the calls end as failed.
        """
        await self._look()
        for call_id in self._open:
            with suppress(Conflict):
                await self._answer(call_id, "The caller went on without running this.", failed=True)
        self._open.clear()
        self._running.clear()
        with hearing(self._backend, of_session(self._session)) as heard:
            self._host = (await post()).host_run_id
            async for piece in self._listen(heard):
                yield piece

    async def bring(self, results: Mapping[CallId, str]) -> AsyncGenerator[Piece, None]:
        """Bring results of calls, then give what the agent makes of them."""
        with hearing(self._backend, of_session(self._session)) as heard:
            await self._look()
            brought = 0
            for call_id, content in results.items():
                with suppress(Conflict):  # it has its result: this request was sent before
                    await self._answer(call_id, content)
                    brought += 1
            await self._look()
            if self._waits():
                yield self._end(StopReason.TOOL_USE)
                return
            if not brought and not self._host:
                async for piece in self._said_before():
                    yield piece
                return
            async for piece in self._listen(heard):
                yield piece

    # --- where it stands --------------------------------------------------------------------

    async def _look(self) -> None:
        """Take from the session what is under way."""
        view = await self._backend.view(self._session)
        self._agent = view.agent or PRINCIPAL
        self._open = {
            one.call_id: ToolCall(call_id=one.call_id, name=one.name, arguments=dict(one.arguments))
            for one in view.client_calls
        }
        self._host = view.host_run_id or ""
        self._custom = frozenset(view.labels.get("custom_tools", ()))
        ours = next((one for one in view.agents if one.name == self._agent), None)
        active = ours.active_tools if ours is not None else ()
        self._running = {one.call_id for one in active if one.name in self._custom}

    async def _answer(self, call_id: CallId, content: str, *, failed: bool = False) -> None:
        approvals = self._backend.approvals
        await approvals.answer_call(self._session, call_id, content, is_error=failed)

    async def _said_before(self) -> AsyncGenerator[Piece, None]:
        """The answer there is, for a request that is made again after it was given."""
        known = await self._backend.log.read_back(
            self._session, limit=1, types=frozenset({"host_turn_finished"})
        )
        for recorded in known:
            if isinstance(recorded.event, ev.HostTurnFinished):
                yield recorded.event.answer
        yield self._end(StopReason.END)

    def _waits(self) -> bool:
        """Whether all calls that may run beside each other are the caller's to run."""
        return bool(self._open) and len(self._open) >= min(len(self._running), self._parallel_max)

    def _end(self, stop: StopReason) -> End:
        calls = tuple(self._open.values()) if stop is StopReason.TOOL_USE else ()
        usage, cost_usd = self._took
        return End(stop=stop, calls=calls, usage=usage, cost_usd=cost_usd)

    # --- what is heard ----------------------------------------------------------------------

    async def _listen(self, heard: Subscription[Item]) -> AsyncGenerator[Piece, None]:
        async for items in batches(heard):
            for item in items:
                if isinstance(item, ev.Chunk):
                    if words := self._words(item):
                        yield words
                    continue
                if words := self._rest(item.event):
                    yield words
                self._note(item.event)
                for piece in self._turn_over(item.event):
                    yield piece
                    if isinstance(piece, End):
                        return

    def _words(self, chunk: ev.Chunk) -> str:
        if chunk.kind != "text" or chunk.agent != self._agent:
            return ""
        return self._more(chunk.message_id, chunk.text, chunk.offset + len(chunk.text))

    def _rest(self, event: ev.Event) -> str:
        """What a text that has ended says beyond what was heard while it was said."""
        if not isinstance(event, ev.TextFinished) or event.kind != "text" or event.aborted:
            return ""
        if event.agent != self._agent:
            return ""
        heard = self._heard[1] if event.message_id == self._heard[0] else 0
        return self._more(event.message_id, event.text[heard:], len(event.text))

    def _more(self, message_id: str, text: str, heard: int) -> str:
        if not text:
            return ""
        before, self._heard = self._heard[0], (message_id, heard)
        return f"\n\n{text}" if before and before != message_id else text

    def _note(self, event: ev.Event) -> None:
        match event:
            case ev.ModelReplied():
                usage, cost_usd = self._took
                self._took = (usage.plus(event.usage), add_cost(cost_usd, event.cost_usd))
            case ev.ToolPlanned(agent=self._agent):
                self._names[event.call_id] = event.name
            case ev.ToolStarted() if self._names.get(event.call_id) in self._custom:
                self._running.add(event.call_id)
            case ev.ClientCallOpened():
                self._running.add(event.call_id)
                self._open[event.call_id] = ToolCall(
                    call_id=event.call_id, name=event.name, arguments=event.arguments
                )
            case ev.ClientCallAnswered(call_id=call_id) | ev.ToolFinished(call_id=call_id):
                self._open.pop(call_id, None)
                self._running.discard(call_id)
            case ev.RunFinished(outcome="failed", agent=self._agent):
                self._failure = event.reason
            case _:
                pass

    def _turn_over(self, event: ev.Event) -> tuple[Piece, ...]:
        """What this event means for whose turn it is."""
        match event:
            case ev.ClientCallOpened() | ev.ToolFinished() if self._waits():
                return (self._end(StopReason.TOOL_USE),)
            case ev.QuestionAsked(agent=self._agent):
                asked = "\n".join([event.question, *(f"- {one}" for one in event.options)])
                return (f"\n\n{asked}" if self._heard[0] else asked, self._end(StopReason.END))
            case ev.HostTurnFinished(host_run_id=self._host):
                return (self._finished(event),)
            case ev.SessionDeleted():
                raise NotFound(f"session {self._session!r} was deleted", code="unknown_session")
            case _:
                return ()

    def _finished(self, event: ev.HostTurnFinished) -> End:
        if event.outcome == "failed" and not self._heard[0]:
            said = self._failure or "the agent failed"
            if event.code in _UNPAID:
                raise BudgetExceeded(said, code=event.code)
            raise FatalFault(said, code=event.code or "agent_failed")
        cut = event.outcome == "failed" or event.code == "max_turns"
        return self._end(StopReason.LENGTH if cut else StopReason.END)


async def named_calls(
    pieces: AsyncGenerator[Piece, None], session: SessionId
) -> AsyncGenerator[Piece, None]:
    """The same with ids of calls that name the session."""
    async with aclosing(pieces) as given:
        async for piece in given:
            if isinstance(piece, End):
                calls = tuple(
                    one.model_copy(update={"call_id": CallId(f"{one.call_id}_{session}")})
                    for one in piece.calls
                )
                yield End(stop=piece.stop, calls=calls, usage=piece.usage, cost_usd=piece.cost_usd)
            else:
                yield piece


def session_of_calls(results: Mapping[str, str]) -> tuple[SessionId, dict[CallId, str]]:
    """Session and own ids of the calls that results are brought for."""
    found: dict[CallId, str] = {}
    sessions: set[str] = set()
    for named, content in results.items():
        call_id, _, session = named.rpartition("_")
        if not call_id or not (NAME.fullmatch(session) or UUID.fullmatch(session)):
            raise BadRequest(f"tool_call_id {named[:80]!r} is none that this agent gave")
        found[CallId(call_id)] = content
        sessions.add(session)
    if len(sessions) != 1:
        raise BadRequest("the results are for calls of several conversations")
    return SessionId(sessions.pop()), found
