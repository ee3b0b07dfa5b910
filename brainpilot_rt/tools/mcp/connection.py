"""One connection to a server as the SDK sees it, with a count of what the server says unasked.

The SDK starts a task for every notification and keeps answering requests, so a server that talks
without end would have the whole loop. Here each of its messages costs a credit, a call gives one,
and time gives some back; without credit the connection ends. Progress and log lines cost theirs and
go no further: nothing of ours reads them.

A connection ends once, and `why` says of what; `lost` is set before anyone who waits for an answer
hears of it.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from typing_extensions import override

from brainpilot_rt.tools.mcp.config import McpLimits

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream, WriteStream
    from mcp.shared.message import SessionMessage

    Message: TypeAlias = SessionMessage | Exception
    Streams: TypeAlias = tuple[ReadStream[Message], WriteStream[SessionMessage]]

UNREAD: Final = frozenset({"notifications/progress", "notifications/message"})
_HINT_CHARS_MAX: Final = 300


class Connection:
    """What `mcp.Client` is given to talk through. One use."""

    def __init__(self, limits: McpLimits) -> None:
        self.lost = asyncio.Event()
        self.why = ""
        self.hint = ""
        """The last thing the transport had to say: a line of standard error, an HTTP status."""
        self.changed = asyncio.Event()
        """The server says that its tools have changed."""
        self._limits = limits
        self._credit = float(limits.unasked_burst)
        self._counted_at = asyncio.get_running_loop().time()

    def through(self, streams: "AbstractAsyncContextManager[Streams]") -> "Counted":
        """The transport to hand to the SDK."""
        return Counted(self, streams)

    def note(self, hint: str) -> None:
        """Keep what may explain an end."""
        self.hint = hint[:_HINT_CHARS_MAX]

    def expect(self) -> None:
        """One message of the server is asked for."""
        self._credit += 1

    def end(self, why: str) -> None:
        """The connection is of no more use; the first reason counts."""
        self.why = self.why or why
        self.lost.set()

    def admit(self, item: "Message") -> bool:
        """Whether a message goes on to the SDK; ends the connection when it is one too many."""
        now = asyncio.get_running_loop().time()
        earned = (now - self._counted_at) * self._limits.unasked_per_s
        self._counted_at = now
        self._credit = max(self._credit, min(self._credit + earned, self._limits.unasked_burst)) - 1
        if self._credit < 0:
            burst = self._limits.unasked_burst
            self.end(f"it sent more than {burst:,} messages that nobody had asked for")
        if isinstance(item, Exception):
            return False
        return getattr(item.message, "method", None) not in UNREAD


class Counted:
    """A transport whose messages are counted; leaving it leaves the transport below."""

    def __init__(
        self, connection: Connection, streams: "AbstractAsyncContextManager[Streams]"
    ) -> None:
        self._connection = connection
        self._streams = streams

    async def __aenter__(self) -> "Streams":
        read, write = await self._streams.__aenter__()
        return Intake(self._connection, read), write

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._streams.__aexit__(kind, error, trace)


class End(ABC):
    """An end of a stream: leaving it closes it."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        await self.aclose()


class Intake(End):
    """The stream of messages, without those that go no further."""

    def __init__(self, connection: Connection, inner: "ReadStream[Message]") -> None:
        self._connection = connection
        self._inner = inner

    def __aiter__(self) -> "ReadStream[Message]":
        return self

    async def __anext__(self) -> "Message":
        while not self._connection.lost.is_set():
            try:
                item = await anext(self._inner)
            except StopAsyncIteration:
                self._connection.end("it closed the connection")
                break
            if self._connection.admit(item):
                return item
            await asyncio.sleep(0)  # a stream with much in store never waits by itself
        raise StopAsyncIteration

    async def receive(self) -> "Message":
        """The next message; part of the SDK's contract, which does not use it."""
        return await anext(self)

    @override
    async def aclose(self) -> None:
        """Close the stream."""
        await self._inner.aclose()


def masked(text: str, secrets: Mapping[str, str]) -> str:
    """The text without values that a server was given in confidence."""
    for secret in secrets.values():
        if len(secret) >= 6:  # noqa: PLR2004 - shorter ones are words of the language
            text = text.replace(secret, "[hidden]")
    return text
