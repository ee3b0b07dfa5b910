"""Stopping what runs, and questions that wait for a person: across requests and across lives."""

import asyncio
from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.provider import Ask, Call, Reply, provider
from tests.realtime.daemon.world import (
    Json,
    finished,
    get,
    logged,
    of_type,
    say,
    session,
    true,
    violations,
)

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]


def living(words: str) -> list[str]:
    """Processes of the machine with these words on their command line."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            found += [line] * (words in line)
    return found


async def interrupt(daemon: RunningDaemon, name: str) -> Json:
    """Stop a session; it must be idle at once."""
    answer = await daemon.http.post(f"/sessions/{name}/interrupt", json={})
    assert answer.status_code == 200, answer.text
    state = await get(daemon, f"/sessions/{name}/state")
    assert state["runState"] == {"active": False, "runId": None}
    assert {agent["status"] for agent in state["agents"]} <= {"idle", "stopped"}
    return answer.json()


async def test_an_interrupt_ends_commands_and_answers_when_all_is_idle(tmp_path: Path) -> None:
    naptime = "86311"

    async def script(ask: Ask) -> Reply:
        if ask.turn == 0:
            yield Call(
                "bash", {"command": f"echo on > on.txt; (sleep {naptime} & sleep {naptime})"}
            )
        else:
            yield "Back again."

    async with provider(script) as told:
        home = DaemonHome(tmp_path, env={**told.env, "BP_SHELL": "unsandboxed"})
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "sleep well")
            ran = home.data_dir / "workspaces" / name / "on.txt"
            await true(ran.exists)
            assert (await interrupt(daemon, name))["interrupted"] is True
            assert living(f"sleep {naptime}") == []
            again = await interrupt(daemon, name)
            assert (again["interrupted"], again["reason"]) == (False, "already_idle")
            await say(daemon, name, "and now?")
            lines = await finished(daemon, name, turns=2)
    assert violations(lines) == []
    ends = of_type(lines, "host_turn_finished")
    assert [one["outcome"] for one in ends] == ["interrupted", "completed"]


async def test_letters_that_waited_at_an_interrupt_are_read_with_the_next_message(
    tmp_path: Path,
) -> None:
    never = asyncio.Event()

    async def script(ask: Ask) -> Reply:
        if ask.number == 0:
            yield "Well, let me see"  # the last word is held until it is known to be no secret
            await never.wait()
        yield "I have read it all."

    async with provider(script) as told:
        home = DaemonHome(tmp_path, env=told.env)
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "first")
            await logged(daemon, name, lambda line: line["type"] == "text_started")
            assert (await say(daemon, name, "second, meanwhile"))["queued"] is True
            await interrupt(daemon, name)
            assert len(told.asks) == 1
            await daemon.kill()
        async with home.running() as daemon:
            await say(daemon, name, "third, after all")
            lines = await finished(daemon, name, turns=2)
        await told.until_asked(2)
        read = " ".join(str(one["content"]) for ask in told.asks[1:] for one in ask.messages)
    assert "second, meanwhile" in read
    assert "third, after all" in read
    assert violations(lines) == []


async def asking(ask: Ask) -> Reply:
    """The principal wants to know a colour."""
    if ask.turn == 0:
        yield Call("ask_user", {"question": "Which colour?", "options": ["red", "blue"]})
    else:
        yield f"You said: {ask.last}"


async def question(daemon: RunningDaemon, name: str) -> Json:
    """Wait for the question in the state of the session."""
    async with asyncio.timeout(20):
        while True:
            found = (await get(daemon, f"/sessions/{name}/state"))["questions"]
            if found:
                return found[0]
            await asyncio.sleep(0.02)


async def answer(daemon: RunningDaemon, name: str, request_id: str, text: str) -> Json:
    """Answer a question over HTTP."""
    reply = await daemon.http.post(
        f"/sessions/{name}/messages",
        json={"type": "user_input_response", "request_id": request_id, "answer": text},
    )
    return {"http": reply.status_code} | reply.json()


async def test_a_question_survives_two_kills_and_is_answered_once(tmp_path: Path) -> None:
    async with provider(asking) as told:
        home = DaemonHome(tmp_path, env=told.env)
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "paint it")
            first = await question(daemon, name)
            await daemon.kill()
        async with home.running() as daemon:
            assert await question(daemon, name) == first
            assert (await get(daemon, "/metrics"))["reclaimable"] is False
            await daemon.kill()
        async with home.running() as daemon:
            asked = str((await question(daemon, name))["requestId"])
            assert await answer(daemon, name, asked, "blue") == {"http": 200, "status": "ok"}
            lines = await finished(daemon, name)
            late = await answer(daemon, name, asked, "red")
            assert (late["http"], late["status"]) == (409, "stale")
        assert len(told.asks) == 2
    assert violations(lines) == []
    assert "blue" in of_type(lines, "host_turn_finished")[0]["answer"]
    assert len(of_type(lines, "question_asked")) == 1


async def test_an_interrupt_takes_an_open_question_back(tmp_path: Path) -> None:
    async with provider(asking) as told:
        home = DaemonHome(tmp_path, env=told.env)
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "paint it")
            asked = str((await question(daemon, name))["requestId"])
            await interrupt(daemon, name)
            assert (await get(daemon, f"/sessions/{name}/state"))["questions"] == []
            late = await answer(daemon, name, asked, "red")
            assert (late["http"], late["status"]) == (409, "stale")
            lines = await finished(daemon, name)
            events = (await get(daemon, f"/sessions/{name}/history?limit=0"))["events"]
    assert violations(lines) == []
    cancelled = [one for one in events if one["type"] == "user_input_cancelled"]
    assert [(one["request_id"], one["reason"]) for one in cancelled] == [(asked, "interrupted")]
