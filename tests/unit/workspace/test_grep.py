"""Searching lines."""

import json
from pathlib import Path

import pytest

from brainpilot_rt.domain.errors import BadRequest, NotFound
from brainpilot_rt.workspace import grep as searching
from brainpilot_rt.workspace.files import Workspace
from brainpilot_rt.workspace.grep import Query, grep


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.write("a.txt", b"one\r\ntwo\nthree\nfour\n")
    made.write("d/b.md", b"Two\n")
    made.write("c.bin", b"two\0two")
    return made


def test_lines_are_found_with_path_and_number(workspace: Workspace):
    found = grep(workspace, Query(pattern="two", ignore_case=True))
    assert found.lines == ["a.txt:2: two", "d/b.md:1: Two"]
    assert (found.hits, found.more) == (2, False)


def test_context_files_base_and_limit_narrow_it(workspace: Workspace):
    lines = grep(workspace, Query(pattern="two", context=1)).lines
    assert lines == ["a.txt-1- one", "a.txt:2: two", "a.txt-3- three"]
    assert grep(workspace, Query(pattern="o", files="*.md")).lines == ["d/b.md:1: Two"]
    assert grep(workspace, Query(pattern="T", base="d/b.md")).hits == 1
    limited = grep(workspace, Query(pattern="o", limit=2))
    assert (limited.hits, limited.more) == (2, True)


def test_what_is_no_expression_and_what_is_not_there_are_said(workspace: Workspace):
    with pytest.raises(BadRequest, match="not a regular expression"):
        grep(workspace, Query(pattern="("))
    with pytest.raises(NotFound):
        grep(workspace, Query(pattern="x", base="none"))


def test_the_process_does_the_same_job(workspace: Workspace):
    query = Query(pattern="t.*")
    assert searching.may_take_long(query)
    said = json.loads(searching.main(searching.job(workspace, query)))
    assert said["lines"] == grep(workspace, query).lines == ["a.txt:2: two", "a.txt:3: three"]
