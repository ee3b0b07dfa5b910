"""`budget`: what was spent and what is left, and what it was spent on."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode

import click

from brainpilot_rt.cli.client import as_object, as_objects
from brainpilot_rt.cli.options import Common, json_option, of_daemon, print_json
from brainpilot_rt.cli.terminal import clean_line

_NAME_CHARS: Final = 40
_BOUNDS: Final = {
    "perDayUsd": "a day",
    "perMonthUsd": "a month",
    "perConversationUsd": "a session",
    "perRunUsd": "a run",
}


@click.command("budget")
@click.option("--agent", metavar="NAME", help="Budgets of this agent, by default of everything.")
@click.option(
    "--by",
    type=click.Choice(["model", "provider", "agent", "session", "day", "purpose"]),
    help="List what was spent, added up by this.",
)
@click.option(
    "--period",
    type=click.Choice(["day", "week", "month", "all"]),
    default="month",
    show_default=True,
    help="With --by: of when.",
)
@json_option
@of_daemon
def budget_command(
    common: Common, *, agent: str | None, by: str | None, period: str, as_json: bool
) -> None:
    """Show what was spent and what is left."""
    client = common.client()
    if by is not None:
        if agent is not None:
            raise click.UsageError("--agent and --by do not go together")
        found = as_object(client.call("GET", f"/v1/usage/by-{by}?{urlencode({'period': period})}"))
        lines = usage_lines(found)
    elif agent is not None:
        found = as_object(client.call("GET", f"/v1/budget/agents/{quote(agent, safe='')}"))
        lines = agent_lines(found)
    else:
        found = as_object(client.call("GET", "/v1/budget/status"))
        lines = status_lines(found)
    if as_json:
        print_json(found)
        return
    for line in lines:
        click.echo(line)


def status_lines(status: dict[str, Any]) -> Iterator[str]:
    """The budgets of a day and a month."""
    for name in ("daily", "monthly"):
        one = as_object(status.get(name))
        limit = one.get("limit_usd")
        bound = (
            ", no limit" if limit is None else f" of {usd(limit)}, {usd(one['remaining_usd'])} left"
        )
        held = f", {usd(one['reserved_usd'])} held" if one.get("reserved_usd") else ""
        key, spent = clean_line(str(one.get("period_key"))), usd(one.get("spent_usd"))
        yield f"{key:<10}  {spent}{bound}{held}"
    if status.get("killswitch"):
        yield "the killswitch is on: nothing may be spent"


def agent_lines(agent: dict[str, Any]) -> Iterator[str]:
    """The budgets of one agent, with every bound it has."""
    yield from status_lines(agent)
    for name, what in _BOUNDS.items():
        if agent.get(name) is not None:
            yield f"at most {usd(agent[name])} {what}"
    if agent.get("rpm") is not None:
        yield f"at most {agent['rpm']} model calls a minute"


def usage_lines(usage: dict[str, Any]) -> Iterator[str]:
    """What was used, one group on a line, the dearest first; then all of it."""
    groups = sorted(
        as_objects(usage.get("data")), key=lambda one: one.get("counted_usd") or 0, reverse=True
    )
    yield f"{'':<{_NAME_CHARS}} {'calls':>7} {'tokens':>12} {'dollars':>12}"
    for one in groups:
        yield _used(str(one.get("key")), one)
    yield _used("together", usage)
    unknown = usage.get("unknown_price_requests")
    if unknown:
        yield f"{unknown} calls have no known price; they are in it as the budgets count them"


def _used(name: str, group: dict[str, Any]) -> str:
    calls, tokens = group.get("requests") or 0, group.get("total_tokens") or 0
    shown = clean_line(name, _NAME_CHARS)
    return f"{shown:<{_NAME_CHARS}} {calls:>7,} {tokens:>12,} {usd(group.get('counted_usd')):>12}"


def usd(value: object) -> str:
    """An amount, to the cent; what is less than a cent to the millionth."""
    amount = value if isinstance(value, int | float) else 0.0
    return f"${amount:,.6f}" if 0 < abs(amount) < 0.01 else f"${amount:,.2f}"  # noqa: PLR2004 - a cent
