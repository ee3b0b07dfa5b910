"""A typed function becomes a tool of the whole team.

    python examples/custom_tool.py

A rule plays the model here, so that the example needs no key. Leave out `model=` and a real one
decides by itself when to look into the table.
"""

import asyncio
import tempfile
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from brainpilot_rt import Runtime, tool
from brainpilot_rt.domain.messages import ToolResultMessage
from brainpilot_rt.domain.model_calls import ModelRequest
from brainpilot_rt.testing.models import Call, Step, answering

HIGH_WATER_M = {"Tarn Skerry": (3.1, 2.4), "Hollin Gate": (4.6, 3.9)}


class Tide(BaseModel):
    """What the table says of one high water."""

    port: str
    hour: int
    metres: float


@tool(effect="pure")
def high_water(
    port: Literal["Tarn Skerry", "Hollin Gate"],
    day: Annotated[int, Field(ge=1, le=31, description="Day of the month.")],
) -> list[Tide]:
    """Look up the two high waters of a day in the tide table of a port."""
    first = (6 + day) % 12
    return [
        Tide(port=port, hour=first + 12 * number, metres=metres)
        for number, metres in enumerate(HIGH_WATER_M[port])
    ]


def model(request: ModelRequest) -> Step:
    """What a model would do: first look into the table, then answer from it."""
    last = request.messages[-1]
    if isinstance(last, ToolResultMessage):
        return f"The tide table says: {last.content}"
    return Call("high_water", {"port": "Tarn Skerry", "day": 17})


async def main() -> None:
    """Show what the model is offered, and what it makes of it."""
    print("what a model sees:", high_water.spec.parameters)
    print("still a function: ", high_water("Hollin Gate", 3))
    with tempfile.TemporaryDirectory() as data:
        async with Runtime(data, tools=[high_water], model=answering(model)) as runtime:
            session = await runtime.session("tides")
            print(await session.ask("Look up when it is high water at Tarn Skerry on the 17th."))


if __name__ == "__main__":
    asyncio.run(main())
