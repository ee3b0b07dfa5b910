"""Sessions without a daemon: a memory log, folded, and moved by the test.

It folds what a stream needs (agents, usage, the host turn, open texts) and keeps the promise of
`server.ports.Backend` that a listener never hears of anything `snapshot` does not hold yet. Runs do
not happen by themselves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.events import (
    AgentCreated,
    AgentStopped,
    Chunk,
    Event,
    HostTurnFinished,
    HostTurnStarted,
    LetterAccepted,
    ModelReplied,
    QuestionAnswered,
    QuestionAsked,
    QuestionCancelled,
    Recorded,
    RunFinished,
    RunInterrupted,
    RunStarted,
    SessionCreated,
    SessionUpdated,
    TextFinished,
    TextStarted,
    Thinking,
)
from brainpilot_rt.domain.ids import (
    DAEMON_STREAM,
    AgentName,
    HostRunId,
    MessageId,
    RequestId,
    SessionId,
)
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.sessions.views import (
    AgentView,
    LetterView,
    OpenText,
    QuestionView,
    SessionSummary,
    SessionView,
)


@dataclass
class FakeSession:
    """What is folded of a session."""

    session: SessionId
    seq: int = 0
    at_ms: int = 0
    created_ms: int = 0
    title: str = ""
    thinking: Thinking = "off"
    host_run_id: HostRunId | None = None
    agents: dict[AgentName, AgentPhase] = field(default_factory=dict[AgentName, AgentPhase])
    usage: Usage = field(default_factory=Usage)
    texts: dict[MessageId, tuple[TextStarted, int, list[str]]] = field(
        default_factory=dict[MessageId, tuple[TextStarted, int, list[str]]]
    )
    questions: dict[RequestId, QuestionAsked] = field(
        default_factory=dict[RequestId, QuestionAsked]
    )
    letters: list[LetterView] = field(default_factory=list[LetterView])

    def apply(self, recorded: Recorded) -> None:
        """Fold one event."""
        event = recorded.event
        self.seq, self.at_ms = recorded.seq, recorded.at_ms
        self._apply_session(event)
        self._apply_agent(event)
        if isinstance(event, TextStarted):
            self.texts[event.message_id] = (event, recorded.seq, [])
        elif isinstance(event, TextFinished):
            self.texts.pop(event.message_id, None)
        elif isinstance(event, QuestionAsked):
            self.questions[event.request_id] = event
        elif isinstance(event, QuestionAnswered | QuestionCancelled):
            self.questions.pop(event.request_id, None)
        elif isinstance(event, LetterAccepted):
            letter = event.letter
            self.letters.append(
                LetterView(letter.id, letter.from_, letter.to, letter.kind, "queued")
            )

    def _apply_session(self, event: Event) -> None:
        if isinstance(event, SessionCreated):
            self.title, self.thinking, self.created_ms = event.title, event.thinking, self.at_ms
        elif isinstance(event, SessionUpdated):
            self.title = self.title if event.title is None else event.title
            self.thinking = self.thinking if event.thinking is None else event.thinking
        elif isinstance(event, HostTurnStarted):
            self.host_run_id = event.host_run_id
        elif isinstance(event, HostTurnFinished):
            self.host_run_id = None
        elif isinstance(event, ModelReplied):
            self.usage = self.usage.plus(event.usage)

    def _apply_agent(self, event: Event) -> None:
        if isinstance(event, AgentCreated):
            self.agents[event.agent] = AgentPhase.IDLE
        elif isinstance(event, AgentStopped):
            self.agents[event.agent] = AgentPhase.STOPPED
        elif isinstance(event, RunStarted):
            self.agents[event.agent] = AgentPhase.RUNNING
        elif isinstance(event, RunFinished | RunInterrupted):
            failed = isinstance(event, RunFinished) and event.outcome == "failed"
            self.agents[event.agent] = AgentPhase.ERROR if failed else AgentPhase.IDLE

    def view(self) -> SessionView:
        """The snapshot."""
        return SessionView(
            session=self.session,
            title=self.title,
            seq=self.seq,
            last_activity_ms=self.at_ms,
            host_run_id=self.host_run_id,
            working=AgentPhase.RUNNING in self.agents.values(),
            agents=tuple(
                AgentView(name, "principal", "managed", phase, 1, self.at_ms)
                for name, phase in self.agents.items()
            ),
            questions=tuple(
                QuestionView(
                    one.request_id,
                    one.agent,
                    one.question,
                    one.options,
                    one.allow_free_text,
                    visible=True,
                )
                for one in self.questions.values()
            ),
            usage=self.usage,
            thinking=self.thinking,
        )

    def open_texts(self) -> tuple[OpenText, ...]:
        """The texts that are being said."""
        return tuple(
            OpenText(one.message_id, one.kind, one.agent, one.run_id, started, tuple(chunks))
            for one, started, chunks in self.texts.values()
        )

    def summary(self) -> SessionSummary:
        """The line in the list."""
        return SessionSummary(
            session=self.session,
            title=self.title,
            created_ms=self.created_ms,
            updated_ms=self.at_ms,
            thinking=self.thinking,
        )


class FakeSessions:
    """Sessions in a memory log; `commit`, `say` and `finish_text` are the test's hands."""

    def __init__(self, clock: Clock) -> None:
        self.log = MemoryEventLog(clock=clock)
        self.log.on_commit(self._committed)
        self.loaded: dict[SessionId, FakeSession] = {}
        self.clock = clock
        self._listeners: list[Callable[[Recorded | Chunk], None]] = []

    async def commit(self, session: SessionId, *events: Event) -> list[Recorded]:
        """Append events."""
        return await self.log.append(session, events)

    def say(self, session: SessionId, message_id: MessageId, text: str) -> None:
        """Say the next chunk of an open text."""
        started, _, chunks = self.loaded[session].texts[message_id]
        chunk = Chunk(
            session=session,
            message_id=message_id,
            index=len(chunks),
            offset=sum(map(len, chunks)),
            text=text,
            kind=started.kind,
            agent=started.agent,
            run_id=started.run_id,
            at_ms=self.clock.now_ms(),
        )
        chunks.append(text)
        for listener in self._listeners:
            listener(chunk)

    async def finish_text(self, session: SessionId, message_id: MessageId) -> None:
        """Commit the end of an open text."""
        started, seq, chunks = self.loaded[session].texts[message_id]
        finished = TextFinished(
            run_id=started.run_id,
            agent=started.agent,
            message_id=message_id,
            kind=started.kind,
            text="".join(chunks),
            chunks=tuple(map(len, chunks)),
            started_seq=seq,
        )
        await self.commit(session, finished)

    def _committed(self, batch: Sequence[Recorded]) -> None:
        for recorded in batch:
            if recorded.session != DAEMON_STREAM:
                fresh = FakeSession(recorded.session)
                self.loaded.setdefault(recorded.session, fresh).apply(recorded)
            for listener in list(self._listeners):
                listener(recorded)

    async def list_sessions(self) -> list[SessionSummary]:
        """All sessions."""
        return [await self.session(row.session) for row in await self.log.sessions()]

    async def session(self, session: SessionId) -> SessionSummary:
        """One session."""
        return (await self.load(session)).summary()

    async def load(self, session: SessionId) -> FakeSession:
        """The fold of a session, in memory or not; NotFound if unknown."""
        found = self.loaded.get(session)
        if found is None:
            found = FakeSession(session)
            while page := await self.log.read(session, after=found.seq):
                for recorded in page:
                    found.apply(recorded)
            if not found.seq:
                raise NotFound(f"there is no session {session}")
        return found

    async def view(self, session: SessionId) -> SessionView:
        """Load and show."""
        self.loaded[session] = await self.load(session)
        return self.loaded[session].view()

    def snapshot(self, session: SessionId) -> tuple[SessionView, tuple[OpenText, ...]]:
        """What there is in memory."""
        found = self.loaded.get(session)
        if found is None:
            raise NotFound(f"{session} is not in memory")
        return found.view(), found.open_texts()

    def listen(self, on_item: Callable[[Recorded | Chunk], None]) -> Callable[[], None]:
        """Follow everything."""
        self._listeners.append(on_item)

        def undo() -> None:
            if on_item in self._listeners:
                self._listeners.remove(on_item)

        return undo
