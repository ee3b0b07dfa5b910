"""Governed turns: what routing, budgets and guardrails add to a turn (GOVERN).

A turn is one model call, which streams 60 pieces and calls one tool, with everything around it. In
each arm two teams take turns, run by run: one that is passed through (one free model, no budget, no
guardrail, no firewall), and one that is governed (four priced models, routed; a budget of every
scope; guardrails and firewall as they are by default). The latencies are those of a governed turn
above the median of the others: what governing adds, with all noise on its side. `memory` keeps the
log in memory, `disk` in SQLite, where the reservation is one more commit (`synchronous=FULL`)
before the model is asked. `parts` measures on disk, with a clock around each step, in microseconds
of a turn; the clocks cost something themselves. The floor of the reservation is a raw commit
(`commit`), every 3 ms.
"""

import asyncio
import functools
import inspect
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from bench.rows.log import INSERT, PAYLOAD, SESSION, database
from bench.runner import Meter, Place, Row, Sample, Target
from brainpilot_rt.aiokit.sources import SystemClock
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import CallId, SessionId
from brainpilot_rt.domain.messages import AssistantMessage, TextPart, ToolCall
from brainpilot_rt.domain.model_calls import (
    ModelEvent,
    ModelRef,
    ModelRequest,
    ReplyFinished,
    StopReason,
    TextDelta,
)
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.eventlog.sqlite import SqliteEventLog
from brainpilot_rt.models.providers import Dialect, ProviderProfile, Providers, TokenPrices
from brainpilot_rt.models.routing import warm
from brainpilot_rt.settings import BudgetSettings, GuardSettings, RoutingSettings
from brainpilot_rt.supervision.guarding import GuardedReply, Guards
from brainpilot_rt.supervision.money import Purse
from brainpilot_rt.supervision.routing import Router
from brainpilot_rt.supervision.toolgate import RunGate
from brainpilot_rt.supervision.wiring import RunWiring
from brainpilot_rt.testing.team import Setup, Team, team
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, ToolOutput, tool

TURNS = 12
PIECES = 60
PACE_S = 0.003
MODELS = 4
PIECE = "and 3.2 of the r"
CAP = Decimal(1_000_000)


class Look(Arguments):
    """Look something up."""

    at: str


async def _look(_context: ToolContext, wanted: Look) -> ToolOutput:
    return ToolOutput(f"Found at {wanted.at}: 14 rows, mean 0.93, see results/table3.csv. " * 8)


LOOK = tool(_look, Look, name="search", effect=Effect.PURE)
SCOPES = (
    "run_usd",
    "root_usd",
    "session_usd",
    "agent_daily_usd",
    "agent_monthly_usd",
    "daily_usd",
    "monthly_usd",
)
PRICED = ProviderProfile(
    id="bench",
    name="Bench",
    dialect=Dialect.OPENAI_CHAT,
    base_url="http://127.0.0.1:1/v1",
    api_key="bench",
    models=tuple(f"m{at}" for at in range(MODELS)),
    prices={
        f"m{at}": TokenPrices(Decimal(at + 1), Decimal(4 * (at + 1)), Decimal("0.1"))
        for at in range(MODELS)
    },
)
PASSED = Setup(
    tools=(LOOK,),
    clock=SystemClock(),
    audited=False,
    guard=GuardSettings(enabled=False, firewall="off", calls_per_minute=0),
)
GOVERNED = Setup(
    tools=(LOOK,),
    clock=SystemClock(),
    audited=False,
    paid=True,
    providers=Providers((PRICED,), default="bench"),
    budgets=BudgetSettings.model_validate(dict.fromkeys(SCOPES, CAP)),
    routing=RoutingSettings(team="auto", seed=1),
    guard=GuardSettings(calls_per_minute=1_000_000),
)


@dataclass
class Model:
    """Streams pieces, then calls the tool; the last turn of a run only answers."""

    asked: list[float] = field(default_factory=list[float])
    """When it was asked, in this run."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """One reply."""
        self.asked.append(time.perf_counter())
        for _ in range(PIECES):
            yield TextDelta(index=0, text=PIECE)
        text = TextPart(text=PIECE * PIECES)
        last = len(self.asked) == TURNS
        arguments = {"at": f"place {request.turn}"}
        call = ToolCall(
            call_id=CallId("call_1"), name="search", arguments=arguments, raw_arguments="{}"
        )
        yield ReplyFinished(
            message=AssistantMessage(parts=(text,) if last else (text, call)),
            stop_reason=StopReason.END if last else StopReason.TOOL_USE,
            usage=Usage(input=1200 + 400 * len(self.asked), output=260),
            model=request.model or ModelRef(provider="bench", model="m0"),
            cost_usd=None,
        )


@dataclass
class Side:
    """One of the two teams."""

    crew: Team
    model: Model
    runs: int = 0

    async def run(self) -> list[float]:
        """Work one run in a session of its own; from one model call to the next, in seconds."""
        self.runs += 1
        self.model.asked.clear()
        session = SessionId(f"s{self.runs}")
        await self.crew.create(session)
        await self.crew.post("Look up what the tables say, one after the other.", session=session)
        await self.crew.settled(session)
        asked = self.model.asked
        if len(asked) != TURNS:
            raise RuntimeError(f"a run of {len(asked)} turns, not {TURNS}")
        return [after - before for before, after in itertools.pairwise(asked)]


async def side(stack: AsyncExitStack, place: Place, setup: Setup, *, disk: bool) -> Side:
    """Build a team."""
    folder = place.folder / ("governed" if setup.paid else "passed")
    folder.mkdir(mode=0o700)
    clock = SystemClock()
    log: EventLog = MemoryEventLog(clock=clock)
    if disk:
        log = await SqliteEventLog.open(folder / "log.db", clock=clock)
        stack.push_async_callback(log.close)
    model = Model()
    return Side(await stack.enter_async_context(team(log, model.stream, folder, setup)), model)


def commits(place: Place) -> Sample:
    """Raw FULL commits, about as far apart as those of turns."""
    meter = Meter()
    with closing(database(place)) as connection, meter as sample:
        for number in range(place.ops(400, 60)):
            time.sleep(PACE_S)
            start = time.perf_counter()
            connection.execute(
                INSERT, (SESSION, number + 1, number + 1, 0, "daemon_stopped", PAYLOAD)
            )
            sample.latencies.append(time.perf_counter() - start)
    return meter.sample


def turns(place: Place, *, disk: bool, timed: bool = False) -> Sample:
    """Runs of both teams, one after the other."""

    async def main() -> Sample:
        async with AsyncExitStack() as stack:
            both = [await side(stack, place, setup, disk=disk) for setup in (PASSED, GOVERNED)]
            await asyncio.to_thread(warm)
            for one in both:
                await one.run()
            meter, passed, governed = Meter(), list[float](), list[float]()
            with ExitStack() as clocks:
                spent = clocks.enter_context(clocked()) if timed else dict[str, float]()
                with meter as sample:
                    for _ in range(place.ops(30, 8)):
                        passed += await both[0].run()
                        governed += await both[1].run()
            middle = statistics.median(passed)
            sample.latencies = [one - middle for one in governed]
            sample.extra |= {
                "passed_p50_us": middle * 1e6,
                "passed_p99_us": sorted(passed)[int(0.99 * len(passed))] * 1e6,
                **{f"{part}_us": total / len(governed) * 1e6 for part, total in spent.items()},
            }
            return sample

    return place.run(main())


STEPS: dict[str, tuple[type, str]] = {
    "guard_in": (Guards, "incoming"),
    "route": (Router, "choose"),
    "reserve": (Purse, "begin"),
    "hear": (GuardedReply, "hear"),
    "guard_out": (GuardedReply, "finish"),
    "settle": (Purse, "charge"),
    "rate": (Router, "rated"),
    "judge": (RunGate, "judge"),
    "review": (RunGate, "review"),
}


@contextmanager
def clocked() -> Generator[dict[str, float]]:
    """A clock around each step of governing; of commits only around those of a reservation."""
    spent: defaultdict[str, float] = defaultdict(float)

    def around(part: str, step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        async def later(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return await step(*given, **named)
            finally:
                if part != "commit" or any(isinstance(one, ev.SpendReserved) for one in given):
                    spent[part] += time.perf_counter() - start

        @functools.wraps(step)
        def at_once(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return step(*given, **named)
            finally:
                spent[part] += time.perf_counter() - start

        return later if inspect.iscoroutinefunction(step) else at_once

    steps = {**STEPS, "commit": (RunWiring, "record")}
    before = {part: getattr(owner, name) for part, (owner, name) in steps.items()}
    for part, (owner, name) in steps.items():
        setattr(owner, name, around(part, before[part]))
    try:
        yield spent
    finally:
        for part, (owner, name) in steps.items():
            setattr(owner, name, before[part])


ROWS = (
    Row(
        "GOVERN",
        "what routing, budgets and guardrails add to a turn (target: p50 2 ms, p99 10 ms)",
        {
            "commit": commits,
            "memory": lambda place: turns(place, disk=False),
            "disk": lambda place: turns(place, disk=True),
            "parts": lambda place: turns(place, disk=True, timed=True),
        },
        (
            Target("p50_us", "memory", 2_000),
            Target("p99_us", "memory", 10_000),
            Target("p50_us", "disk", 2_000),
            Target("p99_us", "disk", 10_000),
        ),
    ),
)
