"""The offline team on folders nobody tidied: many files, none, binary ones, forbidden ones."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome
from tests.realtime.daemon.world import Json, finished, of_type, say, session, violations

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

QUESTION = "Who keeps the lighthouse of Grindel?"
FACT = "The lighthouse of Grindel is kept by Marta Voss.\n"


def many(folder: Path) -> None:
    """A thousand notes, one of which knows."""
    dice = random.Random(1)
    words = ["ferry", "mill", "harbour", "rain", "ledger", "clock", "barley", "rope", "cellar"]
    for number in range(1000):
        lines = [" ".join(dice.choices(words, k=12)) + ".\n" for _ in range(20)]
        if number == 617:
            lines[9] = FACT
        place = folder / f"shelf-{number % 20}"
        place.mkdir(exist_ok=True)
        (place / f"note-{number}.txt").write_text("".join(lines))


def nothing(_: Path) -> None:
    """An empty folder."""


def binary(folder: Path) -> None:
    """Bytes that are no text, under names that promise some."""
    dice = random.Random(2)
    for suffix in ("txt", "md", "png", "zip"):
        (folder / f"data.{suffix}").write_bytes(dice.randbytes(50_000))
    (folder / "nul.txt").write_bytes(b"Grindel\0" * 1000)
    (folder / "latin.txt").write_bytes("Der Leuchtturm gehört niemandem.\n".encode("latin-1"))


def forbidden(folder: Path) -> None:
    """What can not be read: closed, a loop, a pipe, a way out; and one that can."""
    secret = folder.parent / "outside.txt"
    secret.write_text("The lighthouse of Grindel is kept by nobody you may know.\n")
    (folder / "out.txt").symlink_to(secret)
    (folder / "loop").symlink_to(folder)
    (folder / "gone.txt").symlink_to(folder / "nothing")
    closed = folder / "closed.txt"
    closed.write_text("The lighthouse of Grindel is closed.\n")
    closed.chmod(0)
    (folder / "good.txt").write_text(FACT)


async def ask(root: Path, folder: Path) -> Json:
    """The end of the host turn about the folder, its citations checked."""
    home = DaemonHome(root, env={"BP_OFFLINE": "1"})
    async with home.running() as daemon:
        name = await session(daemon, workspace=str(folder))
        await say(daemon, name, QUESTION)
        lines = await finished(daemon, name)
        assert "Traceback" not in daemon.said()
    assert violations(lines) == []
    (turn,) = of_type(lines, "host_turn_finished")
    assert turn["outcome"] == "completed"
    for one in turn["citations"]:
        cited = (folder / one["path"]).read_text().splitlines()
        cited = cited[one["start_line"] - 1 : one["end_line"]]
        assert one["quote"] in " ".join(" ".join(cited).split())
    return turn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty workspace."""
    place = tmp_path / "documents"
    place.mkdir()
    return place


async def test_one_fact_in_a_thousand_files_is_found_and_cited(
    tmp_path: Path, folder: Path
) -> None:
    many(folder)
    turn = await ask(tmp_path, folder)
    assert "Marta Voss" in turn["answer"]
    assert "shelf-17/note-617.txt" in [one["path"] for one in turn["citations"]]


@pytest.mark.parametrize("fill", [nothing, binary])
async def test_where_there_is_no_answer_none_is_given(
    tmp_path: Path, folder: Path, fill: Callable[[Path], None]
) -> None:
    fill(folder)
    turn = await ask(tmp_path, folder)
    assert turn["citations"] == []
    assert "Marta" not in turn["answer"]
    assert turn["answer"].strip() != ""


async def test_files_that_can_not_be_read_keep_nobody_from_the_others(
    tmp_path: Path, folder: Path
) -> None:
    forbidden(folder)
    turn = await ask(tmp_path, folder)
    assert "Marta Voss" in turn["answer"]
    assert "nobody you may know" not in str(turn)
    assert "good.txt" in [one["path"] for one in turn["citations"]]


async def test_a_folder_is_still_the_workspace_after_a_restart_and_may_be_gone(
    tmp_path: Path, folder: Path
) -> None:
    home = DaemonHome(tmp_path, env={"BP_OFFLINE": "1"})
    async with home.running() as daemon:
        name = await session(daemon, workspace=str(folder))
    (folder / "good.txt").write_text(FACT)
    async with home.running() as daemon:
        listed = await daemon.http.get(f"/sessions/{name}/files")
        assert [one["name"] for one in listed.json()] == ["good.txt"]
        await say(daemon, name, QUESTION)
        lines = await finished(daemon, name)
        assert "Marta Voss" in of_type(lines, "host_turn_finished")[0]["answer"]
    shutil.rmtree(folder)
    async with home.running() as daemon:
        await say(daemon, name, QUESTION)
        lines = await finished(daemon, name, turns=2)
        assert "Traceback" not in daemon.said()
    assert [one["outcome"] for one in of_type(lines, "host_turn_finished")] == ["completed"] * 2
    assert violations(lines) == []
