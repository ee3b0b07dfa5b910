"""Approvals of calls that belong to no run: somebody outside wants a tool of an MCP server called.

What waits, or was approved and not used yet, is a record; what happened is told in the daemon's
stream. A yes is for one call with the same digest by the same caller; it is spent before that runs.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, Busy, Conflict
from brainpilot_rt.domain.governing import ApprovalDecision
from brainpilot_rt.domain.ids import DAEMON_STREAM, RunId
from brainpilot_rt.governance.approvals import is_over
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.sessions.views import ApprovalView
from brainpilot_rt.supervision.records import Records

KIND: Final = "mcp_call"
DIRECT: Final = RunId("direct")
"""Stands where the run of a call would."""
OPEN_MAX: Final = 100
_KEPT: Final = (
    *("call_id", "agent", "tool", "arguments", "digest", "definition", "reasons"),
    *("asked_ms", "expires_ms"),
)


class DirectApprovals:
    """Those that are open, and those that were given and not used."""

    def __init__(self, records: Records, manager: SessionManager, clock: Clock) -> None:
        self._records = records
        self._manager = manager
        self._clock = clock
        self._alone = asyncio.Lock()

    def open(self) -> list[ApprovalView]:
        """What waits for a word."""
        return [view for view, body in self._current() if not body["approved"]]

    async def ask(self, call: ApprovalView, preceding: tuple[ev.Event, ...]) -> ApprovalView:
        """Ask about a call, once; what is open about the same call already. `preceding`: facts."""
        async with self._alone:
            for one in self.open():
                if (one.digest, one.agent) == (call.digest, call.agent):
                    return one
            await self._sweep()
            if len(self.open()) >= OPEN_MAX:
                raise Busy(f"{OPEN_MAX} approvals of calls are open already")
            requested = ev.ApprovalRequested(
                approval_id=call.approval_id,
                run_id=call.run_id,
                agent=call.agent,
                call_id=call.call_id,
                tool=call.tool,
                arguments=dict(call.arguments),
                digest=call.digest,
                definition=call.definition,
                reasons=call.reasons,
            )
            kept = ev.RecordSaved(kind=KIND, key=call.approval_id, body=_body(call))
            await self._manager.record(DAEMON_STREAM, *preceding, requested, kept)
            return call

    async def decide(self, call: ApprovalView, *, approve: bool, by: str, note: str) -> None:
        """The first word counts; Conflict for a later one."""
        async with self._alone:
            if all(one.approval_id != call.approval_id for one in self.open()):
                raise Conflict("this approval is not open any more", code="approval_decided")
            await self._decided(call, "approved" if approve else "denied", by, note)

    async def spend(self, digest: str, agent: str) -> ApprovalView | None:
        """Use up what was approved for such a call; None when nothing was."""
        async with self._alone:
            for view, body in self._current():
                if body["approved"] and (view.digest, view.agent) == (digest, agent):
                    await self._records.delete(KIND, view.approval_id)
                    return view
        return None

    def _current(self) -> list[tuple[ApprovalView, Mapping[str, Any]]]:
        now_ms = self._clock.now_ms()
        found = [(_view(key, body), body) for key, body in self._records.of(KIND).items()]
        return [(view, body) for view, body in found if not is_over(view.expires_ms, now_ms)]

    async def _sweep(self) -> None:
        """Forget what nobody decided, or used, in time."""
        current = {view.approval_id for view, _ in self._current()}
        for key, body in list(self._records.of(KIND).items()):
            if key in current:
                continue
            if body["approved"]:
                await self._records.delete(KIND, key)
            else:
                await self._decided(_view(key, body), "expired", "clock", "nobody decided in time")

    async def _decided(
        self, call: ApprovalView, decision: ApprovalDecision, by: str, note: str
    ) -> None:
        word = ev.ApprovalDecided(
            approval_id=call.approval_id, agent=call.agent, decision=decision, by=by, note=note
        )
        after: ev.Event = ev.RecordDeleted(kind=KIND, key=call.approval_id)
        if decision == "approved":
            body = _body(call) | {"approved": True}
            after = ev.RecordSaved(kind=KIND, key=call.approval_id, body=body)
        await self._manager.record(DAEMON_STREAM, word, after)


def check_scope(scope: str) -> None:
    """A call of no run has nothing that a yes could reach further to."""
    if scope != "once":
        raise BadRequest("a call outside of a run is approved once; for more, change its policy")


def _body(call: ApprovalView) -> dict[str, Any]:
    return {name: getattr(call, name) for name in _KEPT} | {"approved": False}


def _view(key: str, body: Mapping[str, Any]) -> ApprovalView:
    kept: dict[str, Any] = {name: body[name] for name in _KEPT}
    kept["reasons"] = tuple(body["reasons"])
    return ApprovalView(approval_id=key, session=DAEMON_STREAM, run_id=DIRECT, **kept)
