"""The router beside its log: what it takes into account, and what it learns."""

from decimal import Decimal

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import DAEMON_STREAM, AgentName, RunId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.models.prices import Quote
from brainpilot_rt.models.providers import Dialect, ProviderProfile, Providers
from brainpilot_rt.models.routing import Choice, Held
from brainpilot_rt.settings import RoutingSettings
from brainpilot_rt.supervision.routing import QuoteOf, Router, Wanted, Went
from brainpilot_rt.testing.sources import ManualClock

CHEAP = ModelRef(provider="p", model="cheap")
DEAR = ModelRef(provider="p", model="dear")
TURN = Usage(input=1_000, output=100)
COSTS = {"cheap": Decimal("0.1"), "dear": Decimal(1)}


async def quote(model: ModelRef, _usage: Usage) -> Quote:
    return Quote(COSTS[model.model], COSTS[model.model])


def two_models() -> Providers:
    there = ProviderProfile(
        id="p",
        name="P",
        dialect=Dialect.OPENAI_CHAT,
        base_url="https://p.example/v1",
        api_key="k",
        models=("dear", "cheap"),
    )
    return Providers((there,), "p")


def router(log: MemoryEventLog, clock: ManualClock) -> Router:
    return Router(two_models, quote, RoutingSettings(seed=3), log, clock)


async def taught(log: MemoryEventLog, model: ModelRef, of: str, reward: float) -> None:
    """Twenty turns of one class that went so."""
    rated = ev.TurnRated(
        run_id=RunId("r"),
        agent=AgentName("principal"),
        turn=0,
        model=model,
        task_class=of,
        reward=reward,
        validity=reward,
        latency_ms=100,
        usage=TURN,
    )
    await log.append(DAEMON_STREAM, [rated] * 20)


def wanted(**changes: object) -> Wanted:
    plain = {"task_class": "answer", "pinned": None, "auto": True, "usage": TURN}
    return Wanted(**{**plain, **changes})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("bound", ["left_usd", "cost_max_usd"])
async def test_a_model_that_money_does_not_reach_for_is_left_out(bound: str):
    clock = ManualClock()
    at = router(MemoryEventLog(clock=clock), clock)
    for _ in range(20):
        choice = await at.choose(wanted(**{bound: Decimal("0.5")}))
        assert choice.model == CHEAP


async def test_where_money_reaches_for_no_model_the_call_that_crosses_is_chosen_as_ever():
    clock = ManualClock()
    at = router(MemoryEventLog(clock=clock), clock)
    choices = [await at.choose(wanted(left_usd=Decimal("0.01"))) for _ in range(40)]
    assert {one.model.model for one in choices} == {"cheap", "dear"}


async def test_where_unknown_prices_are_refused_only_models_with_a_price_are_chosen():
    clock = ManualClock()

    async def half_known(model: ModelRef, usage: Usage) -> Quote:
        known = await quote(model, usage)
        return Quote(None, known.counted_usd) if model == CHEAP else known

    async def unknown(model: ModelRef, usage: Usage) -> Quote:
        return Quote(None, (await quote(model, usage)).counted_usd)

    def asked(prices: QuoteOf) -> Router:
        return Router(
            two_models, prices, RoutingSettings(seed=3), MemoryEventLog(clock=clock), clock
        )

    known, none = asked(half_known), asked(unknown)
    for prefer in ("", "floor", "fast"):
        assert (await known.choose(wanted(priced=True, prefer=prefer))).model == DEAR
    assert {(await known.choose(wanted())).model.model for _ in range(40)} == {"cheap", "dear"}
    assert (await none.choose(wanted(priced=True))).model in (
        CHEAP,
        DEAR,
    )  # it says what is missing


async def test_a_loop_is_judged_by_what_is_known_of_the_class_that_began_it():
    clock = ManualClock()
    log = MemoryEventLog(clock=clock)
    at = router(log, clock)
    await at.load()
    for model in (CHEAP, DEAR):
        await taught(log, model, "plan", 0.9)
    await taught(log, DEAR, "tools", 0.1)  # below the floor, in a class that this is not
    held = Held(model=DEAR, task_class="plan", in_loop=True)
    choice = await at.choose(wanted(task_class="tools", held=held))
    assert (choice.model, choice.phase, choice.task_class) == (DEAR, "held", "plan")


@pytest.mark.parametrize("phase", ["pinned", "only"])
async def test_a_model_that_nobody_chose_is_compared_with_those_that_could_have_been(phase: str):
    clock = ManualClock()
    at = router(MemoryEventLog(clock=clock), clock)
    rewards: list[float] = []
    for model in (CHEAP, DEAR):
        choice = Choice(model=model, phase=phase, reason="", task_class="answer")  # pyright: ignore[reportArgumentType]
        went = Went(
            choice=choice,
            usage=TURN,
            cost_usd=COSTS[model.model],
            latency_ms=100,
            validity=1.0,
            accuracy=None,
        )
        rated = await at.rated(went, run_id=RunId("r"), agent=AgentName("principal"), turn=0)
        rewards.append(rated.reward)
    assert rewards[0] > rewards[1]
