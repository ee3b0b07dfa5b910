"""So many calls a minute, and so many at once."""

from collections.abc import Hashable, Mapping

from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.governance.rates import Bucket, Rate, Rates, admit, rate_reason

TWO = Rate(per_minute=60, burst=2)


def test_a_burst_runs_at_once_and_the_next_call_waits_its_part_of_a_minute():
    bucket, first = admit(None, 10.0, TWO)
    bucket, second = admit(bucket, 10.0, TWO)
    bucket, third = admit(bucket, 10.0, TWO)
    assert (first, second, third) == (0.0, 0.0, 1.0)
    assert admit(bucket, 11.0, TWO)[1] == 0.0


def test_a_clock_that_goes_back_fills_nothing():
    assert admit(Bucket(0.0, 100.0), 1.0, TWO) == (Bucket(0.0, 1.0), 1.0)


@given(
    rate=st.builds(Rate, per_minute=st.integers(1, 600), burst=st.integers(1, 20)),
    gaps=st.lists(st.floats(0, 5), max_size=200),
)
def test_no_stretch_of_time_sees_more_than_the_burst_and_what_was_earned(
    rate: Rate, gaps: list[float]
):
    now, bucket, let = 0.0, None, 0
    for gap in gaps:
        now += gap
        bucket, wait_s = admit(bucket, now, rate)
        let += wait_s == 0
    assert let <= rate.burst + now * rate.per_minute / 60 + 1e-6


@given(st.floats(0, 0.99), st.integers(1, 600))
def test_whoever_waits_as_told_is_let_through(tokens: float, per_minute: int):
    rate = Rate(per_minute=per_minute, burst=1)
    bucket, wait_s = admit(Bucket(tokens, 0.0), 0.0, rate)
    assert admit(bucket, wait_s + 1e-6, rate)[1] == 0.0


def test_a_call_that_one_rate_holds_back_takes_nothing_from_the_others():
    rates, both = Rates(), dict[Hashable, Rate]({"agent": Rate(60, 1), "session": Rate(60, 2)})
    assert rates.admit(both, 0.0) == 0.0
    assert rates.admit(both, 0.0) == 1.0
    session: Mapping[Hashable, Rate] = {"session": Rate(60, 2)}
    assert rates.admit(session, 0.0) == 0.0
    assert rates.admit(session, 0.0) == 1.0


def test_without_a_rate_nobody_waits():
    assert Rates().admit({}, 0.0) == 0.0


def test_the_reason_says_when_to_come_again():
    assert rate_reason("grep", 1.2) == ("rate_limited: grep is called too often; try again in 2 s")
