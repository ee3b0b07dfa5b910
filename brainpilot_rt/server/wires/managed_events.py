"""Events of managed agents: the projection of agent runs, with what only a session that stays has.

What is said while it is being said has a start and pieces (`event_start`, `event_delta`), which are
sent and never listed; the message that ends them has the same id.
"""

from typing import Any, Final

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import PRINCIPAL, AgentName, MessageId, SessionId
from brainpilot_rt.domain.times import iso
from brainpilot_rt.server.wires.agent_runs import Projector
from brainpilot_rt.server.wires.brainpilot import pieces
from brainpilot_rt.server.wires.managed import budget_json, parts_json, usage_json
from brainpilot_rt.server.wires.managed_bodies import Json

DELTAS: Final = frozenset({"agent.message"})
"""Of which events pieces can be had."""


class ManagedFold:
    """The events of one session, from its first."""

    def __init__(self, session: SessionId) -> None:
        self._session = session
        self._projector = Projector(session, "managed")
        self._agent = PRINCIPAL
        self._labels: dict[str, Any] = {}
        self._sent: dict[MessageId, int] = {}
        """Pieces that were sent of each text that is being said."""

    def feed(self, recorded: ev.Recorded) -> list[Json]:
        """The events that a commit makes."""
        frames = [one.data for one in self._projector.feed(recorded)]
        own = self._own(recorded)
        # What follows the idle event of a turn would say that the session is at work again.
        return own + frames if isinstance(recorded.event, ev.HostTurnFinished) else frames + own

    def previews(self, recorded: ev.Recorded) -> list[Json]:
        """For who wants pieces: the start of a text, and those not sent yet when it ends."""
        match recorded.event:
            case ev.TextStarted(kind="text", agent=self._agent, message_id=message_id):
                self._sent[message_id] = 0
                preview = {"type": "agent.message", "id": message_id}
                return [{"type": "event_start", "event": preview}]
            case ev.TextFinished(message_id=message_id) as event if message_id in self._sent:
                left = pieces(recorded, event, self._sent[message_id])
                made = [one for chunk in left for one in self.piece(chunk)]
                del self._sent[message_id]
                return made
            case _:
                return []

    def piece(self, chunk: ev.Chunk) -> list[Json]:
        """A piece of a text, if it is the next one."""
        if self._sent.get(chunk.message_id) != chunk.index:
            return []
        self._sent[chunk.message_id] += 1
        content = {"type": "text", "text": chunk.text}
        delta = {"type": "content_delta", "index": 0, "content": content}
        return [{"type": "event_delta", "event_id": chunk.message_id, "delta": delta}]

    def _own(self, recorded: ev.Recorded) -> list[Json]:
        match recorded.event:
            case ev.SessionCreated() as event:
                self._agent = AgentName(event.agent or PRINCIPAL)
                self._labels = event.labels
                return []
            case ev.SessionUpdated() as event:
                changed = self._changed(event)
                return [self._event(recorded, "session.updated", changed)] if changed else []
            case ev.SessionDeleted(deleted=self._session):
                return [self._event(recorded, "session.deleted", {})]
            case ev.ConversationCompacted(agent=self._agent):
                return [self._event(recorded, "agent.thread_context_compacted", {})]
            case ev.HostTurnFinished() as event if event.cost_usd is not None:
                usage = usage_json(event.usage, event.cost_usd)
                return [self._event(recorded, "session.usage", {"usage": usage})]
            case _:
                return []

    def _changed(self, event: ev.SessionUpdated) -> Json:
        changed: Json = {}
        if event.title is not None:
            changed["title"] = event.title
        if event.cap_usd is not None:
            changed["budget"] = budget_json(event.cap_usd)
        if event.labels is not None:
            before, self._labels = self._labels, event.labels
            if event.labels.get("metadata") != before.get("metadata"):
                changed["metadata"] = event.labels.get("metadata", {})
            if event.labels.get("agent") != before.get("agent"):
                changed["agent"] = parts_json(event.labels["agent"])
        return changed

    @staticmethod
    def _event(recorded: ev.Recorded, name: str, body: Json) -> Json:
        own = {"type": name, "id": f"evt_{recorded.seq}_own"}
        return own | {"processed_at": iso(recorded.at_ms)} | body


def listed(events: list[Json]) -> list[Json]:
    """As a list shows them: what was received and is processed now, once, where it was processed.

    Each has `n`, its number, by which pages are turned.
    """
    last = {one["id"]: n for n, one in enumerate(events)}
    return [one | {"n": n} for n, one in enumerate(events) if last[one["id"]] == n]
