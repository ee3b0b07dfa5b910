"""One MCP server, kept connected.

The SDK's client has to be entered and left by the same task; so each server has one task that owns
its connection, starts it again when it was lost, later after each failure, and ends it. Calls come
from any task. A call is never repeated here: what became of one whose server died in the middle is
not known, and that is what its result says.

A server that stops answering is left alone: only the user's own `timeout` bounds a call, and a
cancelled call is taken back (`notifications/cancelled`) and gives its place to the next.
"""

import asyncio
import importlib
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from brainpilot_rt.aiokit.backoff import Backoff
from brainpilot_rt.aiokit.limits import Limit
from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.tools.mcp.config import McpLimits, ServerConfig
from brainpilot_rt.tools.mcp.connection import Connection, masked
from brainpilot_rt.tools.mcp.definitions import Definition, define
from brainpilot_rt.tools.mcp.results import rendered
from brainpilot_rt.tools.registry import ToolOutput

if TYPE_CHECKING:
    from mcp import Client

    from brainpilot_rt.tools.mcp.connection import Streams

_log = logging.getLogger(__name__)

ConnectMode: TypeAlias = Literal["auto", "legacy"]
State: TypeAlias = Literal[
    "not_loaded", "needs_consent", "connecting", "ready", "failed", "stopped"
]
Dial: TypeAlias = "Callable[[ServerConfig, Connection], AbstractAsyncContextManager[Streams]]"
OnChange: TypeAlias = Callable[[str, str, str | None, str | None], None]
"""Told server, tool, old digest and new digest (None: there is none) when a tool is not what it
was; called on the loop, must not block or raise."""

_RESTART: Final = Backoff(base_s=1.0, cap_s=300.0, retry_after_cap_s=0.0)
_SETTLED_S: Final = 60.0
"""A connection that has lasted so long was a good one: failures are counted anew."""
_PAGES_MAX: Final = 50
_WORDS_MAX: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What servers are given."""

    tasks: TaskSet
    dial: Dial
    on_change: OnChange
    dice: Callable[[], float]
    """A number in [0, 1)."""
    version: str
    """Ours, told to servers."""
    limits: McpLimits = field(default_factory=McpLimits)


class Server:
    """One server. `start` it, `call` it, `stop` it."""

    def __init__(
        self,
        config: ServerConfig,
        around: Surroundings,
        digests: Mapping[str, str] | None = None,
    ) -> None:
        """`digests`: of the tools that a server of that name had before."""
        self.config = config
        self.state: State = "not_loaded" if config.trusted else "needs_consent"
        self.problem = ""
        self.notes: tuple[str, ...] = ()
        """What of its tools was left out."""
        self.definitions: Mapping[str, Definition] = {}
        """By the tool's name at the server; kept while it is down: a prompt stays as it is."""
        self.digests: Mapping[str, str] = digests or {}
        """The pins: of each tool as it was last listed."""
        self._around = around
        self._link: tuple[Client, Connection] | None = None
        self._owner: asyncio.Task[None] | None = None
        self._mode: ConnectMode = "auto"
        self._settled = asyncio.Event()
        self._settled.set()
        self._slots = Limit(f"calls of MCP server {config.name}", around.limits.calls_max)

    @property
    def protocol(self) -> str:
        """The version of the protocol that was agreed on, while connected."""
        return self._link[0].protocol_version if self._link else ""

    def start(self) -> None:
        """Connect, and stay connected; does nothing when it does already, or waits for consent."""
        if self._owner is None and self.state != "needs_consent":
            self._settled.clear()
            self.state = "connecting"
            name = f"MCP server {self.config.name}"
            self._owner = self._around.tasks.spawn(self._own(), name=name, endless=True)

    async def settled(self) -> None:
        """Wait until it is ready or has failed."""
        await self._settled.wait()

    async def stop(self) -> None:
        """End the connection; returns when its process is gone."""
        if self._owner is not None:
            await self._around.tasks.cancel(self._owner)
            self._owner = None
        self._settled.set()
        self._say("stopped")

    async def call(self, definition: Definition, arguments: dict[str, Any]) -> ToolOutput:
        """Call a tool once, as long as it is still the one that was defined so."""
        name = self.config.name
        async with self._slots:
            await self._settled.wait()
            if self._link is None:
                return _failed(f"MCP server {name} is not available: {self.problem or self.state}.")
            if self.digests.get(definition.tool) != definition.digest:
                return _failed(
                    f"Tool {definition.tool} of MCP server {name} has changed since it was "
                    "offered; it was not called."
                )
            client, connection = self._link
            connection.expect()
            try:
                async with asyncio.timeout(self.config.timeout_s):
                    result = await _called(client, definition.tool, arguments)
            except Exception as error:  # noqa: BLE001 - the border to a foreign library and server
                return self._without_result(error, connection, definition)
        return rendered(result, self._around.limits.result_chars_max)

    def _without_result(
        self, error: Exception, connection: Connection, definition: Definition
    ) -> ToolOutput:
        """What to say when no result came: refused by the server, or nobody knows."""
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED, PARSE_ERROR

        name = self.config.name
        said = self._safe(_words(error))
        code = None
        if isinstance(error, MCPError):
            code = error.code
            # It may have other tools now, or have forgotten us: listing them again will show it.
            connection.changed.set()
        if code not in {None, CONNECTION_CLOSED, PARSE_ERROR}:
            return _failed(f"MCP server {name} refused the call: {said}")
        if connection.lost.is_set():
            hint = f" ({connection.hint})" if connection.hint else ""
            text = self._safe(f"MCP server {name} died during the call: {connection.why}{hint}")
        elif isinstance(error, TimeoutError):
            text = f"MCP server {name} did not answer within {self.config.timeout_s:g} s"
        elif code == CONNECTION_CLOSED:
            text = f"MCP server {name} was lost during the call: {said}"
        else:
            text = f"MCP server {name} gave no result that can be read: {said}"
        if definition.spec.effect is Effect.IRREVERSIBLE:
            may = "the call may or may not have taken effect"
            return ToolOutput(f"{text}; {may}. Find out before you call it again.", unknown=True)
        return _failed(f"{text}. Calling it again does no harm.")

    async def _own(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            self._say("connecting", self.problem)
            self._settled.clear()
            began = loop.time()
            connection = Connection(self._around.limits)
            try:
                await self._connected(connection)
                reason = connection.why
            except Exception as error:  # noqa: BLE001 - whatever a server does, it is its end alone
                reason = connection.why or _words(error)
                if self._link is None:
                    self._mode = "auto"
            finally:
                self._link = None
                self._settled.set()
            if self._owner is not None and self._owner.cancelling():
                # The SDK's scopes were unwinding and have taken the cancellation for their own.
                raise asyncio.CancelledError
            failures = 1 if loop.time() - began > _SETTLED_S else failures + 1
            # Never at once: a program that fails as it starts would start without end.
            delay_s = _RESTART.delay_s(failures, (1 + self._around.dice()) / 2)
            hint = f" ({connection.hint})" if connection.hint else ""
            self._say("failed", self._safe(f"{reason}{hint}"))
            _log.warning(
                "MCP server %s: %s; again in %.1f s", self.config.name, self.problem, delay_s
            )
            await asyncio.sleep(delay_s)

    async def _connected(self, connection: Connection) -> None:
        """Connect, list the tools, be of use until the connection is lost."""
        # On a thread: it takes a third of a second, and agents are at work.
        await asyncio.to_thread(importlib.import_module, "mcp")
        from mcp import Client
        from mcp.types import Implementation

        limits = self._around.limits

        async def heard(message: Any) -> None:
            if getattr(message, "method", None) == "notifications/tools/list_changed":
                connection.changed.set()

        async with AsyncExitStack() as stack:
            async with asyncio.timeout(limits.connect_s):
                client = await stack.enter_async_context(
                    Client(
                        connection.through(self._around.dial(self.config, connection)),
                        mode=self._mode,
                        cache=None,
                        message_handler=heard,
                        client_info=Implementation(
                            name="brainpilot-rt", version=self._around.version
                        ),
                    )
                )
                self._adopt(await _listed(client, connection, limits.tools_max))
            # A server that was an old one is not asked again: some take their time to say so.
            self._mode = "legacy" if client.session.initialize_result else "auto"
            self._link = client, connection
            self._say("ready")
            self._settled.set()
            async with asyncio.TaskGroup() as group:
                watches = [
                    group.create_task(self._relist(client, connection), name="changed tools"),
                    group.create_task(_listen(client, connection), name="told of changes"),
                ]
                await connection.lost.wait()
                for watch in watches:
                    watch.cancel()

    async def _relist(self, client: "Client", connection: Connection) -> None:
        """List the tools again whenever they have changed; a server that can not is left."""
        limits = self._around.limits
        while True:
            await connection.changed.wait()
            await asyncio.sleep(limits.relist_s)
            connection.changed.clear()
            async with asyncio.timeout(limits.connect_s):
                self._adopt(await _listed(client, connection, limits.tools_max))

    def _adopt(self, listed: list[dict[str, Any]]) -> None:
        """Take the definitions as they are now, and tell of each that is not what it was."""
        name = self.config.name
        found, self.notes = define(name, listed, self._around.limits)
        before = self.digests
        self.definitions = {one.tool: one for one in found}
        self.digests = {one.tool: one.digest for one in found}
        for tool in {**before, **self.digests} if before else ():
            old, new = before.get(tool), self.digests.get(tool)
            if old != new:
                _log.warning("MCP server %s: the definition of tool %s has changed", name, tool)
                self._around.on_change(name, tool, old, new)

    def _say(self, state: State, problem: str = "") -> None:
        self.state = state
        self.problem = problem

    def _safe(self, text: str) -> str:
        return masked(text, {**self.config.env, **self.config.headers})


async def _called(client: "Client", tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The result as JSON. MCPError, or whatever else the SDK has to say, when there is none.

    Below the SDK's `call_tool`, which sends a call again in one case, and which checks results
    against a schema of the server's: its patterns would run on our loop.
    """
    from mcp.types import CallToolRequest, CallToolRequestParams, CallToolResult

    request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments))
    result = await client.session.send_request(request, CallToolResult)
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)


async def _listed(client: "Client", connection: Connection, tools_max: int) -> list[dict[str, Any]]:
    """All its tools, page by page, as JSON; a few more than are used, so that it is noticed."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(_PAGES_MAX):
        connection.expect()
        page = await client.list_tools(cursor=cursor)
        found += [
            one.model_dump(by_alias=True, mode="json", exclude_none=True) for one in page.tools
        ]
        cursor = page.next_cursor
        if cursor is None or len(found) > tools_max:
            break
    return found


async def _listen(client: "Client", connection: Connection) -> None:
    """Ask to be told of changed tools, where the protocol wants to be asked (2026-07-28)."""
    from mcp import MCPError

    tools = client.server_capabilities.tools
    if client.session.initialize_result or not (tools and tools.list_changed):
        return
    loop = asyncio.get_running_loop()
    failures = 0
    while True:
        connection.expect()
        began = loop.time()
        try:
            async with client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    connection.changed.set()
        except (MCPError, RuntimeError) as error:
            _log.info("MCP server does not tell of changed tools: %s", error)
        failures = 1 if loop.time() - began > _SETTLED_S else failures + 1
        await asyncio.sleep(_RESTART.delay_s(failures, 1.0))
        connection.changed.set()  # what happened meanwhile was not told


def _failed(text: str) -> ToolOutput:
    return ToolOutput(text, failed=True)


def _words(error: Exception) -> str:
    """What went wrong, in few words."""
    match error:
        case ExceptionGroup(exceptions=(Exception() as first, *_)):
            return _words(first)
        case TimeoutError():
            return "it did not answer in time"
        case OSError(strerror=str(words)):
            return words
        case _:
            return (str(error).strip() or type(error).__name__)[:_WORDS_MAX]
