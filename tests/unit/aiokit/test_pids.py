"""Numbers of processes, and whom they mean."""

import os
import subprocess

import pytest

from brainpilot_rt.aiokit.pids import is_same, started


@pytest.mark.fault("F6", "S35")
def test_a_number_means_a_process_only_as_long_as_it_lives_and_began_then():
    child = subprocess.Popen(["sleep", "60"])
    try:
        began = started(child.pid)
        assert began
        assert is_same(child.pid, began)
        assert not is_same(child.pid, began + 1)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_same(child.pid, began)  # dead, and not yet buried
    finally:
        child.kill()
        child.wait()
    assert started(child.pid) is None
    assert is_same(os.getpid(), None)
