"""A thousand runs at once that wait for slow models (RUNS1000).

Each run is in a session of its own and asks a real HTTP server, which says one token and then
nothing for a quarter of an hour. The latencies are those of the answers to the messages. `kb_each`
is what a waiting run adds to the memory of the daemon beside its idle session; the lag of the loop
is told for the beginning, the waiting and the stopping of them all. `asked` is how many connections
the model server really has. `ten` is the same with ten runs: what of it is the daemon at rest.
"""

from functools import partial

from bench.client import ask
from bench.runner import Place, Row, Sample, Target
from bench.served import daemon, model, sample_of


def waiting(place: Place, *, count: int) -> Sample:
    """So many runs."""
    with model(place) as provider:
        env = {
            "OPENAI_API_KEY": "bench",
            "OPENAI_BASE_URL": str(provider.ready["url"]),
            "OPENAI_MODEL": "t2r0.001",
        }
        with daemon(place, probe=True, env=env) as served:
            answer = ask(
                served.peer,
                "waits",
                count=count,
                for_s=float(place.ops(5, 1)),
                probe=str(place.folder / "probe.json"),
                model_port=provider.peer.port,
            )
    return sample_of(answer, "accepted")


def thousand(place: Place) -> Sample:
    """A thousand, or a hundred of them to try."""
    return waiting(place, count=place.ops(1000, 100))


ROWS = (
    Row(
        "RUNS1000",
        "1,000 runs at once that wait for slow models over HTTP",
        {"ten": partial(waiting, count=10), "thousand": thousand},
        (
            Target("asked", "thousand", 1000, at_least=True),
            Target("kb_each", "thousand", 150),
            Target("waiting_lag_p99_ms", "thousand", 10),
            Target("stop_s", "thousand", 10),
            Target("at_work_in_the_end", "thousand", 0),
        ),
    ),
)
