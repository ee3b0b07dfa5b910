"""Exposition: when a client wants Prometheus, and the numbers in its words.

JSON is the default. A scraper names its formats and gives JSON, which it only admits through `*/*`,
a low weight; a browser or curl names none of them. So Prometheus is served when `text/plain` or
OpenMetrics is named with a weight above JSON's, or not below what only a wildcard gives it. (Some
HTTP clients for browsers name both alike whatever they ask for; they want JSON.)
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from typing_extensions import override

from brainpilot_rt.metrics.counters import Counters
from brainpilot_rt.metrics.governed import Governed
from brainpilot_rt.metrics.thoughts import Thoughts

Form = Literal["json", "text", "openmetrics"]
_PREFIX: Final = "brainpilot_rt_"


def negotiate(accept: str) -> Form:
    """Which form an Accept header asks for."""
    weights: dict[str, float] = {}
    for part in accept.split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        weights[media_type.lower()] = _weight(parameters)
    text = weights.get("text/plain", 0.0)
    open_metrics = weights.get("application/openmetrics-text", 0.0)
    wanted = max(text, open_metrics)
    if (json := weights.get("application/json")) is not None:
        named = wanted > json
    else:
        named = wanted >= max(weights.get("application/*", 0.0), weights.get("*/*", 0.0))
    if wanted <= 0 or not named:
        return "json"
    return "openmetrics" if open_metrics >= text else "text"


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def render(
    counters: Counters, gauges: Mapping[str, float], leases: Mapping[str, int], form: Form
) -> tuple[bytes, str]:
    """Body and content type.

    The client library is imported by the first scrape: it takes longer to load than the rest of a
    start allows, and most daemons are never scraped.
    """
    from prometheus_client import core, exposition, registry  # noqa: PLC0415 - see above

    def counter(name: str, meaning: str, label: str, values: Mapping[str, float]) -> core.Metric:
        family = core.CounterMetricFamily(_PREFIX + name, meaning, labels=[label] if label else [])
        for value, count in sorted(values.items()):
            family.add_metric([value] if label else [], count)
        return family

    class Numbers(registry.Collector):
        @override
        def collect(self) -> Iterator[core.Metric]:
            for row in _counted(counters):
                yield counter(*row)
            for name, value in gauges.items():
                yield core.GaugeMetricFamily(_PREFIX + name, name.replace("_", " "), value=value)
            held = core.GaugeMetricFamily(
                _PREFIX + "leases", "Reasons to be alive.", labels=["kind"]
            )
            for kind, count in sorted(leases.items()):
                held.add_metric([kind], count)
            yield held

    numbers = registry.CollectorRegistry()
    numbers.register(Numbers())
    accept = "text/plain" if form == "text" else "application/openmetrics-text"
    encode, media_type = exposition.choose_encoder(accept)
    return encode(numbers), media_type


def _counted(counted: Counters) -> list[tuple[str, str, str, Mapping[str, float]]]:
    """Name, meaning, label and values of every counter."""
    cost = {"": float(counted.governed.cost_usd)}
    repeated = {"": counted.model_calls_repeated}
    return [
        ("events", "Events committed.", "", {"": counted.events}),
        ("cost_usd", "Cost of model calls whose price is known.", "", cost),
        ("runs", "Runs that ended, by outcome.", "outcome", counted.runs),
        ("host_turns", "User requests that ended, by outcome.", "outcome", counted.host_turns),
        ("letters", "Letters accepted, by kind.", "kind", counted.letters),
        ("letters_undelivered", "Letters nobody read.", "reason", counted.letters_lost),
        ("tool_calls", "Tool calls that ended, by status.", "status", counted.tool_calls),
        ("model_calls", "Attempts at model calls.", "outcome", counted.model_calls),
        ("model_calls_repeated", "Model calls repeated after a cut, at most.", "", repeated),
        ("tokens", "Tokens of model calls.", "kind", counted.tokens),
        *_thoughts(counted.thoughts),
        *_governed(counted.governed),
        ("http_refused", "Requests refused before any route.", "reason", counted.refused),
    ]


def _thoughts(counted: Thoughts) -> list[tuple[str, str, str, Mapping[str, float]]]:
    by = "section"
    unproven = {"": counted.evidence_insufficient}
    return [
        ("intents", "What runs were about, by intent.", "intent", counted.intents),
        ("programs", "Runs by the program that answered.", "program", counted.programs),
        ("limits", "Bounds of runs that were met.", "kind", counted.limits),
        ("circuits", "Changes of tools' circuit breakers.", "state", counted.circuits),
        ("evidence_insufficient", "Research that could not show its answer.", "", unproven),
        ("memory_remembered", "Items put into memory.", by, counted.remembered),
        ("memory_evicted", "Items that had to make room.", by, counted.evicted),
        ("memory_refused", "Items that memory had no room for.", by, counted.refused),
    ]


def _governed(counted: Governed) -> list[tuple[str, str, str, Mapping[str, float]]]:
    by = "action"
    charged = {"": float(counted.counted_usd)}
    return [
        ("model_selections", "Models chosen, by phase.", "phase", counted.selections),
        ("guardrail_interventions", "Guardrails that fired.", by, counted.guardrails),
        ("tool_judgements", "Calls the inspection did not just pass.", by, counted.judged),
        ("approvals", "Approvals asked and decided.", "decision", counted.approvals),
        ("budgets", "Budgets nearly or wholly used up.", "state", counted.budgets),
        ("spend_counted_usd", "What budgets were charged.", "", charged),
    ]
