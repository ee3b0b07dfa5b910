"""Nothing that steers a terminal passes, and colour follows the usual rules."""

import io
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from brainpilot_rt.cli.terminal import Screen, clean, clean_line, wants_colour

DIRECTIONS = {"LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


class Tty(io.StringIO):
    @override
    def isatty(self) -> bool:
        return True


@given(st.text())
def test_clean_text_holds_no_control_and_no_direction_character(text: str) -> None:
    steering = {"Cc", "Cs", "Zl", "Zp"}
    shown = set(clean(text)) - set("\n\t")
    assert not {one for one in shown if unicodedata.category(one) in steering}
    assert not {one for one in shown if unicodedata.bidirectional(one) in DIRECTIONS}


def test_an_escape_sequence_is_shown_not_sent() -> None:
    assert clean("\x1b]0;owned\x07 \u202etxt.exe") == "\\u001b]0;owned\\u0007 \\u202etxt.exe"


def test_chinese_text_and_tabs_stay() -> None:
    assert clean("海安号\t平安\n") == "海安号\t平安\n"


def test_a_long_line_is_cut_with_an_ellipsis() -> None:
    assert clean_line("a  b\nc" + "d" * 50, 10) == "a b cdddd…"


def test_no_color_wins_over_force_color_and_force_color_over_a_file() -> None:
    assert not wants_colour(Tty(), "1", "1")
    assert wants_colour(io.StringIO(), None, "1")
    assert not wants_colour(Tty(), None, "0")
    assert wants_colour(Tty(), None, None)
    assert not wants_colour(io.StringIO(), None, None)


def test_talk_goes_to_stderr_and_is_left_out_when_quiet() -> None:
    out, err = io.StringIO(), io.StringIO()
    Screen(out=out, err=err).say("hello")
    Screen(out=out, err=err, quiet=True).say("never")
    Screen(out=out, err=err, quiet=True).data("data")
    assert (out.getvalue(), err.getvalue()) == ("data\n", "hello\n")
