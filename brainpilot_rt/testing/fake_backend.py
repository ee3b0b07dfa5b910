"""A `Backend` without a daemon, for tests of the server and of its clients."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.domain.events import (
    Event,
    HostTurnStarted,
    LetterAccepted,
    QuestionAnswered,
    RunFinished,
    SessionCreated,
    SessionDeleted,
    SessionEvicted,
    SessionUpdated,
    Thinking,
)
from brainpilot_rt.domain.governing import RunLimits
from brainpilot_rt.domain.ids import (
    DAEMON_STREAM,
    PRINCIPAL,
    USER,
    AgentName,
    CallId,
    HostRunId,
    LetterId,
    MessageId,
    RequestId,
    RunId,
    SessionId,
)
from brainpilot_rt.domain.letters import Authority, Letter, LetterKind
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.models import offline
from brainpilot_rt.models.providers import Providers
from brainpilot_rt.server.ports import Interrupted, Liveness, NewSession, Posted, ReceiptOf
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.sessions.views import (
    LetterView,
    SessionSummary,
)
from brainpilot_rt.supervision.memories import Memories
from brainpilot_rt.supervision.traces import TraceViews
from brainpilot_rt.supervision.turns import Turns
from brainpilot_rt.testing.fake_mcp import FakeMcp
from brainpilot_rt.testing.fake_memory import MemoryAuthority
from brainpilot_rt.testing.fake_sessions import FakeSessions
from brainpilot_rt.testing.register import registered, settings_in
from brainpilot_rt.testing.shelf import shelf
from brainpilot_rt.workspace.files import Workspace


class FakeBackend(FakeSessions):
    """Implements `server.ports.Backend`."""

    version = "0.0.0-fake"
    instance_id = "fake-instance"
    reasons: tuple[str, ...] = ()
    read_only: str | None = None
    no_shell: str | None = None

    def __init__(self, clock: Clock, new_id: NewId, folder: Path) -> None:
        super().__init__(clock)
        authority = MemoryAuthority(self.log, clock, new_id)
        self.memory = Memories(self.log, self.listen, authority.dispatch, clock)
        self.turns = Turns(self.log)
        self.skills = shelf()
        self.foreign = FakeMcp()
        """Whatever MCP server is registered."""
        sources, settings = (clock, new_id), settings_in(folder)
        hub, dial = Hub(clock.now_ms), self.foreign.dial
        kept = registered(self.log, hub, sources, settings, dial=dial).kept
        governing = kept.governing(offline.stream, Providers, lambda _model: True)
        views = kept.views(governing, self.memory, Providers, self.create_session)
        self.agents = views.agents
        self.approvals = views.approvals
        self.records = views.records
        self.completions = views.completions
        self.budgets = views.budgets
        self.oversight = views.oversight
        self.mcp = views.mcp
        self.trace_views = TraceViews(self.log)
        self.new_id = new_id
        self.gauges: Callable[[], Mapping[str, float]] = dict[str, float]
        self.not_ready: list[str] = []
        self.touched = 0
        self.stopping = False
        self._folder = folder

    # --- liveness ---------------------------------------------------------------------------

    def liveness(self) -> Liveness:
        """The facts of `/metrics`."""
        phases = [phase for one in self.loaded.values() for phase in one.agents.values()]
        return Liveness(
            active_sessions=len(self.loaded),
            running_agents=phases.count(AgentPhase.RUNNING),
            last_activity_ms=self.clock.now_ms(),
            idle_epoch=self.log.head_pos + self.touched,
            leases={"model": 0, "tool": 0},
            unread_letters=0,
            audit_violations=0,
            reasons=self.reasons,
            loop_lag_ms=0.0,
            loop_blocked=0,
        )

    def ready(self) -> list[str]:
        """What is not ready."""
        return self.not_ready

    def touch(self) -> None:
        """Count."""
        self.touched += 1

    def shutdown_if_idle(self, idle_epoch: int) -> tuple[str, ...]:
        """Stop unless something is going on or happened since."""
        if idle_epoch != self.liveness().idle_epoch:
            return ("the idle epoch has moved", *self.reasons)
        self.stopping = not self.reasons
        return self.reasons

    # --- sessions ---------------------------------------------------------------------------

    async def create_session(
        self, new: NewSession, receipt: ReceiptOf | None = None
    ) -> SessionSummary:
        """Create, or answer with the one there is."""
        session = SessionId(new.session or self.new_id())
        if await self.log.session(session) is None:
            now_ms = self.clock.now_ms()
            made = SessionSummary(session, new.title or "", now_ms, now_ms, thinking=new.thinking)
            created = SessionCreated(title=new.title or "", thinking=new.thinking)
            durable = None if receipt is None else receipt(made)
            await self.log.append(session, [created], title=new.title, receipt=durable)
        return await self.session(session)

    async def update_session(
        self,
        session: SessionId,
        title: str | None = None,
        thinking: Thinking | None = None,
        *,
        cap_usd: Decimal | None = None,
        labels: Mapping[str, Any] | None = None,
    ) -> SessionSummary:
        """Rename."""
        await self.load(session)
        kept = None if labels is None else dict(labels)
        changes = SessionUpdated(title=title, thinking=thinking, cap_usd=cap_usd, labels=kept)
        await self.commit(session, changes)
        return await self.session(session)

    async def delete_session(self, session: SessionId) -> bool:
        """Forget it."""
        if await self.log.session(session) is None:
            return False
        await self.log.delete_session(session)
        self.loaded.pop(session, None)
        await self.commit(DAEMON_STREAM, SessionDeleted(deleted=session))
        return True

    async def evict_session(self, session: SessionId) -> int:
        """Drop it from memory."""
        stopped = len((await self.load(session)).agents)
        await self.commit(session, SessionEvicted(agents_stopped=stopped))
        self.loaded.pop(session, None)
        return stopped

    # --- talking ----------------------------------------------------------------------------

    async def post_message(
        self,
        session: SessionId,
        *,
        agent: str | None,
        content: str,
        message_id: str | None = None,
        receipt: ReceiptOf | None = None,
        limits: RunLimits | None = None,
    ) -> Posted:
        """Accept a message and open a host turn."""
        await self.load(session)
        letter_id = LetterId(self.new_id())
        open_turn = self.loaded[session].host_run_id if session in self.loaded else None
        host_run_id = open_turn or HostRunId(f"run_{self.new_id()}")
        said = MessageId(message_id or f"msg_{self.new_id()}")
        to = AgentName(agent or PRINCIPAL)
        letter = Letter(
            id=letter_id,
            session=session,
            from_=USER,
            to=to,
            kind=LetterKind.USER_MESSAGE,
            content=content,
            root_id=letter_id,
            created_at=self.clock.now().isoformat(),
            authority=Authority(origin="user"),
        )
        queued = open_turn is not None
        posted = Posted(host_run_id, said, letter_id, queued)
        accepted = LetterAccepted(
            letter_id=letter_id,
            letter=letter,
            message_id=said,
            host_run_id=host_run_id,
            queued=queued,
        )
        turn = HostTurnStarted(
            host_run_id=host_run_id, letter_id=letter_id, agent=to, limits=limits
        )
        events: list[Event] = [accepted] if queued else [accepted, turn]
        durable = None if receipt is None else receipt(posted)
        await self.log.append(session, events, receipt=durable)
        return posted

    async def answer(
        self, session: SessionId, request_id: RequestId, answer: str, receipt: ReceiptOf | None
    ) -> Literal["ok", "stale"]:
        """Answer a question."""
        found = await self.load(session)
        if request_id not in found.questions:
            return "stale"
        asked = found.questions[request_id]
        answered = QuestionAnswered(request_id=request_id, answer=answer, agent=asked.agent)
        durable = None if receipt is None else receipt("ok")
        await self.log.append(session, [answered], receipt=durable)
        return "ok"

    async def interrupt(self, session: SessionId, agent: AgentName | None) -> Interrupted:
        """Stop what runs."""
        found = await self.load(session)
        running = [name for name, phase in found.agents.items() if phase is AgentPhase.RUNNING]
        for name in running:
            run_id = RunId("stopped")
            ended = RunFinished(
                run_id=run_id, agent=name, outcome="aborted", letter_ids=(), turns=0
            )
            await self.commit(session, ended)
        return Interrupted(bool(running), "session" if agent is None else "agent")

    async def interrupt_tool(
        self, session: SessionId, call_id: CallId
    ) -> Literal["interrupted", "already_finished", "not_cancellable"]:
        """No tool runs here."""
        await self.load(session)
        return "not_cancellable" if call_id == "stuck" else "already_finished"

    async def letters(self, session: SessionId) -> list[LetterView]:
        """What was accepted."""
        return (await self.load(session)).letters

    async def stats(self, session: SessionId) -> dict[str, Any]:
        """Nothing was counted."""
        await self.load(session)
        return {"sessionId": session, "total": {}, "byAgent": {}, "byRun": []}

    def workspace(self, session: SessionId) -> Workspace:
        """A folder per session."""
        return Workspace(self._folder / session)

    def mcp_status(self) -> dict[str, Any]:
        """None configured."""
        return {"state": "unconfigured", "servers": []}
