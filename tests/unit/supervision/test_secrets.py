"""Where secrets come from, and the streams and lines they are taken out of."""

import io
import logging

import pytest

from brainpilot_rt.domain.messages import AssistantMessage, ReasoningPart, TextPart
from brainpilot_rt.domain.model_calls import (
    ModelRef,
    ReasoningDelta,
    ReplyFinished,
    StopReason,
    TextDelta,
)
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.models.providers import Dialect, ProviderProfile, Providers
from brainpilot_rt.supervision.secrets import Secrets

pytestmark = pytest.mark.fault("S24")

KEY = "value-of-a-key-4711"


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "GH_TOKEN", "DB_PASSWORD", "MY_SECRET", "AWS_SECRET_ACCESS_KEY"]
)
def test_a_variable_named_like_a_secret_is_one(name: str) -> None:
    assert Secrets({name: KEY}).text(f"<{KEY}>") == f"<[redacted:{name}]>"


@pytest.mark.parametrize("name", ["PATH", "KEYBOARD", "TOKENIZERS_PARALLELISM", "SSH_AUTH_SOCK"])
def test_any_other_variable_is_none(name: str) -> None:
    assert Secrets({name: KEY}).text(KEY) == KEY


def test_a_password_in_an_address_is_secret() -> None:
    secrets = Secrets({"DATABASE_URL": "postgres://me:pass%2Fw0rd99@host/db"})
    assert secrets.text("pass/w0rd99 pass%2Fw0rd99") == "[redacted:password] [redacted:password]"


def test_a_key_that_was_replaced_stays_secret() -> None:
    secrets = Secrets()
    for key in (KEY, "another-key-0815"):
        profile = ProviderProfile(
            id="p1", name="p1", dialect=Dialect.OPENAI_CHAT, base_url="https://h", api_key=key
        )
        secrets.learn_providers(Providers((profile,)))
    assert secrets.text(f"{KEY} another-key-0815") == "[redacted:key-of-p1] [redacted:key-of-p1]"


def test_a_reply_is_heard_without_secrets_in_its_chunks_and_as_a_whole() -> None:
    hear = Secrets({"A_TOKEN": KEY}).hearing()
    message = AssistantMessage(
        parts=(
            ReasoningPart(text=f"I know {KEY}", opaque={"anthropic": {"signature": "x"}}),
            TextPart(text=f"It is {KEY}!"),
        )
    )
    finished = ReplyFinished(
        message=message,
        stop_reason=StopReason.END,
        usage=Usage(),
        model=ModelRef(provider="p", model="m"),
        cost_usd=None,
    )
    events = [
        ReasoningDelta(index=0, text=f"I know {KEY[:4]}"),
        ReasoningDelta(index=0, text=KEY[4:]),
        TextDelta(index=1, text="It is " + KEY[:10]),
        TextDelta(index=1, text=KEY[10:] + "!"),
        finished,
    ]
    *deltas, last = [one for event in events for one in hear(event)]
    said = {"text": "", "reasoning": ""}
    for one in deltas:
        assert isinstance(one, TextDelta | ReasoningDelta)
        said[one.type] += one.text
    assert said == {"text": "It is [redacted:A_TOKEN]!", "reasoning": "I know [redacted:A_TOKEN]"}
    assert isinstance(last, ReplyFinished)
    assert last.message.parts == (
        ReasoningPart(text="I know [redacted:A_TOKEN]"),
        TextPart(text="It is [redacted:A_TOKEN]!"),
    )


def test_a_line_of_the_log_names_no_secret_nor_does_its_traceback() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(Secrets({"A_TOKEN": KEY}))
    logger = logging.Logger("test")  # noqa: LOG001 - a logger of its own, beside the root
    logger.addHandler(handler)
    try:
        raise ValueError(KEY)
    except ValueError:
        logger.exception("with %s", KEY)
    assert KEY not in out.getvalue()
    assert out.getvalue().count("[redacted:A_TOKEN]") == 2
