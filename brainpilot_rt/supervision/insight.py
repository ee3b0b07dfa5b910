"""What the log tells about decisions: choices of models, what was saved, what was done, by whom.

Read anew for each question, over all sessions and the daemon's own stream, within bounds: a store
with one connection must not be held up by a curious reader.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, NotFound
from brainpilot_rt.domain.ids import DAEMON_STREAM, AgentName, RunId, SessionId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.port import PAGE, EventLog
from brainpilot_rt.governance.audit import CALLS, MEMORY, AuditRow, CallRow, trail
from brainpilot_rt.models import replay
from brainpilot_rt.models.bandit import Known
from brainpilot_rt.models.providers import Providers
from brainpilot_rt.models.standings import Routed, routed
from brainpilot_rt.supervision.routing import DAY_MS, Router

TURNS_MAX: Final = 20_000
"""Rated turns of one answer, those of the newest sessions first."""
EVENTS_MAX: Final = 20_000
"""Events read for one answer about what was done, those of the newest sessions first."""
ROWS_MAX: Final = 1_000
INTERCEPTIONS_MAX: Final = 5_000
_ROUTED: Final = frozenset({"model_selected", "turn_rated"})
_JUDGED: Final = frozenset({"tool_judged"})

Wanted: TypeAlias = Callable[[AuditRow], bool]
Record: TypeAlias = Callable[[SessionId, ev.Event], Awaitable[object]]


class Insight:
    """Answers questions about what happened."""

    def __init__(
        self,
        log: EventLog,
        router: Router,
        clock: Clock,
        *,
        providers: Callable[[], Providers],
        record: Record,
    ) -> None:
        """`record`: of the manager, for what somebody says of a turn afterwards."""
        self.providers = providers
        self._log = log
        self._router = router
        self._clock = clock
        self._record = record

    # --- routing ----------------------------------------------------------------------------

    def candidates(self) -> list[ModelRef]:
        """The models that may be chosen among, the default first."""
        return self._router.candidates(auto=True)

    def known(self, task_class: str) -> list[tuple[ModelRef, Known]]:
        """What the last week says of each candidate in a class of turns."""
        return [(one, self._router.known(task_class, one)) for one in self.candidates()]

    async def choices(self, days: int) -> list[Routed]:
        """The routed and rated turns of the last days, oldest first."""
        found: list[Routed] = []
        async for events in self._by_session(days, _ROUTED, 2 * TURNS_MAX):
            found += routed(events)
        return sorted(found, key=lambda one: one.pos)

    async def ratings(self, days: int) -> list[ev.TurnRated]:
        """The rated turns of the last days, session by session."""
        rated = await self.since(days, "turn_rated", most=TURNS_MAX)
        return [one for one in rated if isinstance(one, ev.TurnRated)]

    async def replayed(self, policies: Sequence[str], days: int) -> list[replay.Estimate]:
        """What other policies would have earned and cost; `BadRequest` for one that is none."""
        log = [one.logged for one in await self.choices(days)]
        try:
            return [await asyncio.to_thread(replay.replay, log, one) for one in policies]
        except ValueError as error:
            raise BadRequest(f"policy: {error}") from None

    async def feedback(
        self, session: SessionId, agent: AgentName, run_id: str | None, score: float
    ) -> ev.TurnRated:
        """Rate the latest turn of an agent once more, by what came of it; 0 is bad and 1 good."""
        rated = await self._log.read_back(session, limit=PAGE, types=frozenset({"turn_rated"}))
        for recorded in reversed(rated):
            last = recorded.event
            if not isinstance(last, ev.TurnRated) or last.agent != agent:
                continue
            if run_id is None or last.run_id == RunId(run_id):
                # Nothing was spent again: the figures of the call stay where they are.
                said = last.model_copy(
                    update={"reward": score, "quality": score, "usage": Usage()}
                    | dict.fromkeys(("cost_usd", "baseline_cost_usd", "savings_usd"))
                )
                # Its run has ended and can change nothing: it is a fact of no session.
                await self._record(DAEMON_STREAM, said)
                return said
        raise NotFound(f"agent {agent!r} has no rated turn there", code="unknown_turn")

    # --- what was done ----------------------------------------------------------------------

    async def audit(
        self, limit: int, wanted: Wanted = lambda _row: True, *, memory: bool = True
    ) -> list[AuditRow]:
        """The newest rows of the trail, newest first. `memory`: changes of memory too."""
        rows: list[AuditRow] = []
        limit, left = min(limit, ROWS_MAX), EVENTS_MAX
        types = CALLS | MEMORY if memory else CALLS
        for session, updated_ms in await self._sessions():
            if left <= 0 or (len(rows) == limit and rows[-1].at_ms > updated_ms):
                break
            events, found = await self._trail(session, limit, wanted, types)
            left -= events
            rows = sorted([*rows, *found], key=lambda one: -one.pos)[:limit]
        return rows

    async def calls(self, limit: int, wanted: Callable[[str], bool]) -> list[CallRow]:
        """The newest calls of tools whose name is wanted, newest first."""
        rows = await self.audit(
            limit, lambda row: isinstance(row, CallRow) and wanted(row.tool), memory=False
        )
        return [row for row in rows if isinstance(row, CallRow)]

    async def interceptions(self) -> list[ev.Recorded]:
        """The newest calls that did not just pass, as `tool_judged`, newest first."""
        found: list[ev.Recorded] = []
        async for events in self._by_session(None, _JUDGED, INTERCEPTIONS_MAX):
            found += [
                one
                for one in events
                if isinstance(one.event, ev.ToolJudged) and one.event.action != "pass"
            ]
        return sorted(found, key=lambda one: -one.pos)

    async def since(self, days: int, *types: str, most: int = INTERCEPTIONS_MAX) -> list[ev.Event]:
        """The newest events of these types of the last days, session by session."""
        found: list[ev.Event] = []
        async for events in self._by_session(days, frozenset(types), most):
            found += [one.event for one in events]
        return found

    # --- reading ----------------------------------------------------------------------------

    async def _sessions(self) -> list[tuple[SessionId, int]]:
        """Where to look and when something happened there last, newest first."""
        rows = sorted(await self._log.sessions(), key=lambda row: -row.updated_ms)
        now_ms = self._clock.now_ms()
        return [(DAEMON_STREAM, now_ms), *((row.session, row.updated_ms) for row in rows)]

    async def _trail(
        self, session: SessionId, limit: int, wanted: Wanted, types: frozenset[str]
    ) -> tuple[int, list[AuditRow]]:
        """How many events were read, and the newest rows of a session, oldest first."""
        read = partial(self._log.read_back, session, limit=PAGE, types=types)
        events: list[ev.Recorded] = []
        rows: list[AuditRow] = []
        while page := await read(before=events[0].seq if events else None):
            events = [*page, *events]
            rows = [row for row in trail(events) if wanted(row)]
            if len(rows) >= limit or len(events) >= EVENTS_MAX:
                break
        return len(events), rows[-limit:]

    async def _by_session(
        self, days: int | None, types: frozenset[str], most: int
    ) -> AsyncGenerator[list[ev.Recorded]]:
        """The newest events of these types, session by session; each session's in order."""
        since_ms = 0 if days is None else self._clock.now_ms() - days * DAY_MS
        for session, updated_ms in await self._sessions():
            if updated_ms < since_ms or most <= 0:
                return
            found: list[ev.Recorded] = []
            before: int | None = None
            while len(found) < most and (
                page := await self._log.read_back(session, before=before, limit=PAGE, types=types)
            ):
                found[:0] = [one for one in page if one.at_ms >= since_ms]
                before = page[0].seq
                if page[0].at_ms < since_ms:
                    break
            most -= len(found)
            yield found
