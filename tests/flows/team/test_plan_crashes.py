"""The plug is pulled after every commit of a run with a plan: it goes on in the middle of it.

Nothing is decided twice, no step is closed twice, none is left out, and the answer is the same.
"""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.messages import AssistantMessage, ToolResultMessage, UserMessage
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRequest
from brainpilot_rt.sessions.evolve import evolve
from brainpilot_rt.sessions.state import SessionState
from brainpilot_rt.testing.models import Call, Reply, ScriptedModel
from brainpilot_rt.testing.team import SESSION, LoopClock, team
from tests.flows.team.moves import send
from tests.flows.team.test_crash_prefixes import NotedLog, finished, outcome

STEPS = ["ask the librarian", "weigh it", "judge"]


async def play(request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
    model = ScriptedModel()
    model.script(request.agent, Reply(_said(request)))
    async for event in model.stream(request):
        yield event


def _said(request: ModelRequest) -> tuple[str | Call, ...]:
    """The next reply, from what the conversation holds."""
    heard = "\n".join(
        one.text if isinstance(one, UserMessage) else one.content
        for one in request.messages
        if isinstance(one, UserMessage | ToolResultMessage)
    )
    called = {
        call.name
        for one in request.messages
        if isinstance(one, AssistantMessage)
        for call in one.tool_calls
    }
    if request.agent == "librarian":
        return ("Delivered.",) if called else (send("principal", "the book is red"),)
    plan = Call("propose_plan", {"goal": "know", "steps": STEPS})
    steps: list[tuple[bool, tuple[str | Call, ...]]] = [
        ("propose_plan" in called, ("I plan.", plan)),
        ("send_message" in called, (send("librarian", "Look."),)),
        ("the book is red" in heard, ("Waiting.",)),
        ("Step 2 of 3" in heard, ("It is red.",)),
        ("Step 3 of 3" in heard, (Call("close_step", {"status": "done", "note": "weighed"}),)),
        ("All steps are closed" in heard, ("Judged.",)),
        (False, ("The answer.",)),
    ]
    return next(reply for done, reply in steps if not done)


@pytest.mark.timeout(120)
@pytest.mark.requirement("plan-resume")
async def test_a_crash_after_any_commit_of_a_plan_resumes_in_the_middle_of_it(tmp_path: Path):
    first = NotedLog(clock=LoopClock())
    async with team(first, play, tmp_path) as crew:
        await crew.create()
        await crew.post("First ask, then weigh, then judge.")
        await finished(crew)
        history = await crew.events()
        assert await outcome(crew) == ("completed", "The answer.")
    _is_whole(history)
    posted = next(n for n, one in enumerate(history, 1) if isinstance(one.event, ev.RunStarted))
    cuts = [cut for cut in first.cuts if cut >= posted]
    assert len(cuts) > 15
    for cut in cuts:
        log = NotedLog(clock=LoopClock())
        await log.append(SESSION, [one.event for one in history[:cut]], title="t", busy=True)
        async with team(log, play, tmp_path) as crew:
            state = await finished(crew)
            again = await crew.events()
            assert await outcome(crew) == ("completed", "The answer."), cut
            assert await crew.violations() == [], cut
            assert _replayed(again) == state, cut
            assert not state.plans, cut
        _is_whole(again)


def _is_whole(history: list[ev.Recorded]) -> None:
    changes = [one.event for one in history if isinstance(one.event, ev.PlanChanged)]
    assert [one.op for one in changes] == ["proposed", "step_closed", "step_closed", "step_closed"]
    assert [one.note for one in changes[-1].plan.steps] == ["It is red.", "weighed", "Judged."]
    chosen = [
        one.event
        for one in history
        if isinstance(one.event, ev.IntentClassified) and one.event.source == "heuristic"
    ]
    assert len([one for one in chosen if one.agent == "principal"]) == 1
    ends = [one.event.run_id for one in history if isinstance(one.event, ev.RunFinished)]
    assert [one.event.run_id for one in history if isinstance(one.event, ev.SpanCompleted)] == ends
    assert [one.event.run_id for one in history if isinstance(one.event, ev.TurnSummarised)] == ends


def _replayed(history: list[ev.Recorded]) -> SessionState:
    state = SessionState(session=SESSION)
    for recorded in history:
        state = evolve(state, recorded)
    return state
