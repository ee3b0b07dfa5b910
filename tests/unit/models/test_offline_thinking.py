"""What the offline model says when it is asked to think."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.messages import (
    AssistantMessage,
    TextPart,
    ToolResultMessage,
    UserMessage,
)
from brainpilot_rt.domain.model_calls import ModelRequest, ReplyFinished
from brainpilot_rt.domain.thinking import CLASSIFY_HEAD, COMPACT_HEAD, EVIDENCE_HEAD, PLAN_HEAD
from brainpilot_rt.models import offline
from brainpilot_rt.models.offline_thinking import SUMMARY_LABEL, SUMMARY_SHARE, summarise
from tests.unit.models.team import letter, request

COMPOSITE = "Find out why salt rose, check it against the sources, and write a report."


async def reply(asked: ModelRequest) -> AssistantMessage:
    last = [event async for event in offline.stream(asked)][-1]
    assert isinstance(last, ReplyFinished)
    return last.message


@pytest.mark.parametrize(
    ("message", "intent"),
    [
        ("hello there", "respond"),
        ("What is the pH of the soil?", "research"),
        ("Find passages that answer this.\n\nCheck, and write: why?", "research"),
        (COMPOSITE, "plan"),
        ("查一下原因, 核对之后写报告", "plan"),
        ("Make tea", "tool_use"),
    ],
)
async def test_it_classifies_by_rule_and_says_so(message: str, intent: str) -> None:
    asked = request("principal", UserMessage(text=f"-----\n{message}\n-----"), tools=())
    said = json.loads((await reply(asked.model_copy(update={"system": CLASSIFY_HEAD}))).text)
    assert said["intent"] == intent
    assert "not an LLM" in said["reasoning"]


async def test_a_summary_is_short_and_labelled() -> None:
    text = "\n\n".join(f"Part {n}. " + "Much is said here. " * 20 for n in range(30))
    asked = request("principal", UserMessage(text=text), tools=())
    said = (await reply(asked.model_copy(update={"system": f"{COMPACT_HEAD} Shortly."}))).text
    assert said.startswith(SUMMARY_LABEL)
    assert "Part 0." in said
    assert len(said) < len(text) / SUMMARY_SHARE


@given(st.text(min_size=1_000, max_size=5_000))
def test_a_summary_frees_room_whatever_the_text(text: str) -> None:
    assert len(summarise(text)) <= max(len(text) // SUMMARY_SHARE, len(SUMMARY_LABEL))


async def test_what_has_several_parts_is_planned_where_a_plan_is_offered() -> None:
    asked = request("principal", UserMessage(text=COMPOSITE), tools=("propose_plan",))
    [call] = (await reply(asked)).tool_calls
    assert call.name == "propose_plan"
    assert len((call.arguments or {})["steps"]) == 3


async def test_a_step_is_handed_to_its_specialist_without_the_other_parts() -> None:
    asked = request(
        "principal",
        UserMessage(text=COMPOSITE),
        AssistantMessage(parts=(TextPart(text="One moment."),)),
        UserMessage(text="Step 1 of 3: The librarian finds the passages.\nDo this step now."),
        tools=("close_step", "send_message"),
    )
    [call] = (await reply(asked.model_copy(update={"system": f"{PLAN_HEAD} g"}))).tool_calls
    assert call.arguments is not None
    assert call.arguments["to"] == "librarian"
    assert "why salt rose" in call.arguments["content"]
    assert "report" not in call.arguments["content"]


async def test_the_auditor_delivers_only_what_stands_in_the_lines() -> None:
    task = letter(
        "principal",
        "task_delegate",
        "Check these findings against the lines they cite.\n\nQuestion: salt?\n\n"
        '- Salt rose. [a.txt:3-3 "Salt rose"]\n- Ice fell. [a.txt:4-4 "Ice fell"]',
        "task_1",
    )
    history: list[UserMessage | AssistantMessage | ToolResultMessage] = [task]
    lines = {3: "3| Salt rose in May.", 4: "4| Nothing fell."}
    for turn in range(2):
        said = await reply(request("auditor", *history, turn=turn))
        [call] = said.tool_calls
        assert call.name == "read"
        shown = lines[(call.arguments or {})["offset"]]
        history += [
            said,
            ToolResultMessage(call_id=call.call_id, name="read", content=shown, is_error=False),
        ]
    [call] = (await reply(request("auditor", *history, turn=2))).tool_calls
    assert call.name == "send_message"
    content = (call.arguments or {})["content"]
    assert "1 of 2 findings hold" in content
    assert "Salt rose." in content
    assert "Ice fell" not in content


async def test_what_it_can_not_show_it_does_not_claim() -> None:
    said = await reply(request("principal", UserMessage(text=f"{EVIDENCE_HEAD} It carries none.")))
    assert said.text.startswith("Insufficient evidence:")
