"""`sessions`: the list, one session, its name, its end."""

import sys

import click

from brainpilot_rt.cli.client import as_object, as_objects, session_path
from brainpilot_rt.cli.options import (
    Common,
    json_option,
    list_or_go_on,
    of_daemon,
    print_json,
    with_daemon,
    with_talk,
)
from brainpilot_rt.cli.terminal import clean, clean_line, fit


@click.group("sessions", invoke_without_command=True)
@json_option
@with_daemon
@with_talk
@click.pass_context
def sessions_command(ctx: click.Context, as_json: bool) -> None:  # noqa: FBT001 - by name
    """Without a command: list the sessions."""
    list_or_go_on(ctx, list_sessions, as_json=as_json)


@sessions_command.command("list")
@json_option
@of_daemon
def list_sessions(common: Common, as_json: bool) -> None:  # noqa: FBT001 - by name
    """List the sessions, the one changed last at the end."""
    answer = as_object(common.client().call("GET", "/sessions"))
    sessions = as_objects(answer.get("sessions"))
    sessions.sort(key=lambda one: str(one.get("updatedAt")))
    if as_json:
        print_json(sessions)
    for one in () if as_json else sessions:
        busy = "busy" if one.get("busy") else "idle"
        title = clean_line(str(one.get("title") or ""))
        changed = str(one.get("updatedAt"))[:19].replace("T", " ")
        click.echo(fit(f"{clean(str(one['id'])):<26}  {changed}  {busy}  {title}"))


@sessions_command.command("show")
@click.argument("session")
@json_option
@of_daemon
def show_session(common: Common, session: str, as_json: bool) -> None:  # noqa: FBT001 - by name
    """Show the state of one session: its agents, open tasks and questions, tokens and cost."""
    state = as_object(common.client().call("GET", session_path(session, "/state")))
    if as_json:
        print_json(state)
        return
    running = as_object(state.get("runState")).get("active")
    click.echo(f"{clean(session)}  {clean_line(str(state.get('title') or ''))}")
    click.echo(f"working: {'yes' if running else 'no'}")
    for agent in as_objects(state.get("agents")):
        click.echo(f"agent {clean(str(agent.get('name')))}: {agent.get('status')}")
    for task in as_objects(state.get("tasks")):
        title = clean_line(str(task.get("title")))
        parties = f"{clean(str(task.get('from')))} -> {clean(str(task.get('to')))}"
        click.echo(fit(f"task {clean(str(task.get('id')))}: {parties}: {title}"))
    for question in as_objects(state.get("questions")):
        asks = f"{clean(str(question.get('agent')))} asks {clean(str(question.get('question')))}"
        click.echo(f"question {clean(str(question.get('requestId')))}: {asks}")
    tokens = as_object(as_object(state.get("tokenUsage")).get("total")).get("total")
    cost = state.get("costUsd")
    click.echo(f"tokens {tokens}, cost {'unknown' if cost is None else f'${cost}'}")


@sessions_command.command("rename")
@click.argument("session")
@click.argument("title")
@of_daemon
def rename_session(common: Common, session: str, title: str) -> None:
    """Give SESSION the name TITLE."""
    common.client().call("PUT", session_path(session), {"title": title})
    common.screen().say("renamed")


@sessions_command.command("delete")
@click.argument("session")
@of_daemon
def delete_session(common: Common, session: str) -> None:
    """Delete SESSION and everything of it. A folder it was given to work in stays."""
    answer = as_object(common.client().call("DELETE", session_path(session)))
    if not answer.get("deleted"):
        sys.exit(1)
    common.screen().say("deleted")
