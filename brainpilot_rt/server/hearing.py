"""Hearing what happens, within a bound, for whoever shows something of it as it happens.

What is heard waits in a ring, so that a reader who is slow costs no more than that; `Lagged` tells
it that it missed something.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final, TypeAlias

from brainpilot_rt.aiokit.broadcast import Ring, Subscription
from brainpilot_rt.domain.events import Chunk, ModelSelected, Recorded, SessionDeleted
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.rings import Subscriber

Item: TypeAlias = Recorded | Chunk

KEEPALIVE_S: Final = 15.0
ALIVE: Final = b": keepalive\n\n"
_ITEMS_MAX: Final = 20_000
_CHARS_MAX: Final = 4_000_000


def of_session(session: SessionId) -> Callable[[Item], bool]:
    """What is of a session, and its deletion."""
    deleted = SessionDeleted(deleted=session)
    return lambda item: (
        item.session == session or (isinstance(item, Recorded) and item.event == deleted)
    )


@contextmanager
def hearing(
    backend: Backend,
    wanted: Callable[[Item], bool],
    reader: Subscriber | None = None,
    *,
    items_max: int = _ITEMS_MAX,
) -> Generator[Subscription[Item]]:
    """Hear what is wanted from this moment on. `reader`: is dropped when it does not read."""
    ring = Ring[Item](count_max=items_max, bytes_max=_CHARS_MAX, size_of=_size)

    def on_item(item: Item) -> None:
        if wanted(item):
            ring.publish(item)

    def fell_behind() -> None:
        if reader is not None and reader.parked:
            reader.stop("lag")

    undo = backend.listen(on_item)
    try:
        with ring.subscribe(on_lag=fell_behind) as heard:
            yield heard
    finally:
        undo()


async def beats(
    heard: Subscription[Item], keepalive_s: float
) -> AsyncGenerator[list[Item] | None, None]:
    """What is heard, as it comes; None is a sign of life.

    Those come by the clock, whatever is heard: of that, the reader may be sent nothing.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + keepalive_s
    while True:
        if loop.time() >= due:
            due = loop.time() + keepalive_s
            yield None
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                if not await heard.ready():
                    return
        if items := heard.take():
            yield items


def _size(item: Item) -> int:
    if isinstance(item, Chunk):
        return len(item.text)
    event = item.event
    return 200 * (1 + len(event.candidates)) if isinstance(event, ModelSelected) else 200
