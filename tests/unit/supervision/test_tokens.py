"""Tokens on disk: made once, kept private, read again, taken back."""

import hashlib
import os
from pathlib import Path

import pytest

from brainpilot_rt.governance.access import SCOPES, Scope
from brainpilot_rt.supervision.tokens import CLIENTS_FILE, ClientTokens, TokenFile


def scope_of(clients: ClientTokens, token: str) -> Scope | None:
    """What the daemon would let this token do."""
    return clients.read().get(hashlib.sha256(token.encode()).hexdigest())


@pytest.mark.fault("S6")
def test_a_token_is_256_bits_in_a_private_file_and_read_again_when_replaced(tmp_path: Path):
    before = os.umask(0)
    try:
        file = TokenFile(tmp_path)
        first = file.ensure()
    finally:
        os.umask(before)
    assert len(first) >= 43
    assert file.path.stat().st_mode & 0o777 == 0o600
    second = TokenFile(tmp_path).rotate()
    assert file.read() == second != first


@pytest.mark.fault("S6")
@pytest.mark.parametrize("scope", SCOPES)
def test_a_client_has_the_scope_it_was_given_until_it_is_taken_back(tmp_path: Path, scope: Scope):
    daemon, owner = ClientTokens(tmp_path), ClientTokens(tmp_path)
    assert daemon.read() == {}
    token = owner.issue("laptop", scope)
    assert scope_of(daemon, token) == scope
    assert (tmp_path / CLIENTS_FILE).stat().st_mode & 0o777 == 0o600
    assert token not in (tmp_path / CLIENTS_FILE).read_text()
    again = owner.issue("laptop", scope)
    assert scope_of(daemon, token) is None
    assert scope_of(daemon, again) == scope
    assert owner.listed() == {"laptop": scope}
    assert owner.revoke("laptop")
    assert not owner.revoke("laptop")
    assert scope_of(daemon, again) is None


@pytest.mark.parametrize("text", ["", "[]", '{"a": ["x", "everything"]}', "{", '{"a": null}'])
def test_a_broken_file_of_clients_lets_nobody_in(tmp_path: Path, text: str):
    (tmp_path / CLIENTS_FILE).write_text(text)
    assert ClientTokens(tmp_path).read() == {}


def test_a_token_with_an_end_is_good_until_then_and_forgotten_after(tmp_path: Path):
    now = [1_000]
    clients = ClientTokens(tmp_path, lambda: now[0])
    token = clients.issue("agent-bot:1", "execute", until_ms=2_000)
    lasting = clients.issue("laptop", "read")
    assert scope_of(clients, token) == "execute"
    assert clients.name_of(token) == "agent-bot:1"
    now[0] = 2_000
    assert scope_of(clients, token) is None
    assert scope_of(clients, lasting) == "read"
    clients.issue("phone", "read")
    assert set(clients.listed()) == {"laptop", "phone"}


def test_who_has_no_clock_takes_a_token_that_ends_for_ended(tmp_path: Path):
    token = ClientTokens(tmp_path, lambda: 0).issue("agent-bot:1", "execute", until_ms=2_000)
    assert scope_of(ClientTokens(tmp_path), token) is None
