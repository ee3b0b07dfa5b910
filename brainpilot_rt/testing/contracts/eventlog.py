"""What every `EventLog` must do.

Inherit both classes in a test module and give them a `log` fixture: a fresh, empty log that the
fixture closes. Nothing here knows how the log stores anything, or waits for a clock.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Final

from brainpilot_rt.domain.errors import Conflict, RuntimeFault, Unavailable
from brainpilot_rt.domain.events import DaemonStopped, Event, Recorded, SessionUpdated
from brainpilot_rt.domain.ids import DAEMON_STREAM, SessionId
from brainpilot_rt.eventlog.port import EventLog, Receipt
from brainpilot_rt.eventlog.tail import HEARD, replay_then_follow

S1: Final = SessionId("s1")
S2: Final = SessionId("s2")
PRODUCERS: Final = 20
EACH: Final = 25


def event(number: int) -> Event:
    """An event that a test can tell from the others."""
    return DaemonStopped(reason=f"number {number}")


def events(count: int, start: int = 0) -> list[Event]:
    """So many of them."""
    return [event(number) for number in range(start, start + count)]


def receipt(key: str = "k1", at_ms: int = 1) -> Receipt:
    """An answer to store."""
    return Receipt(key=key, fingerprint="f", status=202, body=b'{"ok":true}', at_ms=at_ms)


def numbers(rows: Sequence[Recorded]) -> list[int]:
    """Their `seq`."""
    return [row.seq for row in rows]


async def refused(work: Awaitable[object]) -> RuntimeFault:
    """The fault that `work` raises; AssertionError when it raises none."""
    try:
        await work
    except RuntimeFault as fault:
        return fault
    raise AssertionError("it was accepted")


class AppendContract:
    """Commits: order, places, what is told to whom and when, what is refused."""

    async def test_seq_counts_per_session_and_pos_over_all(self, log: EventLog) -> None:
        """The two numberings."""
        first = await log.append(S1, events(2))
        second = await log.append(S2, events(1))
        third = await log.append(S1, events(1))
        assert [(r.session, r.seq, r.pos) for r in (*first, *second, *third)] == [
            (S1, 1, 1),
            (S1, 2, 2),
            (S2, 1, 3),
            (S1, 3, 4),
        ]
        assert (log.head_pos, await log.head(S1), await log.head(S2)) == (4, 3, 1)
        assert await log.head(SessionId("unknown")) == 0

    async def test_the_order_of_calls_is_the_order_of_commits(self, log: EventLog) -> None:
        """Also when nobody awaits in between."""
        waiting = [log.append(S1 if n % 2 else S2, [event(n)]) for n in range(50)]
        placed = [(await each)[0] for each in waiting]
        assert [row.event for row in placed] == events(50)
        assert [row.pos for row in placed] == list(range(1, 51))

    async def test_many_producers_leave_no_gap(self, log: EventLog) -> None:
        """Each producer's own order holds, and every session's `seq` is 1, 2, 3, ..."""

        async def produce(producer: int) -> None:
            session = S1 if producer % 2 else S2
            own = [await log.append(session, [event(producer)]) for _ in range(EACH)]
            assert all(a[0].seq < b[0].seq for a, b in pairwise(own))

        async with asyncio.TaskGroup() as group:
            for producer in range(PRODUCERS):
                group.create_task(produce(producer))
        for session in (S1, S2):
            rows = await log.read(session, limit=PRODUCERS * EACH)
            assert numbers(rows) == list(range(1, PRODUCERS * EACH // 2 + 1))
        everything = await log.read_all(limit=PRODUCERS * EACH + 1)
        assert [row.pos for row in everything] == list(range(1, PRODUCERS * EACH + 1))

    async def test_listeners_hear_a_commit_before_its_waiters(self, log: EventLog) -> None:
        """Commit, publish, acknowledge (D3)."""
        order: list[str] = []

        def hear(committed: Sequence[Recorded]) -> None:
            order.extend(f"heard {row.seq}" for row in committed)

        async def wait_for(work: Awaitable[list[Recorded]]) -> None:
            order.extend(f"awaited {row.seq}" for row in await work)

        stop = log.on_commit(hear)
        await wait_for(log.append(S1, events(1)))
        await wait_for(log.append(S1, events(1)))
        stop()
        await wait_for(log.append(S1, events(1)))
        assert order == ["heard 1", "awaited 1", "heard 2", "awaited 2", "awaited 3"]

    async def test_what_listeners_hear_can_be_read(self, log: EventLog) -> None:
        """Nothing is told that is not stored; `head_pos` is there already."""
        heads: list[tuple[int, int]] = []
        log.on_commit(lambda rows: heads.append((rows[-1].pos, log.head_pos)))
        placed = await log.append(S1, events(3))
        assert await log.read(S1) == placed
        assert heads == [(3, 3)]

    async def test_a_cancelled_waiter_disturbs_nobody(self, log: EventLog) -> None:
        """The commit happens, its neighbours in the batch are answered."""

        async def append(number: int) -> list[Recorded]:
            return await log.append(S1, [event(number)])

        async with asyncio.TaskGroup() as group:
            before, given_up, after = [group.create_task(append(n)) for n in (1, 2, 3)]
            await asyncio.sleep(0)
            given_up.cancel()
        assert numbers([*before.result(), *after.result()]) == [1, 3]
        assert given_up.cancelled()
        assert [row.event for row in await log.read(S1)] == events(3, start=1)

    async def test_an_append_nobody_waits_for_is_committed(self, log: EventLog) -> None:
        """Fire and forget keeps its place."""
        _ = log.append(S1, [event(1)])
        assert numbers(await log.append(S1, [event(2)])) == [2]
        assert numbers(await log.read(S1)) == [1, 2]

    async def test_the_first_event_makes_the_session(self, log: EventLog) -> None:
        """Its row, its title, its times; the daemon's own stream has none."""
        await log.append(DAEMON_STREAM, events(1), title="never shown", busy=True)
        await log.append(S1, events(1), title="One")
        await log.append(S2, events(2), busy=True)
        rows = {row.session: row for row in await log.sessions()}
        assert set(rows) == {S1, S2}
        assert (rows[S1].title, rows[S1].busy, rows[S1].head_seq) == ("One", False, 1)
        assert (rows[S2].title, rows[S2].busy, rows[S2].head_seq) == ("", True, 2)
        newest = (await log.read(S1))[-1]
        assert rows[S1].created_ms == rows[S1].updated_ms == newest.at_ms
        assert await log.session(S1) == rows[S1]
        assert await log.session(SessionId("unknown")) is None

    async def test_title_and_busy_change_only_when_given(self, log: EventLog) -> None:
        """None means unchanged."""
        await log.append(S1, events(1), title="One", busy=True)
        await log.append(S1, [SessionUpdated(title="Two")], title="Two")
        await log.append(S1, events(1), busy=False)
        await log.append(S1, events(1))
        row = await log.session(S1)
        assert row is not None
        assert (row.title, row.busy, row.head_seq) == ("Two", False, 4)

    async def test_a_receipt_is_stored_with_its_events(self, log: EventLog) -> None:
        """Both or neither; also for a request that changed nothing."""
        await log.append(S1, events(1), receipt=receipt())
        assert await log.append(S1, [], receipt=receipt("k2")) == []
        assert await log.receipt("k1") == receipt()
        assert await log.receipt("k2") == receipt("k2")
        assert await log.receipt("k3") is None
        assert await log.head(S1) == 1

    async def test_a_receipt_alone_makes_no_session(self, log: EventLog) -> None:
        """A session begins with an event."""
        assert await log.append(S1, [], receipt=receipt(), title="none") == []
        assert await log.sessions() == []

    async def test_the_same_key_twice_is_refused_alone(self, log: EventLog) -> None:
        """Of two racing requests one is carried out; neighbours in the batch do not notice."""
        waiting = [
            log.append(S1, [event(1)], receipt=receipt()),
            log.append(S1, [event(2)], receipt=receipt()),
            log.append(S1, [event(3)]),
        ]
        assert numbers(await waiting[0]) == [1]
        assert isinstance(await refused(waiting[1]), Conflict)
        assert numbers(await waiting[2]) == [2]
        again = log.append(S2, [event(4)], receipt=receipt())
        assert isinstance(await refused(again), Conflict)
        assert [row.event for row in await log.read_all()] == [event(1), event(3)]

    async def test_old_receipts_are_forgotten(self, log: EventLog) -> None:
        """By age, and counted."""
        for key, at_ms in (("a", 10), ("b", 20), ("c", 30)):
            await log.append(S1, events(1), receipt=receipt(key, at_ms))
        assert [await log.prune_receipts(30), await log.prune_receipts(30)] == [2, 0]
        assert [await log.receipt(key) for key in "abc"] == [None, None, receipt("c", 30)]

    async def test_an_event_that_is_not_json_is_refused_at_once(self, log: EventLog) -> None:
        """A lone surrogate cannot be stored; the appends around it can."""
        before = log.append(S1, [event(1)])
        try:
            _ = log.append(S1, [DaemonStopped(reason="\ud800")])
        except ValueError:
            pass
        else:
            raise AssertionError("it was accepted")
        after = log.append(S1, [event(2)])
        assert numbers([*await before, *await after]) == [1, 2]

    async def test_a_closed_log_refuses_and_has_kept_what_was_queued(self, log: EventLog) -> None:
        """Close commits, then everything raises `Unavailable`; closing twice is nothing."""
        waiting = [log.append(S1, [event(n)]) for n in range(3)]
        await log.close()
        await log.close()
        assert [numbers(await each) for each in waiting] == [[1], [2], [3]]
        for work in (log.append(S1, events(1)), log.read(S1), log.sessions(), log.receipt("k")):
            assert isinstance(await refused(work), Unavailable)

    async def test_a_listener_that_raises_ends_the_log(self, log: EventLog) -> None:
        """Memory and disk no longer agree: nobody hangs, nothing more is accepted."""
        told: list[Unavailable] = []

        def broken(committed: Sequence[Recorded]) -> None:
            raise ValueError(f"cannot fold {committed[0].seq}")

        log.on_commit(broken)
        log.on_failure(told.append)
        waiting = [log.append(S1, events(1)), log.append(S1, events(1))]
        for work in (*waiting, log.append(S1, events(1))):
            assert isinstance(await refused(work), Unavailable)
        assert len(told) == 1
        assert isinstance(await refused(log.append(S1, events(1))), Unavailable)


class ReadContract:
    """Reads, deletion, and following."""

    async def test_a_read_is_a_range(self, log: EventLog) -> None:
        """`after < seq <= upto`, the first `limit` of them."""
        await log.append(S1, events(10))
        await log.append(S2, events(3))
        assert numbers(await log.read(S1)) == list(range(1, 11))
        assert numbers(await log.read(S1, after=4, limit=3)) == [5, 6, 7]
        assert numbers(await log.read(S1, after=4, upto=6)) == [5, 6]
        assert numbers(await log.read(S1, after=10)) == []
        assert await log.read(SessionId("unknown")) == []
        assert [r.pos for r in await log.read_all(after_pos=9, limit=3)] == [10, 11, 12]

    async def test_a_read_back_is_the_newest_ascending(self, log: EventLog) -> None:
        """For a history that is scrolled upwards."""
        await log.append(S1, events(10))
        assert numbers(await log.read_back(S1, limit=3)) == [8, 9, 10]
        assert numbers(await log.read_back(S1, before=8, limit=3)) == [5, 6, 7]
        assert numbers(await log.read_back(S1, before=99, limit=2)) == [9, 10]
        assert numbers(await log.read_back(S1, before=1)) == []

    async def test_a_read_back_can_want_some_types_only(self, log: EventLog) -> None:
        """However far back they are."""
        rare = SessionUpdated(title="rare")
        await log.append(S1, [rare, *events(20), rare, *events(20), rare])
        wanted = frozenset({"session_updated"})
        assert numbers(await log.read_back(S1, types=wanted)) == [1, 22, 43]
        assert numbers(await log.read_back(S1, types=wanted, before=43, limit=1)) == [22]
        assert await log.read_back(S1, types=frozenset({"no_such"})) == []
        assert await log.read_back(S1, types=frozenset()) == []

    async def test_reads_go_over_pages(self, log: EventLog) -> None:
        """A limit above the page size is kept to exactly."""
        await log.append(S1, events(1203))
        assert numbers(await log.read(S1, limit=1202)) == list(range(1, 1203))
        assert numbers(await log.read_back(S1, limit=1202)) == list(range(2, 1204))
        assert numbers(await log.read_all(limit=5000)) == list(range(1, 1204))

    async def test_what_is_read_is_what_was_written(self, log: EventLog) -> None:
        """Text of every kind; raw rows hold the same as JSON."""
        text = 'quotes " \\ line\nnul \x00 umlaut \u00e4 \u4e2d\u6587 astral \U0001d11e'
        placed = await log.append(S1, [DaemonStopped(reason=text)])
        assert await log.read(S1) == placed
        ((seq, pos, at_ms, payload),) = await log.read_raw(S1)
        assert (seq, pos, at_ms) == (1, 1, placed[0].at_ms)
        assert DaemonStopped.model_validate_json(payload) == placed[0].event

    async def test_a_deleted_session_is_gone_and_its_places_are_not_reused(
        self, log: EventLog
    ) -> None:
        """After every append queued before, before every one queued after."""
        await log.append(S2, events(1))
        _ = log.append(S1, events(5), title="old")
        deleted = log.delete_session(S1)
        async with asyncio.TaskGroup() as group:
            group.create_task(deleted)
        assert (await log.read(S1), await log.session(S1), await log.head(S1)) == ([], None, 0)
        assert numbers(await log.read_all()) == [1]
        (again,) = await log.append(S1, [event(9)])
        assert (again.seq, again.pos) == (1, 7)
        row = await log.session(S1)
        assert row is not None
        assert (row.title, row.head_seq) == ("", 1)

    async def test_following_gives_old_and_new_without_gap_or_duplicate(
        self, log: EventLog
    ) -> None:
        """While the session is written to, and past what the follower may keep."""
        total = 3 * HEARD
        await log.append(S1, events(HEARD))

        async def write() -> None:
            for number in range(HEARD, total, 7):
                await log.append(S1, events(min(7, total - number), start=number))
                await log.append(S2, events(1))

        got: list[Recorded] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            async with aclosing(replay_then_follow(log, S1, after=5)) as tail:
                async for row in tail:
                    got.append(row)
                    if row.seq == total:
                        break
        assert numbers(got) == list(range(6, total + 1))

    async def test_a_slow_follower_reads_what_it_could_not_keep(self, log: EventLog) -> None:
        """Live first, then far behind, then live again."""
        await log.append(S1, events(1))
        async with aclosing(replay_then_follow(log, S1)) as tail:
            got = [await anext(tail)]
            await log.append(S1, events(2))
            got.append(await anext(tail))
            await log.append(S1, events(2 * HEARD))
            got += [await anext(tail) for _ in range(2 * HEARD + 1)]
        assert numbers(got) == list(range(1, 2 * HEARD + 4))

    async def test_a_follower_outlives_the_deletion_of_what_it_heard(self, log: EventLog) -> None:
        """It waits for the session to grow past its place; it does not spin."""
        async with aclosing(replay_then_follow(log, S1)) as tail:
            await log.append(S1, events(1))
            assert (await anext(tail)).seq == 1
            await log.append(S1, events(2 * HEARD))
            await log.delete_session(S1)
            async with asyncio.TaskGroup() as group:
                following = group.create_task(_next_of(tail))
                # Past one turn of a reader that would spin, without a clock.
                await log.append(S1, events(2))
                await following
        assert numbers([following.result()]) == [2]


async def _next_of(tail: AsyncGenerator[Recorded, None]) -> Recorded:
    return await anext(tail)
