"""MCP servers for whoever manages them: registered, shown, changed and removed, as JSON.

The names are those of the MCP gateway of agent runs. A credential goes into the vault and is never
shown again; what a file names is changed in the file.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain.errors import BadRequest, Conflict
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.times import iso
from brainpilot_rt.domain.values import checked
from brainpilot_rt.supervision.mcp_groups import SERVER, Found, McpGroups, vault_name
from brainpilot_rt.supervision.mcp_sources import of_record
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.supervision.vault import Vault
from brainpilot_rt.tools.mcp.pool import McpTool

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")


class Auth(BaseModel):
    """How a server is told who asks."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, alias_generator=to_camel
    )

    type: Literal["none", "bearer", "api-key"]
    token: str | None = Field(default=None, max_length=8_192, repr=False)
    header_name: str | None = Field(default=None, max_length=200)


class ServerChange(BaseModel):
    """What somebody says of a server; what is not said stays as it is."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    transport: Literal["streamable-http", "http", "sse"] | None = None
    url: str | None = Field(default=None, max_length=2_000)
    auth: Auth | None = None
    allowed_key_ids: list[str] | None = Field(default=None, max_length=1_000)

    @field_validator("url")
    @classmethod
    def _shown(cls, url: str | None) -> str | None:
        if url is not None and re.match(r"[a-z]+://[^/?#]*@", url, re.IGNORECASE):
            raise ValueError("a name or password does not belong into an address; use auth")
        return url


class McpAdmin:
    """Manages the servers."""

    def __init__(self, groups: McpGroups, records: Records, vault: Vault, clock: Clock) -> None:
        self._groups = groups
        self._records = records
        self._vault = vault
        self._clock = clock

    async def listed(self, session: SessionId | None = None) -> list[dict[str, Any]]:
        """All servers as they are now, or those of one session."""
        await self._groups.look(session)
        return [self._json(one) for one in self._groups.listed(session)]

    async def show(self, ident: str) -> dict[str, Any]:
        """One server; NotFound when there is none."""
        await self._groups.refresh()
        return self._json(self._groups.find(ident))

    async def register(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Add a server. Conflict when there is one of that name, BadRequest says what is wrong."""
        name = body.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BadRequest("name: 1 to 63 letters, digits, hyphens and underscores within")
        if body.get("transport") == "stdio" or "command" in body:
            raise BadRequest(
                "a program is not registered over HTTP; write it into mcp_servers.json"
            )
        if not body.get("url"):
            raise BadRequest("url: where the server is")
        await self._groups.refresh()
        if any(one.config.name == name for one in self._groups.listed()):
            raise Conflict(f"there is an MCP server {name!r} already", code="mcp_server_exists")
        now = iso(self._clock.now_ms())
        fresh: dict[str, Any] = {
            "name": name,
            "transport": "streamable-http",
            "auth": None,
            "allowed_key_ids": [],
        }
        return await self._keep(name, {**fresh, "createdAt": now}, checked(ServerChange, body))

    async def update(self, ident: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change a registered server; it is connected to anew where that matters."""
        name = await self._registered(ident)
        kept = self._records.get(SERVER, name)
        assert kept is not None
        return await self._keep(name, kept, checked(ServerChange, body))

    async def remove(self, ident: str) -> None:
        """Forget a registered server and its credential."""
        name = await self._registered(ident)
        await self._records.delete(SERVER, name)
        await self._vault.delete(vault_name(name))
        await self._groups.refresh()

    async def discover(self, ident: str) -> dict[str, Any]:
        """Connect if need be, and show the tools there are."""
        await self._groups.settle()
        found = self._groups.find(ident)
        if found.told["state"] != "ready":
            found = await self._groups.restart(found.id)
        return {**self._json(found), "tools": self._tools(found)}

    async def allow(self, ident: str, digest: str | None = None) -> dict[str, Any]:
        """Consent to a server of a work tree, as it is described now. `digest`: as it was shown."""
        await self._groups.look()
        return self._json(await self._groups.allow(ident, digest))

    async def restart(self, ident: str) -> dict[str, Any]:
        """Connect anew."""
        return self._json(await self._groups.restart(ident))

    async def tools(self, ident: str | None = None) -> list[dict[str, Any]]:
        """The tools of a server, or of all."""
        await self._groups.refresh()
        found = self._groups.listed() if ident is None else [self._groups.find(ident)]
        return [tool for one in found for tool in self._tools(one)]

    def mismatch(self, name: object, url: object) -> str:
        """Why there is no such server for an agent that names one; empty when there is."""
        known = {one.config.name: one.config for one in self._groups.listed()}
        if name not in known:
            return f"there is no MCP server {str(name)[:80]!r}; register it: POST /v1/mcp/servers"
        if url and url != known[str(name)].url:
            return f"MCP server {name} is at another address here"
        return ""

    # --- the steps --------------------------------------------------------------------------

    async def _registered(self, ident: str) -> str:
        await self._groups.refresh()
        if self._records.get(SERVER, ident) is not None:
            return ident  # also one that is broken, and not listed
        found = self._groups.find(ident)
        where = "the work tree's .mcp.json" if found.source == "project" else "mcp_servers.json"
        raise Conflict(f"MCP server {found.id} is named in {where}; change it there")

    async def _keep(self, name: str, kept: Mapping[str, Any], said: ServerChange) -> dict[str, Any]:
        """Keep what was said, once it can be used."""
        changes = said.model_dump(exclude_none=True, exclude={"auth"})
        body = {**kept, **changes, "updatedAt": iso(self._clock.now_ms())}
        token = self._vault.get(vault_name(name))
        if said.auth is not None:
            shown = {"type": said.auth.type, "headerName": said.auth.header_name}
            body["auth"] = None if said.auth.type == "none" else shown
            token = said.auth.token or token
            if body["auth"] and not token:
                raise BadRequest("auth.token: what it is")
        if problems := of_record(name, body, token if body["auth"] else None).problems:
            raise BadRequest(problems[0].partition(": ")[2])
        if said.auth is not None and said.auth.token:
            await self._vault.put(vault_name(name), said.auth.token)
        await self._records.put(SERVER, name, body)
        await self._groups.settle()
        return self._json(self._groups.find(name))

    def _json(self, one: Found) -> dict[str, Any]:
        config, kept = one.config, self._records.get(SERVER, one.id) or {}
        auth = cast("dict[str, Any] | None", kept.get("auth"))
        local = config.kind == "stdio"
        # What a stranger's file says is shown whole; what is the user's may hold secrets.
        runs = config.summary if one.source == "project" else config.command
        return {
            "id": one.id,
            "name": config.name,
            "transport": "streamable-http" if config.kind == "http" else config.kind,
            "url": None if local else config.summary.partition("?")[0],
            "command": runs if local else None,
            "auth": auth and {**auth, "configured": True},
            "allowed_key_ids": kept.get("allowed_key_ids", []),
            "source": one.source,
            "digest": config.content,
            "status": one.told["state"],
            "toolCount": one.told["tools"],
            **{
                key: one.told[key]
                for key in ("protocol", "error", "notes", "uses")
                if key in one.told
            },
            **{key: kept[key] for key in ("createdAt", "updatedAt") if key in kept},
        }

    def _tools(self, one: Found) -> list[dict[str, Any]]:
        named = [tool for tool in one.pool.tools() if tool.definition.server == one.config.name]
        return [_tool_json(tool, one.id) for tool in named]


def _tool_json(tool: McpTool, server: str) -> dict[str, Any]:
    definition = tool.definition
    return {
        "name": definition.tool,
        "server_id": server,
        "toolName": tool.name,
        "description": tool.spec.description,
        "inputSchema": tool.spec.parameters,
        "effect": tool.spec.effect.value,
        "digest": definition.digest,
    }
