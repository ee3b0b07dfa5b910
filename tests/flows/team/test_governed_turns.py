"""Turns are routed, paid for, guarded and judged: on a whole team with a scripted model."""

from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Conflict, FatalFault, RetryableFault
from brainpilot_rt.domain.governing import RunLimits
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.models.providers import Dialect, ProviderProfile, Providers, TokenPrices
from brainpilot_rt.settings import BudgetSettings, GuardSettings, RoutingSettings
from brainpilot_rt.supervision.answers import NewSession
from brainpilot_rt.supervision.approvals import Word
from brainpilot_rt.testing.models import Call, Gate, Reply, ScriptedModel
from brainpilot_rt.testing.team import SESSION, Setup, Team, team
from tests.flows.team.moves import ends, memory_log, send

E = TypeVar("E")
CHEAP = ModelRef(provider="p", model="cheap")
DEAR = ModelRef(provider="p", model="dear")
DOLLAR = Usage(input=1_000, output=0)
"""Costs a dollar at the dear model, ten cents at the cheap one."""


def providers() -> Providers:
    there = ProviderProfile(
        id="p",
        name="P",
        dialect=Dialect.OPENAI_CHAT,
        base_url="https://p.example/v1",
        api_key="k",
        models=("dear", "cheap"),
        prices={
            "dear": TokenPrices(Decimal(1_000), Decimal(1_000)),
            "cheap": TokenPrices(Decimal(100), Decimal(100)),
        },
    )
    return Providers((there,), "p")


def paid(**changes: object) -> Setup:
    return Setup(paid=True, providers=providers(), **changes)  # pyright: ignore[reportArgumentType]


def costing(usd: str, *steps: str | Call | Gate) -> Reply:
    return Reply(steps, usage=DOLLAR, cost_usd=Decimal(usd))


async def told(crew: Team, kind: type[E]) -> list[E]:
    return [one.event for one in await crew.events() if isinstance(one.event, kind)]


async def ask(crew: Team, text: str, cap: str | None = None, turns: int | None = None) -> None:
    limits = RunLimits(cap_usd=None if cap is None else Decimal(cap), max_turns=turns)
    await crew.backend.post_message(SESSION, agent=None, content=text, limits=limits)


# --- money --------------------------------------------------------------------------------


@pytest.mark.requirement("budgets")
async def test_the_crossing_turn_is_paid_for_and_its_calls_are_skipped(tmp_path: Path):
    model = ScriptedModel()
    model.script("principal", costing("0.6", Call("recall", {"query": "x"})))
    model.script("principal", costing("0.7", Call("recall", {"query": "y"})))
    async with team(memory_log(), model.stream, tmp_path, paid()) as crew:
        await crew.create()
        await ask(crew, "Go.", cap="1.0")
        await crew.settled()
        first, second = await told(crew, ev.ToolFinished)
        assert first.status == "completed"
        assert (second.status, "budget is exhausted" in second.content) == ("refused", True)
        [ended] = await told(crew, ev.RunFinished)
        assert (ended.outcome, ended.error_code) == ("failed", "budget_exhausted")
        assert len(model.requests) == 2
        [spent] = await told(crew, ev.BudgetExhausted)
        assert (spent.scope, spent.spent_usd, spent.cap_usd) == ("root", Decimal("1.3"), Decimal(1))
        assert crew.state().spent_usd == Decimal("1.3")
        assert crew.state().reservations == {}


@pytest.mark.requirement("budgets")
async def test_a_warning_comes_once_for_each_part_of_a_budget(tmp_path: Path):
    model = ScriptedModel()
    for _ in range(3):
        model.script("principal", costing("0.45", Call("recall", {"query": "x"})))
    model.script("principal", costing("0.1", "Done."))
    setup = paid(budgets=BudgetSettings(session_usd=Decimal(2), warn_at=(0.4, 0.6)))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await ask(crew, "Go.")
        await crew.settled()
        warned = await told(crew, ev.BudgetWarned)
        assert [(one.scope, one.threshold) for one in warned] == [
            ("session", 0.4),
            ("session", 0.6),
        ]
        assert await ends(crew) == ["completed"]


@pytest.mark.requirement("budgets")
async def test_a_delegation_spends_of_its_senders_and_gives_back_what_is_left(tmp_path: Path):
    model = ScriptedModel()
    model.script("principal", costing("1", send("librarian", "Find it.")))
    model.script("principal", costing("0", "I wait."))
    model.script("librarian", costing("1", send("principal", "Found.")))
    model.script("librarian", costing("0", "Done."))
    model.script("principal", costing("1", send("writer", "Write it.")))
    model.script("principal", costing("0", "I wait."))
    model.script("writer", costing("0", send("principal", "Written.")))
    model.script("writer", costing("0", "Done."))
    model.script("principal", costing("0", "There."))
    async with team(memory_log(), model.stream, tmp_path, paid()) as crew:
        await crew.create()
        await ask(crew, "Go.", cap="9")
        await crew.settled()
        envelopes = [
            one.letter.budget
            for one in await told(crew, ev.LetterAccepted)
            if one.letter.kind == "task_delegate"
        ]
        # Of nine one is spent: half of eight. Then two more are: half of six, not of what the
        # librarian was given and did not spend.
        assert envelopes == [Decimal(4), Decimal(3)]
        assert crew.state().spent_usd == 3


@pytest.mark.requirement("budgets")
async def test_a_specialist_whose_envelope_is_spent_stops_and_its_sender_goes_on(tmp_path: Path):
    model = ScriptedModel()
    order = {"to": "librarian", "content": "Find it.", "budget_usd": 0.5}
    model.script("principal", costing("0", Call("send_message", order)))
    model.script("principal", costing("0", "I wait."))
    model.script("librarian", costing("0.6", Call("recall", {"query": "x"})))
    model.script("principal", costing("0.1", "It could not be found for that money."))
    async with team(memory_log(), model.stream, tmp_path, paid()) as crew:
        await crew.create()
        await ask(crew, "Go.", cap="5")
        await crew.settled()
        [spent] = await told(crew, ev.BudgetExhausted)
        assert (spent.agent, spent.scope) == ("librarian", "envelope")
        ended = {one.agent: one.outcome for one in await told(crew, ev.RunFinished)}
        assert ended == {"principal": "completed", "librarian": "failed"}


@pytest.mark.requirement("budgets")
async def test_runs_at_the_same_time_never_spend_the_same_remainder(tmp_path: Path):
    model = ScriptedModel()
    model.script("principal", costing("1", gate := Gate(), "Done."))
    setup = paid(budgets=BudgetSettings(daily_usd=Decimal("0.5")))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await ask(crew, "Go.")
        await gate.reached.wait()
        other = (await crew.backend.create_session(NewSession(session="other"))).session
        await crew.backend.post_message(other, agent=None, content="Go.")
        await crew.settled(other)
        gate.open()
        await crew.settled()
        assert len(model.requests) == 1
        ends_of_other = [one.event for one in await crew.events(other)]
        [ended] = [one for one in ends_of_other if isinstance(one, ev.RunFinished)]
        assert ended.error_code == "budget_exhausted"


@pytest.mark.requirement("budgets")
async def test_a_call_that_is_stopped_counts_the_same_in_the_session_and_in_its_budgets(
    tmp_path: Path,
):
    model = ScriptedModel()
    model.script("principal", costing("1", "Half of it", gate := Gate(), "the rest."))
    async with team(memory_log(), model.stream, tmp_path, paid()) as crew:
        await crew.create()
        await ask(crew, "Go. " * 100)
        await gate.reached.wait()
        await crew.backend.interrupt(SESSION, None)
        await crew.settled()
        state = crew.state()
        assert state.cost_usd == state.spent_usd > 0
        assert state.usage.input > 0


# --- routing ------------------------------------------------------------------------------


@pytest.mark.requirement("routing")
async def test_a_model_that_fails_is_replaced_in_the_same_turn_and_that_is_said(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", RetryableFault("too busy", status=529))
    model.say("principal", "Done.")
    setup = paid(routing=RoutingSettings(team="auto", seed=7))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await ask(crew, "Hello.")
        await crew.settled()
        first, second = await told(crew, ev.ModelSelected)
        assert (first.phase, second.phase) == ("unsampled", "fallback")
        assert second.instead_of == first.model != second.model
        rated = await told(crew, ev.TurnRated)
        assert [(one.model, one.validity) for one in rated] == [
            (first.model, 0.0),
            (second.model, 1.0),
        ]
        assert [one.outcome for one in await told(crew, ev.SpendSettled)] == ["released", "charged"]
        assert await ends(crew) == ["completed"]


@pytest.mark.requirement("routing")
async def test_a_model_that_is_too_dear_for_what_is_left_is_not_chosen(tmp_path: Path):
    model = ScriptedModel()
    model.script("principal", costing("0.1", "Done."))
    setup = paid(routing=RoutingSettings(team="auto", seed=7))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await ask(crew, "Hello. " * 200, cap="1")
        await crew.settled()
        [selected] = await told(crew, ev.ModelSelected)
        assert selected.model == CHEAP
        [dear] = [one for one in selected.candidates if one.model == DEAR]
        assert dear.excluded == "its estimate is above the budget"


@pytest.mark.requirement("routing")
async def test_after_a_call_that_a_cheaper_model_will_do_for_the_cheapest_is_asked(tmp_path: Path):
    model = ScriptedModel()
    model.script("principal", costing("0.1", Call("list_agents", {})))
    model.script("principal", costing("0.1", Call("recall", {"query": "x"})))
    model.script("principal", costing("0.1", "Done."))
    setup = paid(routing=RoutingSettings(team="auto", seed=1))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.organs.governing.governor.set_firewall({"downgradeOnTools": ["recall"]})
        await crew.create()
        await ask(crew, "Hello.")
        await crew.settled()
        first, second, third = await told(crew, ev.ModelSelected)
        assert first.model == second.model == DEAR  # so fall the dice, and a loop goes on
        assert (third.model, third.reason) == (CHEAP, "the cheapest, which will do")


@pytest.mark.requirement("routing")
async def test_a_pinned_model_is_never_replaced(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", FatalFault("broken"))
    setup = paid()
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await ask(crew, "Hello.")
        await crew.settled()
        [selected] = await told(crew, ev.ModelSelected)
        assert (selected.model, selected.phase) == (DEAR, "only")
        [ended] = await told(crew, ev.RunFinished)
        assert (ended.outcome, len(model.requests)) == ("failed", 1)


@pytest.mark.requirement("routing")
async def test_a_model_keeps_the_tool_loop_it_began(tmp_path: Path):
    model = ScriptedModel()
    for _ in range(4):
        model.script("principal", costing("0.1", Call("recall", {"query": "x"})))
    model.script("principal", costing("0.1", "Done."))
    setup = paid(routing=RoutingSettings(team="auto", seed=1))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await ask(crew, "Go on and on.")
        await crew.settled()
        selected = await told(crew, ev.ModelSelected)
        assert {one.phase for one in selected[1:]} == {"held"}
        assert len({one.model.model for one in selected}) == 1


# --- guardrails ---------------------------------------------------------------------------


@pytest.mark.requirement("guardrails")
async def test_a_secret_never_leaves_in_an_answer_however_it_is_cut(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", "The key is sk-an", "t-api03-" + "Zk3x9QpLmN7v" * 4, " and that is all.")
    seen: list[str] = []
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        crew.organs.hub.listen(lambda item: seen.append(getattr(item, "text", "")))
        await ask(crew, "What is the key?")
        await crew.settled()
        [text] = await told(crew, ev.TextFinished)
        assert "Zk3x9QpLmN7v" not in text.text + "".join(seen)
        assert text.text.endswith("and that is all.")


@pytest.mark.requirement("guardrails")
async def test_a_request_that_is_blocked_is_never_asked(tmp_path: Path):
    model = ScriptedModel()
    setup = Setup(guard=GuardSettings(mode="block"))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await ask(crew, "My card is 4111 1111 1111 1111, keep it.")
        await crew.settled()
        [fired] = await told(crew, ev.GuardrailFired)
        assert (fired.stage, fired.action, fired.guardrail) == ("input", "block", "pii")
        [ended] = await told(crew, ev.RunFinished)
        assert (ended.error_code, model.requests) == ("guardrail_blocked", [])


# --- approvals ----------------------------------------------------------------------------


@pytest.mark.requirement("approvals")
@pytest.mark.parametrize(("approve", "status"), [(True, "completed"), (False, "refused")])
async def test_a_call_that_needs_a_word_runs_as_it_was_shown_or_not_at_all(
    tmp_path: Path,
    approve: bool,  # noqa: FBT001 - a parameter of the test
    status: str,
):
    model = ScriptedModel()
    model.say("principal", Call("create_agent", {"agent_type": "librarian"}))
    model.say("principal", "Done.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        governor = crew.organs.governing.governor
        await governor.set_policy({"tool_name": "create_agent", "requires_approval": True})
        await crew.create()
        await ask(crew, "Go.")
        await crew.until(lambda state: state.approvals)
        [asked] = crew.backend.approvals.open()
        assert (asked.tool, asked.arguments) == ("create_agent", {"agent_type": "librarian"})
        with pytest.raises(Conflict):
            await crew.backend.approvals.decide(asked.approval_id, Word(approve=True), "other")
        word = Word(approve=approve, note="not today")
        await crew.backend.approvals.decide(asked.approval_id, word)
        state = await crew.settled()
        [ended] = await told(crew, ev.ToolFinished)
        assert ended.status == status
        assert ("not today" in ended.content) is not approve
        assert (AgentName("librarian") in state.agents) is approve
        assert state.grants == {}


@pytest.mark.requirement("approvals")
async def test_an_approval_that_nobody_gives_in_time_counts_as_denied(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", Call("create_agent", {"agent_type": "librarian"}))
    model.say("principal", "Done.")
    setup = Setup(guard=GuardSettings(approval_wait_s=60))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        governor = crew.organs.governing.governor
        await governor.set_policy({"tool_name": "create_agent", "requires_approval": True})
        await crew.create()
        await ask(crew, "Go.")
        await crew.settled()
        [decided] = await told(crew, ev.ApprovalDecided)
        assert (decided.decision, decided.by) == ("expired", "clock")
        [ended] = await told(crew, ev.ToolFinished)
        assert ended.status == "refused"
