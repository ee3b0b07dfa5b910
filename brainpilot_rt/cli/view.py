"""The team at work, as lines of a terminal: who writes to whom, which tools run, what is said.

One view shows the frames of one session (or of all). It decides nothing and keeps only what it
needs to name things: the calls that run and the texts that stream.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from brainpilot_rt.cli.client import Frame, as_object
from brainpilot_rt.cli.governed import NEWS
from brainpilot_rt.cli.speech import NAME_WIDTH, Speech
from brainpilot_rt.cli.terminal import Screen, clean, clean_line, near

LETTER_TOOLS: Final = frozenset({"send_message"})
"""Their effect is a letter, which is shown itself."""
FOLDERS: Final = ("new", "cur", "done")
LEVELS: Final = {"info": "cyan", "warning": "yellow", "error": "red", "fatal": "red"}


class TeamView:
    """Shows frames as they come."""

    def __init__(self, screen: Screen, mailbox_dir: Path | None) -> None:
        self.speech = Speech(screen)
        self._screen = screen
        self._mailbox_dir = mailbox_dir
        self._calls: dict[str, str] = {}
        self._kinds: dict[str, Callable[[Frame], None]] = {
            "TEXT_MESSAGE_CHUNK": self._user,
            "TEXT_MESSAGE_START": self._text_begins,
            "TEXT_MESSAGE_CONTENT": self._text_piece,
            "TEXT_MESSAGE_END": self._text_ends,
            "REASONING_MESSAGE_START": self._thinks,
            "TOOL_CALL_START": self._call_begins,
            "TOOL_CALL_ARGS": self._call_arguments,
            "TOOL_CALL_RESULT": self._call_result,
            "RUN_ERROR": self._run_failed,
            "agent_status_update": self._status,
            "system_message": self._notice,
        }
        self._names: dict[str, Callable[[str, dict[str, Any]], None]] = {
            "letter": self._letter,
            "model_stalled": self._stalled,
            "task_reminded": self._reminded,
        }

    def show(self, frame: Frame) -> None:
        """Show one frame, or nothing if it is not for people."""
        kind = frame.get("type")
        if kind == "CUSTOM":
            self._custom(str(frame.get("name")), frame)
            return
        handler = self._kinds.get(str(kind))
        if handler is not None:
            handler(frame)

    def _custom(self, name: str, frame: Frame) -> None:
        value = as_object(frame.get("value"))
        if name in self._names:
            self._names[name](str(frame.get("session_id") or ""), value)
        for line in NEWS[name](value) if name in NEWS else ():
            dim = line.colour is None
            shown = self._screen.paint(
                clean_line(line.text, 300), line.colour, bold=line.bold, dim=dim
            )
            self.speech.news(str(value.get("agent", "")), shown)

    def _dim(self, text: str) -> str:
        return self._screen.paint(text, dim=True)

    def _user(self, frame: Frame) -> None:
        if frame.get("role") == "user":
            said = clean_line(str(frame.get("delta", "")), 400)
            self.speech.news("you", self._screen.paint(said, bold=True))

    def _text_begins(self, frame: Frame) -> None:
        self.speech.begin(str(frame["message_id"]), _agent(frame))

    def _text_piece(self, frame: Frame) -> None:
        self.speech.piece(str(frame["message_id"]), str(frame.get("delta", "")))

    def _text_ends(self, frame: Frame) -> None:
        note = self._screen.paint("(cut off here)", "yellow") if frame.get("aborted") else ""
        self.speech.end(str(frame["message_id"]), note)

    def _thinks(self, frame: Frame) -> None:
        self.speech.news(_agent(frame), self._dim("is thinking"))

    def _call_begins(self, frame: Frame) -> None:
        self._calls[str(frame["tool_call_id"])] = str(frame.get("tool_call_name"))

    def _call_arguments(self, frame: Frame) -> None:
        tool = self._calls.get(str(frame.get("tool_call_id")), "")
        if tool not in LETTER_TOOLS:
            said = clean_line(_arguments(str(frame.get("delta", ""))), 90)
            self.speech.news(_agent(frame), f"{clean(tool)} {self._dim(said)}")

    def _call_result(self, frame: Frame) -> None:
        tool = self._calls.pop(str(frame.get("tool_call_id")), "")
        content = str(frame.get("content", ""))
        if frame.get("is_error"):
            failed = self._screen.paint(f"{clean(tool)} failed:", "red")
            self.speech.news(_agent(frame), f"{failed} {clean_line(content)}")
        elif tool not in LETTER_TOOLS:
            lines = content.strip().splitlines() or ["nothing"]
            more = f" (and {len(lines) - 1} more lines)" if len(lines) > 1 else ""
            self.speech.news(_agent(frame), self._dim(f"  {clean_line(lines[0], 70)}{more}"))

    def _run_failed(self, frame: Frame) -> None:
        again = "" if frame.get("terminal", True) else " (will be tried again)"
        message = clean_line(str(frame.get("message", "")), 300)
        self.speech.news(_agent(frame), self._screen.paint(f"failed: {message}{again}", "red"))

    def _status(self, frame: Frame) -> None:
        retry = as_object(frame.get("retry"))
        if retry:
            pause = int(retry.get("delayMs") or 0) / 1000
            attempt = f"attempt {retry.get('attempt')} of {retry.get('maxAttempts')} failed"
            line = f"{retry.get('reason')}; {attempt}, the next in {pause:.0f} s"
            self.speech.news(_agent(frame), self._screen.paint(clean_line(line, 300), "yellow"))

    def _notice(self, frame: Frame) -> None:
        colour = LEVELS.get(str(frame.get("level")), "cyan")
        message = clean_line(str(frame.get("message", "")), 300)
        self.speech.news(str(frame.get("agent") or "daemon"), self._screen.paint(message, colour))

    def _stalled(self, _session: str, value: dict[str, Any]) -> None:
        line = f"the model has been silent for {value.get('silent_s')} s; still waiting"
        self.speech.news(str(value.get("agent", "")), self._dim(line))

    def _reminded(self, _session: str, value: dict[str, Any]) -> None:
        line = f"is reminded of task {value.get('task_id')}"
        self.speech.news(str(value.get("agent", "")), self._dim(clean_line(line)))

    def _letter(self, session: str, value: dict[str, Any]) -> None:
        op = value.get("op")
        if op in {"accepted", "received"}:
            self._mail(session, as_object(value.get("letter")))
        elif op == "refused":
            line = f"{value.get('file')} moved to bad/: {value.get('reason')}"
            shown = self._screen.paint(clean_line(line), "yellow")
            self.speech.news(str(value.get("agent", "")), shown)
        elif op in {"dead", "expired"}:
            line = f"letter {value.get('letter_id')} {op}: {value.get('reason', '')}"
            self.speech.news("mail", self._screen.paint(clean_line(line), "yellow"))

    def _mail(self, session: str, letter: dict[str, Any]) -> None:
        to, identity = str(letter.get("to")), str(letter.get("id"))
        sender = str(letter.get("from"))
        if letter.get("kind") != "user_message" or sender != "user":
            kind = clean(str(letter.get("kind")))
            said = clean_line(str(letter.get("content", "")), 64)
            arrow = self._screen.paint(f"-> {clean(to)}", bold=True)
            self.speech.news(sender, f"{arrow} {kind} {self._dim(said)}")
        lies = self._where(session, to, identity)
        if lies is not None:
            self.speech.plain(" " * (NAME_WIDTH + 1) + self._dim(lies))

    def _where(self, session: str, agent: str, letter_id: str) -> str | None:
        """The letter's file as it lies on this disk; before it lies there, where it will."""
        if self._mailbox_dir is None:
            return None
        home = self._mailbox_dir / session / agent
        name = f"{letter_id}.json"
        folder = next((one for one in FOLDERS if (home / one / name).exists()), "new")
        return near(home / folder / name)


def _agent(frame: Frame) -> str:
    return str(frame.get("agent_name") or frame.get("agent") or "")


def _arguments(raw: str) -> str:
    try:
        arguments = as_object(json.loads(raw))
    except ValueError:
        return raw
    return "  ".join(f"{name}={_short(value)}" for name, value in arguments.items())


def _short(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
