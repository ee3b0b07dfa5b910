"""The vault: what is put in comes out after a restart, is private, and is known as secret."""

import stat
from pathlib import Path

import pytest

from brainpilot_rt.domain.errors import Busy, Conflict, TooLarge
from brainpilot_rt.supervision import vault
from brainpilot_rt.supervision.secrets import Secrets
from brainpilot_rt.supervision.vault import VAULT_FILE, Vault

KEY = "a-key-of-some-provider"


async def test_a_secret_is_there_after_a_restart_and_only_its_owner_reads_the_file(tmp_path: Path):
    await Vault(tmp_path, Secrets().learn).put("guardrail:acme", KEY)
    secrets = Secrets()
    again = Vault(tmp_path, secrets.learn)
    assert again.get("guardrail:acme") == KEY
    assert stat.S_IMODE((tmp_path / VAULT_FILE).stat().st_mode) == 0o600
    assert KEY not in secrets.text(f"the key is {KEY}")


async def test_a_secret_that_was_deleted_is_gone_but_still_known_as_secret(tmp_path: Path):
    secrets = Secrets()
    kept = Vault(tmp_path, secrets.learn)
    await kept.put("one", KEY)
    assert await kept.delete("one")
    assert not await kept.delete("one")
    assert (kept.get("one"), Vault(tmp_path, secrets.learn).get("one")) == (None, None)
    assert KEY not in secrets.text(KEY)


async def test_a_file_that_can_not_be_read_is_never_overwritten(tmp_path: Path):
    (tmp_path / VAULT_FILE).write_bytes(b"{broken")
    kept = Vault(tmp_path, Secrets().learn)
    with pytest.raises(Conflict, match="repair or remove"):
        await kept.put("one", KEY)
    assert (tmp_path / VAULT_FILE).read_bytes() == b"{broken"


async def test_what_is_too_large_or_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(vault, "SECRETS_MAX", 1)
    kept = Vault(tmp_path, Secrets().learn)
    with pytest.raises(TooLarge):
        await kept.put("one", "x" * (vault.SECRET_CHARS_MAX + 1))
    await kept.put("one", KEY)
    await kept.put("one", f"{KEY}-2")
    with pytest.raises(Busy):
        await kept.put("two", KEY)
