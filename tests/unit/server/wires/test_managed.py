"""Managed agents as JSON: what is kept of what a client says, and what is refused."""

from decimal import Decimal
from typing import Any

import pytest

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.server.wires.managed import budget_json
from brainpilot_rt.server.wires.managed_bodies import (
    TOOLSET,
    AgentParts,
    Budget,
    ToolBody,
    environment_config,
    kept_tools,
    merged,
    text_of,
)
from brainpilot_rt.server.wires.managed_events import listed
from brainpilot_rt.supervision.agent_records import asking, tool_names

ASK = {"type": "always_ask"}


def toolset(**more: Any) -> list[ToolBody]:
    return [ToolBody.model_validate({"type": TOOLSET, **more})]


def kept(**more: Any) -> dict[str, Any]:
    return {"tools": kept_tools(toolset(**more))[0]}


def test_a_toolset_is_all_tools_there_are_and_asks_for_none():
    assert set(tool_names(kept())) >= {"bash", "read", "write", "edit", "glob", "grep"}
    assert asking(kept()) == frozenset()


def test_what_is_said_of_one_tool_goes_before_what_is_said_of_the_set():
    body = kept(
        default_config={"enabled": False, "permission_policy": ASK},
        configs=[
            {"name": "read", "enabled": True, "permission_policy": {"type": "always_allow"}},
            {"name": "edit", "enabled": True},
        ],
    )
    assert {"read", "edit"} <= set(tool_names(body))
    assert not {"bash", "write"} & set(tool_names(body))
    assert "edit" in asking(body)
    assert "read" not in asking(body)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "mcp_toolset"},
        {"type": TOOLSET, "configs": [{"name": "web_search", "enabled": True}]},
        {"type": TOOLSET, "configs": [{"name": "teleport"}]},
    ],
)
def test_a_tool_there_is_not_is_refused(wrong: dict[str, Any]):
    with pytest.raises(BadRequest):
        kept_tools([ToolBody.model_validate(wrong)])


def test_a_tool_that_is_away_may_be_switched_off():
    assert "bash" in tool_names(kept(configs=[{"name": "web_search", "enabled": False}]))


def test_custom_tools_are_kept_as_they_were_described():
    tool = {"name": "w", "description": "d", "input_schema": {"type": "object"}}
    objects, custom = kept_tools([ToolBody.model_validate({"type": "custom", **tool})])
    assert custom == [tool]
    assert objects == [{"type": "custom", **tool}]


@pytest.mark.parametrize("part", ["multiagent", "skills"])
def test_parts_that_can_not_be_had_are_named(part: str):
    with pytest.raises(BadRequest, match=part):
        AgentParts.model_validate({part: {"a": 1} if part == "multiagent" else [{}]}).check()


def test_an_environment_is_this_machine_with_nothing_installed():
    assert environment_config(None)["networking"] == {"type": "unrestricted"}
    limited = {"type": "limited", "allowed_hosts": ["a"]}
    made = environment_config({"type": "cloud", "networking": limited, "packages": {"pip": []}})
    assert made["networking"]["allowed_hosts"] == ["a"]
    assert made["networking"]["allow_mcp_servers"] is False
    for wrong in ({"type": "self_hosted"}, {"type": "cloud", "packages": {"apt": ["x"]}}):
        with pytest.raises(BadRequest):
            environment_config(wrong)


def test_null_takes_a_key_of_metadata_away():
    assert merged({"a": "1", "b": "2"}, {"a": None, "c": "3"}) == {"b": "2", "c": "3"}


def test_a_budget_is_in_cents_both_ways():
    said = {"type": "limit", "max_list_cost": {"amount": "250", "currency": "USD"}}
    assert Budget.model_validate(said).usd == Decimal("2.5")
    assert budget_json(Decimal("2.5")) == said
    assert budget_json(Decimal("0.004")) == said | {
        "max_list_cost": {"amount": "0", "currency": "USD"}
    }
    for wrong in ("2.5", "-1", "007", ""):
        with pytest.raises(ValueError, match="amount"):
            Budget.model_validate({"type": "limit", "max_list_cost": {"amount": wrong}})


def test_content_is_text():
    assert text_of([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]) == "a\n\nb"
    assert text_of("a") == "a"
    assert text_of(None) == ""
    with pytest.raises(BadRequest):
        text_of([{"type": "image"}])


def test_a_list_shows_an_event_once_where_it_was_processed():
    received = {"id": "m", "processed_at": None}
    between = {"id": "x", "processed_at": "t"}
    processed = {"id": "m", "processed_at": "t"}
    assert listed([received, between, processed]) == [between | {"n": 1}, processed | {"n": 2}]
    assert listed([received]) == [received | {"n": 0}]
