"""Approvals: calls that wait for a person, and calls that the client runs (D21).

What waits is a fact of the log: listed for all sessions, asked once whatever restarts in between,
decided once. Waiting holds no clock over the turn; an approval expires (`sessions/schedule.py`)
only where it was asked with an end, and then counts as denied. One for an agent everywhere is kept
as a record of kind `grant`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, Conflict, NotFound
from brainpilot_rt.domain.governing import ApprovalScope
from brainpilot_rt.domain.ids import DAEMON_STREAM, CallId, SessionId
from brainpilot_rt.eventlog.port import EventLog, Receipt
from brainpilot_rt.governance.approvals import codes, decision_problem
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.sessions.views import ApprovalView, asked_for
from brainpilot_rt.supervision.answers import Decided, ReceiptOf
from brainpilot_rt.supervision.direct_approvals import DirectApprovals, check_scope
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.supervision.waiting import Waiting

HISTORY_MAX: Final = 1_000
_LOOK_BACK: Final = 256
_SESSIONS_BACK: Final = 20
"""Sessions that are not in memory whose decisions are looked at, the newest."""
_DECIDED: Final = "approval_decided"
_BOTH: Final = frozenset({"approval_requested", _DECIDED})


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
        self.direct = DirectApprovals(records, manager, clock)
        """Those of calls outside of runs."""
        self._records = records
        self._manager = manager
        self._waiting = Waiting(manager, hub, log)
        self._log = log
        self._clock = clock

    # --- for whoever decides ----------------------------------------------------------------

    def open(self, session: SessionId | None = None) -> list[ApprovalView]:
        """What waits, oldest first; of one session or of all. Waiting sessions are in memory."""
        states = self._manager.resident()
        found = [one for state in states for one in state.approvals.values()]
        found += self.direct.open()
        kept = [one for one in found if session in (None, one.session)]
        return sorted(kept, key=lambda one: one.asked_ms)

    def find(self, approval_id: str) -> ApprovalView:
        """An open approval by its id, or by the id of its call. NotFound when none is."""
        for one in self.open():
            if approval_id in (one.approval_id, one.call_id):
                return one
        raise _never_asked(approval_id)

    async def decide(
        self,
        approval_id: str,
        word: Word,
        digest: str | None = None,
        receipt: ReceiptOf | None = None,
    ) -> ApprovalView:
        """Decide. The first word counts: Conflict when it is decided, NotFound when never asked.

        `digest`: what the caller saw; Conflict when that is not what would run.
        """
        try:
            asked = self.find(approval_id)
        except NotFound:
            known = await self.find_decided(approval_id)
            said = f"it was {known.word.decision} already, by {known.word.by}"
            raise Conflict(f"this approval is not open any more: {said}", code=_DECIDED) from None
        if digest is not None and digest != asked.digest:
            raise Conflict("what would run is not what was shown; look again", code="stale_digest")
        now_ms = self._clock.now_ms()
        until_ms = None if word.valid_s is None else now_ms + round(word.valid_s * 1000)
        decision = "approved" if word.approve else "denied"
        if wrong := decision_problem(
            decision, word.scope, asked.reasons, until_ms=until_ms, now_ms=now_ms
        ):
            raise BadRequest(wrong)

        if asked.session == DAEMON_STREAM:
            check_scope(word.scope)
            await self.direct.decide(asked, approve=word.approve, by=word.by, note=word.note)
            return asked

        def answer(_events: Sequence[ev.Event], _at_ms: int) -> Receipt | None:
            return None if receipt is None else receipt(asked)

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
            answer,
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

    async def decided(
        self, session: SessionId | None = None, limit: int = HISTORY_MAX
    ) -> list[Decided]:
        """The latest decisions, newest first; of one session, or of those in memory and some more.

        What was decided long before in other sessions is in their own history.
        """
        found: list[Decided] = []
        for one in [session] if session is not None else await self._recent():
            found += await self._decided_in(one, min(limit, HISTORY_MAX))
        return sorted(found, key=lambda one: one.at_ms, reverse=True)[:limit]

    async def find_decided(self, approval_id: str) -> Decided:
        """A decision by the id of its approval, or of its call. NotFound when none is known."""
        for one in await self.decided():
            if approval_id in (one.asked.approval_id, one.asked.call_id):
                return one
        raise _never_asked(approval_id)

    async def _recent(self) -> list[SessionId]:
        resident = [state.session for state in self._manager.resident()]
        rows = [row.session for row in (await self._log.sessions())[:_SESSIONS_BACK]]
        return list(dict.fromkeys([DAEMON_STREAM, *resident, *rows]))

    async def _decided_in(self, session: SessionId, limit: int) -> list[Decided]:
        asked: dict[str, ApprovalView] = {}
        found: list[Decided] = []
        events = max(2 * limit, _LOOK_BACK)
        for one in await self._log.read_back(session, limit=events, types=_BOTH):
            match one.event:
                case ev.ApprovalRequested() as event:
                    asked[event.approval_id] = asked_for(event, session, one.at_ms)
                case ev.ApprovalDecided(approval_id=key) as word if key in asked:
                    found.append(Decided(asked[key], word, one.at_ms))
                case _:
                    pass
        return found

    async def answer_call(
        self, session: SessionId, call_id: CallId, content: str, *, is_error: bool
    ) -> None:
        """The client has run a call. Conflict when it does not wait (any more)."""
        answered = cmd.AnswerClientCall(call_id=call_id, content=content, is_error=is_error)
        await self._manager.dispatch(session, answered)

    # --- for the runs that wait -------------------------------------------------------------

    async def ask(self, session: SessionId, asked: cmd.RequestApproval) -> ev.ApprovalDecided:
        """Ask durably and wait for the word, as long as it takes."""
        found = await self._waiting.word(
            session,
            asked,
            is_open=lambda state: asked.approval_id in state.approvals,
            wanted=_DECIDED,
            matches=lambda event: (
                isinstance(event, ev.ApprovalDecided) and event.approval_id == asked.approval_id
            ),
        )
        assert isinstance(found, ev.ApprovalDecided)
        return found

    async def call_client(
        self, session: SessionId, called: cmd.OpenClientCall
    ) -> ev.ClientCallAnswered:
        """Let the client run a call, and wait for its result as long as it takes."""
        found = await self._waiting.word(
            session,
            called,
            is_open=lambda state: called.call_id in state.client_calls,
            wanted="client_call_answered",
            matches=lambda event: (
                isinstance(event, ev.ClientCallAnswered) and event.call_id == called.call_id
            ),
        )
        assert isinstance(found, ev.ClientCallAnswered)
        return found


def _never_asked(approval_id: str) -> NotFound:
    return NotFound(f"no approval {approval_id[:80]!r} is open", code="no_approval")
