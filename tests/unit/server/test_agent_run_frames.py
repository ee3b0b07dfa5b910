"""Agent runs as frames: what a log of one session looks like to a reader of runs."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import (
    AgentName,
    CallId,
    HostRunId,
    LetterId,
    MessageId,
    RunId,
    SessionId,
)
from brainpilot_rt.domain.letters import Authority, Letter, LetterKind
from brainpilot_rt.domain.messages import AssistantMessage, AssistantPart, TextPart, ToolCall
from brainpilot_rt.domain.model_calls import ModelRef, StopReason
from brainpilot_rt.domain.tools import Effect, ToolStatus
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.server.wires.agent_run_bodies import View
from brainpilot_rt.server.wires.agent_runs import Projector, RunFrame

SESSION = SessionId("s")
BOT = AgentName("bot")
RUN = RunId("run_1")
HOST = HostRunId("host_1")
CHEAP = ModelRef(provider="google", model="flash")
GOOD = ModelRef(provider="anthropic", model="sonnet")


def began(agent: AgentName = BOT) -> ev.HostTurnStarted:
    return ev.HostTurnStarted(host_run_id=HOST, letter_id=LetterId("l"), agent=agent)


def ended(outcome: str = "completed", **more: Any) -> ev.HostTurnFinished:
    fields = {"host_run_id": HOST, "outcome": outcome, "agent": BOT, "cost_usd": Decimal("0.25")}
    return ev.HostTurnFinished.model_validate(fields | more)


def selected(turn: int, model: ModelRef = CHEAP, **more: Any) -> ev.ModelSelected:
    fields = {"run_id": RUN, "agent": BOT, "turn": turn, "model": model}
    return ev.ModelSelected.model_validate(
        fields | {"phase": "thompson", "reason": "highest reward"} | more
    )


def replied(
    turn: int, text: str = "", *calls: str, run: RunId = RUN, agent: AgentName = BOT
) -> ev.ModelReplied:
    parts: list[AssistantPart] = [TextPart(text=text)] if text else []
    parts += [ToolCall(call_id=CallId(one), name="search", arguments={"q": one}) for one in calls]
    return ev.ModelReplied(
        run_id=run,
        agent=agent,
        turn=turn,
        message=AssistantMessage(parts=tuple(parts)),
        stop_reason=StopReason.TOOL_USE if calls else StopReason.END,
        usage=Usage(input=7, output=3),
        model=CHEAP,
        cost_usd=Decimal("0.1"),
        duration_ms=5,
    )


def said(text: str, message_id: str = "msg_1") -> ev.TextFinished:
    return ev.TextFinished(
        run_id=RUN,
        agent=BOT,
        message_id=MessageId(message_id),
        text=text,
        chunks=(len(text),),
        started_seq=1,
    )


def planned(call: str, turn: int = 0, agent: AgentName = BOT) -> ev.ToolPlanned:
    return ev.ToolPlanned(
        run_id=RUN,
        agent=agent,
        turn=turn,
        call_id=CallId(call),
        name="search",
        arguments={"q": call},
        effect=Effect.PURE,
    )


def started(call: str) -> ev.ToolStarted:
    return ev.ToolStarted(run_id=RUN, call_id=CallId(call))


def finished(
    call: str, content: str = "found", status: ToolStatus = "completed", agent: AgentName = BOT
) -> ev.ToolFinished:
    return ev.ToolFinished(
        run_id=RUN,
        agent=agent,
        call_id=CallId(call),
        name="search",
        content=content,
        status=status,
        duration_ms=312,
    )


def rated(turn: int, saved: str = "0.02") -> ev.TurnRated:
    return ev.TurnRated(
        run_id=RUN,
        agent=BOT,
        turn=turn,
        model=CHEAP,
        task_class="search",
        reward=0.9,
        validity=1.0,
        usage=Usage(input=7, output=3),
        cost_usd=Decimal("0.02"),
        baseline=GOOD,
        baseline_cost_usd=Decimal("0.04"),
        savings_usd=Decimal(saved),
    )


def warned(turn: int = 0) -> ev.BudgetWarned:
    return ev.BudgetWarned(
        run_id=RUN,
        agent=BOT,
        turn=turn,
        scope="root",
        threshold=0.9,
        spent_usd=Decimal("1.8"),
        cap_usd=Decimal(2),
    )


def exhausted() -> ev.BudgetExhausted:
    return ev.BudgetExhausted(
        run_id=RUN,
        agent=BOT,
        turn=0,
        scope="root",
        spent_usd=Decimal("2.003"),
        cap_usd=Decimal(2),
    )


def guarded(stage: str, turn: int = 0) -> ev.GuardrailFired:
    fields = {"run_id": RUN, "agent": BOT, "turn": turn, "stage": stage, "action": "warn"}
    return ev.GuardrailFired.model_validate(
        fields | {"guardrail": "pii", "confidence": 0.9, "reason": "an address"}
    )


def approval(call: str = "c1", agent: AgentName = BOT) -> ev.ApprovalRequested:
    return ev.ApprovalRequested(
        approval_id=f"a_{call}",
        run_id=RUN,
        agent=agent,
        call_id=CallId(call),
        tool="search",
        arguments={},
        digest="d",
    )


def decided(call: str = "c1", decision: str = "approved") -> ev.ApprovalDecided:
    fields = {"approval_id": f"a_{call}", "agent": BOT, "decision": decision, "by": "user"}
    return ev.ApprovalDecided.model_validate(fields)


def ran(*events: ev.Event, view: View = "run", at: Iterable[int] | None = None) -> list[RunFrame]:
    times = list(at or range(1_000, 1_000 + len(events)))
    projector = Projector(SESSION, view)
    found: list[RunFrame] = []
    for seq, (event, at_ms) in enumerate(zip(events, times, strict=True), 1):
        found += projector.feed(ev.Recorded(SESSION, seq, seq, at_ms, event))
    return found


def names(frames: Iterable[RunFrame]) -> list[str]:
    return [frame.event for frame in frames]


def test_a_run_of_two_turns_reads_as_the_published_sample() -> None:
    frames = ran(
        began(),
        selected(0),
        replied(0, "", "c1"),
        planned("c1"),
        started("c1"),
        finished("c1"),
        selected(1, GOOD),
        said("Here it is"),
        replied(1, "Here it is"),
        ended(turns=2),
        at=[1_000, 1, 1, 1, 1, 1, 1, 1, 1, 5_521],
    )
    assert names(frames) == [
        "session.status_running",
        "br.model_selected",
        "agent.tool_use",
        "agent.tool_result",
        "br.model_selected",
        "agent.message",
        "session.status_idle",
        "session.status_ended",
    ]
    bodies = [frame.data for frame in frames]
    assert bodies[0]["sessionId"] == "s"
    assert bodies[0]["agentId"] == "bot"
    assert (
        bodies[1]
        | {
            "model": "flash",
            "provider": "google",
            "strategy": "thompson",
            "reason": "highest reward",
            "turnIndex": 0,
        }
        == bodies[1]
    )
    assert bodies[2] | {"toolName": "search", "args": {"q": "c1"}, "turnIndex": 0} == bodies[2]
    assert bodies[3] | {"result": "found", "isError": False, "latencyMs": 312} == bodies[3]
    assert bodies[5] | {"text": "Here it is", "model": "flash", "turnIndex": 1} == bodies[5]
    assert bodies[6]["stop_reason"] == {"type": "end_turn"}
    last = {"reason": "completed", "totalTurns": 2, "totalCostUsd": 0.25, "durationMs": 4521}
    assert bodies[7] | last == bodies[7]


def test_every_frame_is_also_one_of_managed_agents() -> None:
    frames = ran(
        began(),
        replied(0, "", "c1"),
        planned("c1"),
        finished("c1", "no", "failed"),
        said("done", "msg_9"),
        replied(1, "done"),
        ended(),
    )
    for frame in frames:
        assert frame.data["type"] == frame.event
        assert frame.data["id"]
        assert frame.data["processed_at"].endswith("Z")
    assert len({frame.data["id"] for frame in frames}) == len(frames)
    use, result, message = (frames[n].data for n in (1, 2, 3))
    assert (use["id"], use["name"], use["input"]) == ("c1", "search", {"q": "c1"})
    assert (result["tool_use_id"], result["is_error"]) == ("c1", True)
    assert result["content"] == [{"type": "text", "text": "no"}]
    assert (message["id"], message["content"]) == ("msg_9", [{"type": "text", "text": "done"}])


def test_a_turn_keeps_its_order_whatever_order_its_facts_were_committed_in() -> None:
    frames = ran(
        began(),
        guarded("input"),
        selected(0),
        warned(),
        guarded("output"),
        said("I look"),
        replied(0, "I look", "c1"),
        planned("c1"),
        finished("c1"),
        rated(0),
        ended(),
    )
    assert names(frames)[1:-2] == [
        "br.model_selected",
        "br.guardrail_intervention",
        "br.guardrail_intervention",
        "agent.message",
        "agent.tool_use",
        "agent.tool_result",
        "br.routing_savings",
        "br.budget_warning",
    ]
    warning = frames[-3].data
    assert warning | {"spentUsd": 1.8, "capUsd": 2.0, "remainingUsd": 0.2} == warning
    assert (warning["scope"], warning["turnIndex"]) == ("run", 0)


def test_savings_are_signed_and_summed_over_the_run() -> None:
    frames = ran(
        began(), replied(0, "a"), rated(0, "0.02"), replied(1, "b"), rated(1, "-0.01"), ended()
    )
    saved = [one.data for one in frames if one.event == "br.routing_savings"]
    assert [one["savingsUsd"] for one in saved] == [0.02, -0.01]
    assert [one["cumulativeSavingsUsd"] for one in saved] == [0.02, 0.01]
    assert [one["turnIndex"] for one in saved] == [0, 1]


def test_a_model_that_failed_and_was_replaced_saves_nothing() -> None:
    failed = rated(0).model_copy(update={"usage": Usage(), "validity": 0.0})
    second = selected(0, GOOD, phase="fallback", instead_of=CHEAP)
    frames = ran(began(), selected(0), failed, second, replied(0, "a"), ended())
    assert "br.routing_savings" not in names(frames)
    chosen = [one.data for one in frames if one.event == "br.model_selected"]
    assert [one["turnIndex"] for one in chosen] == [0, 0]
    assert chosen[1]["insteadOf"] == {"provider": "google", "model": "flash"}


def test_turns_are_counted_over_all_runs_of_the_addressed_agent() -> None:
    other = AgentName("librarian")
    frames = ran(
        began(),
        replied(0, "", "c1"),
        planned("c1"),
        finished("c1"),
        replied(0, "not for you", run=RunId("run_2"), agent=other),
        replied(0, "the answer", run=RunId("run_3")),
        ended(),
    )
    messages = [one.data for one in frames if one.event == "agent.message"]
    assert [(one["text"], one["turnIndex"]) for one in messages] == [("the answer", 1)]
    assert frames[-1].data["totalTurns"] == 2


def test_a_turn_asked_again_after_a_crash_keeps_its_index() -> None:
    frames = ran(
        began(),
        selected(0),
        ev.RunInterrupted(run_id=RUN, agent=BOT, reason="crash"),
        selected(0, run_id="run_2"),
        replied(0, "hello", run=RunId("run_2")),
        ended(),
    )
    indices = [one.data["turnIndex"] for one in frames if "turnIndex" in one.data]
    assert indices == [0, 0, 0]
    assert frames[-1].data["totalTurns"] == 1


@pytest.mark.parametrize(
    ("last", "reason", "stop"),
    [
        (ended(code="max_turns"), "max_turns", "end_turn"),
        (ended("interrupted"), "interrupted", "end_turn"),
        (ended("failed", code="crash"), "error", "retries_exhausted"),
        (ended("failed", code="overloaded"), "model_unavailable", "retries_exhausted"),
        (ended("failed", code="guardrail_blocked"), "guardrail_blocked", "refusal"),
        (ended("failed", code="agent_suspended"), "agent_suspended", "budget_reached"),
        (ended("failed", code="budget_exhausted"), "budget_exhausted", "budget_reached"),
    ],
)
def test_each_end_has_its_reason_for_a_run_and_for_a_session_that_stays(
    last: ev.HostTurnFinished, reason: str, stop: str
) -> None:
    frames = ran(began(), replied(0, "x"), last)
    assert frames[-1].data["reason"] == reason
    idle = reason == "max_turns"
    assert ("session.status_idle" in names(frames)) is idle
    stays = ran(began(), replied(0, "x"), last, view="managed")
    assert stays[-1].event == "session.status_idle"
    assert stays[-1].data["stop_reason"] == {"type": stop}
    assert "session.status_ended" not in names(stays)
    assert ("session.error" in names(stays)) is (stop == "retries_exhausted")


def test_a_budget_that_runs_out_with_work_left_is_the_reason_of_the_end() -> None:
    frames = ran(began(), replied(0, "", "c1"), exhausted(), planned("c1"), ended())
    assert frames[-1].data["reason"] == "budget_exhausted"


def test_an_answer_that_uses_up_the_budget_is_still_an_answer() -> None:
    frames = ran(began(), replied(0, "all of it"), exhausted(), ended())
    assert frames[-1].data["reason"] == "completed"


def test_an_unknown_cost_is_said_with_what_the_budgets_counted() -> None:
    charged = ev.SpendSettled(
        reservation_id="r",
        run_id=RUN,
        agent=BOT,
        outcome="charged",
        model=CHEAP,
        counted_usd=Decimal("0.5"),
    )
    frames = ran(began(), replied(0, "x"), charged, ended(cost_usd=None))
    assert frames[-1].data["costUnknown"] is True
    assert frames[-1].data["totalCostUsd"] == 0.5


@pytest.mark.parametrize("view", ["run", "managed"])
def test_a_call_that_needs_a_word_idles_until_it_is_given(view: View) -> None:
    frames = ran(
        began(),
        replied(0, "", "c1"),
        planned("c1"),
        approval(),
        decided(),
        started("c1"),
        finished("c1"),
        view=view,
    )
    kept = [one for one in frames if not one.event.startswith(("span.", "user."))]
    assert names(kept) == [
        "session.status_running",
        "agent.tool_use",
        "session.status_idle",
        "session.status_running",
        "agent.tool_result",
    ]
    assert kept[1].data["evaluated_permission"] == "ask"
    assert kept[2].data["stop_reason"] == {"type": "requires_action", "event_ids": ["c1"]}


def test_of_two_waiting_calls_the_other_one_is_named_again() -> None:
    frames = ran(
        began(),
        replied(0, "", "c1", "c2"),
        planned("c1"),
        planned("c2"),
        approval("c1"),
        approval("c2"),
        decided("c1"),
    )
    waits = [one.data["stop_reason"]["event_ids"] for one in frames if one.event.endswith("idle")]
    assert waits == [["c1"], ["c1", "c2"], ["c2"]]


def test_a_call_of_a_delegate_is_shown_only_when_it_waits_for_a_word() -> None:
    other = AgentName("writer")
    quiet = ran(began(), planned("c1", agent=other), started("c1"), finished("c1", agent=other))
    assert names(quiet) == ["session.status_running"]
    asking = ran(began(), planned("c1", agent=other), approval(agent=other), decided())
    assert names(asking)[1] == "agent.tool_use"
    assert asking[1].data["agentId"] == "writer"


def test_a_refused_call_says_that_it_was_denied_and_why() -> None:
    judged = ev.ToolJudged(
        run_id=RUN,
        agent=BOT,
        turn=0,
        call_id=CallId("c1"),
        tool="search",
        action="block",
        reasons=("denied_tool: search",),
    )
    refused = finished("c1", "not allowed", "refused")
    frames = ran(began(), replied(0, "", "c1"), planned("c1"), judged, refused)
    use = frames[1].data
    assert (use["evaluated_permission"], use["reasons"]) == ("deny", ["denied_tool: search"])
    assert frames[2].data["isError"] is True


def opened(call: str = "c1") -> ev.ClientCallOpened:
    return ev.ClientCallOpened(
        run_id=RUN, agent=BOT, call_id=CallId(call), name="search", arguments={"q": call}
    )


def test_a_tool_of_the_client_is_handed_over_and_taken_back() -> None:
    created = ev.SessionCreated(title="t", labels={"custom_tools": ["search"]})
    answered = ev.ClientCallAnswered(call_id=CallId("c1"), content="42")
    events = (
        created,
        began(),
        replied(0, "", "c1"),
        planned("c1"),
        started("c1"),
        opened(),
        answered,
        finished("c1", "42"),
    )
    managed = [one for one in ran(*events, view="managed") if not one.event.startswith("span.")]
    assert names(managed) == [
        "session.status_running",
        "agent.custom_tool_use",
        "session.status_idle",
        "user.custom_tool_result",
        "session.status_running",
    ]
    assert managed[1].data["id"] == "c1"
    assert names(ran(*events)) == [
        "session.status_running",
        "agent.tool_use",
        "session.status_idle",
        "session.status_running",
        "agent.tool_result",
    ]


def test_what_the_user_said_is_told_when_it_comes_and_when_it_is_taken_up() -> None:
    letter = Letter(
        id=LetterId("l1"),
        session=SESSION,
        from_=AgentName("user"),
        to=BOT,
        kind=LetterKind.USER_MESSAGE,
        content="hello",
        root_id=LetterId("l1"),
        created_at="2026-01-01T00:00:00Z",
        authority=Authority(origin="user"),
    )
    accepted = ev.LetterAccepted(
        letter_id=LetterId("l1"), letter=letter, message_id=MessageId("msg_u")
    )
    taken = ev.RunStarted(
        run_id=RUN, agent=BOT, letter_ids=(LetterId("l1"),), root_id=LetterId("l1")
    )
    frames = ran(accepted, began(), taken, taken, view="managed")
    assert names(frames) == ["user.message", "session.status_running", "user.message"]
    assert [frames[n].data["id"] for n in (0, 2)] == ["msg_u", "msg_u"]
    assert frames[0].data["processed_at"] is None
    assert frames[2].data["processed_at"] is not None
    assert names(ran(accepted, began(), taken)) == ["session.status_running"]


def test_parts_of_an_event_are_numbered_and_its_last_frame_is_the_event() -> None:
    frames = ran(began(), replied(0, "x"), ended())
    assert [(one.seq, one.part) for one in frames] == [(1, 0), (2, 0), (3, 1), (3, 0)]


def test_a_second_run_of_a_session_begins_anew() -> None:
    frames = ran(began(), replied(0, "a"), ended(), began(), replied(1, "b"), ended())
    assert [one.data["totalTurns"] for one in frames if one.event.endswith("ended")] == [1, 1]
