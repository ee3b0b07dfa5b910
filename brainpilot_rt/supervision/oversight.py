"""What the owner oversees agents with: what the log tells, the rules, and the shared memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from brainpilot_rt.governance.guardrails.config import GuardrailConfig
from brainpilot_rt.governance.inspections.requests import FirewallConfig
from brainpilot_rt.governance.policy import ToolPolicy
from brainpilot_rt.supervision.guard_providers import GuardProviders
from brainpilot_rt.supervision.insight import Insight
from brainpilot_rt.supervision.shared_memory import SharedMemory


class GuardRules(Protocol):
    """Rules of the guardrails; `Guards`."""

    @property
    def config(self) -> GuardrailConfig:
        """As they are now."""
        ...

    async def set_config(self, config: GuardrailConfig) -> None:
        """Other rules from now on."""
        ...


class ToolRules(Protocol):
    """Rules for tool calls; `Governor`."""

    def firewall(self) -> FirewallConfig:
        """As they are now."""
        ...

    async def set_firewall(self, body: Mapping[str, Any]) -> FirewallConfig:
        """Change some of them; BadRequest says which is wrong."""
        ...

    def policies(self) -> tuple[ToolPolicy, ...]:
        """By tool, the latest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Oversight:
    """All of it."""

    insight: Insight
    guards: GuardRules
    guard_providers: GuardProviders
    tools: ToolRules
    memory: SharedMemory
