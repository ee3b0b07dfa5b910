"""The log in memory keeps the contract, on virtual time."""

from collections.abc import AsyncIterator

import pytest

from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.testing.contracts.eventlog import (
    S1,
    AppendContract,
    ReadContract,
    events,
    refused,
)
from brainpilot_rt.testing.contracts.ledger import LedgerContract
from brainpilot_rt.testing.sources import ManualClock


@pytest.fixture
async def log() -> AsyncIterator[EventLog]:
    opened = MemoryEventLog(clock=ManualClock())
    yield opened
    await opened.close()


class TestAppend(AppendContract):
    pass


class TestRead(ReadContract):
    pass


class TestLedger(LedgerContract):
    pass


async def test_an_injected_failure_fails_everything_queued_and_then_ends():
    log = MemoryEventLog(clock=ManualClock())
    told: list[Unavailable] = []
    log.on_failure(told.append)
    await log.append(S1, events(1))
    log.fail_commits("disk on fire")
    waiting = [log.append(S1, events(1)) for _ in range(3)]
    assert [str(await refused(work)) for work in waiting] == ["disk on fire"] * 3
    assert [failure.message for failure in told] == ["disk on fire"]
    log.fail_commits(None)
    assert [row.seq for row in await log.append(S1, events(1))] == [2]


async def test_an_idle_log_owns_no_task():
    log = MemoryEventLog(clock=ManualClock())
    await log.append(S1, events(1))
    # The check for tasks left behind, which every async test has, is the assertion.
