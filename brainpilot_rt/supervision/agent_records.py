"""Agents that were registered over HTTP, as records: what may be said of one, and what it becomes.

A record is the published profile of agent runs (camelCase, money as JSON numbers) with what the
agent is made of beside it. Everything here is pure; `profiles.py` keeps the records.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

from brainpilot_rt.agents.definition import parse_model
from brainpilot_rt.agents.personas import EXPERT, PERSONAS
from brainpilot_rt.domain.errors import BadRequest, BudgetExceeded, Conflict, Forbidden
from brainpilot_rt.domain.ids import RESERVED, AgentName
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.times import iso
from brainpilot_rt.supervision import mcp_toolset
from brainpilot_rt.supervision.agent_materials import object_of
from brainpilot_rt.supervision.client_tools import described

Profile: TypeAlias = dict[str, Any]
Lifecycle: TypeAlias = Literal["provisioned", "active", "quarantined", "suspended", "terminated"]
FileType: TypeAlias = Literal["soul", "workspace", "reference"]

TENANT: Final = "local"
"""There is one user, and all is theirs."""
RPM: Final = 30
"""Runs an agent may be asked for in a minute, unless its limits say otherwise."""
READING: Final = (
    *("read", "grep", "find", "glob", "ls", "search"),
    *("remember", "recall", "record_finding", "forget"),
    "send_message",
)
"""The tools of an agent that names none: they look, remember and report."""
_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{2,62}")
_TAKEN: Final = RESERVED | PERSONAS.keys()
_TRANSITIONS: Final[Mapping[str, frozenset[str]]] = {
    "provisioned": frozenset({"active"}),
    "active": frozenset({"quarantined", "suspended"}),
    "quarantined": frozenset({"active", "suspended"}),
    "suspended": frozenset({"active", "terminated"}),
    "terminated": frozenset(),
}
_ROLES: Final = ("viewer", "agent", "operator", "admin")
"""In the order of what each may; a delegate may no more than who made it."""
_PERSONA: Final = (
    "You are {name}{of}. You work for the user of this machine: take up what you are asked, use "
    "your tools to look at the work tree before you answer, and say plainly what you found, what "
    "you did not find and what follows."
)

_MONEY: Final = ("budgetDailyUsd", "budgetMonthlyUsd")
_DEFAULTS: Final[Profile] = {
    "ownerId": "user",
    "role": "agent",
    "metadata": {},
    "mcpServers": [],
    "skills": [],
    "custom_tools": [],
}
_TOOLSET: Final = ("bash", "read", "write", "edit", "glob", "grep")
"""What the toolset of managed agents holds of ours."""

_Usd = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=12)]
_Word = Annotated[str, Field(max_length=200)]
_Prose = Annotated[str, Field(max_length=100_000)]


class Changes(BaseModel):
    """What somebody says of an agent; what they do not say stays as it is. Either casing."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, alias_generator=to_camel
    )

    display_name: _Word | None = None
    owner_id: _Word | None = None
    cost_center: _Word | None = None
    department: _Word | None = None
    description: Annotated[str, Field(max_length=2_000)] | None = None
    budget_daily_usd: _Usd | None = None
    budget_monthly_usd: _Usd | None = None
    role: Literal["viewer", "agent", "operator", "admin"] | None = None
    manifest_id: _Word | None = None
    metadata: dict[str, Any] | None = None
    system: _Prose | None = None
    soul: _Prose | None = None
    model: str | dict[str, Any] | None = None
    """`provider:model`, or an object with both. None or `auto`: chosen turn by turn."""
    tools: list[Any] | None = None
    """Names, or objects as managed agents have them. None: those that only look."""
    mcp_servers: list[Any] | None = None
    skills: list[Any] | None = None
    custom_tools: Annotated[list[dict[str, Any]] | None, Field(alias="custom_tools")] = None
    """Tools the client runs: `name`, `description`, `input_schema`."""

    @field_validator("custom_tools")
    @classmethod
    def _tools(cls, value: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        return None if value is None else [one.model_dump() for one in described(value)]

    @field_validator("model")
    @classmethod
    def _known_form(cls, value: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
        pinned(value)
        return value


def pinned(model: object) -> ModelRef | None:
    """The model a record insists on; ValueError when it is none."""
    if model is None or model == "auto" or (isinstance(model, str) and model.startswith("auto:")):
        return None
    if isinstance(model, dict):
        named = cast("dict[str, Any]", model)
        if "provider" not in named:
            return pinned(named.get("id"))
        return parse_model({key: named[key] for key in ("provider", "model") if key in named})
    return parse_model(model) if isinstance(model, str) else None


def check_id(text: object) -> AgentName:
    """The name of an agent to be registered; `BadRequest` says what is wrong with it."""
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise BadRequest(
            f"agent_id {str(text)[:80]!r} is not 3 to 63 lowercase letters, digits and hyphens, "
            "beginning with a letter or digit",
            code="invalid_agent_id",
        )
    if text in _TAKEN:
        raise BadRequest(
            f"agent_id {text!r} is a name of the team itself; choose another",
            code="reserved_agent_id",
        )
    return AgentName(text)


def made(agent: AgentName, said: Changes, state: Lifecycle, now_ms: int) -> Profile:
    """The record of a new agent."""
    stamp = iso(now_ms)
    return {
        "id": f"agent_{agent}",
        "tenantId": TENANT,
        "agentId": agent,
        **_filled(said.model_dump(mode="json", by_alias=True), agent),
        "lifecycleState": state,
        "parentAgentId": None,
        "expiresAt": None,
        "version": 1,
        "createdAt": stamp,
        "updatedAt": stamp,
    }


def changed(body: Mapping[str, Any], said: Changes, now_ms: int) -> Profile:
    """The record after a change: a field that is named is replaced, metadata as a whole."""
    news = said.model_dump(mode="json", by_alias=True, include=said.model_fields_set)
    version = int(body.get("version", 1)) + 1
    filled = _filled(news, body["agentId"])
    return {**body, **filled, "version": version, "updatedAt": iso(now_ms)}


def _filled(said: Profile, agent: str) -> Profile:
    """What was said, with what nothing said means."""
    defaults: Profile = {**_DEFAULTS, "displayName": agent}
    filled: Profile = {
        key: defaults.get(key) if value is None else value for key, value in said.items()
    }
    for key in _MONEY:
        if filled.get(key) is not None:
            filled[key] = float(filled[key])
    return filled


def moved(body: Mapping[str, Any], state: str, now_ms: int) -> Profile:
    """The record in another state of its life; `Conflict` when there is no way there."""
    if state not in _TRANSITIONS:
        raise BadRequest(f"state is one of: {', '.join(_TRANSITIONS)}", code="invalid_state")
    present = str(body["lifecycleState"])
    if state == present:
        return dict(body)
    if state not in _TRANSITIONS[present]:
        ways = ", ".join(sorted(_TRANSITIONS[present])) or "nothing: it is final"
        raise Conflict(
            f"{body['agentId']} is {present}; from there it can become {ways}",
            code="illegal_transition",
        )
    return {**body, "lifecycleState": state, "updatedAt": iso(now_ms)}


def check_usable(body: Mapping[str, Any], now_ms: int) -> None:
    """Raise what its state of life makes of a request to use the agent."""
    agent, state = body["agentId"], body["lifecycleState"]
    if state == "suspended":
        raise BudgetExceeded(f"agent {agent!r} is suspended", code="agent_suspended")
    if state == "terminated":
        raise Forbidden(f"agent {agent!r} is terminated", code="agent_terminated")
    if state != "active":
        raise Forbidden(f"agent {agent!r} is {state}, not active", code=f"agent_{state}")
    if expired(body, now_ms):
        raise Forbidden(f"agent {agent!r} expired at {body['expiresAt']}", code="agent_expired")


def expired(body: Mapping[str, Any], now_ms: int) -> bool:
    """Whether the time of a delegate is over."""
    until = body.get("expiresAt")
    return until is not None and datetime.fromisoformat(until).timestamp() * 1000 <= now_ms


def check_role(parent: Mapping[str, Any], role: str) -> None:
    """A delegate may no more than who delegates."""
    most = str(parent["role"])
    if _ROLES.index(role) > _ROLES.index(most):
        raise Forbidden(f"{parent['agentId']} is {most!r} and can not make one that is {role!r}")


def counts_until(body: Mapping[str, Any], now_ms: int) -> str | None:
    """The day (UTC) on which a delegate's share returns to who gave it; None while it lives."""
    if expired(body, now_ms):
        return str(body["expiresAt"])[:10]
    return None if body["lifecycleState"] != "terminated" else str(body["updatedAt"])[:10]


def persona(body: Mapping[str, Any], soul: str, override: str | None) -> str:
    """The system prompt: who the agent is, then the rules every agent of a team works under."""
    metadata = object_of(body.get("metadata"))
    about = (
        override
        or body.get("soul")
        or metadata.get("soul_content")
        or soul
        or body.get("system")
        or _hired(object_of(metadata.get("hr_record")))
    )
    if not isinstance(about, str) or not about.strip():
        of = f" of {body['department']}" if body.get("department") else ""
        about = _PERSONA.format(name=body["displayName"], of=of)
    instructions = body.get("system")
    if isinstance(instructions, str) and instructions.strip() and instructions != about:
        about = f"{about.strip()}\n\n{instructions.strip()}"
    return EXPERT.system(about)


def _hired(record: Mapping[str, Any]) -> str:
    """A record of human resources as prose; empty when it says nothing."""
    job = object_of(record.get("job_description"))
    can = job.get("capabilities")
    capabilities = cast("list[object]", can) if isinstance(can, list) else []
    lines = [
        str(object_of(record.get("identity")).get("description") or ""),
        f"Your primary objective: {job['primary_objective']}"
        if job.get("primary_objective")
        else "",
        f"You can: {', '.join(map(str, capabilities))}" if capabilities else "",
    ]
    return "\n".join(line for line in lines if line)


def tool_names(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The tools an agent may use, by name; one that does not exist is not offered.

    Of MCP servers it has none but those it names: in its list of servers, a set, or by pattern.
    """
    listed = body.get("tools")
    servers = cast("list[object]", body.get("mcpServers") or [])
    if not isinstance(listed, list):
        return (*READING, *mcp_toolset.named([], servers))
    names = mcp_toolset.named(cast("list[object]", listed), servers)
    for one in cast("list[object]", listed):
        if isinstance(one, str):
            names.append(one)
        elif str(object_of(one).get("type")).startswith("agent_toolset"):
            names += _enabled(object_of(one))
    return tuple(dict.fromkeys((*names, "send_message")))


def asking(body: Mapping[str, Any]) -> frozenset[str]:
    """The tools of it whose calls always need a person's word."""
    listed = cast("list[object]", body.get("tools") or [])
    found = set(mcp_toolset.asking(listed))
    for one in listed:
        toolset = object_of(one)
        if not str(toolset.get("type")).startswith("agent_toolset"):
            continue
        usual = _policy(toolset.get("default_config"))
        configs = toolset.get("configs")
        each = cast("list[object]", configs) if isinstance(configs, list) else []
        said = {object_of(config).get("name"): _policy(config) for config in each}
        found |= {name for name in _TOOLSET if (said.get(name) or usual) == "always_ask"}
    return frozenset(found)


def _policy(config: object) -> str:
    """The type of its permission policy; empty: it says none."""
    return str(object_of(object_of(config).get("permission_policy")).get("type") or "")


def _enabled(toolset: Mapping[str, Any]) -> list[str]:
    """The tools of a toolset that are switched on."""
    usual = object_of(toolset.get("default_config")).get("enabled", True)
    configs = toolset.get("configs")
    listed = cast("list[object]", configs) if isinstance(configs, list) else []
    said = {object_of(one).get("name"): object_of(one).get("enabled", True) for one in listed}
    return [name for name in _TOOLSET if said.get(name, usual)]
