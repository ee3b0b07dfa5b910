"""`route` against a running daemon: what was asked is counted, and replayed otherwise."""

import pytest

from brainpilot_rt.models.replay import POLICIES
from tests.realtime.cli.shell import Shell

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]


def test_a_turn_that_was_asked_is_counted_and_replayed(served: Shell) -> None:
    assert served.run("up", "--once", "--quiet", "hello").code == 0
    table = served.run("route")
    assert table.code == 0, table.err
    rows = [line for line in table.out.splitlines() if "offline:offline" in line]
    assert rows
    assert table.out == served.run("route", "status").out
    told = served.run("route", "status", "--json").last
    samples = sum(one["samples"] for group in told["rankings"] for one in group["models"])
    assert samples >= 1
    replayed = served.run("route", "replay", "--json").last
    assert [one["policy"] for one in replayed["estimates"]] == list(POLICIES)
    one = served.run("route", "replay", "--policy", "uniform", "--days", "1")
    assert (one.code, "uniform" in one.out) == (0, True)


def test_what_is_wrong_is_said_with_its_exit_code(served: Shell) -> None:
    wrong = served.run("route", "replay", "--policy", "luck")
    assert wrong.code == 1
    assert "best-mean" in wrong.err
    assert "{" not in wrong.err
    assert served.run("route", "--json", "replay").code == 2
