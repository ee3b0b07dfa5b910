"""What runs leave behind for the owner: choices, savings, calls; and rules changed in between."""

from decimal import Decimal
from pathlib import Path
from typing import Any

from brainpilot_rt.models.providers import Dialect, ProviderProfile, Providers, TokenPrices
from brainpilot_rt.settings import RoutingSettings
from brainpilot_rt.testing.models import Call
from brainpilot_rt.testing.team import Setup
from brainpilot_rt.tools.finding import finding_tools
from tests.unit.server.agent_world import BOT, World, world
from tests.unit.server.test_agent_run_governance import paid

LOOK = Call("ls", {"path": "/workspace"})


def lab(dear: str = "9", cheap: str = "1") -> Providers:
    """Two models whose prices are declared; the dear one is the default."""
    profile = ProviderProfile(
        id="lab",
        name="Lab",
        dialect=Dialect.OPENAI_CHAT,
        base_url="http://127.0.0.1:9",
        api_key=None,
        models=("dear", "cheap"),
        prices={
            "dear": TokenPrices(Decimal(dear), Decimal(dear)),
            "cheap": TokenPrices(Decimal(cheap), Decimal(cheap)),
        },
        source="providers.json",
    )
    return Providers((profile,), "lab")


ROUTED = Setup(tools=finding_tools(), paid=True, providers=lab(), routing=RoutingSettings(seed=3))


async def get(at: World, path: str) -> Any:
    answer = await at.http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_every_turn_of_a_run_is_a_choice_with_its_outcome(tmp_path: Path):
    async with world(tmp_path, ROUTED) as at:
        await at.bootstrap()
        for _ in range(3):
            at.model.script(BOT, paid("0.001", LOOK), paid("0.001", "Done."))
            await at.run()
        choices = (await get(at, "/v1/routing/choices"))["choices"]
        board = (await get(at, "/v1/models/leaderboard"))["rankings"]
        saved = await get(at, "/v1/intelligence/savings")
        rankings = (await get(at, "/v1/intelligence/rankings"))["rankings"]
        replay = (await get(at, "/v1/routing/replay?policy=cheapest"))["estimates"]
    assert len(choices) == 6
    assert {one["agent"] for one in choices} == {BOT}
    assert all(0 < one["reward"] <= 1 for one in choices)
    assert {one["model"] for one in choices} <= {"lab:dear", "lab:cheap"}
    drawn = [one for one in choices if one["propensity"] is not None]
    assert drawn
    assert all(len(one["candidates"]) == 2 for one in drawn)
    assert sum(one["request_count"] for one in board) == 6
    known = sum(one["samples"] for group in rankings for one in group["models"])
    assert known == 6
    assert (saved["turns"], saved["unknown"]) == (6, 0)
    assert saved["savings_usd"] == saved["baseline_usd"] - saved["actual_usd"]
    assert replay[0]["turns"] + replay[0]["leftOut"] == 6


async def test_a_rule_that_is_changed_counts_from_the_next_call_and_leaves_its_trail(
    tmp_path: Path,
):
    async with world(tmp_path, ROUTED) as at:
        await at.bootstrap()
        at.model.script(BOT, paid("0.001", LOOK), paid("0.001", "Done."))
        await at.run()
        answer = await at.http.put("/v1/firewall/config", json={"denyList": ["ls"]})
        assert answer.status_code == 200, answer.text
        at.model.script(BOT, paid("0.001", LOOK), paid("0.001", "I may not."))
        await at.run()
        entries = (await get(at, "/v1/governance/audit?operation=tool_call"))["entries"]
        assert [(one["tool"], one["action"], one["status"]) for one in entries] == [
            ("ls", "block", "refused"),
            ("ls", "pass", "completed"),
        ]
        (caught,) = (await get(at, "/v1/firewall/interceptions"))["interceptions"]
        assert caught["details"]["verdicts"][0]["reasons"][0].startswith("denied_tool: ")
        summary = await get(at, "/v1/governance/summary")
        assert summary["audit_stats"] == {"total_requests": 2, "flagged": 1}


async def test_a_call_of_no_tool_or_with_unfit_arguments_is_shown_as_stopped_and_why(
    tmp_path: Path,
):
    async with world(tmp_path, ROUTED) as at:
        await at.bootstrap()
        unfit, unknown = Call("ls", {"path": 5}), Call("bash", {"command": "ls"})
        at.model.script(BOT, paid("0.001", unfit, unknown), paid("0.001", "Well."))
        frames = await at.run()
        said = [
            "args_invalid: they do not fit ls",
            "rbac_unauthorized: bash is no tool of this agent",
        ]
        used = [one.data for one in frames if one.event == "agent.tool_use"]
        assert [one["reasons"] for one in used] == [[one] for one in said]
        entries = (await get(at, "/v1/governance/audit?operation=tool_call"))["entries"]
        assert {one["action"] for one in entries} == {"block"}
        assert sorted(one["reasons"][0] for one in entries) == said
        assert (await get(at, "/v1/firewall/interceptions"))["total"] == 2


async def test_guardrails_that_are_set_to_block_stop_the_next_request(tmp_path: Path):
    async with world(tmp_path, ROUTED) as at:
        await at.bootstrap()
        config = {"mode": "block", "providers": [{"id": "pii", "actions": {"input": "block"}}]}
        assert (await at.http.put("/v1/guardrails/config", json=config)).status_code == 200
        frames = await at.run("Write to jane.doe@example.com")
        assert frames[-1].data["reason"] == "guardrail_blocked"
        assert at.model.requests == []
        summary = await get(at, "/v1/governance/summary")
        assert summary["guardrails"]["byAction"] == {"block": 1}
        assert summary["guardrails"]["mode"] == "block"


async def test_what_an_agent_wants_remembered_is_read_by_runs_once_the_owner_agrees(
    tmp_path: Path,
):
    async with world(tmp_path) as at:
        token = (await at.bootstrap())["jwt"]
        fact = {"fact": "The mill is closed.", "block": "project"}
        own = {"authorization": f"Bearer {token}"}
        proposed = (await at.http.post("/v1/memory/entries", json=fact, headers=own)).json()
        at.model.say(BOT, "One.")
        at.model.say(BOT, "Two.")
        await at.run()
        path = f"/v1/memory/pending/{proposed['approvalId']}/approve"
        assert (await at.http.post(path, json={})).status_code == 200
        await at.run()
    before, after = (request.system for request in at.model.requests)
    assert "The mill is closed." not in before
    assert "The mill is closed." in after
