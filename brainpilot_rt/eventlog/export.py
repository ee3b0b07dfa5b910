"""A session as JSON lines: what `brainpilot-rt export` prints and GET export answers with."""

import json
from collections.abc import AsyncGenerator

from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.times import iso
from brainpilot_rt.eventlog.port import EventLog, RawRow


async def lines(log: EventLog, session: SessionId, *, after: int = 0) -> AsyncGenerator[bytes]:
    """The events with `seq` above `after`, oldest first, one line each, until the log's head."""
    while page := await log.read_raw(session, after=after):
        for row in page:
            yield line_of(row)
        after = page[-1].seq


def line_of(row: RawRow) -> bytes:
    """One event: `seq`, `ts` (ISO 8601, UTC), `type`, then its own fields, and a newline.

    What no longer parses is given as text with the type `unreadable`, never left out.
    """
    head = {"seq": row.seq, "ts": iso(row.at_ms)}
    try:
        fields = json.loads(row.payload)
        kind = fields.pop("type")
    except (ValueError, LookupError, TypeError, AttributeError):
        kind, fields = "unreadable", {"payload": row.payload.decode("utf-8", "replace")}
    line = head | {"type": kind} | fields
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
