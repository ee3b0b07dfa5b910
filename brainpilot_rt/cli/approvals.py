"""`approvals`: calls of agents that wait for a person's word: look, approve, deny, stay and decide.

What is approved is exactly what was shown: its digest goes along, and the daemon refuses another.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final
from urllib.parse import quote, urlencode

import click

from brainpilot_rt.cli.client import (
    Client,
    Refused,
    as_object,
    as_objects,
    follow,
    session_path,
)
from brainpilot_rt.cli.options import (
    Common,
    json_option,
    list_or_go_on,
    of_daemon,
    print_json,
    with_daemon,
    with_talk,
)
from brainpilot_rt.cli.terminal import Screen, clean, told

Approval = dict[str, Any]

GIVE: Final = "brainpilot-rt approvals approve"
SCOPES: Final = ("once", "run", "session", "agent")
LISTED_LINES: Final = 6
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_KEYS: Final = {"a": "once", "r": "run", "s": "session", "e": "agent"}
_MEANT: Final = {
    "once": "[a]pprove once",
    "run": "for the [r]un",
    "session": "for the [s]ession",
    "agent": "for this agent [e]verywhere",
}

session_option = click.option("--session", help="Only calls of this session.")
note_option = click.option("--note", default="", help="Words for the agent.")


@click.group("approvals", invoke_without_command=True)
@session_option
@json_option
@with_daemon
@with_talk
@click.pass_context
def approvals_command(ctx: click.Context, session: str | None, as_json: bool) -> None:  # noqa: FBT001 - by name
    """Without a command: list the calls that wait for your word."""
    list_or_go_on(ctx, list_approvals, session=session, as_json=as_json)


@approvals_command.command("list")
@session_option
@json_option
@of_daemon
def list_approvals(common: Common, session: str | None, as_json: bool) -> None:  # noqa: FBT001 - by name
    """List what waits, the oldest first, of all agents of all sessions."""
    waiting = _open(common.client(), session)
    if as_json:
        print_json(waiting)
        return
    for one in waiting:
        for line in brief(one):
            click.echo(line)
    hint = f"{GIVE} ID (its beginning will do), or: approvals show ID"
    common.screen().say(hint if waiting else "nothing waits")


@approvals_command.command("show")
@click.argument("wanted", metavar="ID")
@json_option
@of_daemon
def show_approval(common: Common, wanted: str, as_json: bool) -> None:  # noqa: FBT001 - by name
    """Show all of what would run, or ran."""
    client = common.client()
    known = [one for one in _open(client) if _begins(one, wanted)]
    one = known[0] if len(known) == 1 else _get(client, wanted)
    if as_json:
        print_json(one)
        return
    for line in whole(one):
        click.echo(line)


@approvals_command.command("approve")
@click.argument("wanted", metavar="ID")
@click.option("--scope", type=click.Choice(SCOPES), default="once", show_default=True)
@click.option("--for", "lasts", metavar="TIME", help="How long a wider scope holds: 30m, 2h, 7d.")
@note_option
@json_option
@of_daemon
def approve(
    common: Common,
    *,
    wanted: str,
    scope: str,
    lasts: str | None,
    note: str,
    as_json: bool,
) -> None:
    """Let the call ID run. The beginning of an id will do, and is asked about once more.

    once is this very call; run, session and agent let the same tool of the same agent run again
    without asking, within its run, its session, or everywhere.
    """
    if lasts is not None and scope == "once":
        raise click.UsageError("--for goes with --scope run, session or agent")
    valid_s = None if lasts is None else seconds(lasts)
    client, screen = common.client(), common.screen()
    one = _chosen(client, wanted, screen, "Let it run?")
    _say(_decide(client, one, scope, valid_s=valid_s, note=note), screen, as_json=as_json)


@approvals_command.command("deny")
@click.argument("wanted", metavar="ID")
@note_option
@json_option
@of_daemon
def deny(common: Common, wanted: str, note: str, as_json: bool) -> None:  # noqa: FBT001 - by name
    """Do not let the call ID run; the agent reads the note, and goes on without it."""
    client, screen = common.client(), common.screen()
    one = _chosen(client, wanted, screen, "Deny it?")
    _say(_decide(client, one, None, note=note), screen, as_json=as_json)


@approvals_command.command("watch")
@session_option
@of_daemon
def watch(common: Common, session: str | None) -> None:
    """Stay, show each call that waits, and ask for your word; Ctrl-C ends it, not the calls."""
    client, screen = common.client(), common.screen()
    path = _from_now(client, session)
    known: set[str] = set()
    for one in _open(client, session):
        known.add(str(one["id"]))
        _settle(client, one, screen)
    screen.say("waiting for calls that need your word")
    for _, frame in follow(client, path):
        value = as_object(frame.get("value"))
        key = str(value.get("approval_id"))
        if frame.get("name") == "approval_decided" and key not in known:
            screen.say(clean(f"{key}: {value.get('decision')} by {value.get('by')}"))
        if frame.get("name") != "approval_requested" or key in known:
            continue
        known.add(key)
        one = _get(client, key)
        if one.get("status") == "pending":
            _settle(client, one, screen)


def _from_now(client: Client, session: str | None) -> str:
    """The stream of what happens from here on."""
    if session is not None:
        state = as_object(client.call("GET", session_path(session, "/state")))
        return f"/sse/{quote(session, safe='')}?after={int(state.get('seq') or 0)}"
    with closing(client.stream("/events", None)) as stream:
        _, first = next(stream)
    return f"/events?after={int(as_object(first.get('value')).get('pos') or 0)}"


def _settle(client: Client, one: Approval, screen: Screen) -> None:
    """Show a call; at a terminal ask what is to become of it."""
    for line in whole(one):
        click.echo(line)
    if not sys.stdin.isatty():
        screen.say(f"  {GIVE} {clean(str(one['id']))}")
        return
    keys = [key for key, scope in _KEYS.items() if scope in one["scopes"]]
    ways = [_MEANT[_KEYS[key]] for key in keys]
    screen.say(", ".join([*ways, "[d]eny", "[l]eave it"]))
    chosen = str(click.prompt("your word", type=click.Choice([*keys, "d", "l"]), err=True))
    if chosen == "l":
        return
    note = str(click.prompt("why (the agent reads it)", default="", err=True, show_default=False))
    try:
        _say(_decide(client, one, _KEYS.get(chosen), note=note), screen, as_json=False)
    except Refused as refusal:
        screen.say(clean(refusal.message))


def _chosen(client: Client, wanted: str, screen: Screen, confirm: str) -> Approval:
    """The open approval that an id, or the beginning of one, means."""
    waiting = _open(client)
    exact = [one for one in waiting if wanted in (one["id"], one["callId"])]
    if exact:
        return exact[0]
    known = [one for one in waiting if _begins(one, wanted)]
    if len(known) > 1:
        names = ", ".join(str(one["id"]) for one in known)
        raise click.ClickException(clean(f"{len(known)} approvals begin like this: {names}"))
    if not known:
        said = _get(client, wanted)
        raise click.ClickException(
            clean(f"it was {said.get('status')} already, by {said.get('decidedBy')}")
        )
    if not sys.stdin.isatty():
        raise click.UsageError("without a terminal the whole id is needed")
    for line in whole(known[0]):
        screen.say(line)
    click.confirm(confirm, abort=True, err=True)
    return known[0]


def _begins(one: Approval, wanted: str) -> bool:
    key = str(one["id"])
    return bool(wanted) and (key.startswith(wanted) or key.removeprefix("apr_").startswith(wanted))


def _open(client: Client, session: str | None = None) -> list[Approval]:
    query = "" if session is None else f"?{urlencode({'session': session})}"
    return as_objects(as_object(client.call("GET", f"/approvals{query}")).get("approvals"))


def _get(client: Client, wanted: str) -> Approval:
    return as_object(client.call("GET", f"/approvals/{quote(wanted, safe='')}"))


def _decide(
    client: Client,
    one: Approval,
    scope: str | None,
    *,
    valid_s: float | None = None,
    note: str = "",
) -> Approval:
    """A yes of a scope, or a no (None)."""
    said: dict[str, Any] = {"note": note}
    if scope is not None:
        said |= {"scope": scope, "valid_s": valid_s, "digest": one["digest"]}
    word = "deny" if scope is None else "approve"
    path = f"/approvals/{quote(str(one['id']), safe='')}/{word}"
    return as_object(client.call("POST", path, said))


def _say(done: Approval, screen: Screen, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    scope = "" if done.get("scope") in (None, "once") else f" (scope: {done['scope']})"
    screen.say(clean(f"{done.get('status')}: {done.get('toolName')}{scope}"))


def seconds(text: str) -> float:
    """A time such as `30m`, in seconds."""
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if found is None or not int(found[1]):
        raise click.UsageError(f"not a time: {text} (30s, 30m, 2h or 7d)")
    return float(int(found[1]) * _SECONDS[found[2]])


def _head(one: Approval) -> Iterator[str]:
    status = str(one.get("status"))
    by = "" if status == "pending" else f" by {one.get('decidedBy')}"
    yield clean(f"{one.get('id')}  {status}{by}")
    yield clean(f"  {one.get('agentId')} wants to run: {one.get('toolName')}")
    yield clean(f"  session {one.get('sessionId')}, asked {_time(one.get('requestedAt'))}")
    if status == "pending" and one.get("expiresAt"):
        yield clean(f"  open until {_time(one['expiresAt'])}")
    if one.get("note"):
        yield clean(f"  note: {one['note']}")


def brief(one: Approval) -> Iterator[str]:
    """A call in a list: what does not fit is said to be missing."""
    yield from _head(one)
    lines = [*_reasons(one), *map(str, one.get("shown") or ())]
    fits = [told(line) for line in lines[:LISTED_LINES]]
    yield from fits
    if len(lines) > LISTED_LINES or any(line.endswith("…") for line in fits):
        yield "  … the whole of it: approvals show"


def whole(one: Approval) -> Iterator[str]:
    """All of a call, uncut; what would hide or steer the terminal is written out."""
    yield from _head(one)
    for line in [*_reasons(one), *map(str, one.get("shown") or ())]:
        yield f"  {clean(line)}"


def _reasons(one: Approval) -> list[str]:
    return [f"why: {reason}" for reason in one.get("reasons") or ()]


def _time(instant: object) -> str:
    return str(instant)[:19].replace("T", " ") + " UTC"
