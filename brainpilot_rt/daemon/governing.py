"""Builds what governs: the records of all sessions, registered agents, money, routing, rules.

Records are read before any mail is: a registered agent is a member of every team.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from brainpilot_rt import __version__
from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.models.http import Http
from brainpilot_rt.models.providers import Providers
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import Settings
from brainpilot_rt.supervision.answers import NewSession
from brainpilot_rt.supervision.approvals import Approvals
from brainpilot_rt.supervision.budget_views import BudgetViews
from brainpilot_rt.supervision.completions import Completions
from brainpilot_rt.supervision.crew import Crew, Stream
from brainpilot_rt.supervision.governed_views import GovernedViews
from brainpilot_rt.supervision.governing import Governing, Grounds, govern
from brainpilot_rt.supervision.guard_providers import GuardProviders, key_name
from brainpilot_rt.supervision.guardrail_http import GuardrailHttp
from brainpilot_rt.supervision.insight import Insight
from brainpilot_rt.supervision.mcp import McpServers
from brainpilot_rt.supervision.mcp_admin import McpAdmin
from brainpilot_rt.supervision.mcp_calls import Mcp, McpCalls
from brainpilot_rt.supervision.mcp_groups import McpGround
from brainpilot_rt.supervision.memories import Memories
from brainpilot_rt.supervision.oversight import Oversight
from brainpilot_rt.supervision.profiles import AgentProfiles
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.supervision.secrets import Secrets
from brainpilot_rt.supervision.shared_memory import SharedMemory
from brainpilot_rt.supervision.tokens import ClientTokens
from brainpilot_rt.supervision.toolbox import marker
from brainpilot_rt.supervision.toolgate import Governor
from brainpilot_rt.supervision.vault import Vault
from brainpilot_rt.tools.mcp.server import Dial
from brainpilot_rt.workspace.files import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What the register stands on."""

    settings: Settings
    log: EventLog
    hub: Hub
    manager: SessionManager
    secrets: Secrets
    clock: Clock
    new_id: NewId
    workspace: Callable[[SessionId], Workspace]
    dial: "Dial | None" = None
    """How MCP servers are reached instead of really."""


class Register:
    """What is kept for all sessions. Make it with `opened`, end it with `close`."""

    def __init__(self, base: Base, records: Records) -> None:
        log, manager = base.log, base.manager
        self._base = base
        self.records = records
        self.approvals = Approvals(manager, base.hub, log, records, base.clock)
        self.agents = AgentProfiles(
            records,
            base.clock,
            base.new_id,
            ledger=log.ledger,
            tokens=ClientTokens(base.settings.data_dir, base.clock.now_ms),
            call_client=self.approvals.call_client,
        )
        vault = Vault(base.settings.data_dir, base.secrets.learn)
        self._http = Http()
        asking = GuardrailHttp(self._http, lambda ident: vault.get(key_name(ident)))
        self.vault = vault
        self.guard_providers = GuardProviders(records, vault, asking)
        self.mcp = McpServers(self._mcp_ground(base))

    def _mcp_ground(self, base: Base) -> McpGround:
        settings = base.settings
        return McpGround(
            data_dir=settings.data_dir,
            variables=settings.environment,
            wait_s=settings.guard.mcp_wait_s,
            records=self.records,
            vault=self.vault,
            secrets=base.secrets,
            approvals=self.approvals,
            manager=base.manager,
            workspace=base.workspace,
            clock=base.clock,
            new_id=base.new_id,
            dice=random.random,
            marker_prefix=marker(settings),
            version=__version__,
            dial=base.dial,
        )

    @classmethod
    async def opened(cls, base: Base, crew: Crew) -> "Register":
        """Read what is kept; registered agents join the crew."""
        records = Records(base.log, base.manager)
        await records.load()
        register = cls(base, records)
        crew.enrol(register.agents)
        return register

    async def close(self) -> None:
        """Stop what was started and close the connections."""
        await self.mcp.close()
        await self._http.close()

    def governing(
        self,
        stream: Stream,
        providers: Callable[[], Providers],
        is_free: Callable[[ModelRef], bool],
    ) -> Governing:
        """What runs are governed by; `load` it before the first. `stream` asks the models."""
        base, settings = self._base, self._base.settings
        grounds = Grounds(
            log=base.log,
            manager=base.manager,
            records=self.records,
            approvals=self.approvals,
            secrets=base.secrets,
            clock=base.clock,
            new_id=base.new_id,
            stream=stream,
            providers=providers,
            is_free=is_free,
            agent_caps=self.agents.limits.caps,
            definition_now=self.mcp.digest,
            external=self.guard_providers,
        )
        governing = govern(grounds, settings.budgets, settings.routing, settings.guard)
        self.agents.check_money = governing.budgets.check
        return governing

    def views(
        self,
        governing: Governing,
        memories: Memories,
        providers: Callable[[], Providers],
        create: Callable[[NewSession], Awaitable[object]],
    ) -> GovernedViews:
        """What the server shows of it. `create` makes a session."""
        base = self._base
        insight = Insight(
            base.log,
            governing.router,
            base.clock,
            providers=providers,
            record=base.manager.record,
        )
        sources = (base.clock, base.new_id)
        oversight = Oversight(
            insight=insight,
            guards=governing.guards,
            guard_providers=self.guard_providers,
            tools=governing.governor,
            memory=SharedMemory(memories, self.records, create, base.settings.sessions, sources),
        )
        return GovernedViews(
            agents=self.agents,
            approvals=self.approvals,
            records=self.records,
            completions=Completions(
                governing.calls, base.manager, base.secrets, providers, base.new_id
            ),
            budgets=BudgetViews(governing.budgets, base.log.ledger, self.records, base.clock),
            oversight=oversight,
            mcp=self.mcp_views(governing.governor),
        )

    def mcp_views(self, governor: Governor) -> Mcp:
        """What the server shows of MCP servers, and does with them."""
        base = self._base
        admin = McpAdmin(self.mcp.groups, self.records, self.vault, base.clock)
        calls = McpCalls(self.mcp, governor, self.agents, base.new_id)
        return Mcp(self.mcp, admin, calls, governor)
