"""External guardrail providers that answer, and those that hang, flood and lie."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

import pytest

from brainpilot_rt.governance.guardrails.config import GuardrailConfig, parse_config
from brainpilot_rt.governance.guardrails.pipeline import UNAVAILABLE, Finding, judge
from brainpilot_rt.governance.guardrails.providers import ExternalProvider, parse_provider
from brainpilot_rt.models.http import Http
from brainpilot_rt.supervision.guardrail_http import ANSWER_BYTES_MAX, GuardrailHttp
from tests.realtime.models.chaos import Behaviour, Exchange, chaos

pytestmark = pytest.mark.realtime

QUICK = parse_config({"timeoutMs": 300})
PATIENT = parse_config({"timeoutMs": 4000})


@asynccontextmanager
async def guardrails():
    http = Http()
    try:
        yield GuardrailHttp(http, {"acme": "k-1"}.get)
    finally:
        await http.close()


def provider(url: str, **said: Any) -> ExternalProvider:
    return parse_provider({"id": "acme", "endpoint": f"{url}/check", **said})[0]


async def ask(
    *behaviours: Behaviour, config: GuardrailConfig = PATIENT, **said: Any
) -> list[Finding]:
    async with chaos(*behaviours) as server, guardrails() as ours:
        return list(await ours.ask([provider(server.url, **said)], "hi", "input", config))


def says(answer: Any, status: str = "200 OK", **headers: str) -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        await exchange.start(status, "application/json", **headers)
        await exchange.chunk(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
        await exchange.end()

    return behave


async def test_a_provider_is_asked_with_text_stage_and_key_and_believed() -> None:
    asked: list[Exchange] = []

    async def behave(exchange: Exchange) -> None:
        asked.append(exchange)
        await says({"safe": False, "confidence": 0.8, "reason": "threat\n of violence"})(exchange)

    found = await ask(behave)
    assert found == [
        Finding(guardrail="acme", confidence=0.8, reason="threat of violence", label="external")
    ]
    assert json.loads(asked[0].body) == {"text": "hi", "stage": "input"}
    assert "authorization: bearer k-1" in asked[0].head.lower()
    assert judge("hi", "input", parse_config({"mode": "block"}), found).action == "block"


async def test_a_provider_that_objects_to_nothing_finds_nothing() -> None:
    assert await ask(says({"safe": True})) == []
    assert await ask(says({"results": [{"flagged": False}]}), template="results") == []


async def hangs(exchange: Exchange) -> None:
    await exchange.gone()


async def begins_and_hangs(exchange: Exchange) -> None:
    await exchange.start(kind="application/json")
    await exchange.chunk(b'{"safe": ')
    await exchange.gone()


async def drips(exchange: Exchange) -> None:
    await exchange.start(kind="application/json")
    while True:
        await exchange.chunk(b" ")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("behaviour", [hangs, begins_and_hangs, drips])
async def test_a_provider_that_gives_no_answer_in_time_gives_no_verdict(
    behaviour: Behaviour,
) -> None:
    [found] = await ask(behaviour, config=QUICK)
    assert (found.label, found.reason) == (UNAVAILABLE, "no answer within 0.3 s")


async def floods(exchange: Exchange) -> None:
    await exchange.start(kind="application/json")
    for _ in range(160):
        await exchange.chunk(b"x" * ANSWER_BYTES_MAX)


async def resets(exchange: Exchange) -> None:
    exchange.reset()


async def no_http(exchange: Exchange) -> None:
    await exchange.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    exchange.writer.close()


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (says(b"<html><body>Sign in</body></html>"), "not JSON"),
        (says({"error": "overloaded"}, "500 Internal Server Error"), "HTTP 500"),
        (says({"safe": True}, "302 Found", location="http://127.0.0.1:1/"), "redirect (HTTP 302)"),
        (floods, "longer than 65,536 bytes"),
        (says(b"\x1f\x8b", content_encoding="gzip"), "compressed"),
        (resets, "127.0.0.1"),
        (no_http, "127.0.0.1"),
        (says({"verdict": "fine"}), "no truth value at $.safe"),
        (says({"safe": 3}), "no truth value at $.safe"),
        (says([]), "no truth value at $.safe"),
        (says({"safe": False, "confidence": "very"}), "no number from 0 to 1"),
        (says({"safe": False, "confidence": True}), "no number from 0 to 1"),
        (says(b'{"safe": false, "confidence": NaN}'), "not JSON"),
        (says(b'{"safe": false, "confidence": 1e999}'), "no number from 0 to 1"),
        (says(b"[" * 60_000), "not JSON"),
    ],
)
@pytest.mark.timeout(10)
async def test_an_answer_that_is_none_is_said_to_be_none(behaviour: Behaviour, reason: str) -> None:
    [found] = await ask(behaviour)
    assert found.label == UNAVAILABLE
    assert reason in found.reason
    for fail, action in (("closed", "block"), ("open", "warn")):
        assert judge("hi", "input", parse_config({"fail": fail}), [found]).action == action


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://a..b"])
async def test_an_address_where_nobody_is_gives_no_verdict(url: str) -> None:
    async with guardrails() as ours:
        [found] = await ours.ask([provider(url)], "hi", "input", PATIENT)
    assert found.label == UNAVAILABLE


async def test_a_provider_is_asked_only_where_it_is_to_look() -> None:
    off = parse_config({"providers": [{"id": "acme", "stages": ["output"]}]})
    async with chaos(says({"safe": False})) as server, guardrails() as ours:
        assert await ours.ask([provider(server.url)], "hi", "input", off) == ()
        assert await ours.ask([provider(server.url)], "hi", "output", off) != ()
        assert server.connections == 1


async def test_whoever_stops_waiting_leaves_no_question_open() -> None:
    async with chaos(hangs) as server, guardrails() as ours:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await ours.ask([provider(server.url)], "hi", "input", PATIENT)
        await server.left.wait()
