"""`kill -9` at any instant: what was acknowledged is there, in its place, and nothing is torn."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from brainpilot_rt.domain.events import DaemonStopped
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog.sqlite import SqliteEventLog
from brainpilot_rt.testing.sources import ManualClock

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]

ROUNDS = 20
MIGRATION_KILLS = ("log.migrate.before=kill", "log.migrate.after=kill")


def events_of(number: int) -> int:
    """How many events the victim appends at once; the same rule as in `killed.py`."""
    return 1 + number % 3


def number_in(text: str) -> int:
    return int(text.rpartition(" ")[2])


def has_receipt(number: int) -> bool:
    return number % 5 == 0


class Victim:
    """The process of `killed.py` and what it acknowledged."""

    def __init__(self, path: Path) -> None:
        script = Path(__file__).with_name("killed.py")
        root = Path(__file__).parents[3]
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={"PYTHONPATH": str(root)},
        )
        self.acked: dict[tuple[str, int], str] = {}

    def live_and_die(self, spec: str, *, kill_after: int | None = None) -> int:
        """One life; killed by its failpoint or by us. Returns how many it acknowledged."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{spec}\n")
        pid = int(self._process.stdout.readline().removeprefix("pid "))
        count = 0
        while (line := self._process.stdout.readline().strip()) != "dead":
            session, seq, text = line.split(maxsplit=2)
            self.acked[session, int(seq)] = text
            count += 1
            if count == kill_after:
                os.kill(pid, signal.SIGKILL)
        return count

    def end(self) -> None:
        with self._process:
            if self._process.stdin:
                self._process.stdin.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def victim(path: Path) -> Iterator[Victim]:
    process = Victim(path)
    yield process
    process.end()


async def assert_kept(path: Path, acked: dict[tuple[str, int], str]) -> None:
    """Every acknowledged event is in its place, no place is empty, no append is there in part."""
    stored: dict[tuple[str, int], str] = {}
    log = await SqliteEventLog.open(path, clock=ManualClock())
    try:
        for row in await log.sessions():
            events = await log.read(row.session, limit=1_000_000)
            assert [item.seq for item in events] == list(range(1, row.head_seq + 1))
            for item in events:
                assert isinstance(item.event, DaemonStopped)
                stored[row.session, item.seq] = item.event.reason
        assert acked.items() <= stored.items()
        for text, count in Counter(stored.values()).items():
            number = number_in(text)
            assert count == events_of(number)
            assert (await log.receipt(text) is not None) == has_receipt(number)
        everything = await log.read_all(limit=1_000_000)
        assert [item.pos for item in everything] == list(range(1, log.head_pos + 1))
    finally:
        await log.close()
    with closing(sqlite3.connect(path)) as connection:
        (receipts,) = connection.execute("SELECT count(*) FROM receipts").fetchone()
    assert receipts == sum(has_receipt(number_in(text)) for text in set(stored.values()))


@pytest.mark.fault("D1", "B2")
@pytest.mark.fault("D1", "A1", "B2")
async def test_what_was_acknowledged_survives_every_kill(path: Path, victim: Victim):
    dice = random.Random(20)
    acknowledged = 0
    for round_number in range(ROUNDS):
        nth = dice.randint(1, 30)
        match round_number % 4:
            case 0:
                acknowledged += victim.live_and_die(f"log.commit.before=kill@{nth}")
            case 1:
                acknowledged += victim.live_and_die(f"log.commit.after=kill@{nth}")
            case 2:
                acknowledged += victim.live_and_die(f"log.commit.half=kill@{nth}")
            case _:
                acknowledged += victim.live_and_die("-", kill_after=dice.randint(1, 400))
        await assert_kept(path, victim.acked)
    # Kills count only with work between them.
    assert acknowledged > 50 * ROUNDS


@pytest.mark.parametrize("spec", MIGRATION_KILLS)
@pytest.mark.fault("D2")
@pytest.mark.fault("D2", "D1")
async def test_a_kill_while_the_log_is_made_leaves_one_that_opens(
    path: Path, victim: Victim, spec: str
):
    for _ in range(2):
        # The second time the step may be done already; then the child lives until we end it.
        victim.live_and_die(spec, kill_after=100)
    log = await SqliteEventLog.open(path, clock=ManualClock())
    placed = await log.append(SessionId("after"), [DaemonStopped(reason="after")])
    assert placed[0].seq == 1
    await log.close()
