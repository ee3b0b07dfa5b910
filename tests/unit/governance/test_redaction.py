"""What is secret goes, in every form; what only looks a little like it stays."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainpilot_rt.domain.commands import SendLetter
from brainpilot_rt.domain.events import SessionCreated, TextFinished, ToolPlanned
from brainpilot_rt.domain.ids import AgentName, CallId, LetterId, MessageId, RunId, TaskId
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.governance.redaction import RedactedStream, Redactor

pytestmark = pytest.mark.fault("S24")

KEY = 'q7Kp-"x\\y/9zé1 and more'
TOKEN = "tok_" + "a1" * 20
REDACTOR = Redactor({KEY: "API KEY", TOKEN: "token"})
PEM = "\n".join(["MIIEowIBAAKCAQEA75y9" * 3] * 4)

FORMATS = {
    "ghp_" + "A1b2" * 9: "github-token",
    "github_pat_" + "a1_" * 22: "github-token",
    "glpat-" + "a1b2c3d4e5" * 2: "gitlab-token",
    "AKIA" + "IOSFODNN7EXAMPLE": "aws-key",
    "sk-ant-api03-" + "aB3_" * 20: "api-key",
    "sk_live_" + "aB3x" * 6: "api-key",
    "hf_" + "aB3d" * 9: "api-key",
    "SG." + "a" * 22 + "." + "b" * 43: "api-key",
    "xoxb-" + "123456789012-abcdefGHIJ": "slack-token",
    "AIza" + "aB3-_" * 7: "google-key",
    "Bearer " + "abcdefghij1234567890XYZ": "credential",
    "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkw.dozjgNryP4J3jVmNHl0w": "jwt",
    f"-----BEGIN RSA PRIVATE KEY-----\n{PEM}\n-----END RSA PRIVATE KEY-----": "private-key",
    f"-----BEGIN PRIVATE KEY-----\n{PEM}\n-----END PRIVATE KEY-----": "private-key",
}


@pytest.mark.parametrize("secret", FORMATS)
def test_the_formats_of_vendors_go(secret: str) -> None:
    kind, lines = FORMATS[secret], "\n" * secret.count("\n")
    assert REDACTOR.text(f"it is {secret} here") == f"it is [redacted:{kind}]{lines} here"


def test_a_private_key_goes_from_a_listing_with_line_numbers_too() -> None:
    key = f"-----BEGIN PRIVATE KEY-----\n{PEM}\n-----END PRIVATE KEY-----"
    listing = "\n".join(f"{n}| {line}" for n, line in enumerate(key.split("\n"), 1))
    assert REDACTOR.text(listing) == "1| [redacted:private-key]" + "\n" * key.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        "task-force-12-and-a-very-long-name-that-goes-on-and-on",
        "class='sk-circle-fade-dot-and-some-more-words'",
        "-----BEGIN CERTIFICATE-----\nMIIEowIBAAKCAQEA75y9MIIEowIBAAKCAQEA75y9\n",
        "-----BEGIN PRIVATE KEY----- is how such a file begins",
        "Bearer tokens are sent in the Authorization header",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "01J9ZQ4Y7N8M6K5H3G2F1D0CBA",
        "ghp_short",
        "[redacted:token]",
    ],
)
def test_what_only_resembles_a_secret_stays(text: str) -> None:
    assert REDACTOR.text(text) == text


@pytest.mark.parametrize("secret", [KEY, TOKEN])
def test_a_configured_value_goes_in_every_form(secret: str) -> None:
    forms = [
        secret,
        json.dumps({"key": secret}),
        json.dumps({"key": secret}, ensure_ascii=False),
        quote(secret, safe=""),
        *(base64.b64encode(b"ab"[:n] + secret.encode() + b"cde").decode() for n in range(3)),
        *(base64.urlsafe_b64encode(b"ab"[:n] + secret.encode()).decode() for n in range(3)),
    ]
    for form in forms:
        said = REDACTOR.text(form)
        assert "[redacted:" in said
        assert secret[8:16] not in said


@pytest.mark.parametrize("value", ["", "ollama", "lm-studio", "not-needed", "/run/agent.sock"])
def test_a_value_that_is_a_word_or_a_path_hides_nothing(value: str) -> None:
    text = f"start {value} and go on"
    assert Redactor({value: "key"}).text(text) == text


PIECES = st.one_of(
    st.sampled_from([*FORMATS, KEY, TOKEN, quote(KEY), json.dumps(KEY), "task-", "Bearer ", "eyJ"]),
    st.text(max_size=8),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pieces=st.lists(st.tuples(PIECES, st.integers(0, 400)), max_size=6),
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=30),
)
def test_a_stream_says_what_the_whole_would_however_it_is_cut(
    pieces: list[tuple[str, int]], lengths: list[int]
) -> None:
    text = "".join(piece[:keep] for piece, keep in pieces)
    stream, said, at = RedactedStream(REDACTOR), "", 0
    while at < len(text):
        length = lengths[at % len(lengths)]
        said += stream.feed(text[at : at + length])
        at += length
    assert said + stream.end() == REDACTOR.text(text)


def test_a_stream_holds_back_no_more_than_what_may_be_a_secret() -> None:
    stream = RedactedStream(REDACTOR)
    assert stream.feed("a plain sentence.") == "a plain sentence."
    assert stream.feed(" the token: " + TOKEN[:9]) == " the token: "
    assert stream.feed("no, it is not!") == TOKEN[:9] + "no, it is not!"


def test_events_and_commands_lose_their_secrets_wherever_they_stand() -> None:
    run, agent = RunId("run_1"), AgentName("writer")
    planned = ToolPlanned(
        run_id=run,
        agent=agent,
        turn=0,
        call_id=CallId("call_1"),
        name="bash",
        arguments={"command": ["echo", {"nested": TOKEN}]},
        effect=Effect.IRREVERSIBLE,
    )
    assert REDACTOR.value(planned).arguments == {
        "command": ["echo", {"nested": "[redacted:token]"}]
    }
    letter = SendLetter(
        sender=agent,
        run_id=run,
        to=AgentName("principal"),
        content=f"take {TOKEN}",
        kind=None,
        task_id=None,
        letter_id=LetterId("l1"),
        new_task_id=TaskId("t1"),
    )
    assert REDACTOR.value(letter).content == "take [redacted:token]"
    harmless = SessionCreated(title="nothing to see")
    assert REDACTOR.value(harmless) is harmless


def test_a_text_that_lost_a_secret_is_one_chunk_of_its_new_length() -> None:
    spoken = TextFinished(
        run_id=RunId("run_1"),
        agent=AgentName("writer"),
        message_id=MessageId("m1"),
        text=f"it is {TOKEN}",
        chunks=(6, len(TOKEN)),
        started_seq=3,
    )
    clean = REDACTOR.value(spoken)
    assert sum(clean.chunks) == len(clean.text)
