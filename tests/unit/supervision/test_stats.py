"""What a session took, by model."""

from decimal import Decimal
from typing import Any

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.messages import AssistantMessage
from brainpilot_rt.domain.model_calls import ModelRef, StopReason
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.supervision.stats import stats_of
from brainpilot_rt.testing.sources import ManualClock

SESSION = SessionId("s")
COMMON: dict[str, Any] = {"run_id": "run_1", "agent": "bot", "duration_ms": 1}


def replied(model: str, tokens: int, cost: str | None) -> ev.ModelReplied:
    return ev.ModelReplied(
        **COMMON,
        turn=0,
        message=AssistantMessage(parts=()),
        stop_reason=StopReason.END,
        usage=Usage(input=tokens),
        model=ModelRef(provider="p", model=model),
        cost_usd=None if cost is None else Decimal(cost),
    )


async def test_tokens_and_cost_are_summed_by_model_and_an_unknown_price_is_not_zero():
    log = MemoryEventLog(clock=ManualClock())
    beside = ev.ModelAsked(
        **COMMON,
        purpose="classify",
        model=ModelRef(provider="p", model="a"),
        usage=Usage(input=1),
        cost_usd=Decimal("0.5"),
    )
    events = (replied("a", 10, "0.25"), beside, replied("b", 5, "0.1"), replied("b", 5, None))
    await log.append(SESSION, events)
    by_model = (await stats_of(log, SESSION))["byModel"]
    assert {name: (one["calls"], one["costUsd"]) for name, one in by_model.items()} == {
        "p/a": (2, "0.75"),
        "p/b": (2, None),
    }
    assert by_model["p/a"]["tokens"]["total"] == 11
    await log.close()


async def test_a_call_that_was_cut_counts_with_what_it_was_charged_and_an_answered_one_once():
    log = MemoryEventLog(clock=ManualClock())
    common: dict[str, Any] = {"run_id": "run_1", "agent": "bot", "outcome": "charged"}
    model = ModelRef(provider="p", model="a")
    answered = ev.SpendSettled(
        **common,
        reservation_id="res_1",
        model=model,
        usage=Usage(input=10),
        cost_usd=Decimal("0.25"),
        counted_usd=Decimal("0.25"),
    )
    cut = ev.SpendSettled(
        **common,
        reservation_id="res_2",
        model=model,
        usage=Usage(input=7),
        counted_usd=Decimal("0.5"),
        reason="cancelled",
    )
    await log.append(SESSION, [replied("a", 10, "0.25"), answered, cut])
    stats = await stats_of(log, SESSION)
    assert stats["byModel"]["p/a"]["costUsd"] == "0.75"
    assert stats["total"]["tokens"]["input"] == 17
