"""`why` and `trace` against a daemon that has answered a question about its documents."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.realtime.cli.shell import Shell

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def session(served: Shell) -> str:
    """A session with a cited answer."""
    asked = served.run("up", "--once", "--json", "--quiet")
    assert asked.code == 0, asked.err
    assert asked.last["citations"]
    return asked.last["session"]


def test_the_last_answer_is_explained_down_to_the_lines_and_the_cost(
    served: Shell, session: str
) -> None:
    told = served.run("why", "--session", session)
    assert told.code == 0, told.err
    for part in ("Why this answer", "Question", "librarian, because of a letter of", "verified"):
        assert part in told.out
    found = served.run("why", "--session", session, "--json").last
    agents = found["spent"]["by_agent"]
    assert {"principal", "librarian"} <= set(agents)
    total = found["spent"]["total"]["usage"]["total"]
    assert total == sum(one["usage"]["total"] for one in agents.values())


def test_a_file_and_a_citation_are_explained_and_a_stranger_is_not(
    served: Shell, session: str
) -> None:
    found = served.run("why", "--session", session, "--json").last
    cited = next(one for one in found["nodes"] if one["kind"] == "citation")
    for what in (cited["label"], cited["path"]):
        told = served.run("why", what, "--session", session)
        assert told.code == 0, told.err
        assert "Used by" in told.out
    missing = served.run("why", "no/such/file", "--session", session)
    assert (missing.code, missing.out) == (1, "")
    assert "name an answer" in missing.err


def test_the_reasoning_and_the_causes_are_shown_and_drawn(
    served: Shell, session: str, tmp_path: Path
) -> None:
    assert "together" in served.run("trace", "--session", session).out
    shown = served.run("trace", "--session", session, "--json").last
    assert shown["graph"]["meta"]["sessionId"] == session
    picture = tmp_path / "causes.svg"
    assert served.run("trace", "--session", session, "--svg", str(picture)).code == 0
    assert ET.parse(picture).getroot().tag.endswith("svg")
