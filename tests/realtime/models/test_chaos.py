import asyncio
import json
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import pytest

from brainpilot_rt.aiokit.backoff import Backoff
from brainpilot_rt.aiokit.sources import SystemClock, UlidSource
from brainpilot_rt.domain.errors import FatalFault, RetryableFault
from brainpilot_rt.domain.messages import UserMessage
from brainpilot_rt.domain.model_calls import AttemptFailed, ModelEvent, ReplyFinished, TextDelta
from brainpilot_rt.models.dispatch import Dispatcher, RetryPolicy
from brainpilot_rt.models.http import Http, is_loopback
from brainpilot_rt.models.ollama import base_url, find
from brainpilot_rt.models.providers import Dialect, Providers
from tests.realtime.models.chaos import Behaviour, Chaos, Exchange, chaos
from tests.unit.models.team import request
from tests.unit.models.wires import (
    KEY,
    anthropic_stream,
    delta,
    openai_stream,
    openai_text,
    profile,
)

pytestmark = pytest.mark.realtime

QUICK = Backoff(base_s=0.01, cap_s=0.01, retry_after_cap_s=5.0)


@asynccontextmanager
async def _port(url: str, attempts: int = 1) -> AsyncGenerator[Dispatcher, None]:
    only = profile(Dialect.OPENAI_CHAT, base_url=url)
    port = Dispatcher(
        Providers((only,), only.id),
        clock=SystemClock(),
        new_id=UlidSource(SystemClock()),
        retry=RetryPolicy(attempts_max=attempts, backoff=QUICK),
    )
    try:
        yield port
    finally:
        await port.close()


async def _ask(port: Dispatcher, seen: list[ModelEvent] | None = None) -> list[ModelEvent]:
    seen = [] if seen is None else seen
    async for event in port.stream(request("principal", UserMessage(text="hi"))):
        seen.append(event)
    return seen


async def _through(*behaviours: Behaviour, attempts: int = 1) -> tuple[list[ModelEvent], Chaos]:
    async with chaos(*behaviours) as server, _port(server.url, attempts) as port:
        return await _ask(port), server


def _text(events: list[ModelEvent]) -> str:
    last = events[-1]
    assert isinstance(last, ReplyFinished)
    return last.message.text


async def _answer(exchange: Exchange) -> None:
    await exchange.start()
    await exchange.chunk(openai_text("hello"))
    await exchange.end()


async def _half(exchange: Exchange) -> None:
    await exchange.start()
    await exchange.chunk(openai_stream(delta(content="half"), done=False))


async def test_a_stream_is_read_and_its_connection_used_again() -> None:
    async with chaos(_answer) as server, _port(server.url) as port:
        for _ in range(3):
            assert _text(await _ask(port)) == "hello"
        assert server.connections == 1


@pytest.mark.fault("G1")
async def test_a_refused_connection_is_retryable_and_named() -> None:
    async with chaos(_answer) as server:
        pass
    async with _port(server.url) as port:
        with pytest.raises(RetryableFault, match="can not connect to 127") as caught:
            await _ask(port)
    assert caught.value.code == "connection"


@pytest.mark.fault("G1")
async def test_tls_to_a_server_that_speaks_none_is_a_connection_fault() -> None:
    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with _port(url) as port:
            with pytest.raises(RetryableFault) as caught:
                await _ask(port)
    assert caught.value.code == "connection"


@pytest.mark.fault("G6")
@pytest.mark.parametrize("ending", ["reset", "close"])
async def test_a_connection_cut_in_an_answer_keeps_what_was_said_and_fails(ending: str) -> None:
    async def cut(exchange: Exchange) -> None:
        await _half(exchange)
        if ending == "close":
            exchange.writer.close()
            return
        await asyncio.sleep(0.05)  # lets the half arrive: a reset discards what is under way
        exchange.reset()

    seen: list[ModelEvent] = []
    async with chaos(cut) as server, _port(server.url, attempts=3) as port:
        with pytest.raises(RetryableFault):
            await _ask(port, seen)
        assert seen == [TextDelta(index=0, text="half")]
        assert len(server.heads) == 1


async def test_a_connection_closed_before_the_answer_is_tried_again() -> None:
    async def close(exchange: Exchange) -> None:
        exchange.writer.close()

    events, server = await _through(close, _answer, attempts=2)
    assert _text(events) == "hello"
    assert len(server.heads) == 2


@pytest.mark.fault("G2")
async def test_a_busy_provider_is_asked_again_after_the_time_it_named() -> None:
    async def busy(exchange: Exchange) -> None:
        await exchange.start("429 Too Many Requests", "application/json", retry_after="0.01")
        await exchange.chunk(b'{"error": {"type": "rate_limit_error", "message": "slow down"}}')
        await exchange.end()

    events, _ = await _through(busy, _answer, attempts=2)
    assert isinstance(events[0], AttemptFailed)
    assert "slow down" in events[0].reason
    assert _text(events) == "hello"


@pytest.mark.fault("G16")
async def test_a_redirect_is_not_followed_with_the_key() -> None:
    async with chaos(_answer) as elsewhere:

        async def redirect(exchange: Exchange) -> None:
            await exchange.start("307 Temporary Redirect", location=f"{elsewhere.url}/v1")
            await exchange.end()

        async with chaos(redirect) as server, _port(server.url) as port:
            with pytest.raises(FatalFault, match="redirects are not followed"):
                await _ask(port)
            assert KEY in server.heads[0]
        assert elsewhere.heads == []


@pytest.mark.fault("G9")
async def test_an_html_page_with_status_200_is_a_protocol_fault() -> None:
    async def page(exchange: Exchange) -> None:
        await exchange.start(kind="text/html")
        await exchange.chunk(b"<html><body>Sign in</body></html>")
        await exchange.end()

    with pytest.raises(FatalFault) as caught:
        await _through(page)
    assert caught.value.code == "protocol"


@pytest.mark.fault("G9")
async def test_an_answer_that_is_not_http_is_a_fault() -> None:
    async def noise(exchange: Exchange) -> None:
        await exchange.raw(b"\x00\xff ssh or so\r\n\r\n")
        exchange.writer.close()

    with pytest.raises(RetryableFault):
        await _through(noise)


@pytest.mark.fault("G9", "G13")
@pytest.mark.timeout(30)
async def test_an_endless_line_ends_in_a_fault_and_not_in_memory() -> None:
    async def line(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.chunk(b"data: ")
        for _ in range(50):
            await exchange.chunk(b"x" * 1024 * 1024)

    with pytest.raises(FatalFault, match="more than") as caught:
        await _through(line)
    assert caught.value.code == "protocol"


@pytest.mark.fault("G13")
@pytest.mark.timeout(30)
async def test_an_endless_answer_ends_at_the_output_limit() -> None:
    async def flood(exchange: Exchange) -> None:
        await exchange.start()
        piece = openai_stream(delta(content="y" * 100_000), done=False)
        for _ in range(1000):
            await exchange.chunk(piece)

    tracemalloc.start()
    try:
        with pytest.raises(FatalFault, match="characters") as caught:
            await _through(flood)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "output_limit"
    assert peak < 64 * 1024 * 1024


@pytest.mark.fault("G9", "G13")
async def test_bytes_that_come_one_by_one_are_whole_in_the_end() -> None:
    async def drip(exchange: Exchange) -> None:
        await exchange.start()
        for byte in openai_text("z\u00fcg \u6c34").replace(b"\n", b"\r\n"):
            await exchange.chunk(bytes([byte]))
        await exchange.end()

    assert _text((await _through(drip))[0]) == "z\u00fcg \u6c34"


@pytest.mark.fault("G5")
@pytest.mark.parametrize("after", ["nothing", "headers", "half"])
async def test_cancelling_a_silent_call_closes_its_connection(after: str) -> None:
    reached = asyncio.Event()

    async def hang(exchange: Exchange) -> None:
        if after == "headers":
            await exchange.start()
        elif after == "half":
            await _half(exchange)
        reached.set()
        await exchange.gone()

    async with chaos(hang) as server, _port(server.url) as port:
        task = asyncio.get_running_loop().create_task(_ask(port))
        await reached.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await server.left.wait()


async def test_a_reader_that_leaves_closes_the_connection() -> None:
    async def hang(exchange: Exchange) -> None:
        await _half(exchange)
        await exchange.gone()

    async with chaos(hang) as server, _port(server.url) as port:
        async with aclosing(port.stream(request("principal"))) as stream:
            assert await anext(stream) == TextDelta(index=0, text="half")
        await server.left.wait()


async def test_a_server_that_never_hangs_up_does_not_hold_the_reply() -> None:
    async def linger(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.chunk(openai_text("hello"))
        await exchange.gone()

    assert _text((await _through(linger))[0]) == "hello"


@pytest.mark.fault("G8")
async def test_an_anthropic_stream_passes_comments_and_pings() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.chunk(b": hello\n\nevent: ping\ndata: {\n\n")
        await exchange.chunk(
            anthropic_stream(
                {"type": "message_start", "message": {"usage": {"input_tokens": 3}}},
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": "hi"},
                },
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
                {"type": "message_stop"},
            )
        )
        await exchange.end()

    async with chaos(answer) as server, _port(server.url) as port:
        only = profile(Dialect.ANTHROPIC, base_url=server.url)
        port.use(Providers((only,), only.id))
        assert _text(await _ask(port)) == "hi"
        assert "POST /v1/messages" in server.heads[0]


async def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert _text((await _through(_answer))[0]) == "hello"


def test_addresses_of_this_machine_are_recognised() -> None:
    for url in ("http://localhost:1/v1", "http://127.0.0.9", "http://[::1]:8000"):
        assert is_loopback(url)
    for url in ("https://api.example", "http://127.0.0.1.example", "", "http://10.0.0.1"):
        assert not is_loopback(url)


@pytest.mark.fault("G1")
async def test_an_address_that_is_none_is_a_clear_fault() -> None:
    http = Http()
    with pytest.raises(FatalFault):
        async with http.post("ftp://x", {}, b""):
            pass
    await http.close()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("box", "http://box:11434"),
        (":9999", "http://127.0.0.1:9999"),
        ("https://box", "https://box:443"),
        ("http://[::1]:5/", "http://[::1]:5"),
    ],
)
def test_the_host_of_an_ollama_is_completed(host: str, url: str) -> None:
    assert base_url(host) == url


async def test_an_ollama_with_models_is_found() -> None:
    async def tags(exchange: Exchange) -> None:
        names = [{"name": "nomic-embed-text"}, {"name": "qwen3:8b"}, {"name": "llama4"}]
        body = json.dumps({"models": names}).encode()
        await exchange.raw(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + body)
        exchange.writer.close()

    async with chaos(tags) as server:
        found = await find(server.url)
    assert found is not None
    assert found.models == ("qwen3:8b", "llama4")
    assert found.base_url == f"{server.url}/v1"
    assert found.free


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b'{"models": [5, {}]}', b"<html>"])
async def test_whatever_else_listens_there_is_no_ollama(body: bytes) -> None:
    async def other(exchange: Exchange) -> None:
        await exchange.raw(b"HTTP/1.0 200 OK\r\n\r\n" + body)
        exchange.writer.close()

    async with chaos(other) as server:
        assert await find(server.url) is None


async def test_without_an_ollama_the_look_ends_soon() -> None:
    async def silent(exchange: Exchange) -> None:
        await exchange.gone()

    async with chaos(silent) as server:
        assert await find(server.url) is None
    assert await find(server.url) is None
    assert await find("::not a host::") is None
