"""Contexts: what it takes to assemble one for a session that remembers much (P41).

The session has 10,000 remembered items, 40 files and a conversation of some dozens of messages. An
operation is all that happens between two model calls of a run: live files are looked at, sections
are chosen, the prompt is put together, and the guardrails look at what was said. `warm` asks for
the same again, as the turns of one run do; `changed` has another message each time, so everything
is ranked and judged anew; `long` brings a message of 16 KB each time. `scan_p50_us` is the part of
the guardrails, and `found` how many messages they had something to say about. The floor is the part
that nothing can avoid: on a thread, look at the same files and read those that are shown; then join
and digest a prompt of the same size.
"""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.runner import Meter, Place, Row, Sample, Target
from brainpilot_rt.agents.definition import RequestContext
from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.aiokit.sources import SystemClock
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import PRINCIPAL, USER, RunId
from brainpilot_rt.domain.memory import Draft, SectionName
from brainpilot_rt.domain.messages import Message
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.supervision.contexts import RunContext
from brainpilot_rt.supervision.shown import digest_of
from brainpilot_rt.testing.models import Reply, ScriptedModel
from brainpilot_rt.testing.team import SESSION, Team, plain_profile, team

ITEMS = 10_000
FILES = 40
RUN = RunId("run_bench")
SAID = 12
SECTIONS: tuple[SectionName, ...] = ("findings", "lessons", "playbooks", "reflection")
WORDS = (
    *("wing", "flutter", "mass", "balance", "damping", "mode", "report", "spar", "load", "gust"),
    *("margin", "test", "tunnel", "tail", "hinge", "stiffness", "onset", "speed", "model"),
    *("figure", "table", "crack", "fatigue", "sensor", "signal", "filter", "noise", "drift"),
)


def words(number: int, count: int) -> str:
    """Words that differ from item to item; some are common, some rare."""
    picked = [WORDS[(number * 7 + at * at * 3 + at) % len(WORDS)] for at in range(count)]
    return " ".join([*picked, f"item{number % 977}", f"rare{number}"])


def remembered() -> list[ev.Event]:
    """The items, a few hundred to an event."""
    items = [
        Draft(section=SECTIONS[at % len(SECTIONS)], content=words(at, 9), agent=USER).item(at + 1)
        for at in range(ITEMS)
    ]
    return [
        ev.MemoryAdded(items=tuple(items[at : at + 200]), agent=USER) for at in range(0, ITEMS, 200)
    ]


def fill(tree: Path) -> None:
    """The files of the work tree."""
    (tree / "AGENTS.md").write_text("Say where it is from.\n" * 20)
    (tree / "SOUL.md").write_text("Be exact.\n" * 20)
    for number in range(FILES):
        folder = tree / ("reference" if number % 8 == 0 else f"part{number % 5}")
        folder.mkdir(exist_ok=True)
        (folder / f"file{number}.md").write_text(words(number, 200))


@dataclass(frozen=True)
class Looked:
    """What one operation came to."""

    prompt_chars: int
    scan_s: float
    found: int


@dataclass(frozen=True)
class Ready:
    """A session with everything in it, and one run's context."""

    crew: Team
    context: RunContext

    async def assemble(self, history: list[Message]) -> Looked:
        """What happens before a model call."""
        await self.context.prepare(0)
        assembled, _ = self.context.assemble(history, "", "")
        start = time.perf_counter()
        guards = self.crew.organs.governing.guards
        _, fired, _ = await guards.incoming(assembled.messages, RUN, PRINCIPAL, 0)
        return Looked(len(assembled.system), time.perf_counter() - start, len(fired))

    async def history(self) -> list[Message]:
        """The conversation so far."""
        return (await self.crew.organs.conversations.of(SESSION, PRINCIPAL)).messages()


async def ready(stack: AsyncExitStack, place: Place) -> Ready:
    """Build it."""
    model = ScriptedModel(otherwise=Reply(("All done, see the report.",)))
    log = MemoryEventLog(clock=SystemClock())
    crew = await stack.enter_async_context(team(log, model.stream, place.folder))
    await crew.create()
    fill(place.folder / "data" / "workspaces" / SESSION)
    await crew.organs.manager.record(SESSION, *remembered())
    for number in range(SAID):
        await crew.post(f"Tell me about {words(number, 5)}.")
        await crew.settled()
    identity = RunIdentity(session=SESSION, agent=PRINCIPAL, role=PRINCIPAL, run_id=RUN)
    definition = plain_profile(PRINCIPAL).create(
        RequestContext(session=SESSION, agent=PRINCIPAL, role=PRINCIPAL, model=None)
    )
    return Ready(crew, RunContext(crew.organs, identity, definition))


def assembled(place: Place, *, changed: bool, said: int = 6) -> Sample:
    """Our contexts."""

    async def main() -> Sample:
        async with AsyncExitStack() as stack:
            made = await ready(stack, place)
            history = await made.history()
            looked = [await made.assemble(history)]
            meter = Meter()
            with meter as sample:
                for number in range(place.ops(400, 60)):
                    if changed:
                        await made.crew.post(f"And what of {words(3 * number + 1, said)}?")
                        await made.crew.settled()
                        history = (await made.history())[:-1]  # as if it was not answered yet
                    start = time.perf_counter()
                    looked.append(await made.assemble(history))
                    sample.latencies.append(time.perf_counter() - start)
            sample.extra |= {
                "prompt_chars": looked[-1].prompt_chars,
                "scan_p50_us": statistics.median(one.scan_s for one in looked[1:]) * 1e6,
                "found": sum(one.found for one in looked[1:]),
            }
            return sample

    return place.run(main())


def floor(place: Place) -> Sample:
    """Look at the same files, read those shown, join and digest a prompt of the same size."""
    tree = place.folder / "tree"
    tree.mkdir()
    fill(tree)
    texts = [words(number, 200) for number in range(12)]

    def look() -> list[str]:
        shown = [tree / "AGENTS.md", tree / "SOUL.md"]
        found = [path.stat().st_mtime_ns for path in tree.rglob("*")]
        return [*(path.read_text() for path in shown), str(max(found))]

    async def main() -> Sample:
        meter = Meter()
        with meter as sample:
            for _ in range(place.ops(400, 60)):
                start = time.perf_counter()
                read = await asyncio.to_thread(look)
                for text in texts:
                    digest_of(text)
                digest_of("\n\n".join([*read, *texts]))
                sample.latencies.append(time.perf_counter() - start)
        return meter.sample

    return place.run(main())


ROWS = (
    Row(
        "P41",
        "a context assembled, 10,000 remembered items (target: p50 < 5 ms, p99 < 15 ms)",
        {
            "floor": floor,
            "warm": lambda place: assembled(place, changed=False),
            "changed": lambda place: assembled(place, changed=True),
            "long": lambda place: assembled(place, changed=True, said=2_000),
        },
        (
            Target("p50_us", "warm", 5_000),
            Target("p99_us", "warm", 15_000),
            Target("p50_us", "changed", 5_000),
            Target("p99_us", "changed", 15_000),
            Target("p50_us", "long", 5_000),
            Target("p99_us", "long", 15_000),
        ),
    ),
)
