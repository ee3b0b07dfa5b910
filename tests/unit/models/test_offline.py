import json
from decimal import Decimal

import pytest

from brainpilot_rt.domain.citations import located, parse
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    Message,
    TextPart,
    ToolResultMessage,
    UserMessage,
)
from brainpilot_rt.domain.model_calls import (
    ModelEvent,
    ModelRequest,
    ReplyFinished,
    StopReason,
    TextDelta,
)
from brainpilot_rt.models import offline
from brainpilot_rt.models.sentences import is_overview
from tests.unit.models.team import Team, letter, request

LIBRARY = {
    "garden/watering.md": (
        "# Watering\n\n"
        "The tomatoes are watered every second morning, because wet leaves at night\n"
        "invite blight. Each bed gets twelve litres.\n\n"
        '- The hose must be "drained" in October.\n'
    ),
    "garden/soil.txt": "The soil of the north bed is heavy clay. It was limed in 2021.\n",
    "minutes.txt": "Anna Berg chairs the garden club. Dues are 30 euros.\n",
}


async def _events(asked: ModelRequest) -> list[ModelEvent]:
    return [event async for event in offline.stream(asked)]


async def _finished(asked: ModelRequest) -> ReplyFinished:
    last = (await _events(asked))[-1]
    assert isinstance(last, ReplyFinished)
    return last


def _all_hold(text: str, files: dict[str, str]) -> bool:
    cited = parse(text)
    return bool(cited) and all(
        located(citation, files[citation.path].splitlines())
        and citation.quote
        in "\n".join(files[citation.path].splitlines()[citation.start_line - 1 : citation.end_line])
        for citation in cited
    )


async def test_a_question_travels_through_librarian_and_writer_to_a_cited_answer() -> None:
    team = Team(LIBRARY)
    answer = await team.ask("Why are the tomatoes watered in the morning?")
    assert [(each["from"], each["to"], each["msg_type"]) for each in team.letters] == [
        ("principal", "librarian", "task_delegate"),
        ("librarian", "principal", "result_deliver"),
        ("principal", "writer", "task_delegate"),
        ("writer", "principal", "result_deliver"),
    ]
    assert "wet leaves at night" in answer
    assert _all_hold(answer, LIBRARY)
    assert "not an LLM" in answer
    assert {each["task_id"] for each in team.letters if "task_id" in each} == {"task_1", "task_3"}


async def test_the_best_covering_sentence_comes_first() -> None:
    answer = await Team(LIBRARY).ask("How many litres does each bed get?")
    assert answer.startswith("Each bed gets twelve litres.")


async def test_words_that_no_document_mentions_are_named() -> None:
    answer = await Team(LIBRARY).ask("Which tomatoes resist frost?")
    assert "Not mentioned in what was found: resist, frost." in answer


async def test_the_team_says_so_when_nothing_matches() -> None:
    team = Team({})
    answer = await team.ask("What does the treaty of Tordesillas say?")
    assert "No passage of the documents covers this question." in answer
    assert [each["to"] for each in team.letters] == ["librarian", "principal"]


@pytest.mark.parametrize("words", ["hello", "Hi there!", "你好", "thanks", "how is it now?"])
async def test_small_talk_is_answered_at_once_and_honestly(words: str) -> None:
    team = Team(LIBRARY)
    answer = await team.ask(words)
    assert team.letters == []
    assert team.turns == 1
    assert "not an LLM" in answer
    assert "ANTHROPIC_API_KEY" in answer


@pytest.mark.parametrize("absent", [{"librarian"}, {"writer"}, {"librarian", "writer"}])
async def test_an_absent_specialist_is_replaced_by_the_principal_itself(absent: set[str]) -> None:
    answer = await Team(LIBRARY, absent=frozenset(absent)).ask("Who chairs the garden club?")
    assert answer.startswith("Anna Berg chairs the garden club.")
    assert _all_hold(answer, LIBRARY)


async def test_without_any_tool_the_principal_says_why_it_can_not_answer() -> None:
    team = Team(LIBRARY, without=frozenset({"send_message", "search"}))
    answer = await team.ask("Who chairs the garden club?")
    assert "neither delegate nor search" in answer


async def test_two_questions_in_one_session_get_their_own_answers() -> None:
    team = Team(LIBRARY)
    await team.ask("Who chairs the garden club?")
    answer = await team.ask("When was the soil limed?")
    assert answer.startswith("It was limed in 2021.")
    assert "Anna" not in answer


async def test_a_chinese_question_finds_chinese_lines() -> None:
    files = {"笔记.txt": "温室在三月开放。\n水泵每天运行两小时。\n"}
    answer = await Team(files).ask("水泵运行多少小时?")
    assert _all_hold(answer, files)
    assert "水泵每天运行两小时" in answer


@pytest.mark.parametrize(
    "question",
    [
        "What are these documents about, and what are their main points?",
        "Please summarise the folder.",
        "What is in these files?",
        "这些文件主要讲什么?",
        "请总结一下文档的内容。",
    ],
)
async def test_what_the_documents_are_about_is_told_by_how_each_begins(question: str) -> None:
    files = {
        "b/data.csv": "year,depth\n1911,12\n",
        "a.md": "# Pumps\n\nThis note compares three kinds of pumps.\nIt is old.\n",
    }
    answer = await Team(files).ask(question)
    assert '- a.md: This note compares three kinds of pumps. [a.md:3-3 "This note' in answer
    assert "b/data.csv: year,depth" in answer
    assert "There are no documents here" in await Team({}).ask(question)


def test_a_question_that_names_something_is_not_about_the_whole() -> None:
    for question in ("What are these documents about Rask?", "文件里说灯塔在哪里?", "And why?"):
        assert not is_overview(question)


async def test_two_tasks_in_one_run_are_both_delivered() -> None:
    messages: list[Message] = [
        letter("principal", "task_delegate", "When was the soil limed?", "task_a"),
        letter("scout", "task_delegate", "What does nobody know?", "task_b"),
    ]
    sent: list[tuple[str, str]] = []
    for turn in range(10):
        reply = (await _finished(request("librarian", *messages, turn=turn))).message
        messages.append(reply)
        if not reply.tool_calls:
            break
        for call in reply.tool_calls:
            assert call.arguments is not None
            if call.name == "send_message":
                sent.append((call.arguments["to"], call.arguments["task_id"]))
            messages.append(
                ToolResultMessage(
                    call_id=call.call_id, name=call.name, content="No passages match."
                )
            )
    assert sent == [("principal", "task_a"), ("scout", "task_b")]


@pytest.mark.parametrize("kind", ["result_deliver", "trace_event", "system"])
async def test_a_result_or_notice_never_causes_a_letter_from_a_specialist(kind: str) -> None:
    reply = await _finished(request("engineer", letter("principal", kind, "All done.", "task_1")))
    assert reply.message.tool_calls == ()
    assert reply.stop_reason is StopReason.END


async def test_a_failed_task_is_answered_with_the_evidence_at_hand() -> None:
    evidence = 'Question: Who?\n\n1. Anna chairs. [minutes.txt:1-1 "Anna Berg chairs"]'
    reply = await _finished(
        request(
            "principal",
            UserMessage(text="Who chairs?"),
            AssistantMessage(parts=(TextPart(text="..."),)),
            letter("librarian", "result_deliver", evidence, "task_1"),
            AssistantMessage(parts=(TextPart(text="..."),)),
            letter("daemon", "system", "writer was stopped", "task_2"),
        )
    )
    assert "writer was stopped" in reply.message.text
    assert '[minutes.txt:1-1 "Anna Berg chairs"]' in reply.message.text


async def test_an_undeliverable_result_ends_the_run_with_the_reason() -> None:
    team = Team(LIBRARY, absent=frozenset({"principal"}))
    await team.ask("Who chairs the garden club?")
    last = team.histories["librarian"][-1]
    assert isinstance(last, AssistantMessage)
    assert "could not deliver to principal (unknown recipient principal)" in last.text


async def test_the_trace_role_ends_at_once() -> None:
    reply = await _finished(request("trace", UserMessage(text="record this")))
    assert reply.message.tool_calls == ()


async def test_text_arrives_in_words_and_costs_nothing() -> None:
    *deltas, last = await _events(request("principal", UserMessage(text="Who chairs the club?")))
    texts = [delta.text for delta in deltas if isinstance(delta, TextDelta)]
    assert isinstance(last, ReplyFinished)
    assert "".join(texts) == last.message.text
    assert max(len(text.split()) for text in texts) == 1
    assert last.cost_usd == Decimal(0)
    assert last.usage.estimated
    (call,) = last.message.tool_calls
    assert json.loads(call.raw_arguments) == call.arguments


async def test_the_same_request_gives_the_same_events() -> None:
    asked = request("principal", UserMessage(text="Who chairs the club?"))
    assert await _events(asked) == await _events(asked)
