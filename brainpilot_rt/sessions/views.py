"""What the outside may see of a session: values folded from its state, never the state itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from brainpilot_rt.domain.events import AgentKind, ApprovalRequested, Thinking
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
from brainpilot_rt.domain.letters import LetterKind
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.domain.usage import NO_USAGE, Usage


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One line of the list of sessions. Times are Unix milliseconds.

    The last six are None when not set, and all of a session that is not in memory.
    """

    session: SessionId
    title: str
    created_ms: int
    updated_ms: int
    busy: bool = False
    provider_id: str | None = None
    model_id: str | None = None
    thinking: Thinking | None = None
    domain_resources: str | None = None
    agent: AgentName | None = None
    labels: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ActiveTool:
    """A tool call between its start and its result."""

    call_id: CallId
    name: str
    started_ms: int


@dataclass(frozen=True, slots=True)
class AgentView:
    """One agent. `alive`: not stopped. `unread`: accepted letters no run has taken yet."""

    name: AgentName
    role: str
    kind: AgentKind
    status: AgentPhase
    epoch: int
    updated_ms: int
    unread: int = 0
    run_id: RunId | None = None
    paused: bool = False
    active_tools: tuple[ActiveTool, ...] = ()
    last_error: str | None = None
    last_error_ms: int = 0
    errors_in_a_row: int = 0
    retry_at_ms: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class QuestionView:
    """An open question; `visible` is the one an ordinary message answers."""

    request_id: RequestId
    agent: AgentName
    question: str
    options: tuple[str, ...]
    allow_free_text: bool
    visible: bool


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """A call that waits for a person's word; `arguments` is what exactly would run."""

    approval_id: str
    session: SessionId
    agent: AgentName
    run_id: RunId
    call_id: CallId
    tool: str
    arguments: Mapping[str, Any]
    digest: str
    definition: str
    reasons: tuple[str, ...]
    asked_ms: int
    expires_ms: int | None


def asked_for(event: ApprovalRequested, session: SessionId, at_ms: int) -> ApprovalView:
    """An approval as it was asked for."""
    return ApprovalView(
        approval_id=event.approval_id,
        session=session,
        agent=event.agent,
        run_id=event.run_id,
        call_id=event.call_id,
        tool=event.tool,
        arguments=event.arguments,
        digest=event.digest,
        definition=event.definition,
        reasons=event.reasons,
        asked_ms=at_ms,
        expires_ms=event.expires_ms,
    )


@dataclass(frozen=True, slots=True)
class ClientCallView:
    """A call the client is to run."""

    call_id: CallId
    run_id: RunId
    agent: AgentName
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task that has not reached its terminal letter."""

    task_id: TaskId
    creator: AgentName
    assignee: AgentName
    title: str
    opened_ms: int


@dataclass(frozen=True, slots=True)
class LetterView:
    """Receipt of a letter: `queued`, `claimed`, `consumed`, `expired`, `dead`, `cancelled`."""

    letter_id: LetterId
    sender: AgentName
    to: AgentName
    kind: LetterKind
    receipt: str
    reason: str | None = None
    run_id: RunId | None = None
    task_id: TaskId | None = None


@dataclass(frozen=True, slots=True)
class SessionView:
    """The authoritative snapshot: GET state, and the first frame of every stream."""

    session: SessionId
    title: str
    seq: int
    last_activity_ms: int
    host_run_id: HostRunId | None
    """The open host turn; `runState.active` is that it is not None."""
    working: bool
    """`workState`: any run, unread letter of a runnable agent, or timer."""
    agents: tuple[AgentView, ...] = ()
    questions: tuple[QuestionView, ...] = ()
    tasks: tuple[TaskView, ...] = ()
    usage: Usage = NO_USAGE
    usage_by_agent: dict[AgentName, Usage] = field(default_factory=dict[AgentName, Usage])
    cost_usd: Decimal | None = Decimal(0)
    thinking: Thinking = "off"
    domain_resources: str = "full"
    provider_id: str | None = None
    model_id: str | None = None
    agent: AgentName | None = None
    """Whom its messages are for; None: the principal of a team."""
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])
    cap_usd: Decimal | None = None
    spent_usd: Decimal = Decimal(0)
    """What the budgets were charged for it."""
    created_ms: int = 0
    approvals: tuple[ApprovalView, ...] = ()
    client_calls: tuple[ClientCallView, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenText:
    """A text that is being said right now, with every chunk shown so far."""

    message_id: MessageId
    kind: str
    agent: AgentName
    run_id: RunId
    started_seq: int
    chunks: tuple[str, ...]
