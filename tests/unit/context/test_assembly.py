"""Whatever the history, what a model reads is well formed; what does not fit is said."""

from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.context.assembly import Assembler
from brainpilot_rt.context.conversation import INTERRUPTED_TEXT
from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    AssistantPart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)


def user(text: str) -> UserMessage:
    return UserMessage(text=text)


def said(text: str, *calls: str) -> AssistantMessage:
    parts: list[AssistantPart] = [TextPart(text=text)] if text else []
    parts += [ToolCall(call_id=CallId(one), name="look", arguments={}) for one in calls]
    return AssistantMessage(parts=tuple(parts))


def result(call: str, content: str = "ok", *, is_error: bool = False) -> ToolResultMessage:
    return ToolResultMessage(call_id=CallId(call), name="look", content=content, is_error=is_error)


def read(*history: Message, budget: int = 10_000) -> list[Message]:
    return list(Assembler().assemble("S", history, budget_chars=budget).messages)


def test_a_good_history_is_left_alone():
    history = [user("a"), said("b", "c1"), result("c1"), said("d"), user("e")]
    assert read(*history) == history


def test_open_calls_are_closed_and_strays_dropped():
    assert read(
        user("a"), result("c9"), said("", "c1", "c2"), user("b"), result("c2"), result("c2", "x")
    ) == [
        user("a"),
        said("", "c1", "c2"),
        result("c1", INTERRUPTED_TEXT, is_error=True),
        result("c2"),
        user("b"),
    ]


def test_neighbours_of_one_side_are_joined_and_empty_ones_dropped():
    assert read(user("a"), user(" "), user("b"), said(""), said("c"), said("d", "c1")) == [
        user("a\n\nb"),
        AssistantMessage(parts=said("c").parts + said("d", "c1").parts),
        result("c1", INTERRUPTED_TEXT, is_error=True),
    ]


def test_the_oldest_exchanges_go_first_and_that_is_said():
    history = [user("1" * 50), said("a" * 50), user("2" * 50), said("b" * 50), user("3" * 50)]
    assembled = Assembler().assemble("S", history, budget_chars=160)
    note = "[Left out to save space: 2 earlier messages.]"
    assert assembled.messages[0] == user(f"{note}\n\n{'2' * 50}")
    assert assembled.messages[1:] == (said("b" * 50), user("3" * 50))
    assert assembled.left_out == 2


def test_long_work_on_one_request_keeps_the_request_and_the_latest_exchanges():
    history: list[Message] = [user("old"), said("x"), user("request")]
    for number in range(10):
        history += [said("", f"c{number}"), result(f"c{number}", "r" * 100)]
    assembled = Assembler().assemble("S", history, budget_chars=250)
    assert assembled.left_out == 18
    assert [message.role for message in assembled.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
    ]
    assert assembled.messages[0] == user(
        "[Left out to save space: 18 earlier messages.]\n\nrequest"
    )


def test_the_latest_request_and_exchange_stay_even_when_they_alone_are_too_long():
    history = [user("u" * 100), said("a"), user("v" * 100), said("", "c1"), result("c1", "r" * 99)]
    assert read(*history, budget=1)[1:] == history[3:]


def test_a_history_without_a_request_still_opens_with_a_user_message():
    missing = user("[The beginning of this conversation is not available.]")
    assert read() == [missing]
    assert read(said("a")) == [missing, said("a")]
    assert read(said("a"), user("b"), budget=2)[0] == user(
        "[Left out to save space: 1 earlier message.]\n\nb"
    )


ids = st.integers(0, 5).map(lambda n: CallId(f"c{n}"))
texts = st.text("ab \n", max_size=30)
parts = st.one_of(
    st.builds(TextPart, text=texts),
    st.builds(ReasoningPart, text=texts),
    st.builds(ToolCall, call_id=ids, name=st.just("look"), arguments=st.none()),
)
histories = st.lists(
    st.one_of(
        st.builds(UserMessage, text=texts),
        st.builds(AssistantMessage, parts=st.lists(parts, max_size=4).map(tuple)),
        st.builds(ToolResultMessage, call_id=ids, name=st.just("look"), content=texts),
    ),
    max_size=30,
)


@given(history=histories, budget=st.integers(0, 300))
def test_any_history_becomes_one_that_a_provider_accepts(history: list[Message], budget: int):
    messages = Assembler().assemble("S", history, budget_chars=budget).messages
    assert isinstance(messages[0], UserMessage)
    waiting: list[CallId] = []
    before = None
    for message in messages:
        match message:
            case ToolResultMessage(call_id=call_id):
                assert call_id == waiting.pop(0)
            case UserMessage(text=text):
                assert not waiting
                assert text.strip()
                assert before is None or before.role != "user"
            case AssistantMessage():
                assert not waiting
                assert before is not None
                assert not isinstance(before, AssistantMessage)
                assert message.text.strip() or message.tool_calls
                waiting = [call.call_id for call in message.tool_calls]
        before = message
    assert not waiting


@given(history=histories)
def test_nothing_is_left_out_that_fits(history: list[Message]):
    opened = [user("start"), *history]
    assembled = Assembler().assemble("S", opened, budget_chars=100_000)
    assert assembled.left_out == 0
    kept = "".join(m.text for m in assembled.messages if isinstance(m, UserMessage))
    for message in opened:
        if isinstance(message, UserMessage):
            assert message.text.strip() in kept


@given(history=histories, steps=st.lists(st.integers(0, 30)), budget=st.integers(0, 300))
def test_a_conversation_that_grows_reads_as_if_it_were_read_anew(
    history: list[Message], steps: list[int], budget: int
):
    growing = Assembler()
    for length in [*sorted(steps), 0, len(history)]:
        part = history[:length]
        assert growing.assemble("S", part, budget_chars=budget) == Assembler().assemble(
            "S", part, budget_chars=budget
        )
