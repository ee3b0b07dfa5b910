"""Must type-check strictly: the public names have their full types through the lazy exports.

Run by the type checker only; every `assert_type` is a promise to programs that use the package.
"""

from collections.abc import AsyncIterator
from typing import assert_type

from brainpilot_rt import (
    AgentDefinition,
    Profile,
    Reply,
    RequestContext,
    Runtime,
    Session,
    Tool,
    ToolContext,
    ToolOutput,
    define_agent,
    tool,
)
from brainpilot_rt.domain.events import Recorded
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRequest


@tool
def doubled(number: int) -> int:
    """Twice a number."""
    return 2 * number


@tool(effect="pure", name="place")
async def place_of(context: ToolContext, word: str, limit: int = 3) -> ToolOutput:
    """Find a word."""
    return ToolOutput(f"{word} in {context.session}, {limit}")


def made(context: RequestContext) -> AgentDefinition:
    """An agent for a context."""
    return define_agent(id=context.agent, system="Help.", tools=["read", doubled, place_of])


async def answered(request: ModelRequest) -> AsyncIterator[ModelEvent]:
    """A model that says nothing."""
    del request
    events: list[ModelEvent] = []
    for event in events:
        yield event


async def main() -> None:
    """Use every public name."""
    assert_type(doubled(2), int)
    assert_type(await place_of(word="x", context=context()), ToolOutput)
    one: Tool = doubled
    helper = Profile("helper", made, "helps")
    async with Runtime("data", agents=[helper], tools=[one], model=answered) as runtime:
        session = await runtime.session("notes", workspace=".")
        assert_type(session, Session)
        reply = await session.ask("what?", on_text=print)
        assert_type(reply, Reply)
        async for recorded in session.events(after=3):
            assert_type(recorded, Recorded)
        assert_type(await session.interrupt(), bool)


def context() -> ToolContext:
    """Where a context comes from is not the matter here."""
    raise NotImplementedError
