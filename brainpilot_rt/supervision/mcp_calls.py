"""A tool of an MCP server called from outside of a run, under the rules that calls of runs have.

Inspection, policies, rates, guardrails and approvals are the same; only nobody waits: a call that
needs a person's word is answered with the approval it needs, and the same call made again runs once
that is given. Each leaves its row in the trail, in the daemon's stream.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.aiokit.sources import NewId
from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Busy, Forbidden, NotFound, Unavailable
from brainpilot_rt.domain.ids import DAEMON_STREAM, USER, AgentName, CallId
from brainpilot_rt.domain.tools import ToolStatus
from brainpilot_rt.governance import approvals as rules
from brainpilot_rt.governance.firewall import Inspection, inspect
from brainpilot_rt.governance.inspections.requests import ToolRequest, rewritten
from brainpilot_rt.governance.policy import policy_of
from brainpilot_rt.governance.rates import Rate, rate_reason
from brainpilot_rt.governance.sanitising import Rules, sanitised
from brainpilot_rt.sessions.views import ApprovalView
from brainpilot_rt.supervision import agent_records
from brainpilot_rt.supervision.crew import names
from brainpilot_rt.supervision.direct_approvals import DIRECT
from brainpilot_rt.supervision.mcp import McpServers
from brainpilot_rt.supervision.mcp_admin import McpAdmin
from brainpilot_rt.supervision.profiles import AgentProfiles
from brainpilot_rt.supervision.toolgate import Governor
from brainpilot_rt.tools.mcp.pool import McpTool
from brainpilot_rt.tools.registry import ToolOutput

_STOP_S: Final = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What became of a call. `waits`: the approval it needs; nothing has run then."""

    call_id: CallId
    tool: str
    server: str
    status: ToolStatus = "completed"
    content: str = ""
    duration_ms: int = 0
    waits: ApprovalView | None = None


class McpCalls:
    """Calls of no run; `close` ends those that run."""

    def __init__(
        self, servers: McpServers, governor: Governor, agents: AgentProfiles, new_id: NewId
    ) -> None:
        self._servers = servers
        self._governor = governor
        self._agents = agents
        self._new_id = new_id
        self._tasks = TaskSet(on_crash=lambda name, cause: _log.error("%s: %r", name, cause))

    async def close(self) -> None:
        """End what runs."""
        await self._tasks.close(_STOP_S)

    async def call(
        self, server: str, tool: str, arguments: Mapping[str, Any], agent: AgentName | None
    ) -> Called:
        """Call a tool by its own name. `agent`: who asks; None: the owner.

        NotFound for what there is not, Forbidden for what may not run, Busy for one too many.
        """
        found = await self._tool(server, tool, agent)
        caller = agent or USER
        call_id = CallId(f"call_{self._new_id()}")
        identity = RunIdentity(session=DAEMON_STREAM, agent=caller, role=caller, run_id=DIRECT)
        self._check_rate(found, caller)
        inspection = self._inspect(found, arguments, caller)
        facts: list[ev.Event] = [_planned(found, call_id, caller, inspection.arguments)]
        if inspection.action != "pass":
            facts.append(_judged(found, call_id, caller, inspection))
        if inspection.refusal:
            await self._refused(facts, found, call_id, caller, inspection.refusal)
        allowed, fired, why = await self._guarded(inspection.arguments, identity, call_id)
        facts += fired
        if why:
            await self._refused(facts, found, call_id, caller, why)
        if inspection.action == "ask":
            asked = self._question(found, call_id, caller, allowed, inspection.reasons)
            direct = self._governor.approvals.direct
            given = await direct.spend(asked.digest, caller)
            if given is None:
                waits = await direct.ask(asked, tuple(facts))
                definition = found.definition
                return Called(
                    call_id=waits.call_id,
                    tool=definition.tool,
                    server=definition.server,
                    waits=waits,
                )
            call_id, facts = given.call_id, [one for one in facts if not _begins(one)]
        return await self._carried_out(found, allowed, identity, call_id, facts)

    # --- the steps --------------------------------------------------------------------------

    async def _tool(self, server: str, tool: str, agent: AgentName | None) -> McpTool:
        groups = self._servers.groups
        await groups.refresh()
        found = groups.find(server)
        known = [one for one in found.pool.tools() if one.definition.server == found.config.name]
        named = next((one for one in known if tool in (one.definition.tool, one.name)), None)
        if named is None:
            if not known:
                raise Unavailable(f"MCP server {found.id} is {found.told['state']}")
            raise NotFound(f"MCP server {found.id} has no tool {tool[:80]!r}", code="unknown_tool")
        if agent is not None:
            may = agent_records.tool_names(self._agents.get(agent))
            if not (names(may, named) and self._servers.may_use(agent, found.config.name)):
                raise Forbidden(f"agent {agent!r} may not use {named.name}", code="rbac")
        return named

    def _check_rate(self, tool: McpTool, caller: AgentName) -> None:
        governor = self._governor
        policy = policy_of(governor.policies(), tool.name)
        per_minute = (policy and policy.rate_per_minute) or governor.settings.calls_per_minute
        if per_minute:
            rate = Rate(per_minute, (policy and policy.burst) or per_minute)
            key = (DAEMON_STREAM, caller, tool.name)
            if wait_s := governor.rates.admit({key: rate}, governor.clock.monotonic()):
                raise Busy(rate_reason(tool.name, wait_s).partition(": ")[2], retry_after_s=wait_s)

    def _inspect(
        self, tool: McpTool, arguments: Mapping[str, Any], caller: AgentName
    ) -> Inspection:
        governor, definition = self._governor, tool.definition

        def problem(given: Mapping[str, Any]) -> str | None:
            try:
                tool.arguments.model_validate(given)
            except ValidationError as wrong:
                return str(wrong.errors(include_url=False, include_input=False)[0]["msg"])
            return None

        request = ToolRequest(
            tool=tool.name,
            arguments=arguments,
            role=caller,
            agent=caller,
            allowed=frozenset({tool.name}),
            effect=tool.spec.effect,
            server=definition.server,
            definition_digest=definition.digest,
            external=True,
            read_only_hint=definition.hints.read_only,
            destructive_hint=definition.hints.destructive,
            confirm=tool.confirm,
        )
        # A substitute would be a tool of ours, which has nothing to work on outside of a session.
        config = governor.firewall().model_copy(update={"substitutions": ()})
        return inspect(
            request,
            config,
            governor.policies(),
            schema_problem=problem,
            known_secret=governor.secrets.text,
            injection=governor.guards.injection,
        )

    async def _guarded(
        self, arguments: Mapping[str, Any], identity: RunIdentity, call_id: CallId
    ) -> tuple[Mapping[str, Any], tuple[ev.Event, ...], str]:
        guards = self._governor.guards
        checked = await guards.check(json.dumps(arguments, ensure_ascii=False), "tool_args")
        fired = checked.fired(identity, 0, call_id)
        if checked.action == "block":
            return arguments, fired, f"a guardrail stopped it: {checked.reason}"
        if checked.action == "redact":
            return rewritten(arguments, guards.redacted), fired, ""
        return arguments, fired, ""

    def _question(
        self,
        tool: McpTool,
        call_id: CallId,
        caller: AgentName,
        arguments: Mapping[str, Any],
        reasons: tuple[str, ...],
    ) -> ApprovalView:
        definition, now_ms = tool.definition, self._governor.clock.now_ms()
        wait_s = self._governor.settings.approval_wait_s
        return ApprovalView(
            approval_id=f"apr_{call_id.removeprefix('call_')}",
            session=DAEMON_STREAM,
            agent=caller,
            run_id=DIRECT,
            call_id=call_id,
            tool=tool.name,
            arguments=arguments,
            digest=rules.digest(tool.name, definition.server, definition.digest, arguments),
            definition=definition.digest,
            reasons=reasons,
            asked_ms=now_ms,
            expires_ms=None if wait_s is None else now_ms + round(wait_s * 1000),
        )

    async def _refused(
        self, facts: list[ev.Event], tool: McpTool, call_id: CallId, caller: AgentName, why: str
    ) -> None:
        said = _finished(tool, call_id, caller, "refused", why, 0)
        await self._governor.manager.record(DAEMON_STREAM, *facts, said)
        raise Forbidden(why, code="tool_blocked")

    async def _carried_out(
        self,
        tool: McpTool,
        arguments: Mapping[str, Any],
        identity: RunIdentity,
        call_id: CallId,
        facts: list[ev.Event],
    ) -> Called:
        """Run it to its end, whether or not whoever asked is still there."""
        work = self._run(tool, arguments, identity, call_id, facts)
        task = self._tasks.spawn(work, name=f"call {tool.name}")
        await asyncio.wait([task])
        if task.cancelled():
            raise Unavailable("the daemon is stopping; whether the call took effect is not known")
        return task.result()

    async def _run(
        self,
        tool: McpTool,
        arguments: Mapping[str, Any],
        identity: RunIdentity,
        call_id: CallId,
        facts: list[ev.Event],
    ) -> Called:
        governor, definition = self._governor, tool.definition
        started = ev.ToolStarted(run_id=DIRECT, call_id=call_id)
        await governor.manager.record(DAEMON_STREAM, *facts, started)
        began = governor.clock.monotonic()
        output = await tool.call(dict(arguments))
        took_ms = round((governor.clock.monotonic() - began) * 1000)
        clean = Rules(chars_max=0, roots={}, known_secret=governor.secrets.text)
        checked = await governor.guards.check(sanitised(output.content, clean).text, "tool_result")
        status = _status(output)
        ended = _finished(tool, call_id, identity.agent, status, checked.shown, took_ms)
        fired = checked.fired(identity, 0, call_id)
        await governor.manager.record(DAEMON_STREAM, *fired, ended)
        return Called(
            call_id=call_id,
            tool=definition.tool,
            server=definition.server,
            status=status,
            content=checked.shown,
            duration_ms=took_ms,
        )


@dataclass(frozen=True, slots=True)
class Mcp:
    """All there is about MCP servers."""

    servers: McpServers
    admin: McpAdmin
    calls: McpCalls
    governor: Governor


def _status(output: ToolOutput) -> ToolStatus:
    return "unknown" if output.unknown else "failed" if output.failed else "completed"


def _begins(fact: ev.Event) -> bool:
    return isinstance(fact, ev.ToolPlanned | ev.ToolJudged)


def _planned(
    tool: McpTool, call_id: CallId, caller: AgentName, arguments: Mapping[str, Any]
) -> ev.ToolPlanned:
    return ev.ToolPlanned(
        run_id=DIRECT,
        agent=caller,
        turn=0,
        call_id=call_id,
        name=tool.name,
        arguments=dict(arguments),
        effect=tool.spec.effect,
    )


def _judged(
    tool: McpTool, call_id: CallId, caller: AgentName, inspection: Inspection
) -> ev.ToolJudged:
    return ev.ToolJudged(
        run_id=DIRECT,
        agent=caller,
        turn=0,
        call_id=call_id,
        tool=tool.name,
        action=inspection.action,
        reasons=inspection.reasons,
    )


def _finished(
    tool: McpTool,
    call_id: CallId,
    caller: AgentName,
    status: ToolStatus,
    content: str,
    took_ms: int,
) -> ev.ToolFinished:
    return ev.ToolFinished(
        run_id=DIRECT,
        agent=caller,
        call_id=call_id,
        name=tool.name,
        content=content,
        status=status,
        duration_ms=took_ms,
    )
