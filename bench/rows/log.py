"""The event log: P6 and P7 of the targets, and the log's share of P14.

An event is about 500 bytes of JSON. The floor writes the same row into the same table with the same
settings, without loop, thread or encoding; the peer commits each event by itself.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from itertools import count

import aiosqlite

from bench.runner import Meter, Place, Row, Sample, Target
from brainpilot_rt.aiokit.sources import SystemClock
from brainpilot_rt.domain.events import EVENTS, DaemonStopped, Event
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog.port import PAGE
from brainpilot_rt.eventlog.schema import prepare
from brainpilot_rt.eventlog.sqlite import SqliteEventLog

SESSION = SessionId("bench")
EVENT: Event = DaemonStopped(reason="x" * 465)
PAYLOAD = EVENTS.dump_json(EVENT)
INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)"
PAUSE_S = 0.1
REPLAYED = 10_000
TICK_S = 0.001


def database(place: Place) -> sqlite3.Connection:
    """The log's own schema and settings on a bare connection."""
    connection = sqlite3.connect(place.folder / "log.db", isolation_level=None)
    prepare(connection, new_epoch="bench")
    return connection


def floor(place: Place, *, pause_s: float = 0.0) -> Sample:
    """Raw sqlite3, one autocommitted row after the other."""
    ops = place.ops(30, 5) if pause_s else place.ops(2000, 200)
    meter = Meter()
    with closing(database(place)) as connection, meter as sample:
        for seq in range(1, ops + 1):
            if pause_s:
                time.sleep(pause_s)
            start = time.perf_counter()
            connection.execute(INSERT, (SESSION, seq, seq, 0, "daemon_stopped", PAYLOAD))
            sample.latencies.append(time.perf_counter() - start)
    return meter.sample


def append(place: Place, *, pause_s: float = 0.0) -> Sample:
    """Our log, one producer."""
    ops = place.ops(30, 5) if pause_s else place.ops(2000, 200)

    async def main() -> Sample:
        log = await SqliteEventLog.open(place.folder / "log.db", clock=SystemClock())
        meter = Meter()
        with meter as sample:
            for _ in range(ops):
                if pause_s:
                    await asyncio.sleep(pause_s)
                start = time.perf_counter()
                await log.append(SESSION, [EVENT])
                sample.latencies.append(time.perf_counter() - start)
        await log.close()
        return meter.sample

    return place.run(main())


async def produce(one: Callable[[], Awaitable[object]], producers: int, each: int) -> Sample:
    """So many producers, each awaiting its own events one by one."""
    meter = Meter()

    async def producer() -> None:
        for _ in range(each):
            start = time.perf_counter()
            await one()
            meter.sample.latencies.append(time.perf_counter() - start)

    with meter:
        async with asyncio.TaskGroup() as group:
            for _ in range(producers):
                group.create_task(producer())
    return meter.sample


def per_event(place: Place, *, producers: int = 64) -> Sample:
    """The peer: aiosqlite, execute and commit for each event."""
    each = place.ops(2560, 640) // producers

    async def main() -> Sample:
        database(place).close()
        async with aiosqlite.connect(place.folder / "log.db") as connection:
            await connection.execute("PRAGMA synchronous = FULL")
            await connection.execute("PRAGMA wal_autocheckpoint = 4000")
            places = count(1)
            # Without it one producer's commit would take the others' rows along, by accident.
            turn = asyncio.Lock()

            async def one() -> None:
                async with turn:
                    seq = next(places)
                    values = (SESSION, seq, seq, 0, "daemon_stopped", EVENTS.dump_json(EVENT))
                    await connection.execute(INSERT, values)
                    await connection.commit()

            return await produce(one, producers, each)

    return place.run(main())


def batched(place: Place, *, producers: int = 64) -> Sample:
    """Our log, many producers."""
    each = place.ops(51_200, 6400) // producers

    async def main() -> Sample:
        log = await SqliteEventLog.open(place.folder / "log.db", clock=SystemClock())
        sample = await produce(lambda: log.append(SESSION, [EVENT]), producers, each)
        await log.close()
        return sample

    return place.run(main())


def pages(place: Place) -> Sample:
    """Bare sqlite3: the same pages, no parsing. One operation is one event read."""
    with closing(database(place)) as connection:
        rows = [(SESSION, n, n, 0, "daemon_stopped", PAYLOAD) for n in range(1, REPLAYED + 1)]
        connection.execute("BEGIN")
        connection.executemany(INSERT, rows)
        connection.execute("COMMIT")
        sql = (
            "SELECT session, seq, pos, at_ms, payload FROM events WHERE session=? AND seq>? LIMIT ?"
        )
        meter = Meter()
        with meter as sample:
            after = 0
            while page := connection.execute(sql, (SESSION, after, PAGE)).fetchall():
                after = page[-1][1]
                sample.latencies.append(0.0)
    return _per_event(meter.sample)


def replay(place: Place) -> Sample:
    """Our log: read and parsed, and how long the loop was blocked meanwhile."""

    async def main() -> Sample:
        log = await SqliteEventLog.open(place.folder / "log.db", clock=SystemClock())
        await log.append(SESSION, [EVENT] * REPLAYED)
        block = [0.0]

        async def tick() -> None:
            while True:
                start = time.perf_counter()
                await asyncio.sleep(TICK_S)
                block[0] = max(block[0], time.perf_counter() - start - TICK_S)

        ticking = asyncio.get_running_loop().create_task(tick())
        await asyncio.sleep(0)
        meter = Meter()
        with meter:
            after = 0
            while page := await log.read(SESSION, after=after):
                after = page[-1].seq
        ticking.cancel()
        await log.close()
        meter.sample.extra["longest_block_ms"] = block[0] * 1000
        return meter.sample

    return _per_event(place.run(main()))


def _per_event(sample: Sample) -> Sample:
    sample.latencies = [sample.seconds / REPLAYED] * REPLAYED
    return sample


ROWS = (
    Row(
        "P6",
        "log append, acknowledged, 1 producer",
        {
            "floor": floor,
            "append": append,
            "floor paced": lambda place: floor(place, pause_s=PAUSE_S),
            "append paced": lambda place: append(place, pause_s=PAUSE_S),
        },
        (
            Target("p50_us", "append", 2.0, over="floor", stretch=1.3),
            Target("p50_us", "append paced", 1.7, over="floor paced"),
        ),
    ),
    Row(
        "P7",
        "log append, acknowledged, 64 producers (512 for information)",
        {
            "per event": per_event,
            "append": batched,
            "append 512": lambda place: batched(place, producers=512),
        },
        (
            Target("rate", "append", 10, over="per event", at_least=True, stretch=15),
            Target("cpu_us", "append", 1 / 8, over="per event"),
        ),
    ),
    Row(
        "P14-log",
        "10,000 events read in pages and parsed (the log's share of P14)",
        {"pages": pages, "replay": replay},
    ),
)
