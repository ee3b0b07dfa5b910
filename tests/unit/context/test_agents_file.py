"""`AGENTS.md` as data."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.context.agents_file import AGENTS_BYTES_MAX, fenced, read_agents_files
from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.workspace.files import Workspace


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_a_file_nothing_is_said(tmp_path: Path):
    assert read_agents_files(Workspace(tmp_path)) == ("", [])
    assert read_agents_files(Workspace(tmp_path / "none")) == ("", [])


def test_the_nearest_file_comes_first_and_nothing_above_the_work_tree_is_read(tmp_path: Path):
    put(tmp_path, "AGENTS.md", "outside")
    put(tmp_path / "work", "AGENTS.md", "Use tabs.")
    put(tmp_path / "work", "pkg/AGENTS.md", "Use spaces.")
    put(tmp_path / "work", "pkg/deep/other.md", "")
    text, warnings = read_agents_files(Workspace(tmp_path / "work"), "/workspace/pkg/deep")
    assert warnings == []
    assert text.startswith("Notes of this work tree, nearest first;")
    assert text.endswith(
        "```` pkg/AGENTS.md\nUse spaces.\n````\n\n```` AGENTS.md\nUse tabs.\n````".replace(
            "````", "```"
        )
    )
    assert "outside" not in text


def test_lines_that_name_other_files_are_only_lines(tmp_path: Path):
    put(tmp_path, "AGENTS.md", "@secret.md\n{{include secret.md}}\n!include secret.md")
    put(tmp_path, "secret.md", "s3cret")
    text, _ = read_agents_files(Workspace(tmp_path))
    assert "@secret.md" in text
    assert "s3cret" not in text


def test_a_link_is_not_followed_and_that_is_said(tmp_path: Path):
    put(tmp_path, "elsewhere", "s3cret")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "AGENTS.md").symlink_to(tmp_path / "elsewhere")
    text, warnings = read_agents_files(Workspace(tmp_path / "work"))
    assert text == ""
    assert len(warnings) == 1
    assert "AGENTS.md was not read: is or passes through a symbolic link" in warnings[0]


def test_what_is_too_long_is_cut_from_the_farthest_and_said_in_the_text(tmp_path: Path):
    put(tmp_path, "AGENTS.md", "é" * AGENTS_BYTES_MAX)
    put(tmp_path, "near/AGENTS.md", "Near.")
    text, warnings = read_agents_files(Workspace(tmp_path), "near")
    assert "Near." in text
    assert warnings == [
        "AGENTS.md was cut to 32,762 of 65,536 bytes; all AGENTS.md files together may have 32,768"
    ]
    assert f"[{warnings[0]}]" in text
    assert len(text.encode()) < AGENTS_BYTES_MAX + 1_000


def test_a_folder_that_leads_out_is_refused(tmp_path: Path):
    with pytest.raises(BadRequest):
        read_agents_files(Workspace(tmp_path), "/workspace/../..")


@given(st.text("`~\n a#", min_size=1))
def test_no_text_closes_its_own_fence(text: str):
    shown, _ = fenced([("AGENTS.md", text)])
    if text.strip():
        fence = shown.rpartition("\n")[2]
        assert set(fence) == {"`"}
        assert shown.count(fence) == 2


def test_a_file_that_is_no_text_is_left_out_and_said(tmp_path: Path):
    (tmp_path / "AGENTS.md").write_bytes("Use tabs.".encode("utf-16"))
    assert read_agents_files(Workspace(tmp_path)) == ("", ["AGENTS.md was not read: it is no text"])
