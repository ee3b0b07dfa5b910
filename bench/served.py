"""Programs under load, each in its own process: the daemon, and the least a server can be.

Run as a module, this file is one of them: `daemon` runs the real daemon with a probe on its loop
(how late it is, how long collections take; written to a file on SIGUSR2), `bare` answers every
request with the same few bytes, `model` speaks the OpenAI dialect.
"""

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop
from typing_extensions import override

from bench.client import Peer
from bench.runner import Place, Sample

PROBE_S = 0.005
START_S = 30.0
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n"
OK_BODY = b'{"status":"ok"}'


@dataclass
class Served:
    """A program that listens."""

    process: subprocess.Popen[bytes]
    ready: dict[str, Any]
    folder: Path
    started_s: float
    """From the spawn to the line that says it listens."""

    @property
    def peer(self) -> Peer:
        """As the load client sees it."""
        token_file = self.ready.get("token_file")
        token = Path(token_file).read_text(encoding="ascii").strip() if token_file else ""
        port = int(str(self.ready["url"]).rsplit(":", 1)[1])
        return Peer(port=port, pid=self.process.pid, token=token)

    @property
    def mailbox(self) -> str:
        """Root of the mailbox directories."""
        return str(self.ready["mailbox_dir"])

    def pss(self) -> int:
        """Proportional set size in bytes."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text(encoding="ascii")
        line = next(line for line in text.splitlines() if line.startswith("Pss:"))
        return int(line.split()[1]) * 1024

    def stop(self) -> float:
        """Ask it to end; how long that took."""
        start = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(START_S)
        return time.perf_counter() - start

    def probed(self) -> dict[str, float]:
        """What the probe saw so far."""
        path = self.folder / "probe.json"
        path.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR2)
        ends_at = time.monotonic() + START_S
        while not path.exists():
            if time.monotonic() > ends_at:
                raise TimeoutError("the probe says nothing")
            time.sleep(0.01)
        return json.loads(path.read_text(encoding="ascii"))


@contextmanager
def program(folder: Path, *arguments: str, env: Mapping[str, str]) -> Generator[Served]:
    """A process that prints one JSON line when it listens; killed in the end."""
    inherited = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}  # noqa: TID251 - a child's environment
    start = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - our own programs
        [sys.executable, *arguments], stdout=subprocess.PIPE, env={**inherited, **env}
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{arguments} ended before it listened")
            yield Served(process, json.loads(line), folder, time.perf_counter() - start)
        finally:
            process.kill()


@contextmanager
def daemon(
    place: Place, *, probe: bool = False, env: Mapping[str, str] | None = None
) -> Generator[Served]:
    """The real daemon with the mock model, its data in the arm's folder."""
    data = place.folder / "data"
    places = {"BP_DATA_DIR": str(data), "BP_MAILBOX_DIR": str(place.folder / "mail")}
    whole = {**places, **({"BP_MOCK": "1"} if env is None else env)}
    command = ["bench.served", "daemon", str(place.folder)] if probe else ["brainpilot_rt"]
    options = ["serve", "--port", "0", "--json", "--quiet"]
    with program(place.folder, "-m", *command, *options, env=whole) as served:
        yield served


@contextmanager
def bare(place: Place) -> Generator[Served]:
    """A bare asyncio server: one Protocol, one constant answer."""
    with program(place.folder, "-m", "bench.served", "bare", env={}) as served:
        yield served


@contextmanager
def model(place: Place) -> Generator[Served]:
    """A server of the OpenAI dialect that says what the path asks for."""
    with program(place.folder, "-m", "bench.served", "model", env={}) as served:
        yield served


def sample_of(answer: Any, what: str) -> Sample:
    """A job's answer as a sample of one of the latencies it took."""
    extra = {f"{name}_p50_us": _at(each, 0.5) for name, each in answer.latencies.items()}
    extra |= {f"{name}_p99_us": _at(each, 0.99) for name, each in answer.latencies.items()}
    own = {key: each for key, each in extra.items() if not key.startswith(f"{what}_")}
    return Sample(
        latencies=answer.latencies.get(what, []),
        seconds=answer.seconds,
        cpu_s=answer.cpu_s,
        extra={**own, **answer.extra},
    )


def _at(seconds: list[float], share: float) -> float:
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e6


# --- what runs in the other process ---------------------------------------------------------------


@dataclass
class Probe:
    """How late the loop is, and how long collections take."""

    late: list[float] = field(default_factory=list[float])
    pauses: list[float] = field(default_factory=lambda: [0.0])
    _since: float = 0.0

    def begin(self, path: Path) -> None:
        """On the loop that is probed."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR2, self._tell, path)
        gc.callbacks.append(self._on_collection)
        self._next(loop.time() + PROBE_S)

    def _next(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        self.late.append(max(0.0, loop.time() - due))
        due = loop.time() + PROBE_S
        loop.call_at(due, self._next, due)

    def _on_collection(self, phase: str, _: object) -> None:
        if phase == "start":
            self._since = time.perf_counter()
        else:
            self.pauses.append(time.perf_counter() - self._since)

    def _tell(self, path: Path) -> None:
        facts = {
            "lag_p99_ms": _at(self.late, 0.99) / 1000,
            "lag_max_ms": max(self.late) * 1000,
            "gc_max_ms": max(self.pauses) * 1000,
        }
        self.late, self.pauses = [0.0], [0.0]
        part = path.with_suffix(".part")
        part.write_text(json.dumps(facts), encoding="ascii")
        part.rename(path)


def be_daemon(folder: str, *arguments: str) -> None:
    """The daemon's own command with a probe on its loop."""
    from brainpilot_rt.cli.main import main as command  # noqa: PLC0415 - as above
    from brainpilot_rt.daemon import main as runtime  # noqa: PLC0415 - only this process needs it

    work = runtime.serve

    async def probed(*given: Any, **named: Any) -> int:
        Probe().begin(Path(folder) / "probe.json")
        return await work(*given, **named)

    runtime.serve = probed
    command(arguments)


class Bare(asyncio.Protocol):
    """Answers whatever comes."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    @override
    def data_received(self, data: bytes) -> None:
        """One request, one answer."""
        del data
        self._transport.write(OK + OK_BODY)


class Model(asyncio.Protocol):
    """Streams a reply of so many tokens, flat out or at so many a second.

    The model's name says how: `t<tokens>r<rate>`, rate 0 meaning flat out. `t2r0.001` says one
    token, and nothing for the next thousand seconds.
    """

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._got = b""

    @override
    def data_received(self, data: bytes) -> None:
        """Wait for the whole question, then answer."""
        self._got += data
        head, ended, body = self._got.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].split(b"\r", 1)[0]
        if not ended or len(body) < int(length or b"0"):
            return
        self._got = b""
        name = str(json.loads(body)["model"])
        tokens, _, rate = name.removeprefix("t").partition("r")
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        self._say(0, int(tokens), float(rate))

    def _say(self, said: int, tokens: int, rate: float) -> None:
        step = 1 if rate else 16
        parts = [_chunk({"content": f"tok{n} "}) for n in range(said, min(tokens, said + step))]
        self._transport.write(b"".join(parts))
        said += step
        loop = asyncio.get_running_loop()
        if said < tokens:
            loop.call_later(1 / rate if rate else 0, self._say, said, tokens, rate)
            return
        usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": tokens + 10}
        self._transport.write(_chunk({}, finish="stop", usage=usage) + _framed(b"[DONE]"))
        self._transport.write(b"0\r\n\r\n")


def _chunk(delta: dict[str, str], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _framed(
        json.dumps(
            {"id": "c", "object": "chat.completion.chunk", "choices": [choice]} | more
        ).encode()
    )


def _framed(data: bytes) -> bytes:
    line = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(line), line)


async def listen(protocol: type[asyncio.Protocol]) -> None:
    """Serve on a free port for ever, and say where."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.get_running_loop().create_server(protocol, sock=listener)
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    await server.serve_forever()


def main(what: str, *arguments: str) -> None:
    """What the bench asked the other process to be."""
    if what == "daemon":
        be_daemon(*arguments)
        return
    protocol = {"bare": Bare, "model": Model}[what]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(listen(protocol))


if __name__ == "__main__":
    main(*sys.argv[1:])
