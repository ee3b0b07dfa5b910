from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.errors import FatalFault
from brainpilot_rt.models.sse import SseEvent, SseParser

STREAM = (
    "\ufeffevent: greeting\ndata: h\u00e9llo\ndata: w\u00f6rld\n\n: comment\nid: 7\nretry: 5\n\n"
    "data:no space\r\n\r\ndata: cr\r\rdata\n\nunknown: x\ndata: \u6c34\n\n"
).encode()
EVENTS = [
    SseEvent("greeting", "h\u00e9llo\nw\u00f6rld"),
    SseEvent("message", "no space"),
    SseEvent("message", "cr"),
    SseEvent("message", ""),
    SseEvent("message", "\u6c34"),
]


def test_fields_comments_and_line_ends_follow_the_format() -> None:
    assert SseParser().feed(STREAM) == EVENTS


@pytest.mark.fault("G9")
@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=12))
def test_chunks_may_be_cut_anywhere(cuts: list[int]) -> None:
    parser = SseParser()
    edges = [0, *sorted(cuts), len(STREAM)]
    found = [event for low, high in pairwise(edges) for event in parser.feed(STREAM[low:high])]
    assert found == EVENTS


def test_an_event_without_its_blank_line_is_not_given() -> None:
    assert SseParser().feed(b"data: half\n") == []


def test_bytes_that_are_no_utf8_become_replacement_characters() -> None:
    assert SseParser().feed(b"data: a\xffb\n\n") == [SseEvent("message", "a\ufffdb")]


@pytest.mark.fault("G9")
def test_a_line_over_the_limit_is_a_fault_before_it_ends() -> None:
    parser = SseParser(bytes_max=100)
    parser.feed(b"data: " + b"x" * 90)
    with pytest.raises(FatalFault, match="more than 100 bytes") as caught:
        parser.feed(b"x" * 10)
    assert caught.value.code == "protocol"


def test_an_event_of_many_lines_over_the_limit_is_a_fault() -> None:
    with pytest.raises(FatalFault, match="more than 100 bytes"):
        SseParser(bytes_max=100).feed(b"data: 0123456789\n" * 10)


@pytest.mark.fault("G9")
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_garbage_never_breaks_the_parser(first: bytes, second: bytes) -> None:
    parser = SseParser()
    parser.feed(first)
    parser.feed(second)
