"""A specialist of your own, with its own tool; the principal delegates to it.

    python examples/custom_agent.py

The agent is a member of every session under its name, beside the librarian and the others, and
works by the same letters and tasks. A script plays the models here, so that no key is needed.
"""

import asyncio
import tempfile

from brainpilot_rt import Profile, RequestContext, Runtime, ToolContext, define_agent, tool
from brainpilot_rt.agents.definition import AgentDefinition
from brainpilot_rt.domain.events import AgentCreated, LetterAccepted, RunFinished, ToolFinished
from brainpilot_rt.testing.models import Call, ScriptedModel

STOCK = {"winter oil": 4, "wicks": 36}


@tool(effect="pure")
async def stock_of(context: ToolContext, article: str) -> str:
    """Say how much of an article is in the store."""
    if article not in STOCK:
        raise ValueError(f"there is no {article!r}; there are {', '.join(STOCK)}")
    return f"{STOCK[article]} of {article}, counted for session {context.session}"


def storekeeper(context: RequestContext) -> AgentDefinition:
    """Made anew at the start of each of its runs, for the session it works in."""
    return define_agent(
        id=context.agent,
        system=f"You keep the store of {context.session}. Answer from stock_of and nothing else.",
        tools=[stock_of, "record_trace"],
        max_turns=6,
    )


def script() -> ScriptedModel:
    """What a model might say."""
    model = ScriptedModel()
    task = {"to": "storekeeper", "content": "How many casks of winter oil are left?"}
    model.say("principal", "I ask the storekeeper.", Call("send_message", task))
    model.say("principal", "The storekeeper is counting.")
    model.say("storekeeper", Call("stock_of", {"article": "winter oil"}))
    found = {"to": "principal", "content": "There are 4 casks of winter oil."}
    model.say("storekeeper", Call("send_message", found))
    model.say("storekeeper", "Delivered.")
    model.say("principal", "Four casks of winter oil are left.")
    return model


async def main() -> None:
    """Ask, then read in the log who did what."""
    kept = Profile("storekeeper", storekeeper, "knows what is in the store")
    with tempfile.TemporaryDirectory() as data:
        async with Runtime(data, agents=[kept], model=script().stream) as runtime:
            session = await runtime.session("lighthouse")
            reply = await session.ask("Check how much winter oil is left.")
            async for recorded in session.events():
                match recorded.event:
                    case AgentCreated(agent=agent, description=about):
                        print(f"{agent} joins the team: {about}")
                    case LetterAccepted(letter=letter):
                        print(f"{letter.from_} -> {letter.to}: {letter.content}")
                    case ToolFinished(agent=agent, name=name, content=content):
                        print(f"{agent} uses {name}: {content}")
                    case RunFinished(agent=agent, outcome=outcome):
                        print(f"{agent} ends its turn: {outcome}")
                    case _:
                        pass
                if recorded.seq >= (await session.view()).seq:
                    break
            print(f"answer: {reply}")


if __name__ == "__main__":
    asyncio.run(main())
