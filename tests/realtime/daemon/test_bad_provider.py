"""Providers that refuse, lie or hang up: a clear error where the user looks, and life goes on."""

from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.provider import Ask, Cut, Provider, Refused, Reply, provider
from tests.realtime.daemon.world import (
    finished,
    get,
    history,
    of_type,
    say,
    session,
    texts,
    until,
    violations,
)

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

SECRET = "sk-very-secret"
PAGE = "<!doctype html><title>Portal</title><p>Please log in"

REFUSALS = {
    "401": Refused("401 Unauthorized", '{"error":{"message":"bad key sk-very-secret"}}'),
    "400": Refused("400 Bad Request", '{"error":{"message":"no such model"}}'),
    "page": Refused("200 OK", PAGE, content_type="text/html"),
    "json": Refused("200 OK", '{"detail":"hello"}', content_type="application/json"),
    "429": Refused("429 Too Many Requests", '{"error":{"message":"slow"}}', retry_after="3600"),
}
FINAL = {
    "401": "401",
    "400": "no such model",
    "page": "text/html",
    "json": "application/json",
    "broken": "not JSON",
}
"""What is not worth another attempt, and what its error names."""
PASSING = {"429": "429", "half": "broke"}
"""What is tried again later, or when the user speaks."""


async def script(ask: Ask) -> Reply:
    """As the message says; the message after that is answered."""
    word = ask.last.rpartition("please: ")[2].strip()
    if word in REFUSALS:
        raise REFUSALS[word]
    if word == "half":
        yield "This is the beginning of"
        raise Cut
    if word == "broken":
        yield "This is "
        yield b"data: {not json\n\n"
    yield "Fine."


@pytest.mark.fault("G2", "G4", "G6", "G9", "G14")
@pytest.mark.parametrize("words", [FINAL, PASSING], ids=["final", "passing"])
async def test_whatever_a_provider_does_the_user_is_told_and_the_next_message_works(
    tmp_path: Path, words: dict[str, str]
) -> None:
    async with provider(script) as told:
        home = DaemonHome(tmp_path, env={**told.env, "OPENAI_API_KEY": SECRET})
        async with home.running() as daemon:
            for word, named in words.items():
                await one_trouble(daemon, told, word, named)
                assert (await daemon.http.get("/health")).status_code == 200
            facts = await get(daemon, "/metrics")
            assert (facts["runningAgents"], facts["auditViolations"]) == (0, 0)
        assert SECRET not in daemon.said()
        assert "Traceback" not in daemon.said()


async def one_trouble(daemon: RunningDaemon, told: Provider, word: str, named: str) -> None:
    """One session with one trouble, and what comes after it."""
    name = await session(daemon)
    before = len(told.asks)
    await say(daemon, name, f"please: {word}")
    await until(daemon, name, lambda frame: frame["type"] == "RUN_ERROR")
    assert len(told.asks) == before + 1, word
    if word in FINAL:
        await finished(daemon, name)
    await say(daemon, name, "please: answer")
    lines = await finished(daemon, name, turns=2 if word in FINAL else 1)
    events = await history(daemon, name)
    assert violations(lines) == [], word
    ends = [one["outcome"] for one in of_type(lines, "host_turn_finished")]
    assert ends == (["failed", "completed"] if word in FINAL else ["completed"]), word
    errors = [one for one in events if one["type"] == "RUN_ERROR"]
    assert [one["terminal"] for one in errors] == [word in FINAL], word
    assert named in errors[0]["message"], errors
    notices = [one for one in events if one["type"] == "system_message"]
    assert any(named in one["message"] for one in notices) == (word in FINAL), notices
    assert "Fine." in texts(events).values()
    assert SECRET not in str(events) + str(lines)


@pytest.mark.fault("G2", "G3")
async def test_a_provider_that_is_busy_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    busy = [
        Refused("429 Too Many Requests", '{"error":{"message":"slow"}}', retry_after="0"),
        Refused("500 Internal Server Error", "<h1>oops</h1>"),
    ]

    async def moody(ask: Ask) -> Reply:
        if ask.number < len(busy):
            raise busy[ask.number]
        yield "Here I am."

    async with provider(moody) as told:
        home = DaemonHome(tmp_path, env=told.env)
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "hello")
            lines = await finished(daemon, name)
        assert len(told.asks) == len(busy) + 1
    assert violations(lines) == []
    assert of_type(lines, "host_turn_finished")[0]["answer"] == "Here I am."
