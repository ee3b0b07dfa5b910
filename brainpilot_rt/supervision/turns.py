"""The turns of a session as a person looks at them: who thought about what, with which context.

A turn is numbered by its context: the n-th `context_assembled` of the session, from 1. What is kept
in memory of a turn is a line; contexts are read from the log when asked for, and a section that
names its text by digest gets it from the earlier context that holds it. So all of it is there after
a restart and for sessions that are not in memory.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final, Literal

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import NotFound, unknown_session
from brainpilot_rt.domain.ids import AgentName, RunId, SessionId
from brainpilot_rt.domain.thinking import ContextSection
from brainpilot_rt.domain.times import iso
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.port import PAGE, EventLog

SESSIONS_MAX: Final = 32
"""Sessions whose turns are kept in memory, the latest asked for."""
_TYPES: Final = frozenset(
    {"context_assembled", "intent_classified", "model_replied", "run_started"}
)


@dataclass(slots=True)
class _Turn:
    """One line."""

    seq: int
    at_ms: int
    run_id: RunId
    agent: AgentName
    turn: int
    tokens: int
    model: str | None = None
    usage: Usage | None = None
    cost_usd: Decimal | None = None


@dataclass(slots=True)
class _Index:
    """The turns of one session, oldest first, kept current event by event."""

    turns: list[_Turn] = field(default_factory=list[_Turn])
    seq: int = 0
    _thoughts: dict[RunId, tuple[str, str]] = field(default_factory=dict[RunId, tuple[str, str]])
    """Run -> intent and program."""
    _open: dict[RunId, _Turn] = field(default_factory=dict[RunId, _Turn])
    """Run -> its latest turn."""
    _texts: dict[str, int] = field(default_factory=dict[str, int])
    """Digest -> `seq` of a context that has the text."""

    def take(self, recorded: ev.Recorded) -> None:
        """The next event of the session; one that was taken already changes nothing."""
        if recorded.seq <= self.seq:
            return
        self.seq = recorded.seq
        match recorded.event:
            case ev.ContextAssembled() as event:
                turn = _Turn(
                    seq=recorded.seq,
                    at_ms=recorded.at_ms,
                    run_id=event.run_id,
                    agent=event.agent,
                    turn=event.turn,
                    tokens=event.tokens,
                )
                self.turns.append(turn)
                self._open[event.run_id] = turn
                for section in event.sections:
                    if section.text is not None:
                        self._texts[section.digest] = recorded.seq
            case ev.RunStarted(run_id=run_id, resumes=str(before)) if before in self._thoughts:
                self._thoughts[run_id] = self._thoughts[before]
            case ev.IntentClassified() as event:
                self._thoughts[event.run_id] = (event.intent, event.program)
            case ev.ModelReplied() as event:
                self._answered(event)
            case _:
                pass

    def _answered(self, event: ev.ModelReplied) -> None:
        turn = self._open.pop(event.run_id, None)
        if turn is not None:
            turn.model = f"{event.model.provider}:{event.model.model}"
            turn.usage, turn.cost_usd = event.usage, event.cost_usd

    def line(self, n: int) -> dict[str, Any]:
        """Turn `n` as a list shows it."""
        turn = self.turns[n - 1]
        intent, program = self._thoughts.get(turn.run_id, (None, None))
        return {
            "n": n,
            "agent": turn.agent,
            "runId": turn.run_id,
            "turn": turn.turn,
            "intent": intent,
            "program": program,
            "model": turn.model,
            "tokens": turn.tokens,
            "inputTokens": turn.usage.input if turn.usage else None,
            "outputTokens": turn.usage.output if turn.usage else None,
            "costUsd": None if turn.cost_usd is None else float(turn.cost_usd),
            "at": iso(turn.at_ms),
        }

    def holders(self, digests: Sequence[str]) -> set[int]:
        """The `seq` of contexts that have the texts of these digests."""
        return {self._texts[digest] for digest in digests if digest in self._texts}


class Turns:
    """Reads the turns of sessions."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._kept: OrderedDict[SessionId, _Index] = OrderedDict()
        self._arriving: dict[SessionId, list[ev.Recorded]] = {}
        self._reading = asyncio.Lock()
        log.on_commit(self._on_commit)

    async def recent(self, session: SessionId, limit: int) -> dict[str, Any]:
        """The latest `limit` turns, oldest first, and how many there are. NotFound if unknown."""
        index = await self._of(session)
        total = len(index.turns)
        numbers = range(max(0, total - limit) + 1, total + 1)
        return {
            "sessionId": session,
            "total": total,
            "turns": [index.line(n) for n in numbers],
        }

    async def context(self, session: SessionId, n: int | Literal["latest"]) -> dict[str, Any]:
        """Everything a turn was shown but the conversation. NotFound says how many there are."""
        index = await self._of(session)
        total = len(index.turns)
        number = total if n == "latest" else n
        if not 1 <= number <= total:
            has = f"{total} turns" if total != 1 else "1 turn"
            raise NotFound(f"session {session!r} has {has}; there is no turn {n}", code="no_turn")
        event = await self._context_at(session, index.turns[number - 1].seq)
        texts = await self._texts(session, index, event)
        return {
            "sessionId": session,
            "total": total,
            **index.line(number),
            "tokens": event.tokens,
            "durationUs": event.duration_us,
            "sections": [_section_json(one, texts) for one in event.sections],
        }

    async def _context_at(self, session: SessionId, seq: int) -> ev.ContextAssembled:
        for recorded in await self._log.read(session, after=seq - 1, upto=seq, limit=1):
            if isinstance(recorded.event, ev.ContextAssembled):
                return recorded.event
        raise NotFound(f"session {session!r} was deleted meanwhile", code="no_turn")

    async def _texts(
        self, session: SessionId, index: _Index, event: ev.ContextAssembled
    ) -> dict[str, str]:
        wanted = [one.digest for one in event.sections if one.text is None and one.digest]
        texts: dict[str, str] = {}
        for seq in sorted(index.holders(wanted)):
            earlier = await self._context_at(session, seq)
            texts |= {one.digest: one.text for one in earlier.sections if one.text is not None}
        return texts

    async def _of(self, session: SessionId) -> _Index:
        index = self._kept.get(session)
        if index is None:
            if await self._log.session(session) is None:
                raise unknown_session(session)
            async with self._reading:
                index = self._kept.get(session) or await self._read(session)
            self._kept[session] = index
            while len(self._kept) > SESSIONS_MAX:
                self._kept.popitem(last=False)
        self._kept.move_to_end(session)
        return index

    async def _read(self, session: SessionId) -> _Index:
        """Read the log's end first, so the pages are known; then take them in order."""
        arriving = self._arriving[session] = []
        pages: list[list[ev.Recorded]] = []
        before: int | None = None
        try:
            while page := await self._log.read_back(session, before=before, types=_TYPES):
                pages.append([_slim(recorded) for recorded in page])
                before = page[0].seq
                if len(page) < PAGE:
                    break
        finally:
            del self._arriving[session]
        index = _Index()
        for recorded in (one for page in reversed(pages) for one in page):
            index.take(recorded)
        for recorded in arriving:
            index.take(recorded)
        return index

    def _on_commit(self, committed: Sequence[ev.Recorded]) -> None:
        for recorded in committed:
            if isinstance(recorded.event, ev.SessionDeleted):
                self._kept.pop(recorded.event.deleted, None)
            if recorded.event.type not in _TYPES:
                continue
            if recorded.session in self._arriving:
                self._arriving[recorded.session].append(recorded)
            elif recorded.session in self._kept:
                self._kept[recorded.session].take(recorded)


def _slim(recorded: ev.Recorded) -> ev.Recorded:
    """The event without the texts of its sections: only that there is one counts here."""
    event = recorded.event
    if not isinstance(event, ev.ContextAssembled):
        return recorded
    sections = tuple(
        one if one.text is None else one.model_copy(update={"text": ""}) for one in event.sections
    )
    return replace(recorded, event=event.model_copy(update={"sections": sections}))


def _section_json(section: ContextSection, texts: Mapping[str, str]) -> dict[str, Any]:
    text = section.text if section.text is not None else texts.get(section.digest)
    return {
        "name": section.name,
        "tokens": section.tokens,
        "budget": section.budget,
        "items": section.items,
        "leftOut": section.left_out,
        "why": section.why,
        "itemIds": list(section.item_ids),
        "untrusted": section.untrusted,
        "digest": section.digest,
        "text": text,
    }
