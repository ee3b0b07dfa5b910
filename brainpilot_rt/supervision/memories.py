"""The memory of each session: read from the log when it is asked for, kept current by the feed.

What is remembered on purpose is read back completely, the derived sections as far as the newest
`PAGE * PAGES_MAX` events that matter to them. Kept are the sessions used last, within bounds on
sessions and items; the log has the rest.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.context.memory import KEPT, MATTERS, Memory
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.citations import write
from brainpilot_rt.domain.errors import NotFound, unknown_session
from brainpilot_rt.domain.ids import USER, AgentName, RunId, SessionId
from brainpilot_rt.domain.memory import Draft, Finding, MemoryItem, SectionName
from brainpilot_rt.eventlog.port import EventLog, Receipt
from brainpilot_rt.sessions.hub import Item, Listener
from brainpilot_rt.supervision.answers import ReceiptOf
from brainpilot_rt.supervision.evidence import looked_up
from brainpilot_rt.workspace.files import Workspace

PAGE: Final = 500
PAGES_MAX: Final = 40
SESSIONS_MAX: Final = 1024
ITEMS_MAX: Final = 200_000
"""Of all sessions that are kept; the one used last is kept whatever it has."""
SHARED: Final = SessionId("memory")
"""The session whose facts agents of all sessions read."""
_APPLIED_AT_ONCE: Final = 100
"""Events folded before the loop gets a turn."""


class Dispatch(Protocol):
    """`SessionManager.dispatch`."""

    async def __call__(
        self,
        session: SessionId,
        command: cmd.Command,
        receipt: Callable[[Sequence[ev.Event], int], Receipt | None] | None = None,
    ) -> list[ev.Recorded]:
        """Decide a command and return its committed events."""
        ...


Evicted = Callable[[SessionId, ev.MemoryEvicted, tuple[MemoryItem, ...]], None]


class Memories:
    """Memories by session, and the way to change one."""

    def __init__(
        self,
        log: EventLog,
        listen: Callable[[Listener], Callable[[], None]],
        dispatch: Dispatch,
        clock: Clock,
    ) -> None:
        """`listen` of the hub, `dispatch` of the manager."""
        self._log = log
        self._dispatch = dispatch
        self._clock = clock
        self._kept: OrderedDict[SessionId, Memory] = OrderedDict()
        self._arriving: dict[SessionId, list[ev.Recorded]] = {}
        self._loading: dict[SessionId, asyncio.Event] = {}
        self._heard_of_shared = 0
        self._without_shared: int | None = None
        """How often something was heard of the shared session, and when there was none."""
        self.on_evicted: Evicted | None = None
        """Told of what had to make room, with its words, when its session is kept."""
        listen(self._on_item)

    async def of(self, session: SessionId) -> Memory:
        """The memory as of the latest commit; `NotFound` for an unknown session."""
        while session in self._loading:
            await self._loading[session].wait()
        if session not in self._kept:
            await self._load(session)
        self._kept.move_to_end(session)
        return self._kept[session]

    async def shared(self) -> Memory:
        """The memory for all sessions; an empty one while nothing was put into it."""
        before = self._heard_of_shared
        if before == self._without_shared:
            return Memory()  # it is asked for in every turn: the log says no only once
        try:
            return await self.of(SHARED)
        except NotFound:
            self._without_shared = before
            return Memory()

    def loaded(self, session: SessionId) -> Memory:
        """The memory of a session that is kept; an empty one otherwise."""
        return self._kept[session] if session in self._kept else Memory()

    async def items(
        self, session: SessionId, section: SectionName, agent: AgentName | None = None
    ) -> tuple[MemoryItem, ...]:
        """The items of a section, oldest first (`Memory.items`)."""
        return (await self.of(session)).items(section, agent)

    async def search(
        self, session: SessionId, query: str, top_k: int, **where: Any
    ) -> list[tuple[MemoryItem, float]]:
        """What fits a few words best (`Memory.search`)."""
        return (await self.of(session)).search(query, top_k, **where)

    async def remember(
        self,
        session: SessionId,
        draft: Draft,
        by: AgentName = USER,
        run_id: RunId | None = None,
        receipt: ReceiptOf | None = None,
    ) -> MemoryItem:
        """Remember something; the item, which is the one that was there when the words are known.

        Raises `BadRequest`, `TooLarge`, `SectionFull`, and `Conflict` for a run that has ended.
        """
        return await self._put(session, draft.item(self._clock.now_ms()), by, run_id, receipt)

    async def record_finding(
        self,
        session: SessionId,
        workspace: Workspace,
        finding: Finding,
        run_id: RunId | None,
        by: AgentName,
    ) -> MemoryItem:
        """Remember a finding whose citation is looked up now, whatever it says of itself."""
        checked = await asyncio.to_thread(checked_finding, workspace, finding)
        return await self.remember(session, finding_draft(checked, by), by, run_id)

    async def edit(self, session: SessionId, item_id: str, changes: dict[str, Any]) -> MemoryItem:
        """Change an item as the user: its words, tags, block, or whether it is pinned."""
        known = (await self.of(session)).get(item_id)
        if known is None:
            raise _unknown(item_id)
        if "content" in changes:
            changes = {**changes, "finding": None}  # what was checked was said in other words
        return await self._put(session, known.model_copy(update=changes), USER, None, None)

    async def forget(
        self,
        session: SessionId,
        item_ids: Sequence[str],
        by: AgentName = USER,
        run_id: RunId | None = None,
    ) -> None:
        """Forget items; `NotFound` for an unknown one, `Forbidden` for what is not the agent's."""
        await self.of(session)
        command = cmd.ForgetItems(item_ids=tuple(item_ids), by=by, run_id=run_id)
        await self._dispatch(session, command)

    async def _put(
        self,
        session: SessionId,
        item: MemoryItem,
        by: AgentName,
        run_id: RunId | None,
        receipt: ReceiptOf | None,
    ) -> MemoryItem:
        memory = await self.of(session)
        made = [item]

        def answer(events: Sequence[ev.Event], _at_ms: int) -> Receipt | None:
            added = [one.items[0] for one in events if isinstance(one, ev.MemoryAdded)]
            if not added:
                return None
            made[0] = added[0]
            return receipt(added[0]) if receipt is not None else None

        command = cmd.Remember(items=(item,), by=by, run_id=run_id)
        if not await self._dispatch(session, command, answer):
            same = memory.items(item.section, item.agent)
            return next((one for one in same if one.content == item.content), item)
        return made[0]

    # --- following ------------------------------------------------------------------------

    async def _load(self, session: SessionId) -> None:
        loaded = self._loading[session] = asyncio.Event()
        arriving = self._arriving[session] = []
        try:
            if await self._log.session(session) is None:
                raise unknown_session(session)
            memory = Memory()
            events = await self._read(session)
            for number, recorded in enumerate(events):
                memory.apply(recorded)
                if number % _APPLIED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            last = events[-1].seq if events else 0
            for recorded in arriving:
                if isinstance(recorded.event, ev.SessionDeleted):
                    raise unknown_session(session)
                if recorded.seq > last:
                    memory.apply(recorded)
            self._kept[session] = memory
            self._forget_oldest()
        finally:
            del self._loading[session], self._arriving[session]
            loaded.set()

    def _forget_oldest(self) -> None:
        items = sum(map(len, self._kept.values()))
        while len(self._kept) > 1 and (len(self._kept) > SESSIONS_MAX or items > ITEMS_MAX):
            items -= len(self._kept.popitem(last=False)[1])

    async def _read(self, session: SessionId) -> list[ev.Recorded]:
        events: list[ev.Recorded] = []
        pages = 0
        while True:
            types = MATTERS if pages < PAGES_MAX else KEPT
            before = events[0].seq if events else None
            page = await self._log.read_back(session, before=before, limit=PAGE, types=types)
            events[:0] = page
            pages += 1
            if len(page) < PAGE:
                return events

    def _on_item(self, item: Item) -> None:
        if not isinstance(item, ev.Recorded):
            return
        event = item.event
        about = event.deleted if isinstance(event, ev.SessionDeleted) else item.session
        self._heard_of_shared += about == SHARED
        if about in self._arriving:
            self._arriving[about].append(item)
        elif isinstance(event, ev.SessionDeleted | ev.SessionEvicted):
            self._kept.pop(about, None)
        elif about in self._kept:
            self._follow(self._kept[about], item)

    def _follow(self, memory: Memory, recorded: ev.Recorded) -> None:
        event = recorded.event
        if event.type not in MATTERS:
            return
        words: tuple[MemoryItem, ...] = ()
        if isinstance(event, ev.MemoryEvicted):
            words = tuple(one for one in map(memory.get, event.item_ids) if one is not None)
        memory.apply(recorded)
        if isinstance(event, ev.MemoryEvicted) and self.on_evicted is not None:
            self.on_evicted(recorded.session, event, words)


def checked_finding(workspace: Workspace, finding: Finding) -> Finding:
    """The finding with its citation looked up: code says whether it holds. Blocks."""
    if finding.citation is None:
        return finding.model_copy(update={"verified": False, "reason": "it cites no source"})
    [(found, wrong)] = looked_up(workspace, [finding.citation])
    return finding.model_copy(update={"citation": found, "verified": not wrong, "reason": wrong})


def finding_draft(finding: Finding, agent: AgentName) -> Draft:
    """A finding as it is remembered: the claim, its citation, and whether it holds."""
    cited = f" {write(finding.citation)}" if finding.citation else ""
    doubt = "" if finding.verified else f" (not verified: {finding.reason})"
    return Draft(
        section="findings", content=f"{finding.claim}{cited}{doubt}", agent=agent, finding=finding
    )


def _unknown(item_id: str) -> NotFound:
    return NotFound(f"there is no memory item {item_id[:80]!r}", code="unknown_memory_item")
