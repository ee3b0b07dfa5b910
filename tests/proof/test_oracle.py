"""A judge that blames nothing proves nothing: what it must see in a log and in the books."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proof.oracle import Oracle
from proof.workload import Json, Op, new_home

SESSION = "s1"


def letter(name: str, token: str) -> Json:
    return {
        "type": "letter_accepted",
        "letter": {"id": name, "content": f"{token} hello", "authority": {"origin": "user"}},
    }


def consumed(*names: str) -> Json:
    return {"type": "letter_consumed", "letter_ids": list(names)}


def bash(call: str, token: str, status: str) -> list[Json]:
    planned = {
        "type": "tool_planned",
        "call_id": call,
        "name": "bash",
        "arguments": f"echo {token}",
    }
    return [planned, {"type": "tool_finished", "call_id": call, "status": status}]


class Case:
    """A log written by hand, and its judge."""

    def __init__(self, root: Path) -> None:
        home, self.books = new_home(root / "h", "x")
        home.data_dir.mkdir()
        self.oracle = Oracle(home, self.books)
        self._pos = 0
        self._write("CREATE TABLE events (session, seq, pos, at_ms, type, payload)")

    def log(self, *events: Json, skip: int = 0) -> None:
        """Add events of the session; `skip` leaves a gap before them."""
        self._pos += skip
        for event in events:
            self._pos += 1
            row = (SESSION, self._pos, self._pos, 0, event["type"], json.dumps(event))
            self._write("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", *row)

    def promise(self, token: str, letter_id: str) -> None:
        """Note that a message was answered."""
        op = Op("message", token, "POST", "", {}, SESSION, token, {"letterId": letter_id})
        self.books.ops[token] = op

    def effects(self, *tokens: str) -> None:
        """What irreversible calls left."""
        self.books.effects.write_text("".join(f"{one}\n" for one in tokens), encoding="ascii")

    def _write(self, sql: str, *values: object) -> None:
        with closing(sqlite3.connect(self.oracle.log)) as connection:
            connection.execute(sql, values)
            connection.commit()


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_log_that_keeps_its_promises_is_not_blamed(case: Case) -> None:
    case.log(letter("a", "tok-x-1"), consumed("a"), *bash("c", "tok-x-1", "completed"))
    case.promise("tok-x-1", "a")
    case.effects("tok-x-1")
    assert case.oracle.after_death() == []
    case.log(letter("b", "tok-x-2"))
    assert case.oracle.after_death() == []


def test_an_acknowledged_message_that_is_not_in_the_log_is_blamed(case: Case) -> None:
    case.promise("tok-x-1", "a")
    assert len(case.oracle.after_death()) == 1


def test_a_message_that_became_two_letters_is_blamed(case: Case) -> None:
    case.log(letter("a", "tok-x-1"), letter("b", "tok-x-1"))
    assert case.oracle.after_death() == ["tok-x-1 became a and b"]


def test_a_letter_consumed_twice_is_blamed(case: Case) -> None:
    case.log(letter("a", "tok-x-1"), consumed("a"), consumed("a"))
    assert case.oracle.after_death() == ["letter a ended a second time, by letter_consumed"]


def test_a_gap_is_blamed_and_so_is_a_log_that_went_back(case: Case) -> None:
    case.log(letter("a", "tok-x-1"))
    case.log(consumed("a"), skip=1)
    assert case.oracle.after_death() == ["s1: 3 follows 1"]
    case.oracle.pos = 9
    assert case.oracle.after_death() == ["the log went back from 9 to 3"]


def test_an_effect_that_was_repeated_or_never_was_is_blamed(case: Case) -> None:
    case.log(*bash("c", "tok-x-1", "unknown"), *bash("d", "tok-x-2", "completed"))
    case.effects("tok-x-1", "tok-x-1")
    assert case.oracle.after_death() == [
        "tok-x-1 took effect 2 times",
        "tok-x-2 is completed in the log and had no effect",
    ]


def test_a_frame_that_was_shown_before_it_was_in_the_log_is_blamed(case: Case) -> None:
    case.books.shown[SESSION] = 2
    case.log(letter("a", "tok-x-1"))
    assert len(case.oracle.after_death()) == 1
