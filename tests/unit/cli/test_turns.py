"""One host turn from a terminal: what is asked, what is printed, how questions are answered."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from typing_extensions import override

from brainpilot_rt.cli import turns
from brainpilot_rt.cli.client import Client, Endpoint, Frame, NoDaemon, Refused
from brainpilot_rt.cli.terminal import Screen
from brainpilot_rt.cli.view import TeamView

ASKED = turns.Asked(session="s", host_run_id="h", after=7)
CITATION = {"path": "a.md", "start_line": 1, "end_line": 2, "quote": "it rains"}


class Fake(Client):
    """Answers from a table, and remembers what was sent."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(lambda: Endpoint("http://127.0.0.1:1", "secret"))
        self._answers = answers
        self.sent: list[tuple[str, object]] = []

    @override
    def call(self, method: str, path: str, body: object = None) -> Any:
        self.sent.append((path, body))
        answer = self._answers[f"{method.lower()}_{path.rsplit('/', 1)[-1]}"]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Tty(io.StringIO):
    @override
    def isatty(self) -> bool:
        return True


def finished(host_run_id: str = "h", **more: Any) -> Frame:
    value = {"op": "finished", "host_run_id": host_run_id, "outcome": "completed"}
    value |= {"answer": "It rains.", "citations": [CITATION], "message_id": "m", "letters": 5}
    return {"type": "CUSTOM", "name": "host_turn", "value": value | more}


def said(text: str) -> list[Frame]:
    frame = {"message_id": "m", "agent_name": "principal", "delta": text}
    kinds = ("START", "CONTENT", "END")
    return [{"type": f"TEXT_MESSAGE_{kind}"} | frame for kind in kinds]


def watch(frames: list[Frame], screen: Screen) -> tuple[turns.HostTurn, TeamView]:
    view = TeamView(screen, None)
    return turns.watch(iter(frames), ASKED, view, lambda _: None), view


def test_a_question_is_posted_and_followed_from_before_it() -> None:
    client = Fake(get_state={"seq": 7}, post_messages={"accepted": True, "runId": "h"})
    assert turns.ask(client, "s", "why?", "writer") == ASKED
    assert client.sent[1] == ("/sessions/s/messages", {"content": "why?", "agent": "writer"})


def test_a_message_the_daemon_does_not_take_is_an_error() -> None:
    client = Fake(get_state={"seq": 0}, post_messages={"accepted": False, "reason": "memory"})
    with pytest.raises(Refused, match="memory"):
        turns.ask(client, "s", "why?")


def test_only_the_end_of_ones_own_host_turn_ends_the_wait() -> None:
    turn, _ = watch([finished("other"), finished(cost_usd="0.25")], Screen(err=io.StringIO()))
    assert (turn.outcome, turn.cost_usd, turn.letters) == ("completed", 0.25, 5)


def test_a_stream_that_ends_early_is_no_answer() -> None:
    with pytest.raises(NoDaemon):
        watch([finished("other")], Screen(err=io.StringIO()))


def test_the_result_names_what_a_program_needs_and_an_unknown_price_is_null() -> None:
    turn, _ = watch([finished(cost_usd=None)], Screen(err=io.StringIO()))
    assert turn.as_json("s", "http://127.0.0.1:1") == {
        "session": "s",
        "answer": "It rains.",
        "citations": [CITATION],
        "cost_usd": None,
        "letters": 5,
        "runs": 0,
        "url": "http://127.0.0.1:1",
    }


@pytest.mark.parametrize(("kind", "times"), [(io.StringIO, 1), (Tty, 0)])
def test_an_answer_just_streamed_to_a_terminal_is_not_printed_again(
    kind: type[io.StringIO], times: int
) -> None:
    screen = Screen(out=kind(), err=kind())
    turn, view = watch([*said("It rains."), finished()], screen)
    turns.print_answer(screen, view, turn)
    assert isinstance(screen.out, io.StringIO)
    printed = screen.out.getvalue()
    assert printed.count("It rains.") == times
    assert 'a.md:1-2  "it rains"' in printed


def test_citations_that_did_not_hold_are_told_apart() -> None:
    screen = Screen(out=io.StringIO(), err=io.StringIO())
    answer = 'It rains. [a.md:1-2 "it rains"] It snows. [b.md:3 "it snows"]'
    turn, view = watch([finished(answer=answer)], screen)
    turns.print_answer(screen, view, turn)
    assert isinstance(screen.out, io.StringIO)
    lines = screen.out.getvalue().splitlines()
    assert lines[-2:] == ["Not found in the files as cited:", '  b.md:3-3  "it snows"']
    assert lines.count('  a.md:1-2  "it rains"') == 1


def question(**more: Any) -> Frame:
    frame = {"type": "user_input_request", "request_id": "r", "agent": "principal"}
    return frame | {"question": "Which one?", "options": ["red", "blue"]} | more


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the user types, in order."""
    words: list[str] = []

    def prompt(*_: object, **__: object) -> str:
        return words.pop(0)

    monkeypatch.setattr("click.prompt", prompt)
    yield words
    assert not words


@pytest.mark.parametrize(
    ("word", "answer"), [("2", "blue"), ("blue", "blue"), ("3", "3"), (" green ", "green")]
)
def test_a_question_is_answered_at_the_terminal(typed: list[str], word: str, answer: str) -> None:
    typed.append(word)
    client = Fake(post_messages={"status": "ok"})
    screen = Screen(err=io.StringIO())
    turns.answerer(client, ASKED, screen, may_ask=True)(question())
    body = {"type": "user_input_response", "session_id": "s", "request_id": "r", "answer": answer}
    assert client.sent == [("/sessions/s/messages", body)]


def test_an_answer_that_came_too_late_is_said(typed: list[str]) -> None:
    typed.append("red")
    client = Fake(post_messages=Refused(409, "stale", "the question is closed"))
    screen = Screen(err=io.StringIO())
    turns.answerer(client, ASKED, screen, may_ask=True)(question())
    assert isinstance(screen.err, io.StringIO)
    assert "the question is closed" in screen.err.getvalue()


def test_without_a_terminal_the_way_to_answer_is_told_and_the_token_is_not() -> None:
    client = Fake()
    screen = Screen(err=io.StringIO())
    turns.answerer(client, ASKED, screen, may_ask=False)(question())
    assert isinstance(screen.err, io.StringIO)
    told = screen.err.getvalue()
    assert "curl" in told
    assert '"request_id": "r"' in told
    assert "secret" not in told
    assert client.sent == []
