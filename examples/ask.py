"""Ask a team one question about a folder of text files.

    python examples/ask.py [FOLDER [QUESTION]]

With a key in the environment (ANTHROPIC_API_KEY, OPENAI_API_KEY) or a local Ollama a model answers,
otherwise the offline model does. The data lie in a temporary folder: nothing is left behind.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from brainpilot_rt import Runtime

READING_ROOM = Path(__file__).with_name("reading-room")


def say(piece: str) -> None:
    """Show the principal's words as they come."""
    print(piece, end="", flush=True)


async def main(folder: Path, question: str) -> None:
    """Ask, and show what the answer stands on."""
    with tempfile.TemporaryDirectory() as data:
        async with Runtime(data) as runtime:
            session = await runtime.session(workspace=folder)
            reply = await session.ask(question, on_text=say)
    print(f"\n\n[{reply.outcome}] {reply.reason}")
    for cited in reply.citations:
        print(f"verified: {cited.path}:{cited.start_line}-{cited.end_line} {cited.quote}")
    cost = "unknown" if reply.cost_usd is None else f"{reply.cost_usd} USD"
    print(f"tokens: {reply.usage.input} in, {reply.usage.output} out; cost: {cost}")


if __name__ == "__main__":
    words = sys.argv[1:]
    where = Path(words[0]) if words else READING_ROOM
    asyncio.run(main(where, " ".join(words[1:]) or "Who paid the fine for showing a light?"))
