"""The turn loop through its ports: what is committed, what is shown, what the model reads."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainpilot_rt.agents.definition import define_agent
from brainpilot_rt.agents.reply import last_calls
from brainpilot_rt.domain.errors import FatalFault, ProviderFault, RetryableFault, Unavailable
from brainpilot_rt.domain.events import (
    LettersJoined,
    ModelAttemptFailed,
    ModelReplied,
    TextFinished,
    TextStarted,
    ToolFinished,
    ToolPlanned,
)
from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.messages import AssistantMessage, TextPart, ToolCall, UserMessage
from brainpilot_rt.domain.model_calls import AttemptFailed, ModelRef, StopReason
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.testing.models import Call, Gate, Reply, Thought
from tests.unit.agents.world import AGENT, RUN, World, letter


def limited(max_turns: int | None, **fields: Any) -> World:
    return World(
        define_agent(id=AGENT, system="S", tools=("look", "slow"), max_turns=max_turns, **fields)
    )


async def started(*letters: str) -> World:
    world = World()
    world.begin(*(letter(n, text) for n, text in enumerate(letters or ("Why?",), start=1)))
    return world


async def test_an_answer_is_shown_live_and_handed_back_uncommitted():
    world = await started()
    gate = Gate()
    world.model.say(AGENT, "Be", gate, "cause.")
    running = asyncio.create_task(world.run())  # noqa: TID251 - the test plays the worker
    await gate.reached.wait()
    gate.open()
    result = await running
    assert (result.outcome, result.reason, result.answer, result.turns) == (
        "completed",
        "",
        "Because.",
        1,
    )
    finished, replied = result.closing
    assert isinstance(finished, TextFinished)
    assert isinstance(replied, ModelReplied)
    assert world.commits[1:] == [["text_started"], ["text_finished", "model_replied"]]
    assert finished.text == "Because."
    assert finished.message_id == result.message_id
    assert finished.started_seq == world.types().index("text_started") + 1
    assert world.shown == {result.message_id: [*world.shown[finished.message_id]]}
    assert [len(piece) for piece in world.shown[finished.message_id]] == list(finished.chunks)


async def test_what_is_heard_before_the_announcement_is_durable_becomes_one_chunk():
    world = await started()
    world.commit_s = 1
    gate = Gate()
    world.model.say(AGENT, "a", "b", "c", gate, "d", "e")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(world.run())
        await gate.reached.wait()
        assert world.shown == {}
        await asyncio.sleep(2)
        assert list(world.shown.values()) == [["abc"]]
        gate.open()
    assert world.events(TextFinished)[0].chunks == (3, 1, 1)
    assert running.result().answer == "abcde"


async def test_a_reply_that_comes_in_one_piece_is_announced_and_closed_in_one_commit():
    world = await started()
    world.instant = True
    world.model.say(AGENT, Thought("hm"), "all", "at", "once")
    result = await world.run()
    assert world.shown == {}
    assert [event.type for event in result.closing] == [
        "text_started",
        "text_finished",
        "text_started",
        "text_finished",
        "model_replied",
    ]
    answer = result.closing[3]
    assert isinstance(answer, TextFinished)
    assert (answer.text, answer.chunks) == ("allatonce", (3, 2, 4))
    assert answer.message_id == result.message_id


async def test_reasoning_is_a_text_of_its_own_before_the_answer():
    world = await started()
    world.model.say(AGENT, Thought("hm"), Thought("m"), "Yes", ".")
    result = await world.run()
    assert [(e.kind, e.turn) for e in world.events(TextStarted)] == [("reasoning", 0), ("text", 0)]
    assert [(e.kind, e.text) for e in world.events(TextFinished)] == [
        ("reasoning", "hmm"),
        ("text", "Yes."),
    ]
    assert result.message_id == world.events(TextFinished)[1].message_id


async def test_a_reply_without_deltas_is_still_shown():
    world = await started()
    world.unheard = frozenset({"text"})
    world.model.say(AGENT, "Because.")
    result = await world.run()
    said = [event for event in result.closing if isinstance(event, TextFinished)]
    assert [(text.message_id, text.text) for text in said] == [(result.message_id, "Because.")]


async def test_tools_of_a_turn_run_in_parallel_and_answer_in_call_order():
    world = await started()
    world.model.say(
        AGENT,
        "Looking.",
        Call("slow", {"s": 9}, "c1"),
        Call("slow", {"s": 1}, "c2"),
        Call("look", {}, "c3"),
    )
    world.model.say(AGENT, "Done.")
    began = asyncio.get_running_loop().time()
    result = await world.run()
    assert asyncio.get_running_loop().time() - began == pytest.approx(9, abs=0.1)
    assert world.executed == ["c3", "c2", "c1"]
    read = world.model.requests[1].messages
    assert [getattr(m, "call_id", None) for m in read] == [None, None, "c1", "c2", "c3"]
    assert world.commits[2][:5] == [
        "text_finished",
        "model_replied",
        "tool_planned",
        "tool_planned",
        "tool_planned",
    ]
    assert (result.answer, result.turns) == ("Done.", 2)


async def test_two_hundred_calls_each_get_one_result():
    world = await started()
    world.model.say(AGENT, *(Call("look", {}, f"c{n}") for n in range(200)))
    world.model.say(AGENT, "Done.")
    await world.run()
    results = [m for m in world.model.requests[1].messages if m.role == "tool"]
    assert [m.call_id for m in results] == [f"c{n}" for n in range(200)]


async def test_an_empty_last_reply_leaves_the_text_said_before_as_the_answer():
    world = await started()
    world.model.say(AGENT, "It is 4.", Call("look"))
    world.model.say(AGENT)
    result = await world.run()
    assert (result.outcome, result.reason, result.answer) == (
        "completed",
        "empty_reply",
        "It is 4.",
    )
    assert result.message_id == world.events(TextFinished)[0].message_id


# --- steering -------------------------------------------------------------------------------


async def test_a_letter_that_arrives_during_tools_joins_at_the_next_boundary():
    world = await started()
    world.model.say(AGENT, Call("slow", {"s": 5}, "c1"))
    world.model.say(AGENT, "Done.")
    async with asyncio.TaskGroup() as group:
        group.create_task(world.run())
        await asyncio.sleep(1)
        world.arrive(letter(2, "Hurry up."))
    assert world.executed == ["c1"]
    assert world.model.requests[1].messages[-1] == UserMessage(text="Hurry up.")
    assert [e.turn for e in world.events(LettersJoined)] == [1]


async def test_a_letter_that_arrives_during_the_last_reply_prolongs_the_run():
    world = await started()
    gate = Gate()
    world.model.say(AGENT, "First.", gate)
    world.model.say(AGENT, "Second.")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(world.run())
        await gate.reached.wait()
        world.arrive(letter(2, "And then?"))
        gate.open()
    assert ["text_finished", "model_replied", "letters_joined"] in world.commits
    assert [m.role for m in world.model.requests[1].messages] == ["user", "assistant", "user"]
    assert (running.result().answer, running.result().turns) == ("Second.", 2)


async def test_who_ends_silently_while_holding_a_task_is_reminded_once():
    world = await started()
    world.reminder = "Deliver task_1."
    world.model.say(AGENT, "I am done.")
    world.model.say(AGENT, "Really done.")
    result = await world.run()
    assert ["text_finished", "model_replied", "task_reminded"] in world.commits
    assert world.model.requests[1].messages[-1] == UserMessage(text="Deliver task_1.")
    assert result.answer == "Really done."


# --- the forced last turn -------------------------------------------------------------------


async def test_turns_are_marked_and_the_last_one_has_no_tools():
    world = limited(3, max_turns_message="Answer now.")
    world.begin(letter(1, "Why?"))
    world.model.say(AGENT, Call("look"))
    world.model.say(AGENT, Call("look"))
    world.model.say(AGENT, "Because.")
    result = await world.run()
    assert [r.system.rsplit("\n\n", 1)[1] for r in world.model.requests] == [
        "[Turn 1/3]",
        "[Turn 2/3]",
        "Answer now.",
    ]
    assert [bool(r.tools) for r in world.model.requests] == [True, True, False]
    assert (result.outcome, result.reason, result.turns) == ("completed", "", 3)


async def test_without_a_limit_there_is_no_marker():
    world = await started()
    world.model.say(AGENT, "Because.")
    await world.run()
    assert world.model.requests[0].system == 'You are a test.\n\nYou are "librarian".'
    assert [tool.name for tool in world.model.requests[0].tools] == ["look", "slow"]


async def test_with_one_turn_the_first_call_is_forced_and_consults_nothing_after():
    world = limited(1)
    world.begin(letter(1, "Why?"))
    world.reminder = "Deliver."
    gate = Gate()
    world.model.say(AGENT, gate, "Because.")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(world.run())
        await gate.reached.wait()
        world.arrive(letter(2, "And?"))
        gate.open()
    assert world.model.requests[0].tools == ()
    assert (running.result().outcome, running.result().turns) == ("completed", 1)
    assert (len(world.mail), world.reminder) == (1, "Deliver.")


@pytest.mark.parametrize(
    ("steps", "outcome", "reason", "code"),
    [
        (("Half. ", Call("look", {}, "c1")), "completed", "max_turns", None),
        (
            (Call("look", {}, "c1"),),
            "failed",
            "The turn limit was reached in the middle of work.",
            "max_turns",
        ),
    ],
)
async def test_calls_on_the_last_turn_are_refused_and_said(
    steps: tuple[Any, ...], outcome: str, reason: str, code: str | None
):
    world = limited(1)
    world.begin(letter(1, "Why?"))
    world.model.say(AGENT, *steps)
    result = await world.run()
    assert (result.outcome, result.reason, result.error_code) == (outcome, reason, code)
    assert world.executed == []
    assert [(e.call_id, e.status) for e in world.events(ToolFinished)] == [("c1", "refused")]
    assert len(world.events(ToolPlanned)) == 1
    assert world.history()[-1].role == "tool"


# --- why the model stopped ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "text", "outcome", "reason", "code"),
    [
        (StopReason.END, ".", "completed", "", None),
        (StopReason.STOP_SEQUENCE, ".", "completed", "", None),
        (StopReason.END, "", "completed", "empty_reply", None),
        (StopReason.LENGTH, ".", "completed", "length", None),
        (
            StopReason.LENGTH,
            "",
            "failed",
            "The output limit was reached before any text.",
            "output_length",
        ),
        (StopReason.REFUSAL, "No.", "completed", "refusal", None),
        (StopReason.REFUSAL, "", "failed", "The model declined to answer.", "refusal"),
    ],
)
async def test_every_stop_reason_has_an_explicit_outcome(
    stop: StopReason, text: str, outcome: str, reason: str, code: str | None
):
    world = await started()
    world.model.script(AGENT, Reply((text,) if text else (), stop=stop))
    result = await world.run()
    assert (result.outcome, result.reason, result.error_code) == (outcome, reason, code)


async def test_calls_cut_by_the_output_limit_are_refused_and_the_model_tries_once_more():
    world = await started()
    world.model.script(AGENT, Reply((Call("look", {}, "c1"),), stop=StopReason.LENGTH))
    world.model.say(AGENT, Call("look", {}, "c2"))
    world.model.say(AGENT, "Done.")
    result = await world.run()
    assert result.outcome == "completed"
    assert world.executed == ["c2"]
    assert [e.status for e in world.events(ToolFinished)] == ["refused", "completed"]
    assert ["model_replied", "tool_planned", "tool_finished"] in world.commits


async def test_a_second_cut_reply_in_a_row_fails_the_run():
    world = await started()
    for call in ("c1", "c2", "c3"):
        world.model.script(AGENT, Reply((Call("look", {}, call),), stop=StopReason.LENGTH))
    result = await world.run()
    assert (result.outcome, result.error_code, result.turns) == ("failed", "output_length", 2)
    assert [e.status for e in world.events(ToolFinished)] == ["refused", "refused"]
    assert len(world.model.requests) == 2


async def test_cut_replies_that_are_not_in_a_row_each_get_their_second_try():
    world = await started()
    for first, second in (("c1", "c2"), ("c3", "c4")):
        world.model.script(AGENT, Reply((Call("look", {}, first),), stop=StopReason.LENGTH))
        world.model.say(AGENT, Call("look", {}, second))
    world.model.say(AGENT, "Done.")
    result = await world.run()
    assert (result.outcome, world.executed) == ("completed", ["c2", "c4"])


async def test_cancelling_while_cut_calls_are_refused_leaves_no_text_open():
    world = await started()
    world.commit_s = 1
    world.model.script(AGENT, Reply(("So: ", Call("look")), stop=StopReason.LENGTH))
    await cancelled(world, 1.5)
    assert world.open_texts() == []
    assert len(world.events(ToolFinished)) == 1


# --- failure and cancellation ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "retry"),
    [
        (FatalFault("bad key", code="auth"), (False, None)),
        (RetryableFault("busy", code="overloaded", retry_after_s=7), (True, 7)),
    ],
)
async def test_a_provider_fault_in_the_middle_of_a_text_closes_it_and_fails_the_run(
    fault: ProviderFault, retry: tuple[bool, float | None]
):
    world = await started()
    world.model.say(AGENT, Thought("so"), "Half an ", fault)
    result = await world.run()
    assert (result.outcome, result.reason, result.error_code) == (
        "failed",
        fault.message,
        fault.code,
    )
    assert (result.retryable, result.retry_after_s) == retry
    assert result.closing == ()
    assert [(e.text, e.aborted) for e in world.events(TextFinished)] == [
        ("so", True),
        ("Half an ", True),
    ]
    assert world.history() == [UserMessage(text="Why?")]


async def test_a_stream_that_just_ends_is_a_protocol_fault():
    world = await started()
    world.unheard = frozenset({"finished"})
    world.model.say(AGENT, "Half")
    result = await world.run()
    assert (result.outcome, result.error_code) == ("failed", "protocol")
    assert world.open_texts() == []


async def test_failed_attempts_are_recorded():
    world = await started()
    failed = AttemptFailed(attempt=1, attempts_max=5, delay_s=1.5, reason="overloaded")
    world.model.say(AGENT, failed, "Because.")
    await world.run()
    [event] = world.events(ModelAttemptFailed)
    assert (event.attempt, event.delay_ms, event.reason) == (1, 1500, "overloaded")


async def cancelled(world: World, when: Gate | float) -> None:
    async with asyncio.TaskGroup() as group:
        running = group.create_task(world.run())
        if isinstance(when, Gate):
            await when.reached.wait()
        else:
            await asyncio.sleep(when)
        running.cancel()
    assert running.cancelled()


async def test_cancelling_in_the_middle_of_a_text_leaves_it_closed_as_shown():
    world = await started()
    gate = Gate()
    world.model.say(AGENT, "Half", gate, " more")
    await cancelled(world, gate)
    [finished] = world.events(TextFinished)
    assert (finished.text, finished.aborted) == ("Half", True)
    assert world.open_texts() == []
    assert len(world.model.abandoned) == 1
    assert world.events(ModelReplied) == []


@pytest.mark.parametrize("moment", [0.5, 1.0, 1.5, 2.0, 2.5, 3.5])
async def test_cancelling_at_any_commit_leaves_no_text_open(moment: float):
    world = await started()
    world.commit_s = 1
    world.reminder = "Deliver."
    world.model.say(AGENT, Thought("hm"), "Looking.", Call("look"))
    world.model.say(AGENT, "Done.")
    await cancelled(world, moment)
    assert world.open_texts() == []


async def test_a_run_cancelled_twice_still_closes_its_text():
    world = await started()
    world.commit_s = 1
    gate = Gate()
    world.model.say(AGENT, "Half", gate)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(world.run())
        await asyncio.sleep(2)
        running.cancel()
        await asyncio.sleep(0.5)
        running.cancel()
    assert running.cancelled()
    assert world.open_texts() == []


async def test_a_log_that_refuses_the_announcement_fails_the_run_with_its_own_error(
    caplog: pytest.LogCaptureFixture,
):
    world = await started()
    world.broken = True
    world.model.say(AGENT, "Half")
    with pytest.raises(Unavailable):
        await world.run()
    assert world.shown == {}


async def test_a_log_that_breaks_does_not_hide_the_cancellation(caplog: pytest.LogCaptureFixture):
    world = await started()
    gate = Gate()
    world.model.say(AGENT, "Half", gate)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(world.run())
        await gate.reached.wait()
        await asyncio.sleep(1)
        world.broken = True
        running.cancel()
    assert running.cancelled()
    assert "stay open" in caplog.text


# --- resume ---------------------------------------------------------------------------------


def replied(world: World, *calls: str, text: str = "") -> None:
    """A reply that was committed before the crash."""
    parts = [TextPart(text=text)] if text else []
    asked = [ToolCall(call_id=CallId(call), name="look", arguments={}) for call in calls]
    world.record(
        ModelReplied(
            run_id=RUN,
            agent=AGENT,
            turn=0,
            message=AssistantMessage(parts=(*parts, *asked)),
            stop_reason=StopReason.END,
            usage=Usage(),
            model=ModelRef(provider="p", model="m"),
            cost_usd=None,
            duration_ms=1,
        )
    )


async def test_a_resume_answers_open_calls_without_asking_the_model_again():
    world = await started()
    replied(world, "c1", "c2", "c3")
    world.record(
        ToolFinished(
            run_id=RUN, agent=AGENT, call_id=CallId("c2"), name="look", content="2", status="failed"
        )
    )
    world.model.say(AGENT, "Done.")
    result = await world.run(first_turn=1)
    assert world.executed == ["c1", "c3"]
    assert world.resumed == [True]
    [request] = world.model.requests
    assert request.turn == 1
    assert [getattr(m, "call_id", None) for m in request.messages][2:] == ["c1", "c2", "c3"]
    assert (result.answer, result.turns) == ("Done.", 2)


async def test_a_resume_after_all_results_goes_on_with_the_next_turn():
    world = await started()
    replied(world, "c1")
    world.record(
        ToolFinished(
            run_id=RUN, agent=AGENT, call_id=CallId("c1"), name="look", content="", status="unknown"
        )
    )
    world.model.say(AGENT, "Done.")
    await world.run(first_turn=1)
    assert world.resumed == []
    assert [r.turn for r in world.model.requests] == [1]


async def test_a_resume_that_finds_the_answer_said_completes_without_a_model_call():
    world = await started()
    replied(world, text="Because.")
    result = await world.run(first_turn=1)
    assert world.model.requests == []
    assert (result.outcome, result.answer, result.turns) == ("completed", "Because.", 1)
    assert (result.message_id, result.closing) == (None, ())


async def test_a_resume_that_finds_the_answer_said_still_reads_new_letters():
    world = await started()
    replied(world, text="Because.")
    world.arrive(letter(2, "And then?"))
    world.model.say(AGENT, "Nothing.")
    result = await world.run(first_turn=1)
    assert (result.answer, result.turns) == ("Nothing.", 2)


async def test_a_resume_counts_the_turns_made_before_the_crash():
    world = limited(2)
    world.begin(letter(1, "Why?"))
    replied(world, "c1")
    world.model.say(AGENT, "Done.")
    result = await world.run(first_turn=1)
    assert world.model.requests[0].tools == ()
    assert result.turns == 2


# --- everything at once ---------------------------------------------------------------------


def call(name: str, seconds: int) -> Call:
    return Call(name, {"s": seconds})


def reply(steps: list[Any], stop: StopReason | None) -> Reply:
    return Reply(tuple(steps), stop=stop)


calls = st.builds(call, st.sampled_from(["look", "slow"]), st.sampled_from([0, 1, 7]))
thoughts = st.builds(Thought, st.sampled_from(["hm ", ""]))
replies = st.builds(
    reply,
    st.lists(st.one_of(st.sampled_from(["word ", ""]), thoughts, calls), max_size=5),
    st.sampled_from([None, None, None, StopReason.LENGTH, StopReason.REFUSAL]),
)


@settings(max_examples=60, deadline=None)
@given(
    script=st.lists(replies, max_size=6),
    max_turns=st.one_of(st.none(), st.integers(1, 4)),
    arrivals=st.lists(st.integers(0, 12), max_size=3),
    commit_s=st.sampled_from([0.0, 0.5]),
    stop_at=st.one_of(st.none(), st.integers(0, 12)),
)
@pytest.mark.timeout(60)
async def test_whatever_happens_every_call_has_one_result_and_no_text_is_open(
    script: list[Reply],
    max_turns: int | None,
    arrivals: list[int],
    commit_s: float,
    stop_at: int | None,
):
    world = limited(max_turns)
    world.commit_s = commit_s
    world.begin(letter(1, "Why?"))
    world.model.script(AGENT, *script)

    async def later(number: int, at: int) -> None:
        await asyncio.sleep(at + 0.25)
        world.arrive(letter(number, f"letter {number}"))

    async with asyncio.TaskGroup() as group:
        running = group.create_task(world.run())
        for number, at in enumerate(arrivals, start=2):
            group.create_task(later(number, at))
        if stop_at is not None:
            await asyncio.sleep(stop_at + 0.1)
            running.cancel()

    assert world.open_texts() == []
    answered = [event.call_id for event in world.events(ToolFinished)]
    assert len(answered) == len(set(answered))
    planned = [event.call_id for event in world.events(ToolPlanned)]
    assert sorted(planned) == sorted(answered)
    asked = [
        part.call_id for event in world.events(ModelReplied) for part in event.message.tool_calls
    ]
    assert asked == planned
    for finished in world.events(TextFinished):
        assert finished.text == "".join(world.shown.get(finished.message_id, []))
        assert [len(p) for p in world.shown.get(finished.message_id, [])] == list(finished.chunks)


def test_calls_are_open_only_while_nothing_was_said_after_them():
    call = ToolCall(call_id=CallId("c1"), name="look", arguments={})
    asked = AssistantMessage(parts=(call,))
    assert last_calls([UserMessage(text="u"), asked]) == (2, {"c1": None})
    assert last_calls([asked, UserMessage(text="u")]) == (2, {})
    assert last_calls([]) == (0, {})
