"""Runs: many at once, one after the other, with a streaming model, and delegation (P24-P33).

The floor of a run is what it must write: two raw FULL commits, at the same pacing. The floor of a
streamed token is the same stream read by httpx and thrown away.
"""

import time
from contextlib import closing

import httpx

from bench.client import ask
from bench.rows.log import INSERT, PAYLOAD, SESSION, database
from bench.runner import Meter, Place, Row, Sample, Target
from bench.served import daemon, model, sample_of

SESSIONS = 50
COMMITS_PER_RUN = 2
PACE_S = 0.1
TOKENS = 2000
PACED_TOKENS = 400
TOKENS_PER_S = 200
DELEGATE = (
    '[[tool:send_message {"to": "librarian", "msg_type": "task_delegate", "content": "look"}]]'
)


def commits(place: Place, *, pace_s: float = 0.0) -> Sample:
    """Two raw FULL commits for each run."""
    meter = Meter()
    with closing(database(place)) as connection, meter as sample:
        for number in range(place.ops(30, 5) if pace_s else place.ops(1000, 200)):
            time.sleep(pace_s)
            start = time.perf_counter()
            for seq in range(COMMITS_PER_RUN):
                place_in_log = COMMITS_PER_RUN * number + seq + 1
                row = (SESSION, place_in_log, place_in_log, 0, "daemon_stopped", PAYLOAD)
                connection.execute(INSERT, row)
            sample.latencies.append(time.perf_counter() - start)
    return meter.sample


def many(place: Place) -> Sample:
    """50 sessions at once; processor time includes every late write."""
    with daemon(place) as served:
        count = place.ops(3000, 500)
        return sample_of(ask(served.peer, "runs", count=count, sessions=SESSIONS), "finished")


def one(place: Place, what: str, *, pace_s: float = 0.0) -> Sample:
    """One session, one run after the other."""
    with daemon(place) as served:
        count = place.ops(30, 5) if pace_s else place.ops(500, 50)
        return sample_of(ask(served.peer, "runs", count=count, pace_s=pace_s), what)


def long(place: Place) -> Sample:
    """2,000 runs in one session: the last tenth against the first."""
    with daemon(place) as served:
        return sample_of(ask(served.peer, "runs", count=place.ops(2000, 200)), "finished")


def delegated(place: Place, what: str) -> Sample:
    """A call that delegates, to the specialist's run; the whole turn's processor time."""
    with daemon(place) as served:
        answer = ask(served.peer, "runs", count=place.ops(200, 20), text=DELEGATE, team=True)
    return sample_of(answer, what)


def read_tokens(place: Place, *, tokens: int, rate: int) -> Sample:
    """The same stream, read and thrown away."""

    async def main(url: str) -> Sample:
        async with httpx.AsyncClient() as client:
            body = {"model": f"t{tokens}r{rate}"}
            meter = Meter()
            for warm in (True, False):
                with meter as sample:
                    start = time.perf_counter()
                    async with client.stream("POST", f"{url}/chat/completions", json=body) as got:
                        async for _ in got.aiter_raw():
                            pass
                    sample.latencies += [] if warm else [time.perf_counter() - start]
        meter.sample.extra["cpu_us_token"] = meter.sample.cpu_s / tokens * 1e6
        return meter.sample

    with model(place) as provider:
        return place.run(main(str(provider.ready["url"])))


def streamed(place: Place, *, tokens: int, rate: int) -> Sample:
    """A run whose reply streams so many tokens, flat out or at so many a second."""
    with model(place) as provider:
        env = {
            "OPENAI_API_KEY": "bench",
            "OPENAI_BASE_URL": str(provider.ready["url"]),
            "OPENAI_MODEL": f"t{tokens}r{rate}",
        }
        count = 1 if rate else place.ops(5, 2)
        with daemon(place, env=env) as served:
            answer = ask(served.peer, "runs", count=count)
    answer.extra["cpu_us_token"] = answer.cpu_s / count / tokens * 1e6
    return sample_of(answer, "finished")


ROWS = (
    Row(
        "P24",
        "processor time per run, 50 sessions, all on disk (BrainPilot: 2.1-2.5 ms)",
        {"commits": commits, "ours": many},
    ),
    Row(
        "P25",
        "runs a second, 50 sessions (BrainPilot: 750-930/s, with its late writes 500-590)",
        {"commits": commits, "ours": many},
    ),
    Row(
        "P26",
        "POST to accepted, one session (BrainPilot: p50 1.2-1.4 ms, p99 5-6)",
        {"commits": commits, "ours": lambda place: one(place, "accepted")},
    ),
    Row(
        "P27",
        "POST to finished, one session (BrainPilot: p50 1.3-1.6 ms, p99 5.3-6.3)",
        {
            "commits": commits,
            "ours": lambda place: one(place, "finished"),
            "commits paced": lambda place: commits(place, pace_s=PACE_S),
            "ours paced": lambda place: one(place, "finished", pace_s=PACE_S),
        },
    ),
    Row(
        "P28",
        "2,000 runs in one session, the last tenth against the first (BrainPilot: 2.4x, CPU 1.6x)",
        {"ours": long},
        (Target("late_to_early_p50", "ours", 1.05), Target("late_to_early_cpu", "ours", 1.05)),
    ),
    Row(
        "P31",
        "processor time per streamed token (BrainPilot: flat 200-270 us; at 200/s 710-840)",
        {
            "httpx flat": lambda place: read_tokens(place, tokens=TOKENS, rate=0),
            "ours flat": lambda place: streamed(place, tokens=TOKENS, rate=0),
            "httpx paced": lambda place: read_tokens(place, tokens=PACED_TOKENS, rate=TOKENS_PER_S),
            "ours paced": lambda place: streamed(place, tokens=PACED_TOKENS, rate=TOKENS_PER_S),
        },
    ),
    Row(
        "P32",
        "a delegating call to the specialist's run (BrainPilot: p50 1.4-1.9 ms, 7.5-8.9 ms CPU)",
        {"commits": commits, "ours": lambda place: delegated(place, "handover")},
    ),
    Row(
        "P33",
        "POST to the specialist's run (BrainPilot: p50 3.3-3.7 ms, p99 8.4-9.2)",
        {"commits": commits, "ours": lambda place: delegated(place, "specialist")},
    ),
)
