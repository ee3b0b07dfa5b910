"""The team under everything that may happen, in any order (reliability.md 7.2)."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.flows.reliability.history import unheard
from tests.flows.reliability.machine import Team, seen

EXAMPLES = 25
STEPS = 60


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.fault("A19", "B8", "B10", "D12", "E4", "I3", "J10")
def test_whatever_happens_in_whatever_order_nothing_is_lost_doubled_or_left_open():
    how = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],  # to shrink a failing program takes minutes
        database=None,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.filter_too_much,
            HealthCheck.data_too_large,
        ],
    )
    with unheard():
        run_state_machine_as_test(Team, settings=how)
    assert seen["died"] > 0
