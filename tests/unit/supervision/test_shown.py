"""What agents were shown: a text counts as stored once its commit was seen, within bounds."""

from decimal import Decimal
from pathlib import Path

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.ids import DAEMON_STREAM, PRINCIPAL, AgentName, RunId, SessionId
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
OTHER = AgentName("writer")


class World:
    """A `Shown` and the feed it follows."""

    def __init__(self, tmp_path: Path) -> None:
        clock = LoopClock()
        self.log = MemoryEventLog(clock=clock)
        self.hub = Hub(clock.now_ms)
        self.shown = Shown(self.log, self.hub, Sources(tmp_path))

    def commit(self, event: ev.Event, session: SessionId = SESSION) -> None:
        self.hub.publish(ev.Recorded(session, 1, 1, 0, event))

    def assembled(self, *digests: str, agent: AgentName = PRINCIPAL) -> None:
        sections = [ContextSection(name=one, tokens=1, digest=one, text=one) for one in digests]
        sections.append(ContextSection(name="known", tokens=1, digest="named only"))
        self.commit(
            ev.ContextAssembled(
                run_id=RunId("r"), agent=agent, turn=0, sections=tuple(sections), tokens=1
            )
        )


async def test_a_text_is_known_once_its_commit_was_seen(tmp_path: Path):
    world = World(tmp_path)
    assert not world.shown.knows(SESSION, PRINCIPAL, "a")
    world.assembled("a")
    assert world.shown.knows(SESSION, PRINCIPAL, "a")
    assert not world.shown.knows(SESSION, OTHER, "a")
    assert not world.shown.knows(SESSION, PRINCIPAL, "named only")


async def test_a_deleted_session_is_forgotten(tmp_path: Path):
    world = World(tmp_path)
    world.assembled("a")
    world.commit(ev.SessionDeleted(deleted=SESSION), DAEMON_STREAM)
    assert not world.shown.knows(SESSION, PRINCIPAL, "a")


async def test_only_the_latest_texts_and_agents_are_kept(tmp_path: Path):
    world = World(tmp_path)
    for number in range(DIGESTS_MAX + 1):
        world.assembled(f"d{number}")
    assert not world.shown.knows(SESSION, PRINCIPAL, "d0")
    assert world.shown.knows(SESSION, PRINCIPAL, "d1")
    for number in range(AGENTS_MAX):
        world.assembled("x", agent=AgentName(f"agent-{number}"))
    assert not world.shown.knows(SESSION, PRINCIPAL, "d1")


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
