"""The ledger: rollups equal the sum of the rows, and old logs are taken over."""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainpilot_rt.domain.events import EVENTS, Event, ModelAsked, ModelReplied, Recorded
from brainpilot_rt.domain.ids import AgentName, RunId, SessionId
from brainpilot_rt.domain.messages import AssistantMessage
from brainpilot_rt.domain.model_calls import StopReason
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.ledger import (
    EVERYTHING,
    PICO_MAX,
    GroupBy,
    MemoryLedger,
    SpendRow,
    SqlLedger,
    Which,
    project,
    summed,
    to_pico,
    to_usd,
)
from brainpilot_rt.eventlog.schema import MIGRATIONS, prepare
from brainpilot_rt.testing.contracts.ledger import MODEL, reserved, settled

DAY_MS = 86_400_000
GROUPS: dict[GroupBy, str] = {"agent": "agent", "day": "day", "session": "session"}


@contextmanager
def a_log(path: str | Path = ":memory:") -> Generator[tuple[sqlite3.Connection, SqlLedger]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:

        async def fetch(sql: str, parameters: tuple[str | int, ...]) -> list[tuple[Any, ...]]:
            return connection.execute(sql, parameters).fetchall()

        yield connection, SqlLedger(fetch)


money = st.decimals(0, 10, places=13)
calls = st.integers(1, 12)
said = st.one_of(
    st.builds(reserved, calls, st.sampled_from("abc"), money),
    st.builds(settled, calls, st.none() | money, outcome=st.sampled_from(["charged", "released"])),
    st.builds(settled, calls, money, purpose=st.just("classify"), agent=st.just("free")),
)
histories = st.lists(
    st.tuples(st.sampled_from(["s1", "s2", "_daemon"]), st.integers(0, 3), said), max_size=40
)


@given(histories)
@settings(deadline=None)
async def test_rollups_always_equal_the_sum_of_the_rows_in_both_stores(
    history: list[tuple[str, int, Event]],
):
    memory = MemoryLedger()
    with a_log() as (connection, ledger):
        for statement in MIGRATIONS[1][:-1]:
            connection.execute(statement)
        for pos, (session, day, event) in enumerate(history, 1):
            recorded = Recorded(SessionId(session), pos, pos, day * DAY_MS, event)
            memory.project(recorded)
            project(connection, recorded)
        rows = await ledger.rows()
        assert rows == await memory.rows()
        assert await ledger.open_rows() == await memory.open_rows()
        for by, column in GROUPS.items():
            for which in (EVERYTHING, Which(agent="a"), Which(since_day="1970-01-02")):
                wanted = [row for row in rows if _fits(row, which)]
                keys = sorted({getattr(row, column) for row in wanted})
                expected = [
                    summed(key, [row for row in wanted if getattr(row, column) == key])
                    for key in keys
                ]
                assert await ledger.sums(by, which) == expected
                assert await memory.sums(by, which) == expected


def _fits(row: SpendRow, which: Which) -> bool:
    return which.agent in {None, row.agent} and (which.since_day or "") <= row.day


def test_amounts_are_whole_picodollars_and_halves_go_up():
    assert [to_pico(Decimal(text)) for text in ("0.0000000000005", "0.0000000000004", "-1")] == [
        1,
        0,
        0,
    ]
    assert to_usd(to_pico(Decimal("1234.567890123456"))) == Decimal("1234.567890123456")
    assert to_pico(Decimal("1e40")) == PICO_MAX


async def test_calls_of_a_log_from_before_the_ledger_are_in_it_once(tmp_path: Path):
    who: dict[str, Any] = {"run_id": RunId("r"), "agent": AgentName("a"), "model": MODEL}
    old: list[Event] = [
        ModelReplied(
            turn=3,
            message=AssistantMessage(parts=()),
            stop_reason=StopReason.END,
            usage=Usage(input=7, cache_read=2),
            cost_usd=Decimal("0.0123456789"),
            duration_ms=1,
            **who,
        ),
        ModelAsked(purpose="compact", usage=Usage(output=5), cost_usd=None, duration_ms=1, **who),
        reserved(1),
    ]
    with a_log(tmp_path / "log.db") as (connection, ledger):
        prepare(connection, new_epoch="first", migrations=MIGRATIONS[:1])
        rows = [("s1", n, n, 1_000, one.type, EVENTS.dump_json(one)) for n, one in enumerate(old)]
        rows.append(("s1", 9, 9, 1_000, "model_replied", b"damaged"))
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)
        for _ in range(2):
            prepare(connection, new_epoch="other")
        replied, asked = await ledger.rows()
        assert (replied.reservation_id, asked.reservation_id) == ("old:s1:0", "old:s1:1")
        assert (replied.counted_pico, replied.cost_pico) == (12_345_678_900, 12_345_678_900)
        assert (replied.turn, replied.purpose, replied.input, replied.cache_read) == (
            3,
            "turn",
            7,
            2,
        )
        assert (asked.counted_pico, asked.cost_pico, asked.purpose, asked.output) == (
            0,
            None,
            "compact",
            5,
        )
        assert (asked.day, asked.agent, asked.provider, asked.model) == (
            "1970-01-01",
            "a",
            "p",
            "m",
        )


@pytest.mark.parametrize("by", ["day", "session"])
async def test_common_questions_are_answered_from_an_index(by: str):
    with a_log() as (connection, _):
        for statement in MIGRATIONS[1][:-1]:
            connection.execute(statement)
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN SELECT sum(counted_pico) FROM spend WHERE {by} = 'x'"
        ).fetchall()
        assert f"spend_{by}" in str(plan)
