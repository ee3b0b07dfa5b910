"""Registered agents over HTTP: made, asked about, changed, lent to, and by whom."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from brainpilot_rt.domain.ids import DAEMON_STREAM
from tests.unit.server.agent_world import BOT, TOKEN, World, bearer, world

PROFILE = f"/v1/agent/profiles/{BOT}"


async def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["type"]


async def test_the_guides_own_request_makes_an_agent_once(tmp_path: Path):
    body = """{
    "agent_id": "research-01",
    "display_name": "Research Agent",
    "budget_daily_usd": 10.0,
    "department": "Engineering"
  }"""
    async with world(tmp_path) as at:
        first = await at.http.post("/v1/agent/bootstrap", content=body)
        assert first.status_code == 201
        made = first.json()
        profile = made["profile"]
        assert profile["agentId"] == "research-01"
        assert (profile["budgetDailyUsd"], profile["lifecycleState"]) == (10.0, "active")
        assert made["budget"]["enforced_daily_usd"] == 10.0
        assert made["budget"]["enforced_rpm"] == 30
        again = await at.http.post("/v1/agent/bootstrap", content=body)
        assert again.status_code == 200
        assert again.json()["profile"] == profile
        assert again.json()["jwt"] != made["jwt"]


async def test_the_token_of_an_agent_is_real_and_says_whose_it_is(tmp_path: Path):
    async with world(tmp_path) as at:
        token = (await at.bootstrap())["jwt"]
        me = await at.http.get("/v1/agent/profiles/me", headers=bearer(token))
        assert me.json()["profile"]["agentId"] == BOT
        at.http.headers.pop("authorization")
        key = {"x-api-key": token}
        whoever = (await at.http.get("/v1/self", headers=key)).json()["identity"]
        assert (whoever["agent_id"], whoever["auth_method"]) == (BOT, "agent_token")
        owner = bearer(TOKEN)
        who = (await at.http.get("/v1/self", headers=owner)).json()["identity"]
        assert (who["agent_id"], who["roles"]) == (None, ["owner"])
        nobody = await at.http.get("/v1/agent/profiles/me", headers=owner)
        assert await refused(nobody) == (404, "no_agent")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/agent/bootstrap"),
        ("POST", "/v1/agent/profiles"),
        ("PATCH", PROFILE),
        ("DELETE", PROFILE),
        ("PATCH", f"/v1/agent/profiles/lifecycle/{BOT}"),
        ("POST", "/v1/agent-limits"),
        ("PUT", f"/v1/agent-limits/{BOT}"),
        ("DELETE", f"/v1/agent-limits/{BOT}"),
        ("PUT", "/v1/budget/limits"),
        ("POST", "/v1/budget/killswitch/deactivate"),
    ],
)
async def test_an_agent_can_not_change_what_holds_it(tmp_path: Path, method: str, path: str):
    async with world(tmp_path) as at:
        token = (await at.bootstrap())["jwt"]
        body = {"agent_id": BOT, "budget_daily_usd": 1000, "state": "active"}
        answer = await at.http.request(method, path, json=body, headers=bearer(token))
        assert await refused(answer) == (403, "rbac")
        at.http.headers.pop("authorization")
        answer = await at.http.request(method, f"/c/{token}{path}", json=body)
        assert await refused(answer) == (403, "rbac")


@pytest.mark.parametrize(
    ("agent_id", "kind"),
    [
        ("ab", "invalid_agent_id"),
        ("Upper", "invalid_agent_id"),
        ("x" * 64, "invalid_agent_id"),
        (None, "invalid_agent_id"),
        ("principal", "reserved_agent_id"),
        ("writer", "reserved_agent_id"),
        ("daemon", "reserved_agent_id"),
    ],
)
async def test_a_name_that_may_not_be_is_refused_in_words(
    tmp_path: Path, agent_id: str | None, kind: str
):
    async with world(tmp_path) as at:
        answer = await at.http.post("/v1/agent/bootstrap", json={"agent_id": agent_id})
        assert await refused(answer) == (400, kind)


async def test_a_profile_is_made_read_changed_and_forgotten(tmp_path: Path):
    async with world(tmp_path) as at:
        made = await at.http.post(
            "/v1/agent/profiles", json={"agentId": BOT, "displayName": "R", "metadata": {"a": 1}}
        )
        assert made.status_code == 201
        assert made.json()["profile"]["lifecycleState"] == "provisioned"
        twice = await at.http.post("/v1/agent/profiles", json={"agentId": BOT})
        assert await refused(twice) == (409, "agent_exists")
        changed = await at.http.patch(PROFILE, json={"metadata": {"b": 2}, "budgetDailyUsd": 5})
        assert changed.json()["profile"]["metadata"] == {"b": 2}
        assert changed.json()["profile"]["displayName"] == "R"
        listed = (await at.http.get("/v1/agent/profiles")).json()
        assert (listed["total"], listed["profiles"][0]["budgetDailyUsd"]) == (1, 5.0)
        gone = await at.http.delete(PROFILE)
        assert gone.json() == {"deleted": True, "agentId": BOT}
        assert await refused(await at.http.get(PROFILE)) == (404, "unknown_agent")
        assert await refused(await at.http.delete(PROFILE)) == (404, "unknown_agent")


async def test_a_way_of_life_that_does_not_exist_is_a_conflict(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        url = f"/v1/agent/profiles/lifecycle/{BOT}"
        answer = await at.http.patch(url, json={"state": "terminated"})
        assert await refused(answer) == (409, "illegal_transition")
        assert await refused(await at.http.patch(url, json={})) == (400, "invalid_body")


@pytest.mark.parametrize(
    "wrong",
    [{"budget_daily_usd": -1}, {"model": "nonsense"}, {"metadata": "x"}, {"tools": "read"}],
)
async def test_a_profile_that_makes_no_sense_is_not_kept(tmp_path: Path, wrong: dict[str, Any]):
    async with world(tmp_path) as at:
        answer = await at.http.post("/v1/agent/bootstrap", json={"agent_id": BOT, **wrong})
        assert await refused(answer) == (400, "invalid_body")
        assert next(iter(wrong)).split("_")[0] in answer.json()["error"]["message"]
        assert (await at.http.get(PROFILE)).status_code == 404


async def status_of(at: World, token: str) -> dict[str, Any]:
    answer = await at.http.get("/v1/agent/status", headers=bearer(token))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_an_agent_sees_its_budget_and_lends_from_it(tmp_path: Path):
    async with world(tmp_path) as at:
        token = (await at.bootstrap(budget_daily_usd=10))["jwt"]
        before = await status_of(at, token)
        assert before["limits"]["daily"]["remaining_usd"] == 10.0
        assert before["anomaly"]["z_score"] is None
        lent = {"agent_id": "helper-1", "budget_allocation_usd": 4, "ttl_seconds": 60}
        made = await at.http.post("/v1/agent/delegate", json=lent, headers=bearer(token))
        assert made.status_code == 201
        assert made.json()["profile"]["parentAgentId"] == BOT
        assert (await status_of(at, token))["limits"]["daily"]["limit_usd"] == 6.0
        assert (await status_of(at, made.json()["jwt"]))["limits"]["daily"]["limit_usd"] == 4.0
        more = {**lent, "agent_id": "helper-2", "budget_allocation_usd": 6}
        answer = await at.http.post("/v1/agent/delegate", json=more, headers=bearer(token))
        assert await refused(answer) == (402, "budget_exhausted")
        orphan = await at.http.post("/v1/agent/delegate", json=more)
        assert await refused(orphan) == (400, "no_parent")
        for wrong in ({"budget_allocation_usd": 0}, {"ttl_seconds": 0}, {"agent_id": "A"}):
            answer = await at.http.post(
                "/v1/agent/delegate", json=lent | {"agent_id": "h-3"} | wrong, headers=bearer(token)
            )
            assert answer.status_code == 400


async def test_limits_are_set_listed_and_dropped(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap(budget_daily_usd=10)
        body = {"agent_id": BOT, "daily_usd": 3, "rpm": 5}
        assert (await at.http.post("/v1/agent-limits", json=body)).status_code == 200
        listed = (await at.http.get("/v1/agent-limits")).json()["limits"]
        assert (listed[0]["daily_usd"], listed[0]["rpm"]) == (3.0, 5)
        url = f"/v1/agent-limits/{BOT}"
        changed = await at.http.put(url, json={"daily_usd": 20})
        assert changed.json()["limit"]["daily_usd"] == 10.0
        assert (await at.http.delete(url)).json()["deleted"] is True
        assert await refused(await at.http.delete(url)) == (404, "no_limits")
        assert await refused(await at.http.get("/v1/agent-limits/nobody")) == (404, "unknown_agent")
        assert await refused(await at.http.put(url, json={"rpm": 0})) == (400, "invalid_body")


async def test_a_file_says_who_an_agent_is_from_its_next_run_on(tmp_path: Path):
    async with world(tmp_path) as at:
        token = (await at.bootstrap())["jwt"]
        file = {"agent_id": BOT, "filename": "SOUL.md", "content": "I count birds."}
        soul = {**file, "file_type": "soul"}
        assert (await at.http.put("/v1/workspace/files", json=soul)).status_code == 201
        again = await at.http.put("/v1/workspace/files", json=soul, headers=bearer(token))
        assert again.status_code == 200
        at.model.say(BOT, "Twelve.")
        await at.run()
        assert at.model.requests[0].system.startswith("I count birds.")
        other = {**soul, "agent_id": "other-bot"}
        answer = await at.http.put("/v1/workspace/files", json=other, headers=bearer(token))
        assert await refused(answer) == (403, "rbac")
        answer = await at.http.put("/v1/workspace/files", json={**soul, "filename": "../x"})
        assert await refused(answer) == (400, "invalid_body")


async def test_what_is_put_for_an_agent_is_read_in_its_next_turn(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        metadata = {"skill": {"domain": "ornithology", "standards": ["count twice"]}}
        await at.http.patch(f"/v1/agent/profiles/{BOT}", json={"metadata": metadata})
        working = {"agent_id": BOT, "filename": "today.md", "file_type": "workspace"}
        await at.http.put("/v1/workspace/files", json={**working, "content": "Twelve herons."})
        guide = {"agent_id": BOT, "filename": "guide.md", "file_type": "reference"}
        kept = {**guide, "content": "Herons stand still.", "description": "about herons"}
        await at.http.put("/v1/workspace/files", json=kept)
        at.model.say(BOT, "Twelve.")
        await at.run("How many herons stand still?")
        read = at.model.requests[0].system
        for text in (
            "ornithology",
            "count twice",
            "Twelve herons.",
            "about herons",
            "stand still.",
        ):
            assert text in read


async def test_a_token_is_never_written_into_the_log(tmp_path: Path):
    async with world(tmp_path) as at:
        headers = {"idempotency-key": "once"}
        answer = await at.http.post("/v1/agent/bootstrap", json={"agent_id": BOT}, headers=headers)
        log = at.crew.organs.log
        assert await log.receipt("once") is None
        kept = [one.event.model_dump(mode="json") for one in await log.read(DAEMON_STREAM)]
        assert answer.json()["jwt"] not in json.dumps(kept)
