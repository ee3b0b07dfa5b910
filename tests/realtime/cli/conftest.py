"""Users of the command line: one without a daemon, one whose daemon runs."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.realtime.cli.shell import Shell, end


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A user without a daemon."""
    return Shell(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Shell]:
    """A user whose daemon runs; one daemon for the tests of a module."""
    shell = Shell(tmp_path_factory.mktemp("served"))
    process, _ = shell.serve()
    yield shell
    assert end(process).code == 0
