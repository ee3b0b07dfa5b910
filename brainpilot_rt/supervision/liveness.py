"""Liveness: what the daemon is alive for, as held leases and counts, never as elapsed time.

A lease is a reason not to be stopped. Those that are rows of a session's state (runs, unread mail,
timers, questions) are counted from the states; those that are not (a model call in flight, a child
process, a request until it is in the log) are held here for as long as they last. `idle_epoch`
counts everything that was accepted since boot, so that "looks idle" and "stop" can be one step
(I-17).
"""

import resource
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.sessions.schedule import due_ms
from brainpilot_rt.sessions.snapshot import unread
from brainpilot_rt.sessions.state import SessionState

LeaseKind: TypeAlias = Literal["model_call", "child_process", "request"]


@dataclass(frozen=True, slots=True)
class Pulse:
    """Everything `/metrics` says about liveness, at one instant."""

    active_sessions: int
    running_agents: int
    last_activity_ms: int
    idle_epoch: int
    leases: dict[str, int]
    unread_letters: int

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the daemon may not be reclaimed; empty when it may."""
        return tuple(f"{count} {kind}" for kind, count in self.leases.items() if count)


class Liveness:
    """Holds leases and knows when something last happened."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._held: Counter[str] = Counter()
        self._of_states: Counter[str] = Counter()
        self._by_session: dict[SessionId, Counter[str]] = {}
        self._stale: set[SessionId] = set()
        self.last_activity_ms = now_ms()
        self.idle_epoch = 0
        self.closing = False
        self.no_shell: str | None = None
        """Why there is no shell tool although the settings want one."""

    @contextmanager
    def hold(self, kind: LeaseKind) -> Generator[None]:
        """Keep the daemon alive for as long as the block runs."""
        self._held[kind] += 1
        try:
            yield
        finally:
            self._held[kind] -= 1

    def touch(self) -> None:
        """Something was accepted or changed."""
        self.last_activity_ms = self._now_ms()
        self.idle_epoch += 1

    def changed(self, session: SessionId) -> None:
        """A session's state has changed: count it again when somebody asks."""
        self._stale.add(session)

    def pulse(self, find: Callable[[SessionId], SessionState | None], sessions: int) -> Pulse:
        """The present truth. Only sessions that changed since the last look are counted again."""
        for session in self._stale:
            known = find(session)
            counts = _held_by(known) if known is not None else Counter[str]()
            self._of_states.subtract(self._by_session.pop(session, Counter()))
            self._of_states.update(counts)
            if counts:
                self._by_session[session] = counts
        self._stale.clear()
        counted = self._held + self._of_states
        running = counted["run"]
        letters = counted["unread_mail"]
        return Pulse(
            active_sessions=sessions,
            running_agents=running,
            last_activity_ms=self.last_activity_ms,
            idle_epoch=self.idle_epoch,
            leases={kind: count for kind, count in sorted(counted.items()) if count > 0},
            unread_letters=letters,
        )


def _held_by(state: SessionState) -> Counter[str]:
    """The leases that are rows of a session's state; a run that waits to be resumed is one."""
    counts = Counter[str](
        run=len(state.runs) + len(state.interrupted),
        tool_call=sum(call.started for run in state.runs.values() for call in run.calls.values()),
        unread_mail=unread(state),
        question=len(state.questions),
        approval=len(state.approvals),
        timer=int(due_ms(state) is not None),
    )
    return +counts


def memory_full(limit_mb: int | None) -> bool:
    """BrainPilot's opt-in memory guard: true from 85 % of the limit on."""
    if limit_mb is None:
        return False
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() >= limit_mb * 2**20 * 0.85
