"""A session in the hands of a program: ask, follow, answer, stop.

What a caller is told is what the log holds, as the typed events of `domain/events.py`. Whoever
stops waiting (a cancelled task, a loop that is left) only stops waiting: the work goes on.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from typing_extensions import override

from brainpilot_rt.context.memory import Memory
from brainpilot_rt.domain.citations import Citation
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.events import (
    Chunk,
    HostTurnFinished,
    QuestionAsked,
    Recorded,
    RunFinished,
    SessionDeleted,
    TextFinished,
)
from brainpilot_rt.domain.ids import (
    PRINCIPAL,
    USER,
    AgentName,
    MessageId,
    RequestId,
    SessionId,
    parse_agent_name,
)
from brainpilot_rt.domain.memory import Block, Draft, MemoryItem, SectionName
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.sessions.hub import Item
from brainpilot_rt.sessions.views import SessionView
from brainpilot_rt.supervision.answers import Posted
from brainpilot_rt.supervision.backend import Backend

HEARD: Final = 1024
"""Events kept for a follower that is busy; behind that it reads the log."""


@dataclass(frozen=True, slots=True)
class Reply:
    """How a question ended; `str()` of it is the answer."""

    outcome: Literal["completed", "failed", "interrupted"]
    text: str
    citations: tuple[Citation, ...]
    """Only those that were verified against the files."""
    unverified_citations: int
    usage: Usage
    cost_usd: Decimal | None
    """None: the price of a model is not known."""
    reason: str = ""
    """Of a failure: a sentence for a person."""

    @override
    def __str__(self) -> str:
        return self.text


class _Ear:
    """What was heard of one session and not taken yet."""

    def __init__(self, session: SessionId) -> None:
        self._session = session
        self.heard: deque[Recorded] = deque(maxlen=HEARD)
        self.news = asyncio.Event()
        self.over = False

    def hear(self, item: Item) -> None:
        if isinstance(item, Chunk):
            return
        if isinstance(item.event, SessionDeleted) and item.event.deleted == self._session:
            self.end()
        if item.session == self._session:
            self.heard.append(item)
            self.news.set()

    def end(self) -> None:
        self.over = True
        self.news.set()


class _Words:
    """Hands on what an agent says, piece by piece; a text that came in one piece at its end."""

    def __init__(
        self, session: SessionId, agent: AgentName, on_text: Callable[[str], object]
    ) -> None:
        self._whose = (session, agent)
        self._on_text = on_text
        self._said: dict[MessageId, int] = {}

    def __call__(self, item: Item) -> None:
        """Something was said, or committed."""
        said = item if isinstance(item, Chunk) else item.event
        if not isinstance(said, Chunk | TextFinished) or said.kind != "text":
            return
        if (item.session, said.agent) != self._whose:
            return
        known = self._said.get(said.message_id, 0)
        piece = said.text if isinstance(said, Chunk) else said.text[known:]
        self._said[said.message_id] = known + len(piece)
        if piece:
            self._on_text(piece)


def _nothing() -> None:
    """Nobody listens."""


class Feeds:
    """Everybody who follows a session; `close` ends them all."""

    def __init__(self) -> None:
        self._ears: set[_Ear] = set()
        self._closed = False

    def close(self) -> None:
        """Nothing more will happen: let every follower come to its end."""
        self._closed = True
        for ear in self._ears:
            ear.end()

    async def events(
        self, backend: Backend, session: SessionId, after: int
    ) -> AsyncGenerator[Recorded]:
        """Every event with `seq > after`, then each new one; ends when `close` is called."""
        ear = _Ear(session)
        ear.over = self._closed
        undo = backend.listen(ear.hear)
        self._ears.add(ear)
        try:
            while True:
                while page := await backend.log.read(session, after=after):
                    for recorded in page:
                        after = recorded.seq
                        yield recorded
                while not ear.heard or ear.heard[0].seq <= after + 1:
                    if not ear.heard:
                        if ear.over:
                            return
                        ear.news.clear()
                        await ear.news.wait()
                    elif ear.heard[0].seq <= after:
                        ear.heard.popleft()
                    else:
                        after += 1
                        yield ear.heard.popleft()
        finally:
            undo()
            self._ears.discard(ear)


class Session:
    """One conversation with a team; made by `Runtime.session`."""

    def __init__(self, backend: Backend, feeds: Feeds, session: SessionId) -> None:
        self.id = session
        self._backend = backend
        self._feeds = feeds

    async def ask(
        self,
        text: str,
        *,
        agent: str | None = None,
        on_question: Callable[[QuestionAsked], Awaitable[str]] | None = None,
        on_text: Callable[[str], object] | None = None,
    ) -> Reply:
        """Say something and wait until it is answered and no task is open.

        Args:
            text: What the user says.
            agent: Who is asked; the principal unless given.
            on_question: Answers what the agents ask the user meanwhile. Without it a question waits
                for `answer`, by whoever gives it.
            on_text: Called with every piece of the asked agent's text as it comes.

        Raises:
            CommandRejected: It was not accepted, and why.
            Unavailable: The runtime was closed first; it is worked on when it is opened again.
        """
        before = (await self._backend.view(self.id)).seq
        asked = parse_agent_name(agent) if agent else PRINCIPAL
        undo = self._backend.listen(_Words(self.id, asked, on_text)) if on_text else _nothing
        try:
            posted = await self.post(text, agent=agent)
            return await self._answer_to(posted, before, on_question)
        finally:
            undo()

    async def _answer_to(
        self,
        posted: Posted,
        before: int,
        on_question: Callable[[QuestionAsked], Awaitable[str]] | None,
    ) -> Reply:
        reason = ""
        async with aclosing(self.events(after=before)) as events:
            async for recorded in events:
                match recorded.event:
                    case HostTurnFinished(host_run_id=posted.host_run_id) as end:
                        return _reply(end, reason)
                    case RunFinished(outcome="failed", reason=why):
                        reason = why
                    case QuestionAsked() as question if on_question is not None:
                        await self.answer(question.request_id, await on_question(question))
                    case _:
                        pass
        raise Unavailable("the runtime was closed before the answer; ask again when it is open")

    async def post(self, text: str, *, agent: str | None = None) -> Posted:
        """Say something; returns when it is durable, from when on it is worked on to its end."""
        return await self._backend.post_message(self.id, agent=agent, content=text, message_id=None)

    def events(self, *, after: int = 0) -> AsyncGenerator[Recorded]:
        """Every event with `seq > after` from the log, then each new one as it is committed.

        Ends when the runtime is closed or the session deleted. Keep the `seq` of the last one
        handled, and `after` goes on exactly there, in another life of the program too.
        """
        return self._feeds.events(self._backend, self.id, after)

    async def answer(self, request_id: RequestId, text: str) -> bool:
        """Answer a question of an agent; False when it is not open any more."""
        return await self._backend.answer(self.id, request_id, text, None) == "ok"

    async def interrupt(self, agent: str | None = None) -> bool:
        """Stop one agent or all, and return when they have stopped; False: there was nothing."""
        name = parse_agent_name(agent) if agent else None
        return (await self._backend.interrupt(self.id, name)).interrupted

    async def memory(self) -> Memory:
        """What the session remembers, as of now: `items(section)`, `search(query, top_k)`."""
        return await self._backend.memory.of(self.id)

    async def remember(
        self,
        content: str,
        *,
        section: SectionName = "facts",
        block: Block | None = None,
        pinned: bool = False,
    ) -> MemoryItem:
        """Remember something on behalf of the user; agents read it from their next turn on.

        `block`: whom or what a fact is about, `general` unless given. `pinned`: shown first, never
        evicted. Raises `BadRequest`, `TooLarge`, or `Conflict` for a section that is full.
        """
        draft = Draft(section=section, content=content, agent=USER, pinned=pinned, block=block)
        return await self._backend.memory.remember(self.id, draft)

    async def forget(self, *item_ids: str) -> None:
        """Forget items of the memory; `NotFound` for an unknown one."""
        await self._backend.memory.forget(self.id, item_ids)

    async def view(self) -> SessionView:
        """What is true now: agents, open tasks and questions, usage, cost."""
        return await self._backend.view(self.id)


def _reply(end: HostTurnFinished, reason: str) -> Reply:
    return Reply(
        outcome=end.outcome,
        text=end.answer,
        citations=end.citations,
        unverified_citations=end.unverified_citations,
        usage=end.usage,
        cost_usd=end.cost_usd,
        reason=reason if end.outcome == "failed" else "",
    )
