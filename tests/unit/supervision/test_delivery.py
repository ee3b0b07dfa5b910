"""Outcome in, verdict out."""

import pytest

from brainpilot_rt.supervision.delivery import Ack, Bury, Retry, Verdict, verdict


def judged(
    *, failed: bool = True, retryable: bool = True, after_s: float | None = None, attempt: int = 1
) -> Verdict:
    return verdict(
        failed=failed,
        retryable=retryable,
        retry_after_s=after_s,
        attempt=attempt,
        attempts_max=3,
        now_ms=1000,
    )


def test_a_run_that_completed_consumes_its_letters():
    assert judged(failed=False) == Ack()


def test_a_fault_that_will_not_pass_is_final():
    assert judged(retryable=False) == Bury()


def test_pauses_grow_and_attempts_are_counted():
    assert judged(attempt=1) == Retry(3000)
    assert judged(attempt=2) == Retry(9000)
    assert judged(attempt=3) == Bury()


@pytest.mark.parametrize(("wish_s", "at_ms"), [(0.5, 3000), (60, 61_000), (86_400, 301_000)])
def test_a_providers_wish_is_respected_within_bounds(wish_s: float, at_ms: int):
    assert judged(after_s=wish_s) == Retry(at_ms)
