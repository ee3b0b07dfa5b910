"""`tail`: follow one session, or all of them, for as long as it is wanted."""

import click

from brainpilot_rt.cli.ask import chosen_session
from brainpilot_rt.cli.client import follow
from brainpilot_rt.cli.options import Common, json_option, of_daemon, print_json
from brainpilot_rt.cli.terminal import Screen, columns
from brainpilot_rt.cli.view import TeamView


@click.command("tail")
@click.option("--session", help="Session to follow, or `all`; by default the one changed last.")
@click.option("--after", metavar="CURSOR", help="Go on after this cursor; else from the start.")
@json_option
@of_daemon
def tail_command(
    common: Common,
    session: str | None,
    after: str | None,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Follow what happens until Ctrl-C; reconnects and goes on after a cut or a restart.

    --json prints every frame as one line, with its cursor in `_cursor` where it has one.
    """
    client = common.client()
    path = "/events" if session == "all" else f"/sse/{chosen_session(client, session)}"
    there = client.endpoint()
    screen = common.screen()
    view = TeamView(screen if as_json else _to_stdout(screen), there.mailbox_dir)
    for cursor, frame in follow(client, path, after):
        if as_json:
            print_json(frame | ({"_cursor": cursor} if cursor else {}))
        else:
            view.show(frame)


def _to_stdout(screen: Screen) -> Screen:
    """What is followed is this command's data, so it goes to stdout."""
    colour = screen.colour and screen.out.isatty()
    return Screen(colour=colour, width=columns(screen.out), out=screen.out, err=screen.out)
