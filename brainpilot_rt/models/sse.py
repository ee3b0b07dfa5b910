"""Server-sent events, parsed from bytes as they come in, within bounds.

Follows the WHATWG event stream format: lines end with LF, CRLF or CR, also when a chunk ends
between the two; `data` lines of one event are joined by LF; comments, `id`, `retry` and unknown
fields are ignored; an event without data is no event. UTF-8 is decoded per line, so that a
character cut by a chunk is whole again; a byte that is no UTF-8 becomes U+FFFD. Pure: no I/O.
"""

from dataclasses import dataclass
from typing import Final

from brainpilot_rt.domain.errors import FatalFault

EVENT_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of one line, and of the data of one event. Providers send a few hundred."""

_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event: its name (`message` when it had none) and its data."""

    name: str
    data: str


class SseParser:
    """Turns chunks of bytes into events. Holds at most one unfinished event."""

    def __init__(self, bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._rest = bytearray()
        self._began = False
        self._skip_lf = False
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events this chunk completes. `FatalFault` (`protocol`) when one is too large."""
        if self._skip_lf and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._skip_lf = False
        if b"\n" not in chunk and b"\r" not in chunk:
            self._rest += chunk
            self._check(len(self._rest))
            return []
        lines = (bytes(self._rest) + chunk).splitlines(keepends=True)
        self._rest.clear()
        if not lines[-1].endswith((b"\n", b"\r")):
            self._rest += lines.pop()
            self._check(len(self._rest))
        elif lines[-1].endswith(b"\r"):
            self._skip_lf = True
        events = [self._take(line.rstrip(b"\r\n")) for line in lines]
        return [event for event in events if event]

    def _take(self, line: bytes) -> SseEvent | None:
        if not self._began:
            self._began = True
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        self._check(len(line))
        field, _, raw = line.partition(b":")
        value = raw.removeprefix(b" ").decode("utf-8", errors="replace")
        if field == b"data":
            self._size += len(line)
            self._check(self._size)
            self._data.append(value)
        elif field == b"event":
            self._name = value
        return None

    def _dispatch(self) -> SseEvent | None:
        event = SseEvent(self._name or "message", "\n".join(self._data)) if self._data else None
        self._name, self._size = "", 0
        self._data.clear()
        return event

    def _check(self, size: int) -> None:
        if size > self._bytes_max:
            raise FatalFault(
                f"the provider sent an event of more than {self._bytes_max} bytes", code="protocol"
            )
