"""The Graph-of-Trace of each session in memory: a fold of `trace_node_saved`, bounded by use.

And `TraceViews`: what is asked about reasoning and causes, read from the log each time, so that it
is the same after a restart and for sessions that are not in memory.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from brainpilot_rt.domain.errors import unknown_session
from brainpilot_rt.domain.events import Recorded, TraceNodeSaved
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.times import iso
from brainpilot_rt.domain.trace import TraceNode
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.sessions.hub import Hub, Item
from brainpilot_rt.trace.causal_folds import take
from brainpilot_rt.trace.causes import Causes
from brainpilot_rt.trace.derived import steps_of
from brainpilot_rt.trace.graph import fold, node_json, trace_graph

SESSIONS_MAX: Final = 64
VERSIONS_MAX: Final = 200
"""Of one node, shown at once: the newest."""
_TYPES: Final = frozenset({"trace_node_saved"})


class Traces:
    """Nodes by session, kept current by the feed."""

    def __init__(self, log: EventLog, hub: Hub) -> None:
        self._log = log
        self._kept: OrderedDict[SessionId, dict[str, TraceNode]] = OrderedDict()
        self._late: dict[SessionId, list[TraceNode]] = {}
        """Saved while a session is being read."""
        hub.listen(self._on_item)

    async def load(self, session: SessionId) -> list[TraceNode]:
        """The nodes as they are now, in the order of their creation, read from the log if need be.

        What is saved during the read may be read too; it is newer than all that was read.
        """
        if session not in self._kept:
            late = self._late.setdefault(session, [])
            saved = [one.event.node for one in await _saved(self._log, session)]
            self._late.pop(session, None)
            nodes = {node.id: node for node in fold([*saved, *late])}
            self._kept.setdefault(session, nodes)
            while len(self._kept) > SESSIONS_MAX:
                self._kept.popitem(last=False)
        return list(self._kept[session].values())

    def nodes(self, session: SessionId) -> Sequence[TraceNode]:
        """The nodes as they are now, of a session that was loaded."""
        return list(self._kept.get(session, {}).values())

    def forget(self, session: SessionId) -> None:
        """Drop a session."""
        self._kept.pop(session, None)

    def _on_item(self, item: Item) -> None:
        if not isinstance(item, Recorded) or not isinstance(item.event, TraceNodeSaved):
            return
        if item.session in self._kept:
            self._kept[item.session][item.event.node.id] = item.event.node
        if item.session in self._late:
            self._late[item.session].append(item.event.node)


class TraceViews:
    """Read from the log at each call. NotFound for unknown sessions."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def nodes(self, session: SessionId) -> list[TraceNode]:
        """The reasoning graph as it is now, in the order of creation.

        Where no agent has recorded any of it, it is made from the causes.
        """
        await self._began(session)
        return await self._now(session, await _saved(self._log, session))

    async def graph(self, session: SessionId) -> dict[str, Any]:
        """The BrainPilot V1 TraceGraph."""
        began = await self._began(session)
        return trace_graph(session, began, await self.nodes(session))

    async def node(self, session: SessionId, node_id: str) -> dict[str, Any]:
        """One node as it is now, and its versions, oldest first: what was saved, when, by whom."""
        await self._began(session)
        saved = await _saved(self._log, session)
        now = node_json(await self._now(session, saved), node_id)
        versions = [one for one in saved if one.event.node.id == node_id]
        shown = list(enumerate(versions, 1))[-VERSIONS_MAX:]
        return {
            "node": now,
            "version": len(versions),
            "versions": [
                {
                    "version": number,
                    "seq": one.seq,
                    "at": iso(one.at_ms),
                    "agent": one.event.agent,
                    "op": one.event.op,
                    "node": one.event.node.model_dump(mode="json", exclude_none=True),
                }
                for number, one in shown
            ],
        }

    async def causes(self, session: SessionId) -> Causes:
        """The causal graph of everything in the log."""
        await self._began(session)
        graph, after = Causes(), 0
        while page := await self._log.read(session, after=after):
            for recorded in page:
                take(graph, recorded)
            after = page[-1].seq
        return graph

    async def _now(self, session: SessionId, saved: Sequence["_Save"]) -> list[TraceNode]:
        return fold(one.event.node for one in saved) or steps_of(await self.causes(session))

    async def _began(self, session: SessionId) -> str:
        row = await self._log.session(session)
        if row is None:
            raise unknown_session(session)
        return iso(row.created_ms)


@dataclass(frozen=True, slots=True)
class _Save:
    """A `trace_node_saved` with its place in the log."""

    seq: int
    at_ms: int
    event: TraceNodeSaved


async def _saved(log: EventLog, session: SessionId) -> list[_Save]:
    """Every saved version of every node, oldest first."""
    found: list[_Save] = []
    before: int | None = None
    while page := await log.read_back(session, before=before, types=_TYPES):
        saves = [
            _Save(one.seq, one.at_ms, one.event)
            for one in page
            if isinstance(one.event, TraceNodeSaved)
        ]
        found, before = [*saves, *found], page[0].seq
    return found
