"""Where a log had better not lie."""

import logging
from pathlib import Path

import pytest

from brainpilot_rt.eventlog import sqlite
from brainpilot_rt.eventlog.place import doubt
from brainpilot_rt.testing.sources import ManualClock

pytestmark = pytest.mark.fault("D14")

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/ann/local xfs rw 0 0
C: /mnt/c\\040drive 9p rw 0 0
rclone: /home/ann/cloud fuse.rclone rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/brainpilot", None),
        ("/home/ann/data", "nfs4"),
        ("/home/ann/local/data", None),
        ("/mnt/c drive/data", "9p"),
        ("/mnt/c", None),
        ("/home/ann/cloud", "fuse.rclone"),
    ],
)
def test_the_innermost_file_system_decides(tmp_path: Path, path: str, kind: str | None):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    found = doubt(Path(path), mounts)
    assert (found is None) if kind is None else (found is not None and kind in found)


def test_where_nobody_can_tell_nothing_is_said(tmp_path: Path):
    assert doubt(tmp_path, tmp_path / "none") is None


@pytest.mark.realtime
async def test_a_log_at_risk_is_opened_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def risky(_path: Path) -> str:
        return "it lies on nfs"

    monkeypatch.setattr(sqlite, "doubt", risky)
    with caplog.at_level(logging.WARNING):
        log = await sqlite.SqliteEventLog.open(tmp_path / "log.db", clock=ManualClock())
        await log.close()
    assert "is at risk: it lies on nfs" in caplog.text
