"""Numbers: counted from events, shown as Prometheus to whoever names it."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import AgentName, CallId, LetterId, RunId, SessionId
from brainpilot_rt.domain.memory import Draft
from brainpilot_rt.domain.messages import AssistantMessage
from brainpilot_rt.domain.model_calls import ModelRef, StopReason
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.metrics.counters import Counters
from brainpilot_rt.metrics.exposition import negotiate, render
from brainpilot_rt.metrics.process import rss_bytes

A = AgentName("a-secret-name")
R = RunId("run_1")
SCRAPER = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),
        ("text/plain;q=0.3, application/json;q=0.9", "json"),
        ("application/json, text/plain, */*", "json"),
        ("text/plain;q=0", "json"),
        ("text/plain;q=x", "json"),
        ("text/plain", "text"),
        ("text/plain, */*;q=0.1", "text"),
        ("text/plain, */*", "text"),
        ("application/json;q=0.1, text/plain", "text"),
        ("TEXT/PLAIN;version=0.0.4", "text"),
        ("application/openmetrics-text", "openmetrics"),
        (SCRAPER, "openmetrics"),
    ],
)
def test_prometheus_is_served_to_whoever_names_it(accept: str, form: str):
    assert negotiate(accept) == form


def counted() -> Counters:
    counters = Counters()
    replied = ev.ModelReplied(
        run_id=R,
        agent=A,
        turn=0,
        message=AssistantMessage(parts=()),
        stop_reason=StopReason.END,
        usage=Usage(input=10, output=4),
        model=ModelRef(provider="p", model="m"),
        cost_usd=Decimal("0.25"),
        duration_ms=1,
    )
    tool = ev.ToolFinished(
        run_id=R, agent=A, call_id=CallId("c"), name="read", content="", status="failed"
    )
    done = ev.RunFinished(run_id=R, agent=A, outcome="completed", letter_ids=(), turns=1)
    refused = ev.LetterRefused(agent=A, file="f", reason="why")
    for seq, event in enumerate((replied, replied, tool, done, refused), 1):
        counters.fold(ev.Recorded(SessionId("a-secret-session"), seq, seq, 0, event))
    counters.refuse("host")
    return counters


@pytest.mark.parametrize("form", ["text", "openmetrics"])
def test_what_was_counted_is_shown_under_bounded_labels(form: str):
    body, kind = render(
        counted(), {"agents_running": 2}, {"model": 1}, "text" if form == "text" else "openmetrics"
    )
    text = body.decode()
    parse: Callable[[str], Iterable[Metric]] = text_string_to_metric_families
    if form == "openmetrics":
        untyped: Any = openmetrics_parser
        parse = untyped.text_string_to_metric_families
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse(text)
        for sample in family.samples
    }
    assert found["brainpilot_rt_events_total",] == 5
    assert found["brainpilot_rt_cost_usd_total",] == 0.5
    assert found["brainpilot_rt_tokens_total", "input"] == 20
    assert found["brainpilot_rt_runs_total", "completed"] == 1
    assert found["brainpilot_rt_tool_calls_total", "failed"] == 1
    assert found["brainpilot_rt_letters_undelivered_total", "refused"] == 1
    assert found["brainpilot_rt_http_refused_total", "host"] == 1
    assert found["brainpilot_rt_agents_running",] == 2
    assert found["brainpilot_rt_leases", "model"] == 1
    assert "secret" not in text
    assert kind.startswith("text/plain" if form == "text" else "application/openmetrics-text")


@pytest.mark.fault("B7")
def test_a_call_asked_again_after_a_cut_is_counted_once_and_a_later_one_is_not():
    def replied(turn: int) -> ev.ModelReplied:
        return ev.ModelReplied(
            run_id=R,
            agent=A,
            turn=turn,
            message=AssistantMessage(parts=()),
            stop_reason=StopReason.END,
            usage=Usage(),
            model=ModelRef(provider="p", model="m"),
            cost_usd=None,
            duration_ms=1,
        )

    started = ev.RunStarted(
        run_id=R, agent=A, letter_ids=(), root_id=LetterId("l"), resumes=RunId("cut"), first_turn=3
    )
    counters = Counters()
    for seq, event in enumerate((started, replied(3), replied(4)), 1):
        counters.fold(ev.Recorded(SessionId("s"), seq, seq, 0, event))
    assert (counters.model_calls["replied"], counters.model_calls_repeated) == (2, 1)


def test_what_is_remembered_evicted_and_refused_is_counted_by_section():
    draft = Draft(section="lessons", content="a secret lesson", agent=A)
    events: tuple[ev.Event, ...] = (
        ev.MemoryAdded(items=(draft.item(1), draft.item(2)), agent=A),
        ev.MemoryEvicted(section="lessons", agent=A, item_ids=("a", "b", "c"), tokens=9),
        ev.MemoryRefused(section="facts", agent=A, tokens=1, limit=1, used=1, reason="full"),
    )
    counters = Counters()
    for seq, event in enumerate(events, 1):
        counters.fold(ev.Recorded(SessionId("s"), seq, seq, 0, event))
    body, _ = render(counters, {}, {}, "text")
    lines = body.decode().splitlines()
    assert 'brainpilot_rt_memory_remembered_total{section="lessons"} 2.0' in lines
    assert 'brainpilot_rt_memory_evicted_total{section="lessons"} 3.0' in lines
    assert 'brainpilot_rt_memory_refused_total{section="facts"} 1.0' in lines
    assert "secret" not in body.decode()


def test_choices_interventions_approvals_and_money_are_counted_without_naming_anybody():
    common: dict[str, Any] = {"run_id": R, "agent": A, "turn": 0}
    model = ModelRef(provider="p", model="m")
    money: dict[str, Any] = common | {"scope": "run", "spent_usd": "0.9", "cap_usd": "1"}
    guard = common | {"stage": "input", "guardrail": "pii", "confidence": 1, "reason": "a secret"}
    judged = common | {"call_id": "c", "tool": "bash", "reasons": ["x: a secret"]}
    settled: dict[str, Any] = {"run_id": R, "agent": A, "model": model}
    asked: dict[str, Any] = {"run_id": R, "agent": A, "call_id": "c", "tool": "bash", "digest": "d"}
    events: tuple[ev.Event, ...] = (
        ev.ModelSelected(**common, model=model, phase="ucb1", reason="a secret"),
        ev.ModelSelected(**common, model=model, phase="ucb1", reason="a secret"),
        ev.GuardrailFired.model_validate(guard | {"action": "redact"}),
        ev.ToolJudged.model_validate(judged | {"action": "mask"}),
        ev.ApprovalRequested(**asked, approval_id="a-secret-id", arguments={"x": "a secret"}),
        ev.ApprovalDecided(approval_id="a-secret-id", agent=A, decision="denied", by="user"),
        ev.BudgetWarned(**money, threshold=0.9),
        ev.BudgetExhausted(**money),
        ev.SpendReserved(**settled, reservation_id="r1", amount_usd=Decimal("0.5")),
        ev.SpendReserved(**settled, reservation_id="r2", amount_usd=Decimal("0.5")),
        ev.SpendSettled(
            **settled, reservation_id="r1", outcome="charged", counted_usd=Decimal("0.25")
        ),
        ev.SpendSettled(**settled, reservation_id="of an earlier life", outcome="released"),
    )
    counters = Counters()
    for seq, event in enumerate(events, 1):
        counters.fold(ev.Recorded(SessionId("s"), seq, seq, 0, event))
    body, _ = render(counters, {}, {}, "text")
    lines = body.decode().splitlines()
    assert 'brainpilot_rt_model_selections_total{phase="ucb1"} 2.0' in lines
    assert 'brainpilot_rt_guardrail_interventions_total{action="redact"} 1.0' in lines
    assert 'brainpilot_rt_tool_judgements_total{action="mask"} 1.0' in lines
    assert 'brainpilot_rt_approvals_total{decision="asked"} 1.0' in lines
    assert 'brainpilot_rt_approvals_total{decision="denied"} 1.0' in lines
    assert 'brainpilot_rt_budgets_total{state="warned"} 1.0' in lines
    assert 'brainpilot_rt_budgets_total{state="exhausted"} 1.0' in lines
    assert "brainpilot_rt_spend_counted_usd_total 0.25" in lines
    assert counters.governed.reservations_open == 1
    assert "secret" not in body.decode()


def test_memory_is_what_the_process_has_now():
    assert 5_000_000 < rss_bytes() < 10_000_000_000


def test_how_runs_think_is_counted_under_bounded_labels():
    about = ev.IntentClassified(
        run_id=R,
        agent=A,
        intent="plan",
        confidence=0.5,
        reasoning="a secret",
        source="heuristic",
        program="plan_execute",
    )
    limit = ev.LimitExceeded(run_id=R, agent=A, kind="replans", limit=1, actual=2, reason="secret")
    circuit = ev.CircuitChanged(run_id=R, agent=A, tool="secret", state="open", failures=5)
    unproven = ev.EvidenceInsufficient(run_id=R, agent=A, reason="x", what_would_resolve="y")
    counters = Counters()
    for seq, event in enumerate((about, limit, circuit, unproven), 1):
        counters.fold(ev.Recorded(SessionId("s"), seq, seq, 0, event))
    text = render(counters, {}, {}, "text")[0].decode()
    assert 'brainpilot_rt_intents_total{intent="plan"} 1.0' in text
    assert 'brainpilot_rt_programs_total{program="plan_execute"} 1.0' in text
    assert 'brainpilot_rt_limits_total{kind="replans"} 1.0' in text
    assert 'brainpilot_rt_circuits_total{state="open"} 1.0' in text
    assert "brainpilot_rt_evidence_insufficient_total 1.0" in text
    assert "secret" not in text
