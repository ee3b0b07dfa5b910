"""What tests of the real daemon share: talking to it, following it, and judging its log."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon

Json = dict[str, Any]

PATIENCE_S = 30.0


async def session(daemon: RunningDaemon, **body: Any) -> str:
    """A new session."""
    answer = await daemon.http.post("/sessions", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def say(daemon: RunningDaemon, session: str, content: str, **body: Any) -> Json:
    """Post a user's message."""
    answer = await daemon.http.post(
        f"/sessions/{session}/messages", json={"content": content, **body}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def get(daemon: RunningDaemon, path: str) -> Json:
    """A JSON answer that must be there."""
    answer = await daemon.http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def history(daemon: RunningDaemon, session: str) -> list[Json]:
    """All frames of a session as its history gives them."""
    return list((await get(daemon, f"/sessions/{session}/history?limit=0"))["events"])


async def export(home: DaemonHome, session: str) -> list[Json]:
    """`brainpilot-rt export`."""
    ended = await home.command("export", session)
    assert ended.code == 0, ended.err
    return ended.lines


async def log_lines(daemon: RunningDaemon, session: str) -> list[Json]:
    """The log of a session, by HTTP: the lines of `export`."""
    answer = await daemon.http.get(f"/sessions/{session}/export")
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


@asynccontextmanager
async def frames(
    daemon: RunningDaemon, path: str, **headers: str
) -> AsyncGenerator[AsyncGenerator[tuple[str, Json]]]:
    """(id, frame) of an SSE stream as they come."""
    async with daemon.http.stream("GET", path, headers=headers, timeout=None) as answer:
        assert answer.status_code == 200, answer

        async def each() -> AsyncGenerator[tuple[str, Json]]:
            name = ""
            async for line in answer.aiter_lines():
                key, _, value = line.partition(": ")
                if key == "id":
                    name = value
                elif key == "data":
                    yield name, json.loads(value)
                    name = ""

        yield each()


async def until(
    daemon: RunningDaemon, session: str, holds: Callable[[Json], bool], after: str = "0"
) -> list[Json]:
    """Follow the stream of a session to the first frame that is wanted; all frames up to it."""
    seen: list[Json] = []
    async with (
        asyncio.timeout(PATIENCE_S),
        frames(daemon, f"/sse/{session}?after={after}") as each,
    ):
        async for name, frame in each:
            if name:
                seen.append(frame)
                if holds(frame):
                    return seen
    raise AssertionError(f"the stream ended: {seen[-3:]}")


async def finished(daemon: RunningDaemon, session: str, turns: int = 1) -> list[Json]:
    """Wait until so many host turns and every run are over; the log's lines then.

    A specialist says its last words after its result has ended the host turn.
    """
    async with asyncio.timeout(PATIENCE_S):
        while True:
            lines = await log_lines(daemon, session)
            count = Counter(line["type"] for line in lines)
            open_runs = count["run_started"] - count["run_finished"] - count["run_interrupted"]
            if count["host_turn_finished"] >= turns and not open_runs:
                return lines
            await asyncio.sleep(0.02)


async def logged(
    daemon: RunningDaemon, session: str, holds: Callable[[Json], bool], count: int = 1
) -> list[Json]:
    """Wait until the log holds so many wanted lines; those."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = [line for line in await log_lines(daemon, session) if holds(line)]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


def of_type(lines: list[Json], *types: str) -> list[Json]:
    """The lines of these types."""
    return [line for line in lines if line["type"] in types]


BEGINS = {
    "letter_accepted": ("letter", "letter_id"),
    "letter_received": ("letter", "letter_id"),
    "task_opened": ("task", "task_id"),
    "run_started": ("run", "run_id"),
    "text_started": ("text", "message_id"),
    "tool_planned": ("call", "call_id"),
    "host_turn_started": ("host turn", "host_run_id"),
}
ENDS = {
    "letter_expired": [("letter", "letter_id")],
    "letter_died": [("letter", "letter_id")],
    "letter_consumed": [("letter", "letter_ids")],
    "task_closed": [("task", "task_id")],
    "run_finished": [("run", "run_id"), ("letter", "letter_ids")],
    "run_interrupted": [("run", "run_id")],
    "text_finished": [("text", "message_id")],
    "tool_finished": [("call", "call_id")],
    "host_turn_finished": [("host turn", "host_run_id")],
}


def violations(lines: list[Json]) -> list[str]:
    """What a log of a finished session may not hold: gaps, loose ends, things done twice."""
    found: list[str] = []
    if [line["seq"] for line in lines] != list(range(1, len(lines) + 1)):
        found.append("seq has a gap")
    starts = Counter[tuple[str, str]]()
    ends = Counter[tuple[str, str]]()
    for line in lines:
        if line["type"] in BEGINS:
            kind, key = BEGINS[line["type"]]
            starts[kind, line[key]] += 1
        for kind, key in ENDS.get(line["type"], []):
            names = line[key] if key.endswith("s") else [line[key]]
            ends.update((kind, name) for name in names)
    found += [f"{one} began {n} times" for one, n in starts.items() if n != 1]
    found += [
        f"{one} ended {ends[one]} times" for one in starts.keys() | ends.keys() if ends[one] != 1
    ]
    return found + _turns_said_twice(lines) + _loose_resumptions(lines)


def _turns_said_twice(lines: list[Json]) -> list[str]:
    """A turn is of the first run of a chain of resumed runs."""
    first: dict[str, str] = {}
    turns = Counter[tuple[str, int]]()
    for line in of_type(lines, "run_started", "model_replied"):
        run: str = line["run_id"]
        if line["type"] == "run_started":
            resumed: str = line["resumes"] or run
            first[run] = first.get(resumed, resumed)
        else:
            turns[first[run], line["turn"]] += 1
    return [f"turn {one} was answered {n} times" for one, n in turns.items() if n != 1]


def _loose_resumptions(lines: list[Json]) -> list[str]:
    interrupted = Counter[str](line["run_id"] for line in of_type(lines, "run_interrupted"))
    resumed = Counter[str](
        line["resumes"] for line in of_type(lines, "run_started") if line["resumes"]
    )
    return [] if resumed == interrupted else [f"interrupted {interrupted}, resumed {resumed}"]


async def true(holds: Callable[[], bool], patience: float = PATIENCE_S) -> None:
    """Wait until something of the outer world (a file, a request, a process) is so."""
    async with asyncio.timeout(patience):
        while not holds():  # noqa: ASYNC110 - files and processes ring no bell
            await asyncio.sleep(0.02)


def boxes(mailboxes: Path, session: str, agent: str) -> dict[str, list[str]]:
    """Names of the letters in the boxes of an agent."""
    home = mailboxes / session / agent
    return {
        box: sorted(one.name for one in (home / box).glob("*.json"))
        for box in ("tmp", "new", "cur", "done", "bad")
    }


def texts(events: list[Json]) -> dict[str, str]:
    """The texts of a stream's frames, by message."""
    said: dict[str, str] = {}
    for frame in events:
        if frame["type"] == "TEXT_MESSAGE_CONTENT":
            said[frame["message_id"]] = said.get(frame["message_id"], "") + frame["delta"]
    return said
