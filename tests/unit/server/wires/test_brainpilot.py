"""The BrainPilot wire: every event is shown, in the names and the order its clients know."""

import typing
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core import from_json

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import (
    DAEMON_STREAM,
    USER,
    AgentName,
    CallId,
    HostRunId,
    LetterId,
    MessageId,
    RunId,
    SessionId,
)
from brainpilot_rt.domain.letters import Authority, Letter, LetterKind
from brainpilot_rt.domain.tools import Effect, ToolStatus
from brainpilot_rt.server.tracks import encode, sse
from brainpilot_rt.server.wires.brainpilot import history, pieces, project, said_at
from brainpilot_rt.testing.sources import SequentialIds

S = SessionId("s")
A = AgentName("librarian")
R = RunId("run_1")
L = LetterId(SequentialIds.nth(1))
M = MessageId(f"msg_{SequentialIds.nth((1_700_000_000_000 << 80) + 1)}")
CLASSES: list[type[BaseModel]] = list(typing.get_args(typing.get_args(ev.Event)[0]))


PLAIN: dict[Any, Any] = {str: "x", int: 1, float: 1.0, bool: True, Decimal: Decimal(1)}


def sample(annotation: Any) -> Any:
    """Some value of a type."""
    kind: Any = getattr(annotation, "__supertype__", annotation)
    if kind in PLAIN:
        return PLAIN[kind]
    origin: Any = typing.get_origin(kind)
    if origin is None:
        return of_class(kind)
    if origin is dict:
        return dict[str, int]()
    arguments: Any = typing.get_args(kind)
    if origin is tuple:
        return ()
    if origin is typing.Literal or type(None) in arguments:
        return arguments[0] if origin is typing.Literal else None
    return sample(arguments[0])


def of_class(kind: Any) -> Any:
    """A model with what it requires, or the first member of an enumeration."""
    if not issubclass(kind, BaseModel):
        return next(iter(kind))
    fields = kind.model_fields.items()
    required = {name: sample(one.annotation) for name, one in fields if one.is_required()}
    return kind.model_validate(required, by_name=True)


def recorded(event: Any, session: SessionId = S) -> ev.Recorded:
    return ev.Recorded(session, 7, 70, 1_767_323_045_678, event)


def kinds(event: Any) -> list[str]:
    frames = project(recorded(event))
    return [one["name"] if one["type"] == "CUSTOM" else one["type"] for one in frames]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_event_has_frames_with_an_envelope_and_ids_of_their_own(kind: type[BaseModel]):
    frames = history(recorded(sample(kind), DAEMON_STREAM))
    assert frames
    for frame in frames:
        assert frame["session_id"] == DAEMON_STREAM
        if frame["type"] == "system_message":
            assert frame["timestamp"] == "2026-01-02T03:04:05.678Z"
            assert frame["id"]
        elif not frame["type"].endswith("_CONTENT"):
            assert frame["_ts"] == "2026-01-02T03:04:05.678Z"
        assert None not in frame.values()
        assert from_json(encode(frame)) == frame
    ids = [frame["_event_id"] for frame in frames]
    assert len(ids) == len(set(ids))


def letter(kind: LetterKind = LetterKind.USER_MESSAGE) -> Letter:
    return Letter(
        id=L,
        session=S,
        from_=USER,
        to=A,
        kind=kind,
        content="hello",
        root_id=L,
        created_at="2026-01-02T03:04:05Z",
        authority=Authority(origin="user"),
    )


def test_a_users_words_are_shown_when_they_are_taken_up():
    now = ev.LetterAccepted(
        letter_id=L, letter=letter(), message_id=M, host_run_id=HostRunId("run_h")
    )
    assert kinds(now) == ["TEXT_MESSAGE_CHUNK", "letter"]
    chunk = project(recorded(now))[0]
    assert (chunk["role"], chunk["message_id"], chunk["run_id"]) == ("user", M, "run_h")
    later = now.model_copy(update={"queued": True})
    assert kinds(later) == ["letter"]
    echo = ev.UserEcho(message_id=M, host_run_id=HostRunId("run_h"), letter_id=L, text="hello")
    started = ev.RunStarted(run_id=R, agent=A, letter_ids=(L,), root_id=L, echo=(echo,))
    assert kinds(started) == ["TEXT_MESSAGE_CHUNK", "letter", "agent_status_update", "RUN_STARTED"]
    joined = ev.LettersJoined(run_id=R, agent=A, letter_ids=(L,), turn=1, echo=(echo,))
    assert kinds(joined) == ["TEXT_MESSAGE_CHUNK", "letter"]
    between = ev.LetterAccepted(letter_id=L, letter=letter(LetterKind.TASK_DELEGATE))
    assert kinds(between) == ["letter"]


def test_a_tool_call_starts_with_its_arguments_and_ends_with_its_result():
    call = CallId("call_1")
    planned = ev.ToolPlanned(
        run_id=R,
        agent=A,
        turn=0,
        call_id=call,
        name="send_message",
        arguments={"to": "writer", "odd": float("nan")},
        effect=Effect.IDEMPOTENT,
    )
    start, arguments = project(recorded(planned))
    assert (start["type"], start["tool_call_name"]) == ("TOOL_CALL_START", "send_message")
    assert from_json(arguments["delta"]) == {"to": "writer", "odd": None}
    broken = planned.model_copy(update={"arguments": None, "raw_arguments": "{oops"})
    assert project(recorded(broken))[1]["delta"] == "{oops"


@pytest.mark.parametrize(
    ("status", "shown", "reason"),
    [
        ("completed", "completed", None),
        ("failed", "failed", "failed"),
        ("interrupted", "interrupted", "user_requested"),
        ("refused", "failed", "refused"),
        ("unknown", "failed", "unknown"),
    ],
)
def test_the_end_of_a_tool_call_is_one_a_client_knows(
    status: ToolStatus, shown: str, reason: str | None
):
    finished = ev.ToolFinished(
        run_id=R,
        agent=A,
        call_id=CallId("c"),
        name="read",
        content="text",
        status=status,
        duration_ms=5,
        reason="user_requested" if status == "interrupted" else None,
    )
    end, result = project(recorded(finished))
    assert (end["type"], end["status"], end.get("reason")) == ("TOOL_CALL_END", shown, reason)
    assert (result["type"], result["message_id"]) == ("TOOL_CALL_RESULT", "tool-result:c")
    assert result["is_error"] is (status != "completed")


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("completed", ["letter", "RUN_FINISHED", "agent_status_update"]),
        ("aborted", ["letter", "RUN_FINISHED", "agent_status_update"]),
        ("failed", ["letter", "RUN_ERROR", "agent_status_update"]),
    ],
)
def test_a_run_ends_with_its_error_or_without(outcome: ev.RunOutcome, expected: list[str]):
    ended = ev.RunFinished(
        run_id=R, agent=A, outcome=outcome, letter_ids=(L,), turns=1, reason="why"
    )
    assert kinds(ended) == expected
    status = project(recorded(ended))[-1]
    assert status["status"] == ("error" if outcome == "failed" else "idle")


def test_an_attempt_that_is_retried_is_no_error_yet():
    ended = ev.RunFinished(
        run_id=R, agent=A, outcome="failed", letter_ids=(), turns=0, retry_at_ms=5
    )
    assert project(recorded(ended))[0]["terminal"] is False
    failed = ev.ModelAttemptFailed(
        run_id=R, agent=A, turn=0, attempt=1, attempts_max=5, delay_ms=100, reason="429"
    )
    retry = project(recorded(failed))[0]
    assert (retry["type"], retry["retry"]["maxAttempts"]) == ("agent_status_update", 5)


def finished(text: str, chunks: tuple[int, ...], **more: Any) -> ev.Recorded:
    return recorded(
        ev.TextFinished(
            run_id=R, agent=A, message_id=M, text=text, chunks=chunks, started_seq=3, **more
        )
    )


def test_a_text_is_shown_again_in_the_pieces_it_was_said_in():
    frames = history(finished("abcdef", (2, 1, 3)))
    assert [frame.get("delta") for frame in frames] == ["ab", "c", "def", None]
    assert [frame["_event_id"] for frame in frames] == [f"{M}:0", f"{M}:2", f"{M}:3", "s:7"]
    assert frames[0]["_ts"] == "2023-11-14T22:13:20.000Z"


def test_a_text_that_a_crash_cut_is_ended_and_superseded():
    end, notice = history(finished("", (), aborted=True))
    assert (end["type"], end["aborted"]) == ("TEXT_MESSAGE_END", True)
    assert notice["id"] == f"superseded:{M}"
    assert M in notice["message"]
    stopped = history(finished("half", (4,), aborted=True))
    assert [frame["type"] for frame in stopped] == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"]


@given(st.text(), st.lists(st.integers(0, 9), max_size=9))
def test_no_character_of_a_text_is_lost_whatever_its_boundaries_say(text: str, lengths: list[int]):
    whole = finished(text, tuple(lengths))
    event = whole.event
    assert isinstance(event, ev.TextFinished)
    assert "".join(piece.text for piece in pieces(whole, event)) == text


@given(st.text(), st.text(alphabet="abc.~-019"))
def test_a_frame_is_one_line_of_json_whatever_the_text(text: str, key: str):
    data = sse(key, {"delta": text}).data
    lines = data.decode().split("\n")
    assert lines[-2:] == ["", ""]
    assert len(lines) == (4 if key else 3)
    assert "\r" not in data.decode()
    assert from_json(lines[-3].removeprefix("data: ")) == {"delta": text}


@pytest.mark.parametrize("odd", ["msg", "msg_x", "msg_" + "u" * 26, "msg_" + "z" * 26])
def test_a_message_id_that_is_not_ours_has_no_time(odd: str):
    assert said_at(MessageId(odd)) is None
