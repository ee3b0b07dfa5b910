"""The Graph-of-Trace of each session in memory: a fold of `trace_node_saved`, bounded by use."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from brainpilot_rt.domain.events import Recorded, TraceNodeSaved
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.trace import TraceNode
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.sessions.hub import Hub, Item
from brainpilot_rt.trace.graph import fold

SESSIONS_MAX: Final = 64
NODES_MAX: Final = 5000
_TYPES: Final = frozenset({"trace_node_saved"})


class Traces:
    """Nodes by session, kept current by the feed."""

    def __init__(self, log: EventLog, hub: Hub) -> None:
        self._log = log
        self._kept: OrderedDict[SessionId, list[TraceNode]] = OrderedDict()
        hub.listen(self._on_item)

    async def load(self, session: SessionId) -> list[TraceNode]:
        """Every saved state of every node, oldest first, read from the log if need be."""
        if session not in self._kept:
            saved = await self._log.read_back(session, limit=NODES_MAX, types=_TYPES)
            if session not in self._kept:
                self._kept[session] = [
                    one.event.node for one in saved if isinstance(one.event, TraceNodeSaved)
                ]
                while len(self._kept) > SESSIONS_MAX:
                    self._kept.popitem(last=False)
        return fold(self._kept[session])

    def nodes(self, session: SessionId) -> Sequence[TraceNode]:
        """The nodes as they are now, of a session that was loaded."""
        return fold(self._kept.get(session, []))

    def forget(self, session: SessionId) -> None:
        """Drop a session."""
        self._kept.pop(session, None)

    def _on_item(self, item: Item) -> None:
        if not isinstance(item, Recorded) or item.session not in self._kept:
            return
        if isinstance(item.event, TraceNodeSaved):
            self._kept[item.session].append(item.event.node)
