"""What no client sends: two readings of one request, heads without end, lies about lengths."""

import asyncio
import resource

import pytest

from brainpilot_rt.daemon import connection
from tests.realtime.server.wire import statuses, wire

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60), pytest.mark.fault("I5", "S27")]

CLOSE = "Connection: close"
POST = "POST /sessions HTTP/1.1"
JSON = "Content-Type: application/json"
HIDDEN = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

SMUGGLED = {
    "length and chunked": ([POST, "Content-Length: 4", "Transfer-Encoding: chunked"], b"0\r\n\r\n"),
    "chunked and length": ([POST, "Transfer-Encoding: chunked", "Content-Length: 4"], b"0\r\n\r\n"),
    "two lengths": ([POST, "Content-Length: 2", "Content-Length: 3"], b"{}"),
    "list of lengths": ([POST, "Content-Length: 2, 3"], b"{}"),
    "signed length": ([POST, "Content-Length: +2"], b"{}"),
    "hex length": ([POST, "Content-Length: 0x2"], b"{}"),
    "space before colon": ([POST, "Content-Length : 2"], b"{}"),
    "unknown coding": ([POST, "Transfer-Encoding: xchunked"], b"0\r\n\r\n"),
    "chunked twice": ([POST, "Transfer-Encoding: chunked, chunked"], b"0\r\n\r\n"),
    "chunked not last": ([POST, "Transfer-Encoding: chunked, identity"], b"0\r\n\r\n"),
    "folded header": ([POST, "X-One: a\r\n Transfer-Encoding: chunked"], b"0\r\n\r\n"),
    "bare newline": ([POST, "X-One: a\nTransfer-Encoding: chunked"], b"0\r\n\r\n"),
    "NUL in a value": ([POST, "X-One: a\0b"], b""),
    "no name": ([POST, ": a"], b""),
    "chunk size is no number": ([POST, "Transfer-Encoding: chunked"], b"zz\r\n{}\r\n0\r\n\r\n"),
    "chunk size is negative": ([POST, "Transfer-Encoding: chunked"], b"-2\r\n{}\r\n0\r\n\r\n"),
    "chunk longer than said": ([POST, "Transfer-Encoding: chunked"], b"1\r\n{}\r\n0\r\n\r\n"),
    "chunk size overflows": ([POST, "Transfer-Encoding: chunked"], b"1" + b"0" * 17 + b"\r\n{}"),
    "trailer": ([POST, "Transfer-Encoding: chunked"], b"2\r\n{}\r\n0\r\nHost: evil\r\n\r\n"),
    "absolute target": (["GET http://evil.com/sessions HTTP/1.1"], b""),
    "our absolute target": (["GET http://127.0.0.1/sessions HTTP/1.1"], b""),
    "authority": (["CONNECT evil.com:443 HTTP/1.1"], b""),
    "asterisk": (["OPTIONS * HTTP/1.1"], b""),
    "target without slash": (["GET sessions HTTP/1.1"], b""),
    "no version": (["GET /sessions"], b""),
    "future version": (["GET /sessions HTTP/9.9"], b""),
    "method of dots": (["G.T /sessions HTTP/1.1"], b""),
    "tab in the line": (["GET\t/sessions HTTP/1.1"], b""),
    "raw bytes in the target": (["GET /s\xe9ssions HTTP/1.1"], b""),
    "TLS": (["\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], b""),
    "HTTP/2": (["PRI * HTTP/2.0"], b"SM\r\n\r\n"),
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection(name: str):
    lines, body = SMUGGLED[name]
    async with wire() as server:
        before = server.backend.log.head_pos
        said = await server.answer(server.head(*lines) + body + HIDDEN)
        assert statuses(said) in ([400], [], [400, 400]), said
        assert b"active" not in said
        assert server.backend.log.head_pos == before


async def test_an_upgrade_is_not_taken_and_hides_nothing():
    async with wire() as server:
        asked = server.head("GET /healthz HTTP/1.1", "Connection: Upgrade", "Upgrade: h2c")
        said = await server.answer(asked + server.head("GET /version HTTP/1.1", CLOSE), limit_s=0.5)
        assert 101 not in statuses(said)
        assert statuses(said)[:1] in ([200], [400])


@pytest.mark.parametrize("lines", [120, 10_000])
async def test_many_header_lines_are_refused(lines: int):
    async with wire() as server:
        head = server.head("GET /health HTTP/1.1", CLOSE, *(f"X-{n}: 1" for n in range(lines)))
        assert statuses(await server.answer(head)) == [431]


@pytest.mark.parametrize(
    "endless",
    [b"X-Long: " + b"a" * 65536, b"X-Line: 1\r\n" * 6000],
    ids=["one line", "lines"],
)
async def test_a_head_without_end_is_cut_off(endless: bytes):
    async with wire() as server:
        head = server.head()[:-2]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        said = await server.answer(head, *[endless] * 2000)  # 120 MB if somebody kept it
        assert statuses(said) in ([431], [])  # []: the answer was lost with the reset
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


async def test_chunk_extensions_without_end_are_cut_off():
    async with wire() as server:
        head = server.head(POST, "Transfer-Encoding: chunked")
        said = await server.answer(head, b"1;", *[b"x" * 65536] * 1000)
        assert statuses(said) in ([400], [431], [])


@pytest.mark.parametrize("length", ["Content-Length: 1073741825", "Transfer-Encoding: chunked"])
async def test_a_body_too_large_is_refused_without_keeping_it(
    length: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "LINGER_S", 0.2)
    async with wire() as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        head = server.head(POST, length)
        said = await server.answer(head, *[b"100000\r\n" + b"a" * 0x100000 + b"\r\n"] * 200)
        assert statuses(said) in ([413], [])
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


async def test_who_asks_first_is_told_before_it_sends_a_body():
    async with wire() as server:
        more = ("Content-Length: 99999999999", "Expect: 100-continue", CLOSE)
        assert statuses(await server.answer(server.head(POST, *more))) == [413]
        fine = ("Content-Length: 2", "Expect: 100-continue", CLOSE)
        assert statuses(await server.answer(server.head(POST, *fine), b"{}")) == [100, 201]
        no_token = server.head(POST, *fine, token="no")
        assert statuses(await server.answer(no_token, b"{}"))[0] == 401


@pytest.mark.parametrize(
    "parts",
    [(), (b"GET /health HTTP/1.1\r\nHo",), (b"POST /sessions HTTP/1.1\r\n", b"X")],
    ids=["nothing", "half a head", "in pieces"],
)
async def test_who_does_not_finish_a_head_is_let_go(
    parts: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    async with wire() as server:
        assert statuses(await server.answer(*parts)) == [408]


async def test_a_second_head_has_its_own_deadline(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    async with wire() as server:
        said = await server.answer(server.head("GET /healthz HTTP/1.1"), b"", b"GET /he")
        assert statuses(said) in ([200, 408], [200])


@pytest.mark.fault("I4")
async def test_who_does_not_finish_a_body_is_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "BODY_S", 0.2)
    async with wire() as server:
        before = server.backend.log.head_pos
        said = await server.answer(server.head(POST, "Content-Length: 100"), b'{"title"')
        assert said == b""
        assert server.backend.log.head_pos == before


async def test_slow_strangers_leave_room_for_the_owner(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "HEAD_S", 1.0)
    monkeypatch.setattr(connection, "CONNECTIONS_MAX", 64)
    async with wire() as server, asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(server.answer(b"GET / HTTP/1.1\r\n"))
        async with asyncio.timeout(30):
            said = b""
            while statuses(said) != [200]:  # once the first have been let go
                said = await server.answer(server.head("GET /sessions HTTP/1.1", CLOSE))


async def test_a_stream_outlives_every_deadline_of_asking(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "HEAD_S", 0.1)
    monkeypatch.setattr(connection, "BODY_S", 0.1)
    async with wire() as server:
        said = await server.answer(server.head("GET /events HTTP/1.1"), limit_s=1)
        assert statuses(said) == [200]
        assert not said.endswith(b"0\r\n\r\n")
