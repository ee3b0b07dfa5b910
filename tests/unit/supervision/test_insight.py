"""What the log tells: over all sessions, newest first, within bounds, and what is said later."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, NotFound
from brainpilot_rt.domain.governing import Candidate
from brainpilot_rt.domain.ids import DAEMON_STREAM, AgentName, CallId, RunId, SessionId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.governance.audit import CallRow
from brainpilot_rt.models.prices import Quote
from brainpilot_rt.models.providers import Providers
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import RoutingSettings, SessionLimits
from brainpilot_rt.supervision.insight import Insight
from brainpilot_rt.supervision.routing import Router
from brainpilot_rt.testing.sources import ManualClock, SequentialIds

GOOD = ModelRef(provider="p", model="good")
BAD = ModelRef(provider="p", model="bad")
BOT = AgentName("bot")
DAY_S = 86_400.0


@dataclass
class Library:
    """A log, what writes it, and what reads it."""

    log: MemoryEventLog
    clock: ManualClock
    manager: SessionManager
    insight: Insight

    async def write(self, session: str, *events: ev.Event) -> None:
        known = await self.log.session(SessionId(session))
        first = [] if known or session == DAEMON_STREAM else [ev.SessionCreated(title="")]
        await self.log.append(SessionId(session), [*first, *events])

    async def turn(self, session: str, run: str, model: ModelRef = GOOD, **more: Any) -> None:
        """A routed and rated turn."""
        who: dict[str, Any] = {"run_id": RunId(run), "agent": BOT, "turn": 0}
        candidates = (Candidate(model=GOOD, mean=0.9), Candidate(model=BAD, mean=0.1))
        chosen = ev.ModelSelected(
            **who,
            model=model,
            phase="thompson",
            reason="a draw",
            task_class="chat",
            candidates=candidates,
            propensity=0.5,
        )
        facts: dict[str, Any] = {"reward": 0.5, "validity": 1.0, "cost_usd": Decimal("0.01")}
        rated = ev.TurnRated(**who, model=model, task_class="chat", **facts | more)
        await self.write(session, chosen, rated)

    async def call(self, session: str, call: str, tool: str = "bash") -> None:
        """A tool call that was blocked."""
        who: dict[str, Any] = {"run_id": RunId("r"), "agent": BOT, "call_id": CallId(call)}
        await self.write(
            session,
            ev.ToolPlanned(**who, turn=0, name=tool, arguments={}, effect=Effect.PURE),
            ev.ToolJudged(**who, turn=0, tool=tool, action="block", reasons=("denied_tool: no",)),
            ev.ToolFinished(**who, name=tool, content="no", status="refused"),
        )


@asynccontextmanager
async def library() -> AsyncGenerator[Library]:
    clock = ManualClock()
    log = MemoryEventLog(clock=clock)
    manager = SessionManager(
        log, Hub(clock.now_ms), clock=clock, new_id=SequentialIds(), limits=SessionLimits()
    )
    router = Router(Providers, _no_price, RoutingSettings(), log, clock)
    insight = Insight(log, router, clock, providers=Providers, record=manager.record)
    yield Library(log, clock, manager, insight)
    await log.close()


async def test_choices_are_those_of_the_wanted_days_in_all_sessions_and_in_none():
    async with library() as books:
        await books.turn("old", "r1")
        books.clock.advance(8 * DAY_S)
        await books.turn("one", "r2")
        books.clock.advance(1)
        await books.turn(DAEMON_STREAM, "chat")
        books.clock.advance(1)
        await books.turn("two", "r3")
        week = await books.insight.choices(7)
        assert [one.chosen.run_id for one in week] == ["r2", "chat", "r3"]
        assert len(await books.insight.choices(9)) == 4


async def test_replay_prices_what_the_log_holds_under_another_policy():
    async with library() as books:
        for number in range(20):
            good = number % 2 == 0
            worth = {
                "reward": 0.9 if good else 0.1,
                "cost_usd": Decimal("0.03" if good else "0.01"),
            }
            await books.turn("one", f"r{number}", GOOD if good else BAD, **worth)
        best, cheap = await books.insight.replayed(["best-mean", "model=p:bad"], 7)
    assert (best.turns, best.reward, best.usd) == (20, pytest.approx(0.9), Decimal("0.03"))
    assert (cheap.reward, cheap.usd) == (pytest.approx(0.1), Decimal("0.01"))
    assert best.logged_reward == pytest.approx(0.5)


async def test_a_policy_nobody_knows_is_refused_with_those_there_are():
    async with library() as books:
        with pytest.raises(BadRequest, match="thompson"):
            await books.insight.replayed(["always-right"], 7)


async def test_what_came_of_a_turn_rates_it_once_more_and_spends_nothing_again():
    async with library() as books:
        await books.turn("one", "r1", savings_usd=Decimal("0.5"))
        await books.turn("one", "r2", BAD)
        said = await books.insight.feedback(SessionId("one"), BOT, "r1", 1.0)
        assert (said.model, said.reward, said.cost_usd, said.savings_usd) == (GOOD, 1.0, None, None)
        assert (await books.insight.feedback(SessionId("one"), BOT, None, 0.0)).run_id == "r2"
        ratings = await books.insight.ratings(7)
        assert sorted(one.reward for one in ratings if one.run_id == "r1") == [0.5, 1.0]
        assert len(await books.insight.choices(7)) == 2
        for session, agent, run in (("one", BOT, "r9"), ("one", AgentName("x"), None)):
            with pytest.raises(NotFound):
                await books.insight.feedback(SessionId(session), agent, run, 1.0)
        with pytest.raises(NotFound):
            await books.insight.feedback(SessionId("nobody"), BOT, None, 1.0)


async def test_what_was_said_of_turns_of_no_session_is_known_after_a_restart():
    async with library() as books:
        await books.turn(DAEMON_STREAM, "chat", reward=0.7)
        await books.insight.feedback(DAEMON_STREAM, BOT, None, 1.0)
        router = Router(Providers, _no_price, RoutingSettings(), log=books.log, clock=books.clock)
        await router.load()
        assert router.known("chat", GOOD).samples == 2


async def _no_price(_model: ModelRef, _usage: Usage) -> Quote:
    return Quote(None, Decimal(0))


async def test_the_newest_rows_come_first_whichever_session_they_are_of():
    async with library() as books:
        for number, session in enumerate(("one", "two", "one", "three", "two")):
            await books.call(session, f"c{number}")
            books.clock.advance(1)
        rows = await books.insight.audit(3)
        assert [row.call_id for row in rows if isinstance(row, CallRow)] == ["c4", "c3", "c2"]
        assert all(row.agent == BOT for row in rows)
        assert len(await books.insight.audit(100)) == 5


async def test_rows_that_are_not_wanted_do_not_take_the_place_of_older_ones():
    async with library() as books:
        await books.call("one", "wanted", "mcp__git__log")
        for number in range(400):
            await books.call("one", f"c{number}")
        found = await books.insight.calls(5, lambda tool: tool.startswith("mcp__"))
    assert [row.call_id for row in found] == ["wanted"]


async def test_interceptions_are_what_did_not_just_pass():
    async with library() as books:
        await books.call("one", "c1")
        await books.call("two", "c2")
        passed = ev.ToolJudged(
            run_id=RunId("r"),
            agent=BOT,
            turn=0,
            call_id=CallId("c3"),
            tool="read",
            action="pass",
            reasons=(),
        )
        await books.write("two", passed)
        found = [one.event for one in await books.insight.interceptions()]
    assert [one.call_id for one in found if isinstance(one, ev.ToolJudged)] == ["c2", "c1"]
