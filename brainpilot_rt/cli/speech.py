"""Several agents, one terminal: who speaks while text streams, and where a line of news goes.

The first text that begins has the floor and is shown as it comes, token by token. Texts that begin
meanwhile are kept and shown whole when they end. A line of news breaks the streaming line; the text
goes on below it under its speaker's name. No cursor movement, so a file gets the same as a screen;
only where lines are as wide as a terminal does a text go on below, between two words.
"""

import re
import unicodedata
from typing import Final

from brainpilot_rt.cli.terminal import PALETTE, Screen, clean

NAME_WIDTH = 12
_MARGIN: Final = NAME_WIDTH + 1
_WIDE: Final = "\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\uff00-\uff60"
_WORD: Final = re.compile(rf"\s+|[{_WIDE}]|[^\s{_WIDE}]+")
"""White space, a sign of a script that breaks anywhere, or a word."""


class Speech:
    """What is being said on one screen."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._speakers: dict[str, str] = {}
        self._waiting: dict[str, list[str]] = {}
        self._floor: str | None = None
        self._mid_line = False
        self._indent = ""
        self._column = 0
        self._may_wrap = False
        self._colours: dict[str, str] = {}
        self._whole: str | None = None

    def begin(self, message_id: str, agent: str) -> None:
        """A text begins."""
        self._speakers[message_id] = agent
        self._waiting[message_id] = []

    def piece(self, message_id: str, text: str) -> None:
        """A piece of a text: shown now if its speaker has the floor."""
        if message_id not in self._speakers:
            return
        if self._floor is None and text.strip():
            self._floor = self._whole = message_id
        if self._floor == message_id:
            self._write(message_id, text)
        else:
            self._waiting[message_id].append(text)

    def end(self, message_id: str, note: str = "") -> None:
        """A text is complete (or cut: then `note` says so)."""
        text = "".join(self._waiting.pop(message_id, []))
        if self._floor == message_id:
            self._break()
            self._floor = None
        elif text.strip():
            self._break()
            self._write(message_id, text)
            self._break()
        agent = self._speakers.pop(message_id, None)
        if note and agent is not None:
            self.news(agent, note)

    def news(self, agent: str, line: str) -> None:
        """Print one line about an agent; `line` is already clean."""
        self._break()
        self._whole = None
        self._screen.say(f"{self.name(agent)}{line}")

    def plain(self, line: str = "") -> None:
        """Print one line about nobody; `line` is already clean."""
        self._break()
        self._screen.say(line)

    def name(self, agent: str) -> str:
        """The column a line begins with; one colour per agent."""
        shown = clean(agent)
        colour = self._colours.setdefault(agent, PALETTE[len(self._colours) % len(PALETTE)])
        return self._screen.paint(f"{shown:<{NAME_WIDTH}}", colour, bold=True) + " "

    def said_last(self, message_id: str | None) -> bool:
        """True when this text was the last thing shown, in one piece."""
        return message_id is not None and self._whole == message_id

    def _write(self, message_id: str, text: str) -> None:
        if not self._mid_line:
            text = text.lstrip()
            self._screen.say(self.name(self._speakers[message_id]), newline=False)
            self._column, self._may_wrap = _MARGIN, False
        self._mid_line = True
        for number, line in enumerate(clean(text).split("\n")):
            if number:
                self._new_line()
            self._put(line)

    def _put(self, line: str) -> None:
        """Print a piece of a line; a word that does not fit any more begins the next one."""
        width = self._screen.width
        for word in _WORD.findall(line) if width else filter(None, [line]):
            cells = sum(1 + (unicodedata.east_asian_width(sign) in "WF") for sign in word)
            # A word that goes on from the piece before is left to the terminal.
            if self._may_wrap and not word.isspace() and self._column + cells > width > 0:
                self._new_line()
            self._screen.say(self._indent + word, newline=False)
            self._indent = ""
            self._column += cells
            self._may_wrap = self._column > _MARGIN and (word.isspace() or cells > len(word))

    def _new_line(self) -> None:
        self._screen.say()
        self._indent, self._column, self._may_wrap = " " * _MARGIN, _MARGIN, False

    def _break(self) -> None:
        if self._mid_line:
            self._screen.say()
            self._mid_line, self._indent = False, ""
