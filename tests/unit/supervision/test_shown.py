"""What agents were shown: a text counts as stored once its commit was seen, within bounds."""

from decimal import Decimal
from pathlib import Path

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.ids import DAEMON_STREAM, PRINCIPAL, RunId, SessionId
from brainpilot_rt.domain.messages import AssistantMessage
from brainpilot_rt.domain.model_calls import ModelRef, StopReason
from brainpilot_rt.domain.thinking import ContextSection
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.supervision.shown import AGENTS_MAX, DIGESTS_MAX, Shown
from brainpilot_rt.supervision.sources import Sources
from brainpilot_rt.testing.team import LoopClock

SESSION = SessionId("s")
OTHER = SessionId("other")


def text_of(digest: str) -> ContextSection:
    return ContextSection(name=digest, tokens=1, digest=digest, text=digest)


def context(*sections: ContextSection) -> ev.ContextAssembled:
    return ev.ContextAssembled(
        run_id=RunId("r"), agent=PRINCIPAL, turn=0, sections=sections, tokens=1
    )


class World:
    """A `Shown` and the feed it follows."""

    def __init__(self, tmp_path: Path) -> None:
        clock = LoopClock()
        self.log = MemoryEventLog(clock=clock)
        self.hub = Hub(clock.now_ms)
        self.shown = Shown(self.log, self.hub, Sources(tmp_path))

    def commit(self, event: ev.Event, session: SessionId = SESSION) -> None:
        self.hub.publish(ev.Recorded(session, 1, 1, 0, event))

    def assembled(self, digest: str) -> None:
        self.commit(
            context(text_of(digest), ContextSection(name="n", tokens=1, digest="named only"))
        )


async def test_a_text_is_known_to_its_session_once_its_commit_was_seen(tmp_path: Path):
    world = World(tmp_path)
    assert not world.shown.knows(SESSION, "a")
    world.assembled("a")
    assert world.shown.knows(SESSION, "a")
    assert not world.shown.knows(OTHER, "a")
    assert not world.shown.knows(SESSION, "named only")


async def test_a_deleted_session_is_forgotten(tmp_path: Path):
    world = World(tmp_path)
    world.assembled("a")
    world.commit(ev.SessionDeleted(deleted=SESSION), DAEMON_STREAM)
    assert not world.shown.knows(SESSION, "a")


async def test_only_the_latest_texts_and_sessions_are_kept(tmp_path: Path):
    world = World(tmp_path)
    for number in range(DIGESTS_MAX):
        world.assembled(f"d{number}")
    world.commit(context(ContextSection(name="again", tokens=1, digest="d0")))
    world.assembled("more")
    assert world.shown.knows(SESSION, "d0")  # it was named since
    assert not world.shown.knows(SESSION, "d1")
    for number in range(AGENTS_MAX):
        world.commit(context(text_of("x")), SessionId(f"s{number}"))
    assert not world.shown.knows(SESSION, "more")


async def test_a_failing_model_and_a_log_in_trouble_are_told_until_they_are_well(tmp_path: Path):
    world = World(tmp_path)
    assert world.shown.troubles(SESSION) == []
    failed = ev.ModelAttemptFailed(
        run_id=RunId("r"),
        agent=PRINCIPAL,
        turn=0,
        attempt=1,
        attempts_max=3,
        delay_ms=1,
        reason="busy",
    )
    world.commit(failed)
    assert world.shown.troubles(SESSION) == ["the model fails: busy"]
    assert world.shown.troubles(SessionId("other")) == []
    world.commit(
        ev.ModelReplied(
            run_id=RunId("r"),
            agent=PRINCIPAL,
            turn=0,
            message=AssistantMessage(parts=()),
            stop_reason=StopReason.END,
            usage=Usage(),
            model=ModelRef(provider="p", model="m"),
            cost_usd=Decimal(0),
            duration_ms=1,
        )
    )
    assert world.shown.troubles(SESSION) == []


async def test_a_log_that_refused_is_told_until_it_takes_something(tmp_path: Path):
    world = World(tmp_path)
    world.log.fail_commits("disk full")
    with pytest.raises(Unavailable):
        await world.log.append(SESSION, [ev.DaemonStopped(reason="x")])
    [trouble] = world.shown.troubles(SESSION)
    assert trouble.startswith("the log refuses changes")
    world.commit(ev.DaemonStopped(reason="x"))
    assert world.shown.troubles(SESSION) == []
