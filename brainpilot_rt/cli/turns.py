"""One host turn from a terminal: ask, watch until it is done, print the answer and what it cost."""

import http.client
import json
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import click

from brainpilot_rt.cli.client import (
    Client,
    Frame,
    NoDaemon,
    Refused,
    as_object,
    follow,
    session_path,
)
from brainpilot_rt.cli.terminal import Screen, clean, clean_line
from brainpilot_rt.cli.view import TeamView
from brainpilot_rt.domain.citations import parse

COMPLETED: Final = "completed"


@dataclass(frozen=True, slots=True)
class HostTurn:
    """How a host turn ended. `cost_usd` None: the price of a model is not known."""

    outcome: str
    answer: str
    message_id: str | None
    citations: tuple[dict[str, Any], ...]
    cost_usd: float | None
    letters: int
    runs: int

    def as_json(self, session: str, url: str) -> dict[str, Any]:
        """The object that `up --once --json` and `ask --json` print."""
        return {
            "session": session,
            "answer": self.answer,
            "citations": [
                {name: one.get(name) for name in ("path", "start_line", "end_line", "quote")}
                for one in self.citations
            ],
            "cost_usd": self.cost_usd,
            "letters": self.letters,
            "runs": self.runs,
            "url": url,
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """A question the daemon has accepted. `after`: the events before it."""

    session: str
    host_run_id: str
    after: int


def ask(client: Client, session: str, text: str, agent: str | None = None) -> Asked:
    """Post a question; it is never lost once this returns."""
    state = as_object(client.call("GET", session_path(session, "/state")))
    body = {"content": text} | ({"agent": agent} if agent else {})
    posted = as_object(client.call("POST", session_path(session, "/messages"), body))
    if not posted.get("accepted"):
        raise Refused(0, "not_accepted", f"not accepted: {posted.get('reason', 'no reason given')}")
    return Asked(session, str(posted["runId"]), int(state.get("seq") or 0))


def frames_of(client: Client, asked: Asked) -> Iterable[Frame]:
    """Everything that happens in the session since the question."""
    path = f"/sse/{asked.session}?after={asked.after}"
    return (frame for _, frame in follow(client, path))


def watch(
    frames: Iterable[Frame], asked: Asked, view: TeamView, on_question: Callable[[Frame], None]
) -> HostTurn:
    """Show the team at work until the question's host turn ends."""
    for frame in frames:
        view.show(frame)
        if frame.get("type") == "user_input_request":
            on_question(frame)
        if frame.get("name") == "host_turn":
            value = as_object(frame.get("value"))
            if (value.get("op"), value.get("host_run_id")) == ("finished", asked.host_run_id):
                return _host_turn(value)
    raise NoDaemon("the stream ended before the answer came")


def _host_turn(value: dict[str, Any]) -> HostTurn:
    cost = value.get("cost_usd")
    return HostTurn(
        outcome=str(value.get("outcome")),
        answer=str(value.get("answer", "")),
        message_id=value.get("message_id"),
        citations=tuple(as_object(one) for one in value.get("citations", ())),
        cost_usd=None if cost is None else float(cost),
        letters=int(value.get("letters", 0)),
        runs=int(value.get("runs", 0)),
    )


def print_answer(screen: Screen, view: TeamView, turn: HostTurn) -> None:
    """Print the answer on stdout (unless it was just streamed there), then its citations."""
    view.speech.plain()
    if not (screen.shows_answer() and view.speech.said_last(turn.message_id)):
        screen.data(clean(turn.answer))
    if turn.citations:
        screen.data("")
        screen.data("Citations, each checked in its file:")
    for one in turn.citations:
        _print_citation(screen, one)
    held = {_identity(one) for one in turn.citations}
    written = [one.model_dump() for one in parse(turn.answer)]
    others = [one for one in written if _identity(one) not in held]
    if others:
        screen.data("")
        screen.data("Not found in the files as cited:")
    for one in others:
        _print_citation(screen, one)


def _print_citation(screen: Screen, one: dict[str, Any]) -> None:
    place = f"{one.get('path')}:{one.get('start_line')}-{one.get('end_line')}"
    screen.data(f'  {clean(place)}  "{clean(str(one.get("quote", "")))}"')


def _identity(citation: dict[str, Any]) -> tuple[Any, ...]:
    quote = " ".join(str(citation.get("quote", "")).split())
    return (*(citation.get(name) for name in ("path", "start_line", "end_line")), quote)


def say_figures(screen: Screen, turn: HostTurn) -> None:
    """Say what the host turn took."""
    cost = "unknown (no price for this model)" if turn.cost_usd is None else f"${turn.cost_usd:.4f}"
    screen.say(f"cost {cost} · {turn.letters} letters · {turn.runs} runs · {turn.outcome}")


def answerer(
    client: Client, asked: Asked, screen: Screen, *, may_ask: bool
) -> Callable[[Frame], None]:
    """What to do when an agent asks: ask at the terminal, or say how to answer from elsewhere."""

    def on_question(frame: Frame) -> None:
        if frame.get("approval_id") and not may_ask:
            return  # the view has said how to decide
        options = [str(option) for option in frame.get("options") or ()]
        question = clean(str(frame.get("question", "")))
        who = clean(str(frame.get("agent")))
        screen.say(screen.paint(f"{who} asks: {question}", bold=True))
        for number, option in enumerate(options, 1):
            screen.say(f"  {number}. {clean_line(option)}")
        answer = {
            "type": "user_input_response",
            "session_id": asked.session,
            "request_id": frame.get("request_id"),
            "answer": "YOUR ANSWER",
        }
        path = session_path(asked.session, "/messages")
        if not may_ask:
            screen.say("answer with:")
            screen.say(_curl(client.endpoint().url + path, answer))
            return
        while True:
            said = str(click.prompt("your answer", err=True)).strip()
            chosen = int(said) if said.isdecimal() else 0
            answer["answer"] = options[chosen - 1] if 1 <= chosen <= len(options) else said
            try:
                client.call("POST", path, answer)
            except Refused as refusal:
                screen.say(f"the answer was not taken: {clean(refusal.message)}")
                if refusal.status == http.client.BAD_REQUEST:
                    continue
            return

    return on_question


def _curl(url: str, body: dict[str, Any]) -> str:
    header = '-H "Authorization: Bearer $(brainpilot-rt token show)"'
    return f"  curl {header} -d {shlex.quote(json.dumps(body))} {clean(url)}"
