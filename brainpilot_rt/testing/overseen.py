"""Oversight without a daemon: the real reading of a log, and rules that only a test changes."""

from collections.abc import Mapping
from typing import Any

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.governance.guardrails.config import GuardrailConfig
from brainpilot_rt.governance.inspections.requests import FirewallConfig
from brainpilot_rt.governance.policy import ToolPolicy
from brainpilot_rt.models.prices import Prices, Quote
from brainpilot_rt.models.providers import Providers
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import RoutingSettings
from brainpilot_rt.supervision.insight import Insight
from brainpilot_rt.supervision.oversight import Oversight
from brainpilot_rt.supervision.routing import Router


class Rules:
    """Rules of guardrails and tools, kept in memory."""

    def __init__(self) -> None:
        self.config = GuardrailConfig()
        self._firewall = FirewallConfig()
        self.kept: tuple[ToolPolicy, ...] = ()

    async def set_config(self, config: GuardrailConfig) -> None:
        """Other rules of the guardrails."""
        self.config = config

    def firewall(self) -> FirewallConfig:
        """Rules of the firewall."""
        return self._firewall

    async def set_firewall(self, body: Mapping[str, Any]) -> FirewallConfig:
        """Change some."""
        now = self._firewall.model_dump(mode="json", by_alias=True)
        self._firewall = FirewallConfig.model_validate({**now, **body})
        return self._firewall

    def policies(self) -> tuple[ToolPolicy, ...]:
        """Policies of tools."""
        return self.kept


def overseen(
    log: EventLog, manager: SessionManager, clock: Clock, providers: Providers | None = None
) -> Oversight:
    """The oversight of a log. `providers`: those there are; by default what is built in."""
    known = providers or Providers()
    prices = Prices()

    async def quote(model: ModelRef, usage: Usage) -> Quote:
        profile, name = known.resolve(model)
        return await prices.quote(profile, name, usage)

    router = Router(lambda: known, quote, RoutingSettings(seed=1), log, clock)
    insight = Insight(log, router, clock, providers=lambda: known, record=manager.record)
    rules = Rules()
    return Oversight(insight=insight, guards=rules, tools=rules)
