"""A process that is killed while it appends, again and again.

`python killed.py <log file>` imports once, then forks a child for each line it reads: a failpoint
specification, or `-`. The child appends from many producers and writes `<session> <seq> <number>`
for every acknowledged event, until it dies. Then the parent writes `dead`. A fork here is safe:
there is no thread, no loop and no open database yet.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import NoReturn

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.aiokit.sources import SystemClock
from brainpilot_rt.domain.events import DaemonStopped
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog.port import Receipt
from brainpilot_rt.eventlog.sqlite import SqliteEventLog

PRODUCERS = 16
SESSIONS = 4


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def produce(log: SqliteEventLog, producer: int) -> None:
    session = SessionId(f"s{producer % SESSIONS}")
    number = 0
    while True:
        number += 1
        text = f"{os.getpid()} {producer} {number}"
        receipt = Receipt(text, "f", 200, b"", 0) if number % 5 == 0 else None
        events = [DaemonStopped(reason=text)] * (1 + number % 3)
        for row in await log.append(session, events, busy=number % 2 == 0, receipt=receipt):
            say(f"{session} {row.seq} {text}")


async def live(path: Path) -> None:
    log = await SqliteEventLog.open(path, clock=SystemClock())
    async with asyncio.TaskGroup() as group:
        for producer in range(PRODUCERS):
            group.create_task(produce(log, producer))


def child(path: Path, spec: str) -> NoReturn:
    failpoints.configure("" if spec == "-" else spec)
    say(f"pid {os.getpid()}")
    asyncio.run(live(path))
    os._exit(1)


def main(path: Path) -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(path, line.strip())
        os.waitpid(pid, 0)
        say("dead")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
