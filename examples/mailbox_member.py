"""A member of the team that knows no library of ours: it only moves files.

    python examples/mailbox_member.py                     a demonstration
    python examples/mailbox_member.py MAILBOXES/SESSION   join a session of a running daemon

`work` is the whole agent: the standard library, and the protocol of mailbox/README.md.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path


def work(session: Path, stop: threading.Event) -> None:
    """Join a session as `counter`, count the words of every task, and leave when told to."""
    home, made = session / "counter", session / f".counter.{time.time_ns()}"
    for box in ("tmp", "new", "cur", "done", "bad"):  # hidden, so that nobody sees half of it
        (made / box).mkdir(parents=True, mode=0o700)
    card = {"name": "counter", "kind": "external", "description": "counts the words of a text"}
    (made / "agent.json").write_text(json.dumps(card), encoding="utf-8")
    made.rename(home)
    while not stop.wait(0.05):
        for letter in sorted((home / "new").glob("*.json")):
            claimed = letter.rename(home / "cur" / letter.name)  # the sender is told
            task = json.loads(claimed.read_text(encoding="utf-8"))
            if task.get("task_id"):
                said = f"I count {len(task['content'].split())} words."
                reply = {"to": task["from"], "task_id": task["task_id"], "content": said}
                name = f"counter-{time.time_ns()}.json"
                written = session / task["from"] / "tmp" / name
                written.write_text(json.dumps(reply), encoding="utf-8")
                written.rename(session / task["from"] / "new" / name)
            claimed.rename(home / "done" / claimed.name)  # consumed
    shutil.rmtree(home)


async def demonstrate() -> None:
    """Let a team delegate to it, and show the letters."""
    from brainpilot_rt import Runtime  # noqa: PLC0415 - the agent itself does without
    from brainpilot_rt.domain import events as ev  # noqa: PLC0415
    from brainpilot_rt.testing.models import Call, ScriptedModel  # noqa: PLC0415

    model = ScriptedModel()
    task = {"to": "counter", "content": "The light was out for three hours and six minutes."}
    model.say("principal", Call("send_message", task))
    model.say("principal", "The counter counts.")
    model.say("principal", "The counter has answered; see its letter.")
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as data:
        async with Runtime(data, model=model.stream) as runtime:
            session = await runtime.session("count")
            member = threading.Thread(target=work, args=(runtime.mailbox_dir / "count", stop))
            member.start()
            async for recorded in session.events():
                match recorded.event:
                    case ev.AgentCreated(agent="counter", description=about):
                        print(f"a member has joined: it {about}")
                        await session.post("Let the words be counted.")
                    case ev.LetterReceived(letter=letter):
                        print(f"counter writes: {letter.content}")
                    case ev.HostTurnFinished():
                        break
                    case _:
                        pass
            stop.set()
            await asyncio.to_thread(member.join)


if __name__ == "__main__":
    if sys.argv[1:]:
        work(Path(sys.argv[1]), threading.Event())
    else:
        asyncio.run(demonstrate())
