"""What a program adds to the team, and what it may not."""

from typing import Any

import pytest

from brainpilot_rt.agents.definition import AgentDefinition, Profile, RequestContext, define_agent
from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.ids import AgentName, SessionId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.supervision.crew import Crew, equip
from brainpilot_rt.tools.functions import tool
from brainpilot_rt.tools.registry import Registry
from brainpilot_rt.tools.team import team_tools

TEAM = Registry(team_tools())


@tool(effect="pure")
async def tide(port: str) -> str:
    """Tell the tide."""
    return f"high at {port}"


@tool
async def ring() -> str:
    """Ring the bell."""
    return "rung"


def context(name: str, role: str | None = None, **more: Any) -> RequestContext:
    return RequestContext(session=SessionId("s"), agent=AgentName(name), role=role or name, **more)


def made(crew: Crew, name: str, **more: Any) -> AgentDefinition:
    return crew.profile(name).create(context(name, **more))


def names(crew: Crew, role: str) -> set[str]:
    """The tools an agent of this role ends up with, of the team's and its own."""
    return {one.name for one in equip(TEAM, made(crew, role), crew.grants(role))}


def test_an_agent_of_the_program_works_by_the_rules_of_all_and_can_always_deliver():
    pilot = define_agent(id="pilot", system="You know the tides.", tools=[tide, "create_agent"])
    definition = made(Crew([pilot]), "pilot", max_turns=7)

    assert definition.system.startswith("You know the tides.")
    assert "result_deliver" in definition.system
    assert (definition.id, definition.role, definition.max_turns) == ("pilot", "pilot", 7)
    assert names(Crew([pilot]), "pilot") == {"tide", "create_agent", "send_message"}


def test_its_own_choices_go_before_those_of_the_session():
    chosen = ModelRef(provider="p", model="m")
    own = define_agent(id="pilot", system="x", model="q:n", max_turns=2)
    plain = define_agent(id="clerk", system="x")
    crew = Crew([own, plain])

    assert made(crew, "pilot", model=chosen, max_turns=9).model == ModelRef(provider="q", model="n")
    assert made(crew, "pilot", model=chosen, max_turns=9).max_turns == 2
    assert made(crew, "clerk", model=chosen, max_turns=9).model == chosen
    assert made(crew, "clerk", prompt="Replaced.").system.startswith("Replaced.")


def test_a_profile_makes_its_agent_anew_for_every_context():
    def create(context: RequestContext) -> AgentDefinition:
        return define_agent(id="any", system=f"For {context.session}.", tools=[ring])

    crew = Crew([Profile("keeper", create, "keeps the light")])

    assert made(crew, "keeper").system.startswith("For s.")
    assert made(crew, "keeper").id == "keeper"
    assert crew.members == {"keeper": "keeps the light"}


def test_the_principal_is_told_of_the_agents_and_all_but_the_trace_agent_get_the_tools():
    pilot = define_agent(id="pilot", system="x", description="knows the tides")
    crew = Crew([pilot], [ring])

    assert "- pilot: knows the tides" in made(crew, "principal").system
    assert "- pilot" not in made(crew, "librarian").system
    assert {role for role in ("principal", "writer", "pilot") if "ring" in names(crew, role)} == {
        *("principal", "writer", "pilot"),
    }
    assert "ring" not in names(crew, "trace")
    assert "tide" not in names(crew, "principal")


def test_the_table_of_roles_holds_for_the_seven_as_before():
    crew = Crew(tools=[ring])

    assert "create_agent" in names(crew, "principal")
    assert "create_agent" not in names(crew, "librarian")


@pytest.mark.parametrize("name", ["principal", "librarian", "user", "trace", "external"])
def test_a_name_of_the_team_is_taken(name: str):
    with pytest.raises(ValueError, match="the name is taken"):
        Crew([define_agent(id=name, system="x")])


def test_two_of_one_name_a_tool_named_like_ours_and_a_misspelt_tool_are_refused():
    @tool(name="search")
    async def mine() -> str:
        """Search."""
        return ""

    pilot = define_agent(id="pilot", system="x")
    with pytest.raises(ValueError, match="'pilot': the name is taken"):
        Crew([pilot, pilot])
    with pytest.raises(ValueError, match="a tool of the program can not be called 'search'"):
        Crew(tools=[mine])
    with pytest.raises(ValueError, match="a tool of agent 'pilot' can not be called 'search'"):
        Crew([define_agent(id="pilot", system="x", tools=[mine])])
    with pytest.raises(ValueError, match="'serach'; did you mean 'search'"):
        Crew([define_agent(id="pilot", system="x", tools=["serach"])])
    with pytest.raises(BadRequest):
        Crew([Profile("Not A Name", lambda _context: pilot)])


def test_a_plain_function_is_no_tool():
    def plain() -> str:
        """Nothing."""
        return ""

    wrong: Any = plain
    with pytest.raises(TypeError, match="decorate the function with @tool"):
        Crew(tools=[wrong])
    with pytest.raises(TypeError, match="decorate the function with @tool"):
        define_agent(id="pilot", system="x", tools=[wrong])


def test_tools_of_a_profile_that_are_called_like_ours_fail_its_run_with_a_reason():
    @tool(name="send_message")
    async def mine() -> str:
        """Send."""
        return ""

    definition = define_agent(id="pilot", system="x", tools=[mine])
    with pytest.raises(BadRequest, match="pilot brings tools whose names are taken: send_message"):
        equip(TEAM, definition, frozenset())
