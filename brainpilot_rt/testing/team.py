"""A whole team in one process, without HTTP: everything the daemon builds between log and server.

The log, the model, the clock and the tools are the test's. Files of the mailbox are served when
`mail` is asked for. `Team.until` waits for a state, not for a time: on virtual time it fails at
once when nothing more can happen, which is how a hang shows.

    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("hello")
        state = await crew.settled()
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from brainpilot_rt.agents.definition import AgentDefinition, Profile, RequestContext, define_agent
from brainpilot_rt.agents.personas import PERSONAS
from brainpilot_rt.aiokit.lag import LoopLag
from brainpilot_rt.aiokit.sources import Clock, NewId, UlidSource
from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.domain.events import Recorded
from brainpilot_rt.domain.ids import AgentName, SessionId
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRequest
from brainpilot_rt.domain.passages import Passages
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.mailbox.handlers import PostPolicy
from brainpilot_rt.mailbox.postoffice import PostOffice
from brainpilot_rt.models.providers import Providers
from brainpilot_rt.sessions import snapshot
from brainpilot_rt.sessions.audit import Audit
from brainpilot_rt.sessions.hub import Hub, Item
from brainpilot_rt.sessions.state import SessionState
from brainpilot_rt.settings import (
    AgentSettings,
    BudgetSettings,
    GuardSettings,
    RoutingSettings,
    SessionLimits,
    Settings,
    ThinkingSettings,
)
from brainpilot_rt.supervision import boot
from brainpilot_rt.supervision.answers import Interrupted, NewSession, Posted
from brainpilot_rt.supervision.backend import Backend
from brainpilot_rt.supervision.conversations import Conversations
from brainpilot_rt.supervision.liveness import Liveness
from brainpilot_rt.supervision.mailroom import MailRoom
from brainpilot_rt.supervision.memories import Memories
from brainpilot_rt.supervision.organs import Organs
from brainpilot_rt.supervision.shown import Shown
from brainpilot_rt.supervision.skills import Skills
from brainpilot_rt.supervision.sources import Sources
from brainpilot_rt.supervision.storage import Storage
from brainpilot_rt.supervision.summaries import Summaries
from brainpilot_rt.supervision.supervisor import Supervisor
from brainpilot_rt.supervision.traces import Traces
from brainpilot_rt.supervision.worktrees import Worktrees
from brainpilot_rt.testing.register import Registered, registered, settings_in
from brainpilot_rt.testing.sources import START
from brainpilot_rt.testing.watcher import ManualWatcher
from brainpilot_rt.tools.mcp.server import Dial
from brainpilot_rt.tools.memory import memory_tools
from brainpilot_rt.tools.planning import planning_tools
from brainpilot_rt.tools.registry import Registry, Tool
from brainpilot_rt.tools.team import team_tools
from brainpilot_rt.workspace.files import Workspace

SESSION: Final = SessionId("s")
PATIENCE_S: Final = 7 * 24 * 3600.0
"""How long `until` waits, on the loop's clock: for ever, unless that clock jumps."""

Stream = Callable[[ModelRequest], AsyncIterator[ModelEvent]]


class LoopClock:
    """A clock that tells the event loop's time, so that on virtual time timers and dates agree.

    Made on the loop; threads may ask it too.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        return START + timedelta(seconds=self.monotonic())

    def now_ms(self) -> int:
        """Wall-clock time in whole milliseconds since the Unix epoch."""
        return int(START.timestamp() * 1000 + self.monotonic() * 1000)

    def monotonic(self) -> float:
        """Seconds of the loop."""
        return self._loop.time()


@dataclass(frozen=True)
class Team:
    """The parts a test touches, and the few steps every test takes.

    A task that died fails the test when the team is left.
    """

    organs: Organs
    supervisor: Supervisor
    backend: Backend
    office: PostOffice
    watcher: ManualWatcher
    crashes: list[tuple[str, BaseException]]
    """Tasks that died; a test that wants one to die clears it."""

    async def create(self, session: SessionId = SESSION) -> None:
        """Create a session."""
        await self.backend.create_session(NewSession(session=session))

    async def post(
        self, text: str, agent: str | None = None, session: SessionId = SESSION
    ) -> Posted:
        """Say something as the user."""
        return await self.backend.post_message(session, agent=agent, content=text, message_id=None)

    async def stop(self, agent: str | None = None, session: SessionId = SESSION) -> Interrupted:
        """Stop the session or one agent."""
        known = self.state(session).agents
        name = next((one for one in known if one == agent), None)
        return await self.backend.interrupt(session, name)

    def state(self, session: SessionId = SESSION) -> SessionState:
        """The committed state."""
        return self.organs.manager.state(session)

    async def until(
        self, met: Callable[[SessionState], object], session: SessionId = SESSION
    ) -> SessionState:
        """Wait until the committed state is as wanted; `TimeoutError` when it never will be."""
        await self.organs.manager.load(session)
        changed = asyncio.Event()
        undo = self.organs.hub.listen(lambda _item: changed.set())
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not met(self.state(session)):
                    changed.clear()
                    await changed.wait()
        finally:
            undo()
        return self.state(session)

    async def settled(self, session: SessionId = SESSION) -> SessionState:
        """Wait until nothing is at work or about to be."""
        return await self.until(lambda state: not snapshot.working(state), session)

    async def events(self, session: SessionId = SESSION) -> list[Recorded]:
        """The session's log."""
        found: list[Recorded] = []
        while page := await self.organs.log.read(session, after=len(found)):
            found += page
        return found

    async def violations(self, session: SessionId = SESSION) -> list[str]:
        """What the audit finds."""
        audit = Audit(session).feed(await self.events(session))
        return [f"{one.what} {one.which}" for one in audit.violations()]


def plain_profile(_role: str) -> Profile:
    """The personas' tools with a prompt of one line, so that a start reads no files."""

    def create(context: RequestContext) -> AgentDefinition:
        persona = PERSONAS.get(context.role)
        return define_agent(
            id=context.agent,
            role=context.role,
            system="A test.",
            tools=persona.tools if persona else ("send_message",),
            max_turns=context.max_turns,
            programs=persona.programs if persona else ("react",),
        )

    return Profile("plain", create)


async def _nothing_found(_session: SessionId, _tree: Workspace, _q: str, _k: int) -> Passages:
    return Passages()


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a test may want otherwise."""

    tools: Sequence[Tool] = ()
    """Beside the tools of the team."""
    limits: SessionLimits = field(default_factory=SessionLimits)
    agents: AgentSettings = field(default_factory=AgentSettings)
    thinking: ThinkingSettings = field(default_factory=ThinkingSettings)
    search: Callable[[SessionId, Workspace, str, int], Awaitable[Passages]] = _nothing_found
    """What retrieval finds."""
    free: bool = False
    """Model calls cost nothing, so that messages are classified by the model."""
    providers: Providers = field(default_factory=Providers)
    """The models there are; `stream` answers for all of them."""
    paid: bool = False
    """Model calls cost money, so that they reserve it first."""
    budgets: BudgetSettings = field(default_factory=BudgetSettings)
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    guard: GuardSettings = field(default_factory=GuardSettings)
    servers: "Dial | None" = None
    """How MCP servers are reached."""
    mail: bool = False
    """Serve mailbox directories."""
    clock: Clock | None = None
    """Instead of one that tells the loop's time."""
    new_id: NewId | None = None
    audited: bool = True
    """Look for work without a terminal record when the team has ended (I-12)."""

    def conversations(self, log: EventLog, hub: Hub) -> Conversations:
        """As many as the settings say."""
        agents = self.agents
        chars_max = agents.context_chars_max
        return Conversations(log, hub, keep_max=agents.conversations_max, chars_max=chars_max)

    def settings(self, root: Path) -> Settings:
        """The tree of settings."""
        return settings_in(
            root,
            sessions=self.limits,
            budgets=self.budgets,
            routing=self.routing,
            guard=self.guard,
        )


class _Parts:
    """What the team is made of, bottom up."""

    def __init__(self, log: EventLog, stream: Stream, root: Path, setup: Setup) -> None:
        self.crashes: list[tuple[str, BaseException]] = []
        self.tasks = TaskSet(on_crash=self._crashed)
        clock = setup.clock or LoopClock()
        new_id = setup.new_id or UlidSource(clock)
        hub = Hub(clock.now_ms)
        self.liveness = Liveness(clock.now_ms)
        hub.listen(self._on_item)
        self.register = self._registered(log, hub, (clock, new_id), root, setup)
        self.manager = self.register.manager
        self.room = MailRoom(self.manager, hub, new_id=new_id)
        self.watcher = ManualWatcher()
        self.office = PostOffice(
            root / "mail",
            self.room.handlers(),
            watcher=self.watcher,
            sources=(clock, new_id),
            policy=PostPolicy(),
            on_crash=self._crashed,
        )
        self.traces = Traces(log, hub)
        memories = Memories(log, hub.listen, self.manager.dispatch, clock)
        self.worktrees = Worktrees(self.manager, root / "data", root / "mail", {})
        tools = [*team_tools(), *planning_tools(), *memory_tools(memories), *setup.tools]
        self.organs = Organs(
            manager=self.manager,
            hub=hub,
            log=log,
            liveness=self.liveness,
            conversations=setup.conversations(log, hub),
            stream=stream,
            model_of=lambda _provider, _model: None,
            tools=partial(self._tools, tools),
            search=setup.search,
            workspace=self.worktrees.of,
            skills=Skills((), log, self.manager.record),
            shown=Shown(log, hub, Sources(root / "agents")),
            profile=self._profile,
            materials=self.register.kept.agents.materials,
            grants=self.register.crew.grants,
            prompts=dict,
            memories=memories,
            trace_nodes=self.traces.nodes,
            load_trace=self.traces.load,
            destroy=self._destroy,
            tasks=self.tasks,
            clock=clock,
            new_id=new_id,
            settings=setup.agents,
            thinking=setup.thinking,
            free=lambda _model: setup.free,
            attempts_max=setup.limits.attempts_max,
            governing=self.register.kept.governing(
                stream, lambda: setup.providers, lambda _model: not setup.paid
            ),
        )
        Summaries(self.organs)
        self.supervisor = Supervisor(self.organs, self.tasks, clock)

    def _registered(
        self, log: EventLog, hub: Hub, sources: tuple[Clock, NewId], root: Path, setup: Setup
    ) -> Registered:
        def tree(session: SessionId) -> Workspace:
            return self.worktrees.of(session)

        return registered(log, hub, sources, setup.settings(root), tree, setup.servers)

    async def _tools(self, ours: Sequence[Tool], session: SessionId, agent: AgentName) -> Registry:
        foreign = await self.register.kept.mcp.tools_for(session, agent)
        return Registry([*ours, *foreign])

    def _profile(self, role: str) -> Profile:
        registered = self.register.kept.agents.knows(role)
        return self.register.crew.profile(role) if registered else plain_profile(role)

    def _on_item(self, item: Item) -> None:
        self.liveness.touch()
        self.liveness.changed(item.session)

    def _crashed(self, name: str, cause: BaseException) -> None:
        self.crashes.append((name, cause))

    async def _destroy(self, session: SessionId, agent: AgentName, by: AgentName) -> None:
        await self.supervisor.destroy(session, agent, by)

    def backend(self) -> Backend:
        return Backend(
            self.organs,
            self.supervisor,
            office=self.office,
            worktrees=self.worktrees,
            traces=self.traces,
            lag=LoopLag(self.organs.clock, interval_s=1.0, window=4),
            storage=Storage(self.manager, self.organs.log),
            governed=lambda create: self.register.kept.views(
                self.organs.governing, self.organs.memories, Providers, create
            ),
            identity=("test", "test"),
            begin_stop=lambda: None,
            memory_full=lambda: False,
        )


@asynccontextmanager
async def team(
    log: EventLog, stream: Stream, root: Path, setup: Setup | None = None
) -> AsyncGenerator[Team]:
    """Build a team over a log, repair what the log left open, work, and stop it in order."""
    setup = setup or Setup()
    parts = _Parts(log, stream, root, setup)
    await parts.register.kept.records.load()
    await parts.organs.governing.load()
    sessions, _counts = await boot.repair_sessions(parts.manager, log)
    if setup.mail:
        unsettled = boot.open_mailboxes(parts.office, sessions)
        parts.room.follow(parts.office, parts.tasks)
        await boot.reconcile(parts.manager, parts.room, unsettled)
        await parts.office.start()
    await parts.supervisor.start()
    try:
        yield Team(
            parts.organs,
            parts.supervisor,
            parts.backend(),
            parts.office,
            parts.watcher,
            parts.crashes,
        )
    finally:
        parts.liveness.closing = True
        await parts.supervisor.close()
        await parts.office.stop()
        await parts.register.kept.close()
        await parts.tasks.close(5.0)
    if parts.crashes:
        raise parts.crashes[0][1]
    if setup.audited:
        await _audited(log)


async def _audited(log: EventLog) -> None:
    """Every test ends with it: what was accepted is done, or somebody can still do it."""
    for row in await log.sessions():
        found = await boot.audit_session(log, row.session)
        assert not found, found
