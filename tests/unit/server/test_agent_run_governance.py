"""Agent runs under budgets, routing and guardrails, as their stream tells of them."""

from decimal import Decimal
from pathlib import Path

from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.testing.models import Call, Reply
from brainpilot_rt.testing.team import Setup
from brainpilot_rt.tools.finding import finding_tools
from tests.unit.server.agent_world import BOT, Seen, world

PAID = Setup(tools=finding_tools(), paid=True)


def paid(usd: str, *steps: str | Call) -> Reply:
    return Reply(steps, usage=Usage(input=1000, output=100), cost_usd=Decimal(usd))


def looking(usd: str, text: str = "") -> Reply:
    return paid(usd, *([text] if text else []), Call("ls", {"path": "/workspace"}))


def events(frames: list[Seen]) -> list[str]:
    return [one.event for one in frames]


async def test_a_turn_is_told_from_the_choice_of_its_model_to_what_it_cost(tmp_path: Path):
    async with world(tmp_path, PAID) as at:
        await at.bootstrap()
        at.model.script(BOT, looking("0.85", "I look."), paid("0.01", "Done."))
        frames = await at.run("Write to jane.doe@example.com", budget_cap_usd=1)
        told = events(frames)
        assert told[1] == "br.model_selected"
        assert told[2] == "br.guardrail_intervention"
        assert frames[2].data["stage"] == "input"
        first = [one.event for one in frames[3:] if one.data.get("turnIndex") == 0]
        assert [one for one in first if one != "br.guardrail_intervention"] == [
            "agent.message",
            "agent.tool_use",
            "agent.tool_result",
            "br.routing_savings",
            "br.budget_warning",
        ]
        warning = next(one.data for one in frames if one.event == "br.budget_warning")
        assert (warning["spentUsd"], warning["capUsd"], warning["scope"]) == (0.85, 1.0, "run")
        assert warning["remainingUsd"] == 0.15
        last = frames[-1].data
        assert (last["reason"], last["totalCostUsd"], last["totalTurns"]) == ("completed", 0.86, 2)


async def test_a_cap_that_is_crossed_ends_the_run_after_the_turn_that_crossed_it(tmp_path: Path):
    async with world(tmp_path, PAID) as at:
        await at.bootstrap()
        at.model.script(BOT, looking("1.8"), looking("0.203"), paid("1", "never"))
        frames = await at.run(budget_cap_usd=2)
        last = frames[-1].data
        assert (last["reason"], last["totalCostUsd"]) == ("budget_exhausted", 2.003)
        assert last["totalTurns"] == 2
        assert "session.status_idle" not in events(frames)
        assert len(at.model.requests) == 2


async def test_a_run_shares_the_day_of_its_agent_with_all_others(tmp_path: Path):
    async with world(tmp_path, PAID) as at:
        await at.bootstrap(budget_daily_usd=1)
        at.model.script(BOT, paid("0.7", "One."), looking("0.7"), paid("0.7", "never"))
        assert (await at.run())[-1].data["reason"] == "completed"
        assert (await at.run())[-1].data["reason"] == "budget_exhausted"
        answer = await at.http.post(f"/v1/agents/{BOT}/run", json={"message": "more"})
        assert answer.status_code == 402
        status = (await at.http.get(f"/v1/agent/status?agent_id={BOT}")).json()
        assert status["limits"]["daily"]["spent_usd"] == 1.4
        assert status["limits"]["daily"]["remaining_usd"] == 0.0


async def test_the_last_turn_that_may_be_is_forced_to_answer(tmp_path: Path):
    async with world(tmp_path, PAID) as at:
        await at.bootstrap()
        at.model.script(BOT, looking("0.01"), looking("0.01", "So far."), paid("1", "never"))
        frames = await at.run(max_turns=2)
        assert frames[-1].data["reason"] == "max_turns"
        assert frames[-1].data["totalTurns"] == 2
        assert at.model.requests[1].tools == ()


async def test_an_unknown_cost_is_said(tmp_path: Path):
    async with world(tmp_path, PAID) as at:
        await at.bootstrap()
        at.model.script(BOT, Reply(("Done.",), cost_usd=None))
        assert (await at.run())[-1].data["costUnknown"] is True
