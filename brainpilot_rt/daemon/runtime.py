"""`Runtime`: the daemon inside of a program.

The same parts as `serve`, built in the same order on the same directory: one lock, one log, the
mailboxes, and the repair of what a crash left. What differs belongs to the process: no signals, no
umask, no guard over its memory, nothing printed, and no port unless asked for. It works in a task
of its own, so that it ends as one thing, whoever of the program's tasks is cancelled.

    async with Runtime("data", model="offline") as runtime:
        session = await runtime.session("notes", workspace="docs")
        print(await session.ask("Which packages are imported lazily?"))
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, Self

from brainpilot_rt.agents.definition import AgentDefinition, OwnTool, Profile, parse_model
from brainpilot_rt.aiokit.lock import AlreadyOwned
from brainpilot_rt.aiokit.tasks import finish_shielded, spawn
from brainpilot_rt.daemon.build import Daemon, built
from brainpilot_rt.daemon.listener import PortTaken, bound
from brainpilot_rt.daemon.session import Feeds, Session
from brainpilot_rt.daemon.work import at_work, claimed, make_folders
from brainpilot_rt.domain.errors import Conflict, RuntimeFault, Unavailable
from brainpilot_rt.domain.events import Thinking
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.sessions.views import SessionSummary
from brainpilot_rt.settings import Settings, load
from brainpilot_rt.supervision.answers import NewSession
from brainpilot_rt.supervision.crew import Crew, Stream
from brainpilot_rt.supervision.whereabouts import Ready, take_back

CLOSE_S: Final = 60.0
"""Longest wait for the end; beyond it only a blocking function of a tool can be the cause."""

_log = logging.getLogger(__name__)


class Runtime:
    """A team of agents in this process; an async context manager, to be entered once.

    Raises errors of `domain/errors.py` only: `Conflict` when another process, or another `Runtime`,
    has the directory, `BadSettings`, `Unavailable` for trouble with the storage.
    """

    def __init__(
        self,
        data_dir: str | Path | None = None,
        *,
        agents: Iterable[AgentDefinition | Profile] = (),
        tools: Iterable[OwnTool] = (),
        model: str | Stream | None = None,
        serve: bool = False,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Describe it; nothing is touched before it is entered.

        Args:
            data_dir: Where the log and everything else lies; the daemon's own place unless given.
            agents: Members of the team beside the seven, known in every session by their names.
            tools: Tools for everybody.
            model: `"offline"`, `"provider:model"` for new sessions, or a function that answers
                instead of any provider. None: what the environment and the settings say.
            serve: True: listen for HTTP too; `url` says where.
            settings: Group -> field -> value, over what `config.toml` and the environment say.
        """
        overrides = {group: dict(values) for group, values in (settings or {}).items()}
        stream = model if callable(model) else None
        self._bind: ModelRef | None = None
        if model == "offline" or stream is not None:  # no provider is asked, or even looked for
            overrides.setdefault("models", {})["offline"] = True
            if stream is not None:  # it is a model for agents, not one to judge messages
                overrides.setdefault("thinking", {}).setdefault("classifier", "heuristic")
        elif isinstance(model, str):
            self._bind = parse_model(model)
        self.url: str | None = None
        """Where it listens, while it does."""
        self._data_dir = data_dir
        self._overrides = overrides
        self._crew = Crew(agents, tools, stream)
        self._serve = serve
        self._feeds = Feeds()
        self._daemon: Daemon | None = None
        self._life: asyncio.Task[None] | None = None
        self._trouble = ""

    async def __aenter__(self) -> Self:
        if self._life is not None:
            raise Conflict("a Runtime is entered once; make another")
        settings = load(data_dir=self._data_dir, overrides=self._overrides)
        for warning in settings.warnings:
            _log.warning("settings: %s", warning)
        working: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._life = spawn(self._live(settings, working), name="runtime", on_crash=self._crashed)
        try:
            await asyncio.wait({working, self._life}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                self._life.result()
            working.result()
        except BaseException:
            self._life.cancel()
            await finish_shielded(asyncio.wait({self._life}))
            raise
        return self

    async def __aexit__(self, raised: object, *_: object) -> None:
        await finish_shielded(self._end())
        if self._trouble and raised is None:
            raise Unavailable(self._trouble)

    async def session(
        self,
        session: str | None = None,
        *,
        workspace: str | Path | None = None,
        title: str | None = None,
        thinking: Thinking = "off",
    ) -> Session:
        """The session of that name, made if there is none; without a name a new one.

        Args:
            session: Its id, `[a-z0-9][a-z0-9-]*` or a UUID.
            workspace: A folder the agents work in; a fresh one unless given.
            title: For people.
            thinking: How much models that can are to reason.
        """
        backend = self._running().backend
        wanted = NewSession(
            title=title,
            session=session,
            provider_id=self._bind.provider if self._bind else None,
            model_id=self._bind.model if self._bind else None,
            thinking=thinking,
            workspace=_absolute(workspace) if workspace else None,
        )
        return Session(backend, self._feeds, (await backend.create_session(wanted)).session)

    async def sessions(self) -> list[SessionSummary]:
        """Every session of the data directory."""
        return await self._running().backend.list_sessions()

    @property
    def mailbox_dir(self) -> Path:
        """Root of the mailbox directories, where any process may join a session."""
        return self._running().settings.mailbox_dir

    def _running(self) -> Daemon:
        if self._daemon is None or self._daemon.stop.asked.is_set():
            raise Unavailable("this Runtime is not open: use it inside of `async with`")
        return self._daemon

    async def _live(self, settings: Settings, working: asyncio.Future[None]) -> None:
        """Its whole life; what keeps it from beginning is the result of `working`."""
        try:
            make_folders(settings)
            with (
                claimed(settings) as lock,
                bound(settings) if self._serve else nullcontext() as listener,
            ):
                async with built(settings, lock, self._crew) as daemon:
                    try:
                        async with at_work(daemon, listener, self._listens):
                            self._daemon = daemon
                            working.set_result(None)
                            await daemon.stop.asked.wait()
                            self._feeds.close()
                    finally:
                        if self._serve and lock.in_place():
                            take_back(settings)
                self._trouble = daemon.stop.trouble or ""
        except AlreadyOwned as owned:
            why = f"{owned}: a data directory has one Runtime, or one daemon"
            self._fail(working, Conflict(why, code="already_owned"))
        except (PortTaken, OSError, RuntimeFault) as fault:
            known = fault if isinstance(fault, RuntimeFault) else Unavailable(str(fault))
            self._fail(working, known)
        finally:
            self._feeds.close()
            self.url = None

    def _listens(self, ready: Ready) -> None:
        self.url = ready.url

    def _fail(self, working: asyncio.Future[None], fault: RuntimeFault) -> None:
        if working.done():
            self._trouble = fault.message
        else:
            working.set_exception(fault)

    def _crashed(self, name: str, cause: BaseException) -> None:
        self._trouble = f"{name} crashed: {type(cause).__name__}"

    async def _end(self) -> None:
        assert self._life is not None
        if self._daemon is not None:
            self._daemon.stop.ask()
        await asyncio.wait({self._life}, timeout=CLOSE_S)
        if not self._life.done():
            self._trouble = "a blocking function of a tool does not return; what waits for it hangs"
            _log.error("the runtime does not end: %s", self._trouble)


def _absolute(folder: str | Path) -> str:
    return str(Path(folder).expanduser().absolute())
