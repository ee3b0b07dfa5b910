"""Settings that can not be: one clear error, whatever the file holds."""

from pathlib import Path

import pytest

from brainpilot_rt.settings import BadSettings, load

BAD = {
    "deep": b"a = " + b"[" * 5000,
    "digits": b"a = " + b"9" * 5000,
    "not UTF-8": b"a = '\xff'",
    "not TOML": b"a",
    "open to others": b"[http]\nhost = '0.0.0.0'\n",
}


@pytest.mark.fault("F10")
@pytest.mark.parametrize("name", BAD)
def test_a_file_of_settings_that_can_not_be_read_is_a_bad_setting(tmp_path: Path, name: str):
    (tmp_path / "config.toml").write_bytes(BAD[name])
    with pytest.raises(BadSettings):
        load({}, data_dir=tmp_path)


@pytest.mark.fault("S1")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_an_address_of_this_machine_needs_no_leave(tmp_path: Path, host: str):
    assert load({"BP_HOST": host}, data_dir=tmp_path).http.host == host
