"""`version`: what is installed."""

import json
import platform

import click

from brainpilot_rt import __version__


@click.command("version")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def version_command(as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Print the version of brainpilot-rt."""
    if as_json:
        click.echo(json.dumps({"version": __version__, "python": platform.python_version()}))
    else:
        click.echo(f"brainpilot-rt {__version__}")
