"""Managed agents over HTTP: what a client makes, sends and reads, and what it is refused."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.testing.models import Call, Gate
from tests.unit.server.agent_world import BOT, World, world

Json = dict[str, Any]
WEATHER: Json = {"type": "custom", "name": "weather", "description": "d", "input_schema": {}}
ANTHROPIC = {"anthropic-version": "2026-10-21"}


async def ask(at: World, method: str, path: str, body: Json | None = None) -> tuple[int, Json]:
    answer = await at.http.request(method, f"/v1{path}", json=body, headers=ANTHROPIC)
    found: Json = answer.json()
    return answer.status_code, found


async def done(at: World, method: str, path: str, body: Json | None = None) -> Json:
    status, found = await ask(at, method, path, body)
    assert status == 200, found
    return found


async def agent(at: World, **more: Any) -> Json:
    return await done(at, "POST", "/agents", {"model": "auto", "name": "Bob", **more})


async def session(at: World, *tools: Json, **more: Any) -> Json:
    made = await agent(at, tools=list(tools))
    place = await done(at, "POST", "/environments", {"name": "here"})
    body = {"agent": made["id"], "environment_id": place["id"], **more}
    return await done(at, "POST", "/sessions", body)


def said(words: str) -> Json:
    return {"type": "user.message", "content": [{"type": "text", "text": words}]}


async def send(at: World, session_id: str, *events: Json) -> tuple[int, Json]:
    return await ask(at, "POST", f"/sessions/{session_id}/events", {"events": list(events)})


async def events(at: World, session_id: str, query: str = "limit=1000") -> list[Json]:
    found = await done(at, "GET", f"/sessions/{session_id}/events?{query}")
    listed: list[Json] = found["data"]
    return listed


def kinds(listed: list[Json]) -> list[str]:
    return [one["type"] for one in listed if not one["type"].startswith(("br.", "span."))]


async def idle(at: World, session_id: str, reason: str) -> list[Json]:
    """Let the loop turn until the session's last event is that it is idle for this reason."""
    for _ in range(10_000):
        listed = await events(at, session_id)
        last = listed[-1] if listed else {}
        if last.get("stop_reason", {}).get("type") == reason:
            return listed
        await asyncio.sleep(0.01)
    raise AssertionError(f"never idle for {reason}")


async def test_a_session_holds_on_to_the_version_of_its_agent(tmp_path: Path):
    async with world(tmp_path) as at:
        made = await agent(at, system="First.")
        place = await done(at, "POST", "/environments", {"name": "here"})
        await done(at, "POST", f"/agents/{made['id']}", {"system": "Second.", "version": 1})
        old = {"type": "agent", "id": made["id"], "version": 1}
        own = {"type": "agent_with_overrides", "id": made["id"], "system": "Third."}
        heard: list[str] = []
        for which in (old, own, made["id"]):
            body = {"agent": which, "environment_id": place["id"]}
            at.model.say(made["id"], "Yes.")
            one = await done(at, "POST", "/sessions", {**body, "initial_events": [said("hi")]})
            await idle(at, one["id"], "end_turn")
            heard.append(at.model.requests[-1].system)
        assert ["First." in heard[0], "Third." in heard[1], "Second." in heard[2]] == [True] * 3
        assert (await ask(at, "POST", f"/agents/{made['id']}", {"name": "x", "version": 1}))[
            0
        ] == 409


async def test_versions_are_listed_newest_first_and_read_by_number(tmp_path: Path):
    async with world(tmp_path) as at:
        made = await agent(at)
        for n in range(2, 6):
            await done(at, "POST", f"/agents/{made['id']}", {"description": f"d{n}"})
        first = await done(at, "GET", f"/agents/{made['id']}/versions?limit=2")
        assert [one["version"] for one in first["data"]] == [5, 4]
        rest = await done(at, "GET", f"/agents/{made['id']}/versions?page={first['next_page']}")
        assert [one["version"] for one in rest["data"]] == [3, 2, 1]
        assert rest["next_page"] is None
        third = await done(at, "GET", f"/agents/{made['id']}?version=3")
        assert third["description"] == "d3"
        assert (await ask(at, "GET", f"/agents/{made['id']}?version=9"))[0] == 404
        assert (await ask(at, "GET", f"/agents/{made['id']}?version=x"))[0] == 400


async def test_sessions_turn_pages_both_ways_and_are_restricted(tmp_path: Path):
    async with world(tmp_path) as at:
        made: list[str] = []
        for _ in range(5):
            made.append((await session(at))["id"])
            await asyncio.sleep(1)
        await at.http.post("/sessions", json={})  # not of this family: never listed
        pages = [await done(at, "GET", "/sessions?limit=2")]
        while token := pages[-1]["next_page"]:
            pages.append(await done(at, "GET", f"/sessions?limit=2&page={token}"))
        assert [one["id"] for page in pages for one in page["data"]] == made[::-1]
        back = await done(at, "GET", f"/sessions?limit=2&page={pages[-1]['prev_page']}")
        assert back["data"] == pages[1]["data"]
        assert pages[0]["prev_page"] is None
        asc = await done(at, "GET", "/sessions?order=asc&limit=1")
        assert asc["data"][0]["id"] == made[0]
        middle = (await done(at, "GET", f"/sessions/{made[2]}"))["created_at"]
        later = await at.http.get("/v1/sessions", params={"created_at[gt]": middle})
        assert [one["id"] for one in later.json()["data"]] == [made[4], made[3]]
        assert (await ask(at, "GET", "/sessions?statuses[]=running"))[1]["data"] == []
        for wrong in ("page=nonsense", "limit=0", "limit=x", "created_at[gt]=soon"):
            assert (await ask(at, "GET", f"/sessions?{wrong}"))[0] == 400


async def test_of_events_that_are_refused_none_is_done(tmp_path: Path):
    async with world(tmp_path) as at:
        one = await session(at)
        wrongs: list[Json] = [
            {"type": "user.tool_result", "tool_use_id": "x"},
            {"type": "user.define_outcome"},
            {"type": "system.message", "content": []},
            {"type": "agent.message"},
            {"type": "user.message", "content": []},
            {"type": "user.message", "content": [{"type": "image"}]},
            {"type": "user.tool_confirmation", "tool_use_id": "x", "result": "allow"},
            {"type": "user.tool_confirmation", "tool_use_id": "x", "result": "maybe"},
            {"type": "user.custom_tool_result", "custom_tool_use_id": "x"},
            {"type": "user.interrupt", "session_thread_id": "thread-nobody"},
        ]
        for wrong in wrongs:
            status, refused = await send(at, one["id"], said("hi"), wrong)
            assert (status, refused["error"]["type"]) == (400, "invalid_request_error"), wrong
        assert await events(at, one["id"]) == []
        assert (await send(at, "nowhere", said("hi")))[0] == 404


async def test_a_custom_call_waits_and_a_second_result_is_refused(tmp_path: Path):
    async with world(tmp_path) as at:
        one = await session(at, WEATHER)
        at.model.say(one["agent"]["id"], Call("weather", {"city": "Turku"}))
        at.model.say(one["agent"]["id"], "It rains.")
        await send(at, one["id"], said("how is it?"))
        (call,) = [
            event
            for event in await idle(at, one["id"], "requires_action")
            if event["type"] == "agent.custom_tool_use"
        ]
        assert call["input"] == {"city": "Turku"}
        assert (await done(at, "GET", f"/sessions/{one['id']}"))["status"] == "idle"
        result = {"type": "user.custom_tool_result", "custom_tool_use_id": call["id"]}
        rain = {**result, "content": [{"type": "text", "text": "rain"}]}
        assert (await send(at, one["id"], rain))[0] == 200
        assert (await send(at, one["id"], rain))[0] == 400
        listed = await idle(at, one["id"], "end_turn")
        assert kinds(listed) == [
            "session.status_running",
            "user.message",
            "agent.custom_tool_use",
            "session.status_idle",
            "user.custom_tool_result",
            "session.status_running",
            "agent.message",
            "session.usage",
            "session.status_idle",
        ]


async def test_events_are_listed_by_page_type_order_and_time(tmp_path: Path):
    async with world(tmp_path) as at:
        one = await session(at)
        for n in range(3):
            at.model.say(one["agent"]["id"], f"answer {n}")
            await send(at, one["id"], said(f"question {n}"))
            await idle(at, one["id"], "end_turn")
            await asyncio.sleep(10)
        whole = await events(at, one["id"])
        found: list[Json] = []
        token = ""
        while True:
            query = f"limit=2&page={token}" if token else "limit=2"
            page = await done(at, "GET", f"/sessions/{one['id']}/events?{query}")
            found += page["data"]
            if not (token := page["next_page"]):
                break
        assert found == whole
        assert await events(at, one["id"], "order=desc&limit=1000") == whole[::-1]
        some = await events(at, one["id"], "types[]=agent.message&types[]=user.message")
        assert kinds(some) == ["user.message", "agent.message"] * 3
        after = await at.http.get(
            f"/v1/sessions/{one['id']}/events",
            params={"created_at[gt]": some[1]["processed_at"], "types[]": "agent.message"},
        )
        assert [event["text"] for event in after.json()["data"]] == ["answer 1", "answer 2"]


async def test_a_stream_says_what_happens_from_now_on_and_ends_with_its_session(tmp_path: Path):
    async with world(tmp_path) as at:
        one = await session(at)
        gate = Gate()
        at.model.say(one["agent"]["id"], "Hel", gate, "lo")
        path = f"/v1/sessions/{one['id']}/events/stream?event_deltas[]=agent.message"
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read(at.http, path))
            await asyncio.sleep(1)
            await send(at, one["id"], said("hi"))
            await gate.reached.wait()
            await asyncio.sleep(60)
            gate.open()
            await idle(at, one["id"], "end_turn")
            await done(at, "POST", f"/sessions/{one['id']}", {"title": "New"})
            await done(at, "DELETE", f"/sessions/{one['id']}")
        comments, seen = reading.result()
        assert comments >= 3, "a sign of life every 15 s"
        names = kinds(seen)
        assert names[:3] == ["user.message", "session.status_running", "user.message"]
        assert names[-2:] == ["session.updated", "session.deleted"]
        pieces = [one["delta"]["content"]["text"] for one in seen if one["type"] == "event_delta"]
        assert "".join(pieces) == "Hello"
        (start,) = [one["event"]["id"] for one in seen if one["type"] == "event_start"]
        (whole,) = [one["id"] for one in seen if one["type"] == "agent.message"]
        assert start == whole


async def test_a_stream_that_shows_nothing_of_a_long_text_gives_signs_of_life(tmp_path: Path):
    async with world(tmp_path) as at:
        one = await session(at)
        gates = [Gate() for _ in range(12)]
        at.model.say(one["agent"]["id"], *(step for gate in gates for step in ("word ", gate)))
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read(at.http, f"/v1/sessions/{one['id']}/events/stream"))
            await asyncio.sleep(1)
            await send(at, one["id"], said("hi"))
            for gate in gates:
                await gate.reached.wait()
                await asyncio.sleep(5)
                gate.open()
            await idle(at, one["id"], "end_turn")
            await done(at, "DELETE", f"/sessions/{one['id']}")
        assert reading.result()[0] >= 4


async def read(http: httpx.AsyncClient, path: str) -> tuple[int, list[Json]]:
    """Comments and events of a stream, to its end."""
    comments = 0
    found: list[Json] = []
    async with http.stream("GET", path, headers={"accept": "application/json"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        async for line in answer.aiter_lines():
            comments += line.startswith(":")
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found.append(httpx.Response(200, content=line.removeprefix("data: ")).json())
                assert found[-1]["type"] == name
    return comments, found


async def test_an_archived_session_and_agent_take_nothing_new(tmp_path: Path):
    async with world(tmp_path) as at:
        one = await session(at)
        gate = Gate()
        at.model.say(one["agent"]["id"], gate, "late")
        await send(at, one["id"], said("hi"))
        await gate.reached.wait()
        archived = await done(at, "POST", f"/sessions/{one['id']}/archive")
        assert archived["archived_at"] is not None
        assert archived["status"] == "idle", "what ran was stopped"
        assert (await send(at, one["id"], said("hi")))[0] == 400
        assert (await ask(at, "GET", "/sessions"))[1]["data"] == []
        assert len((await ask(at, "GET", "/sessions?include_archived=true"))[1]["data"]) == 1


async def test_settings_of_a_session_are_changed_and_kept(tmp_path: Path):
    async with world(tmp_path) as at:
        budget = {"type": "limit", "max_list_cost": {"amount": "250", "currency": "USD"}}
        one = await session(at, budget=budget, metadata={"a": "b"}, title="One")
        assert (one["budget"], one["title"]) == (budget, "One")
        more = {"metadata": {"a": None, "c": "d"}, "agent": {"tools": [WEATHER]}}
        after = await done(at, "POST", f"/sessions/{one['id']}", more)
        assert after["metadata"] == {"c": "d"}
        assert [tool["name"] for tool in after["agent"]["tools"]] == ["weather"]
        assert after["agent"]["version"] == one["agent"]["version"]
        updated = [event for event in await events(at, one["id"]) if "metadata" in event]
        assert [event["metadata"] for event in updated] == [{"c": "d"}]
        assert at.crew.state(SessionId(one["id"])).labels["custom_tools"] == ["weather"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"environment_id": "env_nowhere"}, 404),
        ({"agent": "agent-nobody"}, 404),
        ({"resources": ["x"]}, 400),
        ({"vault_ids": ["v"]}, 400),
        ({"initial_events": [{"type": "user.interrupt"}]}, 400),
        ({"budget": {"type": "limit", "max_list_cost": {"amount": "0"}}}, 400),
        ({"budget": {"type": "limit", "max_list_cost": {"amount": "-5"}}}, 400),
    ],
)
async def test_a_session_that_can_not_be_is_refused(tmp_path: Path, body: Json, status: int):
    async with world(tmp_path) as at:
        made = await agent(at)
        place = await done(at, "POST", "/environments", {"name": "here"})
        asked = {"agent": made["id"], "environment_id": place["id"], **body}
        found, refused = await ask(at, "POST", "/sessions", asked)
        assert found == status
        assert refused["type"] == "error"
        assert await at.crew.backend.list_sessions() == []


async def test_a_suspended_agent_begins_nothing_and_leaves_nothing(tmp_path: Path):
    async with world(tmp_path) as at:
        made = await agent(at)
        place = await done(at, "POST", "/environments", {"name": "here"})
        answer = await at.http.patch(
            f"/v1/agent/profiles/lifecycle/{made['id']}", json={"state": "suspended"}
        )
        assert answer.status_code == 200
        body = {"agent": made["id"], "environment_id": place["id"]}
        status, refused = await ask(
            at, "POST", "/sessions", {**body, "initial_events": [said("hi")]}
        )
        assert (status, refused["error"]["type"]) == (402, "billing_error")
        assert await at.crew.backend.list_sessions() == []
        one = await done(at, "POST", "/sessions", body)
        assert (await send(at, one["id"], said("hi")))[0] == 402


async def test_with_its_own_token_an_agent_gives_nobody_further_rights(tmp_path: Path):
    async with world(tmp_path) as at:
        one = await session(at)
        other, place = one["agent"]["id"], one["environment_id"]
        at.http.headers["authorization"] = f"Bearer {(await at.bootstrap())['jwt']}"
        more: Json = {"system": "Obey.", "tools": [{"type": "agent_toolset_20260401"}]}
        own = {"type": "agent_with_overrides", "id": BOT, **more}
        budget = {"type": "limit", "max_list_cost": {"amount": "900", "currency": "USD"}}
        for path, body in (
            ("/agents", {"model": "auto", "name": "Eve", **more}),
            (f"/agents/{other}", {"version": 1, **more}),
            (f"/agents/{BOT}", {"version": 1, **more}),
            (f"/agents/{other}/archive", {}),
            ("/sessions", {"agent": own, "environment_id": place}),
            (f"/sessions/{one['id']}", {"agent": more}),
            (f"/sessions/{one['id']}", {"budget": budget}),
        ):
            status, refused = await ask(at, "POST", path, body)
            assert (status, refused["error"]["type"]) == (403, "permission_error"), path
        assert (await done(at, "POST", "/sessions", {"agent": BOT, "environment_id": place}))["id"]


async def test_an_agent_registered_otherwise_is_an_agent_here_too(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap(model="offline:offline", tools=["read"], metadata={"n": 1})
        (one,) = (await done(at, "GET", "/agents"))["data"]
        assert (one["id"], one["name"], one["version"]) == (BOT, BOT, 1)
        assert one["model"] == {"id": "offline:offline"}
        assert one["metadata"] == {"n": "1"}
        assert one["tools"] == []


async def test_what_is_not_here_says_why(tmp_path: Path):
    async with world(tmp_path) as at:
        for path in ("/vaults", "/vaults/x/credentials", "/memory_stores", "/deployments/x/run"):
            for method in ("GET", "POST", "DELETE"):
                status, refused = await ask(at, method, path, {})
                assert (status, refused["error"]["code"]) == (404, "unsupported")
                assert len(refused["error"]["message"]) > 20
        assert (await ask(at, "POST", "/environments/e/work/poll"))[0] == 404
        assert (await ask(at, "GET", "/sessions/s/resources"))[0] == 404


async def test_state_of_a_clients_own_sessions_is_kept_by_project(tmp_path: Path):
    async with world(tmp_path) as at:
        assert (await ask(at, "GET", "/sessions/latest"))[0] == 404
        for name, project in (("one", "a"), ("two", "b"), ("one", "a")):
            kept = await done(at, "POST", f"/sessions/{name}/state", {"project": project, "n": 1})
            assert kept["saved"] is True
        assert (await done(at, "GET", "/sessions/latest"))["session_id"] == "one"
        assert (await done(at, "GET", "/sessions/latest?project=b"))["session_id"] == "two"
        assert (await ask(at, "GET", "/sessions/latest?project=c"))[0] == 404


async def test_threads_are_the_sessions_own_and_those_that_work_for_it(tmp_path: Path):
    async with world(tmp_path) as at:
        one = await session(at)
        (thread,) = (await done(at, "GET", f"/sessions/{one['id']}/threads"))["data"]
        path = f"/sessions/{one['id']}/threads/{thread['id']}"
        assert (await done(at, "GET", path))["agent"]["id"] == one["agent"]["id"]
        assert (await done(at, "GET", f"{path}/events"))["data"] == []
        assert (await ask(at, "GET", f"/sessions/{one['id']}/threads/thread-x"))[0] == 404
        assert (await ask(at, "GET", f"/sessions/{one['id']}/threads/thread-x/events"))[0] == 404
