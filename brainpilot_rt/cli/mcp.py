"""`mcp`: the MCP servers of the daemon and their tools; consent to those of a work tree."""

from typing import Any, cast
from urllib.parse import quote, urlencode

import click

from brainpilot_rt.cli.client import Client, as_object, as_objects
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

Server = dict[str, Any]

_HERE = "/v1/mcp/servers"


@click.group("mcp", invoke_without_command=True)
@json_option
@with_daemon
@with_talk
@click.pass_context
def mcp_command(ctx: click.Context, as_json: bool) -> None:  # noqa: FBT001 - by name
    """Without a command: list the servers."""
    list_or_go_on(ctx, list_servers, as_json=as_json)


@mcp_command.command("list")
@json_option
@of_daemon
def list_servers(common: Common, as_json: bool) -> None:  # noqa: FBT001 - by name
    """List the servers, where each is named and how it is."""
    client = common.client()
    found = as_objects(as_object(client.call("GET", _HERE)).get("servers"))
    if as_json:
        print_json(found)
        return
    for one in found:
        for line in _lines(one):
            click.echo(line)
    status = as_object(client.call("GET", "/mcp/status"))
    for problem in _texts(status.get("problems")):
        common.screen().say(clean(problem))
    if not found:
        common.screen().say("no MCP servers; name them in bp_template/mcp_servers.json")


@mcp_command.command("tools")
@click.argument("server", required=False)
@json_option
@of_daemon
def list_tools(common: Common, server: str | None, as_json: bool) -> None:  # noqa: FBT001 - by name
    """List the tools of SERVER, or of all."""
    asked = f"?{urlencode({'server_id': server})}" if server else ""
    answer = as_object(common.client().call("GET", f"/v1/mcp/tools{asked}"))
    found = as_objects(answer.get("tools"))
    if as_json:
        print_json(found)
        return
    for one in found:
        name = clean_line(str(one.get("toolName")), 64)
        about = clean_line(str(one.get("description")), 400)
        click.echo(fit(f"{name:<40} {one.get('effect')!s:<12} {about}"))


@mcp_command.command("allow")
@click.argument("server")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@of_daemon
def allow(common: Common, *, server: str, yes: bool, as_json: bool) -> None:
    """Let a SERVER of a work tree be started, as its .mcp.json describes it now."""
    client = common.client()
    client.call("GET", _HERE)  # the files of work trees are looked at again
    shown = _one(client, server)
    for line in _lines(shown):
        common.screen().say(line)
    if not yes:
        click.confirm("It will run as you, outside of any sandbox. Allow it?", abort=True, err=True)
    path = f"{_path(str(shown.get('id')))}/allow"
    _print(client.call("POST", path, {"digest": shown.get("digest")}), as_json=as_json)


@mcp_command.command("restart")
@click.argument("server")
@json_option
@of_daemon
def restart(common: Common, *, server: str, as_json: bool) -> None:
    """Connect to a SERVER anew; calls that run there are lost."""
    _print(common.client().call("POST", f"{_path(server)}/restart", {}), as_json=as_json)


def _print(answer: object, *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    for line in _lines(as_object(answer)):
        click.echo(line)


def _one(client: Client, server: str) -> Server:
    return as_object(client.call("GET", _path(server)))


def _path(server: str) -> str:
    return f"{_HERE}/{quote(server, safe='')}"


def _lines(one: Server) -> list[str]:
    """A server: how it is, then what it runs and what is wrong with it."""
    name = clean_line(str(one.get("id")), 64)
    tools = one.get("toolCount") or 0
    lines = [f"{name:<24} {one.get('status')!s:<14} {tools:>4} tools  {one.get('source')}"]
    runs = one.get("command") or one.get("url")
    lines += [f"  {clean_line(str(runs), 400)}"] if runs else []
    uses = ", ".join(_texts(one.get("uses")))
    lines += [f"  is given the variables {clean_line(uses, 400)}"] if uses else []
    lines += [f"  {clean_line(str(one['error']), 400)}"] if one.get("error") else []
    return lines + [f"  {clean_line(note, 400)}" for note in _texts(one.get("notes"))]


def _texts(value: object) -> list[str]:
    return [str(one) for one in cast("list[object]", value)] if isinstance(value, list) else []
