"""Letters: one message between agents, one JSON file (mailbox protocol v1).

`Letter` is the daemon's own, fully stamped letter: the shape that stands in files the daemon writes
and in the log. `ForeignLetter` is what another process may write: only `to` and `content` are
required, everything it claims about its origin is kept out of the model on purpose
(`from`, `hop`, `path`, `root_id`, `authority` are accepted and ignored, never believed).
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from brainpilot_rt.domain.ids import AgentName, LetterId, SessionId, TaskId
from brainpilot_rt.domain.values import Value

LETTER_VERSION = 1
CONTENT_CHARS_MAX = 200_000
"""Characters of one letter's content; longer text belongs into a workspace file."""


class LetterKind(StrEnum):
    """What a letter is for."""

    USER_MESSAGE = "user_message"
    TASK_DELEGATE = "task_delegate"
    RESULT_DELIVER = "result_deliver"
    TRACE_EVENT = "trace_event"
    SYSTEM = "system"


class Authority(Value):
    """Where the words come from. `tainted`: untrusted content had a part in them."""

    origin: Literal["user", "agent", "daemon", "external"]
    tainted: bool = False
    approvals: tuple[str, ...] = ()


class Letter(Value):
    """A fully stamped letter. `from_` is written as `from`."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True
    )

    v: Literal[1] = 1
    id: LetterId
    session: SessionId
    from_: Annotated[AgentName, Field(alias="from")]
    to: AgentName
    kind: LetterKind
    content: Annotated[str, Field(max_length=CONTENT_CHARS_MAX)]
    task_id: TaskId | None = None
    reply_to: LetterId | None = None
    root_id: LetterId
    """The first letter of the causal chain; caps are counted per root (D11)."""
    parent_id: LetterId | None = None
    hop: int = 0
    path: tuple[AgentName, ...] = ()
    """The agents the chain went through, oldest first, at most the last 32."""
    seq_from: int = 0
    """Number of this letter among those from the same sender to the same recipient."""
    created_at: str
    """ISO 8601, UTC."""
    ttl_s: float | None = None
    attachments: tuple[str, ...] = ()
    """Logical workspace paths."""
    authority: Authority
    budget: Decimal | None = None
    epoch: int | None = None
    """Incarnation of the recipient this letter was meant for."""
    traceparent: str | None = None
    ext: dict[str, Any] = Field(default_factory=dict)


class ForeignLetter(Value):
    """What a foreign process may say. Unknown fields are kept aside, forged ones ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: Literal[1] = 1
    id: str | None = None
    """If present it must equal the file's stem."""
    session: str | None = None
    """If present it must be the session of the mailbox the file lies in."""
    to: str
    kind: LetterKind | None = None
    content: Annotated[str, Field(max_length=CONTENT_CHARS_MAX)]
    task_id: str | None = None
    reply_to: str | None = None
    ttl_s: Annotated[float | None, Field(gt=0, le=31_536_000)] = None
    attachments: Annotated[tuple[str, ...], Field(max_length=32)] = ()
    ext: dict[str, Any] = Field(default_factory=dict)


class AgentCard(Value):
    """`agent.json` in an agent's mailbox directory."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    kind: Literal["managed", "external"]
    description: Annotated[str, Field(max_length=2000)] = ""
