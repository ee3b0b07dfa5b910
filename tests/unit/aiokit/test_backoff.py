import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.aiokit.backoff import Backoff

BACKOFF = Backoff(base_s=1, cap_s=30, retry_after_cap_s=120)


def test_the_bound_doubles_up_to_the_cap() -> None:
    almost_one = 1 - 1e-12
    bounds = [round(BACKOFF.delay_s(attempt, almost_one), 6) for attempt in range(1, 8)]
    assert bounds == [1, 2, 4, 8, 16, 30, 30]


def test_what_the_server_asks_for_is_a_lower_bound_with_a_cap() -> None:
    assert BACKOFF.delay_s(1, 0.5, retry_after_s=20) == 20
    assert BACKOFF.delay_s(6, 0.9, retry_after_s=1) == pytest.approx(27)
    assert BACKOFF.delay_s(1, 0.5, retry_after_s=86_400) == 120
    assert BACKOFF.delay_s(1, 0.5, retry_after_s=-5) == 0.5


@given(
    attempt=st.integers(1, 10**6),
    dice=st.floats(0, 1, exclude_max=True),
    retry_after_s=st.none() | st.floats(allow_nan=False),
)
def test_a_delay_is_never_negative_nor_beyond_the_caps(
    attempt: int, dice: float, retry_after_s: float | None
) -> None:
    assert 0 <= BACKOFF.delay_s(attempt, dice, retry_after_s) <= 120


def test_attempts_count_from_one() -> None:
    with pytest.raises(ValueError, match="from one"):
        BACKOFF.delay_s(0, 0.5)
