"""Work trees of sessions: a folder is checked when a session is made, and may be gone later."""

from collections.abc import Container
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from brainpilot_rt.domain.errors import BadRequest, NotFound
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.supervision.worktrees import Worktrees


def trees(tmp_path: Path, workspace: Path, loaded: Container[SessionId] = ("s",)) -> Worktrees:
    def state(session: SessionId) -> SimpleNamespace:
        if session not in loaded:
            raise NotFound("not in memory")
        return SimpleNamespace(workspace=str(workspace))

    manager: Any = SimpleNamespace(state=state)
    return Worktrees(manager, tmp_path / "data", tmp_path / "mail", {})


def test_a_session_is_not_made_on_a_folder_that_is_not_there(tmp_path: Path):
    with pytest.raises(BadRequest):
        trees(tmp_path, tmp_path).check(str(tmp_path / "none"))
    trees(tmp_path, tmp_path).check(str(tmp_path))


def test_a_session_whose_folder_is_gone_has_an_empty_work_tree(tmp_path: Path):
    tree = trees(tmp_path, tmp_path / "none").of(SessionId("s"))
    assert not tree.owned
    assert tree.list_folder("") == []


def test_who_asks_before_a_session_is_in_memory_does_not_change_its_work_tree(tmp_path: Path):
    session, loaded = SessionId("s"), list[SessionId]()
    made = trees(tmp_path, tmp_path, loaded)
    assert made.of(session).owned
    loaded.append(session)
    assert made.of(session).root == tmp_path.resolve()
