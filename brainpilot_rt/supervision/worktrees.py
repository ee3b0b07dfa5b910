"""Where each session works: its own folder under the data directory, or a folder the user named."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from brainpilot_rt.domain.errors import BadRequest, RuntimeFault
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.workspace.files import Workspace
from brainpilot_rt.workspace.staging import take_staged

STAGING: Final = SessionId("local")
"""BrainPilot's drafts: files uploaded before their session exists."""


class Worktrees:
    """Work trees by session; made on demand, remembered while used."""

    def __init__(
        self, manager: SessionManager, data_dir: Path, mailbox_dir: Path, env: Mapping[str, str]
    ) -> None:
        self._manager = manager
        self._data_dir = data_dir
        self._hidden = (data_dir, mailbox_dir)
        shared = env.get("BP_SHARED_DIR")
        self._shared = Path(shared) if shared else None
        self._home = Path(env["HOME"]).resolve() if env.get("HOME") else None
        self._kept: dict[SessionId, Workspace] = {}

    def check(self, folder: str) -> None:
        """Refuse a folder that can not be a workspace.

        Whoever writes in a home folder governs shells, editors, keys, and this daemon.
        """
        if not Path(folder).is_absolute():
            raise BadRequest("the workspace must be an absolute path")
        if self._home is not None and self._home.is_relative_to(Path(folder).resolve()):
            raise BadRequest("the home folder can not be a workspace; name a folder in it")
        root = self._user_tree(Path(folder)).root
        if not (root.is_dir() and os.access(root, os.R_OK | os.X_OK)):
            raise BadRequest("the workspace folder does not exist or cannot be read")

    def of(self, session: SessionId) -> Workspace:
        """The work tree of a session, also of one that does not exist (yet).

        Which folder the user named is known only of a session in memory; else it is its own one.
        """
        kept = self._kept.get(session)
        if kept is not None:
            return kept
        try:
            named = self._manager.state(session).workspace
        except RuntimeFault:
            return self._own_tree(session)  # not kept: it may be another once it is in memory
        tree = self._user_tree(Path(named)) if named else self._own_tree(session)
        self._kept[session] = tree
        return tree

    def settle_in(self, session: SessionId) -> None:
        """Make the work tree and move staged drafts into it. Blocks."""
        tree = self.of(session)
        if tree.owned:
            tree.create()
        staging = self._own_tree(STAGING)
        if session != STAGING and staging.root.is_dir() and tree.owned:
            take_staged(staging, tree)

    def forget(self, session: SessionId) -> None:
        """Drop what is remembered of a session."""
        self._kept.pop(session, None)

    def _own_tree(self, session: SessionId) -> Workspace:
        return Workspace(
            self._data_dir / "workspaces" / session,
            data=self._data_dir / "data",
            shared=self._shared,
        )

    def _user_tree(self, folder: Path) -> Workspace:
        return Workspace(
            folder,
            data=self._data_dir / "data",
            shared=self._shared,
            hidden=self._hidden,
            owned=False,
        )
