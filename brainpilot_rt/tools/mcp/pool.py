"""All MCP servers of a daemon: which there are, how they are, and the tools they give.

Nothing is started before `load`; a set that replaces another stops and starts only the servers
whose configuration has changed. A server of an untrusted file is listed and waits for consent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, cast

from pydantic import ConfigDict, model_validator

from brainpilot_rt.aiokit.sources import NewId
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.mcp.config import McpLimits, ServerConfig
from brainpilot_rt.tools.mcp.connection import Connection
from brainpilot_rt.tools.mcp.definitions import Definition
from brainpilot_rt.tools.mcp.http import http
from brainpilot_rt.tools.mcp.server import Dial, Server, Surroundings
from brainpilot_rt.tools.mcp.stdio import stdio
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput
from brainpilot_rt.tools.shell import MARKER

if TYPE_CHECKING:
    from brainpilot_rt.tools.mcp.connection import Streams

PoolState: TypeAlias = Literal["unconfigured", "not_loaded", "ready", "degraded", "failed"]


@dataclass(frozen=True, slots=True)
class McpTool(Tool):
    """A tool of a server; `definition` has the server's name, the digest and the hints."""

    definition: Definition
    call: Callable[[dict[str, Any]], Awaitable[ToolOutput]]
    """The same without a run around it."""


class ForeignArguments(Arguments):
    """Arguments of a foreign schema: what is missing is said here, the rest the server checks.

    Not by a validator of JSON Schema: the patterns of a stranger would run on our loop.
    """

    model_config = ConfigDict(extra="allow")

    wanted: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        missing = cls.wanted - cast("dict[str, Any]", given).keys() if given else cls.wanted
        if missing:
            raise ValueError(f"missing: {', '.join(sorted(missing))}")
        return given


class McpPool:
    """The servers, by name."""

    def __init__(self, around: Surroundings, *, allowed: Iterable[str] = ()) -> None:
        """`allowed`: digests (`ServerConfig.content`) that consent was given to before."""
        self._around = around
        self._allowed = set(allowed)
        self._servers: dict[str, Server] = {}
        self._tools: dict[str, McpTool] = {}
        self._problems: tuple[str, ...] = ()
        self._loaded = False

    async def use(self, configs: Sequence[ServerConfig], problems: Sequence[str] = ()) -> None:
        """Have these servers and no others; of two with one name the first counts.

        `problems`: what was wrong with their files, for the status.
        """
        wanted: dict[str, ServerConfig] = {}
        twice: list[str] = []
        for config in configs:
            if config.name in wanted:
                twice.append(f"server {config.name!r} is configured twice; the first counts")
            wanted.setdefault(config.name, self._judged(config))
        before, self._servers = self._servers, {}
        for name, config in wanted.items():
            known = before.get(name)
            same = (
                known is not None
                and known.config.fingerprint == config.fingerprint
                and known.config.trusted == config.trusted
            )
            if same:
                self._servers[name] = before.pop(name)
            else:
                pins = known.digests if known else None
                self._servers[name] = Server(config, self._around, pins)
        self._problems = (*problems, *twice)
        self._start()
        await _together(server.stop() for server in before.values())

    async def load(self) -> None:
        """Start what is not started, and wait until each server is ready or has failed once."""
        self._loaded = True
        self._start()
        await _together(server.settled() for server in self._servers.values())

    async def allow(self, name: str) -> str | None:
        """Consent to a server as its file describes it now; the digest to remember, if any.

        Consent to another content of the entry has to be given again.
        """
        server = self._servers.get(name)
        if server is None or server.state != "needs_consent":
            return None
        self._allowed.add(server.config.content)
        self._servers[name] = Server(self._judged(server.config), self._around)
        if self._loaded:
            await self.load()
        return server.config.content

    async def restart(self, name: str) -> bool:
        """Connect to a server anew, at once; False when there is no such server to connect to."""
        server = self._servers.get(name)
        if server is None or server.state == "needs_consent":
            return False
        await server.stop()
        server.start()
        await server.settled()
        return True

    async def close(self) -> None:
        """Stop every server."""
        self._loaded = False
        await _together(server.stop() for server in self._servers.values())

    def tools(self) -> list[McpTool]:
        """The tools of every server that has been ready; a server that is down keeps its own.

        Of two with one name the first counts, in the order of the servers' names.
        """
        found: dict[str, McpTool] = {}
        for _, server in sorted(self._servers.items()):
            if server.state in {"ready", "connecting", "failed"}:
                for definition in server.definitions.values():
                    name = definition.spec.name
                    if name not in found:
                        found[name] = self._tool(server, definition)
        self._tools = found
        return list(found.values())

    def digest(self, name: str) -> str | None:
        """The digest of a tool as its server defines it now, by the name a model uses."""
        return next((one.definition.digest for one in self.tools() if one.name == name), None)

    def status(self) -> dict[str, Any]:
        """What `GET /mcp/status` says."""
        servers = [_told(server) for _, server in sorted(self._servers.items())]
        return {"state": self._state(), "servers": servers, "problems": list(self._problems)}

    def _state(self) -> PoolState:
        states = [server.state for server in self._servers.values()]
        counted = [state for state in states if state not in {"needs_consent", "stopped"}]
        if not states:
            return "unconfigured"
        if counted and all(state == "ready" for state in counted):
            return "ready"
        if "ready" in counted:
            return "degraded"
        return "failed" if "failed" in counted else "not_loaded"

    def _judged(self, config: ServerConfig) -> ServerConfig:
        return replace(config, trusted=config.trusted or config.content in self._allowed)

    def _start(self) -> None:
        for server in self._servers.values() if self._loaded else ():
            server.start()

    def _tool(self, server: Server, definition: Definition) -> McpTool:
        known = self._tools.get(definition.spec.name)
        if known is not None and known.definition is definition:
            return known

        call = partial(server.call, definition)

        async def run(_: ToolContext, given: ForeignArguments) -> ToolOutput:
            return await call(dict(given.model_extra or {}))

        wanted = frozenset(definition.spec.parameters.get("required", ()))
        arguments = type("Foreign", (ForeignArguments,), {"wanted": wanted})
        return McpTool(
            spec=definition.spec, arguments=arguments, run=run, definition=definition, call=call
        )


def dialer(limits: McpLimits, *, cwd: Path, marker_prefix: str, new_id: NewId) -> Dial:
    """How servers are reached.

    `cwd`: where programs start. `marker_prefix`: marks their processes as this data directory's, so
    that the next daemon ends what a killed one left.
    """

    def dial(
        config: ServerConfig, connection: Connection
    ) -> "AbstractAsyncContextManager[Streams]":
        if config.kind == "stdio":
            return stdio(
                config,
                connection,
                message_bytes_max=limits.message_bytes_max,
                cwd=cwd,
                mark=(MARKER, f"{marker_prefix}:mcp:{new_id()}"),
            )
        return http(
            config,
            connection,
            message_bytes_max=limits.message_bytes_max,
            connect_s=limits.connect_s,
        )

    return dial


def _told(server: Server) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": server.config.name,
        "state": server.state,
        "transport": server.config.kind,
        "tools": len(server.definitions),
    }
    extras = {
        "protocol": server.protocol,
        "error": server.problem,
        "notes": list(server.notes),
    }
    if server.state == "needs_consent":
        extras |= {"runs": server.config.summary, "uses": list(server.config.uses)}
    return told | {key: value for key, value in extras.items() if value}


async def _together(work: Iterable[Awaitable[None]]) -> None:
    async def done(one: Awaitable[None]) -> None:
        await one

    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(done(one))
