"""`doctor --sandbox`: break out of the sandbox of the bash tool, in every way we know."""

import asyncio
import dataclasses
import sys

import click

from brainpilot_rt.cli.options import Common, print_json
from brainpilot_rt.cli.terminal import clean
from brainpilot_rt.settings import Settings
from brainpilot_rt.supervision.toolbox import shell_policy
from brainpilot_rt.tools.probes import Probed, probe_all
from brainpilot_rt.tools.sandbox import Sandbox


def try_to_escape(common: Common, *, as_json: bool) -> None:
    """Run every probe and print each with its verdict. Exits with 1 when one got out."""
    found = asyncio.run(_probe(common.settings()))
    if isinstance(found, str):
        raise click.ClickException(found)
    escaped = [one.what for one in found if one.verdict == "escaped"]
    if as_json:
        print_json({"ok": not escaped, "probes": [dataclasses.asdict(one) for one in found]})
    else:
        for one in found:
            click.echo(f"{one.verdict:<10} {one.what}: {clean(one.said)}")
        tried = sum(one.verdict != "not tried" for one in found)
        click.echo(f"{len(escaped)} of {tried} probes got out; {len(found) - tried} not tried")
    if escaped:
        sys.exit(1)


async def _probe(settings: Settings) -> list[Probed] | str:
    policy = await shell_policy(settings)
    if not isinstance(policy.sandbox, Sandbox):
        return f"there is no sandbox to try: {policy.sandbox.reason}"
    return await probe_all(policy, settings.data_dir)
