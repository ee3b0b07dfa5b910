"""The same work in other orders has the same worth (reliability.md 7.3)."""

from pathlib import Path

import pytest

from tests.flows.reliability.busy import interleaving
from tests.flows.reliability.history import unheard

SEEDS = 20


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.fault("B9", "I9")
def test_no_order_of_what_happens_at_once_loses_or_doubles_anything(tmp_path: Path):
    with unheard():
        for seed in range(SEEDS):
            assert interleaving(seed, tmp_path) == [], f"seed {seed}"
