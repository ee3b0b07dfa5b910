"""Commands: what someone asks the authority to do. Ids and times come in with the command.

`SessionManager.dispatch(session, command)` answers with the committed events or raises a
`CommandRejected`. Who asks is part of the command (`by`, `sender`) and is set by the caller's own
identity (the run, the HTTP route), never by text a model wrote.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from brainpilot_rt.domain.citations import Citation
from brainpilot_rt.domain.events import Event, RunOutcome, Thinking
from brainpilot_rt.domain.governing import ApprovalDecision, ApprovalScope, RunLimits
from brainpilot_rt.domain.ids import (
    AgentName,
    CallId,
    HostRunId,
    LetterId,
    MessageId,
    RequestId,
    RunId,
    TaskId,
)
from brainpilot_rt.domain.letters import AgentCard, ForeignLetter, LetterKind
from brainpilot_rt.domain.memory import MemoryItem


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSession:
    """Create the session; an existing one answers with no events."""

    title: str
    provider_id: str | None = None
    model_id: str | None = None
    thinking: Thinking = "off"
    domain_resources: Literal["full", "base"] = "full"
    workspace: str | None = None
    agent: AgentName | None = None
    cap_usd: Decimal | None = None
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSession:
    """Change something about the session itself; None leaves it."""

    title: str | None = None
    thinking: Thinking | None = None
    cap_usd: Decimal | None = None
    labels: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PostUserMessage:
    """The user says something to an agent (the principal unless named)."""

    agent: AgentName
    content: str
    letter_id: LetterId
    message_id: MessageId
    host_run_id: HostRunId
    """Used when this message opens a host turn; a message during one joins it."""
    attachments: tuple[str, ...] = ()
    limits: RunLimits | None = None
    """Of the request this message opens; one that joins a request has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendLetter:
    """An agent's run sends a letter (tool `send_message`)."""

    sender: AgentName
    run_id: RunId
    to: AgentName
    content: str
    kind: LetterKind | None = None
    """None: a result when it answers an open task of the sender, else a delegation (result_deliver
    when the recipient is the principal)."""
    task_id: TaskId | None = None
    letter_id: LetterId
    new_task_id: TaskId
    """The id the task gets if this letter opens one."""
    budget: Decimal | None = None
    """US dollars of the sender's own that a delegation may spend; None: the usual part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveLetter:
    """A foreign file in `<agent>/new/` was read and is well formed."""

    agent: AgentName
    letter: ForeignLetter
    letter_id: LetterId
    message_id: MessageId
    host_run_id: HostRunId
    new_task_id: TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseLetter:
    """A foreign file was moved to `bad/`."""

    agent: AgentName
    file: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLetter:
    """What became of a letter in an external agent's mailbox, read off its files."""

    agent: AgentName
    letter_id: LetterId
    receipt: Literal["placed", "claimed", "consumed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAgent:
    """Create (or revive) a managed agent."""

    agent: AgentName
    by: AgentName


@dataclass(frozen=True, slots=True, kw_only=True)
class DestroyAgent:
    """Stop an agent for good; its unread mail goes to dead letters with notices."""

    agent: AgentName
    by: AgentName


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinExternal:
    """A mailbox directory with `agent.json` of kind external appeared."""

    agent: AgentName
    card: AgentCard


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveExternal:
    """An external agent's directory is gone."""

    agent: AgentName


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt:
    """Raise the fence over one agent or the whole session."""

    agent: AgentName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskQuestion:
    """A run asks the user."""

    request_id: RequestId
    run_id: RunId
    call_id: CallId
    agent: AgentName
    question: str
    options: tuple[str, ...] = ()
    allow_free_text: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerQuestion:
    """The user answers."""

    request_id: RequestId
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestApproval:
    """A call of a run needs a person's word. Asking again with the same id changes nothing."""

    approval_id: str
    run_id: RunId
    call_id: CallId
    agent: AgentName
    tool: str
    arguments: Mapping[str, Any]
    digest: str
    definition: str
    reasons: tuple[str, ...]
    expires_ms: int | None
    preceding: tuple[Event, ...] = ()
    """Facts of the run that belong before this in the same commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideApproval:
    """Somebody, or a rule, decides. The first word counts, a later one is a `Conflict`."""

    approval_id: str
    decision: ApprovalDecision
    scope: ApprovalScope = "once"
    by: str = "user"
    note: str = ""
    until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenClientCall:
    """A call that the client runs. Opening it again (after a crash) changes nothing."""

    run_id: RunId
    agent: AgentName
    call_id: CallId
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerClientCall:
    """The client brings the result."""

    call_id: CallId
    content: str
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinLetters:
    """A run at a turn boundary takes the letters that arrived meanwhile."""

    run_id: RunId
    turn: int
    preceding: tuple[Event, ...] = ()
    """Facts of the run that belong before this in the same commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemindTasks:
    """A run is about to end silently: remind its agent once of each task it still holds."""

    run_id: RunId
    preceding: tuple[Event, ...] = ()
    """Facts of the run that belong before this in the same commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishRun:
    """A run came to its end. `closing` is committed before the end, in the same transaction."""

    run_id: RunId
    outcome: RunOutcome
    turns: int
    reason: str = ""
    error_code: str | None = None
    message_id: MessageId | None = None
    answer: str = ""
    citations: tuple[Citation, ...] = ()
    unverified_citations: int = 0
    retry_at_ms: int | None = None
    """Set: the letters are kept and offered again at that time."""
    closing: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Remember:
    """Put items into memory. One of a known id takes its place; the same words are kept once."""

    items: tuple[MemoryItem, ...]
    by: AgentName
    """`user` or the agent of the run."""
    run_id: RunId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetItems:
    """Take items out of memory: the user any, an agent its own that are not pinned."""

    item_ids: tuple[str, ...]
    by: AgentName
    run_id: RunId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evict:
    """Commit that the session leaves memory. Everything has been stopped before."""

    agents_stopped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """Time passed: look again for what may start, expire or be retried."""


Command: TypeAlias = (
    CreateSession
    | UpdateSession
    | PostUserMessage
    | SendLetter
    | ReceiveLetter
    | RefuseLetter
    | ReportLetter
    | CreateAgent
    | DestroyAgent
    | JoinExternal
    | LeaveExternal
    | Interrupt
    | AskQuestion
    | AnswerQuestion
    | RequestApproval
    | DecideApproval
    | OpenClientCall
    | AnswerClientCall
    | JoinLetters
    | RemindTasks
    | FinishRun
    | Remember
    | ForgetItems
    | Evict
    | Wake
)
