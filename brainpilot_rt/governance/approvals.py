"""Approvals: what exactly a person says yes to, how far that reaches, and when it ends.

A yes is bound to a digest of tool, server, definition and arguments: another byte is another
question. A yes that reaches further than one call is bound to the tool and its definition (a server
that changes a tool is asked about again), to the agent, and to what the question was about: whoever
allowed a tool for the session has not allowed it to untrusted words. Pure; times are given.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from brainpilot_rt.domain.governing import ApprovalDecision, ApprovalScope

_ONCE_ONLY: Final = frozenset({"command_injection", "prompt_injection"})
"""A suspicion about these very arguments says nothing about the next ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The call that a yes is needed for."""

    tool: str
    digest: str
    definition_digest: str
    runs: tuple[str, ...]
    """The run, and those it resumes: a restart takes no yes away."""
    session: str
    agent: str
    codes: frozenset[str] = frozenset()
    """Of the reasons it is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A yes."""

    approval_id: str
    tool: str
    digest: str | None
    """Of the one call; not needed where the scope is wider."""
    definition_digest: str
    scope: ApprovalScope
    run_id: str
    session: str
    agent: str
    expires_ms: int | None = None
    codes: frozenset[str] = frozenset()
    spent: bool = False
    """Of scope `once`: its call was let through."""


def digest(
    tool: str, server: str | None, definition_digest: str, arguments: Mapping[str, Any]
) -> str:
    """What is approved: SHA-256, in hex, of the call in canonical JSON."""
    call = [tool, server, definition_digest, arguments]
    canonical = json.dumps(call, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def codes(reasons: Iterable[str]) -> frozenset[str]:
    """The codes of reasons `<code>: <detail>`."""
    return frozenset(one.partition(":")[0] for one in reasons)


def covers(grant: Grant, asked: Asked, now_ms: int) -> bool:
    """Whether this yes is one to that call."""
    same = grant.tool == asked.tool and grant.definition_digest == asked.definition_digest
    if not same or grant.agent != asked.agent or is_over(grant.expires_ms, now_ms):
        return False
    within = grant.scope == "agent" or grant.session == asked.session
    if grant.scope in ("once", "run"):
        within = within and grant.run_id in asked.runs
    if grant.scope == "once":
        return within and not grant.spent and grant.digest == asked.digest
    return within and asked.codes <= grant.codes - _ONCE_ONLY


def is_over(expires_ms: int | None, now_ms: int) -> bool:
    """Whether a question or a yes has expired."""
    return expires_ms is not None and now_ms >= expires_ms


def scopes_of(reasons: Iterable[str]) -> tuple[ApprovalScope, ...]:
    """How far a yes to a question with these reasons may reach."""
    if codes(reasons) & _ONCE_ONLY:
        return ("once",)
    return ("once", "run", "session", "agent")


def decision_problem(
    decision: str, scope: str, reasons: Iterable[str], *, until_ms: int | None, now_ms: int
) -> str:
    """What a person may not decide like this; empty when it may stand."""
    if decision not in ("approved", "denied"):
        return "a decision is approved or denied"
    possible = scopes_of(reasons)
    if scope not in possible:
        return f"this can be decided for: {', '.join(possible)}"
    if decision == "denied" and scope != "once":
        return "a denial is for this call; to switch a tool off, change its policy"
    if is_over(until_ms, now_ms):
        return "until_ms has passed already"
    return ""


def answer_text(tool: str, decision: ApprovalDecision, *, by: str, note: str = "") -> str:
    """What a model reads when its call does not run; empty for a yes."""
    said = f" They say: {note}" if note else ""
    match decision:
        case "approved":
            return ""
        case "denied" if by == "policy" and note:
            return f"{tool} did not run: {note} To go on with it, call it again."
        case "denied" if by == "policy":
            return (
                f"{tool} needs a person's approval, nobody is here to give it, and the owner's "
                "policy is to refuse then. Go on without it, or say in your answer what it is for."
            )
        case "denied":
            return f"{tool} was not approved.{said} Do not call it again like this; go another way."
        case "expired":
            return (
                f"Nobody approved {tool} in time, so it did not run. Go on without it, or say in "
                "your answer what is still to be approved."
            )
        case "withdrawn":
            return f"The question whether {tool} may run was withdrawn; it did not run."
