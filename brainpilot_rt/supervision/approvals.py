"""Approvals: calls that wait for a person, and calls that the client runs (D21).

What waits is a fact of the log: listed for all sessions, asked once whatever restarts in between,
decided once. Waiting holds no clock over the turn; an approval expires (`sessions/schedule.py`)
only where it was asked with an end, and then counts as denied. One for an agent everywhere is kept
as a record of kind `grant`.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, Conflict, NotFound
from brainpilot_rt.domain.governing import ApprovalScope
from brainpilot_rt.domain.ids import CallId, SessionId
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.governance.approvals import codes, decision_problem
from brainpilot_rt.sessions import snapshot
from brainpilot_rt.sessions.hub import Hub, Item
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.sessions.views import ApprovalView
from brainpilot_rt.supervision.records import Records

HISTORY_MAX: Final = 1_000
_LOOK_BACK: Final = 256

Matches: TypeAlias = Callable[[ev.Event], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What somebody decides."""

    approve: bool
    scope: ApprovalScope = "once"
    valid_s: float | None = None
    """Seconds a scope beyond the call holds; None: no end."""
    note: str = ""
    by: str = "user"


class Approvals:
    """What waits for somebody outside, in all sessions."""

    def __init__(
        self, manager: SessionManager, hub: Hub, log: EventLog, records: Records, clock: Clock
    ) -> None:
        self._records = records
        self._manager = manager
        self._hub = hub
        self._log = log
        self._clock = clock

    # --- for whoever decides ----------------------------------------------------------------

    def open(self, session: SessionId | None = None) -> list[ApprovalView]:
        """What waits, oldest first; of one session or of all. Waiting sessions are in memory."""
        states = self._manager.resident()
        found = [one for state in states for one in snapshot.approvals(state)]
        kept = [one for one in found if session in (None, one.session)]
        return sorted(kept, key=lambda one: one.asked_ms)

    def find(self, approval_id: str) -> ApprovalView:
        """An open approval by its id, or by the id of its call. NotFound when none is."""
        for one in self.open():
            if approval_id in (one.approval_id, one.call_id):
                return one
        raise NotFound(f"no approval {approval_id[:80]!r} is open", code="no_approval")

    async def decide(self, approval_id: str, word: Word, digest: str | None = None) -> ApprovalView:
        """Decide. The first word counts: NotFound when it is decided, or was never asked.

        `digest`: what the caller saw; Conflict when that is not what would run.
        """
        asked = self.find(approval_id)
        if digest is not None and digest != asked.digest:
            raise Conflict("what would run is not what was shown; look again", code="stale_digest")
        now_ms = self._clock.now_ms()
        until_ms = None if word.valid_s is None else now_ms + round(word.valid_s * 1000)
        decision = "approved" if word.approve else "denied"
        if wrong := decision_problem(
            decision, word.scope, asked.reasons, until_ms=until_ms, now_ms=now_ms
        ):
            raise BadRequest(wrong)
        records = await self._manager.dispatch(
            asked.session,
            cmd.DecideApproval(
                approval_id=asked.approval_id,
                decision=decision,
                scope=word.scope,
                by=word.by,
                note=word.note,
                until_ms=until_ms,
            ),
        )
        if records and word.approve and word.scope == "agent":
            grant = {
                "agent": asked.agent,
                "tool": asked.tool,
                "definition": asked.definition,
                "codes": sorted(codes(asked.reasons)),
                "until_ms": until_ms,
            }
            await self._records.put("grant", asked.approval_id, grant)
        return asked

    async def answer_call(
        self, session: SessionId, call_id: CallId, content: str, *, is_error: bool
    ) -> None:
        """The client has run a call. Conflict when it does not wait (any more)."""
        answered = cmd.AnswerClientCall(call_id=call_id, content=content, is_error=is_error)
        await self._manager.dispatch(session, answered)

    # --- for the runs that wait -------------------------------------------------------------

    async def ask(self, session: SessionId, asked: cmd.RequestApproval) -> ev.ApprovalDecided:
        """Ask durably and wait for the word, as long as it takes."""

        def matches(event: ev.Event) -> bool:
            return isinstance(event, ev.ApprovalDecided) and event.approval_id == asked.approval_id

        found = await self._wait(session, asked, "approval_decided", matches)
        assert isinstance(found, ev.ApprovalDecided)
        return found

    async def call_client(
        self, session: SessionId, called: cmd.OpenClientCall
    ) -> ev.ClientCallAnswered:
        """Let the client run a call, and wait for its result as long as it takes."""

        def matches(event: ev.Event) -> bool:
            return isinstance(event, ev.ClientCallAnswered) and event.call_id == called.call_id

        found = await self._wait(session, called, "client_call_answered", matches)
        assert isinstance(found, ev.ClientCallAnswered)
        return found

    async def _wait(
        self,
        session: SessionId,
        opening: cmd.RequestApproval | cmd.OpenClientCall,
        wanted: str,
        matches: Matches,
    ) -> ev.Event:
        """Listening, looking and asking are one step: a word given at any moment is heard."""
        waiting: asyncio.Future[ev.Event] = asyncio.get_running_loop().create_future()

        def on_item(item: Item) -> None:
            if isinstance(item, ev.Recorded) and not waiting.done() and matches(item.event):
                waiting.set_result(item.event)

        undo = self._hub.listen(on_item)
        try:
            state = self._manager.state(session)
            is_open = (
                opening.approval_id in state.approvals
                if isinstance(opening, cmd.RequestApproval)
                else opening.call_id in state.client_calls
            )
            if not is_open:
                for recorded in await self._log.read_back(
                    session, limit=_LOOK_BACK, types=frozenset({wanted})
                ):
                    if matches(recorded.event):
                        return recorded.event
            await self._manager.dispatch(session, opening)
            return await waiting
        finally:
            undo()

    async def history(self, limit: int = 100) -> list[Mapping[str, Any]]:
        """The latest decisions over the sessions in memory, newest first."""
        found: list[tuple[int, Mapping[str, Any]]] = []
        for state in self._manager.resident():
            decided = await self._log.read_back(
                state.session, limit=min(limit, HISTORY_MAX), types=frozenset({"approval_decided"})
            )
            found += [
                (
                    one.at_ms,
                    {"session": state.session, "at_ms": one.at_ms, **one.event.model_dump()},
                )
                for one in decided
            ]
        found.sort(key=lambda pair: pair[0], reverse=True)
        return [body for _, body in found[:limit]]
