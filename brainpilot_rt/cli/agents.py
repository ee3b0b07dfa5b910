"""`agents`: who is in a session, and what each is doing."""

import click

from brainpilot_rt.cli.ask import chosen_session
from brainpilot_rt.cli.client import as_object, as_objects, session_path
from brainpilot_rt.cli.options import Common, json_option, of_daemon, print_json
from brainpilot_rt.cli.terminal import clean, clean_line, fit


@click.command("agents")
@click.option("--session", help="By default the session changed last.")
@json_option
@of_daemon
def agents_command(common: Common, session: str | None, as_json: bool) -> None:  # noqa: FBT001 - by name
    """Show the agents of a session."""
    client = common.client()
    session = chosen_session(client, session)
    answer = as_object(client.call("GET", session_path(session, "/agents")))
    agents = as_objects(answer.get("agents"))
    if not agents:
        # The route answers with an empty team for a session that does not exist; this one does not.
        client.call("GET", session_path(session))
    if as_json:
        print_json(agents)
    for one in () if as_json else agents:
        tools = ", ".join(str(tool) for tool in one.get("activeTools") or ())
        doing = f"  in {clean_line(tools)}" if tools else ""
        facts = f"{one.get('status', ''):<8} {one.get('kind', ''):<8} {one.get('unread', 0)} unread"
        click.echo(fit(f"{clean(str(one.get('name'))):<16} {facts}{doing}"))
