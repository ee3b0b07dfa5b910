"""Files of servers: both shapes people have, placeholders, problems in words, no secrets."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.tools.mcp.config import Parsed, ServerConfig, auth_headers, parse


def read(servers: Any, *, trusted: bool = True, **variables: str) -> Parsed:
    content = json.dumps({"mcpServers": servers}).encode()
    return parse(content, source=".mcp.json", variables=variables, trusted=trusted)


def only(servers: Any, **variables: str) -> ServerConfig:
    content = json.dumps({"mcpServers": servers}).encode()
    parsed = parse(content, source=".mcp.json", variables=variables)
    assert parsed.problems == ()
    assert len(parsed.servers) == 1
    return parsed.servers[0]


def test_a_program_is_read_with_its_arguments_and_variables():
    found = only({"git": {"command": "uvx", "args": ["mcp-server-git"], "env": {"A": "1", "N": 2}}})
    assert (found.name, found.kind, found.command) == ("git", "stdio", "uvx")
    assert (found.args, dict(found.env)) == (("mcp-server-git",), {"A": "1", "N": "2"})
    assert found.timeout_s is None


@pytest.mark.parametrize(
    ("said", "kind"),
    [(None, "http"), ("http", "http"), ("streamable-http", "http"), ("sse", "sse")],
)
def test_an_address_is_read_with_its_headers(said: str | None, kind: str):
    entry = {"type": said, "url": "https://example.org/mcp", "headers": {"X-Key": "k"}}
    found = only({"web": {**entry, "timeout": 1500}})
    assert (found.kind, found.url, dict(found.headers)) == (kind, entry["url"], {"X-Key": "k"})
    assert found.timeout_s == 1.5


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"command": ""},
        {"command": "  ", "args": ["x"]},
        {"url": ""},
        {"type": "http", "url": " "},
        {"type": "stdio"},
        {"command": "x", "disabled": True},
        {"command": "${EMPTY}"},
    ],
)
def test_a_placeholder_is_skipped_without_a_word(entry: dict[str, Any]):
    assert read({"later": entry}, EMPTY="") == Parsed()


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("nonsense", "Input should be"),
        ({"command": "x", "url": "http://y"}, "it has a command and a url"),
        ({"command": "x", "args": "not a list"}, "args: Input should be a valid list"),
        ({"type": "carrier-pigeon", "url": "x"}, "its type 'carrier-pigeon' is none of"),
        ({"type": "http", "command": "x"}, "its type is 'http', which has no command"),
        ({"type": "stdio", "url": "http://y"}, "its type is 'stdio', which has no url"),
        ({"url": "file:///etc/passwd"}, "not an http:// or https:// address"),
        ({"url": "http://y", "headers": {"A": "b\r\nC: d"}}, "header 'A' can not be sent"),
        ({"command": "x", "timeout": 0}, "timeout: Input should be greater than 0"),
        ({"command": "x", "env": {"K": "${MISSING}"}}, "variable MISSING is not set"),
        ({"command": "a\0b"}, "NUL"),
    ],
)
def test_a_bad_entry_is_a_problem_in_words_and_costs_no_other(entry: Any, problem: str):
    parsed = read({"bad": entry, "good": {"command": "x"}})
    assert [server.name for server in parsed.servers] == ["good"]
    assert len(parsed.problems) == 1
    assert parsed.problems[0].startswith(".mcp.json: server 'bad': ")
    assert problem in parsed.problems[0]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101])
def test_a_name_that_can_not_be_shown_is_a_problem(name: str):
    parsed = read({name: {"command": "x"}})
    assert not parsed.servers
    assert "its name is blank, too long or not printable" in parsed.problems[0]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"mcpServers": 1}', b"[" * 100_000])
def test_a_file_that_is_none_is_one_problem(content: bytes):
    parsed = parse(content, source="f", variables={})
    assert not parsed.servers
    assert len(parsed.problems) == 1


def test_a_file_without_servers_is_no_problem():
    assert parse(b"{}", source="f", variables={}) == Parsed()


def test_a_file_that_is_too_long_or_has_too_many_servers_says_so():
    assert "longer than" in parse(b" " * (1 << 21), source="f", variables={}).problems[0]
    parsed = read({f"s{number}": {"command": "x"} for number in range(100)})
    assert len(parsed.servers) == 64
    assert parsed.problems == (".mcp.json: 100 servers, only 64 are used",)


def test_variables_come_from_what_is_given_and_may_have_a_default(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("OUTSIDE", "must not be read")
    entry = {
        "command": "${HOME}/bin/x",
        "args": ["${A:-one}", "$A", "${B:-two}"],
        "env": {"KEY": "Bearer ${B}"},
    }
    found = only({"x": entry}, HOME="/home/me", B="b")
    assert found.command == "/home/me/bin/x"
    assert found.args == ("one", "$A", "b")
    assert found.env["KEY"] == "Bearer b"
    assert "OUTSIDE" in read({"x": {"command": "${OUTSIDE}"}}).problems[0]


def test_a_secret_is_not_in_what_is_shown():
    entry = {"command": "x", "args": ["--key", "${KEY}"], "env": {"K": "${KEY}"}}
    found = only({"x": entry}, KEY="s3cret")
    assert "s3cret" not in repr(found)
    assert found.summary == "x --key ${KEY}"


def test_the_fingerprint_changes_with_what_is_started_and_consent_with_what_is_written():
    entry = {"command": "x", "env": {"K": "${KEY}"}}
    one, other = only({"x": entry}, KEY="1"), only({"x": entry}, KEY="2")
    assert one.fingerprint != other.fingerprint
    assert one.content == other.content
    changed = only({"x": {**entry, "args": ["--more"]}}, KEY="1")
    assert one.content != changed.content
    assert one.fingerprint == only({"x": entry}, KEY="1").fingerprint


def test_servers_of_an_untrusted_file_are_untrusted():
    assert not read({"x": {"command": "x"}}, trusted=False).servers[0].trusted


def test_a_token_becomes_a_header():
    assert auth_headers("bearer", "t") == {"Authorization": "Bearer t"}
    assert auth_headers("api-key", "t") == {"X-API-Key": "t"}
    assert auth_headers("api-key", "t", "X-Mine") == {"X-Mine": "t"}
    with pytest.raises(ValueError, match="neither"):
        auth_headers("basic", "t")
    with pytest.raises(ValueError, match="can not be sent"):
        auth_headers("bearer", "t\r\nHost: x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
ENTRY = st.dictionaries(
    st.sampled_from(["type", "command", "args", "env", "url", "headers", "timeout"]), JSON
)


@given(st.dictionaries(st.text(max_size=10), JSON | ENTRY, max_size=4))
def test_whatever_a_file_says_is_a_server_a_placeholder_or_a_problem(servers: dict[str, Any]):
    parsed = read(servers)
    assert len(parsed.servers) + len(parsed.problems) <= len(servers)
