"""What the daemon is asked and what it answers, as values that the server and others share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from brainpilot_rt.domain.events import ApprovalDecided, Thinking
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.eventlog.port import Receipt
from brainpilot_rt.sessions.views import ApprovalView


@dataclass(frozen=True, slots=True)
class NewSession:
    """Body of POST /sessions. `workspace`: an existing folder, for local callers only."""

    title: str | None = None
    session: str | None = None
    provider_id: str | None = None
    model_id: str | None = None
    thinking: Thinking = "off"
    domain_resources: Literal["full", "base"] = "full"
    workspace: str | None = None
    agent: AgentName | None = None
    """Whom its messages are for; None: the principal of a team."""
    cap_usd: Decimal | None = None
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the caller keeps with it."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A user message was accepted: committed, never to be lost.

    `letter_id` is None when it was the answer to a question, which makes no letter.
    """

    host_run_id: str
    message_id: str
    letter_id: str | None
    queued: bool


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The state is idle now. `interrupted` False: there was nothing to stop."""

    interrupted: bool
    scope: Literal["session", "agent"]


@dataclass(frozen=True, slots=True)
class Liveness:
    """Facts of `/metrics`. `reasons`: why the daemon may not be reclaimed, empty when it may."""

    active_sessions: int
    running_agents: int
    last_activity_ms: int | None
    idle_epoch: int
    leases: dict[str, int]
    unread_letters: int
    audit_violations: int
    reasons: tuple[str, ...]
    loop_lag_ms: float
    loop_blocked: int
    """How often something blocked the loop for seconds."""


ReceiptOf = Callable[[Any], Receipt]
"""Builds the durable answer (status, body) from a method's result, to be stored in the commit."""


@dataclass(frozen=True, slots=True)
class Decided:
    """An approval, and the word on it."""

    asked: ApprovalView
    word: ApprovalDecided
    at_ms: int
