"""The open run of a session, and what frames of it follow from one another.

Here is what the folds of `agent_runs.py` have in common: when a turn begins and ends, what is kept
back until then, what waits for somebody outside.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import AgentName, CallId, HostRunId, LetterId, RunId, SessionId
from brainpilot_rt.server.wires import agent_run_bodies as bodies
from brainpilot_rt.server.wires.agent_run_bodies import Body, Call, View

OfAgent: TypeAlias = (
    ev.ModelSelected
    | ev.ModelReplied
    | ev.TextFinished
    | ev.TurnRated
    | ev.GuardrailFired
    | ev.QuestionAsked
    | ev.RunFinished
)


@dataclass(slots=True)
class OpenRun:
    """The open host turn, as far as frames depend on it."""

    host_run_id: HostRunId
    agent: AgentName
    started_ms: int
    indices: dict[tuple[RunId, int], int] = field(default_factory=dict[tuple[RunId, int], int])
    """(run, its turn) -> the turn's index in the host turn."""
    replied: int = 0
    """Replies so far: the index of the next turn."""
    turns: int = 0
    """Turns begun."""
    said: str = ""
    """Id of the text that the next reply brings to its end."""
    calls: dict[CallId, Call] = field(default_factory=dict[CallId, Call])
    open_calls: set[CallId] = field(default_factory=set[CallId])
    """Of the latest reply, without a result."""
    answered: bool = False
    """The latest turn has its reply."""
    called: bool = False
    """That reply asked for tools."""
    rated: bool = False
    """How it went is known: that comes before what is kept for the end of the turn."""
    early: list[ev.GuardrailFired] = field(default_factory=list[ev.GuardrailFired])
    late: list[tuple[str, Body]] = field(default_factory=list[tuple[str, Body]])
    waiting: dict[str, str] = field(default_factory=dict[str, str])
    """Id of what waits for somebody outside -> its call."""
    exhausted: bool = False
    counted: Decimal = Decimal(0)
    """What the budgets were charged."""
    charged: bool = False
    unpriced: bool = False
    saved: Decimal = Decimal(0)
    failure: str = ""


class Stage:
    """Where the folds of one session put their frames."""

    def __init__(self, session: SessionId, view: View) -> None:
        self.session = session
        self.managed = view == "managed"
        self.run: OpenRun | None = None
        self.custom: set[str] = set()
        """Names of tools the client runs, as far as they are known."""
        self.letters: dict[LetterId, Body] = {}
        """What the user said and no run has taken yet."""
        self._made: list[tuple[str, Body]] = []

    def take(self) -> list[tuple[str, Body]]:
        """The frames made since it was last asked."""
        made, self._made = self._made, []
        return made

    def emit(self, name: str, body: Body) -> None:
        """A frame of the event that is being folded; `id` in its body replaces the usual one."""
        self._made.append((name, body))

    def of_run(self, event: OfAgent) -> OpenRun | None:
        """The open run, if the event is of the agent it is addressed to."""
        return self.run if self.run is not None and self.run.agent == event.agent else None

    def index(self, run: OpenRun, key: tuple[RunId, int]) -> int:
        """The index of a turn; a new one ends the turn before it."""
        if key not in run.indices:
            self.settle(run)
            run.indices[key] = run.replied
            run.turns = run.replied + 1
            run.answered = run.rated = False
        return run.indices[key]

    def fire_early(self, run: OpenRun, turn: int) -> None:
        """What guardrails said about the input, now that its turn is known."""
        early, run.early = run.early, []
        for event in early:
            self.emit("br.guardrail_intervention", bodies.intervention(event, turn))

    def settle(self, run: OpenRun) -> None:
        """What comes last in a turn."""
        late, run.late = run.late, []
        for name, body in late:
            self.emit(name, body)

    def settle_if_over(self, run: OpenRun) -> None:
        """What comes last, if the turn has its reply, every result and its rating."""
        if run.answered and run.rated and not run.open_calls:
            self.settle(run)

    def show(self, call: Call) -> None:
        """The invocation of a call, once."""
        if not call.shown:
            call.shown = True
            kind = "custom_tool_use" if call.custom and self.managed else "tool_use"
            self.emit(f"agent.{kind}", {**call.use(), "id": call.planned.call_id})

    def wait(self, run: OpenRun, key: str, call_id: CallId) -> None:
        """Something waits for somebody outside."""
        run.waiting[key] = call_id
        self._idle_for(run)

    def wait_no_more(self, run: OpenRun, key: str) -> bool:
        """It does not; True when it did. Says what still waits, or that the work goes on."""
        if run.waiting.pop(key, None) is None:
            return False
        if run.waiting:
            self._idle_for(run)
        else:
            self.running(run)
        return True

    def running(self, run: OpenRun) -> None:
        """The loop is at work."""
        ours = {"sessionId": self.session, "agentId": run.agent, "runId": run.host_run_id}
        self.emit("session.status_running", ours)

    def _idle_for(self, run: OpenRun) -> None:
        waiting = list(dict.fromkeys(run.waiting.values()))
        stop = {"type": "requires_action", "event_ids": waiting}
        self.emit("session.status_idle", {"stop_reason": stop})
