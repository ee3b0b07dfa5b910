"""Agent definitions say what is wrong with them; profiles make them per context."""

from typing import Any

import pytest

from brainpilot_rt.agents.definition import (
    FINAL_TURN_TEXT,
    Profile,
    RequestContext,
    define_agent,
    parse_model,
)
from brainpilot_rt.domain.ids import AgentName, SessionId
from brainpilot_rt.domain.model_calls import ModelRef


def test_only_an_id_and_a_system_prompt_are_needed():
    agent = define_agent(id="my-agent", system="Help.")
    assert (agent.name, agent.role, agent.model, agent.max_turns) == (
        "my-agent",
        "my-agent",
        None,
        None,
    )
    assert agent.max_turns_message == FINAL_TURN_TEXT


@pytest.mark.parametrize(
    "spelling",
    [
        "local:llama:70b",
        ModelRef(provider="local", model="llama:70b"),
        {"provider": "local", "model": "llama:70b"},
        {"provider": "local", "modelId": "llama:70b"},
    ],
)
def test_a_model_is_split_at_the_first_colon_or_given_in_full(spelling: Any):
    assert parse_model(spelling) == ModelRef(provider="local", model="llama:70b")


@pytest.mark.parametrize(
    ("spelling", "complaint"),
    [
        ("llama", "not written as provider:model"),
        (":llama", "not written as provider:model"),
        ("local:", "not written as provider:model"),
        ({"provider": "local"}, "needs both"),
        ({"provider": "p", "model": "m", "apiKey": "k"}, "apiKey; keys and addresses"),
    ],
)
def test_a_bad_model_is_a_value_error_that_says_why(spelling: Any, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        define_agent(id="a", system="", model=spelling)


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "My Agent"},
        {"id": "../x"},
        {"max_turns": 0},
        {"max_tokens": 0},
        {"temperature": 3},
        {"tools": ("read", "read")},
    ],
)
def test_a_definition_out_of_range_is_refused(fields: dict[str, Any]):
    complete: dict[str, Any] = {"id": "a", "system": "", **fields}
    with pytest.raises(ValueError, match=next(iter(fields))):
        define_agent(**complete)


def test_the_last_turn_is_number_max_turns():
    agent = define_agent(id="a", system="", max_turns=2, max_turns_message="Last.")
    assert [agent.is_final(turn) for turn in range(4)] == [False, True, True, True]
    assert agent.marker(0, final=False) == "[Turn 1/2]"
    assert agent.marker(1, final=True) == "Last."


def test_a_profile_makes_an_agent_for_its_context():
    profile = Profile(
        "brief", lambda context: define_agent(id=context.agent, system="S", model=context.model)
    )
    model = ModelRef(provider="p", model="m")
    context = RequestContext(
        session=SessionId("s"), agent=AgentName("writer"), role="writer", model=model
    )
    agent = profile.create(context)
    assert (agent.id, agent.model) == ("writer", model)
