"""Commands: what someone asks the authority to do. Ids and times come in with the command.

`SessionManager.dispatch(session, command)` answers with the committed events or raises a
`CommandRejected`. Who asks is part of the command (`by`, `sender`) and is set by the caller's own
identity (the run, the HTTP route), never by text a model wrote.
"""

from typing import Literal, TypeAlias

from brainpilot_rt.domain.citations import Citation
from brainpilot_rt.domain.events import Event, RunOutcome, Thinking
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
from brainpilot_rt.domain.values import Value


class CreateSession(Value):
    """Create the session; an existing one answers with no events."""

    type: Literal["create_session"] = "create_session"
    title: str
    provider_id: str | None = None
    model_id: str | None = None
    thinking: Thinking = "off"
    domain_resources: Literal["full", "base"] = "full"
    workspace: str | None = None


class UpdateSession(Value):
    """Rename, or change the thinking level."""

    type: Literal["update_session"] = "update_session"
    title: str | None = None
    thinking: Thinking | None = None


class PostUserMessage(Value):
    """The user says something to an agent (the principal unless named)."""

    type: Literal["post_user_message"] = "post_user_message"
    agent: AgentName
    content: str
    letter_id: LetterId
    message_id: MessageId
    host_run_id: HostRunId
    """Used when this message opens a host turn; a message during one joins it."""
    attachments: tuple[str, ...] = ()


class SendLetter(Value):
    """An agent's run sends a letter (tool `send_message`)."""

    type: Literal["send_letter"] = "send_letter"
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


class ReceiveLetter(Value):
    """A foreign file in `<agent>/new/` was read and is well formed."""

    type: Literal["receive_letter"] = "receive_letter"
    agent: AgentName
    letter: ForeignLetter
    letter_id: LetterId
    message_id: MessageId
    host_run_id: HostRunId
    new_task_id: TaskId


class RefuseLetter(Value):
    """A foreign file was moved to `bad/`."""

    type: Literal["refuse_letter"] = "refuse_letter"
    agent: AgentName
    file: str
    reason: str
    detail: str = ""


class ReportLetter(Value):
    """What became of a letter in an external agent's mailbox, read off its files."""

    type: Literal["report_letter"] = "report_letter"
    agent: AgentName
    letter_id: LetterId
    receipt: Literal["placed", "claimed", "consumed"]


class CreateAgent(Value):
    """Create (or revive) a managed agent."""

    type: Literal["create_agent"] = "create_agent"
    agent: AgentName
    by: AgentName


class DestroyAgent(Value):
    """Stop an agent for good; its unread mail goes to dead letters with notices."""

    type: Literal["destroy_agent"] = "destroy_agent"
    agent: AgentName
    by: AgentName


class JoinExternal(Value):
    """A mailbox directory with `agent.json` of kind external appeared."""

    type: Literal["join_external"] = "join_external"
    agent: AgentName
    card: AgentCard


class LeaveExternal(Value):
    """An external agent's directory is gone."""

    type: Literal["leave_external"] = "leave_external"
    agent: AgentName


class Interrupt(Value):
    """Raise the fence over one agent or the whole session."""

    type: Literal["interrupt"] = "interrupt"
    agent: AgentName | None = None


class AskQuestion(Value):
    """A run asks the user."""

    type: Literal["ask_question"] = "ask_question"
    request_id: RequestId
    run_id: RunId
    call_id: CallId
    agent: AgentName
    question: str
    options: tuple[str, ...] = ()
    allow_free_text: bool = True


class AnswerQuestion(Value):
    """The user answers."""

    type: Literal["answer_question"] = "answer_question"
    request_id: RequestId
    answer: str


class JoinLetters(Value):
    """A run at a turn boundary takes the letters that arrived meanwhile."""

    type: Literal["join_letters"] = "join_letters"
    run_id: RunId
    turn: int
    preceding: tuple[Event, ...] = ()
    """Facts of the run that belong before this in the same commit."""


class RemindTasks(Value):
    """A run is about to end silently: remind its agent once of each task it still holds."""

    type: Literal["remind_tasks"] = "remind_tasks"
    run_id: RunId
    preceding: tuple[Event, ...] = ()
    """Facts of the run that belong before this in the same commit."""


class FinishRun(Value):
    """A run came to its end. `closing` is committed before the end, in the same transaction."""

    type: Literal["finish_run"] = "finish_run"
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


class Evict(Value):
    """Commit that the session leaves memory. Everything has been stopped before."""

    type: Literal["evict"] = "evict"
    agents_stopped: int


class Wake(Value):
    """Time passed: look again for what may start, expire or be retried."""

    type: Literal["wake"] = "wake"


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
    | JoinLetters
    | RemindTasks
    | FinishRun
    | Evict
    | Wake
)
