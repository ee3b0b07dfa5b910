"""What the ledger of every `EventLog` must do: one row for each model call, as the events say."""

from decimal import Decimal
from typing import Any, Final, get_args

from brainpilot_rt.domain.events import SpendReserved, SpendSettled
from brainpilot_rt.domain.ids import DAEMON_STREAM, AgentName, LetterId, RunId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.ledger import GroupBy, Which, day_of, summed, to_usd
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.testing.contracts.eventlog import S1, S2, events

CENT: Final = Decimal("0.01")
MODEL: Final = ModelRef(provider="p", model="m")


def reserved(number: int, agent: str = "a", usd: Decimal = CENT) -> SpendReserved:
    """Money kept free for a call."""
    return SpendReserved(
        reservation_id=f"res_{number}",
        run_id=RunId("r"),
        agent=AgentName(agent),
        root_id=LetterId("root"),
        turn=number,
        model=MODEL,
        amount_usd=usd,
    )


def settled(number: int, usd: Decimal | None = CENT, **more: Any) -> SpendSettled:
    """What the call came to; the price may be unknown."""
    fields: dict[str, Any] = {
        "outcome": "charged",
        "agent": AgentName("a"),
        "usage": Usage(input=10, output=3),
        "counted_usd": CENT if usd is None else usd,
    }
    fields |= more
    return SpendSettled(
        reservation_id=f"res_{number}", run_id=RunId("r"), model=MODEL, cost_usd=usd, **fields
    )


class LedgerContract:
    """Rows, their one end, and sums of them."""

    async def test_a_call_is_one_row_from_its_reservation_to_its_charge(
        self, log: EventLog
    ) -> None:
        """The settled amount takes the place of the estimate."""
        (asked,) = await log.append(S1, [reserved(1)])
        (row,) = await log.ledger.open_rows()
        assert (row.state, row.session, row.root_id, row.turn) == ("open", S1, "root", 1)
        assert (to_usd(row.reserved_pico), row.cost_pico) == (CENT, None)
        assert (row.at_ms, row.day) == (asked.at_ms, day_of(asked.at_ms))
        await log.append(S1, [settled(1, Decimal("0.0123456789012"))])
        (row,) = await log.ledger.rows()
        assert (row.state, row.counted_pico, row.cost_pico) == ("charged", 12345678901, 12345678901)
        assert (row.input, row.output, row.purpose) == (10, 3, "turn")
        assert await log.ledger.open_rows() == []

    async def test_an_unknown_price_is_counted_and_stays_unknown(self, log: EventLog) -> None:
        """None is not 0."""
        await log.append(S1, [reserved(1), settled(1, None, estimated=True)])
        (total,) = await log.ledger.sums("all")
        assert (to_usd(total.counted_pico), total.cost_pico, total.unknown) == (CENT, 0, 1)

    async def test_a_released_call_costs_nothing(self, log: EventLog) -> None:
        """And is not said to have an unknown price."""
        released = settled(1, None, outcome="released", reason="failed")
        await log.append(S1, [reserved(1), released])
        (row,) = await log.ledger.rows()
        assert (row.state, row.counted_pico, row.reason) == ("released", 0, "failed")
        (total,) = await log.ledger.sums("all")
        assert (total.counted_pico, total.reserved_pico, total.unknown) == (0, 0, 0)

    async def test_a_call_that_reserved_nothing_has_its_row_too(self, log: EventLog) -> None:
        """So that tokens of free models are counted."""
        free = settled(1, Decimal(0), purpose="compact", turn=4, root_id="other")
        await log.append(S1, [free])
        (row,) = await log.ledger.rows()
        assert (row.state, row.purpose, row.turn, row.root_id) == ("charged", "compact", 4, "other")
        assert (row.cost_pico, row.input) == (0, 10)

    async def test_only_the_first_end_counts(self, log: EventLog) -> None:
        """Whatever stream says another."""
        await log.append(S1, [reserved(1), settled(1)])
        await log.append(DAEMON_STREAM, [settled(1, Decimal(5), reason="crash")])
        await log.append(S1, [settled(1, None, outcome="released")])
        (row,) = await log.ledger.rows()
        assert (row.state, row.session, row.cost_pico) == ("charged", S1, 10**10)

    async def test_what_was_spent_outlives_its_session(self, log: EventLog) -> None:
        """And another stream can end what the session left open."""
        await log.append(S1, [reserved(1), settled(1), reserved(2)])
        await log.delete_session(S1)
        assert [row.turn for row in await log.ledger.open_rows()] == [2]
        await log.append(DAEMON_STREAM, [settled(2, reason="crash")])
        assert await log.ledger.open_rows() == []
        (total,) = await log.ledger.sums("session")
        assert (total.key, total.calls, to_usd(total.counted_pico)) == (S1, 2, 2 * CENT)

    async def test_rows_are_read_page_by_page_and_by_what_they_are(self, log: EventLog) -> None:
        """Ascending, after a cursor; other events leave nothing."""
        await log.append(S1, [reserved(1, "a"), *events(2), reserved(2, "b"), reserved(3, "a")])
        await log.append(S2, [reserved(4, "b")])
        ledger = log.ledger
        assert [row.turn for row in await ledger.rows(limit=3)] == [1, 2, 3]
        third = (await ledger.rows(limit=3))[-1].number
        assert [row.turn for row in await ledger.rows(after=third)] == [4]
        assert [row.turn for row in await ledger.rows(Which(agent="b"))] == [2, 4]
        assert [row.turn for row in await ledger.rows(Which(agent="b", session=S2))] == [4]
        day = (await ledger.rows())[0].day
        today = await ledger.rows(Which(since_day=day, until_day=day))
        assert today == await ledger.rows()
        assert await ledger.rows(Which(since_day="9999-01-01")) == []
        assert await ledger.rows(Which(until_day="1970-01-01")) == []

    async def test_sums_are_those_of_the_rows_however_they_are_grouped(self, log: EventLog) -> None:
        """Exactly, in picodollars."""
        tiny = Decimal("0.000000000001")
        for number in range(1, 20):
            await log.append(S1 if number % 2 else S2, [reserved(number, "ab"[number % 2])])
            if number % 5:
                await log.append(S1, [settled(number, number * tiny if number % 3 else None)])
        rows = await log.ledger.rows()
        (total,) = await log.ledger.sums("all")
        assert total == summed("", rows)
        assert total.unknown > 0 < total.reserved_pico
        for by in get_args(GroupBy):
            sums = await log.ledger.sums(by)
            assert sum(one.counted_pico for one in sums) == total.counted_pico
            assert sum(one.calls for one in sums) == len(rows)
        agents = {one.key: one for one in await log.ledger.sums("agent")}
        assert agents["a"] == summed("a", [row for row in rows if row.agent == "a"])
        assert [one.key for one in await log.ledger.sums("model")] == ["p:m"]
