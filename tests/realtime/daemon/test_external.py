"""Agents and letters that come from the file system alone: sh, mv and printf."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.provider import Ask, Call, Reply, provider
from tests.realtime.daemon.world import (
    Json,
    boxes,
    finished,
    get,
    log_lines,
    of_type,
    say,
    session,
    true,
    until,
    violations,
)

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

SCRIPT = Path(__file__).with_name("joiner.sh")


async def delegating(ask: Ask) -> Reply:
    """The principal leaves the counting to the agent called counter."""
    said = [str(one["content"]) for one in ask.messages]
    if ask.turn == 0:
        yield Call(
            "send_message", {"to": "counter", "content": "count", "msg_type": "task_delegate"}
        )
    elif any("counted: forty-two" in one for one in said):
        yield "It is forty-two."
    else:
        yield "I wait."


@asynccontextmanager
async def joiner(daemon: RunningDaemon, name: str) -> AsyncGenerator[Path]:
    """The shell script beside a daemon; its mailbox."""
    room = daemon.mailboxes / name
    process = await asyncio.create_subprocess_exec("sh", str(SCRIPT), str(room), "counter")
    try:
        yield room / "counter"
    finally:
        process.kill()
        await process.wait()


async def joined(daemon: RunningDaemon, name: str) -> Json:
    """Wait for the agent in the list of agents: one sweep of the mailboxes."""
    async with asyncio.timeout(10):
        while True:
            for agent in (await get(daemon, f"/sessions/{name}/agents"))["agents"]:
                if agent["name"] == "counter":
                    return agent
            await asyncio.sleep(0.02)


def about(frame: Json, op: str, agent: str = "counter") -> bool:
    """Whether a frame is a receipt of this agent's letters."""
    value = frame.get("value", {})
    return frame.get("name") == "letter" and value["op"] == op and value.get("agent") == agent


@pytest.mark.parametrize("watch", ["true", "false"])
async def test_a_shell_script_joins_and_answers_a_delegated_task(
    tmp_path: Path, watch: str
) -> None:
    async with provider(delegating) as told:
        home = DaemonHome(tmp_path, env=told.env)
        home.configure(f"[mail]\nwatch = {watch}\nrescan_s = 1.0\n")
        async with home.running() as daemon:
            name = await session(daemon)
            async with joiner(daemon, name) as box:
                assert (await joined(daemon, name))["kind"] == "external"
                await say(daemon, name, "how many?")
                await until(daemon, name, lambda frame: about(frame, "claimed"))
                assert len(boxes(daemon.mailboxes, name, "counter")["cur"]) == 1
                (box / "go").touch()
                await until(daemon, name, lambda frame: about(frame, "consumed"))
                lines = await finished(daemon, name)
            letters = (await get(daemon, f"/sessions/{name}/letters"))["letters"]
            await true(lambda: len(boxes(daemon.mailboxes, name, "principal")["done"]) == 2)
    check_answer(lines)
    assert [(one["from"], one["to"], one["kind"], one["receipt"]) for one in letters] == [
        ("user", "principal", "user_message", "consumed"),
        ("principal", "counter", "task_delegate", "consumed"),
        ("counter", "principal", "result_deliver", "consumed"),
    ]
    assert len({one["task_id"] for one in letters[1:]}) == 1


async def test_a_shell_script_may_answer_while_the_daemon_is_dead(tmp_path: Path) -> None:
    async with provider(delegating) as told:
        home = DaemonHome(tmp_path, env=told.env)
        async with home.running() as daemon:
            name = await session(daemon)
            async with joiner(daemon, name) as box:
                await joined(daemon, name)
                await say(daemon, name, "how many?")
                await true(lambda: boxes(daemon.mailboxes, name, "counter")["cur"] != [])
                await daemon.kill()
                (box / "go").touch()
                await true(lambda: boxes(daemon.mailboxes, name, "counter")["done"] != [])
        async with home.running() as daemon:
            check_answer(await finished(daemon, name))


def check_answer(lines: list[Json]) -> None:
    """One host turn, one task, nothing left."""
    assert violations(lines) == []
    (turn,) = of_type(lines, "host_turn_finished")
    assert (turn["outcome"], turn["answer"]) == ("completed", "It is forty-two.")
    (task,) = of_type(lines, "task_closed")
    assert task["outcome"] == "result"


def drop(folder: Path, name: str, data: bytes) -> None:
    """Deliver a file as the protocol wants it."""
    (folder / "tmp" / name).write_bytes(data)
    (folder / "tmp" / name).rename(folder / "new" / name)


async def test_the_smallest_letter_under_any_legal_name_opens_a_turn(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env={"BP_OFFLINE": "1"})
    async with home.running() as daemon:
        name = await session(daemon)
        box = daemon.mailboxes / name / "principal"
        await true(box.joinpath("new").is_dir)
        drop(box, "anything.json", b'{"to":"principal","content":"hello"}')
        lines = await finished(daemon, name)
    (received,) = of_type(lines, "letter_received")
    assert (received["letter"]["from"], received["letter"]["kind"]) == ("external", "user_message")
    assert violations(lines) == []


HOSTILE = {
    "Upper.json": (b'{"to":"principal","content":"a"}', "illegal_name"),
    "twice.json": (b'{"to":"principal","to":"writer","content":"a"}', "duplicate_key"),
    "nan.json": (b'{"to":"principal","content":"a","ttl_s":NaN}', "bad_number"),
    "misrouted.json": (b'{"to":"writer","content":"a"}', "misrouted"),
    "deep.json": (b'{"ext":' + b"[" * 5000 + b"]" * 5000 + b"}", "too_deep"),
    "latin.json": (b'{"to":"principal","content":"\xe9"}', "not_utf8"),
    "huge.json": (b'{"to":"principal","content":"' + b"a" * 600_000 + b'"}', "too_large"),
    "list.json": (b"[1]", "not_an_object"),
    "shape.json": (b'{"to":"principal","content":1}', "invalid_field"),
}


@pytest.mark.fault("C4", "C15", "S12")
async def test_hostile_files_go_to_bad_with_a_reason_and_hold_up_nobody(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env={"BP_OFFLINE": "1"})
    home.configure("[mail]\nrescan_s = 1.0\n")
    async with home.running() as daemon:
        name = await session(daemon)
        box = daemon.mailboxes / name / "principal"
        await true(box.joinpath("new").is_dir)
        for file, (data, _) in HOSTILE.items():
            drop(box, file, data)
        (box / "new" / "link.json").symlink_to(home.data_dir / "token")
        (box / "new" / "left.txt").write_text("not a letter")
        drop(box, "zz-good.json", b'{"to":"principal","content":"hello"}')
        lines = await finished(daemon, name)
        await true(lambda: len(reasons(box)) == len(HOSTILE) + 1)
        lines = await log_lines(daemon, name)
        listed = (await get(daemon, f"/sessions/{name}/letters"))["letters"]
    found = reasons(box)
    link = found.pop("link.json")
    assert {file: reason["reason"] for file, reason in found.items()} == {
        file: reason for file, (_, reason) in HOSTILE.items()
    }
    assert link["detail"]
    assert daemon.token not in json.dumps([found, link, lines])
    assert (box / "new" / "left.txt").exists()
    assert len(of_type(lines, "letter_refused")) == len(HOSTILE) + 1
    assert [one["from"] for one in listed if one["kind"] == "user_message"] == ["external"]


def reasons(box: Path) -> dict[str, Json]:
    """What stands in `bad/` about each refused file."""
    return {
        one.name.removesuffix(".reason.json"): json.loads(one.read_bytes())
        for one in (box / "bad").glob("*.reason.json")
    }
