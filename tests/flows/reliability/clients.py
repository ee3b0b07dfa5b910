"""A reader of the SSE stream that leaves, stalls and resumes, and checks what it got."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.server.cursors import Cursor, parse_session_cursor
from brainpilot_rt.server.stream import EventStream, Streams


class Reader:
    """One client over all its connections."""

    def __init__(self, session: SessionId) -> None:
        self.session = session
        self.keys: list[str] = []
        """Cursors of the lasting frames, since the beginning or the last reset."""
        self.faults: list[str] = []
        self._rest = b""
        self._left: asyncio.Event | None = None
        self._open = asyncio.Event()
        self._alive = False

    @property
    def connected(self) -> bool:
        """Whether a connection is open."""
        return self._alive

    def cut(self) -> None:
        """The connection is gone, as seen from here; what comes late is not heard."""
        self._alive = False
        self._rest = b""

    def stall(self, *, on: bool) -> None:
        """Stop reading, or go on."""
        if on:
            self._open.clear()
        else:
            self._open.set()

    def leave(self) -> None:
        """Close the connection."""
        if self._left is not None:
            self._left.set()
        self.stall(on=False)
        self.cut()

    def follow(self, streams: Streams) -> Coroutine[Any, Any, None]:
        """Connect where the last connection ended."""
        self._left = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self._alive = True
        cursor = parse_session_cursor(self.keys[-1]) if self.keys else Cursor()
        return self._read(streams.of_session(self.session, cursor), self._left, self._open)

    async def _read(self, stream: EventStream, left: asyncio.Event, going: asyncio.Event) -> None:
        async def receive() -> dict[str, Any]:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            await going.wait()
            if self._alive and left is self._left:
                self._hear(message.get("body", b""))

        try:
            await stream({"type": "http"}, receive, send)
        finally:
            if left is self._left:
                self.cut()

    def _hear(self, data: bytes) -> None:
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        for block in blocks:
            if block.startswith(b"id: "):
                self._lasting(block.split(b"\n", 1)[0][4:].decode())
            elif b'"stream_reset"' in block:
                self.keys.clear()

    def _lasting(self, key: str) -> None:
        place = parse_session_cursor(key).place
        last = parse_session_cursor(self.keys[-1]).place if self.keys else 0
        if key in self.keys[-64:]:
            self.faults.append(f"{self.session}: frame {key} came twice")
        if place not in (last, last + 1):
            self.faults.append(f"{self.session}: from {last} to {key}: a gap")
        self.keys.append(key)
