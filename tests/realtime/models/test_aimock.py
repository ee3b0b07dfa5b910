"""Both dialects against an independent provider server: the npm package @copilotkit/aimock."""

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from brainpilot_rt.aiokit.backoff import Backoff
from brainpilot_rt.aiokit.sources import SystemClock, UlidSource
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    Message,
    ReasoningPart,
    ToolResultMessage,
    UserMessage,
)
from brainpilot_rt.domain.model_calls import (
    AttemptFailed,
    ModelEvent,
    ReasoningDelta,
    ReplyFinished,
    StopReason,
    TextDelta,
    ToolCallDelta,
)
from brainpilot_rt.models.dispatch import Dispatcher, RetryPolicy
from brainpilot_rt.models.providers import ProviderEnv, choose
from tests.unit.models.team import request

AIMOCK = Path(__file__).parents[2] / "clients/node_modules/@copilotkit/aimock/dist/cli.js"
FIXTURES = Path(__file__).with_name("aimock.json")
DIALECTS = pytest.mark.parametrize("dialect", ["anthropic", "openai"])

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.timeout(60),
    pytest.mark.skipif(
        not AIMOCK.exists() or shutil.which("node") is None,
        reason="needs Node and @copilotkit/aimock (npm install in tests/clients)",
    ),
]


@asynccontextmanager
async def _aimock(dialect: str) -> AsyncGenerator[tuple[Dispatcher, str], None]:
    """A fresh server and a dispatcher that knows it from the environment, as a user would."""
    process = await asyncio.create_subprocess_exec(
        "node", str(AIMOCK), "--port", "0", "--fixtures", str(FIXTURES), "--chunk-size", "5",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    port: Dispatcher | None = None
    try:
        url = ""
        while not url:
            line = (await process.stdout.readline()).decode()
            assert line, "aimock ended before it listened"
            url = next((word for word in line.split() if word.startswith("http://")), "")
        env = (
            ProviderEnv(anthropic_api_key="test-key-anthropic", anthropic_base_url=url)
            if dialect == "anthropic"
            else ProviderEnv(openai_api_key="test-key-openai", openai_base_url=f"{url}/v1")
        )
        port = Dispatcher(
            choose(None, env),
            clock=SystemClock(),
            new_id=UlidSource(SystemClock()),
            retry=RetryPolicy(
                backoff=Backoff(base_s=0.01, cap_s=0.01, retry_after_cap_s=5.0),
            ),
        )
        yield port, url
    finally:
        if port is not None:
            await port.close()
        process.terminate()
        await process.communicate()


async def _ask(port: Dispatcher, *messages: Message) -> tuple[list[ModelEvent], ReplyFinished]:
    events = [event async for event in port.stream(request("principal", *messages))]
    last = events[-1]
    assert isinstance(last, ReplyFinished)
    return events, last


@DIALECTS
async def test_reasoning_and_text_stream_in_pieces_and_usage_is_reported(dialect: str) -> None:
    async with _aimock(dialect) as (port, _):
        events, reply = await _ask(port, UserMessage(text="greet me"))
    said = [event.text for event in events if isinstance(event, TextDelta)]
    thought = [event.text for event in events if isinstance(event, ReasoningDelta)]
    assert "".join(said) == reply.message.text
    assert reply.message.text == "Good morning to everybody in the reading room."
    assert "".join(thought) == "A greeting is wanted."
    assert (reply.usage.input, reply.usage.output, reply.usage.estimated) == (40, 9, False)
    assert reply.stop_reason is StopReason.END
    assert reply.model.provider == dialect
    assert reply.cost_usd is None


@DIALECTS
async def test_parallel_tool_calls_and_their_results_make_a_round_trip(dialect: str) -> None:
    async with _aimock(dialect) as (port, url):
        question = UserMessage(text="look twice")
        events, reply = await _ask(port, question)
        calls = reply.message.tool_calls
        assert [(call.name, call.arguments) for call in calls] == [
            ("search", {"query": "alpha beta gamma", "top_k": 3}),
            ("read", {"path": "notes/long-file-name.md"}),
        ]
        assert reply.stop_reason is StopReason.TOOL_USE
        assert len({call.call_id for call in calls}) == 2
        pieces = [event for event in events if isinstance(event, ToolCallDelta)]
        assert "".join(each.arguments_delta for each in pieces if each.name == "read") == (
            calls[1].raw_arguments
        )
        results = [
            ToolResultMessage(call_id=call.call_id, name=call.name, content=f"of {call.name}")
            for call in calls
        ]
        _, last = await _ask(port, question, reply.message, *results)
        assert last.message.text == "Both places agree."
        sent = await _last_body(url)
    text = json.dumps(sent)
    assert all(call.call_id in text for call in calls)
    assert "of search" in text
    assert "of read" in text


@DIALECTS
async def test_an_overloaded_provider_answers_the_second_attempt(dialect: str) -> None:
    async with _aimock(dialect) as (port, _):
        events, reply = await _ask(port, UserMessage(text="try again"))
    assert isinstance(events[0], AttemptFailed)
    assert "529" in events[0].reason
    assert reply.message.text == "Here I am."


@DIALECTS
async def test_an_answer_cut_at_its_length_says_so(dialect: str) -> None:
    async with _aimock(dialect) as (port, _):
        _, reply = await _ask(port, UserMessage(text="stop early"))
    assert reply.stop_reason is StopReason.LENGTH


async def test_signed_thinking_goes_back_to_its_provider() -> None:
    async with _aimock("anthropic") as (port, url):
        question = UserMessage(text="greet me")
        _, reply = await _ask(port, question)
        kept = [part for part in reply.message.parts if isinstance(part, ReasoningPart)]
        assert kept[0].opaque["anthropic"]["signature"]
        await _ask(port, question, AssistantMessage(parts=reply.message.parts), question)
        sent = await _last_body(url)
    assert kept[0].opaque["anthropic"]["signature"] in json.dumps(sent)


async def _last_body(url: str) -> dict[str, Any]:
    """What aimock's journal says the last request carried."""
    import httpx

    async with httpx.AsyncClient() as client:
        entries = cast("list[dict[str, Any]]", (await client.get(f"{url}/__aimock/journal")).json())
    return entries[-1]
