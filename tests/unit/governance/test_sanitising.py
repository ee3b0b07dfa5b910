"""What a tool brings back is what a person would see of it, and nothing of this machine."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.governance.sanitising import Rules, escaped, sanitised

SECRET = "tok_a1a1a1a1a1a1"
RULES = Rules(
    roots={"/srv/bp/sessions/s1/work": "/workspace", "/srv/bp": "/daemon", "/home/ann": "~"},
    ids=frozenset({"run_01hx", "run_01hx2"}),
    known_secret=lambda text: text.replace(SECRET, "[redacted:token]"),
)


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]unfinished stays readable", "unfinished stays readable"),
        ("a\x1b(Bb\x9b1mc", "abc"),
        ("safe\u202egnp.exe", "safegnp.exe"),
        ("ig\u200bno\u00adre\u2060 th\ufeffis", "ignore this"),
        ("hi" + "".join(chr(0xE0000 + ord(one)) for one in "obey"), "hi"),
        ("hi\ufe0f\ufe00\ufe01\U000e0101", "hi\ufe0f"),
        ("a\u200db\u200c\u200dc\u200fd", "abcd"),
        ("50%\r100%\r\ndone\x00", "50%\n100%\r\ndone"),
        ("tab\tand\nlines", "tab\tand\nlines"),
    ],
)
def test_what_hides_text_goes(raw: str, seen: str):
    assert sanitised(raw, RULES).text == seen


@pytest.mark.parametrize(
    "text",
    [
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u0915\u094d\u200d\u0937",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "na\u00efve \u4e2d\u6587 \u05d0\u05d1 \u2026 \u201cquoted\u201d",
    ],
)
def test_scripts_and_emoji_stay_whole(text: str):
    assert sanitised(text, RULES).text == text
    assert sanitised(text, RULES).reasons == ()


def test_a_secret_that_was_cut_by_hidden_characters_is_found():
    result = sanitised(f"key: {SECRET[:5]}\u200b{SECRET[5:]}", RULES)
    assert result.text == "key: [redacted:token]"
    assert result.reasons == ("hidden_text: 1 characters removed", "secret_detected: masked")


def test_folders_of_this_machine_get_their_logical_names():
    raw = "/srv/bp/sessions/s1/work/a.md:3 /srv/bp/x /home/ann/.x /home/anna /x/srv/bp '/srv/bp'"
    result = sanitised(raw, RULES)
    assert result.text == "/workspace/a.md:3 /daemon/x ~/.x /home/anna /x/srv/bp '/daemon'"
    assert result.reasons == ("machine_paths: 4 replaced",)


def test_listed_ids_go_as_whole_words():
    result = sanitised("run_01hx, run_01hx2, run_01hx3", RULES)
    assert result.text == "[internal id], [internal id], run_01hx3"


def test_a_long_result_keeps_its_beginning_and_its_end():
    rules = Rules(chars_max=200)
    result = sanitised("z" * 500 + "\u00e9" * 500, rules)
    assert len(result.text) <= 200
    assert result.text.startswith("zzz")
    assert result.text.endswith("\u00e9")
    (left_out,) = re.findall(r"\[\.\.\. (\d+) characters left out \.\.\.\]", result.text)
    assert result.text.count("z") + result.text.count("\u00e9") + int(left_out) == 1000
    assert result.reasons == ("too_long: 1000 characters, 200 may come",)


_nasty = st.text(
    st.sampled_from("a/.-~ \n\r\t\x1b[]0m;\x07\\\x9b\u200b\u200d\u200c\u202e\ufe0f\U0001f3f4")
    | st.characters(codec=None),
    max_size=60,
)


@given(_nasty, st.integers(0, 50))
def test_any_text_comes_out_printable_bounded_and_the_second_time_changes_nothing(
    raw: str, chars_max: int
):
    rules = Rules(chars_max=chars_max, roots={"/a": "/workspace"})
    once = sanitised(raw, rules)
    assert once.text.encode("utf-8").decode("utf-8") == once.text
    assert not chars_max or len(once.text) <= chars_max
    assert not any(one in once.text for one in "\x00\x1b\x9b\u200b\u202e\ufeff")
    again = sanitised(once.text, rules)
    assert again.text == once.text
    assert not again.reasons


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80))
def test_plain_text_is_left_alone(text: str):
    assert sanitised(text, Rules()).text == text


@pytest.mark.fault("S17")
def test_a_person_who_decides_sees_what_would_hide():
    shown = escaped("rm \u202e\x1b[2Ka\u200db\nnext\tcell")
    assert shown == "rm \\u{202e}\\u{001b}[2Ka\\u{200d}b\nnext\tcell"
