"""Calls that wait for a person, over HTTP: listed, decided once, and by nobody who may not."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.supervision.tokens import ClientTokens
from brainpilot_rt.testing.team import SESSION
from tests.unit.server.approval_world import COMMAND, Desk, waiting
from tests.unit.server.world import until


async def test_what_waits_is_listed_with_exactly_what_would_run(tmp_path: Path):
    async with waiting(tmp_path) as desk:
        await desk.ask()
        for path in ("/approvals", "/v1/mcp/approvals", f"/approvals?session={SESSION}"):
            status, body = await desk.get(path)
            assert status == 200
            (one,) = body["approvals"]
            assert (one["id"], one["sessionId"], one["agentId"]) == ("apr_1", SESSION, "principal")
            assert (one["toolName"], one["args"], one["status"]) == ("bash", COMMAND, "pending")
            assert one["reason"] == "needs_approval: it runs commands"
            assert one["shown"] == [
                "command:",
                "  | rm -rf build",
                "  | ls \\u{202e}evil",
                "timeout_s: 5",
            ]
            assert one["expiresAt"] is None
        assert (await desk.get("/approvals?session=other"))[1] == {"approvals": []}
        assert (await desk.get("/approvals/call_apr_1"))[1] == one
        assert [one["id"] for one in (await desk.state())["approvals"]] == ["apr_1"]


@pytest.mark.parametrize("path", ["/approvals/apr_1", "/v1/mcp/approvals/apr_1"])
async def test_a_yes_reaches_the_run_and_a_later_word_is_told_who_was_first(
    tmp_path: Path, path: str
):
    async with waiting(tmp_path) as desk:
        await desk.ask()
        body = {"scope": "session", "valid_s": 60, "note": "fine", "digest": "digest-apr_1"}
        status, done = await desk.post(f"{path}/approve", body)
        assert (status, done["status"], done["scope"]) == (200, "approved", "session")
        await until(lambda: desk.heard)
        word = desk.heard["apr_1"]
        assert (word.decision, word.scope, word.note) == ("approved", "session", "fine")
        status, late = await desk.post(f"{path}/deny")
        assert status == 409
        assert "approval_decided" in str(late)
        assert "approved already, by user" in str(late)
        assert (await desk.get("/approvals"))[1] == {"approvals": []}
        assert (await desk.get("/approvals/apr_1"))[1]["status"] == "approved"


async def test_a_no_carries_its_note_and_stands_in_the_history(tmp_path: Path):
    async with waiting(tmp_path) as desk:
        await desk.ask("apr_1")
        await desk.ask("apr_2")
        await desk.post("/approvals/apr_1/deny", {"note": "use git clean"})
        await desk.post("/approvals/apr_2/approve")
        await until(lambda: len(desk.heard) == 2)
        assert desk.heard["apr_1"].note == "use git clean"
        _, body = await desk.get("/approvals/history")
        assert {one["id"]: one["status"] for one in body["approvals"]} == {
            "apr_1": "denied",
            "apr_2": "approved",
        }
        assert {one["decidedBy"] for one in body["approvals"]} == {"user"}
        assert len((await desk.get("/approvals/history?limit=1"))[1]["approvals"]) == 1
        assert (await desk.get(f"/approvals/history?session={SESSION}"))[1] == body


async def test_a_decision_made_before_the_session_left_memory_still_counts(tmp_path: Path):
    async with waiting(tmp_path) as desk:
        await desk.ask()
        await desk.post("/approvals/apr_1/deny")
        await until(lambda: desk.heard)
        await desk.at.crew.backend.evict_session(SessionId(SESSION))
        status, late = await desk.post("/approvals/apr_1/approve")
        assert (status, late["code"]) == (409, "approval_decided")
        await desk.at.crew.organs.manager.load(SESSION)


@pytest.mark.fault("J9")
async def test_what_nobody_decides_in_time_counts_as_denied_whether_or_not_anybody_looks(
    tmp_path: Path,
):
    async with waiting(tmp_path) as desk:
        now_ms = desk.at.crew.organs.clock.now_ms()
        await desk.ask(expires_ms=now_ms + 86_400_000)
        await asyncio.sleep(86_399)
        assert not desk.heard
        await asyncio.sleep(2)
        assert (desk.heard["apr_1"].decision, desk.heard["apr_1"].by) == ("expired", "clock")
        status, late = await desk.post("/approvals/apr_1/approve")
        assert (status, "expired already" in late["detail"]) == (409, True)
        gone = await desk.frame("user_input_cancelled")
        assert (gone["request_id"], gone["reason"]) == ("apr_1", "expired")


async def test_what_waits_is_a_gauge(tmp_path: Path):
    async with waiting(tmp_path) as desk:
        await desk.ask()
        metrics = await desk.at.http.get("/metrics", headers={"accept": "text/plain"})
        assert "brainpilot_rt_approvals_open 1.0" in metrics.text
        assert 'brainpilot_rt_approvals_total{decision="asked"} 1.0' in metrics.text
        assert "brainpilot_rt_reservations_open" in metrics.text
        await desk.post("/approvals/apr_1/deny")


async def test_what_was_never_asked_is_not_found(tmp_path: Path):
    async with waiting(tmp_path) as desk:
        for method, path in (("get", ""), ("post", "/approve"), ("post", "/deny")):
            answer = await getattr(desk.at.http, method)(f"/approvals/nobody{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "no_approval")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"scope": "for ever"}, 400, "invalid_body"),
        ({"valid_s": 0}, 400, "invalid_body"),
        ({"valid_s": -1}, 400, "invalid_body"),
        ({"valid_s": "soon"}, 400, "invalid_body"),
        ({"note": "x" * 2_001}, 400, "invalid_body"),
        ({"digest": "of something else"}, 409, "stale_digest"),
        ({"scope": "session"}, 400, "bad_request"),
    ],
)
async def test_a_yes_that_may_not_be_given_leaves_the_call_waiting(
    tmp_path: Path, body: dict[str, Any], status: int, code: str
):
    async with waiting(tmp_path) as desk:
        await desk.ask(reasons=("command_injection: a pipe into a shell",))
        found, problem = await desk.post("/approvals/apr_1/approve", body)
        assert (found, problem["code"]) == (status, code)
        (one,) = (await desk.get("/approvals"))[1]["approvals"]
        assert one["scopes"] == ["once"]
        await desk.post("/approvals/apr_1/deny")


@pytest.mark.parametrize("limit", ["x", "-1", "", "9" * 10])
async def test_a_history_of_no_number_is_refused(tmp_path: Path, limit: str):
    async with waiting(tmp_path) as desk:
        assert (await desk.get(f"/approvals/history?limit={limit}"))[0] == 400


async def test_the_same_key_gives_the_first_answer_again_and_decides_once(tmp_path: Path):
    async with waiting(tmp_path) as desk:
        await desk.ask()
        key = {"idempotency-key": "k1"}
        first = await desk.post("/approvals/apr_1/approve", {}, key)
        assert first[0] == 200
        assert await desk.post("/approvals/apr_1/approve", {}, key) == first
        status, other = await desk.post("/approvals/apr_1/deny", {}, key)
        assert (status, other["code"]) == (409, "idempotency_key_reused")


async def test_deciding_takes_a_token_that_may_do_everything_and_is_no_agents(tmp_path: Path):
    async with waiting(tmp_path) as desk:
        await desk.ask()
        tokens = ClientTokens(tmp_path)
        reader = {"authorization": f"Bearer {tokens.issue('reader', 'read')}"}
        writer = {"authorization": f"Bearer {tokens.issue('writer', 'write')}"}
        agent = (await desk.at.bootstrap())["jwt"]
        for headers in (reader, writer, {"authorization": f"Bearer {agent}"}):
            for word in ("approve", "deny"):
                status, _ = await desk.post(f"/approvals/apr_1/{word}", {}, headers)
                assert status == 403
        inside = await desk.at.http.post(
            f"/c/{agent}/approvals/apr_1/approve", json={}, headers={"authorization": ""}
        )
        assert inside.status_code in (401, 403)
        listed = await desk.at.http.get("/approvals", headers=reader)
        assert [one["id"] for one in listed.json()["approvals"]] == ["apr_1"]
        await desk.post("/approvals/apr_1/deny")


# --- through BrainPilot's wire ---------------------------------------------------------------


async def answer(
    desk: Desk, text: str, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    body = {"type": "user_input_response", "request_id": "apr_1", "answer": text}
    return await desk.post(f"/sessions/{SESSION}/messages", body, headers)


async def test_brainpilot_shows_an_approval_as_a_question_and_its_answer_decides(tmp_path: Path):
    async with waiting(tmp_path) as desk:
        await desk.ask()
        asked = await desk.frame("user_input_request")
        assert (asked["request_id"], asked["agent"]) == ("apr_1", "principal")
        assert asked["options"] == ["Approve", "Deny"]
        assert asked["allow_free_text"] is False
        assert "May bash run?" in asked["question"]
        assert "ls \\u{202e}evil" in asked["question"]
        assert await answer(desk, " Approve ") == (200, {"status": "ok"})
        await until(lambda: desk.heard)
        assert (desk.heard["apr_1"].decision, desk.heard["apr_1"].scope) == ("approved", "once")
        echo = await desk.frame("user_input_response")
        assert (echo["request_id"], echo["answer"]) == ("apr_1", "Approve")
        status, stale = await answer(desk, "Deny")
        assert (status, stale["status"], stale["reason"]) == (409, "stale", "question_expired")


async def test_words_that_are_no_decision_and_ordinary_messages_decide_nothing(tmp_path: Path):
    async with waiting(tmp_path) as desk:
        await desk.ask()
        status, problem = await answer(desk, "yes, go on")
        assert (status, problem["error"]) == (400, "invalid answer")
        await desk.post(f"/sessions/{SESSION}/messages", {"content": "Approve"})
        assert [one["id"] for one in (await desk.get("/approvals"))[1]["approvals"]] == ["apr_1"]
        await answer(desk, "deny")
        await until(lambda: desk.heard)
        assert desk.heard["apr_1"].decision == "denied"


async def test_an_agent_may_not_answer_and_an_answer_in_another_session_is_stale(tmp_path: Path):
    async with waiting(tmp_path) as desk:
        await desk.ask()
        agent = (await desk.at.bootstrap())["jwt"]
        status, _ = await answer(desk, "Approve", {"authorization": f"Bearer {agent}"})
        assert status == 403
        await desk.at.crew.create(SessionId("other"))
        body = {"type": "user_input_response", "request_id": "apr_1", "answer": "Approve"}
        status, _ = await desk.post("/sessions/other/messages", body)
        assert status == 409
        await answer(desk, "Deny")


async def test_a_question_nobody_has_to_answer_any_more_is_taken_back(tmp_path: Path):
    async with waiting(tmp_path) as desk:
        await desk.ask()
        await desk.at.crew.stop()
        gone = await desk.frame("user_input_cancelled")
        assert (gone["request_id"], gone["reason"]) == ("apr_1", "interrupted")
