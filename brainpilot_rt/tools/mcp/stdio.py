"""A server that is a program: messages are lines of its standard streams.

Not by the SDK's own transport, which keeps a line of any length in memory and hands standard error
through. Here a line has a bound, standard error goes to our log, bounded, and the process carries a
mark in its environment, by which the next daemon finds what a killed one left.

A process ends as the protocol asks: its input is closed, and it is given time; then its group is
asked, then killed, then whatever of it left the group.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from brainpilot_rt.aiokit import process
from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.tools.mcp.config import ServerConfig
from brainpilot_rt.tools.mcp.connection import Connection, End, masked

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream
    from mcp.shared.message import SessionMessage

    from brainpilot_rt.tools.mcp.connection import Message, Streams

_log = logging.getLogger(__name__)

_GRACE_S: Final = 1.0
_LOOK_AGAIN_S: Final = 0.02
_LOGGED_BYTES_MAX: Final = 64 * 1024
"""Of the standard error of one process."""
_LOG_LINE_MAX: Final = 500


@asynccontextmanager
async def stdio(
    config: ServerConfig,
    connection: Connection,
    *,
    message_bytes_max: int,
    cwd: Path,
    mark: tuple[str, str],
) -> "AsyncGenerator[Streams]":
    """Start the program; OSError when it can not be. It has ended when this is left.

    It inherits a handful of harmless variables (the SDK's choice: HOME, PATH and the like), never
    the environment of the daemon.
    """
    from mcp.client.stdio import get_default_environment

    try:
        child = await asyncio.create_subprocess_exec(
            config.command,
            *config.args,
            cwd=cwd / (config.cwd or ""),
            env={**get_default_environment(), **config.env, mark[0]: mark[1]},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=message_bytes_max,
        )
    except FileNotFoundError as error:
        words = f"there is no program {config.command!r}, or its folder is missing"
        raise FileNotFoundError(error.errno, words) from error
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        async with asyncio.TaskGroup() as group:
            said = _follow(child.stderr, config, connection)
            listening = group.create_task(said, name=f"standard error of {config.name}")
            try:
                yield (
                    Lines(child.stdout, message_bytes_max, connection),
                    Pipe(child.stdin, connection),
                )
            finally:
                listening.cancel()
    finally:
        await finish_shielded(_end(child, mark))


class Lines(End):
    """What the program says, one message a line."""

    def __init__(
        self, stream: asyncio.StreamReader, bytes_max: int, connection: Connection
    ) -> None:
        self._stream = stream
        self._bytes_max = bytes_max
        self._connection = connection

    def __aiter__(self) -> "ReadStream[Message]":
        return self

    async def __anext__(self) -> "Message":
        from mcp.shared.message import SessionMessage
        from mcp.types import jsonrpc_message_adapter

        try:
            line = await self._stream.readline()
        except ValueError:
            self._connection.end(f"it sent a message longer than {self._bytes_max:,} bytes")
            raise StopAsyncIteration from None
        except OSError:
            raise StopAsyncIteration from None
        if not line:
            raise StopAsyncIteration
        try:
            return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
        except ValueError:
            return ValueError(f"no message: {line[:80]!r}")

    async def receive(self) -> "Message":
        """The next message."""
        return await anext(self)

    @override
    async def aclose(self) -> None:
        """Nothing: the pipe ends with the process."""


class Pipe(End):
    """What the program is told."""

    def __init__(self, stream: asyncio.StreamWriter, connection: Connection) -> None:
        self._stream = stream
        self._connection = connection

    async def send(self, item: "SessionMessage", /) -> None:
        """Write a message. When nobody reads any more, whoever waits is told by the end of all."""
        line = item.message.model_dump_json(by_alias=True, exclude_unset=True)
        try:
            self._stream.write(line.encode() + b"\n")
            await self._stream.drain()
        except (OSError, RuntimeError):
            self._connection.end("it closed its input")

    @override
    async def aclose(self) -> None:
        """Close the program's input."""
        self._stream.close()


async def _follow(
    stream: asyncio.StreamReader, config: ServerConfig, connection: Connection
) -> None:
    """Log what comes of standard error, and go on reading when it is too much."""
    name, logged = config.name, 0
    while chunk := await stream.read(1 << 14):
        lines = masked(chunk.decode("utf-8", "replace"), config.env).splitlines()
        for line in lines if logged <= _LOGGED_BYTES_MAX else ():
            _log.info("MCP server %s says: %s", name, line[:_LOG_LINE_MAX])
            connection.note(line)
        if logged <= _LOGGED_BYTES_MAX < logged + len(chunk):
            _log.warning("MCP server %s writes too much to standard error: no longer logged", name)
        logged += len(chunk)


async def _end(child: asyncio.subprocess.Process, mark: tuple[str, str]) -> None:
    """Close its input, ask its group, kill its group, and then whatever bears the mark."""
    assert child.stdin is not None
    child.stdin.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if await _gone(child):
            break
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
    await process.end_marked(*mark, grace_s=_GRACE_S)
    await _gone(child)
    # A transport whose pipes somebody still holds stays open for ever; nothing public closes it.
    child._transport.close()  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]  # noqa: SLF001


async def _gone(child: asyncio.subprocess.Process) -> bool:
    """Whether it ends in time. `wait()` would also wait for whoever has inherited its pipes."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _GRACE_S
    while child.returncode is None and loop.time() < until:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(_LOOK_AGAIN_S)
    return child.returncode is not None
