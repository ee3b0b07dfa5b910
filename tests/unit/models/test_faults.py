import json
from datetime import UTC, datetime

import pytest

from brainpilot_rt.domain.errors import FatalFault, RetryableFault
from brainpilot_rt.models.faults import (
    MESSAGE_CHARS_MAX,
    from_status,
    in_band,
    protocol,
    retry_after,
    scrub,
    scrubbed,
)

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


def _body(message: str, kind: str = "x_error") -> bytes:
    return json.dumps({"error": {"type": kind, "message": message}}).encode()


@pytest.mark.fault("G4")
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (301, "redirect"),
        (400, "bad_request"),
        (401, "auth"),
        (402, "quota"),
        (403, "forbidden"),
        (404, "not_found"),
        (413, "context_overflow"),
        (422, "bad_request"),
    ],
)
def test_what_would_fail_again_is_fatal(status: int, code: str) -> None:
    fault = from_status(status, {}, _body("no"), now=NOW)
    assert isinstance(fault, FatalFault)
    assert (fault.code, fault.status) == (code, status)
    assert "no" in fault.message


@pytest.mark.fault("G3")
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (408, "timeout"),
        (409, "conflict"),
        (429, "rate_limited"),
        (500, "server_error"),
        (502, "server_error"),
        (503, "overloaded"),
        (529, "overloaded"),
    ],
)
def test_what_may_pass_is_retryable(status: int, code: str) -> None:
    fault = from_status(status, {"retry-after": "3"}, b"", now=NOW)
    assert isinstance(fault, RetryableFault)
    assert (fault.code, fault.status, fault.retry_after_s) == (code, status, 3.0)


@pytest.mark.fault("G4")
@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 128000 tokens",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: too many tokens",
    ],
)
def test_a_conversation_that_is_too_long_is_told_apart(message: str) -> None:
    assert from_status(400, {}, _body(message), now=NOW).code == "context_overflow"


def test_an_exhausted_quota_is_not_tried_again() -> None:
    fault = from_status(429, {}, _body("pay first", "insufficient_quota"), now=NOW)
    assert isinstance(fault, FatalFault)
    assert fault.code == "quota"


def test_an_html_page_is_named_and_not_quoted() -> None:
    fault = from_status(502, {}, b"<!DOCTYPE html><html>secret gateway</html>", now=NOW)
    assert "an HTML page" in fault.message
    assert "gateway" not in fault.message


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"[]", b"null", b'{"error": 5}', b"[" * 100_000, b"plain words"]
)
def test_a_body_of_any_kind_is_classified(body: bytes) -> None:
    assert from_status(400, {}, body, now=NOW).code == "bad_request"


@pytest.mark.fault("G2")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "99999999999999999999"}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=NOW) == seconds


@pytest.mark.fault("G7")
@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ({"type": "overloaded_error", "message": "busy"}, RetryableFault, "overloaded"),
        ({"type": "api_error", "message": "oops"}, RetryableFault, "server_error"),
        ({"type": "authentication_error", "message": "no"}, FatalFault, "auth"),
        ({"code": "context_length_exceeded", "message": "long"}, FatalFault, "context_overflow"),
        ({"code": 429, "message": "slow down"}, RetryableFault, "rate_limited"),
        ("plain", RetryableFault, "server_error"),
        (None, RetryableFault, "server_error"),
    ],
)
def test_an_error_inside_a_stream_is_classified_like_one_before_it(
    error: object, kind: type[Exception], code: str
) -> None:
    fault = in_band(error)
    assert isinstance(fault, kind)
    assert fault.code == code


@pytest.mark.fault("G14")
def test_keys_are_cut_out_of_messages() -> None:
    text = (
        "Incorrect API key provided: sk-proj-abcdef123456. Bearer eyJhbGciOi.eyJzdWIi.sig "
        "AIzaSyA1234567890123456789012 my-own-secret https://bob:pw@proxy.example/"
    )
    shown = scrub(text, ("my-own-secret",))
    for secret in ("abcdef", "eyJ", "AIza", "my-own-secret", "bob", "pw@"):
        assert secret not in shown
    assert "Incorrect API key provided" in shown


def test_a_message_is_bounded() -> None:
    assert len(scrub("x" * 10_000)) == MESSAGE_CHARS_MAX


def test_scrubbing_keeps_everything_but_the_message() -> None:
    fault = scrubbed(
        RetryableFault("key my-own-secret", code="c", status=429, retry_after_s=4.0),
        ("my-own-secret",),
    )
    assert isinstance(fault, RetryableFault)
    assert (fault.message, fault.code, fault.status) == ("key [key]", "c", 429)
    assert fault.retry_after_s == 4.0
    assert isinstance(scrubbed(protocol("x"), ()), FatalFault)
