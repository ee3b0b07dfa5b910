"""MCP servers we did not write, and some that misbehave, beside a real daemon."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from brainpilot_rt.tools.mcp.config import ServerConfig
from tests.realtime.daemon.world import finished, get, logged, of_type, say, session, until
from tests.realtime.mcp.test_servers import (
    EVERYTHING,
    NODE,
    everything_over_http,
    free_port,
    needs_everything,
)
from tests.realtime.mcp.world import CHAOS, pool_of, told
from tests.realtime.mcp.world import call as tool_call

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(90)]

CHANGING = Path(__file__).with_name("changing.py")
TOKEN = "tok-4f0c9a1be27d4c55a8"
Json = dict[str, Any]


def program(*arguments: object) -> Json:
    return {"command": sys.executable, "args": [str(one) for one in arguments]}


def home(tmp_path: Path, **servers: Json) -> DaemonHome:
    """Where daemons live whose user has named these servers."""
    made = DaemonHome(tmp_path, env={"BP_MOCK": "1"})
    made.configure("")
    file = made.data_dir / "bp_template/mcp_servers.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"mcpServers": servers}))
    return made


async def asks_for(daemon: RunningDaemon, name: str, **arguments: object) -> str:
    """A new session whose model calls a tool; its id."""
    made = await session(daemon)
    await say(daemon, made, f"[[tool:{name} {json.dumps(arguments)}]]")
    return made


async def result(daemon: RunningDaemon, session: str) -> Json:
    """The one result of a call, once all is done."""
    [found] = of_type(await finished(daemon, session), "tool_finished")
    return found


async def call(daemon: RunningDaemon, name: str, **arguments: object) -> Json:
    return await result(daemon, await asks_for(daemon, name, **arguments))


async def asked(daemon: RunningDaemon, session: str) -> str:
    """The id of the approval that a session waits for."""
    [found] = await logged(daemon, session, lambda line: line["type"] == "approval_requested")
    return str(found["approval_id"])


async def let_all_run(daemon: RunningDaemon, pattern: str) -> None:
    policy = {"tool_name": pattern, "requires_approval": False}
    answer = await daemon.http.put("/v1/mcp/governance/policy", json=policy)
    assert answer.status_code == 200, answer.text


@asynccontextmanager
async def recorded(port: int) -> AsyncGenerator[tuple[int, list[bytes]]]:
    """Stands before a server; (its own port, what clients sent)."""
    heard: list[bytes] = []

    async def pump(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, note: list[bytes] | None
    ) -> None:
        while data := await source.read(65_536):
            if note is not None:
                note.append(data)
            sink.write(data)
            await sink.drain()
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pump(reader, ours, heard))
                group.create_task(pump(theirs, writer, None))
        except* OSError:
            pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


@needs_everything
async def test_a_model_calls_servers_we_did_not_write(tmp_path: Path):
    servers = {
        "every": {"command": NODE, "args": [str(EVERYTHING), "stdio"]},
        "time": program("-m", "mcp_server_time"),
    }
    async with home(tmp_path, **servers).running() as daemon:
        echoed = await call(daemon, "mcp__every__echo", message="hi")
        assert (echoed["status"], echoed["content"]) == ("completed", "Echo: hi")
        clock = await call(daemon, "mcp__time__get_current_time", timezone="UTC")
        assert '"timezone": "UTC"' in clock["content"]
        status = await get(daemon, "/mcp/status")
        assert {one["name"]: one["state"] for one in status["servers"]} == {
            "every": "ready",
            "time": "ready",
        }
        rows = (await get(daemon, "/v1/mcp/audit"))["entries"]
        assert [(row["tool"], row["status"]) for row in rows] == [
            ("mcp__time__get_current_time", "completed"),
            ("mcp__every__echo", "completed"),
        ]
        assert await daemon.stop() == 0
        assert "crashed" not in daemon.said()


async def test_a_commit_by_a_server_waits_for_a_word_over_http(tmp_path: Path):
    repo = tmp_path / "repo"
    repo.mkdir()
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]

    async def run(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *git, *words, cwd=repo, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode()

    await run("init", "-q")
    await run("commit", "-q", "--allow-empty", "-m", "First")
    (repo / "new.txt").write_text("new\n")
    await run("add", "new.txt")
    who = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org"}
    names = who | {"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org"}
    server = {**program("-m", "mcp_server_git"), "env": names}
    async with home(tmp_path, git=server).running() as daemon:
        arguments = {"repo_path": str(repo), "message": "Second"}
        made = await asks_for(daemon, "mcp__git__git_commit", **arguments)
        approval = await asked(daemon, made)
        assert "Second" not in await run("log", "--format=%s")
        [shown] = (await get(daemon, "/v1/mcp/approvals"))["approvals"]
        assert (shown["toolName"], shown["args"]) == ("mcp__git__git_commit", arguments)
        answer = await daemon.http.post(f"/v1/mcp/approvals/{approval}/approve", json={})
        assert answer.status_code == 200, answer.text
        assert (await result(daemon, made))["status"] == "completed"
        assert (await run("log", "--format=%s")).splitlines() == ["Second", "First"]


@needs_everything
@pytest.mark.fault("S23")
async def test_a_credential_is_sent_to_its_server_and_shown_nowhere(tmp_path: Path):
    upstream = free_port()
    here = home(tmp_path)
    async with (
        everything_over_http(upstream),
        recorded(upstream) as (port, heard),
        here.running() as daemon,
    ):
        auth = {"type": "bearer", "token": TOKEN}
        body = {"name": "web", "url": f"http://127.0.0.1:{port}/mcp", "auth": auth}
        answers = [await daemon.http.post("/v1/mcp/servers", json=body)]
        assert answers[0].status_code == 201, answers[0].text
        assert answers[0].json()["auth"] == {
            "type": "bearer",
            "headerName": None,
            "configured": True,
        }
        made = await asks_for(daemon, "mcp__web__echo", message=f"my token is {TOKEN}")
        echoed = await result(daemon, made)
        assert echoed["status"] == "completed"
        assert b"".join(heard).lower().count(f"authorization: bearer {TOKEN}".encode()) >= 2
        paths = (
            "/v1/mcp/servers",
            "/v1/mcp/servers/web",
            "/v1/mcp/tools?server_id=web",
            "/v1/mcp/audit",
            "/v1/mcp/governance",
            "/mcp/status",
            f"/sessions/{made}/history?limit=0",
            f"/sessions/{made}/export",
        )
        answers += [await daemon.http.get(path) for path in paths]
        assert all(answer.is_success and TOKEN not in answer.text for answer in answers)
        assert await daemon.stop() == 0
        assert TOKEN not in daemon.said()
    kept = {path.name: path.read_bytes() for path in here.data_dir.iterdir() if path.is_file()}
    assert [name for name, data in kept.items() if TOKEN.encode() in data] == ["vault.json"]
    async with everything_over_http(upstream), recorded(upstream), here.running() as daemon:
        assert (await get(daemon, "/v1/mcp/servers/web"))["auth"]["configured"]
        removed = await daemon.http.delete("/v1/mcp/servers/web")
        assert removed.json() == {"id": "web", "deleted": True}
        assert (await get(daemon, "/v1/mcp/servers"))["servers"] == []
    assert TOKEN.encode() not in (here.data_dir / "vault.json").read_bytes()


@pytest.mark.fault("H1")
async def test_a_server_that_is_killed_in_a_call_leaves_it_unknown_and_nothing_else(
    tmp_path: Path,
):
    async with home(tmp_path, chaos=program(CHAOS, "")).running() as daemon:
        await let_all_run(daemon, "mcp__chaos__*")
        made = await asks_for(daemon, "mcp__chaos__kill")
        killed = await result(daemon, made)
        assert killed["status"] == "unknown"
        assert "may or may not have taken effect" in killed["content"]
        assert (await daemon.http.post("/v1/mcp/servers/chaos/restart")).is_success
        await say(daemon, made, '[[tool:mcp__chaos__echo {"text": "again"}]]')
        _, again = of_type(await finished(daemon, made, 2), "tool_finished")
        assert (again["status"], again["content"]) == ("completed", "again")
        assert await daemon.stop() == 0


async def test_a_server_that_floods_is_left_and_the_daemon_goes_on(tmp_path: Path):
    servers = {"chaos": program(CHAOS, ""), "time": program("-m", "mcp_server_time")}
    async with home(tmp_path, **servers).running() as daemon:
        await let_all_run(daemon, "mcp__chaos__*")
        flooded = await call(daemon, "mcp__chaos__garbage", lines=100_000)
        assert flooded["status"] == "unknown"
        assert "messages" in flooded["content"]
        assert (await daemon.http.post("/v1/mcp/servers/chaos/restart")).is_success
        huge = await call(daemon, "mcp__chaos__line")
        assert huge["status"] == "unknown"
        fine = await call(daemon, "mcp__time__get_current_time", timezone="UTC")
        assert fine["status"] == "completed"
        metrics = await daemon.http.get("/metrics", headers={"accept": "text/plain"})
        assert "brainpilot_rt_mcp_servers 2.0" in metrics.text


@pytest.mark.fault("S18")
async def test_a_tool_that_changes_before_it_is_approved_does_not_run(tmp_path: Path):
    (tmp_path / "about.txt").write_text("Deploys to the test machine.")
    server = program(CHANGING, tmp_path)
    async with home(tmp_path, ops=server).running() as daemon:
        made = await asks_for(daemon, "mcp__ops__deploy")
        approval = await asked(daemon, made)
        (tmp_path / "about.txt").write_text("Deploys to production.")
        refused = await result(daemon, made)
        assert refused["status"] == "refused"
        assert "Tool deploy of MCP server ops has changed" in refused["content"]
        late = await daemon.http.post(f"/v1/mcp/approvals/{approval}/approve", json={})
        assert late.status_code == 409
        assert "denied already, by policy" in late.text
        assert not (tmp_path / "called.txt").exists()
        frames = await until(daemon, made, lambda one: one.get("code") == "mcp_tool_changed")
        assert "approvals for it are void" in frames[-1]["message"]
        # Asked anew about what it is now, it runs.
        await say(daemon, made, "[[tool:mcp__ops__deploy {}]]")
        wanted = await logged(daemon, made, lambda line: line["type"] == "approval_requested", 2)
        answer = await daemon.http.post(f"/approvals/{wanted[1]['approval_id']}/approve", json={})
        assert answer.status_code == 200
        await finished(daemon, made, 2)
        assert (tmp_path / "called.txt").read_text() == "deploy\n"


async def test_an_approval_of_a_foreign_tool_outlives_a_kill(tmp_path: Path):
    (tmp_path / "about.txt").write_text("Deploys to the test machine.")
    here = home(tmp_path, ops=program(CHANGING, tmp_path))
    async with here.running() as daemon:
        made = await asks_for(daemon, "mcp__ops__deploy")
        approval = await asked(daemon, made)
        await daemon.kill()
    async with here.running() as daemon:
        answer = await daemon.http.post(f"/approvals/{approval}/approve", json={})
        assert answer.status_code == 200, answer.text
        assert (await result(daemon, made))["status"] == "completed"
        assert (tmp_path / "called.txt").read_text() == "deploy\n"


async def test_a_call_outside_of_a_run_is_answered_with_the_approval_it_needs(tmp_path: Path):
    (tmp_path / "about.txt").write_text("Deploys to the test machine.")
    async with home(tmp_path, ops=program(CHANGING, tmp_path)).running() as daemon:
        discovered = await daemon.http.post("/v1/mcp/servers/ops/discover")
        assert [one["name"] for one in discovered.json()["tools"]] == ["deploy"]
        body = {"server_id": "ops", "tool": "deploy", "arguments": {"to": "a"}}
        key = {"idempotency-key": "k1"}
        first = await daemon.http.post("/v1/mcp/tools/call", json=body, headers=key)
        assert (first.status_code, first.json()["status"]) == (202, "pending_approval")
        approval = first.json()["approvalId"]
        listed = await get(daemon, "/approvals")
        assert [one["id"] for one in listed["approvals"]] == [approval]
        await daemon.http.post(f"/v1/mcp/approvals/{approval}/approve", json={})
        assert not (tmp_path / "called.txt").exists()
        done = await daemon.http.post("/v1/mcp/tools/call", json=body, headers=key)
        assert (done.status_code, done.json()["content"][0]["text"]) == (200, "deployed")
        again = await daemon.http.post("/v1/mcp/tools/call", json=body, headers=key)
        assert again.json() == done.json()
        other = await daemon.http.post("/v1/mcp/tools/ops/deploy", json={"to": "a"})
        assert other.status_code == 202
        assert (tmp_path / "called.txt").read_text() == "deploy\n"
        [pending, ran] = (await get(daemon, "/v1/mcp/audit"))["entries"]
        assert (ran["sessionId"], ran["approval"], ran["status"]) == (
            "_daemon",
            "approved",
            "completed",
        )
        assert pending["approval"] == "pending"


async def test_a_daemon_stops_while_a_server_is_silent(tmp_path: Path):
    async with home(tmp_path, chaos=program(CHAOS, "")).running() as daemon:
        await let_all_run(daemon, "mcp__chaos__*")
        made = await asks_for(daemon, "mcp__chaos__mute")
        await logged(daemon, made, lambda line: line["type"] == "tool_started")
        body = {"server_id": "chaos", "tool": "mute"}
        async with asyncio.TaskGroup() as group:
            direct = group.create_task(daemon.http.post("/v1/mcp/tools/call", json=body))
            async with asyncio.timeout(30):
                while "_daemon" not in (await daemon.http.get("/v1/mcp/audit")).text:  # noqa: ASYNC110 - the trail rings no bell
                    await asyncio.sleep(0.02)
            assert await daemon.stop() == 0
        assert direct.result().status_code == 503


async def test_servers_at_the_command_line(tmp_path: Path):
    (tmp_path / "about.txt").write_text("Deploys to the test machine.")
    tree = tmp_path / "project"
    tree.mkdir()
    entry = program(CHANGING, tmp_path) | {"env": {"WHO": "${USER}"}}
    (tree / ".mcp.json").write_text(json.dumps({"mcpServers": {"theirs": entry}}))
    here = home(tmp_path, chaos=program(CHAOS, "exit"))
    async with here.running(USER="ada") as daemon:
        made = await session(daemon, workspace=str(tree))
        await say(daemon, made, "hello")
        await finished(daemon, made)
        listed = await here.command("mcp", "list", "--json")
        states = {one["name"]: one["status"] for one in json.loads(listed.out)}
        assert states["theirs"] == "needs_consent"
        shown = await here.command("mcp")
        assert "configuration missing" in shown.out
        allowed = await here.command("mcp", "allow", "theirs", "--yes")
        assert allowed.code == 0, allowed.err
        assert "changing.py" in allowed.err
        assert "is given the variables USER" in allowed.err
        tools = await here.command("mcp", "tools", "theirs")
        assert tools.out.startswith("mcp__theirs__deploy")
        assert (await here.command("mcp", "restart", "theirs")).code == 0
        nobody = await here.command("mcp", "restart", "nobody")
        assert (nobody.code, "no MCP server" in nobody.err) == (1, True)
        await say(daemon, made, "[[tool:mcp__theirs__deploy {}]]")
        assert await asked(daemon, made)


async def test_the_daemon_is_an_mcp_server_itself(tmp_path: Path):
    async with home(tmp_path).running() as daemon:
        address = f"{daemon.url}/v1/mcp/connect"
        headers = {"Authorization": f"Bearer {daemon.token}"}
        config = ServerConfig(name="team", kind="http", url=address, headers=headers)
        async with pool_of(config, folder=tmp_path) as pool:
            assert told(pool, "team")["protocol"] == "2026-07-28"
            effects = {one.definition.tool: one.spec.effect.value for one in pool.tools()}
            assert effects == {
                "run_agent": "irreversible",
                "list_sessions": "pure",
                "get_session_events": "pure",
            }

            async def ask(tool: str, **arguments: object) -> Json:
                output = await tool_call(pool, tmp_path, f"mcp__team__{tool}", **arguments)
                assert not output.failed, output.content
                return json.loads(output.content)

            ran = await ask("run_agent", agent="librarian", message="hello")
            assert (ran["reason"], ran["text"]) == ("completed", "mock reply from librarian")
            listed = await ask("list_sessions", agent="librarian")
            assert [one["id"] for one in listed["sessions"]] == [ran["sessionId"]]
            seen = await ask("get_session_events", agent="librarian", session_id=ran["sessionId"])
            assert seen["events"][-1]["type"] == "session.status_ended"
            unknown = await tool_call(
                pool, tmp_path, "mcp__team__run_agent", agent="nobody-there", message="x"
            )
            assert unknown.failed
            assert "there is no agent" in unknown.content
        old: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        accept = {"accept": "application/json, text/event-stream"}
        listing = await daemon.http.post("/v1/mcp/connect", json=old, headers=accept)
        assert len(listing.json()["result"]["tools"]) == 3
        assert (await daemon.http.get("/v1/mcp/connect")).status_code == 405
        stranger = {**accept, "authorization": "Bearer wrong"}
        refused = await daemon.http.post("/v1/mcp/connect", json=old, headers=stranger)
        assert refused.status_code == 401
