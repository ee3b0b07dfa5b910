"""What one model call costs: reserved before it, settled after it, once (D20).

`Purse` belongs to one run or one request of a client; the counters of all are in `budgets.py`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BudgetExceeded, FatalFault
from brainpilot_rt.domain.governing import SpendPurpose
from brainpilot_rt.domain.ids import AgentName, HostRunId, LetterId, RunId, SessionId
from brainpilot_rt.domain.model_calls import ModelRef, ModelRequest, ReplyFinished
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.models.estimates import Expected
from brainpilot_rt.models.prices import Prices, Quote
from brainpilot_rt.models.providers import Providers
from brainpilot_rt.supervision.budget_counters import Place
from brainpilot_rt.supervision.budgets import Budgets, Call, Exhausted, RateLimited, Reservation

EXHAUSTED = "budget_exhausted"
FREE = Quote(Decimal(0), Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """On whose behalf calls are made."""

    session: SessionId
    agent: AgentName
    run_id: RunId
    root_id: LetterId | None = None
    host_run_id: HostRunId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What calls are priced and paid with."""

    budgets: Budgets
    prices: Prices
    providers: Callable[[], Providers]
    expected: Expected
    is_free: Callable[[ModelRef], bool]

    async def quote(self, model: ModelRef, usage: Usage) -> Quote:
        """What some usage of a model costs."""
        if self.is_free(model):
            return FREE
        profile, name = self.providers().resolve(model)
        return await self.prices.quote(profile, name, usage)


class Purse:
    """Pays for the calls of one caller, one after the other."""

    def __init__(self, money: Money, caller: Caller) -> None:
        self._money = money
        self._caller = caller
        self._open: Reservation | None = None
        self._last: Call | None = None
        self._crossed = False
        """The latest call has used a budget up; the log may not know it yet."""

    @property
    def is_open(self) -> bool:
        """Whether a call was begun and not settled."""
        return self._open is not None

    @property
    def exhausted(self) -> bool:
        """Whether a budget is used up: nothing more is started."""
        if self._crossed:
            return True
        return self._last is not None and self._money.budgets.exhausted(self._last) is not None

    async def begin(
        self,
        request: ModelRequest,
        model: ModelRef,
        purpose: SpendPurpose,
        most_usd: Decimal | None = None,
    ) -> tuple[ev.SpendReserved, ...]:
        """Keep the probable cost free; what is to be committed before the call, if anything.

        `most_usd`: the estimate above which it is not made.

        Raises `Exhausted` when a budget is used up, `FatalFault` when it may not be asked at all.
        """
        quote = FREE
        if not self._money.is_free(model):
            expected = self._money.expected.before(request, model)
            quote = await self._money.quote(model, expected)
        if most_usd is not None and quote.counted_usd > most_usd:
            estimate = f"its estimate is {quote.counted_usd:.6f} US dollars"
            raise FatalFault(f"{estimate}, above the {most_usd} allowed", code=EXHAUSTED)
        caller = self._caller
        call = Call(
            session=caller.session,
            run_id=caller.run_id,
            agent=caller.agent,
            model=model,
            amount_usd=quote.counted_usd,
            root_id=caller.root_id,
            host_run_id=caller.host_run_id,
            turn=request.turn,
            purpose=purpose,
            free=self._money.is_free(model),
            price_known=quote.cost_usd is not None,
        )
        self._last = call
        while True:
            try:
                self._open = self._money.budgets.reserve(call)
            except RateLimited as limited:
                await asyncio.sleep(limited.retry_after_s)
            except Exhausted:
                raise
            except BudgetExceeded as refused:
                raise FatalFault(refused.message, code=EXHAUSTED) from None
            else:
                return self._open.events

    def left(self) -> Decimal | None:
        """What budgets have left for the next call, in US dollars; None: none bounds it."""
        caller = self._caller
        place = Place(caller.session, caller.run_id, caller.agent, caller.root_id)
        return self._money.budgets.left(place)

    def refusal(self, exhausted: Exhausted) -> list[ev.Event]:
        """What to commit of a call that a budget refuses."""
        assert self._last is not None
        return self._money.budgets.refusal(self._last, exhausted.refused)

    def drop(self) -> None:
        """The reservation could not be committed."""
        if self._open is not None:
            self._money.budgets.drop(self._open)
            self._open = None

    async def charge(self, reply: ReplyFinished) -> list[ev.Event]:
        """What to commit with the reply."""
        reservation = self._taken()
        self._money.expected.learn(reply.model, reply.usage.output)
        quote = (
            Quote(reply.cost_usd, reply.cost_usd, reply.usage.estimated)
            if reply.cost_usd is not None
            else await self._money.quote(reply.model, reply.usage)
        )
        facts = self._money.budgets.settle(reservation, quote, reply.usage, model=reply.model)
        self._crossed = any(isinstance(one, ev.BudgetExhausted) for one in facts)
        return facts

    async def abandon(self, request: ModelRequest, heard: int, reason: str) -> list[ev.Event]:
        """What to commit of a call without a reply, of which `heard` characters had come.

        A provider that refused or broke before it said anything is not paid. One that was cut off
        is paid for what it read and said, as far as we know.
        """
        reservation = self._taken()
        if reservation.call.free or (reason == "failed" and not heard):
            return self._money.budgets.release(reservation, reason)
        usage = self._money.expected.heard(request, heard)
        quote = await self._money.quote(reservation.call.model, usage)
        return self._money.budgets.settle(reservation, quote, usage, reason=reason)

    def _taken(self) -> Reservation:
        taken, self._open = self._open, None
        assert taken is not None
        return taken
