"""Who is in the team: the seven personas, the generic expert, and the profile that makes them.

A system prompt is the text about the role (which a user may replace, by name of the agent) followed
by the rules every agent of that kind needs for the team to work at all: how letters and tasks move,
how evidence is cited, what a fence means. Those are not replaceable, because the daemon relies on
them. The texts lie in `prompts/`, so that they can be read and edited as prose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from brainpilot_rt.agents.definition import AgentDefinition, Profile, RequestContext, define_agent
from brainpilot_rt.agents.programs.choice import ALL_PROGRAMS
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.domain.thinking import PLANNING_TOOLS, ProgramName
from brainpilot_rt.domain.tools import ANY_FOREIGN

_LEADING: Final = ("rules-leading", "rules-evidence", "rules-all")
_SERVING: Final = ("rules-serving", "rules-evidence", "rules-all")

_MEMORY: Final = ("remember", "recall", "record_finding", "forget")
_TEAM: Final = ("send_message", "record_trace", "skill_search", "search", *_MEMORY, ANY_FOREIGN)
_FILES: Final = ("read", "write", "edit", "grep", "find", "glob", "ls")
_GRAPH: Final = (
    "create_trace_node",
    "update_trace_node",
    "add_trace_relation",
    "get_trace_graph",
)


@dataclass(frozen=True, slots=True)
class Persona:
    """A role: the tools it may name, and the rules it works under (files of `prompts/`)."""

    role: str
    tools: tuple[str, ...]
    rules: tuple[str, ...] = _SERVING
    programs: tuple[ProgramName, ...] = ("react", "research")

    def system(self, override: str | None = None) -> str:
        """The system prompt; `override` takes the place of the text about the role. Reads files."""
        about = override or _text(self.role)
        return "\n\n".join([about.strip(), *(_text(rule) for rule in self.rules)])


_MAKING: Final = ("create_agent", "destroy_agent", "ask_user")
_ROLES: Final = (
    Persona(
        "principal",
        (*_TEAM, *_MAKING, *PLANNING_TOOLS, *_FILES, "bash"),
        _LEADING,
        ALL_PROGRAMS,
    ),
    Persona(
        "librarian",
        (*_TEAM, "read", "grep", "find", "glob"),
        programs=("respond", "react", "research"),
    ),
    Persona("experimentalist", (*_TEAM, *_FILES, "bash")),
    Persona("engineer", (*_TEAM, *_FILES, "bash")),
    Persona("writer", (*_TEAM, "ask_user", *_FILES)),
    Persona("auditor", (*_TEAM, "read", "grep", "find", "glob", "bash", "write")),
    Persona("trace", (*_GRAPH, "read"), (), ("react",)),
)

EXPERT: Final = Persona("expert", (*_TEAM, "read", "grep", "find"))
"""Who answers to any name that is none of the seven."""

PERSONAS: Final[Mapping[str, Persona]] = {persona.role: persona for persona in _ROLES}
"""The seven by role; each role is also the agent's name."""


def role_of(agent: AgentName) -> str:
    """The role an agent name stands for: itself for the seven, `expert` for any other."""
    return agent if agent in PERSONAS else EXPERT.role


def team_profile(overrides: Mapping[str, str] | None = None) -> Profile:
    """The profile of the whole team; reads the prompts once, here.

    `overrides`: agent name -> text that replaces its own; a context's `prompt` goes before both.
    """
    standard = {role: persona.system() for role, persona in PERSONAS.items()}
    standard[EXPERT.role] = EXPERT.system()
    replaced = dict(overrides or {})

    def create(context: RequestContext) -> AgentDefinition:
        persona = PERSONAS.get(context.role, EXPERT)
        override = context.prompt or replaced.get(context.agent)
        return define_agent(
            id=context.agent,
            role=context.role,
            model=context.model,
            system=persona.system(override) if override else standard[persona.role],
            tools=persona.tools,
            max_turns=context.max_turns,
            thinking_enabled=context.thinking != "off",
            programs=persona.programs,
        )

    return Profile("team", create)


def _text(name: str) -> str:
    source = resources.files("brainpilot_rt.agents") / "prompts" / f"{name}.md"
    return source.read_text(encoding="utf-8").strip()
