"""Log lines that neither block nor drown."""

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress

import pytest

from brainpilot_rt.aiokit.logs import CalmHandler

pytestmark = pytest.mark.realtime


@contextmanager
def handler_on_a_pipe() -> Generator[tuple[CalmHandler, int]]:
    """A handler, and the end of the pipe where its lines come out.

    The pipe stays: the thread of a handler ends with the process, and would write into another's.
    """
    read, write = os.pipe()
    yield CalmHandler(write), read


def record(text: str, *args: object, at: float = 1000.0) -> logging.LogRecord:
    made = logging.LogRecord("a.b", logging.INFO, "f.py", 1, text, args, None)
    made.created = at
    return made


def lines_of(fd: int, handler: CalmHandler) -> list[str]:
    handler.flush()
    os.set_blocking(fd, False)
    with suppress(BlockingIOError):
        return os.read(fd, 1 << 20).decode().splitlines()
    return []


@pytest.mark.fault("E12")
def test_a_storm_of_one_kind_is_cut_and_the_rest_of_the_lines_are_not():
    with handler_on_a_pipe() as (handler, read):
        for number in range(10_000):
            handler.handle(record("again %d", number))
        handler.handle(record("something else"))
        handler.handle(record("again %d", -1, at=1011.0))
        lines = lines_of(read, handler)
    assert lines[0] == "again 0"
    assert len(lines) == 52
    assert lines[-2:] == ["something else", "again -1 (and 9950 lines like this were left out)"]
    assert handler.dropped == 0


@pytest.mark.fault("E11", "E12")
def test_lines_for_a_reader_that_does_not_read_are_counted_and_cost_nobody_any_time():
    with handler_on_a_pipe() as (handler, read):
        for number in range(10_000):
            handler.handle(record(f"{number} " + "x" * 1000))
        assert handler.dropped > 5_000
        text = ""
        while "dropped]" not in text:
            text += os.read(read, 1 << 20).decode()
    assert "log lines were dropped]" in text


@pytest.mark.fault("E11")
def test_a_reader_that_has_left_is_no_error():
    with handler_on_a_pipe() as (handler, read):
        os.close(os.dup(read))
        os.dup2(os.open(os.devnull, os.O_RDONLY), read)
        for number in range(10):
            handler.handle(record(f"{number}"))
        handler.flush()
        assert handler.dropped == 10


def test_a_line_that_cannot_be_made_says_so():
    with handler_on_a_pipe() as (handler, read):
        handler.handle(record("%d", "no number"))
        assert "could not be made" in lines_of(read, handler)[0]
