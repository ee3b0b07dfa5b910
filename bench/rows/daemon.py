"""The daemon as a service: starting, creating sessions, `/metrics`, stopping (P22, P35-P40).

The floor of a start and of a request is a bare asyncio server in the same interpreter; that of a
created session is one raw FULL commit, since a session is acknowledged only when it is on disk.
"""

import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from bench.client import Answer, Peer, ask, begin
from bench.rows.log import floor as raw_commits
from bench.runner import Meter, Place, Row, Sample, Target
from bench.served import Served, bare, daemon, sample_of

SATURATING = 50
STREAMS = 20
SATURATED_S = 4.0


def first_answer(peer: Peer) -> None:
    """One GET of `/health` on a fresh connection."""
    with socket.create_connection(("127.0.0.1", peer.port)) as line:
        line.sendall(peer.request("GET", "/health"))
        if not line.recv(4096).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("not healthy")


def start(place: Place, program: Callable[[Place], AbstractContextManager[Served]]) -> Sample:
    """From the spawn to the first 200."""
    meter = Meter()
    with meter as sample, program(place) as served:
        listening = time.perf_counter()
        first_answer(served.peer)
        sample.latencies.append(served.started_s + time.perf_counter() - listening)
        sample.extra["start_cpu_ms"] = served.peer.cpu_s() * 1000
        sample.extra["rss_mb"] = served.peer.rss() / 2**20
    return meter.sample


def warm_start(place: Place) -> Sample:
    """The same with a data folder that was used before."""
    with daemon(place) as served:
        ask(served.peer, "creates", count=10)
        served.stop()
    return start(place, daemon)


def created(place: Place, *, lines: int) -> Sample:
    """Create sessions on so many connections."""
    with daemon(place) as served:
        count = place.ops(1000, 100) * (1 if lines == 1 else 2)
        return sample_of(ask(served.peer, "creates", count=count, lines=lines), "create")


def asked(
    place: Place, program: Callable[[Place], AbstractContextManager[Served]], path: str
) -> Sample:
    """GET a path of an idle program on one connection."""
    with program(place) as served:
        return sample_of(ask(served.peer, "gets", path=path, count=place.ops(4000, 500)), "get")


def saturated(place: Place, *, lines: int = 0) -> Sample:
    """`/metrics` on so many connections, while sessions saturate the daemon; its loop's lag."""
    for_s = SATURATED_S if not place.quick else 1.0
    with daemon(place, probe=True) as served:
        load = begin(served.peer, "runs", sessions=SATURATING, for_s=for_s + 3.0)
        time.sleep(2.0)
        served.probed()
        answer = Answer(seconds=for_s)
        if lines:
            answer = ask(served.peer, "gets", path="/metrics", lines=lines, for_s=for_s)
        else:
            time.sleep(for_s)
        lag = served.probed()
        load.answer()
    sample = sample_of(answer, "get")
    sample.extra |= lag
    return sample


def stopped(place: Place, *, streams: int) -> Sample:
    """SIGTERM with so many SSE clients connected."""
    with daemon(place) as served:
        peer = served.peer
        session = ask(peer, "runs", count=1).names[0]
        clients = [socket.create_connection(("127.0.0.1", peer.port)) for _ in range(streams)]
        for client in clients:
            client.sendall(peer.request("GET", f"/sse/{session}"))
            client.recv(4096)
        meter = Meter()
        with meter as sample:
            sample.latencies.append(served.stop())
        sample.extra["stopped_s"] = sample.latencies[0]
        for client in clients:
            client.close()
    return meter.sample


ROWS = (
    Row(
        "P22",
        "cold start to the first 200 (BrainPilot: empty 282-580 ms, warm 186-282)",
        {
            "bare": lambda place: start(place, bare),
            "empty": lambda place: start(place, daemon),
            "warm": warm_start,
        },
        (Target("p50_us", "empty", 3.5, over="bare"), Target("p50_us", "warm", 3.5, over="bare")),
    ),
    Row(
        "P35",
        "create a session (BrainPilot: 1.0-1.9 ms; 32 at once 1,010-1,580/s)",
        {
            "floor": raw_commits,
            "one": lambda place: created(place, lines=1),
            "32": lambda place: created(place, lines=32),
        },
    ),
    Row(
        "P36",
        "/metrics while 50 sessions saturate the daemon (BrainPilot: p99 25-33 ms; 100-118)",
        {
            "bare idle": lambda place: asked(place, bare, "/metrics"),
            "one": lambda place: saturated(place, lines=1),
            "32": lambda place: saturated(place, lines=32),
        },
    ),
    Row(
        "P38",
        "/metrics idle, one connection (BrainPilot: 0.027 ms, 23-26 us)",
        {
            "bare": lambda place: asked(place, bare, "/metrics"),
            "health": lambda place: asked(place, daemon, "/health"),
            "metrics": lambda place: asked(place, daemon, "/metrics"),
        },
    ),
    Row(
        "P39",
        "SIGTERM to exit, with SSE clients connected (BrainPilot: more than 45 s)",
        {
            "alone": lambda place: stopped(place, streams=0),
            "clients": lambda place: stopped(place, streams=STREAMS),
        },
        (Target("stopped_s", "clients", 1.0),),
    ),
    Row(
        "P40",
        "how late the loop is while 50 sessions saturate it",
        {"ours": saturated},
        (Target("lag_max_ms", "ours", 20.0), Target("lag_p99_ms", "ours", 10.0)),
    ),
)
