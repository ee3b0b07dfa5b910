"""`up`: a daemon, a session on a folder, a question, the team at work, the answer. No prompts.

It uses the daemon of the data directory when one runs and starts one otherwise; a daemon it started
stops with it. Everything it does is the public HTTP surface, so what works here works for any
client.
"""

import signal
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from brainpilot_rt.cli import child
from brainpilot_rt.cli.client import Client, Endpoint, as_object, endpoint_of, follow, session_path
from brainpilot_rt.cli.options import (
    Common,
    json_option,
    pass_common,
    print_json,
    with_data_dir,
    with_mailbox_dir,
    with_talk,
)
from brainpilot_rt.cli.terminal import Screen, near
from brainpilot_rt.cli.turns import (
    COMPLETED,
    Asked,
    HostTurn,
    answerer,
    ask,
    frames_of,
    print_answer,
    say_figures,
    watch,
)
from brainpilot_rt.cli.view import TeamView

READING_ROOM: Final = Path(__file__).parents[2] / "examples" / "reading-room"
QUESTION: Final = (
    "Why did the oil set in the feed pipe, and who was fined for showing a light on Hollin Point?"
)
SETTLE_STEPS: Final = 20
SETTLE_STEP_S: Final = 0.05
ANY_QUESTION: Final = "What are these documents about, and what are their main points?"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked `up` for."""

    folder: Path
    question: str
    session: str | None
    once: bool
    as_json: bool


class Stopped(Exception):
    """Ctrl-C, SIGTERM or a closed terminal."""


class Ended(click.ClickException):
    """The daemon that was started here is gone; `clean` when it was told to stop."""

    def __init__(self, daemon: child.Child) -> None:
        super().__init__(f"the daemon ended:\n{daemon.last_words()}")
        self.clean = daemon.stop() == 0


@click.command("up")
@click.argument("question", required=False)
@click.option("--once", is_flag=True, help="Leave after the answer.")
@click.option("--workspace", metavar="DIR", help="Folder of text files to ask about.")
@click.option("--session", help="Go on in this session instead of opening one.")
@json_option
@with_mailbox_dir
@with_data_dir
@with_talk
@pass_common
def up_command(
    common: Common,
    question: str | None,
    once: bool,  # noqa: FBT001 - click passes flags by name
    workspace: str | None,
    session: str | None,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Start a team on a folder, ask it QUESTION, watch it work, and keep serving until Ctrl-C.

    Without QUESTION and --workspace it asks one about the reading room of the examples. --once
    leaves after the answer: exit code 0 if the team answered, 1 if not. --json prints the result
    as one object, the last line of stdout.
    """
    question = question or (ANY_QUESTION if workspace else QUESTION)
    wish = Wish(_folder(workspace), question, session, once, as_json)
    with _stop_signals():
        try:
            outcome = _fulfil(common, common.screen(), wish)
        except Stopped:
            raise click.Abort from None
    if once and outcome != COMPLETED:
        sys.exit(1)


def _fulfil(common: Common, screen: Screen, wish: Wish) -> str:
    with _daemon(common, screen) as (client, is_ours):
        asked = ask(client, wish.session or _open(client, wish.folder), wish.question)
        view = _introduce(client, screen, wish.folder)
        may_ask = not wish.once and sys.stdin.isatty()
        on_question = answerer(client, asked, screen, may_ask=may_ask)
        try:
            turn = watch(frames_of(client, asked), asked, view, on_question)
        except Stopped:
            kept = (
                "is kept, and worked on when a daemon runs here again"
                if is_ours
                else "is worked on"
            )
            view.speech.plain(f"the question {kept}")
            raise
        try:
            _tell(client, screen, view, asked, turn, as_json=wish.as_json)
            if not wish.once:
                _keep_serving(client, view, asked.session, is_ours=is_ours)
        except Stopped:
            # The answer has been given: from here on a stop is the ordinary end.
            view.speech.plain("stopping" if is_ours else "")
        return turn.outcome


def _folder(workspace: str | None) -> Path:
    if workspace is not None and not workspace.strip():
        raise click.UsageError("--workspace names no folder")
    folder = Path(workspace).expanduser().absolute() if workspace else READING_ROOM
    if not folder.is_dir():
        raise click.UsageError(f"not a folder: {folder} (name one with --workspace DIR)")
    return folder


@contextmanager
def _daemon(common: Common, screen: Screen) -> Generator[tuple[Client, bool]]:
    """A client, and whether the daemon was started here: such a one is stopped on the way out."""
    client = common.running()
    if client is not None:
        yield client, False
        return
    settings = common.settings()
    screen.say("starting the daemon")
    ours = child.start(settings)

    def locate() -> Endpoint:
        if not ours.is_alive:
            raise Ended(ours)
        return endpoint_of(settings.data_dir)

    try:
        ours.wait_ready()
        yield Client(locate), True
    finally:
        ours.stop()


@contextmanager
def _stop_signals() -> Generator[None]:
    """Inside, Ctrl-C, SIGTERM and a closed terminal raise Stopped, once; later ones are ignored."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _open(client: Client, folder: Path) -> str:
    body = {"workspace": str(folder), "title": folder.name}
    return str(as_object(client.call("POST", "/sessions", body))["id"])


def _introduce(client: Client, screen: Screen, folder: Path) -> TeamView:
    there = client.endpoint()
    screen.say(f"the daemon is at {there.url}, the team works on {near(folder)}")
    screen.say()
    return TeamView(screen, there.mailbox_dir)


def _tell(
    client: Client,
    screen: Screen,
    view: TeamView,
    asked: Asked,
    turn: HostTurn,
    *,
    as_json: bool,
) -> None:
    """Print the answer, say what it took and where to go on; JSON comes last."""
    if not as_json:
        print_answer(screen, view, turn)
    live = _liveness(client)
    names = ("activeSessions", "runningAgents", "unreadLetters", "reclaimable", "auditViolations")
    screen.say()
    say_figures(screen, turn)
    screen.say(" · ".join(f"{name} {live.get(name)}" for name in names))
    screen.say(f"open {client.endpoint().capability_url}")
    if as_json:
        print_json(turn.as_json(asked.session, client.endpoint().url))


def _liveness(client: Client) -> dict[str, Any]:
    """The liveness numbers, given a moment in which those who have delivered say goodbye."""
    live = as_object(client.call("GET", "/metrics"))
    for _ in range(SETTLE_STEPS):
        if not live.get("runningAgents"):
            break
        time.sleep(SETTLE_STEP_S)
        live = as_object(client.call("GET", "/metrics"))
    return live


def _keep_serving(client: Client, view: TeamView, session: str, *, is_ours: bool) -> None:
    """Show what else happens in the session until someone stops us."""
    view.speech.plain(
        "serving until Ctrl-C" if is_ours else "following until Ctrl-C; the daemon goes on after it"
    )
    seq = as_object(client.call("GET", session_path(session, "/state"))).get("seq")
    try:
        for _, frame in follow(client, f"/sse/{session}?after={seq}"):
            view.show(frame)
    except Ended as ended:
        if not ended.clean:
            raise
        view.speech.plain("the daemon was stopped")
