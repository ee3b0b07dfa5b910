"""What has left a stream, put together, is the verdict on the whole; nothing leaves unjudged."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from brainpilot_rt.governance.guardrails.config import GuardrailConfig, parse_config
from brainpilot_rt.governance.guardrails.hits import REACH
from brainpilot_rt.governance.guardrails.pipeline import judge
from brainpilot_rt.governance.guardrails.streaming import Window
from tests.unit.governance.labelled import lines

PEM = "-----BEGIN PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA75y9\n" * 12 + "-----END PRIVATE KEY-----"
EVERYWHERE = ("input", "output", "tool_args", "tool_result")
TOPICS = {"deny": ["bank", "象棋", "insider trading"], "allow": ["river bank", "bank holiday"]}


def config(mode: str = "redact", **actions: str) -> GuardrailConfig:
    """Every check acts on output; `actions` by check, `-` for `_`."""
    ids = ("builtin", "secrets", "pii", "topic-restriction")
    providers: list[dict[str, Any]] = [
        {"id": one, "enabled": True, "stages": list(EVERYWHERE)} for one in ids
    ]
    for one in providers:
        if said := actions.get(one["id"].replace("-", "_")):
            one["actions"] = {"output": said}
    return parse_config({"mode": mode, "providers": providers, "topics": TOPICS})


CONFIGS = (
    config("redact"),
    config("block"),
    config("redact", builtin="block"),
    config("redact", topic_restriction="block", builtin="warn"),
    config("log", secrets="redact"),
    config("log", pii="redact"),
    config("log", topic_restriction="redact"),
)
PIECES = st.sampled_from(
    [
        *(line.text for line in lines("known")),
        *(PEM, "sk-", "password: ", "token", "card 4111 1111 ", "1111 1111", "@", "bob@", ".com"),
        *("river ", "bank", " holiday", "insider", " trading", "ignore ", "all previous ", "rules"),
        *("DE89 3704 0044 0532 ", "0130 00", "+1 (415) ", "555-2671", "://u:pa55word@h.io", "::"),
        *("İ", "é", "的", "\n", " ", "1", "-", ".", "A", "z", "Q7", "\U000e0041" * 5, "://"),
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=6), max_size=9).map("".join)


def streamed(text: str, cuts: list[int], window: Window) -> list[str]:
    edges = [0, *sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    return [*(window.feed(text[a:b]) for a, b in pairwise(edges)), window.finish()]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=TEXTS, cuts=st.lists(st.integers(0, 2000), max_size=12), which=st.sampled_from(CONFIGS))
@example(text="call +1 415 555 2671 2024-05-01", cuts=[9, 20, 21, 25], which=CONFIGS[0])
@example(text="password: hunter2!.", cuts=[9, 17, 18], which=CONFIGS[4])
@pytest.mark.timeout(60)
def test_a_stream_says_what_the_verdict_on_the_whole_says(
    text: str, cuts: list[int], which: GuardrailConfig
) -> None:
    window = Window(which)
    shown = "".join(streamed(text, cuts, window))
    assert shown == judge(text, "output", which).text
    assert window.verdict().text == shown


@pytest.mark.timeout(60)
def test_lines_of_the_corpus_come_the_same_letter_by_letter() -> None:
    for which in CONFIGS[1:3]:
        for line in lines("known")[::3]:
            window = Window(which)
            letters = [window.feed(one) for one in line.text]
            shown = "".join([*letters, window.finish()])
            assert shown == judge(line.text, "output", which).text
            for at in range(len(letters)):
                # What is out at any moment is the beginning of the judged text.
                assert shown.startswith("".join(letters[: at + 1]))


def test_prose_streams_word_by_word() -> None:
    window = Window(config("redact", builtin="warn"))
    text = "Spring rain falls on the quiet garden. In 2024, it fell on 12 of 30 days.\n" * 20
    out = 0
    for at, letter in enumerate(text, 1):
        out += len(window.feed(letter))
        assert at - out <= len("12 of 30 days.")
    assert out + len(window.finish()) == len(text)


@pytest.mark.parametrize(
    "text", ["a" * 900, "1 2 3 " * 150, "X" * 900, "a@" * 450, "ignore " * 130, "读" * 900]
)
def test_no_text_but_a_long_secret_is_held_for_longer_than_the_reach(text: str) -> None:
    window = Window(config("redact"))
    out, held = 0, 0
    for at, letter in enumerate(text, 1):
        out += len(window.feed(letter))
        held = max(held, at - out)
    assert held <= REACH


def test_a_block_ends_the_text_with_a_sentence_that_says_why() -> None:
    window = Window(config("redact", topic_restriction="block"))
    shown = [window.feed(one) for one in ("Mail a@b.com about ", "insider tra", "ding ", "now.")]
    assert "".join([*shown, window.finish()]) == (
        "Mail [REDACTED:email] about "
        "[Stopped by the guardrail topic-restriction: mentions 'insider trading']"
    )
    assert window.stopped
    assert window.verdict().action == "block"


def test_what_only_warns_holds_nothing_back_and_is_said_at_the_end() -> None:
    window = Window(config("warn", secrets="warn", pii="warn", builtin="warn"))
    assert window.feed("Write to bob@exa") == "Write to bob@exa"
    assert window.feed("mple.com") == "mple.com"
    assert [one.label for one in window.verdict().findings] == ["email"]


def test_a_long_secret_in_small_pieces_is_looked_at_in_proportion_to_its_length() -> None:
    key = PEM.replace("MII", "MII" * 300)
    window = Window(config("redact"))
    shown = "".join(window.feed(letter) for letter in f"key: {key} end") + window.finish()
    assert shown == judge(f"key: {key} end", "output", config("redact")).text
    assert "MII" not in shown
