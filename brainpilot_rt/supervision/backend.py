"""The daemon as the server sees it: commands in, views out. No rule lives here."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Literal

from brainpilot_rt.aiokit.lag import LoopLag
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Conflict, MemoryFull, Unavailable, unknown_session
from brainpilot_rt.domain.events import Event, Thinking
from brainpilot_rt.domain.governing import RunLimits
from brainpilot_rt.domain.ids import (
    DAEMON_STREAM,
    PRINCIPAL,
    AgentName,
    CallId,
    HostRunId,
    LetterId,
    MessageId,
    RequestId,
    SessionId,
    parse_agent_name,
    parse_client_id,
    parse_session_id,
)
from brainpilot_rt.eventlog.port import EventLog, Receipt
from brainpilot_rt.mailbox.postoffice import PostOffice
from brainpilot_rt.sessions import snapshot
from brainpilot_rt.sessions.hub import Listener
from brainpilot_rt.sessions.state import SessionState
from brainpilot_rt.sessions.views import LetterView, OpenText, SessionSummary, SessionView
from brainpilot_rt.supervision.admission import TITLE_CHARS_MAX, check_content, title_of
from brainpilot_rt.supervision.answers import (
    Interrupted,
    Liveness,
    NewSession,
    Posted,
    ReceiptOf,
)
from brainpilot_rt.supervision.governed_views import GovernedViews
from brainpilot_rt.supervision.organs import Organs
from brainpilot_rt.supervision.stats import stats_of
from brainpilot_rt.supervision.storage import Storage
from brainpilot_rt.supervision.supervisor import Supervisor
from brainpilot_rt.supervision.traces import Traces, TraceViews
from brainpilot_rt.supervision.turns import Turns
from brainpilot_rt.supervision.worktrees import Worktrees
from brainpilot_rt.workspace.files import Workspace


class Backend:
    """Implements the server's port over the organs."""

    def __init__(  # noqa: PLR0913 - one argument per organ
        self,
        organs: Organs,
        supervisor: Supervisor,
        *,
        office: PostOffice,
        worktrees: Worktrees,
        traces: Traces,
        lag: LoopLag,
        storage: Storage,
        governed: Callable[[Callable[[NewSession], Awaitable[object]]], GovernedViews],
        identity: tuple[str, str],
        begin_stop: Callable[[], None],
        memory_full: Callable[[], bool],
    ) -> None:
        self.version, self.instance_id = identity
        self.log: EventLog = organs.log
        self.trace_views = TraceViews(organs.log)
        self.memory = organs.memories
        self.turns = Turns(organs.log)
        self.skills = organs.skills
        views = governed(self.create_session)
        self.agents = views.agents
        self.approvals = views.approvals
        self.records = views.records
        self.completions = views.completions
        self.completions.lease = partial(organs.liveness.hold, "model_call")
        self.budgets = views.budgets
        self.oversight = views.oversight
        self.mcp = views.mcp
        self.new_id = organs.new_id
        self.gauges = organs.gauges
        self.audit_violations = 0
        self.not_ready: list[str] = []
        self._organs = organs
        self._supervisor = supervisor
        self._office = office
        self._worktrees = worktrees
        self._traces = traces
        self._lag = lag
        self._storage = storage
        self._begin_stop = begin_stop
        self._memory_full = memory_full

    # --- liveness ---------------------------------------------------------------------------

    def liveness(self) -> Liveness:
        """The facts of `/metrics`, from memory."""
        manager = self._organs.manager
        pulse = self._organs.liveness.pulse(manager.find, len(manager))
        return Liveness(
            active_sessions=pulse.active_sessions,
            running_agents=pulse.running_agents,
            last_activity_ms=pulse.last_activity_ms,
            idle_epoch=pulse.idle_epoch,
            leases=pulse.leases,
            unread_letters=pulse.unread_letters,
            audit_violations=self.audit_violations,
            reasons=pulse.reasons,
            loop_lag_ms=self._lag.current_s * 1000,
            loop_blocked=self._lag.blocked,
        )

    @property
    def no_shell(self) -> str | None:
        """Why agents can not run commands although they should; None while all is as wanted."""
        return self._organs.liveness.no_shell

    @property
    def read_only(self) -> str | None:
        """Why nothing is accepted at present: the code of the log's trouble; None when all is."""
        return self._storage.read_only

    def ready(self) -> list[str]:
        """What is not ready; empty means ready."""
        read_only, closing = self.read_only, self._organs.liveness.closing
        return [
            *self.not_ready,
            *([f"read-only: {read_only}"] if read_only else []),
            *(["stopping"] if closing else []),
        ]

    def touch(self) -> None:
        """An accepted HTTP mutation."""
        self._organs.liveness.touch()

    def shutdown_if_idle(self, idle_epoch: int) -> tuple[str, ...]:
        """Begin a clean stop, or say why not; one step, so nothing is accepted in between."""
        liveness = self.liveness()
        if liveness.idle_epoch != idle_epoch:
            return (f"idle epoch is {liveness.idle_epoch}, not {idle_epoch}", *liveness.reasons)
        if liveness.reasons:
            return liveness.reasons
        self._organs.liveness.closing = True
        self._begin_stop()
        return ()

    # --- sessions ---------------------------------------------------------------------------

    async def list_sessions(self) -> list[SessionSummary]:
        """All sessions, evicted ones too."""
        rows = await self.log.sessions()
        return [snapshot.summary_of(row, self._organs.manager.find(row.session)) for row in rows]

    async def create_session(
        self, new: NewSession, receipt: ReceiptOf | None = None
    ) -> SessionSummary:
        """Create a session, or answer with the one that has the wanted id."""
        session = parse_session_id(new.session or self._organs.new_id())
        if new.workspace is not None:
            self._worktrees.check(new.workspace)
        if new.session is None:
            self._organs.manager.begin(session)
        made: list[SessionSummary] = []

        def answer(events: Sequence[Event], at_ms: int) -> Receipt | None:
            if not events:
                return None  # it was there already, as somebody else wanted it
            fresh = SessionSummary(
                session=session,
                title=title_of(new.title),
                created_ms=at_ms,
                updated_ms=at_ms,
                provider_id=new.provider_id,
                model_id=new.model_id,
                thinking=new.thinking,
                domain_resources=new.domain_resources,
                agent=new.agent,
                labels=new.labels,
            )
            made.append(fresh)
            return receipt(fresh) if receipt is not None else None

        await self._take(
            session,
            cmd.CreateSession(
                title=title_of(new.title),
                provider_id=new.provider_id,
                model_id=new.model_id,
                thinking=new.thinking,
                domain_resources=new.domain_resources,
                workspace=new.workspace,
                agent=new.agent,
                cap_usd=new.cap_usd,
                labels=new.labels,
            ),
            answer,
        )
        if made:
            await asyncio.to_thread(self._worktrees.settle_in, session)
            return made[0]
        return await self.session(session)

    async def session(self, session: SessionId) -> SessionSummary:
        """One line about a session."""
        state = self._organs.manager.find(session)
        if state is not None:
            return snapshot.summary(state)
        row = await self.log.session(session)
        if row is None:
            raise unknown_session(session)
        return snapshot.summary_of(row, None)

    async def update_session(
        self,
        session: SessionId,
        title: str | None = None,
        thinking: Thinking | None = None,
        *,
        cap_usd: Decimal | None = None,
        labels: Mapping[str, Any] | None = None,
    ) -> SessionSummary:
        """Change what is not None; a blank title is none."""
        await self.session(session)
        name = title.strip()[:TITLE_CHARS_MAX] if title and title.strip() else None
        changes = cmd.UpdateSession(title=name, thinking=thinking, cap_usd=cap_usd, labels=labels)
        if changes != cmd.UpdateSession():
            await self._organs.manager.dispatch(session, changes)
        return snapshot.summary(await self._organs.manager.load(session))

    async def delete_session(self, session: SessionId) -> bool:
        """Stop it and remove all its data."""
        if await self.log.session(session) is None:
            return False
        manager = self._organs.manager
        await manager.load(session)
        worktree = self._worktrees.of(session)
        with manager.deleting(session):
            await self._supervisor.evict(session)
            await self._office.close_session(session, delete=True)
            await self.log.delete_session(session)
        self._traces.forget(session)
        await asyncio.to_thread(worktree.destroy)
        await self._organs.manager.record(DAEMON_STREAM, ev.SessionDeleted(deleted=session))
        self._worktrees.forget(session)
        return True

    async def evict_session(self, session: SessionId) -> int:
        """Stop it and drop it from memory."""
        await self.session(session)
        stopped = await self._supervisor.evict(session)
        self._traces.forget(session)
        return stopped

    async def view(self, session: SessionId) -> SessionView:
        """The authoritative snapshot."""
        return snapshot.view(await self._loaded(session))

    async def _loaded(self, session: SessionId) -> SessionState:
        state = self._organs.manager.find(session)
        if state is not None:
            return state
        if await self.log.session(session) is None:
            raise unknown_session(session)
        return await self._organs.manager.load(session)

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
        """Accept a user's message, which may be the answer to the open question.

        `limits`: of the request it opens; they do not count when it joins one.
        """
        check_content(content)
        state = await self._loaded(session)
        to = parse_agent_name(agent) if agent else state.agent or PRINCIPAL
        if self._memory_full():
            raise MemoryFull("the memory budget is used up", retry_after_s=10)
        letter_id = LetterId(self._organs.new_id())
        message = MessageId(
            parse_client_id(message_id) if message_id else f"msg_{self._organs.new_id()}"
        )
        host = HostRunId(f"host_{self._organs.new_id()}")
        command = cmd.PostUserMessage(
            agent=to,
            content=content,
            letter_id=letter_id,
            message_id=message,
            host_run_id=host,
            limits=limits,
        )
        posted: list[Posted] = []

        def answer(events: Sequence[Event], _at_ms: int) -> Receipt | None:
            accepted = [one for one in events if isinstance(one, ev.LetterAccepted)]
            open_turn = state.host_turn.host_run_id if state.host_turn else host
            posted.append(
                Posted(
                    host_run_id=(accepted[0].host_run_id or host) if accepted else open_turn,
                    message_id=message,
                    letter_id=letter_id if accepted else None,
                    queued=bool(accepted and accepted[0].queued),
                )
            )
            return receipt(posted[0]) if receipt is not None else None

        await self._take(session, command, answer)
        return posted[0]

    async def answer(
        self, session: SessionId, request_id: RequestId, answer: str, receipt: ReceiptOf | None
    ) -> Literal["ok", "stale"]:
        """Answer an open question."""
        await self._loaded(session)

        def stored(_events: Sequence[Event], _at_ms: int) -> Receipt | None:
            return receipt("ok") if receipt is not None else None

        command = cmd.AnswerQuestion(request_id=request_id, answer=answer)
        try:
            await self._take(session, command, stored)
        except Conflict:
            return "stale"
        return "ok"

    async def interrupt(self, session: SessionId, agent: AgentName | None) -> Interrupted:
        """Stop one agent or all, and return once the state is idle."""
        scope: Literal["session", "agent"] = "agent" if agent else "session"
        if await self.log.session(session) is None:
            return Interrupted(interrupted=False, scope=scope)
        return Interrupted(
            interrupted=await self._supervisor.interrupt(session, agent), scope=scope
        )

    async def interrupt_tool(
        self, session: SessionId, call_id: CallId
    ) -> Literal["interrupted", "already_finished", "not_cancellable"]:
        """Stop one running tool call."""
        await self._loaded(session)
        if await self._supervisor.interrupt_tool(session, call_id):
            return "interrupted"
        return "already_finished"

    async def letters(self, session: SessionId) -> list[LetterView]:
        """Letters with their receipts."""
        return snapshot.letters(await self._loaded(session))

    async def stats(self, session: SessionId) -> dict[str, Any]:
        """Statistics of a session."""
        await self.session(session)
        return await stats_of(self.log, session)

    def workspace(self, session: SessionId) -> Workspace:
        """The files of a session."""
        return self._worktrees.of(session)

    def mcp_status(self) -> dict[str, Any]:
        """The MCP servers there are, and how they do."""
        return self.mcp.servers.groups.status()

    # --- the live feed ----------------------------------------------------------------------

    def listen(self, on_item: Listener) -> Callable[[], None]:
        """Follow the feed."""
        return self._organs.hub.listen(on_item)

    def snapshot(self, session: SessionId) -> tuple[SessionView, tuple[OpenText, ...]]:
        """View and open texts of a session in memory, at one instant."""
        state = self._organs.manager.state(session)
        return snapshot.view(state), self._organs.hub.open_texts(session)

    async def _take(
        self,
        session: SessionId,
        command: cmd.Command,
        answer: Callable[[Sequence[Event], int], Receipt | None],
    ) -> None:
        """Put it to the authority: a reason to live from here on, not only once it is logged."""
        if self._organs.liveness.closing:
            raise Unavailable("the daemon is stopping; nothing was accepted")
        with self._organs.liveness.hold("request"):
            await self._organs.manager.dispatch(session, command, answer)
