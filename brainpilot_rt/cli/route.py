"""`route`: which model does what, how it did, and what another policy would have made of it."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode

import click

from brainpilot_rt.cli.client import as_object, as_objects
from brainpilot_rt.cli.options import (
    Common,
    json_option,
    list_or_go_on,
    of_daemon,
    print_json,
    with_daemon,
    with_talk,
)
from brainpilot_rt.cli.terminal import clean_line

NAME_CHARS: Final = 40
_POLICY_CHARS: Final = 28
THIN: Final = 30
"""An estimate that stands on fewer turns than this says little."""


@click.group("route", invoke_without_command=True)
@json_option
@with_daemon
@with_talk
@click.pass_context
def route_command(ctx: click.Context, as_json: bool) -> None:  # noqa: FBT001 - by name
    """Without a command: which model does what, and how it did in the last week."""
    list_or_go_on(ctx, status, as_json=as_json)


@route_command.command("status")
@json_option
@of_daemon
def status(common: Common, as_json: bool) -> None:  # noqa: FBT001 - by name
    """Show the models of each class of turn: samples, mean reward, latency."""
    found = as_object(common.client().call("GET", "/v1/intelligence/rankings"))
    if as_json:
        print_json(found)
        return
    for line in status_lines(found):
        click.echo(line)


@route_command.command("replay")
@click.option("--policy", help="best-mean, cheapest, uniform, ucb1, thompson or model=P:M.")
@click.option("--days", default=7, show_default=True, help="Of how many days.")
@json_option
@of_daemon
def replay(common: Common, *, policy: str | None, days: int, as_json: bool) -> None:
    """Price the turns of the last days under another policy; without --policy under each."""
    asked = {"days": str(days)} | ({"policy": policy} if policy else {})
    found = as_object(common.client().call("GET", f"/v1/routing/replay?{urlencode(asked)}"))
    if as_json:
        print_json(found)
        return
    for line in replay_lines(found):
        click.echo(line)


def status_lines(found: dict[str, Any]) -> Iterator[str]:
    """A row for each model of each class that was asked, the best first."""
    yield f"{'class':<10} {'model':<{NAME_CHARS}} {'turns':>6} {'reward':>7} {'seconds':>8}"
    for group in as_objects(found.get("rankings")):
        name, models = str(group.get("task_type")), as_objects(group.get("models"))
        for one in models if any(each.get("samples") for each in models) else ():
            model = clean_line(f"{one.get('provider')}:{one.get('model')}", NAME_CHARS)
            latency = one.get("avg_latency_ms")
            seconds = latency / 1000 if isinstance(latency, int | float) else None
            yield (
                f"{clean_line(name, 10):<10} {model:<{NAME_CHARS}} {one.get('samples', 0):>6,} "
                f"{_number(one.get('mean_reward'), 3):>7} {_number(seconds, 2):>8}"
            )
            name = ""


def replay_lines(found: dict[str, Any]) -> Iterator[str]:
    """A row for each policy beside what was logged."""
    estimates = as_objects(found.get("estimates"))
    yield (
        f"{'policy':<{_POLICY_CHARS}} {'turns':>6} {'effective':>9} {'reward':>7} {'95 %':>15} "
        f"{'$/turn':>10}"
    )
    if estimates:
        logged = estimates[0]
        reward, cost = _number(logged.get("loggedReward"), 3), _usd(logged.get("loggedUsd"))
        turns, was = logged.get("turns", 0), "as it was"
        yield f"{was:<{_POLICY_CHARS}} {turns:>6,} {turns:>9,} {reward:>7} {'':>15} {cost:>10}"
    for one in estimates:
        between = one.get("interval")
        shown = " to ".join(_number(end, 3) for end in between) if between else ""
        yield (
            f"{clean_line(str(one.get('policy')), _POLICY_CHARS):<{_POLICY_CHARS}} "
            f"{one.get('turns', 0):>6,} {one.get('effective', 0.0):>9.1f} "
            f"{_number(one.get('reward'), 3):>7} {shown:>15} {_usd(one.get('usd')):>10}"
        )
    if any(one.get("effective", 0.0) < THIN for one in estimates):
        yield f"Do not trust a row that is effectively less than {THIN} turns."


def _number(value: object, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


def _usd(value: object) -> str:
    return f"{value:.6f}" if isinstance(value, int | float) else "-"
