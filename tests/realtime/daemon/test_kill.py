"""kill -9 at the moments that hurt, then a second life: the run finishes, nothing twice."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome
from tests.realtime.daemon.provider import Ask, Call, Provider, Reply, Script, provider
from tests.realtime.daemon.world import (
    Json,
    boxes,
    export,
    finished,
    logged,
    of_type,
    say,
    session,
    true,
    violations,
)

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]


def repeated(told: Provider) -> dict[str, int]:
    """Requests for the same reply beyond the first, by agent."""
    again = Counter(ask.fingerprint for ask in told.asks)
    by_agent = Counter[str]()
    for ask in told.asks:
        by_agent[ask.agent] += 0
    for one, count in again.items():
        agent = next(ask.agent for ask in told.asks if ask.fingerprint == one)
        by_agent[agent] += count - 1
    return dict(+by_agent)


async def second_life(home: DaemonHome, name: str) -> list[Json]:
    """Start again, wait for the end; the exported log after yet another restart."""
    async with home.running() as daemon:
        await finished(daemon, name)
        await true(lambda: tidy(daemon.mailboxes, name), 5)
        assert (await daemon.stop()) == 0
    lines = await export(home, name)
    assert violations(lines) == []
    return lines


def tidy(mailboxes: Path, name: str) -> bool:
    """No letter is left anywhere but where letters end."""
    found = [boxes(mailboxes, name, one) for one in ("principal", "librarian", "writer")]
    return not any(one[box] for one in found for box in ("tmp", "new", "cur", "bad"))


def answer_of(lines: list[Json]) -> str:
    """The answer of the only host turn."""
    (turn,) = of_type(lines, "host_turn_finished")
    assert turn["outcome"] == "completed", turn
    return str(turn["answer"])


@pytest.mark.fault("B5")
async def test_a_run_killed_before_its_first_token_is_finished_by_the_next_daemon(
    tmp_path: Path,
) -> None:
    never = asyncio.Event()

    async def script(ask: Ask) -> Reply:
        if ask.number == 0:
            await never.wait()
        yield "The answer is 42."

    async with provider(script) as told:
        home = DaemonHome(tmp_path, env=told.env)
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "what is it?")
            await told.until_asked(1)
            await daemon.kill()
        lines = await second_life(home, name)
        assert answer_of(lines) == "The answer is 42."
        assert repeated(told) == {"principal": 1}
    assert len(of_type(lines, "run_interrupted")) == 1


@pytest.mark.fault("B6")
async def test_a_text_cut_by_a_kill_ends_aborted_and_is_said_anew(tmp_path: Path) -> None:
    never = asyncio.Event()

    async def script(ask: Ask) -> Reply:
        yield "The answer"
        if ask.number == 0:
            await never.wait()
        yield " is 42."

    async with provider(script) as told:
        home = DaemonHome(tmp_path, env=told.env)
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "what is it?")
            await logged(daemon, name, lambda line: line["type"] == "text_started")
            await daemon.kill()
        lines = await second_life(home, name)
        assert answer_of(lines) == "The answer is 42."
        assert [line["aborted"] for line in of_type(lines, "text_finished")] == [True, False]
        assert repeated(told) == {"principal": 1}


@pytest.mark.fault("H13")
async def test_a_command_cut_by_a_kill_is_unknown_to_the_model_and_never_run_again(
    tmp_path: Path,
) -> None:
    async def script(ask: Ask) -> Reply:
        if ask.turn == 0:
            yield "Let me run it."
            yield Call("bash", {"command": "echo ran >> ran.txt; sleep 600"})
            yield Call("ls", {})
        else:
            yield f"It said: {ask.messages[-2]['content']}"

    async with provider(script) as told:
        home = DaemonHome(tmp_path, env={**told.env, "BP_SHELL": "unsandboxed"})
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "run it")
            await logged(daemon, name, lambda line: line["type"] == "tool_finished")
            ran = home.data_dir / "workspaces" / name / "ran.txt"
            await true(ran.exists)
            await daemon.kill()
        lines = await second_life(home, name)
        assert ran.read_text() == "ran\n"
        assert "It may or may not have taken effect" in answer_of(lines)
        assert repeated(told) == {}
        assert len(told.asks) == 2
    results = {line["name"]: line["status"] for line in of_type(lines, "tool_finished")}
    assert results == {"bash": "unknown", "ls": "completed"}
    assert not processes_of("sleep 600", home)


def processes_of(words: str, home: DaemonHome) -> list[str]:
    """Living processes whose environment names the home."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                cwd = (entry / "cwd").readlink()
            except OSError:
                continue
            if words in line and str(cwd).startswith(str(home.data_dir)):
                found.append(line)
    return found


def team_script(hold: dict[str, asyncio.Event]) -> Script:
    """The principal delegates twice in parallel and answers with what came back."""

    async def script(ask: Ask) -> Reply:
        key = f"{ask.agent}:{ask.turn}"
        if key in hold:
            yield "thinking"
            await hold.pop(key).wait()
        if ask.agent == "principal":
            said = [str(one["content"]) for one in ask.messages]
            results = sum(one.count("result_deliver") for one in said)
            if ask.turn == 0:
                for who in ("librarian", "writer"):
                    yield Call(
                        "send_message",
                        {"to": who, "content": f"please, {who}", "msg_type": "task_delegate"},
                    )
            elif results >= 2:
                yield "Both are done."
            else:
                yield "Waiting."
        elif ask.turn == 0:
            task = ask.last.partition("task task_")[2][:26]
            yield Call("ls", {})
            yield Call(
                "send_message",
                {
                    "to": "principal",
                    "content": f"{ask.agent} did it",
                    "msg_type": "result_deliver",
                    "task_id": f"task_{task}",
                },
            )
        else:
            yield "Delivered."

    return script


@pytest.mark.parametrize(
    "moment", ["principal:0", "librarian:0", "writer:0", "librarian:1", "principal:1"]
)
@pytest.mark.fault("B6")
async def test_a_delegation_survives_a_kill_at_any_turn(tmp_path: Path, moment: str) -> None:
    hold = {moment: asyncio.Event()}
    async with provider(team_script(dict(hold))) as told:
        home = DaemonHome(tmp_path, env=told.env)
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "do it")
            agent, _, turn = moment.partition(":")
            await true(lambda: any(a.agent == agent and a.turn == int(turn) for a in told.asks))
            await daemon.kill()
        lines = await second_life(home, name)
        assert answer_of(lines).endswith("Both are done.")
        delegated = of_type(lines, "task_opened")
        assert sorted(line["assignee"] for line in delegated) == ["librarian", "writer"]
        assert [line["outcome"] for line in of_type(lines, "task_closed")] == ["result", "result"]
        assert all(again == 1 for again in repeated(told).values())


async def test_letters_no_run_holds_leave_cur_at_the_next_start(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env={"BP_OFFLINE": "1"})
    async with home.running() as daemon:
        name = await session(daemon)
        await say(daemon, name, "hello")
        await finished(daemon, name)
        box = daemon.mailboxes / name / "principal"
        await true(lambda: tidy(daemon.mailboxes, name))
        assert await daemon.stop() == 0
    (consumed, *_) = boxes(daemon.mailboxes, name, "principal")["done"]
    (box / "done" / consumed).rename(box / "cur" / consumed)
    (box / "cur" / "strange.json").write_text('{"to":"principal","content":"hello again"}')
    async with home.running() as daemon:
        lines = await finished(daemon, name, turns=2)
        await true(lambda: tidy(daemon.mailboxes, name))
        assert consumed in boxes(daemon.mailboxes, name, "principal")["done"]
    assert violations(lines) == []
    assert len(of_type(lines, "host_turn_finished")) == 2


async def test_a_run_that_clean_stops_cut_again_and_again_is_not_given_up_after_a_kill(
    tmp_path: Path,
) -> None:
    never = asyncio.Event()

    async def script(ask: Ask) -> Reply:
        if ask.number < 4:
            await never.wait()
        yield "The answer is 42."

    async with provider(script) as told:
        home = DaemonHome(tmp_path, env=told.env)
        name = "patient"
        for life in range(4):
            async with home.running() as daemon:
                if life == 0:
                    await session(daemon, id=name)
                    await say(daemon, name, "think for days")
                await told.until_asked(life + 1)
                if life < 3:
                    assert await daemon.stop() == 0
                else:
                    await daemon.kill()
        lines = await second_life(home, name)
    assert answer_of(lines) == "The answer is 42."
    assert [line["attempt"] for line in of_type(lines, "run_started")] == [1, 1, 1, 1, 2]
