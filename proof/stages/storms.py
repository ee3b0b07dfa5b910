"""Storms of mail into a real daemon, and teams that would talk for ever.

The storm: thousands of letters within a second or so, as files of another process and as requests,
all for one agent whose model is held back, so that its mailbox is full; the daemon is killed in the
middle of it. Senders must be told (429 and when to come again; files simply wait), nothing accepted
may be lost or doubled, and another session must hardly notice.
"""

import asyncio
import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from brainpilot_rt.aiokit.sources import SystemClock, UlidSource
from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from brainpilot_rt.testing.team import Setup
from brainpilot_rt.testing.virtual_time import VirtualTimeLoop
from proof.loops import Contained, Topology, bomb, contained, ring, star
from proof.stage import Number, Outcome, Stage, Task
from tests.realtime.daemon.provider import Ask, Provider, Reply, provider
from tests.realtime.daemon.world import Json, log_lines, of_type, session, violations

STORM: Final = "storm"
DEPTH: Final = 200
"""Room of the mailbox; small, so that most of a storm has to wait outside."""
REQUESTS_PER_FILE: Final = 10
TURN_S: Final = 120.0
ANSWER_S_MAX: Final = 5.0
"""Longest answer to a bystander that is not said to fall short."""
GROWTH_MB_MAX: Final = 150.0
DRAIN_S: Final = 600.0


def run(task: Task) -> Outcome:
    """Loops first, then the storm."""
    outcome = Outcome()
    _loops(task, outcome)
    asyncio.run(_storm(task, outcome))
    return outcome


# --- loops ------------------------------------------------------------------------------------


def _topologies(task: Task) -> list[Topology]:
    sizes = range(2, 18) if task.tier == "nightly" else (2, 3, 17)
    found = [ring(size) for size in sizes]
    found += [ring(size, kind="task_delegate") for size in sizes]
    found += [ring(3, kind="result_deliver"), star(6), bomb(12, 10)]
    found += [ring(2, "restless", "task_delegate"), ring(5, "restless", "task_delegate")]
    if task.tier == "nightly":
        found += [star(16), star(6, "restless"), bomb(31, 10), bomb(31, 10, "restless")]
    return found


def _loops(task: Task, outcome: Outcome) -> None:
    limits = Setup().limits
    seen: dict[str, Contained] = {}
    for topology in _topologies(task):
        with (
            asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
            tempfile.TemporaryDirectory(dir=task.folder) as folder,
        ):
            try:
                one = runner.run(contained(topology, Path(folder), Setup()))
            except TimeoutError:
                outcome.failures.append(f"{topology.name}: never came to rest")
                continue
        seen[topology.name] = one
        task.say(f"{topology.name}: {one.kinds['run']} letters, {one.calls} calls, ${one.usd}")
        wrong = {
            "notices of the stop": one.stopped != 1,
            "letters over the cap": one.kinds["run"] > limits.root_letters_max,
            "runs over the cap": one.runs > limits.root_runs_max + len(topology.edges),
            "ends of the request": len(one.ended) != 1,
            "work left open": bool(one.open_work),
            "violations": bool(one.violations),
        }
        outcome.failures += [
            f"{topology.name}: {what}: {one}" for what, bad in wrong.items() if bad
        ]
    if not seen:
        return
    most = max(seen.values(), key=lambda one: one.kinds["run"])
    dear = max(seen.values(), key=lambda one: one.usd)
    outcome.numbers.append(
        Number(
            "loop containment: letters until the stop",
            f"<= {limits.root_letters_max}, one notice",
            f"{min(one.kinds['run'] for one in seen.values())} to {most.kinds['run']}",
            f"{len(seen)} topologies: rings of 2 to 17, stars, bombs; beside them as many answers"
            " of the daemon that say why nothing comes",
        )
    )
    outcome.numbers.append(
        Number(
            "loop containment: model calls until rest",
            "bounded",
            f"{min(one.calls for one in seen.values())} to {dear.calls} (${dear.usd} at 1 cent)",
            "restless agents write in every turn and never stop by themselves",
        )
    )
    outcome.text = _table(seen)
    outcome.figures = {"loops": {name: _plain(one) for name, one in seen.items()}}


def _plain(one: Contained) -> dict[str, Any]:
    return {
        "letters_of_runs": one.kinds["run"],
        "letters_of_daemon": one.kinds["daemon"],
        "runs": one.runs,
        "calls": one.calls,
        "usd": float(one.usd),
    }


def _table(seen: dict[str, Contained]) -> str:
    lines = [
        "| topology | letters until the stop | answers of the daemon | runs | model calls | $ |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {one.kinds['run']} | {one.kinds['daemon']} | {one.runs} | {one.calls} "
        f"| {one.usd} |"
        for name, one in seen.items()
    ]
    return "\n".join(lines)


# --- the storm --------------------------------------------------------------------------------


@dataclass
class _Seen:
    """What the senders saw."""

    accepted: list[str] = field(default_factory=list[str])
    """What was in requests that were answered 200."""
    unclear: list[str] = field(default_factory=list[str])
    """What was in requests without an answer: it may have arrived or not, once."""
    turned_away: int = 0
    unsaid: int = 0
    """Of those, without `Retry-After`."""
    odd: list[str] = field(default_factory=list[str])
    dropped: list[str] = field(default_factory=list[str])
    answers_s: list[float] = field(default_factory=list[float])
    rss_mb: list[float] = field(default_factory=list[float])
    files_s: float = 0.0


async def _storm(task: Task, outcome: Outcome) -> None:
    count = task.count(600, 10_000)
    gate = asyncio.Event()
    asked: list[Provider] = []

    async def script(ask: Ask) -> Reply:
        for one in asked:
            one.asks.clear()  # a storm of requests would fill the memory of the harness
        if STORM in ask.last:
            await gate.wait()
        yield "Read."

    async with provider(script) as told:
        asked.append(told)
        home = DaemonHome(task.folder, env=told.env)
        home.configure(
            f"[sessions]\nmailbox_depth_max = {DEPTH}\n[agents]\ncontext_chars_max = 20000\n"
        )
        seen = _Seen()
        async with home.running() as daemon:
            name, aside = await session(daemon), await session(daemon)
            seen.rss_mb.append(_rss_mb(daemon))
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.to_thread(_drop, daemon, name, count, seen))
                group.create_task(_post(daemon, name, count // REQUESTS_PER_FILE, seen))
                group.create_task(_bystander(daemon, aside, seen))
            task.say(f"{count} files in {seen.files_s:.1f} s, {seen.turned_away} times 429")
            inside = len(of_type(await log_lines(daemon, name), "letter_received"))
            waiting = len(seen.dropped) - inside
            await daemon.kill()
        gate.set()
        async with home.running() as daemon:
            seen.rss_mb.append(_rss_mb(daemon))
            lines = await _drained(task, daemon, name, seen)
            left = len(list(_new(daemon, name).iterdir()))
    _judge(outcome, seen, lines, waiting, left)


def _new(daemon: RunningDaemon, name: str) -> Path:
    return daemon.mailboxes / name / "principal" / "new"


def _rss_mb(daemon: RunningDaemon) -> float:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text(encoding="ascii")
    [line] = [one for one in status.splitlines() if one.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def _drop(daemon: RunningDaemon, name: str, count: int, seen: _Seen) -> None:
    """Letters by rename, as the protocol says; every other one under a name of its writer's."""
    box = daemon.mailboxes / name / "principal"
    new_id = UlidSource(SystemClock())
    began = time.monotonic()
    for number in range(count):
        content = f"{STORM} file {number}"
        file = f"{new_id()}.json" if number % 2 else f"note-{number}.json"
        (box / "tmp" / file).write_text(json.dumps({"to": "principal", "content": content}))
        (box / "tmp" / file).rename(box / "new" / file)
        seen.dropped.append(content)
    seen.files_s = time.monotonic() - began


async def _post(daemon: RunningDaemon, name: str, count: int, seen: _Seen) -> None:
    """Each is one letter or one refusal; until one is refused, as it must be with a full box."""
    number = -1
    while (number := number + 1) < count or (not seen.turned_away and number < count + 2 * DEPTH):
        content = f"{STORM} request {number}"
        body = {"content": content}
        answer = await daemon.http.post(f"/sessions/{name}/messages", json=body)
        if answer.status_code == 200:
            seen.accepted.append(content)
        elif answer.status_code == 429:
            seen.turned_away += 1
            seen.unsaid += "retry-after" not in answer.headers
        else:
            seen.odd.append(f"{answer.status_code}: {answer.text[:200]}")
        seen.rss_mb.append(_rss_mb(daemon))


async def _bystander(daemon: RunningDaemon, name: str, seen: _Seen) -> None:
    """Somebody who works in another session meanwhile."""
    for number in range(10):
        began = time.monotonic()
        await daemon.http.post(f"/sessions/{name}/messages", json={"content": f"hello {number}"})
        async with asyncio.timeout(TURN_S):
            while len(of_type(await log_lines(daemon, name), "host_turn_finished")) <= number:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
        seen.answers_s.append(time.monotonic() - began)


async def _drained(task: Task, daemon: RunningDaemon, name: str, seen: _Seen) -> list[Json]:
    """Wait until every letter has come in and nothing is open any more; the log then."""
    until = time.monotonic() + DRAIN_S
    wanted = len(seen.dropped) + len(seen.accepted)
    lines: list[Json] = []
    while time.monotonic() < until:
        await asyncio.sleep(0.5)
        answer = await daemon.http.get(f"/sessions/{name}/export")
        lines = [json.loads(line) for line in answer.text.splitlines()]
        seen.rss_mb.append(_rss_mb(daemon))
        count = Counter(line["type"] for line in lines)
        came = count["letter_received"] + count["letter_accepted"]
        ended = count["run_finished"] + count["run_interrupted"]
        task.say(f"{came} of {wanted} letters came, {ended} runs ended")
        if came >= wanted and count["run_started"] == ended and not _open(lines):
            break
    return lines


def _open(lines: list[Json]) -> set[str]:
    """Letters without an end."""
    begun = {one["letter_id"] for one in of_type(lines, "letter_received", "letter_accepted")}
    ended = {one for line in lines for one in line.get("letter_ids", ()) if _ends(line)}
    return begun - ended


def _ends(line: Json) -> bool:
    return line["type"] in ("run_finished", "letter_consumed")


def _judge(outcome: Outcome, seen: _Seen, lines: list[Json], waiting: int, left: int) -> None:
    came = Counter(
        str(one["letter"]["content"])
        for one in of_type(lines, "letter_received", "letter_accepted")
    )
    sent = [*seen.dropped, *seen.accepted]
    lost = [one for one in sent if not came[one]]
    doubled = [one for one, times in came.items() if times > 1]
    broken = {
        "lost": lost,
        "doubled": doubled,
        "never consumed": sorted(_open(lines)),
        "odd answers": seen.odd,
        "invariants": violations(lines),
    }
    outcome.failures += [f"storm: {what}: {some[:5]}" for what, some in broken.items() if some]
    if seen.unsaid:
        outcome.failures.append(f"storm: {seen.unsaid} refusals without Retry-After")
    if not seen.turned_away or not waiting:
        outcome.failures.append("storm: nobody was turned away: the mailbox has no bound")
    if left:
        outcome.failures.append(f"storm: {left} files were left in new/")
    growth = max(seen.rss_mb) - seen.rss_mb[0]
    slowest = max(seen.answers_s)
    if growth > GROWTH_MB_MAX:
        outcome.short.append(f"a storm let the memory grow by {growth:.0f} MB")
    if slowest > ANSWER_S_MAX:
        outcome.short.append(f"during a storm another session waited {slowest:.1f} s for an answer")
    outcome.numbers.append(
        Number(
            "mail storm: lost / doubled",
            "0 / 0",
            f"{len(lost)} / {len(doubled)} of {len(sent)}",
            f"{len(seen.dropped)} files in {seen.files_s:.1f} s to one agent with room for {DEPTH},"
            f" {waiting} of them still outside when the daemon was killed; "
            f"{seen.turned_away} requests told to come again",
        )
    )
    outcome.numbers.append(
        Number(
            "mail storm: memory, and an answer in another session",
            f"<= {GROWTH_MB_MAX:.0f} MB more, <= {ANSWER_S_MAX:.0f} s",
            f"{growth:.0f} MB more, {sorted(seen.answers_s)[len(seen.answers_s) // 2]:.2f} s p50, "
            f"{slowest:.2f} s at most",
            "the bystander's provider answers at once; machine shared with other stages",
        )
    )


STAGE = Stage(
    name="storms",
    title="Storms of mail, and teams that would talk for ever",
    run=run,
    faults=("A23", "B13", "J1", "J2"),
)
