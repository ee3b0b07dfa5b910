"""Calls that the caller runs, over the death of the daemon: asked once, answered once."""

import json
from pathlib import Path
from typing import Any

import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.provider import Ask, Call, Reply, provider
from tests.realtime.daemon.world import log_lines, of_type, violations

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

AGENT = "harbour-pilot"
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


async def scripted(ask: Ask) -> Reply:
    results = [str(one["content"]) for one in ask.messages if one["role"] == "tool"]
    if results:
        yield f"It came to: {'; '.join(results)}"
    elif "note" in str(ask.messages):
        yield Call("write", {"path": "note.txt", "content": "hello"})
    else:
        yield Call("weather", {"city": "Turku"})
        yield Call("weather", {"city": "Oulu"})


async def chat(daemon: RunningDaemon, *messages: dict[str, Any]) -> dict[str, Any]:
    body = {"model": AGENT, "tools": [TOOL], "messages": [user(), *messages]}
    answer = await daemon.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["choices"][0]["message"]
    return found


def user() -> dict[str, Any]:
    return {"role": "user", "content": "how is it?"}


@pytest.mark.parametrize("answered_before", [0, 1])
async def test_calls_that_waited_at_a_kill_are_answered_after_it(
    tmp_path: Path, answered_before: int
):
    async with provider(scripted) as model:
        home = DaemonHome(tmp_path, env=model.env)
        async with home.running() as daemon:
            await daemon.http.post("/v1/agent/bootstrap", json={"agent_id": AGENT})
            calls = (await chat(daemon))["tool_calls"]
            results = [
                {
                    "role": "tool",
                    "tool_call_id": one["id"],
                    "content": json.loads(one["function"]["arguments"])["city"],
                }
                for one in calls
            ]
            for one in results[:answered_before]:
                await chat(daemon, one)
            await daemon.kill()
        async with home.running() as daemon:
            answer = await chat(daemon, *results)
            again = await chat(daemon, *results)
            session = calls[0]["id"].rpartition("_")[2]
            lines = await log_lines(daemon, session)
    assert answer["content"] == "It came to: Turku; Oulu"
    assert again["content"] == answer["content"], "the request was made again: it is answered"
    assert violations(lines) == []
    assert len(of_type(lines, "client_call_answered")) == 2
    assert len(model.asks) == 2, "the model is not asked again for what it has said"


async def test_a_confirmation_that_was_asked_for_before_a_kill_is_given_after_it(tmp_path: Path):
    asking = {"permission_policy": {"type": "always_ask"}}
    tools = [{"type": "agent_toolset_20260401", "default_config": asking}]
    words = [{"type": "text", "text": "write a note"}]
    async with provider(scripted) as model:
        home = DaemonHome(tmp_path, env=model.env)
        async with home.running() as daemon:
            agent = await made(daemon, "agents", model="auto", name="Clerk", tools=tools)
            place = await made(daemon, "environments", name="here")
            session = await made(
                daemon, "sessions", agent=agent["id"], environment_id=place["id"],
                initial_events=[{"type": "user.message", "content": words}],
            )  # fmt: skip
            asked = await last_event(daemon, session["id"], "requires_action")
            await daemon.kill()
        async with home.running() as daemon:
            assert await last_event(daemon, session["id"], "requires_action") == asked
            (call,) = asked["stop_reason"]["event_ids"]
            word = {"type": "user.tool_confirmation", "tool_use_id": call, "result": "allow"}
            answer = await daemon.http.post(
                f"/v1/sessions/{session['id']}/events", json={"events": [word]}
            )
            assert answer.status_code == 200, answer.text
            await last_event(daemon, session["id"], "end_turn")
            lines = await log_lines(daemon, session["id"])
    assert violations(lines) == []
    assert [one["decision"] for one in of_type(lines, "approval_decided")] == ["approved"]
    assert [one["status"] for one in of_type(lines, "tool_finished")] == ["completed"]


async def made(daemon: RunningDaemon, what: str, **body: Any) -> dict[str, Any]:
    answer = await daemon.http.post(f"/v1/{what}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def last_event(daemon: RunningDaemon, session: str, reason: str) -> dict[str, Any]:
    """The event that says that the session is idle for this reason, once it does."""
    path = f"/v1/sessions/{session}/events?order=desc&limit=1"
    while True:
        found = (await daemon.http.get(path)).json()["data"]
        if found and found[0].get("stop_reason", {}).get("type") == reason:
            last: dict[str, Any] = found[0]
            return last
