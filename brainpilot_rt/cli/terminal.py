"""What reaches the terminal: data on stdout, talk on stderr, and nothing that steers the terminal.

Text of agents, documents and other processes is not trusted: control characters (which move the
cursor, change the title or answer for the user) and bidirectional overrides (which make text read
otherwise than it is) are shown as escapes, never sent.

Colour follows the usual rules: `NO_COLOR` wins, then `FORCE_COLOR`, then whether the stream is a
terminal. Click reads these two variables by the option's declaration, so no module reads the
environment itself.
"""

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

import click

_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
LINE_CHARS: Final = 80
PALETTE: Final = ("cyan", "yellow", "green", "magenta", "blue", "bright_cyan", "bright_yellow")


def clean(text: str) -> str:
    r"""Make text safe to show: everything that is not plain text becomes `\uNNNN`."""
    return _UNSAFE.sub(_escape, text.replace("\r\n", "\n"))


def clean_line(text: str, width: int = 120) -> str:
    """Make text safe and one line, cut with an ellipsis when it is longer than `width`."""
    line = clean(" ".join(text.split()))
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def near(path: Path) -> str:
    """Write a path as seen from here where it lies below here; safe to show."""
    here = Path.cwd()
    return clean(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def wants_colour(stream: TextIO, no_color: str | None, force_color: str | None) -> bool:
    """Decide colour for one stream by the usual rules."""
    if no_color:
        return False
    if force_color:
        return force_color != "0"
    return stream.isatty()


def columns(stream: TextIO) -> int:
    """How wide the terminal behind a stream is; 0 when there is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0


def line_chars() -> int:
    """How long a line of a table may be: as wide as the terminal, 80 where there is none."""
    return max(LINE_CHARS, columns(sys.stdout))


def fit(row: str) -> str:
    """A row of a table, already clean, cut with an ellipsis where the line ends."""
    most = line_chars()
    return row.rstrip() if len(row.rstrip()) <= most else row[: most - 1].rstrip() + "…"


def told(text: str, indent: int = 2) -> str:
    """Words of others as one line of a table, indented and cut where the line ends."""
    return " " * indent + clean_line(text, line_chars() - indent)


@dataclass(slots=True)
class Screen:
    """Two streams and how they are spoken to. The only place that prints for the live commands."""

    colour: bool = False
    quiet: bool = False
    width: int = 0
    """Columns of the terminal that talk goes to; 0 where it goes elsewhere."""
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)

    def data(self, line: str) -> None:
        """Print one line of data."""
        click.echo(line, file=self.out, color=False)

    def say(self, text: str = "", *, newline: bool = True) -> None:
        """Print talk, at once; nothing when quiet."""
        if not self.quiet:
            click.echo(text, file=self.err, nl=newline, color=self.colour)

    def paint(
        self, text: str, colour: str | None = None, *, bold: bool = False, dim: bool = False
    ) -> str:
        """Style text that is already clean; unchanged where there is no colour."""
        if not self.colour:
            return text
        return click.style(text, fg=colour, bold=bold or None, dim=dim or None)

    def shows_answer(self) -> bool:
        """True when stdout is the same kind of place as stderr: a person watches both."""
        return not self.quiet and self.out.isatty() and self.err.isatty()
