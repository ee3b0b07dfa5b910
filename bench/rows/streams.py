"""Streams: fan-out, clients that do not read, replay, and foreign letters (P9, P13, P14, P16).

The floor of fan-out is a plain loop of `send()` over as many loopback connections; that of a replay
is the same pages from bare sqlite3; that of a foreign letter is the writer's own durable hop.
"""

import socket
import time
from contextlib import ExitStack

from bench.client import ask
from bench.rows.log import REPLAYED, pages
from bench.runner import Meter, Place, Row, Sample, Target
from bench.served import daemon, sample_of

SUBSCRIBERS = 1000
FRAME = b"id: bench.1\nevent: message\ndata: " + b"x" * 270 + b"\n\n"
FRAMES_PER_RUN = 19
STALLED = 20
PACE_S = 0.1


def send_loop(place: Place) -> Sample:
    """One frame to each connection, one `send()` each."""
    count = place.ops(SUBSCRIBERS, 100)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=count))
        pairs = [
            (
                stack.enter_context(socket.create_connection(listener.getsockname())),
                stack.enter_context(listener.accept()[0]),
            )
            for _ in range(count)
        ]
        cpu = 0.0
        meter = Meter()
        with meter as sample:
            for _ in range(place.ops(50, 10)):
                start, began = time.perf_counter(), time.process_time()
                for sender, _ in pairs:
                    sender.send(FRAME)
                cpu += time.process_time() - began
                sample.latencies.append(time.perf_counter() - start)
                for _, reader in pairs:
                    reader.recv(4096)
        sample.extra["cpu_us_each"] = cpu / len(sample.latencies) / count * 1e6
    return meter.sample


def fan(place: Place) -> Sample:
    """Real runs in one session that so many clients follow; by default 512 may."""
    data = place.folder / "data"
    data.mkdir(0o700)
    (data / "config.toml").write_text(f"[http]\nstreams_max = {SUBSCRIBERS + 8}\n")
    with daemon(place) as served:
        readers = place.ops(SUBSCRIBERS, 100)
        runs = place.ops(20, 3)
        return sample_of(ask(served.peer, "fans", readers=readers, count=runs), "finished")


def stalled(place: Place, *, readers: int) -> Sample:
    """Clients that never read, while a session produces frames."""
    with daemon(place) as served:
        frames = place.ops(24_000, 2000)
        return sample_of(ask(served.peer, "stalls", readers=readers, frames=frames), "finished")


def bare_pages(place: Place) -> Sample:
    """10,000 rows of bare sqlite3, unparsed."""
    sample = pages(place)
    sample.latencies = [sample.seconds]
    return sample


def history(place: Place) -> Sample:
    """10,000 frames of one session: read whole; resumed before and after a restart."""
    count = place.ops(REPLAYED, 1000)
    with daemon(place) as served:
        session = ask(served.peer, "runs", count=count // FRAMES_PER_RUN).names[0]
        answer = ask(served.peer, "histories", session=session)
        answer.extra["health_max_ms"] = max(answer.latencies["health"]) * 1000
        live = ask(served.peer, "resumes", session=session, after=0)
        served.stop()
    with daemon(place) as served:
        again = ask(served.peer, "resumes", session=session, after=0)
    sample = sample_of(answer, "history")
    for name, resumed in (("live", live), ("restarted", again)):
        sample.extra[f"{name}_first_ms"] = resumed.latencies["first"][0] * 1000
        sample.extra[f"{name}_all_ms"] = resumed.latencies["all"][0] * 1000
        sample.extra[f"{name}_missing"] = resumed.extra["missing"]
    return sample


def foreign(place: Place) -> Sample:
    """A foreign writer's letters until they are on SSE."""
    with daemon(place) as served:
        count = place.ops(60, 10)
        asked = {"mailbox": served.mailbox, "count": count, "pace_s": PACE_S}
        sample = sample_of(ask(served.peer, "letters", **asked), "seen")
    sample.extra["seen_to_hop"] = sample.figures()["p50_us"] / sample.extra["hop_p50_us"]
    return sample


ROWS = (
    Row(
        "P9",
        "fan-out to 1,000 clients: processor time per event and client",
        {"send loop": send_loop, "ours": fan},
        (Target("cpu_us_each", "ours", 3.5, over="send loop"),),
    ),
    Row(
        "P13",
        "20 clients that never read, 24,000 frames each (BrainPilot: +606 MB, none disconnected)",
        {
            "none": lambda place: stalled(place, readers=0),
            "20": lambda place: stalled(place, readers=STALLED),
        },
        (Target("rss_growth_mb", "20", 10.0), Target("still_connected", "20", 0)),
    ),
    Row(
        "P14",
        "a history of 10,000 frames (BrainPilot: 66 ms; /health up to 138 ms; 2 after a restart)",
        {"pages": bare_pages, "ours": history},
        (
            Target("health_max_ms", "ours", 20.0),
            Target("live_missing", "ours", 0),
            Target("restarted_missing", "ours", 0),
            Target("restarted_first_ms", "ours", 10.0),
        ),
    ),
    Row(
        "P16",
        "a foreign letter from its rename to an SSE client, one every 100 ms",
        {"ours": foreign},
        (Target("seen_to_hop", "ours", 2.0, stretch=1.0),),
    ),
)
