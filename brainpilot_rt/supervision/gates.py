"""What stops a call of a run before it executes; the rules are in `tools/breakers`, pure.

A refused call gets a result that says why and what to do instead. KAOS only keeps such a call out
of its events and runs it nevertheless (turn-loop.md 1.5); here nothing of it happens.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence

from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.messages import ToolCall
from brainpilot_rt.domain.tools import ToolResult
from brainpilot_rt.supervision.organs import Organs
from brainpilot_rt.tools.breakers import EXEMPT, Breaker, Circuit, Repeats


class ToolGate:
    """The gate of one run's calls."""

    def __init__(self, organs: Organs, identity: RunIdentity, end: Callable[[], None]) -> None:
        """`end`: the next reply of the run has to be its last."""
        self._organs = organs
        self._identity = identity
        self._end = end
        thinking = organs.thinking
        self._calls_max = thinking.tool_calls_turn_max
        self._repeats_max = thinking.repeats_max
        self._breaker = Breaker(thinking.breaker_failures, thinking.breaker_open_s)
        self._repeats = Repeats()
        self._refused_repeats = 0
        self._admitted: frozenset[CallId] = frozenset()
        self._asked: dict[CallId, str] = {}
        self._checked: set[CallId] = set()

    def begin(self, calls: Sequence[ToolCall]) -> tuple[ev.Event, ...]:
        """The calls of one reply; what is to be recorded of their number."""
        self._admitted = frozenset(call.call_id for call in calls[: self._calls_max])
        self._asked = {call.call_id: _key(call) for call in calls}
        self._checked.clear()
        if len(calls) <= self._calls_max:
            return ()
        rest = len(calls) - self._calls_max
        return (self._limit("tool_calls", self._calls_max, len(calls), f"{rest} are not run"),)

    def check(self, call: ToolCall) -> tuple[str, tuple[ev.Event, ...]]:
        """Why this call may not run (empty: it may), and what is to be recorded of that."""
        self._checked.add(call.call_id)
        if call.call_id not in self._admitted:
            text = f"one reply may make {self._calls_max} calls; make this one in the next reply"
            return text, ()
        times = self._repeats.times(self._asked[call.call_id])
        if times >= self._repeats_max:
            return self._refuse_repeat(call, times)
        return self._check_circuit(call)

    def note(self, result: ToolResult) -> tuple[ev.Event, ...]:
        """A call has ended; what is to be recorded of its tool."""
        astray = result.status == "refused" and result.call_id not in self._checked
        if result.status not in ("completed", "failed") and not astray:
            return ()
        digest = hashlib.sha256(result.content.encode("utf-8", "replace")).hexdigest()
        key = self._asked.get(result.call_id, result.call_id)
        self._repeats.note(key, digest)
        if astray:
            return self._note_astray(result.name, self._repeats.times(key))
        if result.name in EXEMPT:
            return ()
        failed = result.status == "failed" or not result.content.strip()
        before = self._circuit(result.name)
        after = self._breaker.after(before, failed=failed, now_s=self._organs.clock.monotonic())
        return self._turned(result.name, before, after, "it failed" if failed else "it works")

    def _note_astray(self, name: str, times: int) -> tuple[ev.Event, ...]:
        """A call that is none (no such tool, wrong arguments) never comes to `check`."""
        if times <= self._repeats_max:
            return ()
        self._end()
        reason = f"{name} can not be called like this; the next reply is the last"
        return (self._limit("repeats", self._repeats_max, times, reason),)

    def _refuse_repeat(self, call: ToolCall, times: int) -> tuple[str, tuple[ev.Event, ...]]:
        self._refused_repeats += 1
        if self._refused_repeats >= self._repeats_max:
            self._end()
        text = (
            f"this very call came to the same result {times} times in a row. It will not change: "
            "use what you have, try something else, or answer"
        )
        reason = f"{call.name} is not called again with these arguments"
        return text, (self._limit("repeats", self._repeats_max, times + 1, reason),)

    def _check_circuit(self, call: ToolCall) -> tuple[str, tuple[ev.Event, ...]]:
        if call.name in EXEMPT:
            return "", ()
        now_s = self._organs.clock.monotonic()
        before = self._circuit(call.name)
        after = self._breaker.admit(before, now_s)
        if after is not None:
            return "", self._turned(call.name, before, after, "one call may try it")
        wait_s = math.ceil(before.until_s - now_s)
        text = (
            f"{call.name} has failed {before.failures} times in a row and is left alone for now. "
            f"Try again in {wait_s} s at the earliest, or go another way"
        )
        return text, ()

    def _circuit(self, tool: str) -> Circuit:
        return self._organs.circuits.of(self._identity.session, tool)

    def _turned(
        self, tool: str, before: Circuit, after: Circuit, reason: str
    ) -> tuple[ev.Event, ...]:
        self._organs.circuits.put(self._identity.session, tool, after)
        if before.state == after.state:
            return ()
        changed = ev.CircuitChanged(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            tool=tool,
            state=after.state,
            failures=after.failures,
            reason=reason,
        )
        return (changed,)

    def _limit(self, kind: str, limit: int, actual: int, reason: str) -> ev.LimitExceeded:
        return ev.LimitExceeded.model_validate(
            {
                "run_id": self._identity.run_id,
                "agent": self._identity.agent,
                "kind": kind,
                "limit": limit,
                "actual": actual,
                "reason": reason,
            }
        )


def _key(call: ToolCall) -> str:
    """The same name and arguments give the same key."""
    arguments = call.raw_arguments if call.arguments is None else call.arguments
    return f"{call.name} {json.dumps(arguments, sort_keys=True, default=str)}"
