"""Governed model calls: routed, paid for in advance, guarded, settled.

    choose a model -> check what goes in -> reserve its probable cost -> ask
    -> check what comes out before anybody hears it -> settle what it cost, rate how it went

A call that may cost something is asked only once its reservation is durable (D20); one that costs
nothing reserves nothing, and its facts go with the next commit of its run. A reservation ends once:
charged with the reply, or, when there is none, charged with an estimate of what was sent and heard,
or released when the provider answered with an error. A crash in between is settled at the next
start (`sessions/recovery.py`).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Protocol

from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import FatalFault, ProviderFault
from brainpilot_rt.domain.governing import SpendPurpose
from brainpilot_rt.domain.model_calls import (
    AttemptFailed,
    ModelEvent,
    ModelRequest,
    ReasoningDelta,
    ReplyFinished,
    TextDelta,
)
from brainpilot_rt.domain.tools import ToolResult
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.models.routing import Choice
from brainpilot_rt.supervision.budgets import Exhausted
from brainpilot_rt.supervision.guarding import GuardedReply, Guards
from brainpilot_rt.supervision.money import EXHAUSTED, Caller, Money, Purse
from brainpilot_rt.supervision.routing import Router, Wanted, Went

_NOT_THE_MODELS_FAULT: Final = frozenset({"budget_exhausted", "guardrail_blocked"})


class Sink(Protocol):
    """Where the facts of a call go."""

    async def record(self, *facts: ev.Event) -> object:
        """Commit them now."""
        ...

    def hold(self, *facts: ev.Event) -> None:
        """Commit them with whatever comes next."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What governed calls are made with."""

    stream: Callable[[ModelRequest], AsyncIterator[ModelEvent]]
    router: Router
    money: Money
    guards: Guards
    monotonic: Callable[[], float]


class RunCalls:
    """The model calls of one run, or of one request of a client."""

    def __init__(self, calls: Calls, caller: Caller, sink: Sink) -> None:
        self._calls = calls
        self._caller = caller
        self._sink = sink
        self._purse = Purse(calls.money, caller)
        self._unrated: Went | None = None
        """The latest turn that used tools, until their results are known."""
        self._failed = False
        """The call under way is left because its model failed, not because somebody stopped it."""
        self.last: Choice | None = None
        """What the latest turn was asked with."""

    @property
    def spent(self) -> bool:
        """Whether a budget of this run is used up: nothing more is started."""
        return self._purse.exhausted

    async def stream(
        self, request: ModelRequest, wanted: Wanted, purpose: SpendPurpose = "turn"
    ) -> AsyncGenerator[ModelEvent, None]:
        """One reply. Raises `ProviderFault` only; `budget_exhausted` and `guardrail_blocked` too.

        A model that fails before it has said anything is replaced, which is said; one that is
        pinned never is.
        """
        request = await self._checked(request)
        if wanted.auto:
            left = self._purse.left()
            priced = left is not None and self._calls.money.budgets.refuses_unknown
            wanted = replace(wanted, left_usd=left, priced=priced)
        while True:
            choice = await self._calls.router.choose(wanted)
            spoken = False
            try:
                asking = self._ask(request, choice, purpose, wanted.cost_max_usd)
                async with aclosing(asking) as events:
                    async for event in events:
                        if isinstance(event, AttemptFailed) and self._may_replace(choice, wanted):
                            self._failed = True
                            raise FatalFault(event.reason, code="attempt_failed")
                        spoken = spoken or not isinstance(event, AttemptFailed)
                        yield event
            except ProviderFault as fault:
                if spoken or not self._may_replace(choice, wanted) or _is_ours(fault):
                    raise
                await self._note_failure(choice, request.turn)
                wanted = replace(wanted, failed=(*wanted.failed, choice.model))
            else:
                return

    async def rate(self, turn: int, results: Sequence[ToolResult]) -> None:
        """The tools of a turn have ended: how it went is to be recorded."""
        went, self._unrated = self._unrated, None
        if went is None:
            return
        judged = [one for one in results if one.status in ("completed", "failed", "refused")]
        right = sum(one.status == "completed" for one in judged)
        accuracy = right / len(judged) if judged else None
        self._sink.hold(await self._rating(replace(went, accuracy=accuracy), turn))

    # --- one model --------------------------------------------------------------------------

    async def _ask(
        self,
        request: ModelRequest,
        choice: Choice,
        purpose: SpendPurpose,
        most_usd: Decimal | None,
    ) -> AsyncGenerator[ModelEvent, None]:
        selected = self._selected(choice, request.turn)
        self.last = choice
        asked = request.model_copy(update={"model": choice.model})
        await self._reserve(asked, selected, purpose, most_usd)
        guarded = self._calls.guards.reply(self._caller.run_id, self._caller.agent, request.turn)
        began = self._calls.monotonic()
        heard = 0
        reason = "cancelled"
        self._failed = False
        stream = self._calls.stream(asked)
        try:
            async for event in stream:
                heard += len(event.text) if isinstance(event, TextDelta | ReasoningDelta) else 0
                if isinstance(event, ReplyFinished):
                    latency_ms = round((self._calls.monotonic() - began) * 1000)
                    shown = await self._finish(event, choice, guarded, latency_ms, request.turn)
                else:
                    shown = guarded.hear(event)
                for one in shown:
                    yield one
        except ProviderFault:
            reason = "failed"
            raise
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()
            await self._end(asked, heard, "failed" if self._failed else reason, guarded)

    async def _reserve(
        self,
        asked: ModelRequest,
        selected: ev.ModelSelected,
        purpose: SpendPurpose,
        most_usd: Decimal | None,
    ) -> None:
        """The reservation is durable when this returns; without one nothing waits."""
        assert asked.model is not None
        try:
            reserved = await self._purse.begin(asked, asked.model, purpose, most_usd)
        except Exhausted as refused:
            await self._sink.record(*self._purse.refusal(refused))
            raise FatalFault(refused.message, code=EXHAUSTED) from None
        if not reserved:
            self._sink.hold(selected)
            return
        try:
            await self._sink.record(selected, *reserved)
        except BaseException:
            self._purse.drop()
            raise

    async def _end(
        self, asked: ModelRequest, heard: int, reason: str, guarded: GuardedReply
    ) -> None:
        """A call that was not answered: what it comes to is durable before anybody goes on."""
        if self._purse.is_open:
            end = await self._purse.abandon(asked, heard, reason)
            if end:
                await finish_shielded(self._sink.record(*end, *guarded.facts()))

    async def _finish(
        self,
        reply: ReplyFinished,
        choice: Choice,
        guarded: GuardedReply,
        latency_ms: int,
        turn: int,
    ) -> list[ModelEvent]:
        """Settle first: what comes after the reply may be cancelled at any moment."""
        self._sink.hold(*await self._purse.charge(reply))
        shown = await guarded.finish(reply)
        self._sink.hold(*guarded.facts())
        went = Went(
            choice=choice,
            usage=reply.usage,
            cost_usd=reply.cost_usd,
            latency_ms=latency_ms,
            validity=1.0,
            accuracy=None,
        )
        final = shown[-1]
        if isinstance(final, ReplyFinished) and final.message.tool_calls:
            self._unrated = went
        else:
            self._sink.hold(await self._rating(went, turn))
        return shown

    async def _rating(self, went: Went, turn: int) -> ev.TurnRated:
        caller = self._caller
        return await self._calls.router.rated(
            went, run_id=caller.run_id, agent=caller.agent, turn=turn
        )

    async def _note_failure(self, choice: Choice, turn: int) -> None:
        went = Went(
            choice=choice,
            usage=Usage(),
            cost_usd=None,
            latency_ms=0,
            validity=0.0,
            accuracy=None,
        )
        await self._sink.record(await self._rating(went, turn))

    def _may_replace(self, choice: Choice, wanted: Wanted) -> bool:
        router = self._calls.router
        if choice.phase == "pinned" or len(wanted.failed) >= router.fallbacks_max:
            return False
        others = router.candidates(auto=wanted.auto, within=wanted.within)
        return any(one not in wanted.failed and one != choice.model for one in others)

    def _selected(self, choice: Choice, turn: int) -> ev.ModelSelected:
        return ev.ModelSelected(
            run_id=self._caller.run_id,
            agent=self._caller.agent,
            turn=turn,
            model=choice.model,
            phase=choice.phase,
            reason=choice.reason,
            task_class=choice.task_class,
            candidates=choice.candidates,
            propensity=choice.propensity,
            switch_cost_usd=choice.switch_cost_usd,
            instead_of=choice.instead_of,
        )

    async def _checked(self, request: ModelRequest) -> ModelRequest:
        """What the user or another agent has said since the last reply, checked."""
        messages, facts, blocked = await self._calls.guards.incoming(
            request.messages, self._caller.run_id, self._caller.agent, request.turn
        )
        if blocked:
            await self._sink.record(*facts)
            raise FatalFault(blocked, code="guardrail_blocked")
        self._sink.hold(*facts)
        if messages is request.messages:
            return request
        return request.model_copy(update={"messages": messages})


def _is_ours(fault: ProviderFault) -> bool:
    return fault.code in _NOT_THE_MODELS_FAULT
