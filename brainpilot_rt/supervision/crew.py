"""What a program that embeds the daemon adds to the team: agents, tools, a model of its own.

An agent a program defines is a member of every session under its name, which is also its role: a
letter to it brings it to life, as one to the librarian does. It works under the rules of all
specialists, because letters and tasks rely on them, and may use what its definition names: the
program is the user's. Tools given for all go to everybody but the trace agent.

Tools of MCP servers come and go, so roles and agents name them by patterns (`mcp__*`,
`mcp__<server>__*`); which tools those are is found when a run begins.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final, Protocol, TypeAlias

from typing_extensions import override

from brainpilot_rt.agents.definition import AgentDefinition, OwnTool, Profile, RequestContext
from brainpilot_rt.agents.personas import EXPERT, PERSONAS, team_profile
from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.ids import PRINCIPAL, RESERVED, TRACE, AgentName, parse_agent_name
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRequest
from brainpilot_rt.domain.tools import FOREIGN
from brainpilot_rt.governance.access import allowed_tools
from brainpilot_rt.tools.mcp.pool import McpTool
from brainpilot_rt.tools.registry import Registry, Tool

Stream: TypeAlias = Callable[[ModelRequest], AsyncIterator[ModelEvent]]
"""A model: the port every provider fills."""

_SENDING: Final = "send_message"
"""Without it nobody could deliver what it was asked for."""


class Register(Protocol):
    """Agents that come and go while the daemon runs."""

    @property
    def members(self) -> Mapping[AgentName, str]:
        """Those there are now, and what the team is told of each."""
        ...

    def knows(self, agent: str) -> bool:
        """Whether it is registered, whatever its state."""
        ...

    def definition(self, agent: AgentName, context: RequestContext) -> AgentDefinition:
        """What runs for one of them; raises why it may not."""
        ...


class Members(Mapping[AgentName, str]):
    """Name -> what the team is told of it, of all who are not of the seven."""

    def __init__(self) -> None:
        self.own: dict[AgentName, str] = {}
        self.registered: Mapping[AgentName, str] = {}

    @override
    def __getitem__(self, agent: AgentName) -> str:
        return self.own[agent] if agent in self.own else self.registered[agent]

    @override
    def __iter__(self) -> Iterator[AgentName]:
        return iter({**self.registered, **self.own})

    @override
    def __len__(self) -> int:
        return len({**self.registered, **self.own})


class Crew:
    """The team with what a program adds to it. ValueError or TypeError says what can not be."""

    def __init__(
        self,
        agents: Iterable[AgentDefinition | Profile] = (),
        tools: Iterable[OwnTool] = (),
        stream: Stream | None = None,
    ) -> None:
        """`stream`: asked instead of the configured providers."""
        self.stream = stream
        self.tools = own_tools(tools)
        self.members = Members()
        self._register: Register | None = None
        self._profiles: dict[str, Profile] = {}
        self._known = _built_in()
        self._check(self.tools, "the program")
        for one in agents:
            self._add(one)
        self._standard = team_profile()

    def enrol(self, register: Register) -> None:
        """From now on these are members too; a name of the program's own goes before theirs."""
        self._register = register
        self.members.registered = register.members

    def profile(self, role: str) -> Profile:
        """Who makes the agents of a role."""
        made = self._profiles.get(role)
        if made is not None:
            return Profile(made.name, lambda context: self._fitted(made.create(context), context))
        register = self._register
        if register is not None and register.knows(role):
            name = AgentName(role)
            return Profile(role, lambda context: register.definition(name, context))
        return Profile("team", lambda context: self._with_ours(self._standard.create(context)))

    def grants(self, role: str) -> frozenset[str]:
        """The names of the built-in tools a role may use."""
        registered = self._register is not None and self._register.knows(role)
        return self._known if registered or role in self._profiles else allowed_tools(role)

    def _add(self, agent: AgentDefinition | Profile) -> None:
        name = parse_agent_name(agent.id if isinstance(agent, AgentDefinition) else agent.name)
        if name in PERSONAS or name in RESERVED or name in self._profiles:
            raise ValueError(f"an agent can not be called {name!r}: the name is taken")
        if isinstance(agent, AgentDefinition):
            self._check(own_tools(agent.brings), f"agent {name!r}")
            named = self._known | {one.name for one in (*self.tools, *agent.brings)}
            for tool in agent.tools:
                if tool not in named and not tool.startswith(FOREIGN):
                    near = get_close_matches(tool, named, n=1)
                    hint = f"; did you mean {near[0]!r}?" if near else ""
                    raise ValueError(f"agent {name!r} names no tool there is: {tool!r}{hint}")
            agent = Profile(name, _always(agent), agent.description)
        self._profiles[name] = agent
        self.members.own[name] = agent.description

    def _check(self, tools: tuple[Tool, ...], whose: str) -> None:
        names = [one.name for one in tools]
        for name in names:
            if name in self._known or names.count(name) > 1:
                raise ValueError(f"a tool of {whose} can not be called {name!r}: the name is taken")

    def _fitted(self, made: AgentDefinition, context: RequestContext) -> AgentDefinition:
        """A definition of the program, with what every agent of a team needs."""
        definition = made.model_copy(
            update={
                "id": context.agent,
                "role": context.role,
                "model": made.model or context.model,
                "system": EXPERT.system(context.prompt or made.system),
                "tools": tuple(dict.fromkeys((*made.tools, _SENDING))),
                "max_turns": made.max_turns or context.max_turns,
                "thinking_enabled": made.thinking_enabled or context.thinking != "off",
            }
        )
        return self._with_ours(definition)

    def _with_ours(self, made: AgentDefinition) -> AgentDefinition:
        """Give it the program's tools, and tell the principal of the program's agents."""
        if made.role == TRACE or not (self.tools or self.members):
            return made
        others = [f"- {name}: {about or 'a specialist'}" for name, about in self.members.items()]
        told = made.role == PRINCIPAL and others
        ours = [one for one in self.tools if one not in made.brings]
        return made.model_copy(
            update={
                "tools": tuple(dict.fromkeys((*made.tools, *(one.name for one in ours)))),
                "brings": (*made.brings, *ours),
                "system": "\n".join([made.system, "", _MORE, *others]) if told else made.system,
            }
        )


_MORE: Final = "Further specialists of this team, to be delegated to by these names:"


def equip(tools: Registry, definition: AgentDefinition, granted: frozenset[str]) -> Registry:
    """The tools of a run: those there are that are named and granted, and those it brings."""
    brings = own_tools(definition.brings)
    if taken := [one.name for one in brings if one.name in tools]:
        raise BadRequest(f"{definition.id} brings tools whose names are taken: {', '.join(taken)}")
    allowed = [one for one in tools if names(granted, one) and names(definition.tools, one)]
    asked = (replace(one, confirm=True) if names(definition.asks, one) else one for one in allowed)
    return Registry([*asked, *brings])


def names(named: Collection[str], tool: Tool) -> bool:
    """Whether a tool is among the named ones; of MCP tools also by pattern, `!` takes one away."""
    if not isinstance(tool, McpTool):
        return tool.name in named
    # The name a model uses may be shortened; a pattern is written with the real ones.
    called = (tool.name, foreign_name(tool.definition.server, tool.definition.tool))
    given = [one for one in named if one.startswith((FOREIGN, f"!{FOREIGN}"))]

    def hit(pattern: str) -> bool:
        return any(fnmatchcase(one, pattern) for one in called)

    taken_away = any(one[0] == "!" and hit(one[1:]) for one in given)
    return not taken_away and any(hit(one) for one in given)


def resolved(definition: AgentDefinition, equipment: Registry) -> AgentDefinition:
    """The definition with the names of foreign tools where it has patterns."""
    ours = [one for one in definition.tools if not one.startswith((FOREIGN, f"!{FOREIGN}"))]
    foreign = [one.name for one in equipment if isinstance(one, McpTool)]
    tools = (*ours, *foreign)
    return (
        definition if tools == definition.tools else definition.model_copy(update={"tools": tools})
    )


def foreign_name(server: str, tool: str) -> str:
    """What patterns are matched with."""
    return f"{FOREIGN}{server}__{tool}"


def own_tools(tools: Iterable[OwnTool]) -> tuple[Tool, ...]:
    """The same tools, known to be tools; TypeError for what is none."""
    listed: list[Tool] = []
    for one in tools:
        if not isinstance(one, Tool):
            raise TypeError(f"{one!r} is no tool; decorate the function with @tool")
        listed.append(one)
    return tuple(listed)


def _built_in() -> frozenset[str]:
    return frozenset[str]().union(*(allowed_tools(role) for role in PERSONAS))


def _always(definition: AgentDefinition) -> Callable[[RequestContext], AgentDefinition]:
    return lambda _context: definition
