"""Agents that were registered over HTTP: who they are, what becomes of them, what runs for them.

An active one is a member of every session under its id, which is also its role. Its tokens are
client tokens of ours (`agent-<id>:<number>`, good for everything a client may do, for an hour).
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from typing_extensions import override

from brainpilot_rt.agents.definition import AgentDefinition, RequestContext, define_agent
from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.context.materials import NONE, Materials
from brainpilot_rt.domain.errors import BadRequest, Conflict, NotFound
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.domain.times import iso
from brainpilot_rt.eventlog.ledger import Ledger
from brainpilot_rt.supervision import agent_materials, agent_records
from brainpilot_rt.supervision.agent_limits import AGENT, LIMIT, AgentLimits
from brainpilot_rt.supervision.agent_records import Changes, FileType, Lifecycle, Profile
from brainpilot_rt.supervision.client_tools import CallClient, client_tools, described
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.supervision.tokens import ClientTokens

TOKEN_S: Final = 3600
TTL_S_MAX: Final = 30 * 24 * 3600
"""Longest life of a delegate."""
FILE: Final = "agent_file"
OF_SESSION: Final = "agent"
LENT: Final = "client_tools"
"""Labels of a session: the profile its agent has there, and tools its client runs."""
_TOKENS_MAX: Final = 8
"""Tokens of one agent at a time; the oldest goes."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A profile with a fresh token for it. `created`: it was not there before."""

    profile: Profile
    token: str
    expires_at: str
    created: bool


class Members(Mapping[AgentName, str]):
    """The active agents and what the team is told of each, as they are now."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    @override
    def __getitem__(self, agent: AgentName) -> str:
        body = self._records.get(AGENT, agent)
        if body is None or not self._usable(body):
            raise KeyError(agent)
        return str(body.get("description") or body["displayName"])

    @override
    def __iter__(self) -> Iterator[AgentName]:
        found = self._records.of(AGENT).items()
        return iter([AgentName(key) for key, body in found if self._usable(body)])

    @override
    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _usable(self, body: Mapping[str, Any]) -> bool:
        now_ms = self._clock.now_ms()
        return body["lifecycleState"] == "active" and not agent_records.expired(body, now_ms)


def _unbound(_agent: AgentName) -> None:
    return


class AgentProfiles:
    """The registered agents. Changes are made one after the other."""

    def __init__(
        self,
        records: Records,
        clock: Clock,
        new_id: NewId,
        *,
        ledger: Ledger,
        tokens: ClientTokens,
        call_client: CallClient,
    ) -> None:
        self.limits = AgentLimits(records, ledger, clock)
        self.members: Mapping[AgentName, str] = Members(records, clock)
        self._records = records
        self._clock = clock
        self._new_id = new_id
        self._tokens = tokens
        self._call_client = call_client
        self.check_money: Callable[[AgentName], None] = _unbound
        """Raises when budgets leave an agent nothing. They know agents, so they are made later."""
        self._alone = asyncio.Lock()

    # --- reading ----------------------------------------------------------------------------

    def listed(self) -> list[Profile]:
        """All profiles, oldest first."""
        return list(self._records.of(AGENT).values())

    def get(self, agent: str) -> Profile:
        """One profile; `NotFound` when there is none."""
        body = self._records.get(AGENT, agent)
        if body is None:
            raise NotFound(f"there is no agent {agent[:80]!r}", code="unknown_agent")
        return body

    def knows(self, agent: str) -> bool:
        """Whether it is registered, whatever its state."""
        return self._records.get(AGENT, agent) is not None

    def agent_of(self, token: str) -> AgentName | None:
        """Whose token it is; None for one that is not an agent's."""
        name = self._tokens.name_of(token) or ""
        agent, colon, _ = name.removeprefix("agent-").partition(":")
        return AgentName(agent) if colon and name.startswith("agent-") else None

    def admit(self, agent: str) -> Profile:
        """The profile of an agent that is asked for a run; raises why it can not be."""
        body = self.get(agent)
        agent_records.check_usable(body, self._clock.now_ms())
        self.check_money(AgentName(agent))
        self.limits.admit(AgentName(agent))
        return body

    # --- changing ---------------------------------------------------------------------------

    async def bootstrap(self, agent_id: object, said: Changes) -> Identity:
        """Register an active agent, or find the one there is; either way with a fresh token."""
        agent = agent_records.check_id(agent_id)
        async with self._alone:
            body = self._records.get(AGENT, agent)
            created = body is None
            if body is None:
                body = agent_records.made(agent, said, "active", self._clock.now_ms())
                await self._records.put(AGENT, agent, body)
            elif body["lifecycleState"] == "terminated":
                agent_records.check_usable(body, self._clock.now_ms())
            token, expires_at = await self._token(agent)
        return Identity(body, token, expires_at, created)

    async def create(self, agent_id: object, said: Changes, state: Lifecycle) -> Profile:
        """Register an agent; `Conflict` when there is one of that name."""
        agent = agent_records.check_id(agent_id)
        async with self._alone:
            if self._records.get(AGENT, agent) is not None:
                raise Conflict(f"there is an agent {agent!r} already", code="agent_exists")
            body = agent_records.made(agent, said, state, self._clock.now_ms())
            await self._records.put(AGENT, agent, body)
        return body

    async def update(self, agent: str, said: Changes, version: int | None = None) -> Profile:
        """Change what is named. `version`: what the caller saw; `Conflict` when it is another."""
        async with self._alone:
            body = self.get(agent)
            if version is not None and version != body["version"]:
                raise Conflict(f"agent {agent!r} is at version {body['version']}", code="version")
            if body["parentAgentId"] is not None and _touches_money(said):
                raise Conflict(f"the budget of {agent!r} is a share of its parent's")
            body = agent_records.changed(body, said, self._clock.now_ms())
            await self._records.put(AGENT, agent, body)
        return body

    async def transition(self, agent: str, state: str) -> Profile:
        """Move it to another state of its life; `Conflict` when there is no way there."""
        async with self._alone:
            body = agent_records.moved(self.get(agent), state, self._clock.now_ms())
            await self._records.put(AGENT, agent, body)
            if state == "terminated":
                await self._revoke(agent)
        return body

    async def delete(self, agent: str) -> None:
        """Forget it with its limits and files. What it spent stays in the ledger."""
        async with self._alone:
            body = self.get(agent)
            until = agent_records.counts_until(body, self._clock.now_ms())
            month = iso(self._clock.now_ms())[:7]
            if body["parentAgentId"] is not None and (until is None or until >= month):
                raise Conflict(
                    f"the budget of {agent!r} counts against {body['parentAgentId']} until the end "
                    "of the month in which it ended; terminate it instead",
                    code="budget_held",
                )
            await self._records.delete(AGENT, agent)
            await self._records.delete(LIMIT, agent)
            for key in [key for key in self._records.of(FILE) if key.startswith(f"{agent}/")]:
                await self._records.delete(FILE, key)
            await self._revoke(agent)

    async def delegate(
        self, parent: str, agent_id: object, amount: Decimal, ttl_s: int, said: Changes
    ) -> Identity:
        """Make an agent that lives on a share of another's budget, for a time."""
        agent = agent_records.check_id(agent_id)
        if amount <= 0:
            raise BadRequest("budget_allocation_usd is more than 0")
        if not 0 < ttl_s <= TTL_S_MAX:
            raise BadRequest(f"ttl_seconds is 1 to {TTL_S_MAX}")
        async with self._alone:
            giver = self.get(parent)
            now_ms = self._clock.now_ms()
            agent_records.check_usable(giver, now_ms)
            agent_records.check_role(giver, said.role or "agent")
            if self._records.get(AGENT, agent) is not None:
                raise Conflict(f"there is an agent {agent!r} already", code="agent_exists")
            await self.limits.can_give(AgentName(parent), amount)
            body = {
                **agent_records.made(agent, said, "active", now_ms),
                "budgetDailyUsd": float(amount),
                "budgetMonthlyUsd": float(amount),
                "parentAgentId": parent,
                "expiresAt": iso(now_ms + ttl_s * 1000),
            }
            await self._records.put(AGENT, agent, body)
            token, expires_at = await self._token(agent)
        return Identity(body, token, expires_at, created=True)

    # --- tokens -----------------------------------------------------------------------------

    async def _token(self, agent: AgentName) -> tuple[str, str]:
        until_ms = self._clock.now_ms() + TOKEN_S * 1000
        name = f"agent-{agent}:{self._new_id()}"

        def issue() -> str:
            mine = sorted(one for one in self._tokens.listed() if one.startswith(f"agent-{agent}:"))
            for old in mine[: max(len(mine) - _TOKENS_MAX + 1, 0)]:
                self._tokens.revoke(old)
            return self._tokens.issue(name, "execute", until_ms)

        return await asyncio.to_thread(issue), iso(until_ms)

    async def _revoke(self, agent: str) -> None:
        def revoke() -> None:
            for one in self._tokens.listed():
                if one.startswith(f"agent-{agent}:"):
                    self._tokens.revoke(one)

        await asyncio.to_thread(revoke)

    # --- files ------------------------------------------------------------------------------

    async def put_file(
        self, agent: str, kind: FileType, filename: str, content: Mapping[str, Any]
    ) -> bool:
        """Keep a text an agent reads; True when it is new."""
        self.get(agent)
        key = f"{agent}/{kind}/{filename}"
        fresh = self._records.get(FILE, key) is None
        stamp = {"agentId": agent, "fileType": kind, "filename": filename}
        await self._records.put(
            FILE, key, {**stamp, **content, "updatedAt": iso(self._clock.now_ms())}
        )
        return fresh

    def files(self, agent: str, kind: FileType) -> list[Mapping[str, Any]]:
        """The texts of a kind that an agent reads, oldest first."""
        found = self._records.of(FILE).items()
        return [body for key, body in found if key.startswith(f"{agent}/{kind}/")]

    def materials(self, agent: AgentName) -> Materials:
        """What an agent brings along to read; nothing when it is not registered."""
        if not self.knows(agent):
            return NONE
        return agent_materials.materials(
            self.get(agent), self.files(agent, "workspace"), self.files(agent, "reference")
        )

    # --- what runs --------------------------------------------------------------------------

    def definition(self, agent: AgentName, context: RequestContext) -> AgentDefinition:
        """What runs for an agent now: who it is, what it may use, which model it insists on.

        Raises what keeps it from running: it was suspended, terminated, or its time is over. A
        session may hold on to a version of it, and lend it tools of its client's.
        """
        body = self.get(agent)
        agent_records.check_usable(body, self._clock.now_ms())
        kept = context.labels.get(OF_SESSION)
        body = kept if kept is not None and kept["agentId"] == agent else body
        names = agent_records.tool_names(body)
        lent: list[Any] = context.labels.get(LENT, [])
        custom = described([*body["custom_tools"], *lent])
        soul = "\n\n".join(str(one["content"]) for one in self.files(agent, "soul"))
        return define_agent(
            id=context.agent,
            name=str(body["displayName"]),
            role=context.role,
            description=str(body.get("description") or ""),
            system=agent_records.persona(body, soul, context.prompt),
            tools=(*names, *client_tools(custom, self._call_client)),
            model=agent_records.pinned(body.get("model")) or context.model,
            max_turns=context.max_turns,
            thinking_enabled=context.thinking != "off",
        ).model_copy(update={"asks": agent_records.asking(body)})


def _touches_money(said: Changes) -> bool:
    return bool(said.model_fields_set & {"budget_daily_usd", "budget_monthly_usd"})
