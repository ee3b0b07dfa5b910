"""Tools that callers run: what they may be called, and that a call waits for its result."""

from pathlib import Path
from typing import Any

import pytest

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain.errors import BadRequest, TooLarge
from brainpilot_rt.domain.events import ClientCallAnswered
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.supervision.client_tools import TOOLS_MAX, client_tools, described
from brainpilot_rt.testing.desk import Desk
from brainpilot_rt.tools.registry import Registry

WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "Tell the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


async def test_a_call_is_the_clients_with_all_it_was_given_and_its_answer_is_the_result(
    tmp_path: Path,
):
    opened: list[tuple[SessionId, cmd.OpenClientCall]] = []

    async def call(session: SessionId, called: cmd.OpenClientCall) -> ClientCallAnswered:
        opened.append((session, called))
        return ClientCallAnswered(call_id=called.call_id, content="rain", is_error=True)

    tools = Registry(client_tools(described([WEATHER]), call))
    said = await Desk(tmp_path).use(tools, "weather", city="Turku", days=[1, {"a": None}])

    assert (said.content, said.failed) == ("rain", True)
    ((session, called),) = opened
    assert (session, called.name) == ("s", "weather")
    assert called.arguments == {"city": "Turku", "days": [1, {"a": None}]}
    assert tools.specs()[0].parameters == WEATHER["input_schema"]


def test_there_is_a_bound_on_what_tools_take_together():
    schema = {"type": "object", "description": "x" * 10_000}
    with pytest.raises(TooLarge, match="characters"):
        described([{**WEATHER, "name": f"w{n}", "input_schema": schema} for n in range(30)])


@pytest.mark.parametrize(
    ("tools", "why"),
    [
        ([{**WEATHER, "name": "bash"}], "taken"),
        ([{**WEATHER, "name": "mcp__x__y"}], "taken"),
        ([WEATHER, WEATHER], "two tools"),
        ([{"name": "no spaces please"}], "name"),
        ([{**WEATHER, "input_schema": "object"}], "input_schema"),
        ([{**WEATHER, "name": f"w{n}"} for n in range(TOOLS_MAX + 1)], "at most"),
    ],
)
def test_a_description_that_can_not_be_offered_is_refused(tools: list[Any], why: str):
    with pytest.raises(BadRequest, match=why):
        described(tools)
