"""A desk for tools, in a folder of the test."""

from pathlib import Path

import pytest

from brainpilot_rt.testing.desk import Desk, Put


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    root = tmp_path / "work"
    root.mkdir()
    return Desk(root)


@pytest.fixture
def put(desk: Desk) -> Put:
    return desk.put
