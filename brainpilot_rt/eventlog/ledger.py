"""The ledger: one row for each model call, written in the transaction of the events it follows.

The row begins as `open` with a reservation and ends, once, as `charged` or `released`; a call that
reserved nothing gets its row when it is settled. It stays when its session is deleted: the money
was spent. Amounts are whole picodollars, so that SQL sums them exactly; `day` (UTC) is the day in
which the call was asked for, also when it is settled after midnight.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from operator import attrgetter
from typing import Any, Final, Literal, Protocol, TypeAlias

from brainpilot_rt.domain.events import Recorded, SpendReserved, SpendSettled
from brainpilot_rt.domain.governing import PICO
from brainpilot_rt.domain.ids import AgentName, SessionId

RowState: TypeAlias = Literal["open", "charged", "released"]
GroupBy: TypeAlias = Literal[
    "all", "agent", "model", "provider", "day", "month", "session", "purpose", "root"
]
PICO_MAX: Final = 10**18
"""A million dollars for one call is a mistake; more would not fit into a sum of SQLite's."""
ROWS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class SpendRow:
    """A model call in the ledger. The fields are the columns, in their order."""

    number: int
    """Ascending in the order of the first events; the cursor of a page."""
    reservation_id: str
    session: SessionId
    run_id: str
    agent: AgentName
    root_id: str | None
    host_run_id: str | None
    turn: int
    purpose: str
    provider: str
    model: str
    at_ms: int
    day: str
    state: RowState
    reserved_pico: int
    counted_pico: int = 0
    """What the budgets were charged."""
    cost_pico: int | None = None
    """None: not known, or not yet."""
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    estimated: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SpendSum:
    """Rows with something in common, added up."""

    key: str
    calls: int
    counted_pico: int
    reserved_pico: int
    """Kept free for the open ones."""
    cost_pico: int
    """Of those whose cost is known."""
    unknown: int
    """Calls that were charged and whose cost is not known."""
    input: int
    output: int
    cache_read: int
    cache_write: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which rows are wanted; None: whatever it is."""

    agent: str | None = None
    session: str | None = None
    since_day: str | None = None
    until_day: str | None = None
    """Both days are included."""


EVERYTHING: Final = Which()


class Ledger(Protocol):
    """What the log tells about money."""

    async def rows(
        self, which: Which = EVERYTHING, *, after: int = 0, limit: int = ROWS_MAX
    ) -> list[SpendRow]:
        """The first `limit` (at most `ROWS_MAX`) rows with `number > after`, ascending."""
        ...

    async def sums(self, by: GroupBy, which: Which = EVERYTHING) -> list[SpendSum]:
        """One sum for each value of `by`, in the order of the values; none without rows."""
        ...

    async def open_rows(self) -> list[SpendRow]:
        """All that are neither charged nor released, ascending."""
        ...


def to_pico(usd: Decimal) -> int:
    """US dollars in whole picodollars, a half rounded up."""
    pico = (min(usd, PICO * PICO_MAX) / PICO).to_integral_value(ROUND_HALF_UP)
    return max(int(pico), 0)


def to_usd(pico: int) -> Decimal:
    """Picodollars in US dollars."""
    return Decimal(pico).scaleb(-12)


def day_of(at_ms: int) -> str:
    """The day (UTC) of a moment."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")


def fold(row: SpendRow | None, recorded: Recorded) -> SpendRow | None:
    """The row after an event; the first end of a row counts. None: no event of the ledger's."""
    match recorded.event:
        case SpendReserved() as asked:
            return row or _new(
                recorded, asked, asked.purpose, "open", reserved_pico=to_pico(asked.amount_usd)
            )
        case SpendSettled() as end:
            begun = row or _new(recorded, end, end.purpose or "turn", "open")
            return _ended(begun, end) if begun.state == "open" else begun
        case _:
            return None


def _new(
    recorded: Recorded,
    event: SpendReserved | SpendSettled,
    purpose: str,
    state: RowState,
    reserved_pico: int = 0,
) -> SpendRow:
    return SpendRow(
        number=0,
        reservation_id=event.reservation_id,
        session=recorded.session,
        run_id=event.run_id,
        agent=event.agent,
        root_id=event.root_id,
        host_run_id=event.host_run_id,
        turn=event.turn,
        purpose=purpose,
        provider=event.model.provider,
        model=event.model.model,
        at_ms=recorded.at_ms,
        day=day_of(recorded.at_ms),
        state=state,
        reserved_pico=reserved_pico,
    )


def _ended(row: SpendRow, end: SpendSettled) -> SpendRow:
    charged = end.outcome == "charged"
    return replace(
        row,
        provider=end.model.provider,
        model=end.model.model,
        state=end.outcome,
        counted_pico=to_pico(end.counted_usd) if charged else 0,
        cost_pico=to_pico(end.cost_usd) if charged and end.cost_usd is not None else None,
        input=end.usage.input,
        output=end.usage.output,
        cache_read=end.usage.cache_read,
        cache_write=end.usage.cache_write,
        estimated=end.estimated,
        reason=end.reason,
    )


# --- in memory ------------------------------------------------------------------------------

_KEYS: Final[Mapping[GroupBy, Callable[[SpendRow], str]]] = {
    "all": lambda _: "",
    "agent": lambda row: row.agent,
    "model": lambda row: f"{row.provider}:{row.model}",
    "provider": lambda row: row.provider,
    "day": lambda row: row.day,
    "month": lambda row: row.day[:7],
    "session": lambda row: row.session,
    "purpose": lambda row: row.purpose,
    "root": lambda row: row.root_id or "",
}


class MemoryLedger:
    """The ledger of a log in memory."""

    def __init__(self) -> None:
        self._rows: dict[str, SpendRow] = {}

    def project(self, recorded: Recorded) -> None:
        """Fold an event in, if it is one of the ledger's."""
        if not isinstance(recorded.event, SpendReserved | SpendSettled):
            return
        key = recorded.event.reservation_id
        row = fold(self._rows.get(key), recorded)
        if row is not None:
            self._rows[key] = row if row.number else replace(row, number=len(self._rows) + 1)

    async def rows(
        self, which: Which = EVERYTHING, *, after: int = 0, limit: int = ROWS_MAX
    ) -> list[SpendRow]:
        """The first `limit` rows with `number > after`, ascending."""
        return [row for row in self._matching(which) if row.number > after][: min(limit, ROWS_MAX)]

    async def sums(self, by: GroupBy, which: Which = EVERYTHING) -> list[SpendSum]:
        """One sum for each value of `by`, in the order of the values."""
        groups: defaultdict[str, list[SpendRow]] = defaultdict(list)
        for row in self._matching(which):
            groups[_KEYS[by](row)].append(row)
        return [summed(key, groups[key]) for key in sorted(groups)]

    async def open_rows(self) -> list[SpendRow]:
        """All that are neither charged nor released, ascending."""
        return [row for row in self._rows.values() if row.state == "open"]

    def _matching(self, which: Which) -> Iterable[SpendRow]:
        return (
            row
            for row in self._rows.values()
            if which.agent in {None, row.agent}
            and which.session in {None, row.session}
            and (which.since_day is None or which.since_day <= row.day)
            and (which.until_day is None or row.day <= which.until_day)
        )


def summed(key: str, rows: Sequence[SpendRow]) -> SpendSum:
    """The sum of rows."""
    return SpendSum(
        key=key,
        calls=len(rows),
        counted_pico=sum(row.counted_pico for row in rows),
        reserved_pico=sum(row.reserved_pico for row in rows if row.state == "open"),
        cost_pico=sum(row.cost_pico or 0 for row in rows),
        unknown=sum(row.state == "charged" and row.cost_pico is None for row in rows),
        input=sum(row.input for row in rows),
        output=sum(row.output for row in rows),
        cache_read=sum(row.cache_read for row in rows),
        cache_write=sum(row.cache_write for row in rows),
    )


# --- in SQLite ------------------------------------------------------------------------------

TABLES: Final[Sequence[str]] = (
    """
    CREATE TABLE spend (
        number INTEGER PRIMARY KEY, reservation_id TEXT NOT NULL UNIQUE,
        session TEXT NOT NULL, run_id TEXT NOT NULL, agent TEXT NOT NULL,
        root_id TEXT, host_run_id TEXT, turn INTEGER NOT NULL, purpose TEXT NOT NULL,
        provider TEXT NOT NULL, model TEXT NOT NULL, at_ms INTEGER NOT NULL, day TEXT NOT NULL,
        state TEXT NOT NULL, reserved_pico INTEGER NOT NULL, counted_pico INTEGER NOT NULL,
        cost_pico INTEGER, input INTEGER NOT NULL, output INTEGER NOT NULL,
        cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL,
        estimated INTEGER NOT NULL, reason TEXT NOT NULL
    )
    """,
    "CREATE INDEX spend_day ON spend (day, agent)",
    "CREATE INDEX spend_session ON spend (session)",
    "CREATE INDEX spend_open ON spend (number) WHERE state = 'open'",
    # Calls of logs from before there was a ledger. What they cost is in the replies. Doubles hold
    # a whole number of picodollars exactly up to 9,000 dollars.
    """
    INSERT INTO spend
    SELECT NULL, 'old:' || session || ':' || seq, session,
        coalesce(json_extract(said, '$.run_id'), ''), coalesce(json_extract(said, '$.agent'), ''),
        NULL, NULL, coalesce(json_extract(said, '$.turn'), 0),
        coalesce(json_extract(said, '$.purpose'), 'turn'),
        coalesce(json_extract(said, '$.model.provider'), ''),
        coalesce(json_extract(said, '$.model.model'), ''),
        at_ms, strftime('%Y-%m-%d', at_ms / 1000, 'unixepoch'), 'charged', 0,
        coalesce(CAST(round(json_extract(said, '$.cost_usd') * 1e12) AS INTEGER), 0),
        CAST(round(json_extract(said, '$.cost_usd') * 1e12) AS INTEGER),
        coalesce(json_extract(said, '$.usage.input'), 0),
        coalesce(json_extract(said, '$.usage.output'), 0),
        coalesce(json_extract(said, '$.usage.cache_read'), 0),
        coalesce(json_extract(said, '$.usage.cache_write'), 0),
        coalesce(json_extract(said, '$.usage.estimated'), 0), 'before the ledger'
    FROM (
        SELECT session, seq, pos, at_ms, CAST(payload AS TEXT) AS said FROM events
        WHERE type IN ('model_replied', 'model_asked')
    )
    WHERE json_valid(said) ORDER BY pos
    """,
)

_COLUMNS: Final = tuple(field.name for field in fields(SpendRow))
_UPSERT: Final = (
    f"INSERT INTO spend VALUES ({', '.join('?' * len(_COLUMNS))}) "  # noqa: S608 - our own names
    "ON CONFLICT (reservation_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "number")
)
_AFTER_NUMBER: Final = attrgetter(*_COLUMNS[1:])
_ONE: Final = "SELECT * FROM spend WHERE reservation_id = ?"
_GROUPS: Final[Mapping[GroupBy, str]] = {
    "all": "''",
    "agent": "agent",
    "model": "provider || ':' || model",
    "provider": "provider",
    "day": "day",
    "month": "substr(day, 1, 7)",
    "session": "session",
    "purpose": "purpose",
    "root": "coalesce(root_id, '')",
}
_CONDITIONS: Final = {
    "agent": "agent = ?",
    "session": "session = ?",
    "since_day": "day >= ?",
    "until_day": "day <= ?",
}
_SUMS: Final = """
    SELECT {group} AS key, count(*), sum(counted_pico),
        sum(CASE state WHEN 'open' THEN reserved_pico ELSE 0 END), sum(coalesce(cost_pico, 0)),
        sum(state = 'charged' AND cost_pico IS NULL),
        sum(input), sum(output), sum(cache_read), sum(cache_write)
    FROM spend {where} GROUP BY key ORDER BY key
"""

_Fetch = Callable[[str, tuple[str | int, ...]], Awaitable[list[tuple[Any, ...]]]]


def project(connection: sqlite3.Connection, recorded: Recorded) -> None:
    """Fold an event into its row, within the transaction that stores the event."""
    if not isinstance(recorded.event, SpendReserved | SpendSettled):
        return
    found = connection.execute(_ONE, (recorded.event.reservation_id,)).fetchone()
    row = fold(_row(found) if found else None, recorded)
    if row is not None:
        connection.execute(_UPSERT, (row.number or None, *_AFTER_NUMBER(row)))


class SqlLedger:
    """The ledger of a log in SQLite. `fetch` gives the rows of one statement."""

    def __init__(self, fetch: _Fetch) -> None:
        self._fetch = fetch

    async def rows(
        self, which: Which = EVERYTHING, *, after: int = 0, limit: int = ROWS_MAX
    ) -> list[SpendRow]:
        """The first `limit` rows with `number > after`, ascending."""
        where, values = _where(which, "number > ?")
        sql = f"SELECT * FROM spend {where} ORDER BY number LIMIT ?"  # noqa: S608 - our own names
        return list(map(_row, await self._fetch(sql, (after, *values, min(limit, ROWS_MAX)))))

    async def sums(self, by: GroupBy, which: Which = EVERYTHING) -> list[SpendSum]:
        """One sum for each value of `by`, in the order of the values."""
        where, values = _where(which)
        sql = _SUMS.format(group=_GROUPS[by], where=where)
        return [SpendSum(*row) for row in await self._fetch(sql, values)]

    async def open_rows(self) -> list[SpendRow]:
        """All that are neither charged nor released, ascending."""
        sql = "SELECT * FROM spend WHERE state = 'open' ORDER BY number"
        return list(map(_row, await self._fetch(sql, ())))


def _where(which: Which, *more: str) -> tuple[str, tuple[str, ...]]:
    given = {name: getattr(which, name) for name in _CONDITIONS}
    wanted = {name: value for name, value in given.items() if value is not None}
    conditions = [*more, *(_CONDITIONS[name] for name in wanted)]
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return where, tuple(wanted.values())


def _row(found: tuple[Any, ...]) -> SpendRow:
    row = SpendRow(*found)
    return replace(row, estimated=bool(row.estimated))
