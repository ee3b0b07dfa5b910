"""Tools that the caller of an agent runs: the call is a durable fact, the run waits for its result.

What such a tool takes is the caller's own JSON Schema. A call is idempotent: after a crash the run
that resumes opens it again, which changes nothing, and goes on waiting (D21).
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainpilot_rt.agents.personas import PERSONAS
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain.errors import BadRequest, TooLarge
from brainpilot_rt.domain.events import ClientCallAnswered
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.tools import Effect, ToolSpec
from brainpilot_rt.domain.values import first_problem
from brainpilot_rt.governance.access import allowed_tools
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput

TOOLS_MAX: Final = 128
TOOLS_CHARS_MAX: Final = 256 * 1024
"""Of one caller at a time, as JSON."""
BUILT_IN: Final = frozenset[str]().union(*(allowed_tools(role) for role in PERSONAS))
"""Names no caller can give a tool of an agent."""
_FOREIGN: Final = "mcp__"
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")

CallClient: TypeAlias = Callable[[SessionId, cmd.OpenClientCall], Awaitable[ClientCallAnswered]]
"""`Approvals.call_client`."""


class ClientTool(BaseModel):
    """A tool as its caller describes it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Annotated[str, Field(pattern=f"^{_NAME.pattern}$")]
    description: Annotated[str, Field(max_length=16_000)] = ""
    input_schema: dict[str, Any] = Field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )


class Given(Arguments):
    """Whatever the model gave: the caller judges it by the schema it has sent."""

    model_config = ConfigDict(frozen=True, extra="allow")


def described(
    tools: Iterable[Mapping[str, Any]], taken: frozenset[str] = BUILT_IN
) -> list[ClientTool]:
    """Check descriptions; `BadRequest` for a name that is taken, given twice or none."""
    try:
        found = [ClientTool.model_validate(one) for one in tools]
    except ValidationError as wrong:
        raise BadRequest(f"a tool's {first_problem(wrong)}", code="invalid_tool") from None
    if len(found) > TOOLS_MAX:
        raise BadRequest(f"at most {TOOLS_MAX} tools, not {len(found)}", code="too_many_tools")
    if sum(len(one.model_dump_json()) for one in found) > TOOLS_CHARS_MAX:
        raise TooLarge(f"tools have at most {TOOLS_CHARS_MAX:,} characters in all")
    seen: set[str] = set()
    for one in found:
        if one.name in taken or one.name.startswith(_FOREIGN):
            raise BadRequest(f"a tool can not be called {one.name!r} here: the name is taken")
        if one.name in seen:
            raise BadRequest(f"two tools are called {one.name!r}")
        seen.add(one.name)
    return found


def client_tools(tools: Iterable[ClientTool], call: CallClient) -> list[Tool]:
    """The same as tools an agent can bring along."""
    return [_tool(one, call) for one in tools]


def spec_of(described: ClientTool) -> ToolSpec:
    """What a model is offered."""
    return ToolSpec(
        name=described.name,
        description=described.description,
        parameters=described.input_schema,
        effect=Effect.IDEMPOTENT,
    )


def _tool(described: ClientTool, call: CallClient) -> Tool:
    async def run(context: ToolContext, wanted: Given) -> ToolOutput:
        answered = await call(
            context.session,
            cmd.OpenClientCall(
                run_id=context.run_id,
                agent=context.agent,
                call_id=context.call_id,
                name=described.name,
                arguments=wanted.model_extra or {},
            ),
        )
        return ToolOutput(answered.content, failed=answered.is_error)

    return Tool(spec=spec_of(described), arguments=Given, run=run)
