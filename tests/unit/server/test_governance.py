"""Routes about rules and what became of them: firewall, trail, summary, report."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import AgentName, CallId, RunId, SessionId
from brainpilot_rt.domain.memory import MemoryItem
from brainpilot_rt.domain.tools import Effect
from tests.unit.server.owned import owned, token_of_agent
from tests.unit.server.test_memory import call
from tests.unit.server.world import Server, serving

ONE = SessionId("one")
BOT = AgentName("bot")


def called(call_id: str, action: ev.JudgedAction = "pass", tool: str = "bash") -> list[ev.Event]:
    who: dict[str, Any] = {"run_id": RunId("r"), "agent": BOT, "call_id": CallId(call_id)}
    reasons = () if action == "pass" else (f"denied_tool: {tool}",)
    return [
        ev.ToolPlanned(**who, turn=0, name=tool, arguments={"a": 1}, effect=Effect.PURE),
        ev.ToolJudged(**who, turn=0, tool=tool, action=action, reasons=reasons),
        ev.ToolFinished(
            **who,
            name=tool,
            content="secret of the result",
            status="completed" if action == "pass" else "refused",
        ),
    ]


def fired() -> ev.GuardrailFired:
    return ev.GuardrailFired(
        run_id=RunId("r"),
        agent=BOT,
        turn=0,
        stage="output",
        action="redact",
        guardrail="secrets",
        confidence=1.0,
        reason="a key",
    )


def fact(item_id: str, block: Any = "human") -> ev.MemoryAdded:
    item = MemoryItem(id=item_id, section="facts", agent=BOT, content="tea", at_ms=1, block=block)
    return ev.MemoryAdded(items=(item,), agent=BOT)


@asynccontextmanager
async def busy(folder: Path, *events: ev.Event) -> AsyncGenerator[Server]:
    async with owned(folder) as server:
        await call(server, "POST", "/sessions", {"id": "one"})
        await server.backend.commit(ONE, *events)
        yield server


async def get(server: Server, path: str) -> Any:
    status, body = await call(server, "GET", path)
    assert status == 200, body
    return body


async def test_the_firewall_is_changed_rule_by_rule_and_read_back():
    async with serving() as server:
        before = await get(server, "/v1/firewall/config")
        assert (before["mode"], before["denyList"]) == ("enforce", [])
        said = {"denyList": ["mcp__github__delete_*"], "mode": "block"}
        status, after = await call(server, "PUT", "/v1/firewall/config", said)
        assert (status, after["mode"]) == (200, "enforce")
        assert await get(server, "/v1/firewall/config") == {**before, "denyList": said["denyList"]}


async def test_a_guardrail_that_is_not_there_can_not_be_switched_on():
    async with serving() as server:
        before = await get(server, "/v1/guardrails/config")
        said = {"providers": [{"id": "secret", "enabled": True}]}
        status, answer = await call(server, "PUT", "/v1/guardrails/config", said)
        assert (status, answer["error"]["type"]) == (400, "bad_request")
        assert "'secret'" in answer["error"]["message"]
        assert await get(server, "/v1/guardrails/config") == before


async def test_interceptions_have_the_published_shape_and_are_paged(tmp_path: Path):
    events = [one for n in range(3) for one in called(f"c{n}", "block")]
    async with busy(tmp_path, *events, *called("fine")) as server:
        page = await get(server, "/v1/firewall/interceptions?limit=1&offset=1")
    assert (page["total"], page["limit"], page["offset"]) == (3, 1, 1)
    (one,) = page["interceptions"]
    assert (one["severity"], one["actorId"], one["actorType"]) == ("high", "bot", "agent")
    assert one["details"] == {
        "action": "block",
        "verdicts": [{"toolName": "bash", "action": "block", "reasons": ["denied_tool: bash"]}],
    }


async def test_the_trail_has_calls_and_memory_and_never_a_result(tmp_path: Path):
    async with busy(tmp_path, *called("c1", "block"), fact("f1"), fact("f2", "project")) as server:
        every = (await get(server, "/v1/governance/audit"))["entries"]
        assert sorted(one["operation"] for one in every) == ["append", "append", "tool_call"]
        (row,) = (await get(server, "/v1/governance/audit?operation=tool_call"))["entries"]
        assert (row["tool"], row["action"], row["status"]) == ("bash", "block", "refused")
        assert "secret" not in str(every)
        (human,) = (await get(server, "/v1/governance/audit?block=human"))["entries"]
        assert human["itemIds"] == ["f1"]
        assert len((await get(server, "/v1/governance/audit?limit=1"))["entries"]) == 1


async def test_the_trail_in_numbers_adds_up(tmp_path: Path):
    events = [*called("c1", "block"), *called("c2"), *called("c3", tool="read"), fact("f1")]
    async with busy(tmp_path, *events) as server:
        stats = await get(server, "/v1/governance/audit/stats")
    assert stats["total"] == sum(stats["byOperation"].values()) == sum(stats["byAgent"].values())
    assert stats["byTool"] == {"bash": 2, "read": 1}
    assert stats["byStatus"] == {"completed": 2, "refused": 1}
    assert stats["byAction"] == {"pass": 2, "block": 1}


async def test_the_summary_counts_what_was_flagged_and_what_waits(tmp_path: Path):
    async with busy(tmp_path, *called("c1", "block"), *called("c2"), fired()) as server:
        await token_of_agent(server)
        told = await get(server, "/v1/governance/summary")
    assert told["audit_stats"] == {"total_requests": 2, "flagged": 1}
    assert (told["anomaly_score"], told["policies"]) == (0.5, 0)
    assert told["guardrails"]["byGuardrail"] == {"secrets": 1}
    assert (told["agents"], told["approvals"]) == ({"active": 1}, {"pending": 0})


async def test_the_report_of_quiet_work_measures_what_became_shorter(tmp_path: Path):
    item = MemoryItem(id="s", section="lessons", agent=BOT, content="x" * 40, at_ms=1)
    tidied = (
        ev.MemorySummarised(
            section="lessons", agent=AgentName(""), item_ids=("a", "b"), item=item, tokens_before=90
        ),
        ev.ConversationCompacted(
            run_id=RunId("r"),
            agent=BOT,
            turn=1,
            through_seq=1,
            summary="short",
            messages_before=9,
            messages_after=1,
            chars_before=9_000,
            chars_after=500,
        ),
    )
    async with busy(tmp_path, *tidied) as server:
        told = await get(server, "/v1/governance/sleep-time/report")
    memory, talks = told["memory"], told["conversations"]
    assert (memory["items_summarised"], memory["tokens_before"], memory["tokens_after"]) == (
        2,
        90,
        10,
    )
    assert (talks["compacted"], talks["chars_before"], talks["chars_after"]) == (1, 9_000, 500)


async def test_what_nobody_did_is_zero_and_no_error():
    async with serving() as server:
        told = await get(server, "/v1/governance/summary")
        assert (told["anomaly_score"], told["audit_stats"]["total_requests"]) == (0.0, 0)
        assert (await get(server, "/v1/governance/audit/stats"))["oldest"] is None
        assert (await get(server, "/v1/firewall/interceptions"))["interceptions"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/governance/audit?block=heart",
        "/v1/governance/audit?operation=nap",
        "/v1/governance/audit?limit=many",
        "/v1/firewall/interceptions?offset=-1",
    ],
)
async def test_what_is_wrong_is_said(path: str):
    async with serving() as server:
        status, problem = await call(server, "GET", path)
    assert (status, problem["error"]["type"]) == (400, "bad_request")


async def test_an_agent_does_not_change_the_rules_that_hold_for_it(tmp_path: Path):
    async with owned(tmp_path) as server:
        token = await token_of_agent(server)
        for headers, place in (
            ({"authorization": f"Bearer {token}"}, ""),
            ({"authorization": "", "x-api-key": token}, ""),
            ({"authorization": ""}, f"/c/{token}"),
        ):
            for path in ("/v1/firewall/config", "/v1/guardrails/config"):
                assert (await call(server, "GET", f"{place}{path}", headers=headers))[0] == 200
                status, _ = await call(server, "PUT", f"{place}{path}", {}, headers=headers)
                assert status == 403, (headers, path)
