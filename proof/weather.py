"""A model provider on a bad day: mostly it answers, sometimes it does what real ones do.

Shares of requests: 5 % too many (429), 3 % broken (500), 3 % cut in mid-answer, 1 % garbage, 1 %
silent for a while. What it says keeps a team busy: delegations, results, files, commands.
"""

import asyncio
import random
from collections import Counter
from typing import Final

from tests.realtime.daemon.provider import Ask, Call, Cut, Refused, Reply, Script

SILENT_S: Final = (5.0, 45.0)
TOO_MANY: Final = 0.05
BROKEN: Final = 0.03
CUT: Final = 0.03
GARBAGE: Final = 0.01
SILENT: Final = 0.01


def weather(seed: int, seen: Counter[str]) -> Script:
    """A script for `tests.realtime.daemon.provider`; counts what it did in `seen`."""
    dice = random.Random(seed)

    async def script(ask: Ask) -> Reply:
        seen["requests"] += 1
        luck = dice.random()
        if luck < TOO_MANY:
            seen["429"] += 1
            raise Refused("429 Too Many Requests", '{"error":{"message":"slow"}}', retry_after="1")
        luck -= TOO_MANY
        if luck < BROKEN:
            seen["500"] += 1
            raise Refused("500 Internal Server Error", "<html>oops</html>")
        luck -= BROKEN
        if luck < CUT:
            seen["cut"] += 1
            yield "I was about to"
            raise Cut
        luck -= CUT
        if luck < GARBAGE:
            seen["garbage"] += 1
            yield b"data: {{{ \xff\xfe\n\n"
            return
        if luck < GARBAGE + SILENT:
            seen["silent"] += 1
            yield "Let me think"
            await asyncio.sleep(dice.uniform(*SILENT_S))
        for piece in _work(ask, dice):
            yield piece

    return script


def _work(ask: Ask, dice: random.Random) -> list[str | Call]:
    """What an agent of a busy team says."""
    task = ask.last.partition("task task_")[2][:26]
    if ask.agent != "principal":
        if ask.turn % 2 or not task:
            return ["Delivered."]
        letter = {
            "to": "principal",
            "content": f"{ask.agent} did it " + "and more " * dice.randrange(40),
            "msg_type": "result_deliver",
            "task_id": f"task_{task}",
        }
        return [Call("ls", {}), Call("send_message", letter)]
    if "content" in ask.messages[-1] and ask.messages[-1]["role"] == "tool":
        return ["Noted. " * dice.randrange(1, 60)]
    delegations = [
        Call("send_message", {"to": who, "content": f"please, {who}", "msg_type": "task_delegate"})
        for who in ("librarian", "writer")
    ]
    note = {"path": f"note-{dice.randrange(8)}.txt", "content": "word " * dice.randrange(400)}
    choices: list[list[str | Call]] = [
        [*delegations],
        [Call("write", note)],
        [Call("bash", {"command": "echo some output; ls | head"})],
        ["An answer. " * dice.randrange(1, 200)],
    ]
    return dice.choice(choices)
