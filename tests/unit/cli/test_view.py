"""What a person at a terminal sees of a team at work."""

import io
from pathlib import Path
from typing import Any

import pytest

from brainpilot_rt.cli.client import Frame
from brainpilot_rt.cli.terminal import Screen
from brainpilot_rt.cli.view import TeamView


class Seen:
    """A view and everything it has shown."""

    def __init__(self, mailbox_dir: Path | None = None, width: int = 0) -> None:
        self._err = io.StringIO()
        self.view = TeamView(Screen(err=self._err, width=width), mailbox_dir)

    def show(self, *frames: Frame) -> None:
        for frame in frames:
            self.view.show(frame)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._err.getvalue().splitlines()]


def text(kind: str, message_id: str, agent: str, delta: str = "", **more: Any) -> Frame:
    frame = {"type": f"TEXT_MESSAGE_{kind}", "message_id": message_id, "agent_name": agent}
    return frame | {"delta": delta} | more


def letter(op: str = "accepted", **fields: Any) -> Frame:
    body = {"id": "01a", "from": "principal", "to": "librarian", "kind": "task_delegate"}
    body |= {"content": "find\nit"} | fields
    value = {"op": op, "letter": body}
    return {"type": "CUSTOM", "name": "letter", "session_id": "s", "value": value}


def test_text_appears_as_it_comes() -> None:
    seen = Seen()
    seen.show(text("START", "m", "principal"), text("CONTENT", "m", "principal", "Look"))
    assert seen.lines == ["principal    Look"]
    seen.show(text("CONTENT", "m", "principal", "ing.\nSo."), text("END", "m", "principal"))
    assert seen.lines == ["principal    Looking.", "             So."]


def test_on_a_terminal_a_text_goes_on_below_between_two_words() -> None:
    seen = Seen(width=24)
    seen.show(text("START", "m", "writer"))
    for piece in ("one two", " three fo", "ur five\n灯塔看守人数了海鸥"):
        seen.show(text("CONTENT", "m", "writer", piece))
    assert seen.lines == [
        "writer       one two",
        "             three four",
        "             five",
        "             灯塔看守人",
        "             数了海鸥",
    ]


def test_a_second_voice_waits_until_the_first_has_ended() -> None:
    seen = Seen()
    seen.show(
        text("START", "a", "principal"),
        text("START", "b", "writer"),
        text("CONTENT", "a", "principal", "one "),
        text("CONTENT", "b", "writer", "other"),
        text("CONTENT", "a", "principal", "two"),
        text("END", "a", "principal"),
        text("END", "b", "writer"),
    )
    assert seen.lines == ["principal    one two", "writer       other"]


def test_news_breaks_the_line_and_the_text_goes_on_below() -> None:
    seen = Seen()
    seen.show(text("START", "a", "principal"), text("CONTENT", "a", "principal", "half "))
    seen.show(letter(), text("CONTENT", "a", "principal", "more"))
    assert seen.lines == [
        "principal    half",
        "principal    -> librarian task_delegate find it",
        "principal    more",
    ]
    assert not seen.view.speech.said_last("a")


def test_a_text_without_interruption_was_said_last() -> None:
    seen = Seen()
    seen.show(
        text("START", "a", "principal"),
        text("CONTENT", "a", "principal", "all"),
        text("END", "a", "principal"),
    )
    assert seen.view.speech.said_last("a")


def test_a_text_cut_off_says_so() -> None:
    seen = Seen()
    seen.show(
        text("START", "a", "principal"),
        text("CONTENT", "a", "principal", "hal"),
        text("END", "a", "principal", aborted=True),
    )
    assert seen.lines == ["principal    hal", "principal    (cut off here)"]


def test_a_letter_is_shown_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "live" / "s" / "librarian" / "cur"
    home.mkdir(parents=True)
    (home / "01a.json").write_text("{}")
    seen = Seen(tmp_path / "live")
    seen.show(letter())
    assert seen.lines[-1].strip() == "live/s/librarian/cur/01a.json"


def test_a_tool_call_shows_its_arguments_and_its_result() -> None:
    seen = Seen()
    call = {"tool_call_id": "c", "agent_name": "librarian"}
    seen.show(
        {"type": "TOOL_CALL_START", "tool_call_name": "search"} | call,
        {"type": "TOOL_CALL_ARGS", "delta": '{"query": "light"}'} | call,
        {"type": "TOOL_CALL_RESULT", "content": "### 1. a.md:1-2\n1| x"} | call,
    )
    assert seen.lines == [
        'librarian    search query="light"',
        "librarian      ### 1. a.md:1-2 (and 1 more lines)",
    ]


def test_a_failed_call_and_a_failed_run_are_shown() -> None:
    seen = Seen()
    call = {"tool_call_id": "c", "agent_name": "writer"}
    seen.show(
        {"type": "TOOL_CALL_START", "tool_call_name": "read"} | call,
        {"type": "TOOL_CALL_RESULT", "content": "no such file", "is_error": True} | call,
        {"type": "RUN_ERROR", "agent_name": "writer", "message": "401", "terminal": True},
    )
    assert seen.lines == ["writer       read failed: no such file", "writer       failed: 401"]


def test_a_hostile_agent_cannot_steer_the_terminal() -> None:
    seen = Seen()
    seen.show(letter(content="\x1b[2J\u202egnp", to="\x1b[31mlibrarian"))
    assert "\x1b" not in "".join(seen.lines)
    assert "\u202e" not in "".join(seen.lines)


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"type": "CUSTOM"},
        {"type": "CUSTOM", "name": "letter", "value": None},
        {"type": "CUSTOM", "name": "a_later_version", "value": {}},
        {"type": "TEXT_MESSAGE_CONTENT", "message_id": "never begun", "delta": "x"},
        {"type": "TEXT_MESSAGE_END", "message_id": "never begun"},
    ],
)
def test_a_frame_that_says_nothing_is_not_shown(frame: Frame) -> None:
    seen = Seen()
    seen.show(frame)
    assert seen.lines == []


def test_a_failed_attempt_says_why_and_when_the_next_comes() -> None:
    seen = Seen()
    retry = {"attempt": 1, "maxAttempts": 5, "delayMs": 2100, "reason": "overloaded"}
    status = {"type": "agent_status_update", "agent_name": "writer", "status": "running"}
    seen.show(status, status | {"retry": retry})
    assert seen.lines == ["writer       overloaded; attempt 1 of 5 failed, the next in 2 s"]
