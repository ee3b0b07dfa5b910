"""What has ended ends once, however many report its end."""

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import PRINCIPAL, CallId, LetterId, RequestId, RunId, SessionId
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.sessions.fence import admit
from brainpilot_rt.sessions.state import OpenCall, OpenQuestion, RunState, SessionState

RUN, CALL, OTHER = RunId("run_1"), CallId("call_1"), CallId("call_2")
ASKED = RequestId("req_1")


def state(*calls: CallId, asked: bool = False) -> SessionState:
    run = RunState(
        run_id=RUN, agent=PRINCIPAL, letter_ids=(), root_id=LetterId("0" * 26), host_run_id=None,
        attempt=1, first_turn=0, turns=0, started_ms=0, hop=0, path=(),
        calls={one: OpenCall(one, "ask_user", Effect.PURE) for one in calls},
    )  # fmt: skip
    question = OpenQuestion(ASKED, RUN, CALL, PRINCIPAL, "Which?", (), True)  # noqa: FBT003 - a field
    questions = {ASKED: question} if asked else {}
    return SessionState(session=SessionId("s"), runs={RUN: run}, questions=questions)


def finished(call: CallId) -> ev.ToolFinished:
    return ev.ToolFinished(
        run_id=RUN, agent=PRINCIPAL, call_id=call, name="ask_user", content="", status="completed"
    )


def planned(call: CallId) -> ev.ToolPlanned:
    return ev.ToolPlanned(
        run_id=RUN,
        agent=PRINCIPAL,
        turn=0,
        call_id=call,
        name="x",
        arguments={},
        effect=Effect.PURE,
    )


def test_the_end_of_an_open_call_is_admitted_and_a_second_one_left_out():
    assert admit(state(CALL), [finished(CALL)]) == [finished(CALL)]
    assert admit(state(OTHER), [finished(CALL), finished(OTHER)]) == [finished(OTHER)]


def test_a_call_may_begin_and_end_in_one_commit():
    both = [planned(CALL), finished(CALL)]
    assert admit(state(), both) == both


def test_a_question_that_was_answered_is_not_cancelled_afterwards():
    cancelled = ev.QuestionCancelled(request_id=ASKED, reason="interrupted", agent=PRINCIPAL)
    assert admit(state(CALL, asked=True), [cancelled]) == [cancelled]
    assert admit(state(CALL), [cancelled]) == []
