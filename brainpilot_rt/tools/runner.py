"""Runs the tool calls of one turn: prepare, gate, execute, finalize - one result for every call.

Consecutive calls that may run beside each other form a wave and run concurrently, bounded; a tool
marked `sequential` is a wave of its own. Results come back in call order, whatever the order in
which calls ended. One failure never cancels the others. Anything a tool raises becomes a result
that tells the model what happened; only the ports of the runner may fail the run.

Order that matters (the effect ledger, D7): `started` has returned before anything of a wave runs,
and `finished` has returned before its result counts. Both are carried to their end even when the
run is cancelled meanwhile, so that the ledger never says less than what happened.

A cancelled run cancels its calls, waits until each has really exited, records an `interrupted`
result for every call that has none, and raises the cancellation. `interrupt` does the same to one
call and lets the run go on.

Relied upon: the call ids of a batch differ from each other (the model adapters see to it).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from brainpilot_rt.aiokit.failpoints import hit
from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.messages import ToolCall
from brainpilot_rt.domain.tools import ToolResult
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Registry, ToolOutput
from brainpilot_rt.tools.steps import (
    Gate,
    Prepared,
    execute,
    finalize,
    gate,
    interrupted,
    prepare,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """How a call ended. `reason`: why an interrupted one was, as in `ToolFinished`."""

    result: ToolResult
    duration_ms: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A call that is executing now."""

    call_id: CallId
    name: str
    started_ms: int
    """Wall clock, milliseconds since the epoch."""


async def _as_it_is(_call: ToolCall, text: str) -> str:
    return text


def _unheard(_call: ToolCall) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerPorts:
    """What the runner needs of its owner."""

    context: Callable[[ToolCall], ToolContext]
    """The context of one call."""
    gate: Gate
    """May this call run? Asked after its arguments were found to be well formed."""
    started: Callable[[tuple[ToolCall, ...]], Awaitable[None]]
    """Make durable that these are about to run. Awaited once before each wave, also with no calls
    (all were refused): so always once before the first `finished`, the place for one commit that
    holds what precedes the calls."""
    finished: Callable[[CallOutcome], Awaitable[None]]
    """Make durable how a call ended; once for every call, refused ones included."""
    unfit: Callable[[ToolCall], None] = _unheard
    """Told of a call that came to no gate: no such tool, or arguments that do not fit it."""
    review: Callable[[ToolCall, str], Awaitable[str]] = _as_it_is
    """Makes of what a tool says what the model may read: no secrets, nothing hidden."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerLimits:
    """Bounds of one runner."""

    parallel_max: int = 8
    """Calls that execute at the same time."""
    result_tokens_max: int = 64_000
    """Estimated tokens of one result (setting BP_MAX_TOOL_RESULT_TOKENS); 0 = no bound."""


@dataclass(slots=True)
class _Live:
    prepared: Prepared
    started_ms: int = 0
    task: asyncio.Task[Any] | None = None
    """Set while the tool executes and may be cancelled."""
    interrupted: str | None = None
    """The reason, once somebody asked for its end."""
    finished: bool = False
    """The tool came to an end of its own; what is left is to record it."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class ToolRunner:
    """Runs the calls of one agent's run. One batch at a time."""

    def __init__(
        self,
        registry: Registry,
        ports: RunnerPorts,
        *,
        clock: Clock,
        limits: RunnerLimits | None = None,
    ) -> None:
        """`registry` holds what this agent was offered and nothing else."""
        self._registry = registry
        self._ports = ports
        self._clock = clock
        self._limits = limits or RunnerLimits()
        self._slots = asyncio.Semaphore(self._limits.parallel_max)
        self._live: dict[CallId, _Live] = {}

    @property
    def running(self) -> tuple[RunningCall, ...]:
        """The calls that execute now."""
        return tuple(
            RunningCall(call_id, live.prepared.call.name, live.started_ms)
            for call_id, live in self._live.items()
            if live.task is not None and live.started_ms
        )

    async def run(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """Run the calls of one turn; one result each, in call order."""
        results: dict[CallId, ToolResult] = {}
        try:
            for wave in self._waves(calls):
                await self._run_wave(wave, results)
        except asyncio.CancelledError:
            await self._record_unfinished(calls, results)
            raise
        finally:
            self._live.clear()
        return [results[call.call_id] for call in calls]

    async def interrupt(self, call_id: CallId, reason: str = "user_requested") -> bool:
        """End one call and return when it has exited; False when it does not run (any more)."""
        live = self._live.get(call_id)
        if live is None or live.finished or live.ended.is_set():
            return False
        if live.interrupted is None:
            live.interrupted = reason
            if live.task is not None:
                live.task.cancel()
        await live.ended.wait()
        return not live.finished

    def _waves(self, calls: Sequence[ToolCall]) -> Iterator[list[ToolCall]]:
        wave: list[ToolCall] = []
        for call in calls:
            found = self._registry.get(call.name)
            if found is None or not found.spec.sequential:
                wave.append(call)
                continue
            if wave:
                yield wave
            yield [call]
            wave = []
        if wave:
            yield wave

    async def _run_wave(self, wave: list[ToolCall], results: dict[CallId, ToolResult]) -> None:
        admitted: list[Prepared] = []
        refusals: list[ToolResult] = []
        for step in await self._gated(wave):
            if isinstance(step, Prepared):
                admitted.append(step)
            else:
                refusals.append(step)
        for prepared in admitted:
            self._live[prepared.call.call_id] = _Live(prepared)
        hit("tool.started.before")
        await finish_shielded(self._ports.started(tuple(one.call for one in admitted)))
        hit("tool.started.after")
        for refusal in refusals:
            await self._record(CallOutcome(refusal), results)
        try:
            async with asyncio.TaskGroup() as group:
                for prepared in admitted:
                    live = self._live[prepared.call.call_id]
                    name = f"tool {prepared.tool.name} {prepared.call.call_id}"
                    group.create_task(self._run_one(live, results), name=name)
        except BaseExceptionGroup as failures:
            # Only the ports raise in here: the first failure is the run's.
            raise failures.exceptions[0] from failures

    async def _gated(self, wave: list[ToolCall]) -> list[Prepared | ToolResult]:
        """Each call admitted or refused. What one of them waits for holds up no other gate."""

        async def step(call: ToolCall) -> Prepared | ToolResult:
            prepared = prepare(self._registry, call)
            if isinstance(prepared, ToolResult):
                self._ports.unfit(call)
                return prepared
            return await gate(self._ports.gate, self._registry, prepared)

        if len(wave) == 1:
            return [await step(wave[0])]
        try:
            async with asyncio.TaskGroup() as group:
                steps = [
                    group.create_task(step(call), name=f"gate {call.name} {call.call_id}")
                    for call in wave
                ]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return [one.result() for one in steps]

    async def _run_one(self, live: _Live, results: dict[CallId, ToolResult]) -> None:
        call = live.prepared.call
        context = self._ports.context(call)
        began = self._clock.monotonic()
        try:
            output = await self._execute(live, context)
            hit("tool.executed.after")
            live.finished = output is not None
            took_ms = int((self._clock.monotonic() - began) * 1000)
            await finish_shielded(self._settle(live, output, context, took_ms, results))
        finally:
            live.ended.set()

    async def _execute(self, live: _Live, context: ToolContext) -> ToolOutput | None:
        """The output, or None when the call alone was interrupted."""
        if live.interrupted:
            return None
        task = live.task = asyncio.current_task()
        assert task is not None
        try:
            async with self._slots:
                live.started_ms = self._clock.now_ms()
                hit("tool.executed.before")
                return await execute(live.prepared, context)
        except asyncio.CancelledError:
            if not live.interrupted or task.cancelling() > 1:
                raise
            return None
        finally:
            live.task = None
            if live.interrupted:
                task.uncancel()

    async def _settle(
        self,
        live: _Live,
        output: ToolOutput | None,
        context: ToolContext,
        took_ms: int,
        results: dict[CallId, ToolResult],
    ) -> None:
        call = live.prepared.call
        if output is None:
            outcome = CallOutcome(interrupted(call), took_ms, live.interrupted)
        else:
            tokens_max = self._limits.result_tokens_max
            output = replace(output, content=await self._ports.review(call, output.content))
            outcome = CallOutcome(await finalize(call, output, context, tokens_max), took_ms)
        await self._record(outcome, results)

    async def _record(self, outcome: CallOutcome, results: dict[CallId, ToolResult]) -> None:
        await self._ports.finished(outcome)
        hit("tool.finished.after")
        results[outcome.result.call_id] = outcome.result

    async def _record_unfinished(
        self, calls: Sequence[ToolCall], results: dict[CallId, ToolResult]
    ) -> None:
        """The run is being cancelled: close what is open. What fails here is logged, not raised."""
        for call in calls:
            if call.call_id in results:
                continue
            outcome = CallOutcome(interrupted(call), self._took_ms(call), "agent_interrupted")
            try:
                await finish_shielded(self._record(outcome, results))
            except asyncio.CancelledError:
                continue  # asked again; the cancellation is raised when every call is closed
            except RuntimeFault:
                _log.exception("could not record the interruption of %s", call.call_id)
                return

    def _took_ms(self, call: ToolCall) -> int:
        live = self._live.get(call.call_id)
        if live is None or not live.started_ms:
            return 0
        return max(0, self._clock.now_ms() - live.started_ms)
