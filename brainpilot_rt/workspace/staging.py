"""Uploads made before their session exists: they wait in a staging work tree and are moved over."""

import contextlib

from brainpilot_rt.aiokit.files import rename_noreplace
from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.workspace.files import Workspace
from brainpilot_rt.workspace.paths import LogicalPath
from brainpilot_rt.workspace.walk import walk


def take_staged(staging: Workspace, to: Workspace) -> list[str]:
    """Move the files of `staging` into `to`; the short paths of those that moved.

    Nothing is overwritten: a file whose name is taken stays where it is. Both must be on one file
    system, as the daemon's own work trees are.
    """
    moved: list[str] = []
    with contextlib.suppress(NotFound):
        for found in list(walk(staging, LogicalPath("workspace"), enter=lambda _: True)):
            if found.is_folder:
                continue
            name = found.path.name
            with (
                staging.parent(found.path) as old,
                to.parent(found.path) as new,
                contextlib.suppress(FileExistsError),
            ):
                rename_noreplace(old, name, new, name)
                moved.append(found.path.short)
    return moved
