"""What a run of random kills was, as counts, as figures and as rows of the report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from proof.stage import Number, Outcome

IDLE_MS: Final = 100.0
"""Dead so long after the last point it hit, a daemon was doing nothing."""
PHASES: Final = ("write", "consume", "turn", "tool", "commit", "recovery", "checkpoint")
SHARE: Final = 0.05
"""Least share of the kills in each phase."""
ACKNOWLEDGED_PER_KILL: Final = 15
ENOUGH_TO_SHARE: Final = 500
"""Fewer kills say nothing about shares."""


@dataclass(slots=True)
class Tally:
    """What was done and seen; sums of tallies are tallies."""

    counts: Counter[str] = field(default_factory=Counter[str])
    phases: Counter[str] = field(default_factory=Counter[str])
    hows: Counter[str] = field(default_factory=Counter[str])
    refused: Counter[str] = field(default_factory=Counter[str])
    ready_ms: list[float] = field(default_factory=list[float])
    elder_ready_ms: list[float] = field(default_factory=list[float])
    answer_ms: list[float] = field(default_factory=list[float])
    rest_ms: list[float] = field(default_factory=list[float])
    failures: list[str] = field(default_factory=list[str])


def told(tally: Tally, floor: Sequence[float]) -> Outcome:
    """The outcome of a run; `floor`: milliseconds of bare synced writes, to read beside it."""
    counts, kills = tally.counts, max(1, tally.counts["kills"])
    acknowledged = sum(value for name, value in counts.items() if name.startswith("acknowledged"))
    shares = {phase: count / kills for phase, count in tally.phases.most_common()}
    thin = [phase for phase in PHASES if shares.get(phase, 0) < SHARE]
    outcome = Outcome(failures=tally.failures)
    if thin and kills >= ENOUGH_TO_SHARE:
        outcome.short.append(f"under {SHARE:.0%} of the kills hit: {', '.join(thin)}")
    if acknowledged < ACKNOWLEDGED_PER_KILL * kills:
        outcome.short.append(f"only {acknowledged / kills:.1f} acknowledged operations per kill")
    outcome.figures = {
        "counts": dict(counts),
        "acknowledged": acknowledged,
        "phases": dict(tally.phases),
        "hows": dict(tally.hows),
        "refused": dict(tally.refused),
        "recovery_ms": _spread(tally.ready_ms),
        "recovery_elder_ms": _spread(tally.elder_ready_ms),
        "answer_ms": _spread(tally.answer_ms),
        "rest_ms": _spread(tally.rest_ms),
        "fsync_ms": _spread(floor),
    }
    outcome.numbers = _numbers(tally, acknowledged, shares, floor)
    return outcome


def _numbers(
    tally: Tally, acknowledged: int, shares: Mapping[str, float], floor: Sequence[float]
) -> list[Number]:
    counts, kills = tally.counts, max(1, tally.counts["kills"])
    broken = len(tally.failures)
    answer, bare = _spread(tally.answer_ms), _spread(floor)
    return [
        Number(
            "random `kill -9`",
            "10,000",
            f"{counts['kills']:,}",
            f"{acknowledged:,} acknowledged operations ({counts['acknowledged_posts']:,} answered "
            f"POSTs, {counts['acknowledged_letters']:,} foreign letters taken in, "
            f"{counts['acknowledged_calls']:,} tool calls completed, "
            f"{counts['acknowledged_tasks']:,} tasks opened), {counts['turns']:,} committed turns, "
            f"{counts['effects']:,} irreversible effects, {counts['homes judged']:,} homes judged "
            f"at rest; {counts['real lives']:,} lives started by the command line, the others "
            "forked with everything imported",
        ),
        Number(
            "phase histogram of the kills",
            f"at least {SHARE:.0%} in each of {', '.join(PHASES)}",
            ", ".join(f"{phase} {share:.1%}" for phase, share in shares.items()),
            "the phase of the last failpoint before the death; recovery: before it was ready; "
            f"idle: {IDLE_MS:g} ms after the last one",
        ),
        Number(
            "lost / consumed twice / repeated irreversible effects / gaps / damaged databases",
            "0 / 0 / 0 / 0 / 0",
            "0 / 0 / 0 / 0 / 0" if not broken else f"{broken} broken promises, listed above",
            f"none in {counts['kills']:,} kills: at 95 % confidence less than "
            f"{3 / kills:.3%} per kill"
            if not broken
            else "",
        ),
        Number(
            "`unknown` effects after a kill",
            "said",
            f"{counts['unknown']:,}",
            f"{counts['unknown'] / kills:.0%} of all kills; several sessions run commands at once, "
            f"and a command lives longer than a step of the others",
        ),
        Number(
            "model calls repeated after a kill",
            "said",
            f"{1000 * counts['model calls without a kept reply'] / kills:.0f} per 1,000 kills",
            f"{counts['model calls']:,} calls in all; a call is repeated when the daemon died, or "
            "was interrupted, before its reply was kept",
        ),
        Number(
            "recovery: fork to ready, p50 / p99",
            "said",
            _said(_spread(tally.ready_ms)),
            f"the home that lives through everything: {_said(_spread(tally.elder_ready_ms))}; "
            "without the import of modules; two daemons and two clients share the machine",
        ),
        Number(
            "answer to a message with `synchronous=FULL`, p50 / p99",
            "said",
            _said(answer),
            f"a bare 4 KiB append with fsync on the same disk: {_said(bare)}",
        ),
    ]


def summed(tallies: Sequence[Tally]) -> Tally:
    """One tally of many."""
    total = Tally()
    for one in tallies:
        total.counts.update(one.counts)
        total.phases.update(one.phases)
        total.hows.update(one.hows)
        total.refused.update(one.refused)
        total.ready_ms += one.ready_ms
        total.elder_ready_ms += one.elder_ready_ms
        total.answer_ms += one.answer_ms
        total.rest_ms += one.rest_ms
        total.failures += one.failures
    return total


def _spread(values: Sequence[float]) -> tuple[float, float]:
    """p50 and p99; zeros for nothing."""
    ordered = sorted(values) or [0.0]
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]


def _said(spread: tuple[float, float]) -> str:
    return f"{spread[0]:.1f} / {spread[1]:.1f} ms"
