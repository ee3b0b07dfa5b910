"""The quick tier of every stage of the proof: what it tries, holds."""

import contextlib
from pathlib import Path

import pytest

from proof.stage import Stage, Task, all_stages

STAGES = [stage for stage in all_stages().values() if stage.quick]


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("stage", STAGES, ids=[stage.name for stage in STAGES])
def test_what_the_stage_tries_holds(stage: Stage, tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        outcome = stage.run(Task(tmp_path, seed=1, tier="quick", say=print))
    assert outcome.failures == []
