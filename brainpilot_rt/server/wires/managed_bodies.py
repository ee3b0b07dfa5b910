"""What clients of managed agents send: agents, environments, sessions. Pure.

What is asked for and can not be done on one machine is refused with its name.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field

from brainpilot_rt.domain.errors import BadRequest

Json: TypeAlias = dict[str, Any]
Metadata: TypeAlias = Annotated[dict[str, str], Field(max_length=16)]
MetadataChange: TypeAlias = Annotated[dict[str, str | None], Field(max_length=16)]

TOOLSET: Final = "agent_toolset_20260401"
TOOLSET_NAMES: Final = ("bash", "read", "write", "edit", "glob", "grep")
"""Tools of the toolset that there are here; `web_fetch` and `web_search` are not."""
_AWAY: Final = frozenset({"web_fetch", "web_search"})
EVENTS_MAX: Final = 50


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


# --- bodies ---------------------------------------------------------------------------------


class Policy(_Body):
    """Whether a call needs a person's word."""

    type: Literal["always_allow", "always_ask", "auto"]


class ToolConfig(_Body):
    """What holds for the tools of a set."""

    enabled: bool | None = None
    permission_policy: Policy | None = None


class NamedConfig(ToolConfig):
    """What holds for one of them."""

    name: str


class ToolBody(_Body):
    """A tool, or a set of them."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str
    default_config: ToolConfig | None = None
    configs: Annotated[list[NamedConfig], Field(max_length=64)] = Field(
        default_factory=list[NamedConfig]
    )


class ModelBody(_Body):
    """A model and how hard it is to think."""

    id: Annotated[str, Field(min_length=1, max_length=300)]
    effort: str | Json | None = None
    speed: Literal["standard", "fast"] | None = None


class AgentParts(_Body):
    """What an agent is made of; what is not given stays."""

    model: str | ModelBody | None = None
    system: Annotated[str, Field(max_length=100_000)] | None = None
    description: Annotated[str, Field(max_length=2_000)] | None = None
    tools: Annotated[list[ToolBody], Field(max_length=128)] | None = None
    mcp_servers: list[Json] | None = None
    skills: list[Json] | None = None
    multiagent: Json | None = None
    execution_identity: Json | None = None

    def check(self) -> None:
        """`BadRequest` for what can not be had here."""
        identity = (self.execution_identity or {}).get("type", "service_account")
        wrong = {
            "skills": bool(self.skills),
            "multiagent": bool(self.multiagent),
            "execution_identity": identity != "service_account",
        }
        if named := next((name for name, is_wrong in wrong.items() if is_wrong), ""):
            raise BadRequest(f"{named}: {_WHY_NOT[named]}", code="unsupported_parameter")

    @property
    def model_json(self) -> Json | None:
        """The model as an object."""
        if self.model is None:
            return None
        if isinstance(self.model, str):
            return {"id": self.model}
        return self.model.model_dump(exclude_none=True)


_WHY_NOT: Final = {
    "skills": "skills are folders of the data directory here, found by every agent",
    "multiagent": "every agent may delegate to the team by letters; there is nothing to set",
    "execution_identity": "everything runs as the user of this machine",
}


class AgentBody(AgentParts):
    """POST /v1/agents."""

    model: str | ModelBody  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride] - here it has to be given
    name: Annotated[str, Field(min_length=1, max_length=200)]
    metadata: Metadata = Field(default_factory=dict[str, str])


class AgentChange(AgentParts):
    """POST /v1/agents/{id}."""

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    metadata: MetadataChange | None = None
    version: int | None = None


class EnvironmentBody(_Body):
    """POST /v1/environments and POST /v1/environments/{id}."""

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    description: Annotated[str, Field(max_length=2_000)] | None = None
    config: Json | None = None
    metadata: MetadataChange | None = None
    scope: Literal["organization", "account"] | None = None


class Amount(_Body):
    """Money in minor units: "200" is two dollars."""

    amount: Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,11})$")]
    currency: Literal["USD"] = "USD"


class Budget(_Body):
    """What a session may cost."""

    type: Literal["limit"]
    max_list_cost: Amount

    @property
    def usd(self) -> Decimal:
        """In US dollars."""
        return Decimal(self.max_list_cost.amount) / 100


class AgentOfSession(AgentParts):
    """The agent of a session: as it is, at a version, or with parts of its own."""

    type: Literal["agent", "agent_with_overrides"] = "agent"
    id: str
    version: int | None = None


class SessionBody(_Body):
    """POST /v1/sessions."""

    agent: str | AgentOfSession
    environment_id: str
    budget: Budget | None = None
    initial_events: Annotated[list[Json], Field(max_length=EVENTS_MAX)] = Field(
        default_factory=list[Json]
    )
    metadata: Metadata = Field(default_factory=dict[str, str])
    title: Annotated[str, Field(max_length=200)] | None = None
    resources: list[Any] | None = None
    vault_ids: list[str] | None = None


class SessionChange(_Body):
    """POST /v1/sessions/{id}."""

    agent: AgentParts | None = None
    budget: Budget | None = None
    metadata: MetadataChange | None = None
    title: Annotated[str, Field(max_length=200)] | None = None
    vault_ids: list[str] | None = None


# --- what a profile keeps -------------------------------------------------------------------


def kept_tools(tools: Sequence[ToolBody]) -> tuple[list[Json], list[Json]]:
    """(`tools`, `custom_tools`) of a profile. `BadRequest` for a set or a tool there is not."""
    objects: list[Json] = []
    custom: list[Json] = []
    for one in tools:
        match one.type:
            case "custom":
                custom.append(one.model_extra or {})
                objects.append({"type": "custom", **(one.model_extra or {})})
            case "agent_toolset_20260401":
                objects.append(_toolset(one))
            case "mcp_toolset" if (one.model_extra or {}).get("mcp_server_name"):
                objects.append(one.model_dump(mode="json", exclude_none=True))
            case _:
                raise BadRequest(
                    f"tools of type {one.type[:80]!r} are not known here; {TOOLSET}, mcp_toolset "
                    "(with mcp_server_name) and custom are",
                    code="unsupported_tool",
                )
    return objects, custom


def _toolset(toolset: ToolBody) -> Json:
    """The set with everything said."""
    said = toolset.default_config or ToolConfig()
    enabled = said.enabled is not False
    policy = said.permission_policy or Policy(type="always_allow")
    configs: list[Json] = []
    for one in toolset.configs:
        if one.name not in (*TOOLSET_NAMES, *_AWAY):
            raise BadRequest(f"{TOOLSET} has no tool {one.name[:80]!r}", code="unsupported_tool")
        if one.name in _AWAY and one.enabled:
            raise BadRequest(f"there is no {one.name} here", code="unsupported_tool")
        configs.append(
            {
                "name": one.name,
                "type": one.name,
                "enabled": enabled if one.enabled is None else one.enabled,
                "permission_policy": (one.permission_policy or policy).model_dump(),
            }
        )
    default = {"enabled": enabled, "permission_policy": policy.model_dump()}
    return {"type": TOOLSET, "default_config": default, "configs": configs}


def merged(before: Mapping[str, str], change: Mapping[str, str | None] | None) -> dict[str, str]:
    """Metadata after a change: null takes a key away."""
    after = {**before, **(change or {})}
    return {key: value for key, value in after.items() if value is not None}


def environment_config(config: Mapping[str, Any] | None) -> Json:
    """A configuration as it is kept. `BadRequest` for what this machine does not do."""
    said = dict(config or {})
    if said.get("type", "cloud") != "cloud":
        raise BadRequest(
            "environments run on the machine of the daemon: config.type is 'cloud'",
            code="unsupported_environment",
        )
    wanted: Mapping[str, Any] = said.get("packages") or {}
    if any(bool(listed) for name, listed in wanted.items() if name != "type"):
        raise BadRequest(
            "no packages are installed for an environment: install them on this machine",
            code="unsupported_environment",
        )
    kinds = ("apt", "cargo", "gem", "go", "npm", "pip")
    packages = dict.fromkeys(kinds, cast("list[str]", []))
    networking: Json = {"type": "unrestricted"}
    asked: Mapping[str, Any] = said.get("networking") or networking
    if asked.get("type") == "limited":
        networking = {
            "type": "limited",
            "allowed_hosts": list(asked.get("allowed_hosts") or ()),
            "allow_mcp_servers": bool(asked.get("allow_mcp_servers")),
            "allow_package_managers": bool(asked.get("allow_package_managers")),
        }
    return {"type": "cloud", "networking": networking, "packages": packages}


def text_of(content: object) -> str:
    """The words of content blocks. `BadRequest` for anything but text."""
    blocks: list[Any] = content if isinstance(content, list) else [content]  # pyright: ignore[reportUnknownVariableType] - JSON
    words: list[str] = []
    for one in blocks:
        if isinstance(one, str):
            words.append(one)
        elif isinstance(one, dict) and cast("Json", one).get("type") == "text":
            words.append(str(cast("Json", one).get("text", "")))
        elif one is not None:
            raise BadRequest("content is text here; send files into the work tree instead")
    return "\n\n".join(words)
