"""A real browser: what an agent wrote stays text, and a page of somebody else changes nothing."""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.world import log_lines, say, session, until

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(BROWSER is None, reason="there is no chromium on this machine"),
]

OWN = "document.documentElement.setAttribute('data-owned', 'yes')"
PAYLOADS = (
    f'<img src=x onerror="{OWN}">',
    f"<script>{OWN}</script>",
    f'<svg/onload="{OWN}">',
    f"[click](javascript:{OWN})",
    f'"><iframe srcdoc="<script>parent.{OWN}</script>">',
    "![pixel](http://127.0.0.1:9/exfiltrated)",
)


async def dom(folder: Path, url: str, wait_s: float = 30.0) -> str:
    """The page as it is some time after it was loaded."""
    assert BROWSER is not None
    process = await asyncio.create_subprocess_exec(
        *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", f"--user-data-dir={folder}"),
        *(f"--timeout={int(wait_s * 1000)}", "--dump-dom", url),
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(90):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode(errors="replace")


@pytest.mark.fault("S29")
async def test_what_agents_and_users_write_is_shown_as_text_and_runs_nothing(tmp_path: Path):
    home = DaemonHome(tmp_path, env={"BP_OFFLINE": "1"})
    async with home.running() as daemon:
        one = await session(daemon, title=PAYLOADS[0])
        await say(daemon, one, "\n\n".join(PAYLOADS))
        await until(daemon, one, lambda frame: frame["type"] == "RUN_FINISHED")
        page = ""
        for _ in range(8):  # it is dumped as soon as it has loaded, at times before its stream
            page = await dom(tmp_path / "browser", f"{daemon.url}/c/{daemon.token}/")
            if page.count("&lt;img src=x onerror=") > 1:
                break
        assert "&lt;img src=x onerror=" in page  # it was shown
        assert "data-owned" not in page.partition(">")[2].replace("'data-owned'", "")
        for forbidden in ("<img", "<iframe", "<script>", "<svg/", 'href="javascript:'):
            assert forbidden not in page


def attack(daemon: RunningDaemon, session: str) -> str:
    """A page that knows everything, the token too, and tries all that needs no preflight."""
    daemon_at = f"{daemon.url}/c/{daemon.token}"
    message = '{"content":"owned"}'
    other = daemon_at.replace("127.0.0.1", "localhost")
    return f"""<!doctype html><body><h1>prize</h1>
<iframe name=f1></iframe><iframe name=f2></iframe>
<form id=a target=f1 method=post enctype=text/plain
 action="{daemon_at}/sessions/{session}/messages">
<input name='{{"content":"owned","x":"' value='"}}'></form>
<form id=b target=f2 method=post action="{daemon_at}/sessions"></form>
<img src="{daemon_at}/sessions/{session}/evict"><img src="{other}/sessions">
<script src="{daemon_at}/sessions/{session}/history"></script>
<link rel=stylesheet href="{daemon_at}/sessions"><img src="/until-done">
<script>
const got = [], all = [];
const to = (name, promise) => all.push(promise.then(
  (answer) => answer.text().then((text) => got.push(name + ":" + answer.status + ":" + text)),
  () => got.push(name + ":refused")));
document.getElementById("a").submit();
document.getElementById("b").submit();
for (const at of ["{daemon_at}", "{other}", "{daemon_at}".replace("127.0.0.1", "0.0.0.0")]) {{
  to("post", fetch(at + "/sessions/{session}/messages",
    {{method: "POST", mode: "no-cors", body: '{message}'}}));
  to("json", fetch(at + "/sessions", {{method: "POST",
    headers: {{"content-type": "application/json"}}, body: "{{}}"}}));
  to("delete", fetch(at + "/sessions/{session}", {{method: "DELETE"}}));
  to("read", fetch(at + "/sessions"));
  navigator.sendBeacon(at + "/sessions/{session}/messages", '{message}');
  new EventSource(at + "/sse/{session}").onmessage = (one) => got.push("stream:" + one.data);
  try {{ new WebSocket(at.replace("http", "ws") + "/sse/{session}"); }} catch (error) {{}}
}}
Promise.allSettled(all).then(() => setTimeout(() => {{
  document.body.dataset.got = got.join("|");
  fetch("/done");
}}, 1000));
</script>"""


@asynccontextmanager
async def serving_page(text: str) -> AsyncGenerator[str]:
    """Another origin that serves one page; it has loaded when it says that it is done."""
    done = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        if asked.startswith(b"GET /done"):
            done.set()
        elif asked.startswith(b"GET /until-done"):
            await done.wait()
        body = text.encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len(body)}\r\n"
        writer.write(f"{head}connection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.fault("S3", "S4", "S5")
async def test_a_page_of_another_origin_changes_and_reads_nothing_even_with_the_token(
    tmp_path: Path,
):
    home = DaemonHome(tmp_path, env={"BP_OFFLINE": "1"})
    async with home.running() as daemon:
        one = await session(daemon, title="unread")
        before = await log_lines(daemon, one)
        sessions = (await daemon.http.get("/sessions")).json()
        async with serving_page(attack(daemon, one)) as page:
            seen = await dom(tmp_path / "browser", page)
        assert "data-got=" in seen  # the attack ran to its end
        assert "read:refused" in seen
        assert "unread" not in seen
        assert "stream:" not in seen.partition("data-got=")[2].partition('"')[2].partition('"')[0]
        assert await log_lines(daemon, one) == before
        assert (await daemon.http.get("/sessions")).json() == sessions
        metrics = await daemon.http.get("/metrics", headers={"accept": "text/plain"})
        refused = [line for line in metrics.text.splitlines() if 'refused_total{reason="' in line]
        assert any('"origin"' in line for line in refused), refused
