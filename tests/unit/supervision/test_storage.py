"""Read-only: said when the log refuses, left when it does not."""

import asyncio

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.ids import DAEMON_STREAM
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import SessionLimits
from brainpilot_rt.supervision.storage import Storage
from brainpilot_rt.testing.sources import ManualClock, SequentialIds


@pytest.mark.fault("D13", "D4")
async def test_the_first_refusal_is_said_and_the_first_success_of_its_own_ends_it():
    clock = ManualClock()
    log = MemoryEventLog(clock=clock)
    manager = SessionManager(
        log, Hub(clock.now_ms), clock=clock, new_id=SequentialIds(), limits=SessionLimits()
    )
    storage = Storage(manager, log)
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(storage.watch())
        assert storage.read_only is None
        log.fail_commits("the disk is full")
        with pytest.raises(Unavailable):
            await manager.record(DAEMON_STREAM, ev.DaemonStopped(reason="x"))
        assert storage.read_only == "unavailable"
        await asyncio.sleep(10)
        assert storage.read_only == "unavailable"
        log.fail_commits(None)
        await asyncio.sleep(2)
        assert storage.read_only is None
        watch.cancel()
    told = [one.event for one in await log.read(DAEMON_STREAM)]
    assert [one.code for one in told if isinstance(one, ev.StorageRecovered)] == ["unavailable"]
