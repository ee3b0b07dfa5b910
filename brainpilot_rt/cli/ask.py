"""`ask`: one question to a team of a running daemon, from the first token to the last citation."""

import sys

import click

from brainpilot_rt.cli.client import Client, Refused, as_object, as_objects
from brainpilot_rt.cli.options import Common, json_option, of_daemon, print_json
from brainpilot_rt.cli.turns import (
    COMPLETED,
    answerer,
    ask,
    frames_of,
    print_answer,
    say_figures,
    watch,
)
from brainpilot_rt.cli.view import TeamView


@click.command("ask")
@click.argument("text")
@click.option("--session", help="Session to ask in; by default the one used last, or a new one.")
@click.option("--agent", help="Agent to ask; by default the principal.")
@json_option
@of_daemon
def ask_command(
    common: Common,
    text: str,
    session: str | None,
    agent: str | None,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Ask the team TEXT and wait for the answer; a single - reads it from stdin.

    Interrupting this command does not stop the team: follow it with `tail`, stop it with `stop`.
    """
    screen = common.screen()
    client = common.client()
    may_ask = sys.stdin.isatty()
    if text == "-":
        text, may_ask = sys.stdin.read(), False
    if not text.strip():
        raise click.UsageError("an empty question")
    asked = ask(client, session or latest_session(client) or _open(client), text, agent)
    view = TeamView(screen, client.endpoint().mailbox_dir)
    try:
        on_question = answerer(client, asked, screen, may_ask=may_ask)
        turn = watch(frames_of(client, asked), asked, view, on_question)
    except KeyboardInterrupt:
        view.speech.plain(
            f"the team works on; follow: brainpilot-rt tail --session {asked.session}"
        )
        raise
    if as_json:
        print_json(turn.as_json(asked.session, client.endpoint().url))
    else:
        print_answer(screen, view, turn)
        screen.say()
        say_figures(screen, turn)
    if turn.outcome != COMPLETED:
        sys.exit(1)


def latest_session(client: Client) -> str | None:
    """The session that was changed last, None when there is none."""
    sessions = as_objects(as_object(client.call("GET", "/sessions")).get("sessions"))
    newest = max(sessions, key=lambda one: str(one.get("updatedAt")), default=None)
    return None if newest is None else str(newest["id"])


def _open(client: Client) -> str:
    return str(as_object(client.call("POST", "/sessions", {}))["id"])


def chosen_session(client: Client, session: str | None) -> str:
    """The session named, else the one changed last; Refused when there is none."""
    found = session or latest_session(client)
    if found is None:
        raise Refused(404, "not_found", "there is no session yet; open one with: brainpilot-rt ask")
    return found
