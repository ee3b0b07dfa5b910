"""Oversight without a daemon: the real parts over a log, and rules that only a test changes."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.governance.guardrails.config import GuardrailConfig
from brainpilot_rt.governance.inspections.requests import FirewallConfig
from brainpilot_rt.governance.policy import ToolPolicy
from brainpilot_rt.models.http import Http
from brainpilot_rt.models.prices import Prices, Quote
from brainpilot_rt.models.providers import Providers
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import RoutingSettings, SessionLimits
from brainpilot_rt.supervision.answers import NewSession
from brainpilot_rt.supervision.guard_providers import GuardProviders, key_name
from brainpilot_rt.supervision.guardrail_http import GuardrailHttp
from brainpilot_rt.supervision.insight import Insight
from brainpilot_rt.supervision.memories import Memories
from brainpilot_rt.supervision.oversight import Oversight
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.supervision.routing import Router
from brainpilot_rt.supervision.secrets import Secrets
from brainpilot_rt.supervision.shared_memory import SharedMemory
from brainpilot_rt.supervision.vault import Vault


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


def reading(
    log: EventLog, manager: SessionManager, clock: Clock, providers: Providers | None = None
) -> Insight:
    """What a log tells. `providers`: those there are; by default what is built in."""
    known = providers or Providers()
    prices = Prices()

    async def quote(model: ModelRef, usage: Usage) -> Quote:
        profile, name = known.resolve(model)
        return await prices.quote(profile, name, usage)

    router = Router(lambda: known, quote, RoutingSettings(seed=1), log, clock)
    return Insight(log, router, clock, providers=lambda: known, record=manager.record)


def overseen(
    insight: Insight,
    records: Records,
    memories: Memories,
    create: Callable[[NewSession], Awaitable[object]],
    folder: Path,
    sources: tuple[Clock, NewId],
) -> Oversight:
    """The oversight of all that. `folder`: where the vault lies."""
    vault = Vault(folder, Secrets().learn)
    http = GuardrailHttp(Http(), lambda one: vault.get(key_name(one)))
    rules = Rules()
    return Oversight(
        insight=insight,
        guards=rules,
        guard_providers=GuardProviders(records, vault, http),
        tools=rules,
        memory=SharedMemory(memories, records, create, SessionLimits(), sources),
    )
