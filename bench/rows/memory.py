"""Memory: the idle daemon, and what a session or a connection adds to it (P18-P21).

The floor of the idle daemon is a bare asyncio server in the same interpreter.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

from bench.client import ask
from bench.runner import Meter, Place, Row, Sample, Target
from bench.served import Served, bare, daemon, sample_of

SESSIONS = 5000
RAN = 500
STREAMS = 500


def idle(place: Place, program: Callable[[Place], AbstractContextManager[Served]]) -> Sample:
    """What a program holds when it has answered a few requests."""
    with program(place) as served:
        ask(served.peer, "gets", path="/health", count=10)
        meter = Meter()
        with meter as sample:
            sample.latencies.append(0.0)
        sample.extra["rss_mb"] = served.peer.rss() / 2**20
        sample.extra["pss_mb"] = served.pss() / 2**20
    return meter.sample


def created(place: Place) -> Sample:
    """Sessions that never ran."""
    count = place.ops(SESSIONS, 300)
    with daemon(place, probe=True) as served:
        served.probed()
        answer = ask(served.peer, "creates", count=count, lines=16)
        answer.extra |= served.probed()
    answer.extra["kb_each"] = answer.extra["rss_growth_mb"] * 1024 / count
    return sample_of(answer, "create")


def ran(place: Place) -> Sample:
    """Sessions that ran once and are idle again."""
    count = place.ops(RAN, 50)
    with daemon(place) as served:
        answer = ask(served.peer, "ran_once", count=count)
    answer.extra["kb_each"] = answer.extra["rss_growth_mb"] * 1024 / count
    return sample_of(answer, "run")


def connected(place: Place) -> Sample:
    """SSE connections that wait."""
    with daemon(place) as served:
        return sample_of(ask(served.peer, "holds", count=place.ops(STREAMS, 100)), "none")


ROWS = (
    Row(
        "P18",
        "the idle daemon (BrainPilot: 82.6 MB, PSS 56.2; with its backend 164, PSS 83.3)",
        {"bare": lambda place: idle(place, bare), "ours": lambda place: idle(place, daemon)},
        (Target("rss_mb", "ours", 60.0),),
    ),
    Row(
        "P19",
        "5,000 idle sessions (BrainPilot: 21 KB each)",
        {"ours": created},
        (Target("kb_each", "ours", 3.0, stretch=1.0), Target("gc_max_ms", "ours", 25.0)),
    ),
    Row(
        "P20",
        "sessions that ran once (BrainPilot: mock 70 KB each, with its agent SDK 620 KB)",
        {"ours": ran},
        (Target("kb_each", "ours", 10.0),),
    ),
    Row(
        "P21",
        "idle SSE connections",
        {"ours": connected},
        (Target("kb_each", "ours", 30.0),),
    ),
)
