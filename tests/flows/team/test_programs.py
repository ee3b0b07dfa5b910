"""Runs think: each program on a whole team with a scripted model, good ones and bad ones."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import FatalFault
from brainpilot_rt.domain.ids import USER, SessionId
from brainpilot_rt.domain.memory import UNTRUSTED, Draft
from brainpilot_rt.domain.model_calls import AttemptFailed
from brainpilot_rt.domain.passages import Passage, Passages
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.sessions.state import SessionState
from brainpilot_rt.settings import ThinkingSettings
from brainpilot_rt.testing.models import Call, Gate, Reply, ScriptedModel
from brainpilot_rt.testing.team import SESSION, Setup, Team, team
from brainpilot_rt.workspace.files import Workspace
from tests.flows.team.moves import ends, memory_log, send

TEXT = "The tomatoes are watered\nin the morning, because wet leaves\ninvite blight.\n"
GOOD = '[garden.md:2-3 "wet leaves invite blight"]'
BAD = '[garden.md:1 "wet leaves invite blight"]'

E = TypeVar("E")


async def found(_session: SessionId, _tree: Workspace, _query: str, _count: int) -> Passages:
    one = Passage(path="garden.md", start_line=1, end_line=3, text=TEXT.rstrip(), score=2.0)
    return Passages([one])


async def told(crew: Team, kind: type[E]) -> list[E]:
    return [one.event for one in await crew.events() if isinstance(one.event, kind)]


def is_of(event: ev.Event, run_id: str) -> bool:
    """A fact of that run, or a letter the principal reads or writes."""
    if isinstance(event, ev.LetterAccepted):
        return event.letter.from_ != "librarian"
    return getattr(event, "run_id", None) == run_id


def at_work(state: SessionState) -> set[str]:
    return {run.agent for run in state.runs.values()}


def plan(*steps: str) -> Call:
    return Call("propose_plan", {"goal": "know it", "steps": list(steps)})


def closes(status: str = "done", note: str = "") -> Call:
    return Call("close_step", {"status": status, "note": note})


def offered(model: ScriptedModel, agent: str = "principal") -> list[set[str]]:
    return [{one.name for one in request.tools} for request in model.requests_of(agent)]


async def garden(crew: Team) -> None:
    await crew.create()
    crew.organs.workspace(SESSION).write("garden.md", TEXT.encode())


def model_of(*replies: Sequence[str | Call]) -> ScriptedModel:
    model = ScriptedModel()
    for steps in replies:
        model.say("principal", *steps)
    return model


@pytest.mark.requirement("programs")
async def test_a_greeting_is_answered_at_once_without_tools(tmp_path: Path):
    model = model_of(["Hello."])
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("hi there")
        await crew.settled()
        [said] = await told(crew, ev.IntentClassified)
        assert (said.intent, said.program, said.source) == ("respond", "respond", "heuristic")
    assert offered(model) == [set()]


@pytest.mark.requirement("run-told")
async def test_one_run_can_be_followed_from_its_letter_to_its_summary(tmp_path: Path):
    model = ScriptedModel()
    usage = Usage(input=100, output=20)
    model.script("principal", Reply((send("librarian", "Look."),), usage, Decimal("0.5")))
    model.script("principal", Reply(("Waiting.",), usage, Decimal("0.25")))
    model.say("librarian", gate := Gate(), send("principal", "found"))
    model.say("librarian", "Done.")
    model.say("principal", "There.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Fetch the book.")
        await crew.until(lambda state: state.tasks and "principal" not in at_work(state))
        gate.open()
        await crew.settled()
        [first, *_] = await told(crew, ev.RunStarted)
        steps = [one.event.type for one in await crew.events() if is_of(one.event, first.run_id)]
        assert steps[: steps.index("turn_summarised") + 1] == [
            "letter_accepted",
            "run_started",
            "context_assembled",
            "intent_classified",
            "model_selected",
            "spend_settled",
            "model_replied",
            "tool_planned",
            "tool_started",
            "letter_accepted",
            "tool_finished",
            "context_assembled",
            "turn_rated",
            "model_selected",
            "spend_settled",
            "turn_rated",
            "text_started",
            "text_finished",
            "model_replied",
            "run_finished",
            "span_completed",
            "turn_summarised",
        ]
        summaries = await told(crew, ev.TurnSummarised)
        [summary] = [one for one in summaries if one.run_id == first.run_id]
        assert (summary.text, summary.intent, summary.program) == ("Waiting.", "tool_use", "react")
        assert (summary.model_calls, summary.tokens_used) == (2, 240)
        assert (summary.input_tokens, summary.output_tokens) == (200, 40)
        assert summary.cost_usd == Decimal("0.75")
        [call] = summary.tool_calls
        assert (call.tool_name, call.is_error) == ("send_message", False)
        spans = await told(crew, ev.SpanCompleted)
        assert sorted(one.name for one in spans) == ["turn.1", "turn.2", "turn.3"]
        last = (await told(crew, ev.IntentClassified))[-1]
        assert (last.source, last.program) == ("fixed", "react")


@pytest.mark.requirement("run-told")
async def test_a_failed_run_has_its_span_with_the_error_and_an_empty_summary(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", FatalFault("no money", code="provider_fatal"))
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.settled()
        kinds = [one.event.type for one in await crew.events()]
        at = kinds.index("run_finished")
        assert kinds[at : at + 3] == ["run_finished", "span_completed", "turn_summarised"]
        [span] = await told(crew, ev.SpanCompleted)
        assert (span.error_type, span.error_message) == ("provider_fatal", "no money")
        [summary] = await told(crew, ev.TurnSummarised)
        assert summary.text == ""


@pytest.mark.requirement("run-told")
async def test_an_aborted_run_has_them_too(tmp_path: Path):
    model = ScriptedModel()
    gate = model.hang("principal")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        await crew.stop()
        await crew.settled()
        [span] = await told(crew, ev.SpanCompleted)
        assert span.error_type == "aborted"
        assert len(await told(crew, ev.TurnSummarised)) == 1


# --- the classifier -------------------------------------------------------------------------


@pytest.mark.requirement("intent")
async def test_a_model_classifies_where_that_is_free(tmp_path: Path):
    word = '{"intent": "clarify", "confidence": 0.9, "reasoning": "which book?"}'
    model = model_of([word], [Call("ask_user", {"question": "Which?"})], ["Taken."])
    async with team(memory_log(), model.stream, tmp_path, Setup(free=True)) as crew:
        await crew.create()
        await crew.post("Fetch the book.")
        state = await crew.until(lambda state: state.questions)
        [question] = state.questions
        await crew.backend.answer(SESSION, question, "the red one", None)
        await crew.settled()
        [said] = await told(crew, ev.IntentClassified)
        assert (said.intent, said.source, said.confidence) == ("clarify", "model", 0.9)
        assert said.program == "clarify"
        [asked] = await told(crew, ev.ModelAsked)
        assert asked.purpose == "classify"
        [summary] = await told(crew, ev.TurnSummarised)
        assert summary.model_calls == 3
    assert offered(model)[:2] == [set(), {"ask_user"}]
    assert "send_message" in offered(model)[2]
    assert len(model.requests[1].messages) == 1


@pytest.mark.requirement("intent")
async def test_the_classifier_reads_what_the_agent_knows_and_was_told(tmp_path: Path):
    word = '{"intent": "respond", "confidence": 0.9, "reasoning": "it is known"}'
    model = model_of([word], ["Noted."], [word], ["At dawn."])
    async with team(memory_log(), model.stream, tmp_path, Setup(free=True)) as crew:
        await crew.create()
        fact = Draft(section="facts", content="The gate opens at dawn.", agent=USER)
        await crew.organs.memories.remember(SESSION, fact)
        await crew.post("Remember the gate.")
        await crew.settled()
        await crew.post("And when is that?")
        await crew.settled()
    first, _, second, _ = model.requests
    assert "The gate opens at dawn." in first.system
    assert "it was asked" not in first.system
    assert "it was asked: Remember the gate." in second.system
    assert "it said: Noted." in second.system
    assert "And when is that?" not in second.system


@pytest.mark.requirement("intent")
async def test_documents_that_the_context_shows_make_a_question_research(tmp_path: Path):
    async def nothing(*_: object) -> Passages:
        return Passages()

    model = model_of([f"Wet leaves {GOOD}."], ["Insufficient evidence: nothing says so."])
    log = memory_log()
    async with team(log, model.stream, tmp_path, Setup(search=found)) as crew:
        await garden(crew)
        await crew.post("Why in the morning?")
        await crew.settled()
    async with team(log, model.stream, tmp_path, Setup(search=nothing)) as crew:
        await crew.post("What of the roots?")
        await crew.settled()
        said = await told(crew, ev.IntentClassified)
        assert [(one.intent, one.source) for one in said] == [("research", "heuristic")] * 2


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("As a large language model I", "did not answer"),
        ('{"intent": "destroy everything"}', "did not answer"),
        (FatalFault("gone", code="provider_fatal"), "failed: gone"),
    ],
)
@pytest.mark.requirement("intent")
async def test_a_classifier_that_answers_nonsense_is_replaced_by_the_rules(
    tmp_path: Path, word: str | FatalFault, why: str
):
    model = ScriptedModel()
    model.say("principal", word)
    model.say("principal", "Hello.")
    async with team(memory_log(), model.stream, tmp_path, Setup(free=True)) as crew:
        await crew.create()
        await crew.post("hello")
        await crew.settled()
        assert await ends(crew) == ["completed"]
        [said] = await told(crew, ev.IntentClassified)
        assert (said.source, said.intent) == ("heuristic", "respond")
        assert why in said.fallback


@pytest.mark.parametrize("trouble", ["silent", "retrying"])
@pytest.mark.requirement("intent")
async def test_nobody_waits_for_a_classifier_in_trouble(tmp_path: Path, trouble: str):
    model = ScriptedModel()
    if trouble == "silent":
        model.hang("principal")
    else:
        failed = AttemptFailed(attempt=1, attempts_max=5, delay_s=2, reason="overloaded")
        model.say("principal", failed, Gate())
    model.say("principal", "Hello.")
    async with team(memory_log(), model.stream, tmp_path, Setup(free=True)) as crew:
        await crew.create()
        await crew.post("hello")
        await crew.settled()
        assert await ends(crew) == ["completed"]
        [said] = await told(crew, ev.IntentClassified)
        assert said.source == "heuristic"
        assert said.fallback.removeprefix("the classifier ") in (
            "was silent for too long",
            "failed: overloaded",
        )
    assert len(model.abandoned) == 1


# --- research -------------------------------------------------------------------------------


async def researched(
    tmp_path: Path, *answers: str, thinking: ThinkingSettings | None = None
) -> tuple[ScriptedModel, list[ev.Recorded]]:
    model = model_of(*([one] for one in answers))
    setup = Setup(search=found, thinking=thinking or ThinkingSettings())
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await garden(crew)
        await crew.post("Why are tomatoes watered in the morning?")
        await crew.settled()
        assert await ends(crew) == ["completed"]
        return model, await crew.events()


def of(events: list[ev.Recorded], kind: type[E]) -> list[E]:
    return [one.event for one in events if isinstance(one.event, kind)]


@pytest.mark.requirement("evidence")
async def test_research_retrieves_first_and_remembers_what_holds(tmp_path: Path):
    model, events = await researched(tmp_path, f"Blight comes from wet leaves {GOOD}.")
    [said] = of(events, ev.IntentClassified)
    assert said.program == "research"
    [retrieved] = of(events, ev.PassagesRetrieved)
    assert [one.path for one in retrieved.passages] == ["garden.md"]
    [request] = model.requests
    assert "2| in the morning, because wet leaves" in request.system
    [checked] = of(events, ev.CitationChecked)
    assert (checked.verified, checked.claim) == (True, "Blight comes from wet leaves")
    [end] = of(events, ev.HostTurnFinished)
    assert len(end.citations) == 1
    [added] = of(events, ev.MemoryAdded)
    [item] = added.items
    assert (item.section, item.tags) == ("findings", (UNTRUSTED,))
    assert item.finding is not None
    assert item.finding.verified
    assert item.finding.claim == "Blight comes from wet leaves"


@pytest.mark.requirement("context")
async def test_passages_are_stored_once_although_every_turn_has_its_number(tmp_path: Path):
    model = model_of([Call("recall", {"query": "blight"})], [f"Wet leaves {GOOD}."])
    log = memory_log()
    async with team(log, model.stream, tmp_path, Setup(search=found)) as crew:
        await garden(crew)
        await crew.post("Why are tomatoes watered in the morning?")
        await crew.settled()
        first, second = await told(crew, ev.ContextAssembled)
        shown = (await crew.backend.turns.context(SESSION, 2))["sections"]
    texts = [
        {one.name: one.text for one in context.sections if one.name in ("program", "marker")}
        for context in (first, second)
    ]
    assert "wet leaves" in (texts[0]["program"] or "")
    assert texts[1]["program"] is None
    assert [one["marker"] for one in texts] == ["[Turn 1/500]", "[Turn 2/500]"]
    assert [one["text"] for one in shown if one["name"] == "program"] == [texts[0]["program"]]


@pytest.mark.requirement("evidence")
async def test_a_citation_that_is_not_in_its_source_is_sent_back_with_what_is_wrong(tmp_path: Path):
    model, events = await researched(tmp_path, f"Blight {BAD}.", f"Blight {GOOD}.")
    [prompted] = of(events, ev.ProgramPrompted)
    assert prompted.reason == "evidence"
    assert "these words do not stand in those lines" in prompted.text
    assert model.requests[1].messages[-1].model_dump()["text"] == prompted.text
    assert [one.verified for one in of(events, ev.CitationChecked)] == [False, True]
    assert not of(events, ev.EvidenceInsufficient)
    [end] = of(events, ev.HostTurnFinished)
    assert (len(end.citations), end.unverified_citations) == (1, 0)


@pytest.mark.requirement("evidence")
async def test_an_answer_without_evidence_is_refused_as_a_claim_after_some_tries(tmp_path: Path):
    model, events = await researched(tmp_path, "Frost.", f"Frost {BAD}.", f"Ice {BAD}.")
    assert len(model.requests) == 3
    [refused] = of(events, ev.EvidenceInsufficient)
    assert "none of the 1" in refused.reason
    [limit] = of(events, ev.LimitExceeded)
    assert (limit.kind, limit.actual) == ("evidence", 3)
    assert not of(events, ev.MemoryAdded)


@pytest.mark.requirement("evidence")
async def test_the_same_unproven_answer_twice_is_not_asked_for_a_third_time(tmp_path: Path):
    model, events = await researched(tmp_path, "Frost.", "Frost, I said.")
    assert len(model.requests) == 2
    assert len(of(events, ev.EvidenceInsufficient)) == 1


@pytest.mark.requirement("evidence")
async def test_an_answer_that_refuses_by_itself_stands(tmp_path: Path):
    said = "Insufficient evidence: the records of May would show it."
    model, events = await researched(tmp_path, said)
    assert len(model.requests) == 1
    [refused] = of(events, ev.EvidenceInsufficient)
    assert refused.what_would_resolve == said


async def delegated(tmp_path: Path, *answers: str) -> tuple[ScriptedModel, list[ev.Recorded]]:
    """A question that is handed on: the answers are given after the result has come."""
    model = model_of([send("librarian", "Look.")], ["Waiting."], *([one] for one in answers))
    model.say("librarian", gate := Gate(), send("principal", "wet leaves"))
    model.say("librarian", "Done.")
    async with team(memory_log(), model.stream, tmp_path, Setup(search=found)) as crew:
        await garden(crew)
        await crew.post("Why are tomatoes watered in the morning?")
        await crew.until(lambda state: state.tasks and "principal" not in at_work(state))
        gate.open()
        await crew.settled()
        assert await ends(crew) == ["completed"]
        return model, await crew.events()


@pytest.mark.requirement("evidence")
async def test_what_is_answered_after_delegation_is_looked_up_too(tmp_path: Path):
    model, events = await delegated(tmp_path, f"Blight {BAD}.", f"Blight {GOOD}.")
    assert len(model.requests_of("principal")) == 4
    assert [one.verified for one in of(events, ev.CitationChecked)] == [False, True]
    assert not of(events, ev.EvidenceInsufficient)


@pytest.mark.requirement("evidence")
async def test_an_answer_of_others_without_a_citation_is_no_evidence_and_costs_no_call(
    tmp_path: Path,
):
    model, events = await delegated(tmp_path, "Blight, they say.")
    assert len(model.requests_of("principal")) == 3
    assert len(of(events, ev.EvidenceInsufficient)) == 1
    assert not of(events, ev.LimitExceeded)


# --- plans ----------------------------------------------------------------------------------


@pytest.mark.requirement("programs")
async def test_a_plan_is_worked_step_by_step_to_its_answer(tmp_path: Path):
    model = model_of(
        [plan("ask the librarian", "think", "judge")],
        [send("librarian", "Look.")],
        ["Waiting."],
        ["The book is red."],
        ["I think so."],
        [closes("dropped", "not needed")],
        ["The whole answer."],
    )
    model.say("librarian", gate := Gate(), send("principal", "red"))
    model.say("librarian", "Done.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("First ask, then think, then judge.")
        await crew.until(lambda state: state.tasks and "principal" not in at_work(state))
        assert crew.state().plans
        gate.open()
        state = await crew.settled()
        assert not state.plans
        assert await ends(crew) == ["completed"]
        [end] = await told(crew, ev.HostTurnFinished)
        assert end.answer == "The whole answer."
        changes = await told(crew, ev.PlanChanged)
        assert [one.op for one in changes] == ["proposed", *["step_closed"] * 3]
        assert [(one.status, one.note) for one in changes[-1].plan.steps] == [
            ("done", "The book is red."),
            ("done", "I think so."),
            ("dropped", "not needed"),
        ]
        prompts = await told(crew, ev.ProgramPrompted)
        assert [one.text.split(":")[0] for one in prompts] == ["Step 2 of 3", "Step 3 of 3"]
        intents = [
            (one.source, one.program)
            for one in await told(crew, ev.IntentClassified)
            if one.agent == "principal"
        ]
        assert intents == [("heuristic", "plan_execute"), ("fixed", "plan_execute")]
    assert offered(model)[0] == {"propose_plan"}
    assert {"revise_plan", "close_step", "send_message"} <= offered(model)[1]
    assert "propose_plan" not in offered(model)[1]


@pytest.mark.requirement("programs")
async def test_a_plan_whose_last_step_ends_with_text_is_asked_for_the_answer(tmp_path: Path):
    model = model_of([plan("think")], ["Hm."], ["Thought."], ["The answer."])
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("First think, then answer.")
        await crew.settled()
        prompts = await told(crew, ev.ProgramPrompted)
        assert [one.reason for one in prompts] == ["step", "plan_done"]
        [end] = await told(crew, ev.HostTurnFinished)
        assert end.answer == "The answer."


@pytest.mark.requirement("programs")
async def test_a_model_that_needs_no_plan_just_answers(tmp_path: Path):
    model = model_of(["Done already."])
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("First this, then that.")
        await crew.settled()
        assert await ends(crew) == ["completed"]
    assert len(model.requests) == 1


@pytest.mark.parametrize(("last", "outcome"), [("What I have.", "completed"), (None, "failed")])
@pytest.mark.requirement("programs")
async def test_a_plan_that_never_ends_is_ended(tmp_path: Path, last: str | None, outcome: str):
    revisions = [
        [Call("revise_plan", {"steps": [f"again {n}"], "reason": "more"})] for n in range(4)
    ]
    model = model_of([plan("begin")], *revisions, [last or Call("bash", {"command": "true"})])
    setup = Setup(thinking=ThinkingSettings(replans_max=3))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await crew.post("First this, then that.")
        await crew.settled()
        [limit] = await told(crew, ev.LimitExceeded)
        assert (limit.kind, limit.limit, limit.actual) == ("replans", 3, 4)
        [end] = await told(crew, ev.RunFinished)
        assert (end.outcome, end.answer) == (outcome, last or "")
        assert not crew.state().plans
    # proposal, three revisions, the one too many, and the last turn without tools
    assert len(model.requests) == 6
    assert not model.requests[-1].tools


@pytest.mark.requirement("programs")
async def test_a_stop_leaves_no_plan_behind(tmp_path: Path):
    model = model_of([plan("begin")])
    gate = model.hang("principal")
    model.say("principal", "Fresh.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("First this, then that.")
        await gate.reached.wait()
        assert crew.state().plans
        await crew.stop()
        state = await crew.settled()
        assert not state.plans
        await crew.post("Write a poem.")
        await crew.settled()
        assert (await told(crew, ev.IntentClassified))[-1].program == "react"
