"""The doors of the real daemon: who may listen, what is kept of a secret, what stays fast."""

import asyncio
import time
from pathlib import Path

import httpx
import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.world import say, session, until

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]


@pytest.fixture
def home(tmp_path: Path) -> DaemonHome:
    """A team that answers by itself."""
    return DaemonHome(tmp_path, env={"BP_OFFLINE": "1"})


async def ask(daemon: RunningDaemon, method: str, path: str, token: str = "") -> httpx.Response:
    """Ask as somebody else."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=daemon.url, trust_env=False) as client:
        return await client.request(method, path, headers=headers)


@pytest.mark.fault("S1")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.com"])
async def test_a_daemon_that_others_could_reach_does_not_start_unless_that_is_wanted(
    home: DaemonHome, host: str
):
    for ended in (
        await home.command("serve", "--host", host, "--port", "0"),
        await home.command("serve", "--port", "0", BP_HOST=host),
    ):
        assert ended.code == 2
        assert "BP_ALLOW_REMOTE" in ended.err


@pytest.mark.fault("S1", "S2")
async def test_a_daemon_that_others_reach_on_purpose_still_knows_its_hosts(home: DaemonHome):
    async with home.running("--host", "0.0.0.0", BP_ALLOW_REMOTE="1") as daemon:
        port = daemon.url.rpartition(":")[2]
        assert (await ask(daemon, "GET", "/sessions")).status_code == 401
        for host in (f"0.0.0.0:{port}", f"192.0.2.7:{port}"):
            refused = await daemon.http.get("/sessions", headers={"host": host})
            assert refused.status_code == 421


@pytest.mark.fault("S6", "S9")
async def test_tokens_made_and_taken_back_by_command_count_at_once(home: DaemonHome):
    async with home.running() as daemon:
        made = await home.command("token", "new", "screen", "--scope", "read")
        token = made.out.strip()
        assert (await ask(daemon, "GET", "/sessions", token)).status_code == 200
        refused = await ask(daemon, "POST", "/sessions", token)
        assert (refused.status_code, refused.json()["code"]) == (403, "scope")
        assert (await home.command("token", "list")).out == "screen\tread\n"
        assert (await home.command("token", "revoke", "screen")).code == 0
        assert (await home.command("token", "revoke", "screen")).code == 1
        assert (await ask(daemon, "GET", "/sessions", token)).status_code == 401
        old = daemon.token
        assert (await home.command("token", "rotate")).code == 0
        assert (await ask(daemon, "GET", "/sessions", old)).status_code == 401
        assert (await ask(daemon, "GET", "/sessions", daemon.token)).status_code == 200


@pytest.mark.fault("S7")
async def test_a_secret_address_is_written_nowhere(home: DaemonHome):
    async with home.running() as daemon:
        secret = daemon.token
        for path in ("/sessions", "/nothing", "/sessions/none/state", "/sessions/%00/x", "/"):
            await ask(daemon, "GET", f"/c/{secret}{path}")
            await ask(daemon, "DELETE", f"/c/{secret}{path}")
        one = await session(daemon)
        await say(daemon, one, "hello")
        await until(daemon, one, lambda frame: frame["type"] == "RUN_FINISHED")
        await daemon.stop()
        assert secret not in daemon.said()
        kept = [path for path in home.data_dir.rglob("*") if path.is_file()]
        holding = {path.name for path in kept if secret.encode() in path.read_bytes()}
        assert holding == {"token"}


@pytest.mark.fault("I8")
async def test_health_answers_at_once_while_every_commit_takes_long(home: DaemonHome):
    slow = "log.commit.before=delay:400@1+"
    async with home.running(FAILPOINTS=slow) as daemon:
        times: list[float] = []
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(session(daemon))
            while not writing.done():
                began = time.perf_counter()
                for path in ("/health", "/healthz"):
                    assert (await daemon.http.get(path)).status_code == 200
                times.append(time.perf_counter() - began)
        assert len(times) > 10
        assert sorted(times)[len(times) // 2] < 0.2


@pytest.mark.fault("S30")
async def test_metrics_name_no_title_session_or_file(home: DaemonHome):
    async with home.running() as daemon:
        canary = "canary-of-a-title"
        names = [await session(daemon, title=f"{canary}-{n}", id=f"{canary}-{n}") for n in range(3)]
        await say(daemon, names[0], canary)
        await until(daemon, names[0], lambda frame: frame["type"] == "RUN_FINISHED")
        for path in ("/nothing-canary-of-a-title", f"/sessions/{canary}-9/state"):
            await daemon.http.get(path)
        for accept in ("text/plain", "application/openmetrics-text", "application/json"):
            shown = (await daemon.http.get("/metrics", headers={"accept": accept})).text
            assert canary not in shown
        assert canary not in (await daemon.http.get("/health")).text
        labels = (await daemon.http.get("/metrics", headers={"accept": "text/plain"})).text
        assert len([line for line in labels.splitlines() if "{" in line]) < 200
