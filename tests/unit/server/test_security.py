"""Nobody gets in: every route of the table against every kind of caller."""

import hashlib
import re
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from typing_extensions import override

from brainpilot_rt.governance.access import Scope, covers
from brainpilot_rt.server.config import hosts_of
from brainpilot_rt.server.resources import Row
from brainpilot_rt.server.security import (
    FAILURES_MAX,
    canonical,
    check_host,
    is_clean,
    split_capability,
    tokens_in,
)
from tests.unit.server.world import PORT, SESSION, TOKEN, Script, Server, serving

OPEN = {"/", "/web/app.js", "/health", "/healthz", "/readyz", "/metrics", "/version"} | {
    "/openapi.json"
}
HOSTS = hosts_of(PORT)


def rows(app: Starlette) -> list[Row]:
    found: list[Row] = app.state.rows
    return found


def concrete(path: str) -> str:
    """A path of the table with something in its places."""
    return re.sub(r"{call}", "call_1", re.sub(r"{s?id}", SESSION, path)).replace("{name}", "app.js")


def requests(app: Starlette) -> list[tuple[str, str]]:
    """Every route, also as HEAD and OPTIONS, and some that do not exist."""
    real = [(row.method, concrete(row.path)) for row in rows(app)]
    paths = dict.fromkeys(path for _, path in real)
    more = [(method, path) for method in ("HEAD", "OPTIONS", "PATCH") for path in paths]
    return [*real, *more, ("GET", "/nothing"), ("POST", "/c"), ("GET", "/v1/models")]


async def ask(
    server: Server, method: str, path: str, headers: dict[str, str], **more: Any
) -> httpx.Response:
    """Send exactly these headers; of a stream only its beginning is awaited."""
    host = {} if any(name == "host" for name in headers) else {"host": f"127.0.0.1:{PORT}"}
    async with (
        httpx.AsyncClient(
            transport=Kept(server.transport), base_url=f"http://127.0.0.1:{PORT}"
        ) as client,
        client.stream(method, path, headers=host | headers, **more) as response,
    ):
        if "event-stream" not in response.headers.get("content-type", ""):
            await response.aread()
        return response


class Kept(httpx.AsyncBaseTransport):
    """A transport that outlives the client that uses it."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._inner.handle_async_request(request)


@pytest.fixture
def no_ration(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are more routes than failed attempts at once."""
    monkeypatch.setattr("brainpilot_rt.server.security.FAILURES_MAX", 100_000)


@pytest.mark.usefixtures("no_ration")
@pytest.mark.fault("S6", "S31")
async def test_every_route_without_a_token_answers_the_same_nothing():
    async with serving() as server:
        await Script(server.backend).begin()
        answers: set[tuple[int, str, str]] = set()
        for method, path in requests(server.app):
            answer = await ask(server, method, path, {})
            if path in OPEN and method in {"GET", "HEAD"}:
                assert answer.status_code == 200, path
                continue
            assert answer.headers["www-authenticate"] == "Bearer"
            answers.add((answer.status_code, answer.text, answer.headers["content-type"]))
        assert len(answers) == 1
        assert {status for status, _, _ in answers} == {401}


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"x-api-key": TOKEN},
        {"cookie": f"token={TOKEN}"},
    ],
)
@pytest.mark.usefixtures("no_ration")
@pytest.mark.fault("S6")
async def test_a_token_that_is_wrong_or_in_the_wrong_place_is_none(headers: dict[str, str]):
    async with serving() as server:
        await Script(server.backend).begin()
        for method, path in requests(server.app):
            if path in OPEN and method in {"GET", "HEAD"}:
                continue
            good = path.startswith("/v1/") and "x-api-key" in headers
            status = (await ask(server, method, path, headers)).status_code
            assert (status != 401) if good else (status == 401), path


HOSTILE_HOSTS = [
    "evil.com",
    f"evil.com:{PORT}",
    f"127.0.0.1.evil.com:{PORT}",
    f"localhost.:{PORT}",
    f"LOCALHOST:{PORT}",
    f"127.1:{PORT}",
    f"0.0.0.0:{PORT}",
    f"[::]:{PORT}",
    f"x.local:{PORT}",
    f"user@127.0.0.1:{PORT}",
    "127.0.0.1",
    f"127.0.0.1:{PORT + 1}",
    "",
]


@pytest.mark.parametrize("host", HOSTILE_HOSTS)
@pytest.mark.fault("S2")
async def test_a_foreign_host_is_served_nothing_not_even_open_routes(host: str):
    async with serving() as server:
        for method, path in requests(server.app):
            answer = await ask(
                server, method, path, {"host": host, "authorization": f"Bearer {TOKEN}"}
            )
            assert answer.status_code == 421, path


@pytest.mark.parametrize("host", sorted(HOSTS))
def test_our_own_hosts_are_served(host: str):
    assert check_host([(b"host", host.encode())], HOSTS) is None


@pytest.mark.fault("S2")
def test_two_hosts_or_none_are_refused():
    one = (b"host", f"127.0.0.1:{PORT}".encode())
    assert check_host([one, one], HOSTS) is not None
    assert check_host([], HOSTS) is not None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.com"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": f"https://127.0.0.1:{PORT}"},
        {"origin": "http://127.0.0.1"},
        {"origin": f"http://127.0.0.1:{PORT + 1}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": f"http://127.0.0.1:{PORT}", "sec-fetch-site": "cross-site"},
    ],
)
@pytest.mark.fault("S3", "S4")
async def test_a_foreign_page_may_not_ask_whatever_it_holds(headers: dict[str, str]):
    async with serving() as server:
        await Script(server.backend).begin()
        before = server.backend.log.head_pos
        for method, path in requests(server.app):
            for token in ({}, {"authorization": f"Bearer {TOKEN}"}):
                answer = await ask(server, method, path, headers | token)
                assert answer.status_code == 403, path
        assert server.backend.log.head_pos == before


async def test_our_own_page_may_ask():
    async with serving() as server:
        headers = {
            "origin": f"http://localhost:{PORT}",
            "sec-fetch-site": "same-origin",
            "authorization": f"Bearer {TOKEN}",
        }
        assert (await ask(server, "GET", "/sessions", headers)).status_code == 200


@pytest.mark.fault("S5")
async def test_no_answer_ever_speaks_of_cors():
    async with serving() as server:
        await Script(server.backend).begin()
        for method, path in requests(server.app):
            answer = await ask(
                server,
                method,
                path,
                {
                    "authorization": f"Bearer {TOKEN}",
                    "origin": f"http://127.0.0.1:{PORT}",
                    "access-control-request-method": "POST",
                    "access-control-request-private-network": "true",
                },
            )
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.fault("S7")
async def test_the_capability_path_opens_every_route_and_leaves_no_trace():
    async with serving() as server:
        await Script(server.backend).begin()
        for row in rows(server.app):
            path = concrete(row.path)
            assert (await ask(server, row.method, f"/c/wrong{path}", {})).status_code == 401
            answer = await ask(server, row.method, f"/c/{TOKEN}{path}", {})
            assert answer.status_code not in {401, 403, 421}, path
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "no-referrer"
            if "event-stream" not in answer.headers.get("content-type", ""):
                assert TOKEN not in answer.text


@pytest.mark.fault("S6", "S7")
async def test_a_token_in_the_query_opens_streams_and_nothing_else():
    async with serving() as server:
        await Script(server.backend).begin()
        for row in rows(server.app):
            path = f"{concrete(row.path)}?token={TOKEN}"
            answer = await ask(server, row.method, path, {})
            if row.stream:
                missing = row.path.startswith("/v1/") and "{" in row.path
                assert answer.status_code == (404 if missing else 200)
            elif row.open:
                assert answer.status_code == 400
                assert answer.json()["code"] == "token_in_query"
            else:
                assert answer.status_code == 401
            with_header = await ask(server, row.method, path, {"authorization": f"Bearer {TOKEN}"})
            assert (with_header.status_code == 400) is not row.stream


@pytest.mark.fault("S7")
async def test_behind_a_capability_path_the_token_of_the_query_is_the_proxys():
    async with serving() as server:
        await Script(server.backend).begin()
        stream = f"/sse/{SESSION}?token=of-the-proxy"
        assert (await ask(server, "GET", f"/c/{TOKEN}{stream}", {})).status_code == 200
        assert (await ask(server, "GET", f"/c/wrong{stream}", {})).status_code == 401
        right = f"/c/wrong/sse/{SESSION}?token={TOKEN}"
        assert (await ask(server, "GET", right, {})).status_code == 401


@pytest.mark.fault("S6")
async def test_the_token_is_the_one_of_the_moment():
    secret = ["first"]
    async with serving(token=lambda: secret[0]) as server:
        first = {"authorization": "Bearer first"}
        assert (await ask(server, "GET", "/sessions", first)).status_code == 200
        secret[0] = "second"
        assert (await ask(server, "GET", "/sessions", first)).status_code == 401
        secret[0] = ""
        empty = {"authorization": "Bearer "}
        assert (await ask(server, "GET", "/sessions", empty)).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/sessions/..%2f..%2fetc",
        "/sessions/x%2F..%2F../files?path=log.db",
        "/sessions/x%5c../files",
        "/sessions/x%00/files",
        "/sessions/%ff/state",
        "/sessions/%C3%28/state",
        "/sessions/.../state",
        "/sessions/_daemon/state",
        "/sessions/A/state",
        "/sessions/" + "a" * 64 + "/state",
        "/sessions/x%20/state",
        "/sse/%2e%2e",
        "/sessions/%E2%80%AE/history",
    ],
)
@pytest.mark.fault("S11")
async def test_an_id_that_is_a_path_or_garbage_is_refused_in_json(path: str):
    async with serving() as server:
        answer = await server.client.get(path)
        assert answer.status_code in {400, 404}
        assert answer.json()["code"] in {"bad_path", "bad_request", "no_such_route", "not_found"}


READ, WRITE, EXECUTE = "a-reader", "a-writer", "a-doer"
SCOPE_OF: dict[str, Scope] = {READ: "read", WRITE: "write", EXECUTE: "execute"}
CLIENTS: dict[str, Scope] = {
    hashlib.sha256(token.encode()).hexdigest(): held for token, held in SCOPE_OF.items()
}


@pytest.mark.fault("S9", "S33")
@pytest.mark.parametrize("place", ["header", "path"])
@pytest.mark.parametrize(
    ("token", "held"), [(READ, "read"), (WRITE, "write"), (EXECUTE, "execute")]
)
async def test_a_token_does_what_its_scope_says_whatever_the_client_says(
    token: str, held: Scope, place: str
):
    async with serving(clients=lambda: CLIENTS) as server:
        await Script(server.backend).begin()
        for row in rows(server.app):
            if row.open or (place == "path" and row.stream):
                continue
            path = concrete(row.path)
            headers = {"x-scope": "execute", "authorization": f"Bearer {token}"}
            if place == "path":
                path, headers = f"/c/{token}{path}", {"x-scope": "execute"}
            before = server.backend.log.head_pos
            answer = await ask(server, row.method, f"{path}?scope=execute", headers)
            allowed = covers(held, row.needs)
            assert (answer.status_code == 403) is not allowed, (row.method, row.path)
            assert allowed or server.backend.log.head_pos == before


@pytest.mark.fault("S9")
async def test_every_change_needs_more_than_reading_and_every_start_of_work_everything():
    async with serving() as server:
        table = {(row.method, row.path): row.needs for row in rows(server.app) if not row.open}
        assert {need for (method, _), need in table.items() if method == "GET"} == {"read"}
        assert "read" not in {need for (method, _), need in table.items() if method != "GET"}
        everything = {key for key, need in table.items() if need == "execute"}
        assert ("POST", "/v1/agents/{id}/run") in everything
        assert ("POST", "/v1/agent/bootstrap") in everything
        assert {key for key in everything if not key[1].startswith("/v1/")} == {
            ("POST", "/approvals/{id}/approve"),
            ("POST", "/approvals/{id}/deny"),
            ("POST", "/sessions"),
            ("DELETE", "/sessions/{id}"),
            ("POST", "/sessions/{id}/messages"),
            ("PUT", "/runtime/capabilities"),
            ("POST", "/shutdown"),
        }


@pytest.mark.fault("S9")
async def test_of_two_tokens_the_weaker_counts_and_a_wrong_one_spoils_both():
    async with serving(clients=lambda: CLIENTS) as server:
        both = [("authorization", f"Bearer {READ}"), ("authorization", f"Bearer {EXECUTE}")]
        host = ("host", f"127.0.0.1:{PORT}")
        answer = await server.client.post("/sessions", headers=[*both, host])
        assert answer.status_code in {401, 403}


@pytest.mark.fault("S6")
async def test_a_client_token_taken_back_is_none_from_the_next_request_on():
    clients = dict(CLIENTS)
    async with serving(clients=lambda: clients) as server:
        headers = {"authorization": f"Bearer {READ}"}
        assert (await ask(server, "GET", "/sessions", headers)).status_code == 200
        clients.clear()
        assert (await ask(server, "GET", "/sessions", headers)).status_code == 401


@pytest.mark.fault("S6", "S31")
async def test_failed_attempts_are_rationed_and_the_owner_is_still_let_in():
    async with serving() as server:
        wrong, right = {"authorization": "Bearer no"}, {"authorization": f"Bearer {TOKEN}"}
        for _ in range(FAILURES_MAX):
            assert (await ask(server, "GET", "/sessions", wrong)).status_code == 401
        seen = {
            (answer.status_code, answer.text)
            for path in ("/sessions", "/nothing", "/c/no/events")
            for answer in [await ask(server, "GET", path, wrong)]
        }
        assert [status for status, _ in seen] == [429]
        assert (await ask(server, "GET", "/sessions", right)).status_code == 200


@pytest.mark.fault("I5", "S26")
async def test_sizes_are_checked_before_anything_else():
    async with serving(upload_bytes_max=1000, body_bytes_max=1024) as server:
        long = await ask(server, "GET", "/" + "a" * 9000, {})
        many = await ask(server, "GET", "/health", {f"x-{n}": "1" for n in range(120)})
        large = await ask(server, "GET", "/health", {"x-large": "x" * 40_000})
        length = await ask(server, "POST", "/sessions", {"content-length": "99999999"})
        odd = await ask(server, "POST", "/sessions", {"content-length": "-1"})
        codes = [one.status_code for one in (long, many, large, length, odd)]
        assert codes == [414, 431, 431, 413, 400]


@pytest.mark.fault("S30")
async def test_refusals_are_counted_by_reason():
    async with serving() as server:
        await ask(server, "GET", "/sessions", {})
        await ask(server, "GET", "/sessions", {"host": "evil.com"})
        text = (await ask(server, "GET", "/metrics", {"accept": "text/plain"})).text
        assert 'brainpilot_rt_http_refused_total{reason="token"} 1.0' in text
        assert 'brainpilot_rt_http_refused_total{reason="host"} 1.0' in text


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [("abc-1.2_3", "abc-1.2_3"), ("a b", None), ("x" * 200, None), ("<script>", None)],
)
async def test_a_request_id_comes_back_if_it_is_clean(sent: str, echoed: str | None):
    async with serving() as server:
        answer = await server.client.get("/health", headers={"x-request-id": sent})
        assert answer.headers.get("x-request-id") == echoed


def test_a_capability_is_split_off_and_nothing_else():
    assert split_capability("/c/tok/sessions/x") == ("tok", "/sessions/x")
    assert split_capability("/c/tok") == ("tok", "/")
    assert split_capability("/c//sessions") == ("", "/sessions")
    assert split_capability("/sessions/c/x") == (None, "/sessions/c/x")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("/v1/v1/memory/blocks", "/v1/memory/blocks"),
        ("/v1/v1/v1/models", "/v1/models"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/models", "/v1/models"),
        ("/models/x", "/models/x"),
        ("/v1", "/v1"),
        ("/sessions/v1/v1/x", "/sessions/v1/v1/x"),
    ],
)
def test_v1_may_be_left_out_or_said_twice(asked: str, meant: str):
    assert canonical(asked) == meant


async def test_whoever_names_anthropics_version_is_refused_in_its_form():
    async with serving() as server:
        sent = {"anthropic-version": "2026-10-21", "x-request-id": "r-1"}
        answer = await server.client.get("/v1/nothing", headers=sent)
        assert answer.status_code == 404
        assert answer.json()["type"] == "error"
        assert answer.json()["error"]["type"] == "not_found_error"
        assert answer.json()["request_id"] == "r-1"


def test_tokens_in_a_query_are_found_however_they_are_written():
    assert tokens_in(b"a=1&Token=x&token=y&%74oken=z") == ["x", "y", "z"]
    assert tokens_in(b"") == []


@pytest.mark.parametrize("raw", [b"/a%2Fb", b"/a%5Cb", b"/a%00", b"/%ff", b"/\xff"])
def test_a_path_with_hidden_separators_or_broken_text_is_not_clean(raw: bytes):
    assert not is_clean(raw)
    assert is_clean("/sessions/ü".encode())


async def test_a_capability_address_without_its_last_slash_leads_to_the_page():
    async with serving() as server:
        bare = await ask(server, "GET", f"/c/{TOKEN}", {})
        assert (bare.status_code, bare.headers["location"]) == (307, f"{TOKEN}/")
        assert bare.headers["cache-control"] == "no-store"
        assert (await ask(server, "GET", f"/c/{TOKEN}/", {})).status_code == 200


@pytest.mark.fault("S29")
async def test_the_page_runs_no_script_but_its_own():
    async with serving() as server:
        page = await ask(server, "GET", "/", {})
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=|https?://", page.text)
        script = (await ask(server, "GET", "/web/app.js", {})).text
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(|https?://", script)
        assert (await ask(server, "GET", "/web/nothing.js", {})).status_code == 404
        assert (await ask(server, "GET", "/web/..%2fapp.py", {})).status_code in {400, 401}
