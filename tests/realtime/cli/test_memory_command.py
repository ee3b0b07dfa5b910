"""`memory` against a running daemon: what is added is there, found, and gone when forgotten."""

import pytest

from tests.realtime.cli.shell import Shell

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]


@pytest.fixture
def session(served: Shell) -> str:
    """A session in which something has been said."""
    asked = served.run("up", "--once", "--json", "--quiet", "hello")
    assert asked.code == 0, asked.err
    return asked.last["session"]


def test_memory_is_added_to_listed_searched_and_forgotten(served: Shell, session: str) -> None:
    here = ("--session", session)
    words = ("the user likes tea \x1b[31m", "--block", "human", "--tag", "drink", "--pinned")
    item = served.run("memory", "add", "facts", *words, *here, "--json").last
    assert (item["pinned"], item["block"], item["tags"]) == (True, "human", ["drink"])
    sections = {one["section"]: one for one in served.run("memory", *here, "--json").last}
    assert sections["facts"]["items"] == 1
    assert sections["messages"]["items"] >= 2
    listed = served.run("memory", "list", *here).out
    assert "messages" in listed
    assert "derived" in listed
    shown = served.run("memory", "show", "facts", *here)
    assert item["id"] in shown.out
    assert "user likes tea" in shown.out
    assert "\x1b" not in shown.out
    assert "hello" in served.run("memory", "show", "messages", "--agent", "principal", *here).out
    found = served.run("memory", "search", "likes", "tea", "--section", "facts", *here, "--json")
    assert [one["id"] for one in found.last] == [item["id"]]
    assert served.run("memory", "forget", item["id"], *here).code == 0
    gone = served.run("memory", "forget", item["id"], *here)
    assert (gone.code, gone.out) == (1, "")


def test_what_is_wrong_is_said_with_its_exit_code(served: Shell, session: str) -> None:
    here = ("--session", session)
    wrong = served.run("memory", "show", "nonsense", *here)
    assert wrong.code == 1
    assert "facts" in wrong.err
    assert served.run("memory", "add", "messages", "x", *here).code == 1
    assert served.run("memory", "--session", session, "show", "facts").code == 2
    assert served.run("memory", "search", *here).code == 2
