"""The state of one session: what `decide` looks at and `evolve` makes.

Frozen and small: only what is *open* is kept (letters no run has consumed, tasks without a terminal
letter, runs, questions). What is finished lives in the log. So the state of a session that is idle
again is a few kilobytes however much it has done, and a change costs the copy of a small dict.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from brainpilot_rt.domain.citations import Citation
from brainpilot_rt.domain.events import AgentKind, Thinking
from brainpilot_rt.domain.governing import NO_LIMITS, ApprovalScope, RunLimits
from brainpilot_rt.domain.ids import (
    AgentName,
    CallId,
    HostRunId,
    LetterId,
    MessageId,
    RequestId,
    RunId,
    SessionId,
    TaskId,
)
from brainpilot_rt.domain.letters import Letter, LetterKind
from brainpilot_rt.domain.memory import Block, Place
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.domain.thinking import CallSummary, Intent, Plan, ProgramName
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.domain.usage import NO_USAGE, Usage
from brainpilot_rt.sessions.views import ApprovalView, ClientCallView, LetterView


@dataclass(frozen=True, slots=True)
class AgentState:
    """One name in the registry. `epoch` counts its incarnations."""

    name: AgentName
    role: str
    kind: AgentKind
    phase: AgentPhase
    epoch: int
    updated_ms: int
    description: str = ""
    run_id: RunId | None = None
    paused: bool = False
    last_error: str | None = None
    last_error_ms: int = 0
    errors_in_a_row: int = 0
    retry_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class OpenLetter:
    """An accepted letter that has not reached a terminal receipt."""

    letter: Letter
    receipt: Literal["queued", "claimed"] = "queued"
    run_id: RunId | None = None
    message_id: MessageId | None = None
    host_run_id: HostRunId | None = None
    echo_due: bool = False
    placed: bool = False
    accepted_ms: int = 0
    attempts: int = 0

    @property
    def wakes(self) -> bool:
        """Notices of the daemon never start a run (D11); everything else does."""
        return not (
            self.letter.kind is LetterKind.SYSTEM and self.letter.authority.origin == "daemon"
        )


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A tool call without a result."""

    call_id: CallId
    name: str
    effect: Effect
    started: bool = False
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run has come to so far, the runs it resumed included."""

    number: int = 1
    """Among the runs of its chain of letters, from 1."""
    began_ms: int = 0
    intent: Intent | None = None
    program: ProgramName | None = None
    prompts: Mapping[str, int] = field(default_factory=dict[str, int])
    """How often its program has prompted it, by reason."""
    model_calls: int = 0
    usage: Usage = NO_USAGE
    cost_usd: Decimal | None = Decimal(0)
    calls: tuple[CallSummary, ...] = ()
    """The latest tool calls, at most `CALLS_MAX`."""
    downgraded: bool = False
    """The firewall judged a call after which a cheaper model will do."""


@dataclass(frozen=True, slots=True)
class OpenPlan:
    """The plan an agent follows for one chain of letters."""

    plan: Plan
    replans: int = 0
    begun: bool = False
    """The open step was prompted, or something was done for it."""
    call_id: CallId | None = None
    """The latest call that changed it: run again after a crash, it changes nothing."""


@dataclass(frozen=True, slots=True)
class RunState:
    """One agent at work."""

    run_id: RunId
    agent: AgentName
    letter_ids: tuple[LetterId, ...]
    root_id: LetterId
    host_run_id: HostRunId | None
    attempt: int
    first_turn: int
    turns: int
    started_ms: int
    hop: int
    path: tuple[AgentName, ...]
    tainted: bool = False
    texts: Mapping[MessageId, tuple[int, str]] = field(
        default_factory=dict[MessageId, tuple[int, str]]
    )
    """Open texts: message id -> (seq of its start, kind), in the order of their starts."""
    calls: Mapping[CallId, OpenCall] = field(default_factory=dict[CallId, OpenCall])
    record: RunRecord = field(default_factory=RunRecord)
    task_id: TaskId | None = None
    """The task whose envelope pays for it; None: nobody gave it one."""
    spent_usd: Decimal = Decimal(0)
    """What the budgets were charged for it."""


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A delegated task. The creator is its reply address and never changes."""

    task_id: TaskId
    letter_id: LetterId
    creator: AgentName
    assignee: AgentName
    title: str
    opened_ms: int
    root_id: LetterId
    hop: int
    reminded: bool = False
    cap_usd: Decimal | None = None
    """Its envelope, cut from its sender's; None: it has none of its own."""
    spent_usd: Decimal = Decimal(0)
    """Of the envelope, what was delegated on from it included."""
    paid_by: TaskId | None = None
    """The task whose envelope it was cut from; None: the request's own."""


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """A question nobody has answered."""

    request_id: RequestId
    run_id: RunId
    call_id: CallId
    agent: AgentName
    question: str
    options: tuple[str, ...]
    allow_free_text: bool


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money kept free for a model call that is under way."""

    reservation_id: str
    run_id: RunId
    agent: AgentName
    model: ModelRef
    amount_usd: Decimal
    root_id: LetterId | None
    task_id: TaskId | None


@dataclass(frozen=True, slots=True)
class Granted:
    """An approval that holds beyond the call it was asked for."""

    approval_id: str
    agent: AgentName
    run_id: RunId
    call_id: CallId
    tool: str
    digest: str
    definition: str
    reasons: tuple[str, ...]
    scope: ApprovalScope
    until_ms: int | None


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the authority knows of an item of memory: its size and its bounds, not its words."""

    tokens: int
    digest: str
    """Of the words: the same are kept once."""
    agent: AgentName
    pinned: bool = False
    block: Block | None = None


@dataclass(frozen=True, slots=True)
class HostTurn:
    """The open user request, and what it came to so far."""

    host_run_id: HostRunId
    agent: AgentName
    root_id: LetterId
    started_ms: int
    program: ProgramName | None = None
    """By which its agent took the request up."""
    message_id: MessageId | None = None
    answer: str = ""
    citations: tuple[Citation, ...] = ()
    unverified_citations: int = 0
    failed: bool = True
    """Until a run of its agent has completed."""
    usage: Usage = NO_USAGE
    cost_usd: Decimal | None = Decimal(0)
    letters: int = 0
    runs: int = 0
    limits: RunLimits = NO_LIMITS
    turns: int = 0
    """Model calls of its agent."""
    code: str = ""
    """How the latest run of its agent ended, if unusually."""


@dataclass(frozen=True, slots=True)
class RootUse:
    """What one causal chain has used (D11)."""

    letters: int = 0
    runs: int = 0
    tokens: int = 0
    stopped: bool = False
    cap_usd: Decimal | None = None
    spent_usd: Decimal = Decimal(0)
    """What the budgets were charged for all of it."""


@dataclass(frozen=True, slots=True)
class SessionState:
    """Everything open in one session. `seq` 0 means: does not exist."""

    session: SessionId
    seq: int = 0
    title: str = ""
    created_ms: int = 0
    last_ms: int = 0
    provider_id: str | None = None
    model_id: str | None = None
    thinking: Thinking = "off"
    domain_resources: Literal["full", "base"] = "full"
    workspace: str | None = None
    agent: AgentName | None = None
    """Whom its messages are for; None: the principal of a team."""
    cap_usd: Decimal | None = None
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])
    spent_usd: Decimal = Decimal(0)
    """What the budgets were charged for the whole session."""
    reservations: Mapping[str, Reservation] = field(default_factory=dict[str, Reservation])
    approvals: Mapping[str, ApprovalView] = field(default_factory=dict[str, ApprovalView])
    grants: Mapping[str, Granted] = field(default_factory=dict[str, Granted])
    client_calls: Mapping[CallId, ClientCallView] = field(
        default_factory=dict[CallId, ClientCallView]
    )
    agents: Mapping[AgentName, AgentState] = field(default_factory=dict[AgentName, AgentState])
    letters: Mapping[LetterId, OpenLetter] = field(default_factory=dict[LetterId, OpenLetter])
    """In the order of acceptance."""
    closed: Mapping[LetterId, LetterView] = field(default_factory=dict[LetterId, LetterView])
    """The latest terminal receipts, bounded by `CLOSED_MAX`."""
    tasks: Mapping[TaskId, OpenTask] = field(default_factory=dict[TaskId, OpenTask])
    runs: Mapping[RunId, RunState] = field(default_factory=dict[RunId, RunState])
    interrupted: Mapping[RunId, RunState] = field(default_factory=dict[RunId, RunState])
    """Runs a crash cut whose successor has not started yet."""
    questions: Mapping[RequestId, OpenQuestion] = field(
        default_factory=dict[RequestId, OpenQuestion]
    )
    host_turn: HostTurn | None = None
    plans: Mapping[tuple[AgentName, LetterId], OpenPlan] = field(
        default_factory=dict[tuple[AgentName, LetterId], OpenPlan]
    )
    """By agent and first letter of the chain: who waits for one answer may plan for another."""
    roots: Mapping[LetterId, RootUse] = field(default_factory=dict[LetterId, RootUse])
    sent: Mapping[tuple[AgentName, AgentName], int] = field(
        default_factory=dict[tuple[AgentName, AgentName], int]
    )
    memory: Mapping[Place, Mapping[str, Remembered]] = field(
        default_factory=dict[Place, Mapping[str, Remembered]]
    )
    """Items by id, oldest first, of each section that is not derived."""
    usage: Usage = NO_USAGE
    usage_by_agent: Mapping[AgentName, Usage] = field(default_factory=dict[AgentName, Usage])
    cost_usd: Decimal | None = Decimal(0)

    @property
    def exists(self) -> bool:
        """True once `session_created` is in the log."""
        return self.created_ms > 0

    def queued_for(self, agent: AgentName) -> list[OpenLetter]:
        """Letters no run of `agent` has taken, oldest first."""
        return [
            one
            for one in self.letters.values()
            if one.letter.to == agent and one.receipt == "queued"
        ]

    @property
    def busy(self) -> bool:
        """True when a restart must look at this session: something is open."""
        return bool(
            self.runs
            or self.interrupted
            or self.letters
            or self.questions
            or self.host_turn
            or self.reservations
            or self.approvals
        )


CALLS_MAX = 200
CLOSED_MAX = 1024
ROOTS_MAX = 256
