"""Follow a session by its events, leave in the middle, and go on exactly there.

    python examples/follow.py

The first life of the program asks a question and is gone before the answer. The second opens the
same directory, takes up what was left, and reads on from the last event the first has handled.
"""

import asyncio
import tempfile
from pathlib import Path

from brainpilot_rt import Runtime, Session
from brainpilot_rt.domain.events import (
    HostTurnFinished,
    LetterAccepted,
    Recorded,
    RunFinished,
    TaskOpened,
)

READING_ROOM = Path(__file__).with_name("reading-room")


def shown(recorded: Recorded) -> str:
    """An event in a line, if it is one of those a person wants to see."""
    match recorded.event:
        case LetterAccepted(letter=letter):
            return f"{letter.from_} writes to {letter.to}"
        case TaskOpened(creator=creator, assignee=assignee):
            return f"{creator} has given {assignee} a task"
        case RunFinished(agent=agent, outcome=outcome):
            return f"a run of {agent} has ended: {outcome}"
        case HostTurnFinished(answer=answer):
            return f"the answer: {answer.partition(chr(10))[0]}"
        case _:
            return ""


async def follow(session: Session, after: int, until: type[object]) -> int:
    """Print events up to the first of a kind; the number of the last one handled."""
    async for recorded in session.events(after=after):
        if line := shown(recorded):
            print(f"  {recorded.seq:3} {line}")
        after = recorded.seq
        if isinstance(recorded.event, until):
            break
    return after


async def main() -> None:
    """Two lives of one program."""
    with tempfile.TemporaryDirectory() as data:
        print("first life")
        async with Runtime(data, model="offline") as runtime:
            session = await runtime.session("rasks-case", workspace=READING_ROOM)
            await session.post("Why did the oil set in the feed pipe?")
            cursor = await follow(session, 0, TaskOpened)
        print(f"gone after event {cursor}; second life")
        async with Runtime(data, model="offline") as runtime:
            session = await runtime.session("rasks-case")
            last = await follow(session, cursor, HostTurnFinished)
        print(f"events {cursor + 1} to {last} were read in the second life; none twice, none lost")


if __name__ == "__main__":
    asyncio.run(main())
