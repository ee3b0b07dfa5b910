"""Registered agents: made once, moved along their lives, lent money, and what runs for them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brainpilot_rt.agents.definition import RequestContext
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import (
    BadRequest,
    BudgetExceeded,
    Busy,
    Conflict,
    Forbidden,
    NotFound,
)
from brainpilot_rt.domain.ids import AgentName, CallId, RunId, SessionId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import BudgetSettings, SessionLimits
from brainpilot_rt.supervision.agent_limits import Limits
from brainpilot_rt.supervision.agent_records import Changes
from brainpilot_rt.supervision.budget_caps import Caps
from brainpilot_rt.supervision.budgets import Budgets
from brainpilot_rt.supervision.crew import Crew
from brainpilot_rt.supervision.profiles import AgentProfiles
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.supervision.tokens import ClientTokens
from brainpilot_rt.testing.sources import ManualClock, SequentialIds

BOT = AgentName("research-01")
MODEL = ModelRef(provider="p", model="m")


async def _nobody(_session: SessionId, _called: cmd.OpenClientCall) -> ev.ClientCallAnswered:
    return ev.ClientCallAnswered(call_id=CallId("c"), content="")


@dataclass
class Office:
    """The profiles, with what they stand on."""

    profiles: AgentProfiles
    clock: ManualClock
    log: MemoryEventLog
    tokens: ClientTokens

    async def spend(self, usd: str, agent: AgentName = BOT) -> None:
        """Charge an agent for a call."""
        number = len(await self.log.read(SessionId("s")))
        charged = ev.SpendSettled(
            reservation_id=f"r{number}",
            run_id=RunId("run"),
            agent=agent,
            outcome="charged",
            model=MODEL,
            cost_usd=Decimal(usd),
            counted_usd=Decimal(usd),
            purpose="turn",
        )
        await self.log.append(SessionId("s"), [charged])


async def opened(log: MemoryEventLog, clock: ManualClock, folder: Path) -> Office:
    manager = SessionManager(
        log, Hub(clock.now_ms), clock=clock, new_id=SequentialIds(), limits=SessionLimits()
    )
    records = Records(log, manager)
    await records.load()
    tokens = ClientTokens(folder, clock.now_ms)
    profiles = AgentProfiles(
        records, clock, SequentialIds(), ledger=log.ledger, tokens=tokens, call_client=_nobody
    )
    bounds = BudgetSettings()
    caps = Caps(bounds, records, profiles.limits.caps)
    budgets = Budgets(log, manager, caps, bounds, clock=clock, new_id=SequentialIds())
    await budgets.load()
    profiles.check_money = budgets.check
    return Office(profiles, clock, log, tokens)


@asynccontextmanager
async def office(folder: Path) -> AsyncGenerator[Office]:
    clock = ManualClock()
    yield await opened(MemoryEventLog(clock=clock), clock, folder)


def said(**fields: Any) -> Changes:
    return Changes.model_validate(fields)


def context(agent: str = BOT, **more: Any) -> RequestContext:
    return RequestContext(session=SessionId("s"), agent=AgentName(agent), role=agent, **more)


async def test_an_agent_is_made_once_and_found_again_with_another_token(tmp_path: Path):
    async with office(tmp_path) as at:
        first = await at.profiles.bootstrap(BOT, said(display_name="Research", budget_daily_usd=10))
        again = await at.profiles.bootstrap(BOT, said(display_name="Other"))
        assert (first.created, again.created) == (True, False)
        assert again.profile == first.profile
        assert again.profile["displayName"] == "Research"
        assert again.profile["budgetDailyUsd"] == 10.0
        assert first.token != again.token
        assert at.profiles.agent_of(first.token) == at.profiles.agent_of(again.token) == BOT
        assert at.profiles.agent_of("something else") is None


async def test_a_token_of_an_agent_ends_after_an_hour(tmp_path: Path):
    async with office(tmp_path) as at:
        await at.profiles.bootstrap(BOT, said())
        assert list(at.tokens.read().values()) == ["execute"]
        at.clock.advance(3600)
        assert at.tokens.read() == {}


async def test_profiles_outlive_the_daemon(tmp_path: Path):
    async with office(tmp_path) as at:
        await at.profiles.bootstrap(BOT, said(metadata={"team": "a"}))
        later = await opened(at.log, at.clock, tmp_path)
        assert later.profiles.get(BOT) == at.profiles.get(BOT)
        assert dict(later.profiles.members) == {BOT: BOT}


@pytest.mark.parametrize(
    "name", ["ab", "A-bot", "-bot", "b" * 64, "bot_1", "principal", "user", "librarian", 7, None]
)
async def test_a_name_that_may_not_be_is_refused(tmp_path: Path, name: object):
    async with office(tmp_path) as at:
        with pytest.raises(BadRequest, match="agent_id"):
            await at.profiles.bootstrap(name, said())


async def test_a_change_replaces_what_it_names_and_nothing_else(tmp_path: Path):
    async with office(tmp_path) as at:
        await at.profiles.bootstrap(BOT, said(department="Lab", metadata={"a": 1, "b": 2}))
        body = await at.profiles.update(BOT, said(metadata={"c": 3}, budgetMonthlyUsd=5))
        assert (body["metadata"], body["department"]) == ({"c": 3}, "Lab")
        assert (body["budgetMonthlyUsd"], body["version"]) == (5.0, 2)
        with pytest.raises(Conflict, match="version 2"):
            await at.profiles.update(BOT, said(department="x"), version=1)


async def test_an_agent_moves_along_its_life_and_no_other_way(tmp_path: Path):
    async with office(tmp_path) as at:
        await at.profiles.create(BOT, said(), "provisioned")
        with pytest.raises(Forbidden):
            at.profiles.admit(BOT)
        with pytest.raises(Conflict):
            await at.profiles.transition(BOT, "suspended")
        await at.profiles.transition(BOT, "active")
        assert BOT in at.profiles.members
        at.profiles.admit(BOT)
        await at.profiles.transition(BOT, "suspended")
        assert BOT not in at.profiles.members
        with pytest.raises(BudgetExceeded):
            at.profiles.admit(BOT)
        await at.profiles.transition(BOT, "terminated")
        with pytest.raises(Forbidden):
            at.profiles.admit(BOT)
        with pytest.raises(Conflict, match="final"):
            await at.profiles.transition(BOT, "active")
        with pytest.raises(BadRequest):
            await at.profiles.transition(BOT, "asleep")


async def test_the_tokens_of_a_terminated_agent_are_dead(tmp_path: Path):
    async with office(tmp_path) as at:
        made = await at.profiles.bootstrap(BOT, said())
        for state in ("suspended", "terminated"):
            await at.profiles.transition(BOT, state)
        assert at.tokens.read() == {}
        assert at.profiles.agent_of(made.token) is None
        with pytest.raises(Forbidden):
            await at.profiles.bootstrap(BOT, said())


async def test_a_budget_that_is_used_up_admits_nothing_until_the_next_day(tmp_path: Path):
    async with office(tmp_path) as at:
        await at.profiles.bootstrap(BOT, said(budget_daily_usd=1))
        await at.spend("0.99")
        at.profiles.admit(BOT)
        await at.spend("0.02")
        with pytest.raises(BudgetExceeded, match=r"1\.01 of 1\.00 US dollars"):
            at.profiles.admit(BOT)
        at.clock.advance(24 * 3600)
        at.profiles.admit(BOT)


async def test_limits_bind_beside_the_profile_the_tighter_of_both(tmp_path: Path):
    async with office(tmp_path) as at:
        await at.profiles.bootstrap(BOT, said(budget_daily_usd=10))
        limits = at.profiles.limits
        assert (await limits.put(BOT, Limits(daily_usd=Decimal(2), rpm=1)))["daily_usd"] == 2.0
        assert limits.caps(BOT) == (Decimal("2.0"), None)
        at.profiles.admit(BOT)
        with pytest.raises(Busy):
            at.profiles.admit(BOT)
        await limits.drop(BOT)
        assert limits.caps(BOT) == (Decimal("10.0"), None)
        with pytest.raises(NotFound):
            await limits.drop(BOT)


async def test_what_is_delegated_can_not_be_spent_twice(tmp_path: Path):
    async with office(tmp_path) as at:
        await at.profiles.bootstrap(BOT, said(budget_daily_usd=10))
        await at.spend("4")
        child = AgentName("helper-1")
        with pytest.raises(BudgetExceeded, match=r"keeps at least 0\.01"):
            await at.profiles.delegate(BOT, child, Decimal(6), 60, said())
        made = await at.profiles.delegate(BOT, child, Decimal("5.99"), 60, said())
        assert made.profile["parentAgentId"] == BOT
        assert at.profiles.limits.caps(child) == (Decimal("5.99"), Decimal("5.99"))
        assert at.profiles.limits.caps(BOT) == (Decimal("4.01"), None)
        with pytest.raises(BudgetExceeded):
            await at.profiles.delegate(BOT, "helper-2", Decimal("0.01"), 60, said())
        at.clock.advance(60)
        with pytest.raises(Forbidden, match="expired"):
            at.profiles.admit(child)
        assert at.profiles.limits.caps(BOT)[0] == Decimal("4.01")
        at.clock.advance(24 * 3600)
        assert at.profiles.limits.caps(BOT)[0] == Decimal("10.0")


async def test_a_delegate_may_no_more_than_its_parent_and_keeps_its_share(tmp_path: Path):
    async with office(tmp_path) as at:
        await at.profiles.bootstrap(BOT, said())
        with pytest.raises(Forbidden):
            await at.profiles.delegate(BOT, "helper", Decimal(1), 60, said(role="admin"))
        await at.profiles.delegate(BOT, "helper", Decimal(1), 60, said())
        with pytest.raises(Conflict, match="share"):
            await at.profiles.update("helper", said(budget_daily_usd=100))
        with pytest.raises(Conflict, match="counts against"):
            await at.profiles.delete("helper")


async def test_a_deleted_agent_is_gone_with_its_files_and_tokens(tmp_path: Path):
    async with office(tmp_path) as at:
        await at.profiles.bootstrap(BOT, said())
        assert await at.profiles.put_file(BOT, "soul", "SOUL.md", {"content": "I am calm."})
        assert not await at.profiles.put_file(BOT, "soul", "SOUL.md", {"content": "I am loud."})
        assert [one["content"] for one in at.profiles.files(BOT, "soul")] == ["I am loud."]
        await at.profiles.delete(BOT)
        assert at.profiles.files(BOT, "soul") == []
        assert at.tokens.read() == {}
        with pytest.raises(NotFound):
            at.profiles.get(BOT)


async def test_an_agent_that_names_nothing_reads_and_remembers(tmp_path: Path):
    async with office(tmp_path) as at:
        await at.profiles.bootstrap(BOT, said(display_name="Research Agent", department="Lab"))
        made = at.profiles.definition(BOT, context(model=MODEL))
        assert made.system.startswith("You are Research Agent of Lab.")
        assert {"read", "grep", "ls", "search", "recall", "send_message"} <= set(made.tools)
        assert not {"write", "edit", "bash"} & set(made.tools)
        assert made.model == MODEL


async def test_who_an_agent_is_comes_from_the_first_source_that_says_it(tmp_path: Path):
    async with office(tmp_path) as at:
        hired = {
            "identity": {"description": "A chemist."},
            "job_description": {"primary_objective": "find it", "capabilities": ["titrate"]},
        }
        await at.profiles.bootstrap(BOT, said(metadata={"hr_record": hired}))

        def system() -> str:
            return at.profiles.definition(BOT, context()).system

        assert system().startswith("A chemist.\nYour primary objective: find it\nYou can: titrate")
        await at.profiles.put_file(BOT, "soul", "SOUL.md", {"content": "From the file."})
        assert system().startswith("From the file.")
        await at.profiles.update(BOT, said(metadata={"soul_content": "From metadata."}))
        assert system().startswith("From metadata.")
        await at.profiles.update(BOT, said(soul="From the soul.", system="Be brief."))
        assert system().startswith("From the soul.\n\nBe brief.")


async def test_a_profile_pins_its_model_brings_the_clients_tools_and_names_its_own(tmp_path: Path):
    async with office(tmp_path) as at:
        custom = [{"name": "weather", "description": "of a place"}]
        toolset = {
            "type": "agent_toolset_20260401",
            "configs": [{"name": "bash", "enabled": False}],
        }
        await at.profiles.bootstrap(
            BOT, said(model="google:flash", tools=["glob", toolset], custom_tools=custom)
        )
        made = at.profiles.definition(BOT, context(model=MODEL))
        assert made.model == ModelRef(provider="google", model="flash")
        assert [one.name for one in made.brings] == ["weather"]
        assert {"glob", "read", "write", "edit"} <= set(made.tools)
        assert "bash" not in made.tools


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "no-colon"},
        {"budget_daily_usd": -1},
        {"custom_tools": [{"name": "with space"}]},
        {"metadata": []},
        {"role": "king"},
    ],
)
def test_what_can_not_be_is_refused_before_it_is_kept(wrong: dict[str, Any]):
    with pytest.raises((ValueError, BadRequest), match=r"validation error|a tool's name"):
        said(**wrong)


def test_a_tool_of_the_client_may_not_take_the_name_of_one_of_ours():
    with pytest.raises(BadRequest, match="taken"):
        said(custom_tools=[{"name": "read"}])


async def test_active_agents_are_members_of_the_team_and_a_suspended_one_does_not_run(
    tmp_path: Path,
):
    async with office(tmp_path) as at:
        crew = Crew()
        crew.enrol(at.profiles)
        await at.profiles.bootstrap(BOT, said(description="reads papers", tools=["bash"]))
        assert dict(crew.members) == {BOT: "reads papers"}
        assert "bash" in crew.grants(BOT)
        assert crew.profile(BOT).create(context()).tools == ("bash", "send_message")
        leader = crew.profile("principal").create(context("principal"))
        assert "- research-01: reads papers" in leader.system
        await at.profiles.transition(BOT, "suspended")
        assert dict(crew.members) == {}
        with pytest.raises(BudgetExceeded):
            crew.profile(BOT).create(context())
