"""MCP servers as runs see them: whose tools there are, and what becomes of one that has changed.

Nothing is started, or even imported, where nothing is configured. What is configured connects in
the background; a run waits a little for the first connection and goes on without. All tasks of
servers are in a set of their own: whatever one of them does, the daemon goes on.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import CommandRejected, Unavailable
from brainpilot_rt.domain.ids import DAEMON_STREAM, TRACE, AgentName, SessionId
from brainpilot_rt.domain.tools import FOREIGN
from brainpilot_rt.supervision.approvals import Word
from brainpilot_rt.supervision.mcp_groups import SERVER, Found, McpGround, McpGroups
from brainpilot_rt.supervision.mcp_sources import TREE_FILE
from brainpilot_rt.tools.mcp.definitions import tool_name
from brainpilot_rt.tools.mcp.pool import McpTool
from brainpilot_rt.tools.mcp.server import OnChange

_TOLD_MAX: Final = 10_000
_QUIET_S: Final = 60.0
"""Seconds between two notices that tools of one server have changed."""
_STOP_S: Final = 5.0

_log = logging.getLogger(__name__)


class McpServers:
    """The servers. `start` them once the daemon listens; `close` them before the log."""

    def __init__(self, on: McpGround) -> None:
        self._on = on
        self._tasks = TaskSet(on_crash=_contained)
        self.groups = McpGroups(on, self._tasks, self._changes_of)
        self._told: set[tuple[SessionId, str]] = set()
        self._noticed: dict[str, float] = {}

    def start(self) -> None:
        """Connect to what is configured, in the background."""
        self._tasks.spawn(self.groups.refresh(), name="MCP servers")

    async def close(self) -> None:
        """Stop every server."""
        await self.groups.close()
        await self._tasks.close(_STOP_S)

    def gauges(self) -> Mapping[str, float]:
        """Numbers for `/metrics`."""
        known = self.groups.listed()
        return {
            "mcp_servers": len(known),
            "mcp_servers_ready": sum(one.told["state"] == "ready" for one in known),
            "mcp_tools": sum(one.told["tools"] for one in known),
        }

    # --- for runs ---------------------------------------------------------------------------

    async def tools_for(self, session: SessionId, agent: AgentName) -> list[McpTool]:
        """The foreign tools there are for an agent of a session. Servers never fail a run."""
        if agent == TRACE:
            return []
        try:
            groups = await self.groups.of(session)
            cut = self._was_cut(session)
            for group in groups:
                await group.connected(self._on.limits.connect_s if cut else self._on.wait_s)
            await self._say_missing(session)
            tools = [one for group in groups for one in group.pool.tools()]
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - what strangers wrote is no reason to fail
            _log.exception("the MCP servers of session %s can not be used", session)
            return []
        return [one for one in tools if self.may_use(agent, one.definition.server)]

    def may_use(self, agent: str, server: str) -> bool:
        """Whether a registered server is for everybody, or for this agent."""
        body = self._on.records.get(SERVER, server)
        allowed = body["allowed_key_ids"] if body else ()
        return not allowed or agent in allowed

    def digest(self, session: SessionId, tool: str) -> str | None:
        """The digest of a tool as its server defines it now, by the name a model uses."""
        pools = dict.fromkeys(one.pool for one in self.groups.listed(session))
        return next((found for pool in pools if (found := pool.digest(tool))), None)

    def _was_cut(self, session: SessionId) -> bool:
        """Whether a restart has cut a call of a foreign tool: its server is worth a wait."""
        state = self._on.manager.find(session)
        runs = state.runs.values() if state else ()
        return any(call.name.startswith(FOREIGN) for run in runs for call in run.calls.values())

    async def _say_missing(self, session: SessionId) -> None:
        """Tell once which servers a session has to do without, and why."""
        if len(self._told) > _TOLD_MAX:
            self._told.clear()
        for one in self.groups.listed(session):
            state = one.told["state"]
            if state == "ready" or one.told["tools"]:
                continue
            key = f"mcp-{one.id}-{state}-{one.config.content[:8]}"
            if (session, key) not in self._told:
                self._told.add((session, key))
                await self._notice(session, key, _missing(one), f"mcp_{state}")

    # --- what servers do --------------------------------------------------------------------

    def _changes_of(self, root: Path | None) -> OnChange:
        """What hears of changed tools of one origin."""

        def changed(server: str, tool: str, old: str | None, new: str | None) -> None:
            if old is None:
                return  # nobody can have approved what was not there
            what = "has changed" if new else "is gone"
            text = f"Tool {tool} of MCP server {server} {what}; approvals for it are void."
            void = self._void(root, server, (tool_name(server, tool), old), text)
            self._tasks.spawn(void, name=f"changed tools of MCP server {server}")

        return changed

    async def _void(self, root: Path | None, server: str, was: tuple[str, str], text: str) -> None:
        """Deny what waits for a tool (name, digest) that is not what it was, and say so."""
        told: set[SessionId] = set()
        for one in self._on.approvals.open():
            here = root is None or self.groups.root_of(one.session) == root
            if here and (one.tool, one.definition) == was:
                word = Word(approve=False, by="policy", note=text)
                with suppress(CommandRejected):  # somebody was faster
                    await self._on.approvals.decide(one.approval_id, word)
                told.add(one.session)
        now = self._on.clock.monotonic()
        if now - self._noticed.get(server, -_QUIET_S) >= _QUIET_S:
            self._noticed[server] = now
            told.add(DAEMON_STREAM)
        for session in told:
            await self._notice(session, f"mcp-{was[0]}-{was[1][:8]}", text, "mcp_tool_changed")

    async def _notice(self, session: SessionId, notice_id: str, text: str, code: str) -> None:
        said = ev.NoticePosted(notice_id=notice_id, level="warning", message=text, code=code)
        await self._on.manager.record(session, said)


def _missing(one: Found) -> str:
    name, state = one.config.name, one.told["state"]
    if state == "needs_consent":
        return (
            f"{TREE_FILE} of the work tree names MCP server {name}, which runs "
            f"{one.config.summary!r}. It is not started unless you allow it: "
            f"brainpilot-rt mcp allow {one.id}"
        )
    why = one.told.get("error") or state
    return f"MCP server {name} is not ready ({why}); this run begins without its tools."


def _contained(name: str, cause: BaseException) -> None:
    _log.critical("%s crashed, which concerns its tools alone: %r", name, cause)
