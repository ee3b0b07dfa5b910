"""The owner's policy per tool: whether it may be called, and whether a person has to say yes.

The order of a decision (turn-loop.md 1.5): a policy that forbids; a tool whose author wants each
call confirmed; the first policy whose pattern matches; read-only tools are allowed; destructive
ones ask; of the rest ours are allowed, and foreign ones ask when their effect cannot be undone.
"""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.domain.values import Value
from brainpilot_rt.governance.inspections.requests import Finding, ToolRequest, matches


class ToolPolicy(Value):
    """What holds for the tools whose name matches the pattern `tool_name`."""

    tool_name: Annotated[str, Field(min_length=1, max_length=200)]
    allowed: bool = True
    requires_approval: bool | None = None
    """None: as the tool itself says. False answers that question, not one that taint asks."""
    max_cost_usd: Annotated[Decimal, Field(ge=0)] | None = None
    """Of one call."""
    rate_per_minute: Annotated[int, Field(ge=1)] | None = None
    burst: Annotated[int, Field(ge=1)] | None = None
    """Calls at once; None: as many as in a minute."""


def policy_of(policies: tuple[ToolPolicy, ...], tool: str) -> ToolPolicy | None:
    """The first policy that matches."""
    return next((one for one in policies if matches((one.tool_name,), tool)), None)


def permission(request: ToolRequest, policies: tuple[ToolPolicy, ...]) -> Finding | None:
    """What stands against the call, or has to be asked first; None: nothing."""
    policy = policy_of(policies, request.tool) or ToolPolicy(tool_name="*")
    if refused := _refused(request, policy):
        return Finding("block", "policy_denied", refused)
    asks = _asks(request, policy)
    return Finding("ask", "approval_required", asks) if asks else None


def _refused(request: ToolRequest, policy: ToolPolicy) -> str:
    if not policy.allowed:
        return f"{request.tool} is switched off by policy"
    most, cost = policy.max_cost_usd, request.cost_usd
    if most is not None and cost is not None and cost > most:
        return f"one call of {request.tool} costs {cost} USD, the policy allows {most} USD"
    return ""


def _asks(request: ToolRequest, policy: ToolPolicy) -> str:
    """The question; empty: there is none. The first row that holds decides."""
    tool, wants = request.tool, policy.requires_approval
    # A pattern for everything is not meant for looking at one's own files.
    meant = not request.ours_read_only or policy.tool_name == tool
    unpriced = policy.max_cost_usd is not None and request.external and request.cost_usd is None
    for_ever = request.external and request.effect is Effect.IRREVERSIBLE
    rows = (
        (request.confirm, f"{tool} wants each call confirmed"),
        (wants is True and meant, f"the policy for {policy.tool_name} wants a person's word"),
        (wants is False, ""),
        (unpriced, f"nobody knows what {tool} costs, and the policy has a limit for it"),
        (request.read_only, ""),
        (request.destructive_hint is True, f"{tool} says of itself that it destroys"),
        (for_ever, f"what {tool} does cannot be undone, and it is not a tool of ours"),
    )
    return next((question for holds, question in rows if holds), "")
