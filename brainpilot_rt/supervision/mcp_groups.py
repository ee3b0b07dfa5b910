"""Which MCP servers there are: the user's and registered ones, and those of each work tree.

Files and records are looked at again when a run begins. Servers of a work tree are there for the
sessions that work in it, wait for consent, and can not take the name of another one.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.domain.errors import CommandRejected, Conflict, NotFound
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.supervision import mcp_sources
from brainpilot_rt.supervision.approvals import Approvals
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.supervision.secrets import Secrets
from brainpilot_rt.supervision.vault import Vault
from brainpilot_rt.tools.mcp.config import McpLimits, Parsed, ServerConfig
from brainpilot_rt.tools.mcp.pool import McpPool, dialer
from brainpilot_rt.tools.mcp.server import Dial, OnChange, Surroundings
from brainpilot_rt.workspace.files import Workspace

SERVER: Final = "mcp_server"
CONSENT: Final = "mcp_consent"
"""Kinds of records."""

Source: TypeAlias = Literal["file", "registered", "project"]


def vault_name(server: str) -> str:
    """What its credential is called in the vault."""
    return f"mcp:{server}"


@dataclass(frozen=True, slots=True, kw_only=True)
class McpGround:
    """What servers stand on."""

    data_dir: Path
    variables: Mapping[str, str]
    wait_s: float
    """Seconds somebody waits for servers that connect."""
    records: Records
    vault: Vault
    secrets: Secrets
    approvals: Approvals
    manager: SessionManager
    workspace: Callable[[SessionId], Workspace]
    clock: Clock
    new_id: NewId
    dice: Callable[[], float]
    marker_prefix: str
    version: str
    limits: McpLimits = field(default_factory=McpLimits)
    dial: "Dial | None" = None
    """How servers are reached instead of really."""


@dataclass(frozen=True, slots=True)
class Found:
    """One server, and where it is named."""

    id: str
    """Its name; of a work tree's server with what tells the tree from others."""
    config: ServerConfig
    source: Source
    pool: McpPool
    told: Mapping[str, Any]
    """What the status says of it."""


class Group:
    """The servers of one origin. `root`: of the work tree they came with."""

    def __init__(self, pool: McpPool, tasks: TaskSet, root: Path | None) -> None:
        self.pool = pool
        self.root = root
        self.parsed = Parsed()
        self._tasks = tasks
        self._first: asyncio.Task[None] | None = None

    async def use(self, parsed: Parsed) -> None:
        """Have these; they connect in the background."""
        if parsed == self.parsed:
            return
        self.parsed = parsed
        await self.pool.use(parsed.servers, parsed.problems)
        if parsed.servers:
            self._first = self._tasks.spawn(self.pool.load(), name="first connection of MCP")

    async def connected(self, wait_s: float) -> None:
        """Wait until each has connected or failed once, but not longer than that."""
        if self._first is not None and not self._first.done():
            await asyncio.wait([self._first], timeout=wait_s)


class McpGroups:
    """The servers by origin. `on_change` is told the root of a work tree, then as pools tell it."""

    def __init__(
        self, on: McpGround, tasks: TaskSet, on_change: Callable[[Path | None], OnChange]
    ) -> None:
        self._on = on
        self._tasks = tasks
        self._on_change = on_change
        self._own = self._group(None)
        self._trees: dict[Path, Group] = {}
        self._roots: dict[SessionId, Path] = {}
        self._alone = asyncio.Lock()
        self._file: mcp_sources.OwnFile | None = None
        """The user's file as it was read; None: it, or a record, has to be looked at."""
        on.records.listen(self._kept)

    def _kept(self, kind: str, _key: str, _body: object) -> None:
        if kind == SERVER:
            self._file = None

    # --- having them ------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Look at the user's file and the records again, if they have changed."""
        on = self._on
        async with self._alone:
            found = mcp_sources.own_file(on.data_dir)
            if found == self._file:
                return
            self._file = found
            parsed = await asyncio.to_thread(mcp_sources.read_own, found, on.variables)
            servers, problems = list(parsed.servers), list(parsed.problems)
            for name, body in on.records.of(SERVER).items():
                one = mcp_sources.of_record(name, body, on.vault.get(vault_name(name)))
                servers += one.servers
                problems += one.problems
            on.secrets.learn(mcp_sources.secrets_of(servers))
            await self._own.use(Parsed(tuple(servers), tuple(problems)))

    async def of(self, session: SessionId) -> list[Group]:
        """The groups of a session, as files and records are now."""
        await self.refresh()
        on = self._on
        try:
            tree = on.workspace(session)
        except CommandRejected:
            return [self._own]
        parsed = await asyncio.to_thread(mcp_sources.read_tree, tree, on.variables)
        async with self._alone:
            self._roots[session] = tree.root
            group = self._trees.get(tree.root)
            if group is None:
                if parsed == Parsed():
                    return [self._own]
                await self._sweep()
                group = self._trees[tree.root] = self._group(tree.root)
            taken = {one.name for one in self._own.parsed.servers}
            servers = tuple(one for one in parsed.servers if one.name not in taken)
            problems = tuple(
                f"server {one.name!r} of {mcp_sources.TREE_FILE}: the name is taken"
                for one in parsed.servers
                if one.name in taken
            )
            on.secrets.learn(mcp_sources.secrets_of(servers))
            await group.use(Parsed(servers, parsed.problems + problems))
        return [self._own, group]

    async def close(self) -> None:
        """Stop every server."""
        for group in (self._own, *self._trees.values()):
            await group.pool.close()

    def _group(self, root: Path | None) -> Group:
        on = self._on
        cwd, marks = root or on.data_dir, on.marker_prefix
        around = Surroundings(
            tasks=self._tasks,
            dial=on.dial or dialer(on.limits, cwd=cwd, marker_prefix=marks, new_id=on.new_id),
            on_change=self._on_change(root),
            dice=on.dice,
            version=on.version,
            limits=on.limits,
        )
        consents = on.records.of(CONSENT).values()
        allowed = [one["content"] for one in consents if one["root"] == str(root)]
        return Group(McpPool(around, allowed=allowed), self._tasks, root)

    async def _sweep(self) -> None:
        """End the servers of work trees in which no session in memory works."""
        resident = {state.session for state in self._on.manager.resident()}
        self._roots = {key: root for key, root in self._roots.items() if key in resident}
        for root in self._trees.keys() - set(self._roots.values()):
            await self._trees.pop(root).pool.close()

    # --- looking at them --------------------------------------------------------------------

    async def settle(self) -> None:
        """Look at the user's file and the records again, and wait a little for the servers."""
        await self.refresh()
        await self._own.connected(self._on.wait_s)

    async def look(self, session: SessionId | None = None) -> None:
        """Look at all files and records again, or at those of one session."""
        await self.refresh()
        known = [state.session for state in self._on.manager.resident()]
        for one in known if session is None else [session]:
            await self.of(one)

    def root_of(self, session: SessionId) -> Path | None:
        """The work tree of a session, once its file was looked at."""
        return self._roots.get(session)

    def listed(self, session: SessionId | None = None) -> list[Found]:
        """All servers, or those of one session."""
        mine = self._roots.get(session) if session else None
        trees = [one for root, one in self._trees.items() if session is None or root == mine]
        return [found for group in (self._own, *trees) for found in self._found(group)]

    def find(self, ident: str) -> Found:
        """A server by its id, or by its name where there is one of that name; else NotFound."""
        known = self.listed()
        named = [one for one in known if one.id == ident]
        named = named or [one for one in known if one.config.name == ident]
        if len(named) != 1:
            many = f"; name one of {', '.join(one.id for one in named)}" if named else ""
            said = f"there is no MCP server {ident[:80]!r}{many}"
            raise NotFound(said, code="unknown_mcp_server")
        return named[0]

    def status(self) -> dict[str, Any]:
        """What `GET /mcp/status` says."""
        each = [group.pool.status() for group in (self._own, *self._trees.values())]
        states = {one["state"] for one in each} - {"unconfigured"}
        state = "not_loaded" if states else "unconfigured"
        if known := states - {"not_loaded"}:
            state = known.pop() if len(known) == 1 else "degraded"
        return {
            "state": state,
            "servers": [{"id": one.id, "source": one.source, **one.told} for one in self.listed()],
            "problems": [problem for one in each for problem in one["problems"]],
        }

    async def allow(self, ident: str, digest: str | None = None) -> Found:
        """Consent to a server of a work tree, as its file describes it now.

        `digest`: of what the caller saw; Conflict when the file says something else now.
        """
        found = self.find(ident)
        if digest not in (None, found.config.content):
            raise Conflict("the entry is not what was shown; look again", code="stale_digest")
        root = next((root for root, one in self._trees.items() if one.pool is found.pool), None)
        if root is None:
            raise Conflict(f"MCP server {found.id} needs no consent", code="needs_no_consent")
        name = found.config.name
        body = {"root": str(root), "name": name, "content": found.config.content}
        await self._on.records.put(CONSENT, found.id, body | {"runs": found.config.summary})
        await self._briefly(found.pool.allow(name), f"consent to {found.id}")
        return self.find(found.id)

    async def restart(self, ident: str) -> Found:
        """Connect to a server anew; calls that run there are lost. Conflict without consent."""
        found = self.find(ident)
        if found.told["state"] == "needs_consent":
            raise Conflict(f"MCP server {found.id} needs consent first", code="needs_consent")
        await self._briefly(found.pool.restart(found.config.name), f"restart of {found.id}")
        return self.find(found.id)

    async def _briefly(self, work: Coroutine[Any, Any, object], name: str) -> None:
        """Begin it, and wait a little for its end."""
        await asyncio.wait([self._tasks.spawn(work, name=name)], timeout=self._on.wait_s)

    def _found(self, group: Group) -> list[Found]:
        told = {one["name"]: one for one in group.pool.status()["servers"]}
        suffix = f"@{mcp_sources.tree_id(group.root)}" if group.root else ""
        registered = self._on.records.of(SERVER)
        found: list[Found] = []
        for one in sorted(group.parsed.servers, key=lambda one: one.name):
            source: Source = "registered" if one.name in registered else "file"
            source = "project" if group.root else source
            found.append(Found(one.name + suffix, one, source, group.pool, told[one.name]))
        return found
