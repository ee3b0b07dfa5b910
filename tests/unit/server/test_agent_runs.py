"""Agent runs over HTTP: started, followed, resumed, steered, and refused when they can not be."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import AgentName, CallId, SessionId
from brainpilot_rt.server.hearing import KEEPALIVE_S
from brainpilot_rt.server.hub import Hub
from brainpilot_rt.testing.models import Call, Gate
from brainpilot_rt.testing.team import Setup
from brainpilot_rt.tools.finding import finding_tools
from tests.unit.server.agent_world import BOT, Reader, World, bearer, names, world
from tests.unit.server.world import until

AGENT = AgentName(BOT)
LOOK = Call("ls", {"path": "/workspace"})


def looking() -> Setup:
    return Setup(tools=finding_tools())


async def test_a_run_streams_what_its_agent_does_and_ends(tmp_path: Path):
    async with world(tmp_path, looking()) as at:
        await at.bootstrap()
        at.model.say(BOT, "I look.", LOOK)
        at.model.say(BOT, "There is nothing.")
        async with at.running("look around") as reader:
            assert reader.response.headers["content-type"].startswith("text/event-stream")
            frames = [seen async for seen in reader]
        assert names(frames) == [
            "session.status_running",
            "agent.message",
            "agent.tool_use",
            "agent.tool_result",
            "agent.message",
            "session.status_idle",
            "session.status_ended",
        ]
        assert frames[0].data["sessionId"] == reader.session
        shown = {one.event: one.data for one in frames}
        assert shown["agent.tool_result"]["isError"] is False
        turns = [one.data["turnIndex"] for one in frames if "turnIndex" in one.data]
        assert turns == sorted(turns)
        assert set(turns) == {0, 1}
        assert frames[-1].data["reason"] == "completed"
        assert frames[-1].data["totalTurns"] == 2
        assert at.crew.state(SessionId(reader.session)).title == "look around"


async def test_a_run_as_json_is_its_summary(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        at.model.say(BOT, "Hello.")
        answer = await at.http.post(
            f"/v1/agents/{BOT}/run",
            json={"message": "hi"},
            headers={"accept": "application/json"},
        )
        body = answer.json()
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-session-id"] == body["sessionId"]
        assert (body["text"], body["reason"], body["totalTurns"]) == ("Hello.", "completed", 1)
        assert body["events"][0]["type"] == "session.status_running"
        assert body["events"][-1]["type"] == "session.status_ended"


async def test_a_run_goes_on_when_its_reader_leaves_and_is_read_to_its_end_later(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        gate = Gate()
        at.model.say(BOT, gate, "Late, but here.")
        async with at.running() as reader:
            first = [await anext(reader)]
            session = reader.session
        await gate.reached.wait()
        gate.open()
        await at.crew.settled(SessionId(session))
        url = f"/v1/agents/{BOT}/sessions/{session}/events/stream?until=ended"
        async with at.http.stream("GET", url, headers={"last-event-id": first[0].key}) as response:
            rest = [seen async for seen in Reader(response)]
        last = {"last-event-id": rest[-1].key}
        async with at.http.stream("GET", url, headers=last) as response:
            assert [seen async for seen in Reader(response)] == []
        assert names(first + rest) == [
            "session.status_running",
            "agent.message",
            "session.status_idle",
            "session.status_ended",
        ]
        assert [one.data["text"] for one in rest if "text" in one.data] == ["Late, but here."]


async def test_any_cursor_goes_on_with_the_very_next_frame(tmp_path: Path):
    async with world(tmp_path, looking()) as at:
        await at.bootstrap()
        at.model.say(BOT, "I look.", LOOK)
        at.model.say(BOT, "Done.")
        frames = await at.run()
        session = frames[0].data["sessionId"]
        whole = (await at.events(session))["events"]
        assert whole == [one.data for one in frames]
        for n, frame in enumerate(frames, 1):
            page = await at.events(session, after=frame.key)
            assert page == {"events": whole[n:], "next": None}


async def test_pages_follow_each_other_without_gap_or_double(tmp_path: Path):
    async with world(tmp_path, looking()) as at:
        await at.bootstrap()
        at.model.say(BOT, "I look.", LOOK)
        at.model.say(BOT, "Done.")
        frames = await at.run()
        session = frames[0].data["sessionId"]
        found: list[dict[str, Any]] = []
        after: str | None = "0"
        while after is not None:
            page = await at.events(session, after=after, limit=2)
            found += page["events"]
            after = page["next"]
        assert found == [one.data for one in frames]


async def test_a_cursor_of_another_log_begins_at_the_beginning(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        at.model.say(BOT, "Done.")
        frames = await at.run()
        page = await at.events(frames[0].data["sessionId"], after="abcdefgh.7")
        assert page["events"] == [one.data for one in frames]


async def test_a_silent_stream_gives_a_sign_of_life(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        gate = at.model.hang(BOT)
        async with at.running() as reader:
            await reader.until("session.status_running")
            ending = asyncio.get_running_loop().call_later(KEEPALIVE_S * 3.5, gate.open)
            await reader.until("session.status_ended")
            ending.cancel()
            assert reader.comments == 3


async def test_so_does_one_that_is_shown_nothing_of_a_busy_session(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        gate = at.model.hang(BOT)
        async with at.running() as reader:
            await reader.until("session.status_running")
            for n in range(12):
                await at.crew.backend.update_session(SessionId(reader.session), title=f"t {n}")
                await asyncio.sleep(KEEPALIVE_S * 0.3)
            gate.open()
            await reader.until("session.status_ended")
            assert reader.comments == 3


async def test_streams_end_when_the_daemon_stops(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        gate = at.model.hang(BOT)
        async with at.running() as reader:
            await reader.until("session.status_running")
            at.app.state.streams.close()
            assert [seen async for seen in reader] == []
        gate.open()
        await at.crew.settled(SessionId(reader.session))


async def test_a_reader_that_is_merely_behind_goes_on_from_the_log(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        gate = at.model.hang(BOT)
        async with at.running() as reader:
            await reader.until("session.status_running")
            session = SessionId(reader.session)
            burst = [ev.SessionUpdated(title=f"title {n}") for n in range(1100)]
            await at.crew.organs.manager.record(session, *burst)
            gate.open()
            assert (await reader.until("session.status_ended"))[-1].data["reason"] == "completed"


async def test_a_reader_that_does_not_read_is_dropped(tmp_path: Path):
    async with world(tmp_path) as at:
        hub: Hub = at.app.state.streams.hub
        await at.bootstrap()
        at.model.say(BOT, "Done.")
        session = SessionId((await at.run())[0].data["sessionId"])
        async with at.http.stream(
            "GET", f"/v1/agents/{BOT}/sessions/{session}/events/stream"
        ) as response:
            await anext(response.aiter_raw())
            at.model.say(BOT, "Again.")
            await at.steer(session, type="user.message", text="again")
            await at.crew.settled(session)
            for n in range(1100):
                await at.crew.backend.update_session(session, title=f"title {n}")
            await until(lambda: hub.count == 0)
        assert hub.lagged == 1


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"message": "go", "budget_cap_usd": 0}, 402, "budget_exhausted"),
        ({"message": "go", "budget_cap_usd": -1}, 400, "invalid_budget"),
        ({"message": "go", "budget_cap_usd": "much"}, 400, "invalid_body"),
        ({"message": "go", "max_turns": "many"}, 400, "invalid_body"),
        ({"message": "  "}, 400, "invalid_body"),
        ({}, 400, "invalid_body"),
        ({"message": "go", "session_id": "nowhere"}, 404, "unknown_session"),
    ],
)
async def test_a_request_that_can_not_be_is_refused_before_anything_begins(
    tmp_path: Path, body: dict[str, Any], status: int, kind: str
):
    async with world(tmp_path) as at:
        await at.bootstrap()
        answer = await at.http.post(f"/v1/agents/{BOT}/run", json=body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
        assert answer.json()["error"]["message"]
        assert await at.crew.backend.list_sessions() == []


async def test_who_may_not_run_is_refused_with_its_reason(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()

        async def asked(agent: str = BOT) -> tuple[int, str]:
            answer = await at.http.post(f"/v1/agents/{agent}/run", json={"message": "go"})
            return answer.status_code, answer.json()["error"]["type"]

        assert await asked("nobody") == (404, "unknown_agent")
        assert await asked("no_name") == (400, "bad_request")
        for state, refusal in (
            ("suspended", (402, "agent_suspended")),
            ("terminated", (403, "agent_terminated")),
        ):
            url = f"/v1/agent/profiles/lifecycle/{BOT}"
            assert (await at.http.patch(url, json={"state": state})).status_code == 200
            assert await asked() == refusal
        await at.bootstrap("poor-bot", budget_daily_usd=0)
        assert await asked("poor-bot") == (402, "budget_exhausted")
        assert at.model.requests == []


async def test_limits_of_a_run_are_kept_with_it_and_turns_are_clamped(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        gate = at.model.hang(BOT)
        async with at.running(max_turns=1000, budget_cap_usd=1.5) as reader:
            await reader.until("session.status_running")
            host = at.crew.state(SessionId(reader.session)).host_turn
            assert host is not None
            assert host.limits.max_turns == 100
            assert str(host.limits.cap_usd) == "1.5"
            gate.open()
            assert [seen async for seen in reader]


async def test_a_message_joins_the_run_at_the_next_turn(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        gate = Gate()
        at.model.say(BOT, gate, "First.")
        at.model.say(BOT, "Second.")
        async with at.running() as reader:
            await gate.reached.wait()
            answer = await at.steer(reader.session, type="user.message", text="also this")
            assert answer.status_code == 200
            assert (
                answer.json()
                | {
                    "type": "user.message",
                    "status": "queued",
                    "sessionId": reader.session,
                }
                == answer.json()
            )
            gate.open()
            frames = [seen async for seen in reader]
        said = [one.data["text"] for one in frames if one.event == "agent.message"]
        assert said == ["First.", "Second."]
        assert names(frames).count("session.status_ended") == 1
        assert "also this" in str(at.model.requests_of(BOT)[1].messages)


async def test_an_interrupt_ends_the_run_with_its_reason(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        at.model.hang(BOT)
        async with at.running() as reader:
            await reader.until("session.status_running")
            assert (await at.steer(reader.session, type="user.interrupt")).status_code == 200
            frames = [seen async for seen in reader]
        assert names(frames) == ["session.status_ended"]
        assert frames[0].data["reason"] == "interrupted"
        again = await at.steer(reader.session, type="user.interrupt")
        assert (again.status_code, again.json()["error"]["type"]) == (409, "session_ended")


async def test_events_of_managed_agents_are_taken_too(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        at.model.say(BOT, "One.")
        session = (await at.run())[0].data["sessionId"]
        at.model.say(BOT, "Two.")
        content = [{"type": "text", "text": "and now?"}]
        answer = await at.http.post(
            f"/v1/agents/{BOT}/sessions/{session}/events",
            json={"events": [{"type": "user.message", "content": content}]},
        )
        assert [one["type"] for one in answer.json()["events"]] == ["user.message"]
        await at.crew.settled(SessionId(session))
        listed = await at.events(session)
        assert listed["events"][-1]["type"] == "session.status_ended"
        assert [one["text"] for one in listed["events"] if "text" in one] == ["One.", "Two."]


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({"type": "user.shout", "text": "x"}, 400),
        ({"text": "x"}, 400),
        ({"type": "user.message", "text": ""}, 400),
        ({"type": "user.tool_confirmation", "result": "allow"}, 400),
        ({"type": "user.tool_confirmation", "tool_use_id": "c", "result": "allow"}, 404),
        ({"type": "user.custom_tool_result", "custom_tool_use_id": "c", "text": "x"}, 409),
    ],
)
async def test_an_event_that_means_nothing_here_is_refused(
    tmp_path: Path, event: dict[str, Any], status: int
):
    async with world(tmp_path) as at:
        await at.bootstrap()
        at.model.say(BOT, "One.")
        session = (await at.run())[0].data["sessionId"]
        answer = await at.steer(session, **event)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["message"]
        unknown = await at.steer("nowhere", **event)
        assert unknown.status_code == 404


def waiting_call(at: World, session: SessionId, call: str) -> cmd.RequestApproval:
    """What the running run asks before it makes a call."""
    run = next(iter(at.crew.state(session).runs.values()))
    return cmd.RequestApproval(
        approval_id=f"a_{call}",
        run_id=run.run_id,
        agent=run.agent,
        call_id=CallId(call),
        tool="bash",
        arguments={"command": "ls"},
        digest="d",
        definition="",
        reasons=(),
        expires_ms=None,
    )


@pytest.mark.parametrize(("result", "decision"), [("allow", "approved"), ("deny", "denied")])
async def test_a_confirmation_decides_the_call_it_names(tmp_path: Path, result: str, decision: str):
    async with world(tmp_path) as at:
        token = (await at.bootstrap())["jwt"]
        gate = at.model.hang(BOT)
        async with at.running() as reader, asyncio.TaskGroup() as group:
            await reader.until("session.status_running")
            await gate.reached.wait()
            session = SessionId(reader.session)
            asked = waiting_call(at, session, "call_1")
            asking = group.create_task(at.crew.backend.approvals.ask(session, asked))
            idle = (await reader.until("session.status_idle"))[-1]
            assert idle.data["stop_reason"]["event_ids"] == ["call_1"]
            word = {"type": "user.tool_confirmation", "tool_use_id": "call_1", "result": "allow"}
            own = await at.http.post(
                f"/v1/agents/{BOT}/sessions/{session}/events", json=word, headers=bearer(token)
            )
            assert own.status_code == 403
            answer = await at.steer(
                reader.session, type="user.tool_confirmation", tool_use_id="call_1", result=result
            )
            assert answer.status_code == 200
            assert (await asking).decision == decision
            late = await at.steer(
                reader.session, type="user.tool_confirmation", tool_use_id="call_1", result="allow"
            )
            assert late.status_code == 409
            gate.open()
            rest = [seen async for seen in reader]
        assert names(rest)[0] == "session.status_running"


async def test_sessions_of_an_agent_are_listed_newest_first_with_how_they_stand(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        at.model.say(BOT, "One.")
        first = (await at.run("first", budget_cap_usd=2, metadata={"k": 1}))[0].data["sessionId"]
        gate = at.model.hang(BOT)
        async with at.running("second") as reader:
            await reader.until("session.status_running")
            page = (await at.http.get(f"/v1/agents/{BOT}/sessions")).json()
            assert [one["id"] for one in page["sessions"]] == [reader.session, first]
            assert [one["status"] for one in page["sessions"]] == ["running", "ended"]
            assert page["total"] == 2
            ended = (await at.http.get(f"/v1/agents/{BOT}/sessions/{first}")).json()["session"]
            assert (
                ended
                | {
                    "agentId": BOT,
                    "endReason": "completed",
                    "totalTurns": 1,
                    "budgetCapUsd": 2.0,
                    "maxTurns": 10,
                    "metadata": {"k": 1},
                }
                == ended
            )
            url = f"/v1/agents/{BOT}/sessions?status=ended"
            assert [one["id"] for one in (await at.http.get(url)).json()["sessions"]] == [first]
            gate.open()
            assert [seen async for seen in reader]
        await at.bootstrap("other-bot")
        assert (await at.http.get(f"/v1/agents/other-bot/sessions/{first}")).status_code == 404
        assert (await at.http.get("/v1/agents/other-bot/sessions")).json()["sessions"] == []
        assert (await at.http.get("/v1/agents/nobody/sessions")).status_code == 404


async def test_a_run_that_is_asked_for_again_with_its_key_is_not_begun_again(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        at.model.say(BOT, "Once.")
        headers = {"idempotency-key": "k1"}
        body = {"message": "go"}
        async with at.http.stream(
            "POST", f"/v1/agents/{BOT}/run", json=body, headers=headers
        ) as response:
            await response.aread()
        again = await at.http.post(f"/v1/agents/{BOT}/run", json=body, headers=headers)
        assert again.json()["sessionId"] == response.headers["x-session-id"]
        assert len(at.model.requests) == 1


async def test_the_team_can_be_run_as_it_is(tmp_path: Path):
    async with world(tmp_path) as at:
        at.model.say("principal", "Here I am.")
        answer = await at.http.post(
            "/v1/agents/principal/run",
            json={"message": "hello"},
            headers={"accept": "application/json"},
        )
        assert answer.json()["text"] == "Here I am."
