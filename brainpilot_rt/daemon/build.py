"""Builds every part of the daemon and repairs what a crash left.

lock -> log -> repair -> mail -> organs -> backend. Nothing is built anywhere else and nothing
decides here.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from brainpilot_rt import __version__
from brainpilot_rt.aiokit import process
from brainpilot_rt.aiokit.failpoints import hit
from brainpilot_rt.aiokit.lag import LoopLag
from brainpilot_rt.aiokit.lock import InstanceLock
from brainpilot_rt.aiokit.sources import Clock, NewId, SystemClock, UlidSource
from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.context.retrieval.index import Retrieval
from brainpilot_rt.daemon.governing import Base, Register
from brainpilot_rt.daemon.stop import Stop, stop_when_displaced
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import DAEMON_STREAM, AgentName, SessionId
from brainpilot_rt.eventlog.sqlite import SqliteEventLog
from brainpilot_rt.mailbox.codec import LetterLimits
from brainpilot_rt.mailbox.handlers import PostPolicy
from brainpilot_rt.mailbox.postoffice import PostOffice
from brainpilot_rt.mailbox.watcher import FileWatcher
from brainpilot_rt.models.dispatch import Dispatcher
from brainpilot_rt.sessions.hub import Hub, Item
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import Settings
from brainpilot_rt.supervision import boot
from brainpilot_rt.supervision.backend import Backend
from brainpilot_rt.supervision.conversations import Conversations
from brainpilot_rt.supervision.crew import Crew
from brainpilot_rt.supervision.governing import Governing
from brainpilot_rt.supervision.liveness import Liveness, memory_full
from brainpilot_rt.supervision.mailroom import MailRoom
from brainpilot_rt.supervision.mcp import McpServers
from brainpilot_rt.supervision.memories import Memories
from brainpilot_rt.supervision.organs import Organs
from brainpilot_rt.supervision.secrets import Secrets
from brainpilot_rt.supervision.shown import Shown
from brainpilot_rt.supervision.skills import Skills, user_libraries
from brainpilot_rt.supervision.sources import Sources
from brainpilot_rt.supervision.storage import Storage
from brainpilot_rt.supervision.summaries import Summaries
from brainpilot_rt.supervision.supervisor import Supervisor
from brainpilot_rt.supervision.template import Template
from brainpilot_rt.supervision.tokens import TokenFile
from brainpilot_rt.supervision.toolbox import marker, toolbox
from brainpilot_rt.supervision.traces import Traces
from brainpilot_rt.supervision.worktrees import Worktrees
from brainpilot_rt.tools.registry import Registry
from brainpilot_rt.tools.shell import MARKER

STOP_S: Final = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """Everything that exists."""

    settings: Settings
    manager: SessionManager
    liveness: Liveness
    supervisor: Supervisor
    backend: Backend
    tasks: TaskSet
    token: TokenFile
    secrets: Secrets
    stop: Stop
    instance_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What everything else stands on."""

    settings: Settings
    crew: Crew
    stack: AsyncExitStack
    stop: Stop
    clock: Clock
    new_id: NewId
    tasks: TaskSet
    log: SqliteEventLog
    hub: Hub
    liveness: Liveness
    manager: SessionManager
    secrets: Secrets
    token: TokenFile
    template: Template

    def base(self, worktrees: Worktrees) -> Base:
        """What the register stands on."""
        return Base(
            settings=self.settings,
            log=self.log,
            hub=self.hub,
            manager=self.manager,
            secrets=self.secrets,
            clock=self.clock,
            new_id=self.new_id,
            workspace=worktrees.of,
        )


@asynccontextmanager
async def built(
    settings: Settings, lock: InstanceLock, crew: Crew | None = None
) -> AsyncGenerator[Daemon]:
    """Build every part and repair what a crash left; close the parts in the reverse order.

    `lock`: the right to the data directory, held for as long as anything of it exists. `crew`: what
    the program that embeds the daemon adds to the team.
    """
    async with AsyncExitStack() as stack:
        hit("boot.log.before")
        ground = await _ground(settings, crew or Crew(), stack)
        hit("boot.log.after")
        manager, log = ground.manager, ground.log
        worktrees = Worktrees(
            manager, settings.data_dir, settings.mailbox_dir, settings.environment
        )
        register = await Register.opened(ground.base(worktrees), ground.crew)
        stack.push_async_callback(register.close)
        sessions, counts = await boot.repair_sessions(manager, log)
        office, missing = await _mail(ground, sessions)
        counts["files_placed"] = missing
        hit("boot.sweep.before")
        await process.end_marked(MARKER, marker(settings), grace_s=2.0)
        hit("boot.sweep.after")
        traces = Traces(log, ground.hub)
        organs, supervisor = await _organs(ground, register, worktrees, traces)
        await _money(ground, organs.governing)
        storage, lag = _watches(ground, lock)
        instance_id = ground.new_id()
        backend = Backend(
            organs,
            supervisor,
            office=office,
            worktrees=worktrees,
            traces=traces,
            lag=lag,
            storage=storage,
            governed=lambda create: register.views(
                organs.governing, organs.memories, ground.template.current, create
            ),
            identity=(__version__, instance_id),
            begin_stop=ground.stop.ask,
            memory_full=partial(memory_full, settings.mem_limit_mb),
        )
        backend.audit_violations = await boot.audit_busy(manager, log)
        started = ev.DaemonStarted(version=__version__, pid=os.getpid(), instance_id=instance_id)
        hit("boot.recorded.before")
        await manager.record(DAEMON_STREAM, started, boot.recovered(counts))
        hit("boot.recorded.after")
        yield Daemon(
            settings=settings,
            manager=manager,
            liveness=ground.liveness,
            supervisor=supervisor,
            backend=backend,
            tasks=ground.tasks,
            token=ground.token,
            secrets=ground.secrets,
            stop=ground.stop,
            instance_id=instance_id,
        )


async def _ground(settings: Settings, crew: Crew, stack: AsyncExitStack) -> _Ground:
    clock = SystemClock()
    new_id = UlidSource(clock)
    stop = Stop()
    log = await SqliteEventLog.open(
        settings.data_dir / "log.db", clock=clock, checkpoint_pages=settings.checkpoint_pages
    )
    stack.push_async_callback(log.close)
    tasks = TaskSet(on_crash=partial(_crashed, stop))
    stack.push_async_callback(tasks.close, STOP_S)
    hub = Hub(clock.now_ms)
    liveness = Liveness(clock.now_ms)

    def on_item(item: Item) -> None:
        liveness.touch()
        liveness.changed(item.session)

    hub.listen(on_item)
    secrets, template, token = await _secrets(settings, stack)
    return _Ground(
        settings=settings,
        crew=crew,
        stack=stack,
        stop=stop,
        clock=clock,
        new_id=new_id,
        tasks=tasks,
        log=log,
        hub=hub,
        liveness=liveness,
        manager=SessionManager(
            log,
            hub,
            clock=clock,
            new_id=new_id,
            limits=settings.sessions,
            redact=secrets.value,
            members=crew.members,
        ),
        secrets=secrets,
        template=template,
        token=token,
    )


async def _secrets(
    settings: Settings, stack: AsyncExitStack
) -> tuple[Secrets, Template, TokenFile]:
    """What is secret, and where it comes from: known before anything is read or written."""
    secrets = Secrets(settings.environment)
    for handler in logging.getLogger().handlers:
        handler.addFilter(secrets)
        stack.callback(handler.removeFilter, secrets)
    template = Template(settings, secrets.learn_providers)
    await template.probe()
    template.current()
    token = TokenFile(settings.data_dir, lambda token: secrets.learn({token: "token"}))
    token.ensure()
    return secrets, template, token


async def _mail(ground: _Ground, sessions: list[SessionId]) -> tuple[PostOffice, int]:
    """Replay what the log promised, arm the watcher, take in what lies there."""
    mail = ground.settings.mail
    room = MailRoom(ground.manager, ground.hub, new_id=ground.new_id)
    office = PostOffice(
        ground.settings.mailbox_dir,
        room.handlers(),
        watcher=FileWatcher(lambda what: _log.warning("mailbox watcher: %s", what)),
        sources=(ground.clock, ground.new_id),
        policy=PostPolicy(
            rescan_s=mail.rescan_s,
            done_max=mail.done_max,
            letters=LetterLimits(bytes_max=mail.letter_bytes_max),
        ),
        on_crash=partial(_crashed, ground.stop),
    )
    unsettled = boot.open_mailboxes(office, sessions)
    room.follow(office, ground.tasks)
    ground.stack.push_async_callback(office.stop)
    hit("boot.outbox.before")
    missing = await boot.reconcile(ground.manager, room, unsettled)
    hit("boot.outbox.after")
    await office.start()
    hit("boot.scan.after")
    return office, missing


async def _organs(
    ground: _Ground, register: Register, worktrees: Worktrees, traces: Traces
) -> tuple[Organs, Supervisor]:
    settings = ground.settings
    retrieval = await _retrieval(ground)
    dispatcher = Dispatcher(ground.template.current(), clock=ground.clock, new_id=ground.new_id)
    ground.stack.push_async_callback(dispatcher.close)
    # The probe of the sandbox starts processes: nobody waits for it but the first run.
    skills = Skills(user_libraries(settings), ground.log, ground.manager.record)
    memories = Memories(ground.log, ground.hub.listen, ground.manager.dispatch, ground.clock)
    box = toolbox(settings, skills, memories, ground.liveness)
    ours = ground.tasks.spawn(box, name="toolbox")
    crew = ground.crew
    made: list[Supervisor] = []

    async def destroy(session: SessionId, agent: AgentName, by: AgentName) -> None:
        await made[0].destroy(session, agent, by)

    organs = Organs(
        manager=ground.manager,
        hub=ground.hub,
        log=ground.log,
        liveness=ground.liveness,
        conversations=_conversations(ground),
        stream=crew.stream or dispatcher.stream,
        model_of=partial(ground.template.model_of, dispatcher),
        free=lambda model: crew.stream is None and dispatcher.is_free(model),
        tools=partial(_tools, ours, register.mcp),
        search=retrieval.search_fresh,
        gauges=lambda: {**retrieval.gauges(), **register.mcp.gauges()},
        workspace=worktrees.of,
        skills=skills,
        shown=Shown(
            ground.log, ground.hub, Sources(ground.template.folder / "agents", ground.secrets.text)
        ),
        profile=crew.profile,
        materials=register.agents.materials,
        grants=crew.grants,
        prompts=ground.template.prompts,
        memories=memories,
        trace_nodes=traces.nodes,
        load_trace=traces.load,
        destroy=destroy,
        tasks=ground.tasks,
        clock=ground.clock,
        new_id=ground.new_id,
        settings=settings.agents,
        thinking=settings.thinking,
        attempts_max=settings.sessions.attempts_max,
        secrets=ground.secrets,
        governing=register.governing(
            crew.stream or dispatcher.stream,
            lambda: dispatcher.providers,
            lambda model: crew.stream is not None or dispatcher.costs_nothing(model),
        ),
    )
    Summaries(organs)
    supervisor = Supervisor(organs, ground.tasks, ground.clock)
    made.append(supervisor)
    return organs, supervisor


async def _tools(
    ours: asyncio.Task[Registry], mcp: McpServers, session: SessionId, agent: AgentName
) -> Registry:
    foreign = await mcp.tools_for(session, agent)
    return Registry([*await asyncio.shield(ours), *foreign])


def _watches(ground: _Ground, lock: InstanceLock) -> tuple[Storage, LoopLag]:
    storage = Storage(ground.manager, ground.log)
    ground.tasks.spawn(storage.watch(), name="watch over the log", endless=True)
    lag = LoopLag(ground.clock, interval_s=0.25, window=240, watchdog=True)
    lag.start(ground.tasks)
    watch = stop_when_displaced(lock, ground.stop)
    ground.tasks.spawn(watch, name="watch over the data directory", endless=True)
    return storage, lag


def _conversations(ground: _Ground) -> Conversations:
    agents = ground.settings.agents
    return Conversations(
        ground.log,
        ground.hub,
        keep_max=agents.conversations_max,
        chars_max=agents.context_chars_max,
    )


async def _money(ground: _Ground, governing: Governing) -> None:
    """Budgets before the first call; what was learnt of models may come later."""
    hit("boot.money.before")
    await governing.load()
    hit("boot.money.after")
    ground.tasks.spawn(governing.router.load(), name="memory of rewards")


async def _retrieval(ground: _Ground) -> Retrieval:
    settings = ground.settings
    retrieval = await Retrieval.open(
        settings.data_dir / "retrieval.db", settings.search, ground.secrets.text
    )
    ground.stack.push_async_callback(retrieval.close)
    forgetting = ground.hub.listen(partial(_forget_tree, retrieval))
    ground.stack.callback(forgetting)
    return retrieval


def _forget_tree(retrieval: Retrieval, item: Item) -> None:
    if isinstance(item, ev.Recorded) and isinstance(item.event, ev.SessionDeleted):
        retrieval.sweep_soon()


def _crashed(stop: Stop, name: str, cause: BaseException) -> None:
    """A worker's crash is its own; a crash of an endless task ends the daemon in order."""
    _log.critical("%s crashed: %r", name, cause)
    if not name.startswith(("run ", "wake ", "stall notice", "memory ")):
        stop.because(f"{name} crashed")
