"""Events: every fact the log can hold, in one tagged union.

Frozen, past tense, closed. The log gives a fact its place (`Recorded`): `seq` counts per session
without a gap, `pos` is the commit order over all sessions. Adding an event: a class here, a line in
`Event`, and whatever the type checker then reports as undecided (`assert_never` in the folds).
Events are append-only: a field may be added with a default, nothing may be removed.

Live text deltas are not events. A text is `text_started`, then (live only) its chunks, then
`text_finished`, which carries the whole text and the chunk boundaries a live client saw (D31).
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter

from brainpilot_rt.domain.citations import Citation
from brainpilot_rt.domain.governing import (
    ApprovalDecision,
    ApprovalScope,
    BudgetScope,
    Candidate,
    GuardAction,
    GuardStage,
    JudgedAction,
    RoutePhase,
    RunLimits,
    SpendPurpose,
)
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
from brainpilot_rt.domain.letters import Letter
from brainpilot_rt.domain.memory import MemoryItem, SectionName
from brainpilot_rt.domain.messages import AssistantMessage
from brainpilot_rt.domain.model_calls import ModelRef, StopReason
from brainpilot_rt.domain.passages import Passage
from brainpilot_rt.domain.thinking import CallSummary, ContextSection, Intent, Plan, ProgramName
from brainpilot_rt.domain.tools import Effect, ToolStatus
from brainpilot_rt.domain.trace import TraceNode
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.domain.values import Value

Role: TypeAlias = str
AgentKind: TypeAlias = Literal["managed", "external"]
RunOutcome: TypeAlias = Literal["completed", "failed", "aborted"]
TaskOutcome: TypeAlias = Literal["result", "failed", "cancelled"]
Thinking: TypeAlias = Literal["off", "low", "medium", "high"]


class UserEcho(Value):
    """A user's message at the moment an agent takes it up: what a chat view shows."""

    message_id: MessageId
    host_run_id: HostRunId
    letter_id: LetterId
    text: str


# --- sessions -------------------------------------------------------------------------------


class SessionCreated(Value):
    """A session exists. Provider and model are what the caller chose, if it chose."""

    type: Literal["session_created"] = "session_created"
    title: str
    provider_id: str | None = None
    model_id: str | None = None
    thinking: Thinking = "off"
    domain_resources: Literal["full", "base"] = "full"
    workspace: str | None = None
    """Absolute folder to work in instead of `workspaces/<session>`, set by a local caller."""
    agent: AgentName | None = None
    """Whom its messages are for; None: the principal of a team."""
    cap_usd: Decimal | None = None
    """What the whole session may cost."""
    labels: dict[str, Any] = Field(default_factory=dict)
    """What the caller keeps with it: `api`, `environment_id`, `metadata`, ..."""


class SessionUpdated(Value):
    """Something about the session itself changed; None means unchanged."""

    type: Literal["session_updated"] = "session_updated"
    title: str | None = None
    thinking: Thinking | None = None
    cap_usd: Decimal | None = None
    labels: dict[str, Any] | None = None
    """The whole of them, as they are now."""


class SessionEvicted(Value):
    """Everything that ran was stopped and the session left memory; the log stays."""

    type: Literal["session_evicted"] = "session_evicted"
    agents_stopped: int


class SessionDeleted(Value):
    """In the daemon's stream: a session and all its data are gone."""

    type: Literal["session_deleted"] = "session_deleted"
    deleted: SessionId


# --- agents ---------------------------------------------------------------------------------


class AgentCreated(Value):
    """An agent exists (again). `epoch` counts the incarnations of the name from 1."""

    type: Literal["agent_created"] = "agent_created"
    agent: AgentName
    role: Role
    kind: AgentKind = "managed"
    epoch: int
    by: AgentName
    description: str = ""


class AgentStopped(Value):
    """An agent was destroyed or left; unread letters for it go to dead letters."""

    type: Literal["agent_stopped"] = "agent_stopped"
    agent: AgentName
    reason: Literal["destroyed", "left"]
    by: AgentName


# --- letters --------------------------------------------------------------------------------


class LetterAccepted(Value):
    """Promised: from this commit on the letter is never lost. Receipt `queued`."""

    type: Literal["letter_accepted"] = "letter_accepted"
    letter_id: LetterId
    letter: Letter
    message_id: MessageId | None = None
    """Of a user's message: the id its chat bubble carries."""
    host_run_id: HostRunId | None = None
    queued: bool = False
    """True: its echo comes when an agent takes it up, not now."""
    run_id: RunId | None = None
    """The run whose tool call sent it."""


class LetterReceived(Value):
    """A foreign file became a letter of ours. Accepted at this commit."""

    type: Literal["letter_received"] = "letter_received"
    letter_id: LetterId
    letter: Letter
    message_id: MessageId | None = None
    host_run_id: HostRunId | None = None
    queued: bool = False


class LetterRefused(Value):
    """A file was moved to `bad/`; nothing of it was believed."""

    type: Literal["letter_refused"] = "letter_refused"
    agent: AgentName
    file: str
    reason: str
    detail: str = ""


class LetterPlaced(Value):
    """An external agent's letter lies in its `new/`."""

    type: Literal["letter_placed"] = "letter_placed"
    letter_id: LetterId


class LetterClaimed(Value):
    """An external agent moved the file to `cur/`. Receipt `claimed`."""

    type: Literal["letter_claimed"] = "letter_claimed"
    letter_id: LetterId
    agent: AgentName


class LetterConsumed(Value):
    """Letters reached their end outside a run's outcome. Receipt `consumed`."""

    type: Literal["letter_consumed"] = "letter_consumed"
    letter_ids: tuple[LetterId, ...]
    agent: AgentName


class LetterExpired(Value):
    """Its time to live ended before anyone took it. Receipt `expired`."""

    type: Literal["letter_expired"] = "letter_expired"
    letter_id: LetterId


class LetterDied(Value):
    """Undeliverable. Receipt `dead(reason)`."""

    type: Literal["letter_died"] = "letter_died"
    letter_id: LetterId
    reason: str


# --- tasks and host turns -------------------------------------------------------------------


class TaskOpened(Value):
    """A `task_delegate` letter opened a task. The reply address never changes."""

    type: Literal["task_opened"] = "task_opened"
    task_id: TaskId
    letter_id: LetterId
    creator: AgentName
    assignee: AgentName
    title: str


class TaskReminded(Value):
    """The one reminder to an agent that ended its turn without delivering."""

    type: Literal["task_reminded"] = "task_reminded"
    task_id: TaskId
    run_id: RunId
    agent: AgentName
    text: str


class TaskClosed(Value):
    """Exactly once per task. `letter_id`: the terminal letter."""

    type: Literal["task_closed"] = "task_closed"
    task_id: TaskId
    outcome: TaskOutcome
    letter_id: LetterId | None = None


class HostTurnStarted(Value):
    """A user's message opened a host turn."""

    type: Literal["host_turn_started"] = "host_turn_started"
    host_run_id: HostRunId
    letter_id: LetterId
    agent: AgentName
    limits: RunLimits | None = None


class HostTurnFinished(Value):
    """The addressed agent has answered and no task is open (D10), or it was stopped or failed."""

    type: Literal["host_turn_finished"] = "host_turn_finished"
    host_run_id: HostRunId
    outcome: Literal["completed", "failed", "interrupted"]
    agent: AgentName
    message_id: MessageId | None = None
    answer: str = ""
    citations: tuple[Citation, ...] = ()
    """Only those that were verified against the files."""
    unverified_citations: int = 0
    cost_usd: Decimal | None = None
    usage: Usage = Usage()
    letters: int = 0
    runs: int = 0
    turns: int = 0
    """Model calls of the addressed agent."""
    code: str = ""
    """Of a failure or an unusual end: the word of the run that ended it."""


# --- runs and turns -------------------------------------------------------------------------


class RunStarted(Value):
    """An agent works on claimed letters. The agent is `running`."""

    type: Literal["run_started"] = "run_started"
    run_id: RunId
    agent: AgentName
    letter_ids: tuple[LetterId, ...]
    root_id: LetterId
    host_run_id: HostRunId | None = None
    attempt: int = 1
    resumes: RunId | None = None
    first_turn: int = 0
    echo: tuple[UserEcho, ...] = ()
    """Queued user messages taken up by this run."""


class LettersJoined(Value):
    """Letters that arrived during a run were shown to the model at a turn boundary."""

    type: Literal["letters_joined"] = "letters_joined"
    run_id: RunId
    agent: AgentName
    letter_ids: tuple[LetterId, ...]
    turn: int
    echo: tuple[UserEcho, ...] = ()


class TextStarted(Value):
    """An answer or a piece of reasoning begins; its chunks follow live."""

    type: Literal["text_started"] = "text_started"
    run_id: RunId
    agent: AgentName
    turn: int
    message_id: MessageId
    kind: Literal["text", "reasoning"] = "text"


class TextFinished(Value):
    """The whole text, and the lengths (in characters) of the chunks it was shown in."""

    type: Literal["text_finished"] = "text_finished"
    run_id: RunId
    agent: AgentName
    message_id: MessageId
    kind: Literal["text", "reasoning"] = "text"
    text: str
    chunks: tuple[int, ...]
    started_seq: int
    """`seq` of its `text_started`."""
    aborted: bool = False
    """True: cut by a stop, a failure or a crash. After a crash `text` is empty."""


class ModelReplied(Value):
    """One model call is paid for and its reply is kept: the model is never asked for it again."""

    type: Literal["model_replied"] = "model_replied"
    run_id: RunId
    agent: AgentName
    turn: int
    message: AssistantMessage
    stop_reason: StopReason
    usage: Usage
    model: ModelRef
    cost_usd: Decimal | None
    duration_ms: int


class ModelAttemptFailed(Value):
    """An attempt at a model call failed; another follows."""

    type: Literal["model_attempt_failed"] = "model_attempt_failed"
    run_id: RunId
    agent: AgentName
    turn: int
    attempt: int
    attempts_max: int
    delay_ms: int
    reason: str


class ModelStalled(Value):
    """Advice, never an end: the model has been silent for `silent_s` seconds (D6)."""

    type: Literal["model_stalled"] = "model_stalled"
    run_id: RunId
    agent: AgentName
    turn: int
    silent_s: int
    reason: str


class ToolPlanned(Value):
    """The model asked for a call."""

    type: Literal["tool_planned"] = "tool_planned"
    run_id: RunId
    agent: AgentName
    turn: int
    call_id: CallId
    name: str
    arguments: dict[str, Any] | None
    raw_arguments: str = ""
    effect: Effect


class ToolStarted(Value):
    """Execution is about to begin; after a crash the effect may or may not have happened."""

    type: Literal["tool_started"] = "tool_started"
    run_id: RunId
    call_id: CallId
    attempt: int = 1


class ToolFinished(Value):
    """The one result of a call."""

    type: Literal["tool_finished"] = "tool_finished"
    run_id: RunId
    agent: AgentName
    call_id: CallId
    name: str
    content: str
    status: ToolStatus
    full_output_path: str | None = None
    duration_ms: int = 0
    reason: str | None = None
    """Of an interruption: `user_requested`, `task_interrupted`, `agent_interrupted`, `crash`."""


class RunFinished(Value):
    """The run ended; its letters are consumed by this very commit, unless `retry_at_ms` is set."""

    type: Literal["run_finished"] = "run_finished"
    run_id: RunId
    agent: AgentName
    outcome: RunOutcome
    letter_ids: tuple[LetterId, ...]
    """What is consumed: claimed at the start or joined later. Empty when they are to be retried."""
    turns: int
    reason: str = ""
    error_code: str | None = None
    message_id: MessageId | None = None
    """The text message that is the run's answer."""
    answer: str = ""
    citations: tuple[Citation, ...] = ()
    unverified_citations: int = 0
    retry_at_ms: int | None = None


class RunInterrupted(Value):
    """A crash or shutdown cut the run; nothing is consumed, another run resumes it."""

    type: Literal["run_interrupted"] = "run_interrupted"
    run_id: RunId
    agent: AgentName
    reason: Literal["crash", "shutdown"]


class StopRequested(Value):
    """The fence is up: nothing of these agents starts any more (D9)."""

    type: Literal["stop_requested"] = "stop_requested"
    agent: AgentName | None = None
    """None: the whole session."""
    by: AgentName = AgentName("user")


class DeliveryResumed(Value):
    """Paused letters may be delivered again."""

    type: Literal["delivery_resumed"] = "delivery_resumed"
    agent: AgentName | None = None


# --- questions ------------------------------------------------------------------------------


class QuestionAsked(Value):
    """An agent asks the user and waits, durably."""

    type: Literal["question_asked"] = "question_asked"
    request_id: RequestId
    run_id: RunId
    call_id: CallId
    agent: AgentName
    question: str
    options: tuple[str, ...] = ()
    allow_free_text: bool = True


class QuestionAnswered(Value):
    """The first answer wins."""

    type: Literal["question_answered"] = "question_answered"
    request_id: RequestId
    answer: str
    agent: AgentName


class QuestionCancelled(Value):
    """Nobody waits for an answer any more."""

    type: Literal["question_cancelled"] = "question_cancelled"
    request_id: RequestId
    reason: Literal["interrupted", "evicted", "restored", "agent_destroyed"]
    agent: AgentName


# --- how a run thinks ------------------------------------------------------------------------


class IntentClassified(Value):
    """What the run's letters want, and which program answers them."""

    type: Literal["intent_classified"] = "intent_classified"
    run_id: RunId
    agent: AgentName
    intent: Intent
    confidence: float
    """0 to 1."""
    reasoning: str
    source: Literal["model", "heuristic", "fixed"]
    """`fixed`: nothing to classify (a result, a notice), or the agent has one program only."""
    program: ProgramName
    fallback: str = ""
    """Why the model's word was not taken, if it was asked."""


class ContextAssembled(Value):
    """What the model is about to read in `turn`, section by section."""

    type: Literal["context_assembled"] = "context_assembled"
    run_id: RunId
    agent: AgentName
    turn: int
    sections: tuple[ContextSection, ...]
    tokens: int
    """Of all sections together."""
    duration_us: int = 0
    """Microseconds it took."""


class ModelAsked(Value):
    """A model call beside the conversation is paid for."""

    type: Literal["model_asked"] = "model_asked"
    run_id: RunId
    agent: AgentName
    purpose: Literal["classify", "compact", "summarise"]
    model: ModelRef
    usage: Usage
    cost_usd: Decimal | None
    duration_ms: int


class ProgramPrompted(Value):
    """What the program told the model to do next; it is part of the conversation."""

    type: Literal["program_prompted"] = "program_prompted"
    run_id: RunId
    agent: AgentName
    turn: int
    text: str
    reason: Literal["plan", "step", "replan", "plan_done", "evidence", "clarify", "repeat"]


class PlanChanged(Value):
    """A plan was proposed or revised, or a step of it was closed; the whole plan as it is now."""

    type: Literal["plan_changed"] = "plan_changed"
    run_id: RunId
    agent: AgentName
    op: Literal["proposed", "revised", "step_closed"]
    plan: Plan
    reason: str = ""
    call_id: CallId | None = None
    """The call that did it; None: a step was ended by a text."""


class PassagesRetrieved(Value):
    """Retrieval for a research run, in the order of their rank."""

    type: Literal["passages_retrieved"] = "passages_retrieved"
    run_id: RunId
    agent: AgentName
    query: str
    passages: tuple[Passage, ...]


class CitationChecked(Value):
    """A citation of an answer was looked up in its source."""

    type: Literal["citation_checked"] = "citation_checked"
    run_id: RunId
    agent: AgentName
    claim: str
    citation: Citation
    verified: bool
    reason: str = ""
    """Of one that does not hold."""


class EvidenceInsufficient(Value):
    """A research run refuses to claim what it can not show."""

    type: Literal["evidence_insufficient"] = "evidence_insufficient"
    run_id: RunId
    agent: AgentName
    reason: str
    what_would_resolve: str


class LimitExceeded(Value):
    """A count that bounds a run was reached; what follows is said in `reason`."""

    type: Literal["limit_exceeded"] = "limit_exceeded"
    run_id: RunId
    agent: AgentName
    kind: Literal["steps", "replans", "tool_calls", "repeats", "evidence", "citations"]
    limit: int
    actual: int
    reason: str


class CircuitChanged(Value):
    """The circuit breaker of a tool opened, let one call through to try, or closed again."""

    type: Literal["circuit_changed"] = "circuit_changed"
    run_id: RunId
    agent: AgentName
    tool: str
    state: Literal["open", "half_open", "closed"]
    failures: int
    reason: str = ""


class ConversationCompacted(Value):
    """The older part of a conversation is replaced by a summary that is shorter, as measured."""

    type: Literal["conversation_compacted"] = "conversation_compacted"
    run_id: RunId
    agent: AgentName
    turn: int
    through_seq: int
    """What the agent read and said by events up to this `seq` is now the summary."""
    summary: str
    messages_before: int
    messages_after: int
    chars_before: int
    chars_after: int


class CompactionFailed(Value):
    """A try at compaction did not free room; after the last one it is not tried again this run."""

    type: Literal["compaction_failed"] = "compaction_failed"
    run_id: RunId
    agent: AgentName
    turn: int
    attempt: int
    attempts_max: int
    code: Literal["no_room_freed", "empty_summary", "model_failed", "nothing_to_compact"]
    reason: str


class SpanCompleted(Value):
    """A run is over, as a span: committed with its end, last but one."""

    type: Literal["span_completed"] = "span_completed"
    run_id: RunId
    agent: AgentName
    subject: Literal["turn"] = "turn"
    """KAOS' word for what we call a run."""
    name: str
    span_id: str
    parent_span_id: str | None = None
    duration_ms: int
    error_type: str | None = None
    error_message: str | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)


class TurnSummarised(Value):
    """What a run came to: committed with its end, last."""

    type: Literal["turn_summarised"] = "turn_summarised"
    run_id: RunId
    agent: AgentName
    text: str
    intent: Intent | None = None
    program: ProgramName | None = None
    tool_calls: tuple[CallSummary, ...] = ()
    model_calls: int = 0
    tokens_used: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = None


# --- memory ---------------------------------------------------------------------------------


class MemoryAdded(Value):
    """Something is remembered from now on. An item of a known id replaces it."""

    type: Literal["memory_added"] = "memory_added"
    items: tuple[MemoryItem, ...]
    agent: AgentName
    """Who wrote it; `user` for what came by HTTP or the command line."""
    run_id: RunId | None = None


class MemoryRemoved(Value):
    """Items are forgotten on purpose."""

    type: Literal["memory_removed"] = "memory_removed"
    section: SectionName
    item_ids: tuple[str, ...]
    agent: AgentName
    """Who asked for it."""
    run_id: RunId | None = None


class MemoryEvicted(Value):
    """Items had to make room for what is added in the same commit.

    Derived sections are kept within their bounds by their fold, and ephemeral ones emptied by
    `run_started`: neither is said.
    """

    type: Literal["memory_evicted"] = "memory_evicted"
    section: SectionName
    agent: AgentName
    """Whose section it is; empty: the team's."""
    item_ids: tuple[str, ...]
    tokens: int
    reason: Literal["fifo"] = "fifo"
    run_id: RunId | None = None
    """Of what is added."""


class MemorySummarised(Value):
    """One shorter item stands for several that were evicted; it is the oldest of its section."""

    type: Literal["memory_summarised"] = "memory_summarised"
    section: SectionName
    agent: AgentName
    """Whose section it is; empty: the team's."""
    item_ids: tuple[str, ...]
    """Those it stands for."""
    item: MemoryItem
    tokens_before: int


class MemoryRefused(Value):
    """What was to be remembered does not fit, and nothing may be evicted for it."""

    type: Literal["memory_refused"] = "memory_refused"
    section: SectionName
    agent: AgentName
    run_id: RunId | None = None
    tokens: int
    limit: int
    used: int
    reason: str


# --- routing, money, guardrails, tools -------------------------------------------------------


class ModelSelected(Value):
    """Which model is asked in a turn, and why; committed before its reply."""

    type: Literal["model_selected"] = "model_selected"
    run_id: RunId
    agent: AgentName
    turn: int
    model: ModelRef
    phase: RoutePhase
    reason: str
    task_class: str = ""
    """Rewards are compared within it."""
    candidates: tuple[Candidate, ...] = ()
    propensity: float | None = None
    """How likely this choice was; None: nothing was drawn."""
    switch_cost_usd: Decimal | None = None
    """What leaving the model that holds the prompt's cache costs in this turn."""
    instead_of: ModelRef | None = None
    """Of a fallback: the model that failed."""


class TurnRated(Value):
    """How good a turn was, for the router, and what the default model would have cost."""

    type: Literal["turn_rated"] = "turn_rated"
    run_id: RunId
    agent: AgentName
    turn: int
    model: ModelRef
    task_class: str
    reward: float
    """0 to 1."""
    validity: float
    quality: float | None = None
    """Part of its tool calls that were right; None: it made none."""
    latency_ms: int = 0
    usage: Usage = Usage()
    cost_usd: Decimal | None = None
    baseline: ModelRef | None = None
    baseline_cost_usd: Decimal | None = None
    savings_usd: Decimal | None = None
    """Signed; None: one of the prices is not known."""


class SpendReserved(Value):
    """A model call may be made: its probable cost is kept free in every budget it counts for."""

    type: Literal["spend_reserved"] = "spend_reserved"
    reservation_id: str
    run_id: RunId
    agent: AgentName
    root_id: LetterId | None = None
    host_run_id: HostRunId | None = None
    turn: int = 0
    purpose: SpendPurpose = "turn"
    model: ModelRef
    amount_usd: Decimal
    """An estimate, in whole picodollars."""


class SpendSettled(Value):
    """What became of a reservation: charged with what the call cost, or released. Once each."""

    type: Literal["spend_settled"] = "spend_settled"
    reservation_id: str
    run_id: RunId
    agent: AgentName
    outcome: Literal["charged", "released"]
    model: ModelRef
    usage: Usage = Usage()
    cost_usd: Decimal | None = None
    """None: the price is not known."""
    counted_usd: Decimal = Decimal(0)
    """What the budgets are charged, in whole picodollars: the cost, or what the policy for unknown
    prices says."""
    estimated: bool = False
    """The usage or the price is not the provider's own."""
    reason: str = ""
    """`crash`, `cancelled`, `failed`, `shutdown`; empty: the call was answered."""
    purpose: SpendPurpose | None = None
    """Set, with the three that follow, for a call that costs nothing: nothing was reserved."""
    root_id: LetterId | None = None
    host_run_id: HostRunId | None = None
    turn: int = 0

    @property
    def without_reply(self) -> bool:
        """Charged for a call that was cut: no `model_replied` tells of its usage and cost."""
        return self.outcome == "charged" and bool(self.reason)


class BudgetWarned(Value):
    """A budget is nearly used up. Once for each threshold, scope and run."""

    type: Literal["budget_warned"] = "budget_warned"
    run_id: RunId
    agent: AgentName
    turn: int
    scope: BudgetScope
    threshold: float
    """Part of the cap that was passed."""
    spent_usd: Decimal
    cap_usd: Decimal


class BudgetExhausted(Value):
    """A budget is used up: nothing more is started under it."""

    type: Literal["budget_exhausted"] = "budget_exhausted"
    run_id: RunId
    agent: AgentName
    turn: int
    scope: BudgetScope
    spent_usd: Decimal
    cap_usd: Decimal


class GuardrailFired(Value):
    """A guardrail found something in what goes in or out."""

    type: Literal["guardrail_fired"] = "guardrail_fired"
    run_id: RunId
    agent: AgentName
    turn: int
    stage: GuardStage
    action: GuardAction
    guardrail: str
    confidence: float
    reason: str
    call_id: CallId | None = None


class ToolJudged(Value):
    """What the inspection of a call came to; a call without one passed it all."""

    type: Literal["tool_judged"] = "tool_judged"
    run_id: RunId
    agent: AgentName
    turn: int
    call_id: CallId
    tool: str
    action: JudgedAction
    reasons: tuple[str, ...]
    """Each `<code>: <detail>`."""


class ApprovalRequested(Value):
    """A call waits for a person's word, durably."""

    type: Literal["approval_requested"] = "approval_requested"
    approval_id: str
    run_id: RunId
    agent: AgentName
    call_id: CallId
    tool: str
    arguments: dict[str, Any]
    """What exactly would run."""
    digest: str
    """Of tool, definition and arguments: what is approved is this and nothing else."""
    definition: str = ""
    """Digest of the tool's definition."""
    reasons: tuple[str, ...] = ()
    expires_ms: int | None = None


class ApprovalDecided(Value):
    """The first word on an approval; later ones are told so."""

    type: Literal["approval_decided"] = "approval_decided"
    approval_id: str
    agent: AgentName
    decision: ApprovalDecision
    scope: ApprovalScope = "once"
    by: str
    """`user`, `policy`, `clock` or the run that ended."""
    note: str = ""
    until_ms: int | None = None
    """Of a scope beyond this call: how long it holds."""


class ClientCallOpened(Value):
    """A tool that the client runs itself was called; the run waits for its result."""

    type: Literal["client_call_opened"] = "client_call_opened"
    run_id: RunId
    agent: AgentName
    call_id: CallId
    name: str
    arguments: dict[str, Any]


class ClientCallAnswered(Value):
    """The client brought the result; the first one counts."""

    type: Literal["client_call_answered"] = "client_call_answered"
    call_id: CallId
    content: str
    is_error: bool = False


# --- what is kept for all sessions -----------------------------------------------------------


class RecordSaved(Value):
    """In the daemon's stream: something kept for all sessions is as `body` says from now on."""

    type: Literal["record_saved"] = "record_saved"
    kind: str
    """`agent`, `environment`, `budget`, `guardrails`, `mcp_server`, `tool_policy`, ..."""
    key: str
    body: dict[str, Any]


class RecordDeleted(Value):
    """In the daemon's stream: it is kept no more."""

    type: Literal["record_deleted"] = "record_deleted"
    kind: str
    key: str


# --- notices, trace, daemon -----------------------------------------------------------------


class NoticePosted(Value):
    """Something a person should read. `notice_id` is deterministic, so it is shown once."""

    type: Literal["notice_posted"] = "notice_posted"
    notice_id: str
    level: Literal["info", "warning", "error", "fatal"]
    message: str
    agent: AgentName | None = None
    run_id: str | None = None
    code: str | None = None
    recoverable: bool = True
    details: str | None = None


class TraceNodeSaved(Value):
    """A node of the Graph-of-Trace was created or changed; the whole node as it is now."""

    type: Literal["trace_node_saved"] = "trace_node_saved"
    op: Literal["created", "updated"]
    node: TraceNode
    agent: AgentName


class DaemonStarted(Value):
    """In the daemon's stream."""

    type: Literal["daemon_started"] = "daemon_started"
    version: str
    pid: int
    instance_id: str


class DaemonRecovered(Value):
    """In the daemon's stream: what start-up had to repair, by name."""

    type: Literal["daemon_recovered"] = "daemon_recovered"
    counts: dict[str, int]


class StorageRecovered(Value):
    """In the daemon's stream: the log takes events again after it had refused commits."""

    type: Literal["storage_recovered"] = "storage_recovered"
    code: str
    """What it was last refused for."""
    refused: int
    """Commits refused meanwhile, the tries of the daemon itself included."""


class DaemonStopped(Value):
    """In the daemon's stream: a clean stop."""

    type: Literal["daemon_stopped"] = "daemon_stopped"
    reason: str


Told: TypeAlias = (
    SessionEvicted
    | SessionDeleted
    | LetterRefused
    | ModelAttemptFailed
    | ModelStalled
    | CitationChecked
    | EvidenceInsufficient
    | LimitExceeded
    | CircuitChanged
    | ConversationCompacted
    | CompactionFailed
    | SpanCompleted
    | TurnSummarised
    | MemoryRefused
    | ModelSelected
    | TurnRated
    | BudgetWarned
    | BudgetExhausted
    | GuardrailFired
    | RecordSaved
    | RecordDeleted
    | TraceNodeSaved
    | DaemonStarted
    | DaemonRecovered
    | StorageRecovered
    | DaemonStopped
)
"""Facts that are told and kept, and leave the state of their session as it is."""

Event: TypeAlias = Annotated[
    SessionCreated
    | SessionUpdated
    | SessionEvicted
    | SessionDeleted
    | AgentCreated
    | AgentStopped
    | LetterAccepted
    | LetterReceived
    | LetterRefused
    | LetterPlaced
    | LetterClaimed
    | LetterConsumed
    | LetterExpired
    | LetterDied
    | TaskOpened
    | TaskReminded
    | TaskClosed
    | HostTurnStarted
    | HostTurnFinished
    | RunStarted
    | LettersJoined
    | TextStarted
    | TextFinished
    | ModelReplied
    | ModelAttemptFailed
    | ModelStalled
    | ToolPlanned
    | ToolStarted
    | ToolFinished
    | RunFinished
    | RunInterrupted
    | StopRequested
    | DeliveryResumed
    | QuestionAsked
    | QuestionAnswered
    | QuestionCancelled
    | IntentClassified
    | ContextAssembled
    | ModelAsked
    | ProgramPrompted
    | PlanChanged
    | PassagesRetrieved
    | CitationChecked
    | EvidenceInsufficient
    | LimitExceeded
    | CircuitChanged
    | ConversationCompacted
    | CompactionFailed
    | SpanCompleted
    | TurnSummarised
    | MemoryAdded
    | MemoryRemoved
    | MemoryEvicted
    | MemorySummarised
    | MemoryRefused
    | ModelSelected
    | TurnRated
    | SpendReserved
    | SpendSettled
    | BudgetWarned
    | BudgetExhausted
    | GuardrailFired
    | ToolJudged
    | ApprovalRequested
    | ApprovalDecided
    | ClientCallOpened
    | ClientCallAnswered
    | RecordSaved
    | RecordDeleted
    | NoticePosted
    | TraceNodeSaved
    | DaemonStarted
    | DaemonRecovered
    | StorageRecovered
    | DaemonStopped,
    Field(discriminator="type"),
]

EVENTS: TypeAdapter[Event] = TypeAdapter(Event)
"""Parses and writes any event: `EVENTS.validate_json(bytes)`, `EVENTS.dump_json(event)`."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with its place in the log."""

    session: SessionId
    seq: int
    """1, 2, 3, ... per session, gap-free."""
    pos: int
    """Commit order over all sessions."""
    at_ms: int
    """Unix milliseconds of the commit; never used for order."""
    event: Event


@dataclass(frozen=True, slots=True)
class Chunk:
    """A live piece of an open text; not in the log."""

    session: SessionId
    message_id: MessageId
    index: int
    """0, 1, 2, ... within its text."""
    offset: int
    """Characters of the text before this piece; `<message_id>:<offset>` is its frame id."""
    text: str
    kind: Literal["text", "reasoning"]
    agent: AgentName
    run_id: RunId
    at_ms: int
