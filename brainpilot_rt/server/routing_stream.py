"""The stream of routing decisions, over all sessions: each choice, then what came of it.

The id of an event is its place in the log: a reader that comes back with it misses nothing and gets
nothing twice, whatever restarted in between. Ids grow, with holes: other events have places too.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any, Final

from brainpilot_rt.aiokit.broadcast import Lagged
from brainpilot_rt.domain.events import ModelSelected, Recorded, TurnRated
from brainpilot_rt.domain.times import iso
from brainpilot_rt.server.hearing import ALIVE, KEEPALIVE_S, Item, beats, hearing
from brainpilot_rt.server.hub import Hub
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.rings import Subscriber
from brainpilot_rt.server.stream import EventStream
from brainpilot_rt.server.tracks import encode
from brainpilot_rt.server.wires.agent_run_bodies import selected
from brainpilot_rt.supervision.agent_records import TENANT

_KEPT_MAX: Final = 1_024
_PAGE: Final = 200


def routing_stream(backend: Backend, hub: Hub, after: int | None) -> EventStream:
    """SSE of what was decided after that place; None: from now on."""

    async def source(subscriber: Subscriber) -> AsyncGenerator[bytes, None]:
        with hearing(backend, _is_routing, subscriber, items_max=_KEPT_MAX) as heard:
            pos = head = backend.log.head_pos
            if after is not None and after < head:
                pos = after
            yield b": routing decisions\n\n"
            while pos < head:
                page = await backend.log.read_all(after_pos=pos, limit=_PAGE)
                pos = page[-1].pos if page else head
                yield _frames(page)
            try:
                async with aclosing(beats(heard, KEEPALIVE_S)) as batches:
                    async for items in batches:
                        if items is None:
                            yield ALIVE
                            continue
                        news = (one for one in items if isinstance(one, Recorded))
                        yield _frames(one for one in news if one.pos > pos)
            except Lagged:
                subscriber.stop("lag")

    return EventStream(hub, source)


def _is_routing(item: Item) -> bool:
    return isinstance(item, Recorded) and isinstance(item.event, ModelSelected | TurnRated)


def _frames(page: Iterable[Recorded]) -> bytes:
    parts: list[bytes] = []
    for one in page:
        match one.event:
            case ModelSelected() as chosen:
                parts += _frame(one, "routing-decision", decision_json(one, chosen))
            case TurnRated() as rated:
                parts += _frame(one, "routing-outcome", outcome_json(one, rated))
            case _:
                pass
    return b"".join(parts)


def _frame(recorded: Recorded, name: str, body: dict[str, Any]) -> list[bytes]:
    head = f"event: {name}\nid: {recorded.pos}\ndata: ".encode()
    return [head, encode(body), b"\n\n"]


def decision_json(recorded: Recorded, chosen: ModelSelected) -> dict[str, Any]:
    """Which model is asked and why. What it will cost is known when it has answered."""
    return {
        **_who(recorded, chosen),
        "strategy": selected(chosen, chosen.turn)["strategy"],
        "why": chosen.reason,
        "phase": chosen.phase,
        "propensity": chosen.propensity,
        "cost_estimate_usd": None,
        "cache": "skip",
    }


def outcome_json(recorded: Recorded, rated: TurnRated) -> dict[str, Any]:
    """What came of it."""
    return {
        **_who(recorded, rated),
        "reward": rated.reward,
        "latency_ms": rated.latency_ms,
        "cost_usd": None if rated.cost_usd is None else float(rated.cost_usd),
        "savings_usd": None if rated.savings_usd is None else float(rated.savings_usd),
    }


def _who(recorded: Recorded, event: ModelSelected | TurnRated) -> dict[str, Any]:
    return {
        "ts": iso(recorded.at_ms),
        "request_id": f"{event.run_id}:{event.turn}",
        "session_id": recorded.session,
        "agent_id": event.agent,
        "task_type": event.task_class,
        "selected_model": f"{event.model.provider}:{event.model.model}",
        "tenant_id": TENANT,
    }
