"""What the server shows of what governs, as one value the daemon builds."""

from dataclasses import dataclass

from brainpilot_rt.supervision.approvals import Approvals
from brainpilot_rt.supervision.budget_views import BudgetViews
from brainpilot_rt.supervision.completions import Completions
from brainpilot_rt.supervision.mcp_calls import Mcp
from brainpilot_rt.supervision.oversight import Oversight
from brainpilot_rt.supervision.profiles import AgentProfiles
from brainpilot_rt.supervision.records import Records


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernedViews:
    """Registered agents, approvals, money, rules, and what is asked without a session."""

    agents: AgentProfiles
    approvals: Approvals
    records: Records
    completions: Completions
    budgets: BudgetViews
    oversight: Oversight
    mcp: Mcp
