"""The trail: one row for each call whatever became of it, and one for each change of memory."""

from typing import Any

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import AgentName, CallId, RunId, SessionId
from brainpilot_rt.domain.memory import MemoryItem
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.governance.audit import ARGUMENTS_CHARS_MAX, CallRow, MemoryRow, trail

WHO: dict[str, Any] = {"run_id": RunId("r"), "agent": AgentName("a")}
CALL: dict[str, Any] = {**WHO, "call_id": CallId("c1")}


def planned(call: str = "c1", arguments: dict[str, Any] | None = None) -> ev.ToolPlanned:
    return ev.ToolPlanned(
        **WHO,
        turn=0,
        call_id=CallId(call),
        name="bash",
        arguments=arguments,
        effect=Effect.IRREVERSIBLE,
    )


def asked() -> ev.ApprovalRequested:
    return ev.ApprovalRequested(
        **CALL, approval_id="ap", tool="bash", arguments={}, digest="d", reasons=("x: y",)
    )


def finished(**more: Any) -> ev.ToolFinished:
    facts: dict[str, Any] = {"content": "ok", "status": "completed", "duration_ms": 7}
    return ev.ToolFinished(**CALL, name="bash", **facts | more)


def rows(*events: ev.Event) -> list[Any]:
    return trail(
        ev.Recorded(SessionId("s"), seq, seq, seq * 10, one) for seq, one in enumerate(events, 1)
    )


def test_a_call_is_one_row_from_its_plan_over_its_approval_to_its_end():
    decided = ev.ApprovalDecided(
        approval_id="ap", agent=AgentName("a"), decision="approved", by="user"
    )
    judged = ev.ToolJudged(
        **CALL, turn=0, tool="bash", action="ask", reasons=("approval_required: a word",)
    )
    fired = ev.GuardrailFired(
        **CALL,
        turn=0,
        stage="tool_result",
        action="redact",
        guardrail="secrets",
        confidence=1.0,
        reason="a key",
    )
    (row,) = rows(planned(arguments={"command": "ls"}), judged, asked(), decided, fired, finished())
    assert row == CallRow(
        session=SessionId("s"),
        pos=1,
        at_ms=10,
        call_id=CallId("c1"),
        run_id="r",
        agent=AgentName("a"),
        tool="bash",
        arguments={"command": "ls"},
        action="ask",
        reasons=("approval_required: a word",),
        guardrails=("secrets: redact",),
        approval="approved",
        approved_by="user",
        status="completed",
        duration_ms=7,
    )


def test_a_call_that_waits_or_runs_is_an_open_row():
    (waiting,) = rows(planned(), asked())
    assert (waiting.approval, waiting.status) == ("pending", "open")


def test_long_arguments_are_left_out_and_events_of_unknown_calls_make_no_row():
    (row,) = rows(planned(arguments={"text": "x" * ARGUMENTS_CHARS_MAX}))
    assert row.arguments is None
    assert rows(finished(), asked()) == []


def test_a_call_that_is_planned_again_after_a_crash_stays_one_row():
    (row,) = rows(planned(), planned(), finished(status="unknown"))
    assert row.status == "unknown"


def test_each_change_of_memory_is_a_row_and_a_fact_says_its_block():
    item = MemoryItem(
        id="i", section="facts", agent=AgentName("user"), content="tea", at_ms=1, block="human"
    )
    agent = AgentName("user")
    found = rows(
        ev.MemoryAdded(items=(item,), agent=agent),
        ev.MemoryRemoved(section="facts", item_ids=("i",), agent=agent),
        ev.MemoryEvicted(section="lessons", agent=AgentName(""), item_ids=("j",), tokens=3),
    )
    assert all(isinstance(one, MemoryRow) for one in found)
    assert [(one.operation, one.section, one.block, one.item_ids) for one in found] == [
        ("append", "facts", "human", ("i",)),
        ("remove", "facts", None, ("i",)),
        ("evict", "lessons", None, ("j",)),
    ]
