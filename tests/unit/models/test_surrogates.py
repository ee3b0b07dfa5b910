from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.messages import TextPart, ToolCall
from brainpilot_rt.models.partial import PartialReply
from brainpilot_rt.models.surrogates import mended, mended_json


def reply() -> PartialReply:
    return PartialReply((), lambda: "0" * 26)


def test_a_character_cut_in_half_by_the_stream_is_whole_again():
    partial = reply()
    said = [partial.text(piece) for piece in ("so \ud83d", "\ude00", " far")]
    assert "".join(delta.text for delta in said if delta) == "so \U0001f600 far"
    assert partial.message().text == "so \U0001f600 far"


def test_a_half_that_stays_alone_is_replaced_and_never_reaches_the_log():
    partial = reply()
    partial.text("a\udc00b")
    partial.call("k", call_id="call_123456", name="write", arguments='{"text": "\\ud800"}')
    text, call = partial.message().parts
    assert isinstance(text, TextPart)
    assert isinstance(call, ToolCall)
    assert text.text == "a\ufffdb"
    assert call.arguments == {"text": "\ufffd"}


@given(st.text(alphabet=st.characters(codec=None)))
def test_whatever_comes_out_can_be_encoded(text: str):
    mended(text).encode()
    [whole] = mended_json({"k": [text]})["k"]
    whole.encode()


def test_text_without_halves_is_left_alone():
    text = "na\u00efve \U0001f600"
    assert mended(text) is text
