"""A real browser: what an agent wrote stays text, and a page of somebody else changes nothing."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

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


class Browser:
    """A page in a headless browser, spoken to over its pipes (NUL after each message)."""

    def __init__(self, reader: asyncio.StreamReader, writer: int) -> None:
        self._reader = reader
        self._writer = writer
        self._count = 0
        self._page: dict[str, str] = {}

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the browser; its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params, **self._page}
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            said = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            if said.get("id") == self._count:
                return dict(said.get("result", {}))

    async def open(self, url: str) -> None:
        """Load a page."""
        target = await self.ask("Target.createTarget", url=url)
        attached = await self.ask(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._page = {"sessionId": attached["sessionId"]}

    async def dom_when(self, expression: str) -> str:
        """The page as it is once an expression of it holds."""
        async with asyncio.timeout(60):
            while not await self._value(expression):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)  # a page rings no bell
        return str(await self._value("document.documentElement.outerHTML"))

    async def _value(self, expression: str) -> Any:
        result = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return result.get("result", {}).get("value")  # none while it is loading


@asynccontextmanager
async def browsing(folder: Path) -> AsyncGenerator[Browser]:
    """A browser with a profile of its own; one that dies before its first word is started again."""
    async with AsyncExitStack() as stack:
        browser = await stack.enter_async_context(launched(folder))
        try:
            await browser.ask("Browser.getVersion")
        except (asyncio.IncompleteReadError, OSError):
            again = folder.with_name(f"{folder.name}-again")
            browser = await stack.enter_async_context(launched(again))
        yield browser


@asynccontextmanager
async def launched(folder: Path) -> AsyncGenerator[Browser]:
    """A browser process, spoken to over its pipes; killed with its children at the end."""
    assert BROWSER is not None
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(
            "bash",
            "-c",
            f'exec 200<&{theirs_in} 201>&{theirs_out}; exec "$@" 3<&200 4>&201',
            "bash",
            BROWSER,
        ),
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", f"--user-data-dir={folder}"),
        "--remote-debugging-pipe",
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=(theirs_in, theirs_out),
        start_new_session=True,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    reader = asyncio.StreamReader(limit=2**26)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours_in, "rb")
    )
    try:
        yield Browser(reader, ours_out)
    finally:
        transport.close()
        os.close(ours_out)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@pytest.mark.fault("S29")
async def test_what_agents_and_users_write_is_shown_as_text_and_runs_nothing(tmp_path: Path):
    home = DaemonHome(tmp_path, env={"BP_OFFLINE": "1"})
    async with home.running() as daemon:
        one = await session(daemon, title=PAYLOADS[0])
        await say(daemon, one, "\n\n".join(PAYLOADS))
        await until(daemon, one, lambda frame: frame["type"] == "RUN_FINISHED")
        async with browsing(tmp_path / "browser") as browser:
            await browser.open(f"{daemon.url}/c/{daemon.token}/")
            shown = "document.getElementById('talk').textContent.includes('exfiltrated')"
            page = await browser.dom_when(shown)
        assert "&lt;img src=x onerror=" in page  # it was shown
        assert "data-owned" not in page.partition(">")[0]  # the tag of the whole
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
<link rel=stylesheet href="{daemon_at}/sessions">
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
}}, 1000));
</script>"""


@asynccontextmanager
async def serving_page(text: str) -> AsyncGenerator[str]:
    """Another origin that serves one page."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()  # a browser connects ahead of need, and hangs up without a word
            return
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
        async with (
            serving_page(attack(daemon, one)) as page,
            browsing(tmp_path / "browser") as browser,
        ):
            await browser.open(page)
            seen = await browser.dom_when("!!document.body?.dataset.got")
        assert "data-got=" in seen  # the attack ran to its end
        assert "read:refused" in seen
        assert "unread" not in seen
        assert "stream:" not in seen.partition("data-got=")[2].partition('"')[2].partition('"')[0]
        assert await log_lines(daemon, one) == before
        assert (await daemon.http.get("/sessions")).json() == sessions
        metrics = await daemon.http.get("/metrics", headers={"accept": "text/plain"})
        refused = [line for line in metrics.text.splitlines() if 'refused_total{reason="' in line]
        assert any('"origin"' in line for line in refused), refused
