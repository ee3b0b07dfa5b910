"""Logical paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.workspace.paths import LogicalPath, parse


@pytest.mark.parametrize(
    ("text", "logical"),
    [
        ("a.txt", "/workspace/a.txt"),
        ("./a/./b", "/workspace/a/b"),
        ("/workspace", "/workspace"),
        ("/workspace/", "/workspace"),
        ("/workspace/a", "/workspace/a"),
        ("/workspaces/a", "/workspace/workspaces/a"),
        ("workspace/a", "/workspace/workspace/a"),
        ("///a//b", "/workspace/a/b"),
        ("\\workspace\\a\\b", "/workspace/a/b"),
        ("/etc/passwd", "/workspace/etc/passwd"),
        ("/data/x", "/data/x"),
        ("data/x", "/workspace/data/x"),
        ("/attachments/x.pdf", "/workspace/.attachments/x.pdf"),
        ("/shared", "/shared"),
        ("", "/workspace"),
        ("/", "/workspace"),
        ("%2e%2e/x", "/workspace/%2e%2e/x"),
        ("\u2025/x", "/workspace/\u2025/x"),
        ("a /b ", "/workspace/a /b "),
        ("...", "/workspace/..."),
    ],
)
def test_a_path_means_one_place(text: str, logical: str):
    assert str(parse(text)) == logical


@pytest.mark.fault("S11")
@pytest.mark.parametrize(
    "text",
    [
        *("..", "../x", "a/..", "a/../b", "/workspace/../x", "\\..\\x", "/data/../../etc", "./.."),
        *("a\0b", "x" * 256, "a/" * 2500, "\ud800"),
    ],
)
def test_a_path_that_could_lead_out_or_cannot_be_is_refused(text: str):
    with pytest.raises(BadRequest):
        parse(text)


def test_a_host_path_in_the_work_tree_is_understood_by_components():
    root = ("home", "u", "docs")
    assert parse("/home/u/docs/a", host_root=root) == LogicalPath("workspace", ("a",))
    assert parse("/home/u/docsX/a", host_root=root).parts == ("home", "u", "docsX", "a")


@pytest.mark.fault("S11")
@given(st.text())
def test_whatever_is_taken_has_only_plain_components(text: str):
    try:
        path = parse(text)
    except BadRequest:
        return
    assert not {"", ".", ".."} & set(path.parts)
    assert not any("/" in part or "\0" in part for part in path.parts)
    assert parse(str(path)) == path or path.root == "workspace"


def test_short_names_are_what_citations_use():
    assert parse("docs/a.txt").short == "docs/a.txt"
    assert parse("/data/a.txt").short == "/data/a.txt"
    assert parse("/workspace").short == "."
