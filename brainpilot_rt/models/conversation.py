"""One streamed call, the same for every dialect: post, parse the events, fold them into a reply.

A dialect brings a `Call` (where, with which headers, what body) and a fold: an object that takes
one SSE event at a time and gives our events. Deltas of one network chunk that continue each other
are joined, so that a fast stream costs one event per chunk and not one per token.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from pydantic_core import to_json

from brainpilot_rt.domain.errors import ProviderFault
from brainpilot_rt.domain.model_calls import (
    ModelEvent,
    ReasoningDelta,
    ReplyFinished,
    TextDelta,
    ToolCallDelta,
)
from brainpilot_rt.models.faults import cut, from_status, protocol, scrubbed
from brainpilot_rt.models.http import HttpReply
from brainpilot_rt.models.sse import SseEvent, SseParser

LINGER_DONE_S: Final = 0.25
"""Seconds a server may take to end the body after its last event, to keep the connection."""
LINGER_COMPLETE_S: Final = 2.0
"""Seconds the usage may take to arrive after a reply that is whole without it."""

_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Call:
    """A request of a dialect. `secrets` are cut out of everything a fault says."""

    url: str
    headers: dict[str, str]
    body: dict[str, Any]
    secrets: tuple[str, ...]


class Transport(Protocol):
    """How requests get out: `http.Http`, or a fake."""

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> AbstractAsyncContextManager[HttpReply]:
        """Send and give the reply while it streams. Raises `ProviderFault` only."""
        ...

    async def warm(self) -> None:
        """Do what the first request would have to wait for."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Fold(Protocol):
    """Wire events in, our events out."""

    done: bool
    """The last event has been seen."""

    @property
    def complete(self) -> bool:
        """The reply is whole, though its usage may be still to come."""
        ...

    def take(self, event: SseEvent) -> Iterable[ModelEvent | None]:
        """The events one wire event comes to. Raises `ProviderFault`."""
        ...

    def finish(self) -> ReplyFinished:
        """The reply; only when it is complete."""
        ...


async def converse(
    http: Transport, call: Call, fold: Fold, now: Callable[[], datetime]
) -> AsyncGenerator[ModelEvent, None]:
    """Make the call. Raises `ProviderFault` only, with a message that names no key."""
    headers = {"content-type": "application/json", "accept": "text/event-stream", **call.headers}
    try:
        async with http.post(call.url, headers, to_json(call.body)) as reply:
            await _check(reply, now)
            parser = SseParser()
            async for chunk in reply.chunks:
                events, failed = _fold_chunk(parser, fold, chunk)
                for event in events:
                    yield event
                if failed:
                    raise failed
                if fold.complete:
                    break
            if not fold.complete:
                raise cut()
            await _linger(reply.chunks, parser, fold)
    except ProviderFault as fault:
        raise scrubbed(fault, call.secrets) from None
    yield fold.finish()


async def _check(reply: HttpReply, now: Callable[[], datetime]) -> None:
    if reply.status != _OK:
        body = await reply.start_of_body()
        raise from_status(reply.status, reply.headers, body, now=now())
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"", "text/event-stream"}:
        body = await reply.start_of_body()
        sample = body.decode("utf-8", errors="replace")
        raise protocol(f"{kind} instead of an event stream", sample=sample)


def _fold_chunk(
    parser: SseParser, fold: Fold, chunk: bytes
) -> tuple[list[ModelEvent], ProviderFault | None]:
    """The events of a chunk, joined, and the fault that ended it: what came before it counts."""
    events: list[ModelEvent] = []
    try:
        for wire in parser.feed(chunk):
            for event in fold.take(wire):
                if event is None:
                    continue
                merged = _merge(events[-1], event) if events else None
                if merged:
                    events[-1] = merged
                else:
                    events.append(event)
            if fold.done:
                break
    except ProviderFault as fault:
        return events, fault
    return events, None


def _merge(first: ModelEvent, second: ModelEvent) -> ModelEvent | None:
    match first, second:
        case (TextDelta(), TextDelta()) | (ReasoningDelta(), ReasoningDelta()):
            if first.index == second.index:
                return first.model_copy(update={"text": first.text + second.text})
        case ToolCallDelta(), ToolCallDelta():
            if first.index == second.index:
                joined = first.arguments_delta + second.arguments_delta
                return first.model_copy(update={"arguments_delta": joined})
        case _:
            pass
    return None


async def _linger(chunks: AsyncIterator[bytes], parser: SseParser, fold: Fold) -> None:
    """Read what follows a whole reply: the usage, and the end of the body."""
    with suppress(TimeoutError, ProviderFault):
        async with asyncio.timeout(LINGER_DONE_S if fold.done else LINGER_COMPLETE_S):
            async for chunk in chunks:
                if not fold.done:
                    _fold_chunk(parser, fold, chunk)
