"""The runner: one result for every call, in order, whatever happens."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from brainpilot_rt.domain.errors import NotFound, Unavailable
from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.messages import ToolCall
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.testing.desk import Desk
from brainpilot_rt.testing.sources import ManualClock
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Registry, Tool, ToolOutput, tool
from brainpilot_rt.tools.runner import CallOutcome, RunnerLimits, RunnerPorts, ToolRunner
from brainpilot_rt.tools.steps import Allow, Refuse, Verdict


class Nothing(Arguments):
    """Say something."""


class Wanted(Arguments):
    """Say something."""

    text: str
    times: int = 1


def make(name: str, run: Callable[[], Awaitable[str]], *, sequential: bool = False) -> Tool:
    async def call(_: ToolContext, __: Nothing) -> ToolOutput:
        return ToolOutput(await run())

    return tool(call, Nothing, name=name, effect=Effect.PURE, sequential=sequential)


async def _say(_: ToolContext, wanted: Wanted) -> ToolOutput:
    return ToolOutput(wanted.text * wanted.times)


SAY = tool(_say, Wanted, name="say", effect=Effect.PURE)


def call(number: int, name: str = "say", **arguments: object) -> ToolCall:
    return ToolCall(call_id=CallId(f"call_{number}"), name=name, arguments=arguments)


@dataclass
class Ledger:
    """Ports that write down what was made durable, in order."""

    make_context: Callable[[str], ToolContext]
    lines: list[str] = field(default_factory=list)
    outcomes: list[CallOutcome] = field(default_factory=list)
    refuse: str = ""
    broken: bool = False

    def ports(self) -> RunnerPorts:
        return RunnerPorts(
            context=lambda one: self.make_context(one.call_id),
            gate=self.gate,
            started=self.started,
            finished=self.finished,
        )

    async def gate(self, call: ToolCall, _: Tool) -> Verdict:
        return Refuse("the auditor may not") if call.name == self.refuse else Allow()

    async def started(self, calls: tuple[ToolCall, ...]) -> None:
        await asyncio.sleep(0.001)
        self.lines.append("started " + " ".join(one.call_id for one in calls))

    async def finished(self, outcome: CallOutcome) -> None:
        if self.broken:
            raise Unavailable("disk full")
        await asyncio.sleep(0.001)
        self.lines.append(f"{outcome.result.call_id} {outcome.result.status}")
        self.outcomes.append(outcome)


@pytest.fixture
def ledger(desk: Desk) -> Ledger:
    return Ledger(desk.context)


def runner(ledger: Ledger, *tools: Tool, parallel_max: int = 8) -> ToolRunner:
    return ToolRunner(
        Registry(tools),
        ledger.ports(),
        clock=ManualClock(),
        limits=RunnerLimits(parallel_max=parallel_max, result_tokens_max=1_000),
    )


async def test_calls_run_beside_each_other_and_answer_in_call_order(ledger: Ledger):
    gates = [asyncio.Event() for _ in range(3)]

    def waiting(at: int) -> Callable[[], Awaitable[str]]:
        async def run() -> str:
            if at:
                gates[at - 1].set()
            if at < 2:
                await gates[at].wait()
            return f"from {at}"

        return run

    tools = [make(f"t{at}", waiting(at)) for at in range(3)]
    results = await runner(ledger, *tools).run([call(at, f"t{at}") for at in range(3)])
    assert [one.content for one in results] == ["from 0", "from 1", "from 2"]
    assert ledger.lines[0] == "started call_0 call_1 call_2"
    assert set(ledger.lines[1:]) == {f"call_{at} completed" for at in range(3)}


async def test_no_more_run_at_once_than_allowed(ledger: Ledger):
    now = most = 0

    async def run() -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(1)
        now -= 1
        return ""

    await runner(ledger, make("t", run), parallel_max=2).run([call(at, "t") for at in range(5)])
    assert most == 2


async def test_a_sequential_call_runs_alone_in_its_place(ledger: Ledger):
    order: list[str] = []

    def noting(name: str) -> Tool:
        async def run() -> str:
            order.append(f"{name}+")
            await asyncio.sleep(1)
            order.append(f"{name}-")
            return ""

        return make(name, run, sequential=name == "alone")

    tools = [noting("a"), noting("alone"), noting("b")]
    await runner(ledger, *tools).run([call(1, "a"), call(2, "alone"), call(3, "b")])
    assert order == ["a+", "a-", "alone+", "alone-", "b+", "b-"]
    assert ledger.lines[::2] == ["started call_1", "started call_2", "started call_3"]


async def test_a_failure_is_a_result_and_disturbs_nobody(ledger: Ledger):
    async def unknown() -> str:
        raise NotFound("no agent librarain; did you mean librarian?")

    async def bug() -> str:
        raise ValueError("/home/someone/secret")

    async def disk() -> str:
        raise FileNotFoundError(2, "No such file or directory", "/home/someone/x")

    tools = [make("unknown", unknown), make("bug", bug), make("disk", disk), SAY]
    calls = [call(1, "unknown"), call(2, "bug"), call(3, "disk"), call(4, text="fine")]
    results = await runner(ledger, *tools).run(calls)
    assert [one.status for one in results] == ["failed", "failed", "failed", "completed"]
    assert results[0].content == "no agent librarain; did you mean librarian?"
    assert not any("/home" in one.content for one in results)


@pytest.mark.fault("G10")
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (call(1, "sya", text="x"), "Did you mean say?"),
        (call(1), "`text`: Field required"),
        (call(1, text="x", times="many"), "`times`"),
        (call(1, text="x", size=1), "It takes: text*, times"),
        (
            ToolCall(call_id=CallId("call_1"), name="say", arguments=None, raw_arguments='{"te'),
            "not one JSON object",
        ),
    ],
)
async def test_a_malformed_call_is_refused_with_what_to_mend(
    ledger: Ledger, wrong: ToolCall, told: str
):
    results = await runner(ledger, SAY).run([wrong, call(2, text="ok")])
    assert [one.status for one in results] == ["refused", "completed"]
    assert told in results[0].content
    assert ledger.lines[0] == "started call_2"


async def test_a_call_the_gate_refuses_never_runs(ledger: Ledger):
    ledger.refuse = "say"
    results = await runner(ledger, SAY).run([call(1, text="x")])
    assert results[0].content == "Not allowed: the auditor may not"
    assert ledger.lines == ["started ", "call_1 refused"]


async def test_one_call_is_interrupted_and_the_others_go_on(ledger: Ledger):
    async def forever() -> str:
        await asyncio.Event().wait()
        return ""

    async def short() -> str:
        await asyncio.sleep(5)
        return "done"

    subject = runner(ledger, make("forever", forever), make("short", short))
    async with asyncio.TaskGroup() as group:
        work = group.create_task(subject.run([call(1, "forever"), call(2, "short")]))
        await asyncio.sleep(1)
        assert [one.name for one in subject.running] == ["forever", "short"]
        assert await subject.interrupt(CallId("call_1"))
        assert not await subject.interrupt(CallId("call_1"))
        assert not await subject.interrupt(CallId("call_9"))
    assert [one.status for one in work.result()] == ["interrupted", "completed"]
    assert [one.reason for one in ledger.outcomes] == ["user_requested", None]
    assert subject.running == ()


async def test_a_call_that_has_ended_is_not_interrupted_while_it_is_recorded(ledger: Ledger):
    seen: list[bool] = []

    async def finished(outcome: CallOutcome) -> None:
        seen.append(await subject.interrupt(outcome.result.call_id))

    ports = dataclasses.replace(ledger.ports(), finished=finished)
    subject = ToolRunner(Registry([SAY]), ports, clock=ManualClock())
    results = await subject.run([call(1, text="x")])
    assert (results[0].status, seen) == ("completed", [False])


async def test_a_call_that_waits_for_its_turn_can_be_interrupted(ledger: Ledger):
    async def long() -> str:
        await asyncio.sleep(100)
        return "done"

    subject = runner(ledger, make("long", long), parallel_max=1)
    async with asyncio.TaskGroup() as group:
        work = group.create_task(subject.run([call(1, "long"), call(2, "long")]))
        await asyncio.sleep(1)
        async with asyncio.timeout(1):
            assert await subject.interrupt(CallId("call_2"))
    assert [one.status for one in work.result()] == ["completed", "interrupted"]


async def test_a_cancelled_run_closes_every_call_before_it_ends(ledger: Ledger):
    ended: list[str] = []

    async def slow_to_stop() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(3)
            ended.append("stopped")
        return ""

    subject = runner(ledger, make("slow", slow_to_stop), SAY)
    calls = [call(1, "slow"), call(2, text="x")]
    async with asyncio.TaskGroup() as group:
        work = group.create_task(subject.run(calls))
        await asyncio.sleep(1)
        work.cancel()
        await asyncio.wait([work])
    assert work.cancelled()
    assert ended == ["stopped"]
    assert ledger.lines == [
        *("started call_1 call_2", "call_2 completed", "call_1 interrupted"),
    ]


async def test_a_stopped_call_says_how_long_it_ran_and_why_it_ended(ledger: Ledger):
    clock = ManualClock()

    async def forever() -> str:
        clock.advance(1.5)
        await asyncio.Event().wait()
        return ""

    tools = Registry([make("forever", forever, sequential=True)])
    subject = ToolRunner(tools, ledger.ports(), clock=clock)
    async with asyncio.TaskGroup() as group:
        work = group.create_task(subject.run([call(1, "forever"), call(2, "forever")]))
        await asyncio.sleep(1)
        work.cancel()
        await asyncio.wait([work])
    ends = [(one.duration_ms, one.reason) for one in ledger.outcomes]
    assert ends == [(1500, "agent_interrupted"), (0, "agent_interrupted")]


async def test_calls_of_later_waves_are_closed_too(ledger: Ledger):
    async def forever() -> str:
        await asyncio.Event().wait()
        return ""

    subject = runner(ledger, make("forever", forever, sequential=True))
    async with asyncio.TaskGroup() as group:
        work = group.create_task(subject.run([call(1, "forever"), call(2, "forever")]))
        await asyncio.sleep(1)
        for _ in range(3):
            work.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([work])
    assert ledger.lines == ["started call_1", "call_1 interrupted", "call_2 interrupted"]


async def test_a_result_that_cannot_be_recorded_fails_the_run(ledger: Ledger):
    ledger.broken = True
    with pytest.raises(Unavailable):
        await runner(ledger, SAY).run([call(1, text="x")])


async def test_a_cancelled_run_stays_cancelled_when_nothing_can_be_recorded(ledger: Ledger):
    async def forever() -> str:
        await asyncio.Event().wait()
        return ""

    ledger.broken = True
    subject = runner(ledger, make("forever", forever))
    async with asyncio.TaskGroup() as group:
        work = group.create_task(subject.run([call(1, "forever")]))
        await asyncio.sleep(1)
        work.cancel()
        await asyncio.wait([work])
    assert work.cancelled()


@pytest.mark.fault("H10")
async def test_a_long_result_is_cut_and_kept_whole(ledger: Ledger, desk: Desk):
    text = "\n".join(f"line {number}" for number in range(2_000))
    result = (await runner(ledger, SAY).run([call(1, text=text)]))[0]
    assert len(result.content) < 4_000
    assert result.content.startswith("line 0\n")
    assert result.content.endswith("line 1999")
    assert result.full_output_path is not None
    assert result.full_output_path in result.content
    assert desk.workspace.read_text(result.full_output_path) == text


@pytest.mark.fault("H10")
async def test_a_result_is_cut_honestly_when_it_cannot_be_kept(ledger: Ledger, desk: Desk):
    (desk.root / ".truncated").symlink_to("/")
    result = (await runner(ledger, SAY).run([call(1, text="x" * 9_000)]))[0]
    assert "could not be kept" in result.content
    assert result.full_output_path is None
