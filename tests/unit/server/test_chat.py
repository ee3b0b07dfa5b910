"""Chat completions over HTTP: by a model, by an agent, with the caller's tools, over budget."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brainpilot_rt.domain.errors import FatalFault, RetryableFault
from brainpilot_rt.domain.events import HostTurnFinished
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.testing.models import Call, Gate, Reply
from brainpilot_rt.testing.team import Setup
from brainpilot_rt.tools.team import team_tools
from tests.unit.server.agent_world import BOT, World, world

Json = dict[str, Any]
CHAT = "chat"
"""Whom the scripted model is asked for without a session."""
TOOL: Json = {"type": "function", "function": {"name": "weather", "parameters": {}}}


def user(words: str) -> Json:
    return {"role": "user", "content": words}


async def ask(at: World, *messages: Json, **more: Any) -> tuple[int, Json, dict[str, str]]:
    headers = more.pop("headers", {})
    body = {"model": BOT, "messages": list(messages), **more}
    answer = await at.http.post("/v1/chat/completions", json=body, headers=headers)
    return answer.status_code, answer.json(), dict(answer.headers)


async def streamed(at: World, *messages: Json, **more: Any) -> list[Json]:
    """The chunks of a stream; asserts that it ends as it should."""
    body = {"model": BOT, "messages": list(messages), "stream": True, **more}
    async with at.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        lines = [line async for line in answer.aiter_lines() if line]
    assert all(line.startswith("data: ") for line in lines), "no named events in a chat"
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def content(found: Json) -> str:
    text: str = found["choices"][0]["message"]["content"]
    return text


def words(chunks: list[Json]) -> str:
    return "".join(
        one["choices"][0]["delta"].get("content", "") for one in chunks if one.get("choices")
    )


async def test_a_model_answers_with_its_calls_and_what_they_cost(tmp_path: Path):
    async with world(tmp_path) as at:
        at.model.say(CHAT, "I look.", Call("weather", {"city": "Turku"}, "c1"))
        status, found, headers = await ask(at, user("how is it?"), model="auto", tools=[TOOL])
        assert status == 200
        (call,) = found["choices"][0]["message"]["tool_calls"]
        assert (call["id"], json.loads(call["function"]["arguments"])) == ("c1", {"city": "Turku"})
        assert found["choices"][0]["finish_reason"] == "tool_calls"
        assert content(found) == "I look."
        assert headers["x-br-model"]
        asked = at.model.requests[-1]
        assert [one.name for one in asked.tools] == ["weather"]


async def test_an_answer_under_way_keeps_the_daemon_alive(tmp_path: Path):
    async with world(tmp_path) as at:
        gate = Gate()
        at.model.say(CHAT, gate, "Yes.")
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(ask(at, user("hi"), model="auto"))
            await gate.reached.wait()
            assert at.crew.backend.liveness().leases["model_call"] == 1
            gate.open()
        assert content(asked.result()[1]) == "Yes."
        assert not at.crew.backend.liveness().leases.get("model_call")


async def test_a_model_that_is_pinned_is_the_one_that_is_asked(tmp_path: Path):
    async with world(tmp_path) as at:
        at.model.say(CHAT, "Yes.")
        status, found, headers = await ask(at, user("hi"), model="offline:offline")
        assert (status, content(found)) == (200, "Yes.")
        assert at.model.requests[-1].model is not None
        assert at.model.requests[-1].model.provider == "offline"
        assert "pinned" in headers["x-br-route-reason"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (FatalFault("the key is wrong", code="auth"), 424),
        (RetryableFault("overloaded"), 503),
        (FatalFault("not this", code="guardrail_blocked"), 400),
    ],
)
async def test_a_model_that_fails_has_a_status_clients_treat_rightly(
    tmp_path: Path, fault: Any, status: int
):
    async with world(tmp_path) as at:
        for stream in (False, True):
            at.model.say(CHAT, fault)
            found, refused, _ = await ask(at, user("hi"), model="auto", stream=stream)
            assert found == status
            assert set(refused["error"]) == {"message", "type", "param", "code"}


async def test_an_agent_answers_whole_and_in_pieces_in_one_conversation(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        at.model.say(BOT, "Hello.")
        status, found, headers = await ask(at, user("hi"))
        assert (status, content(found)) == (200, "Hello.")
        session = headers["x-conversation-id"]
        at.model.say(BOT, "Hel", "lo", " again.")
        before = {"role": "assistant", "content": "Hello."}
        body = {"model": BOT, "messages": [user("hi"), before, user("and now?")], "stream": True}
        named = {"x-conversation-id": session}
        answer = await at.http.post("/v1/chat/completions", json=body, headers=named)
        chunks = [
            json.loads(line.removeprefix("data: "))
            for line in answer.text.splitlines()
            if line.startswith("data: {")
        ]
        assert words(chunks) == "Hello again."
        said = [one.text for one in at.model.requests[-1].messages if one.role == "user"]
        assert "and now?" in said[-1]
        assert "What was said before" not in said[-1], "the session knows it"


async def test_texts_of_several_turns_are_one_answer(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        for _ in range(2):
            at.model.say(BOT, "I look.", Call("ls", {"path": "/workspace"}))
            at.model.say(BOT, "Nothing there.")
        _, found, _ = await ask(at, user("look"))
        assert content(found) == "I look.\n\nNothing there."
        assert words(await streamed(at, user("look"))) == content(found)
        assert found["usage"]["completion_tokens"] == 10, "both turns"


async def test_an_agents_calls_of_the_callers_tools_are_continued_by_their_results_alone(
    tmp_path: Path,
):
    async with world(tmp_path) as at:
        await at.bootstrap()
        at.model.say(BOT, *[Call("weather", {"n": n}) for n in range(3)])
        at.model.say(BOT, "Calm everywhere.")
        _, found, headers = await ask(at, user("how is it?"), tools=[TOOL])
        calls = found["choices"][0]["message"]["tool_calls"]
        assert len(calls) == 3
        results = [
            {"role": "tool", "tool_call_id": one["id"], "content": f"calm {n}"}
            for n, one in enumerate(calls)
        ]
        _, part, _ = await ask(at, user("how is it?"), results[0], tools=[TOOL])
        left = [one["id"] for one in part["choices"][0]["message"]["tool_calls"]]
        assert left == [one["id"] for one in calls[1:]]
        _, done, after = await ask(at, user("how is it?"), *results, tools=[TOOL])
        assert content(done) == "Calm everywhere."
        assert after["x-conversation-id"] == headers["x-conversation-id"]
        read = [one.content for one in at.model.requests[-1].messages if one.role == "tool"]
        assert read == ["calm 0", "calm 1", "calm 2"]


async def test_more_calls_than_run_at_once_come_in_rounds(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        at.model.say(BOT, *[Call("weather", {"n": n}) for n in range(11)])
        at.model.say(BOT, "Done.")
        _, found, _ = await ask(at, user("go"), tools=[TOOL])
        rounds = 0
        while calls := found["choices"][0]["message"].get("tool_calls"):
            rounds += 1
            results = [
                {"role": "tool", "tool_call_id": one["id"], "content": "ok"} for one in calls
            ]
            _, found, _ = await ask(at, user("go"), *results, tools=[TOOL])
        assert content(found) == "Done."
        assert rounds >= 2


async def test_whoever_goes_on_without_results_ends_the_calls(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        at.model.say(BOT, Call("weather"))
        _, _, headers = await ask(at, user("how is it?"), tools=[TOOL])
        at.model.say(BOT, "Never mind, then.")
        named = {"x-conversation-id": headers["x-conversation-id"]}
        _, found, _ = await ask(at, user("never mind"), tools=[TOOL], headers=named)
        assert content(found) == "Never mind, then."
        (read,) = [one for one in at.model.requests[-1].messages if one.role == "tool"]
        assert read.is_error


async def test_a_question_of_an_agent_is_its_answer_and_the_next_message_answers_it(
    tmp_path: Path,
):
    async with world(tmp_path) as at:
        await at.bootstrap(tools=["ask_user"])
        at.model.say(BOT, Call("ask_user", {"question": "Which one?", "options": ["a", "b"]}))
        at.model.say(BOT, "Then b.")
        _, found, headers = await ask(at, user("choose"))
        assert content(found) == "Which one?\n- a\n- b"
        named = {"x-conversation-id": headers["x-conversation-id"]}
        _, found, _ = await ask(at, user("b"), headers=named)
        assert content(found) == "Then b."
        assert "ask_user" in {one.name for one in team_tools()}


async def test_a_crowd_of_conversations_with_one_agent_stays_apart(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        await at.http.put(f"/v1/agent-limits/{BOT}", json={"rpm": 1000})
        for n in range(8):
            at.model.say(BOT, f"answer {n}")
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(at, user(f"question {n}"))) for n in range(8)]
        found = {task.result()[2]["x-conversation-id"] for task in asked}
        assert len(found) == 8
        assert {content(task.result()[1]) for task in asked} == {f"answer {n}" for n in range(8)}


async def test_an_agent_that_fails_or_may_not_spend_says_so(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        at.model.say(BOT, FatalFault("the key is wrong", code="auth"))
        status, refused, _ = await ask(at, user("hi"))
        assert (status, refused["error"]["code"]) == (424, "auth")
        at.model.say(BOT, FatalFault("the key is wrong", code="auth"))
        chunks = await streamed(at, user("hi"))
        assert chunks[-1]["error"]["code"] == "auth"
        answer = await at.http.patch(
            f"/v1/agent/profiles/lifecycle/{BOT}", json={"state": "suspended"}
        )
        assert answer.status_code == 200
        status, refused, _ = await ask(at, user("hi"))
        assert (status, refused["error"]["type"]) == (402, "insufficient_quota")


async def test_a_run_over_its_cap_ends_in_the_middle_and_says_that_it_was_cut(tmp_path: Path):
    async with world(tmp_path, Setup(paid=True)) as at:
        await at.bootstrap()
        at.model.script(BOT, Reply(("I begin.", Call("weather")), cost_usd=Decimal(3)))
        most = {"x-br-max-estimated-cost": "$1.00"}
        status, found, headers = await ask(at, user("go"), tools=[TOOL], headers=most)
        assert status == 200
        assert (content(found), found["choices"][0]["finish_reason"]) == ("I begin.", "length")
        state = at.crew.state(SessionId(headers["x-conversation-id"]))
        assert state.client_calls == {}


async def test_a_reader_that_leaves_does_not_end_the_run(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap()
        gate = Gate()
        at.model.say(BOT, gate, "Late.")
        body = {"model": BOT, "messages": [user("hi")], "stream": True}
        async with at.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            session = SessionId(answer.headers["x-conversation-id"])
            await anext(answer.aiter_lines())
            await gate.reached.wait()
        gate.open()
        await at.crew.settled(session)
        ended = [one.event for one in await at.crew.events(session)]
        answers = [one.answer for one in ended if isinstance(one, HostTurnFinished)]
        assert answers == ["Late."]


async def test_models_and_agents_are_listed_for_every_kind_of_client(tmp_path: Path):
    async with world(tmp_path) as at:
        await at.bootstrap(description="Looks things up.")
        for path in ("/v1/models", "/models", "/v1/v1/models"):
            found = (await at.http.get(path)).json()
            ids = [one["id"] for one in found["data"]]
            assert ids[0] == "auto"
            assert {"principal", BOT, "offline:offline"} <= set(ids)
        one = (await at.http.get(f"/v1/models/{BOT}")).json()
        assert (one["object"], one["type"], one["description"]) == (
            "model",
            "model",
            "Looks things up.",
        )
        missing = await at.http.get("/v1/models/nothing")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
