"""`context`: what the model read in a turn, section by section, and what changed since another."""

import difflib
from collections.abc import Iterator
from typing import Any, Final

import click

from brainpilot_rt.cli.ask import chosen_session
from brainpilot_rt.cli.client import Client, as_object, as_objects, session_path
from brainpilot_rt.cli.options import Common, json_option, of_daemon, print_json
from brainpilot_rt.cli.terminal import clean, clean_line, fit, told

BAR: Final = 10
_HEAD: Final = f"{'section':<17} {'tokens':>8}  {'':<10} {'budget':>8} {'items':>6} {'left out':>9}"

Context = dict[str, Any]


@click.command("context")
@click.argument("turn", default="latest", metavar="[N|latest]")
@click.option("--session", help="By default the session changed last.")
@click.option("--list", "listed", is_flag=True, help="List the turns instead, newest last.")
@click.option("--text", is_flag=True, help="Show the texts too.")
@click.option("--diff", metavar="M", help="Show what changed since turn M.")
@json_option
@of_daemon
def context_command(  # noqa: PLR0913 - one per option, which click gives by name
    common: Common,
    *,
    turn: str,
    session: str | None,
    listed: bool,
    text: bool,
    diff: str | None,
    as_json: bool,
) -> None:
    """Show what the model read in turn N of a session, by default the latest."""
    client = common.client()
    session = chosen_session(client, session)
    if listed:
        found = as_object(client.call("GET", session_path(session, "/turns")))
        lines = turn_lines(found)
    else:
        found = _context(client, session, turn)
        before = _context(client, session, diff) if diff is not None else None
        if before is not None:
            lines = diff_lines(before, found)
            found = {"turn": found, "since": before}
        else:
            lines = context_lines(found, text=text)
    if as_json:
        print_json(found)
        return
    for line in lines:
        click.echo(line)


def turn_lines(turns: Context) -> Iterator[str]:
    """The turns of a session, one on a line: number, time, agent, program, tokens, cost."""
    for one in as_objects(turns.get("turns")):
        cost = one.get("costUsd")
        thought = f"{one.get('intent')} by {one.get('program')}" if one.get("intent") else "-"
        paid = f"${cost:.4f}" if isinstance(cost, float) else ""
        began = str(one.get("at"))[:19].replace("T", " ")
        yield fit(
            f"{one.get('n'):>5}  {began}  {_name(one, 'agent'):<13} {thought:<20} "
            f"{_number(one.get('tokens')):>7} {paid:>8}"
        )


def context_lines(context: Context, *, text: bool = False) -> Iterator[str]:
    """A context as a table; with the texts below it, where they are wanted."""
    yield _title(context)
    yield ""
    yield _HEAD.rstrip()
    sections = as_objects(context.get("sections"))
    for one in sections:
        yield _row(one)
        if one.get("why"):
            yield told(str(one["why"]), 18)
    yield f"{'together':<17} {_number(context.get('tokens')):>8}"
    for one in sections if text else ():
        yield ""
        yield f"--- {_name(one, 'name')} ---"
        yield clean(str(one.get("text") or _textless(one)))


def diff_lines(before: Context, after: Context) -> Iterator[str]:
    """What is different in `after`: sections that came, went or changed, with their lines."""
    yield _title(after)
    yield f"since turn {before.get('n')}: {_name(before, 'agent')}, {before.get('at')}"
    old = {str(one.get("name")): one for one in as_objects(before.get("sections"))}
    new = {str(one.get("name")): one for one in as_objects(after.get("sections"))}
    changed = False
    for name in dict.fromkeys([*new, *old]):
        was, now = old.get(name, {}), new.get(name, {})
        facts = ("digest", "tokens", "items", "leftOut", "why")
        if all(was.get(fact) == now.get(fact) for fact in facts):
            continue
        changed = True
        yield ""
        yield f"{clean(name)}: {_size(was)} -> {_size(now)}"
        yield from _changes(str(was.get("text") or ""), str(now.get("text") or ""))
    if not changed:
        yield ""
        yield "nothing changed"


def _changes(before: str, after: str) -> Iterator[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm="")
    for number, line in enumerate(lines):
        if number > 1:  # the first two name files
            yield f"  {clean(line)}"


def _context(client: Client, session: str, turn: str) -> Context:
    if turn != "latest" and not (turn.isascii() and turn.isdecimal()):
        raise click.UsageError(f"not the number of a turn: {turn}")
    return as_object(client.call("GET", session_path(session, f"/turns/{turn}/context")))


def _title(context: Context) -> str:
    facts = [f"turn {context.get('n')} of {context.get('total')}", _name(context, "agent")]
    if context.get("intent"):
        facts.append(f"{_name(context, 'intent')} by {_name(context, 'program')}")
    if context.get("model"):
        facts.append(_name(context, "model"))
    took = context.get("durationUs")
    made = [f"assembled in {took / 1000:.1f} ms"] if isinstance(took, int) else []
    return f"{fit(' · '.join(facts))}\n{' · '.join([str(context.get('at')), *made])}"


def _row(section: Context) -> str:
    tokens, budget = _int(section.get("tokens")), section.get("budget")
    bar = bound = ""
    if isinstance(budget, int) and budget > 0:
        filled = min(BAR, -(-tokens * BAR // budget))
        bar, bound = "█" * filled + "░" * (BAR - filled), f"{budget:,}"
    left_out = section.get("leftOut") or ""
    row = (
        f"{_name(section, 'name'):<17} {tokens:>8,}  {bar:<{BAR}} {bound:>8} "
        f"{_int(section.get('items')):>6} {left_out:>9}"
    )
    return row.rstrip()


def _size(section: Context) -> str:
    if not section:
        return "none"
    left_out = f", {section['leftOut']} left out" if section.get("leftOut") else ""
    return f"{_number(section.get('tokens'))} tokens, {_int(section.get('items'))} items{left_out}"


def _textless(section: Context) -> str:
    if section.get("name") == "conversation":
        return "(the messages themselves: see brainpilot-rt export)"
    return "(no text)"


def _name(one: Context, key: str) -> str:
    return clean_line(str(one.get(key) or "-"), 40)


def _number(value: object) -> str:
    return f"{_int(value):,}"


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
