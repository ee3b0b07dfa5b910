"""The team: who is in it, what each may name, what each is told."""

import pytest

from brainpilot_rt.agents.definition import AgentDefinition, RequestContext
from brainpilot_rt.agents.personas import EXPERT, PERSONAS, role_of, team_profile
from brainpilot_rt.domain.citations import Citation, parse
from brainpilot_rt.domain.events import Thinking
from brainpilot_rt.domain.ids import PRINCIPAL, SPECIALISTS, TRACE, AgentName, SessionId
from brainpilot_rt.governance.access import allowed_tools

ROLES = [*PERSONAS.values(), EXPERT]


def made(
    name: str, *, prompt: str | None = None, thinking: Thinking = "off", **overrides: str
) -> AgentDefinition:
    agent = AgentName(name)
    return team_profile(overrides).create(
        RequestContext(
            session=SessionId("s"),
            agent=agent,
            role=role_of(agent),
            prompt=prompt,
            thinking=thinking,
        )
    )


def test_the_seven_personas_are_the_named_ones_and_any_other_name_is_an_expert():
    assert set(PERSONAS) == {PRINCIPAL, TRACE, *SPECIALISTS}
    assert role_of(AgentName("geologist")) == "expert"
    assert made("geologist").role == "expert"


@pytest.mark.parametrize("persona", ROLES, ids=lambda persona: persona.role)
def test_a_persona_names_exactly_the_tools_its_role_is_allowed(persona: AgentDefinition):
    assert set(persona.tools) == allowed_tools(persona.role)
    assert len(set(persona.tools)) == len(persona.tools)


@pytest.mark.parametrize("role", [*SPECIALISTS, "expert"])
def test_a_specialist_is_told_that_only_letters_reach_anyone(role: str):
    system = made(role).system
    assert "plain text reaches nobody" in system
    assert "result_deliver" in system
    assert "task_id" in system


def test_the_principal_is_told_to_delegate_and_end_its_turn():
    system = made("principal").system
    assert "task_delegate" in system
    assert "reaches nobody" not in system


@pytest.mark.parametrize("role", [PRINCIPAL, *SPECIALISTS, "expert"])
def test_the_citation_shown_to_agents_is_one_the_daemon_can_read(role: str):
    assert parse(made(role).system) == [
        Citation(
            path="notes/method.txt",
            start_line=12,
            end_line=14,
            quote="the words as they stand there",
        )
    ]


def test_a_replaced_prompt_keeps_the_rules_of_the_team():
    system = made("writer", writer="You are a poet.").system
    assert system.startswith("You are a poet.\n\nHow the team works:")
    assert "You are the writer" not in system
    assert made("writer", prompt="Mine.", writer="Theirs.").system.startswith("Mine.")


def test_thinking_follows_the_context():
    assert made("writer").thinking_enabled is False
    assert made("writer", thinking="high").thinking_enabled is True
