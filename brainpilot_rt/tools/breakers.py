"""What stops a call before it runs: a broken tool, and a call that goes in circles. Pure.

A circuit breaker per tool: after some failures in a row the tool is left alone for a while, then
one call may try it. An answer without a word counts as a failure. Tools whose failure tells the
model something about its own work are exempt: a missing file or a failing test is an answer.

A call repeats itself when it has the same arguments and the same result as before, and nothing new
was learned in between: reading a log again after something was changed is no circle.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from brainpilot_rt.domain.thinking import PLANNING_TOOLS

EXEMPT: Final = frozenset(PLANNING_TOOLS) | {
    "bash",
    "read",
    "write",
    "edit",
    "grep",
    "find",
    "glob",
    "ls",
    "ask_user",
    "send_message",
    "create_agent",
    "destroy_agent",
    "record_trace",
}
"""Tools without a breaker."""

_SEEN_MAX: Final = 512
_CIRCUITS_MAX: Final = 10_000

CircuitState: TypeAlias = Literal["open", "half_open", "closed"]


@dataclass(frozen=True, slots=True)
class Circuit:
    """The breaker of one tool. `until_s`: when it may be tried (again), on the monotonic clock."""

    failures: int = 0
    state: CircuitState = "closed"
    until_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a circuit opens, and for how long. `failures_max` 0: never."""

    failures_max: int
    open_s: float

    def admit(self, circuit: Circuit, now_s: float) -> Circuit | None:
        """The circuit with one call let through; None when it has to wait.

        A trial that never came to an end is followed by another after the same while.
        """
        if circuit.state == "closed":
            return circuit
        if now_s < circuit.until_s:
            return None
        return replace(circuit, state="half_open", until_s=now_s + self.open_s)

    def after(self, circuit: Circuit, *, failed: bool, now_s: float) -> Circuit:
        """The circuit after a call has ended."""
        if not failed:
            return Circuit()
        failures = circuit.failures + 1
        if self.failures_max and (failures >= self.failures_max or circuit.state == "half_open"):
            return Circuit(failures, "open", now_s + self.open_s)
        return Circuit(failures)


class Circuits:
    """The circuits of all sessions' tools that are not simply closed; the newest are kept."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], Circuit] = OrderedDict()

    def of(self, session: str, tool: str) -> Circuit:
        """The circuit of a tool."""
        return self._known.get((session, tool), Circuit())

    def put(self, session: str, tool: str, circuit: Circuit) -> None:
        """The circuit as it is now."""
        self._known.pop((session, tool), None)
        if circuit != Circuit():
            self._known[session, tool] = circuit
        while len(self._known) > _CIRCUITS_MAX:
            self._known.popitem(last=False)


class Repeats:
    """How often calls of one run came to the same result, with nothing new in between."""

    def __init__(self) -> None:
        self._results: OrderedDict[str, str] = OrderedDict()
        self._times: dict[str, int] = {}

    def note(self, call: str, result: str) -> None:
        """A call (its name and arguments) came to a result."""
        if self._results.get(call) == result:
            self._times[call] = self._times.get(call, 0) + 1
            return
        self._results[call] = result
        self._times = {call: 1}
        while len(self._results) > _SEEN_MAX:
            self._results.popitem(last=False)

    def times(self, call: str) -> int:
        """How often it did, in a row."""
        return self._times.get(call, 0)
