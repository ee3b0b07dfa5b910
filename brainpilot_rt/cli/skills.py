"""`skills`: which skills agents would find, and whether they keep to the published format.

The folders are read here, by the same code as in the daemon; no daemon need run.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from brainpilot_rt.cli.options import (
    Common,
    json_option,
    pass_common,
    print_json,
    with_data_dir,
    with_talk,
)
from brainpilot_rt.cli.terminal import clean, clean_line, fit
from brainpilot_rt.context.skills import catalogue, checked
from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.domain.skills import Skill, facts_of
from brainpilot_rt.supervision.skills import project_libraries, user_libraries
from brainpilot_rt.workspace.files import Workspace


@click.group("skills", invoke_without_command=True)
@click.option(
    "--workspace",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="Work tree to look in; by default this folder.",
)
@json_option
@with_data_dir
@with_talk
@pass_common
@click.pass_context
def skills_command(ctx: click.Context, common: Common, workspace: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """List the skills of a work tree, of the data directory and of the home folder."""
    if ctx.invoked_subcommand is not None:
        return
    found = _found(common, workspace)
    if as_json:
        print_json([facts_of(skill) for skill in found])
        return
    if not found:
        click.echo("There are no skills.", err=True)
    for library in dict.fromkeys(skill.library for skill in found):
        inside = [skill for skill in found if skill.library == library]
        click.echo(f"{clean_line(library)} ({inside[0].scope})")
        for skill in inside:
            _print(skill)


@skills_command.command("check")
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@json_option
@pass_common
def check(common: Common, paths: tuple[Path, ...], as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Validate the skills at each PATH, or all that are found; changes nothing.

    A PATH is the folder of a skill, its SKILL.md, or a folder of skills. Exit code 0 when all keep
    to the format, 1 when one does not.
    """
    try:
        found = [one for path in paths for one in checked(path)] if paths else _found(common)
    except (RuntimeFault, OSError) as error:
        raise click.ClickException(clean(str(error))) from None
    if as_json:
        print_json([facts_of(skill) for skill in found])
    for skill in () if as_json else found:
        click.echo(f"{clean_line(skill.path, 400)}: {'not ok' if skill.problems else 'ok'}")
        for problem in skill.problems:
            click.echo(f"  {clean(problem)}")
    if any(skill.problems for skill in found):
        sys.exit(1)


def _found(common: Common, workspace: Path = Path()) -> Sequence[Skill]:
    tree = Workspace(workspace.absolute())
    return catalogue([*project_libraries(tree), *user_libraries(common.settings())])


def _print(skill: Skill) -> None:
    click.echo(fit(f"  {clean_line(skill.name):<24} {clean_line(skill.description, 400)}"))
    if skill.hidden_by:
        click.echo(f"    hidden by {clean_line(skill.hidden_by, 400)}")
    for problem in skill.problems:
        click.echo(f"    {'broken' if skill.broken else 'note'}: {clean(problem)}")
