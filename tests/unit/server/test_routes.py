"""The routes about sessions and talk, as BrainPilot's backend and UI call them."""

from typing import Any

import pytest

from brainpilot_rt.domain.errors import MemoryFull
from brainpilot_rt.domain.events import QuestionAsked
from brainpilot_rt.domain.ids import PRINCIPAL, CallId, RequestId, RunId
from brainpilot_rt.domain.letters import CONTENT_CHARS_MAX
from brainpilot_rt.server.ports import Posted
from tests.unit.server.world import SESSION, Script, Server, serving

HERE = f"/sessions/{SESSION}"


async def call(
    server: Server, method: str, path: str, body: Any = None, **more: Any
) -> tuple[int, Any]:
    answer = await server.client.request(method, path, json=body, **more)
    assert answer.headers["content-type"].endswith("json")
    return answer.status_code, answer.json()


async def ask_the_user(server: Server) -> None:
    asked = QuestionAsked(
        request_id=RequestId("req_1"),
        run_id=RunId("run_1"),
        call_id=CallId("call_1"),
        agent=PRINCIPAL,
        question="Which?",
        options=("a", "b"),
    )
    await server.backend.commit(SESSION, asked)


async def test_a_message_that_is_too_long_is_refused_with_the_limit():
    async with serving() as server:
        body = {"content": "x" * (CONTENT_CHARS_MAX + 1)}
        status, problem = await call(server, "POST", f"{HERE}/messages", body)
    assert (status, problem["error"], problem["code"]) == (400, "invalid body", "invalid_body")
    assert str(CONTENT_CHARS_MAX) in problem["detail"]


async def test_a_session_is_created_listed_shown_renamed_and_deleted():
    async with serving() as server:
        status, made = await call(server, "POST", "/sessions", {"title": "One", "id": "one"})
        assert (status, made["id"], made["session"]["title"]) == (201, "one", "One")
        again = await call(server, "POST", "/sessions", {"title": "Two", "id": "one"})
        assert again == (201, made)
        assert await call(server, "GET", "/sessions") == (200, {"sessions": [made["session"]]})
        assert await call(server, "GET", "/sessions/one") == (200, made["session"])
        status, named = await call(server, "PUT", "/sessions/one", {"title": " New "})
        assert (status, named["title"]) == (200, "New")
        status, kept = await call(server, "PUT", "/sessions/one", {"title": " "})
        assert (status, kept["title"]) == (200, "New")
        status, thinking = await call(server, "PUT", "/sessions/one", {"thinkingLevel": "high"})
        assert (status, thinking["thinkingLevel"]) == (200, "high")
        gone = {"id": "one", "deleted": True}
        assert await call(server, "DELETE", "/sessions/one") == (200, gone)
        status, missing = await call(server, "DELETE", "/sessions/one")
        assert (status, missing["deleted"]) == (404, False)
        assert missing["error"] == missing["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"id": "../../escaped"},
        {"id": "local"},
        {"id": 7},
        {"title": 7},
        {"thinkingLevel": "extreme"},
        {"domainResources": "some"},
        {"title": "x" * 501},
        [],
        "text",
    ],
)
async def test_a_bad_session_is_refused_and_nothing_made(body: Any):
    async with serving() as server:
        status, problem = await call(server, "POST", "/sessions", body)
        assert status == 400
        assert set(problem) == {"error", "detail", "code"}
        assert (await call(server, "GET", "/sessions"))[1] == {"sessions": []}


async def test_a_message_is_accepted_and_queued_when_one_is_being_worked_on():
    async with serving() as server:
        await Script(server.backend).begin()
        body: dict[str, Any] = {
            "type": "user_message",
            "session_id": SESSION,
            "content": "hello",
            "data": {"uuid": "3f0b1c6e-9d2f-4f43-8c9a-2f1f6a1b7c11", "timestamp": 1},
            "unknown": True,
        }
        status, first = await call(server, "POST", f"{HERE}/messages", body)
        assert status == 200
        assert first["accepted"] is True
        assert first["messageId"] == body["data"]["uuid"]
        assert "queued" not in first
        status, second = await call(server, "POST", f"{HERE}/messages", {"content": "more"})
        assert second["queued"] is True
        assert second["runId"] == first["runId"]
        state = (await call(server, "GET", f"{HERE}/state"))[1]
        assert state["runState"] == {"active": True, "runId": first["runId"]}
        chunk = [
            one.frame
            for one in await server.read(f"/sse/{SESSION}")
            if one.frame["type"] == "TEXT_MESSAGE_CHUNK"
        ]
        assert [(one["delta"], one["run_id"]) for one in chunk] == [("hello", first["runId"])]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": ""},
        {"content": 7},
        {"content": "x" * 200_001},
        {"content": "x", "agent": "../x"},
        {"content": "x", "session_id": "another"},
        {"content": "x", "data": {"uuid": "a/b"}},
        {"type": "user_input_response"},
        {"type": "user_input_response", "request_id": "r", "answer": "  "},
        {"type": "user_input_response", "request_id": "r", "answer": "x" * 10_001},
    ],
)
async def test_a_bad_message_is_refused_before_the_session_is_looked_for(body: Any):
    async with serving() as server:
        status, problem = await call(server, "POST", "/sessions/unknown/messages", body)
        assert status == 400
        assert set(problem) == {"error", "detail", "code"}


async def test_a_full_memory_budget_is_no_error_and_the_refusal_is_not_remembered(
    monkeypatch: pytest.MonkeyPatch,
):
    async def full(*_: Any, **__: Any) -> Posted:
        raise MemoryFull("the memory budget is used up", retry_after_s=10)

    async with serving() as server:
        await Script(server.backend).begin()
        key = {"idempotency-key": "k1"}
        with monkeypatch.context() as patch:
            patch.setattr(server.backend, "post_message", full)
            answer = await server.client.post(
                f"{HERE}/messages", json={"content": "x"}, headers=key
            )
        assert (answer.status_code, answer.headers["retry-after"]) == (200, "10")
        assert answer.json()["accepted"] is False
        assert answer.json()["reason"] == "the memory budget is used up"
        again = await call(server, "POST", f"{HERE}/messages", {"content": "x"}, headers=key)
        assert again[1]["accepted"] is True


async def test_a_message_to_nobody_is_not_accepted():
    async with serving() as server:
        status, _ = await call(server, "POST", "/sessions/unknown/messages", {"content": "x"})
        assert status == 404


@pytest.mark.fault("I9")
async def test_the_first_answer_wins_and_later_ones_are_stale():
    async with serving() as server:
        await Script(server.backend).begin()
        await ask_the_user(server)
        state = (await call(server, "GET", f"{HERE}/state"))[1]
        assert [one["requestId"] for one in state["questions"]] == ["req_1"]
        body = {
            "type": "user_input_response",
            "session_id": SESSION,
            "request_id": "req_1",
            "answer": " a ",
        }
        assert await call(server, "POST", f"{HERE}/messages", body) == (200, {"status": "ok"})
        status, stale = await call(server, "POST", f"{HERE}/messages", body)
        assert (status, stale["status"], stale["reason"]) == (409, "stale", "question_expired")
        said = [one.frame for one in await server.read(f"/sse/{SESSION}")]
        answers = [one["answer"] for one in said if one["type"] == "user_input_response"]
        assert answers == ["a"]


async def test_an_answer_that_can_not_be_kept_is_to_be_tried_again():
    async with serving() as server:
        await Script(server.backend).begin()
        await ask_the_user(server)
        server.backend.log.fail_commits("no space left")
        body = {"type": "user_input_response", "request_id": "req_1", "answer": "a"}
        status, retry = await call(server, "POST", f"{HERE}/messages", body)
        assert (status, retry["status"]) == (503, "retry")
        assert retry["reason"] == "persistence_unavailable"


async def test_an_interrupt_says_what_it_did():
    async with serving() as server:
        script = Script(server.backend)
        await script.begin()
        idle = {"interrupted": False, "scope": "session", "reason": "already_idle"}
        assert await call(server, "POST", f"{HERE}/interrupt") == (200, idle)
        assert await call(server, "POST", "/sessions/unknown/interrupt", {}) == (200, idle)
        one = {"interrupted": False, "scope": "agent", "reason": "already_idle"}
        assert await call(server, "POST", f"{HERE}/interrupt", {"agent": "writer"}) == (200, one)
        tool = await call(server, "POST", f"{HERE}/tools/call_9/interrupt")
        done = {"interrupted": False, "toolCallId": "call_9", "reason": "already_finished"}
        assert tool == (200, done)


async def test_evict_keeps_the_session_and_an_unknown_one_is_said_so():
    async with serving() as server:
        await Script(server.backend).begin()
        assert (await call(server, "POST", f"{HERE}/evict"))[1]["evicted"] is True
        assert (await call(server, "GET", HERE))[0] == 200
        status, missing = await call(server, "POST", "/sessions/unknown/evict")
        assert (status, missing["evicted"], missing["agentsKilled"]) == (404, False, 0)


@pytest.mark.parametrize("what", ["state", "letters", "stats", "history", "events"])
async def test_what_is_asked_of_an_unknown_session_is_not_found(what: str):
    async with serving() as server:
        status, problem = await call(server, "GET", f"/sessions/unknown/{what}")
        assert (status, problem["code"]) == (404, "not_found")


async def test_an_unknown_session_has_no_agents():
    async with serving() as server:
        assert await call(server, "GET", "/sessions/unknown/agents") == (200, {"agents": []})


async def test_letters_are_listed_with_their_receipts():
    async with serving() as server:
        await Script(server.backend).begin()
        await call(server, "POST", f"{HERE}/messages", {"content": "x"})
        found = (await call(server, "GET", f"{HERE}/letters"))[1]["letters"]
        assert [(one["from"], one["to"], one["receipt"]) for one in found] == [
            ("user", "principal", "queued")
        ]


async def test_every_accepted_change_moves_the_idle_epoch_and_questions_do_not():
    async with serving() as server:
        await Script(server.backend).begin()
        before = server.backend.touched
        for path in ("/sessions", HERE, f"{HERE}/state", "/metrics", "/health"):
            await call(server, "GET", path)
        await call(server, "POST", f"{HERE}/messages", {})
        await call(server, "PUT", "/runtime/capabilities", {"capabilities": []})
        assert server.backend.touched == before
        await call(server, "POST", f"{HERE}/messages", {"content": "x"})
        await call(server, "PUT", HERE, {"title": "y"})
        assert server.backend.touched == before + 2


HOSTILE_BODIES = {
    "deep": b'{"a":' * 100_000,
    "deep list": b"[" * 100_000,
    "wide": b'{"a":[' + b"1," * 300_000 + b"1]}",
    "digits": b'{"ifIdleEpoch":' + b"9" * 5000 + b"}",
    "not a number": b'{"ifIdleEpoch":NaN}',
    "surrogate": b'{"content":"\\ud800","title":"\\udfff"}',
    "not UTF-8": b'{"content":"\xff"}',
    "UTF-16": '{"content":"a"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}x",
    "two objects": b"{}{}",
    "not an object": b"[]",
    "cut": b'{"content":"a',
}


@pytest.mark.fault("I6")
@pytest.mark.parametrize("name", HOSTILE_BODIES)
async def test_a_body_that_is_no_sound_json_is_refused_by_every_route_that_reads_one(name: str):
    async with serving() as server:
        await Script(server.backend).begin()
        before = server.backend.log.head_pos
        for method, path in (
            ("POST", "/sessions"),
            ("PUT", f"/sessions/{SESSION}"),
            ("POST", f"/sessions/{SESSION}/messages"),
            ("POST", f"/sessions/{SESSION}/interrupt"),
            ("POST", f"/sessions/{SESSION}/files"),
            ("PUT", "/runtime/capabilities"),
            ("POST", "/shutdown"),
        ):
            answer = await server.client.request(method, path, content=HOSTILE_BODIES[name])
            assert answer.status_code in {400, 413}, (path, answer.text)
        assert server.backend.log.head_pos == before


@pytest.mark.fault("I6")
@pytest.mark.parametrize("number", ["1e400", "-1e400", "1.5", '"7"', "true"])
async def test_what_is_no_whole_number_is_none_for_a_shutdown(number: str):
    async with serving() as server:
        body = f'{{"ifIdleEpoch":{number}}}'.encode()
        assert (await server.client.post("/shutdown", content=body)).status_code == 400
        assert not server.backend.stopping


@pytest.mark.fault("I6")
async def test_of_a_key_written_twice_in_a_body_the_last_counts():
    async with serving() as server:
        body = b'{"title":"first","title":"second"}'
        made = (await server.client.post("/sessions", content=body)).json()
        assert made["session"]["title"] == "second"
