import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, timedelta

from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.aiokit.sources import ULID_PATTERN, SystemClock, UlidSource, encode_ulid
from brainpilot_rt.testing.sources import START, ManualClock, SequentialIds


def test_identifiers_are_lower_case_crockford_ulids() -> None:
    new_id = UlidSource(SystemClock())
    assert all(re.fullmatch(ULID_PATTERN, new_id()) for _ in range(1000))


def test_identifiers_of_one_millisecond_are_increasing() -> None:
    new_id = UlidSource(ManualClock())
    made = [new_id() for _ in range(1000)]
    assert made == sorted(set(made))


def test_identifiers_keep_increasing_when_the_wall_clock_steps_back() -> None:
    clock = ManualClock()
    new_id = UlidSource(clock)
    before = new_id()
    clock.step_wall_clock(-3600)
    assert new_id() > before


def test_an_identifier_begins_with_its_millisecond() -> None:
    clock = ManualClock()
    first = UlidSource(clock)()
    assert first[:10] == encode_ulid(clock.now_ms() << 80)[:10]


def test_identifiers_made_on_many_threads_are_distinct() -> None:
    new_id = UlidSource(ManualClock())

    def batch_of(size: int) -> list[str]:
        return [new_id() for _ in range(size)]

    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(batch_of, [200] * 8))
    made = [one for batch in batches for one in batch]
    assert len(set(made)) == len(made)
    assert all(batch == sorted(batch) for batch in batches)


@given(
    st.integers(min_value=0, max_value=(1 << 128) - 1),
    st.integers(min_value=0, max_value=(1 << 128) - 1),
)
def test_text_order_is_number_order(left: int, right: int) -> None:
    assert (encode_ulid(left) < encode_ulid(right)) == (left < right)


def test_the_system_clock_speaks_utc_and_its_two_wall_clocks_agree() -> None:
    clock = SystemClock()
    before, now, after = clock.now_ms(), clock.now(), clock.now_ms()
    assert now.tzinfo is UTC
    assert before <= now.timestamp() * 1000 <= after + 1
    assert clock.monotonic() <= clock.monotonic()


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock()
    assert (clock.now(), clock.monotonic()) == (START, 0.0)
    clock.advance(1.5)
    assert (clock.now(), clock.monotonic()) == (START + timedelta(seconds=1.5), 1.5)
    clock.step_wall_clock(-10)
    assert (clock.now(), clock.monotonic()) == (START - timedelta(seconds=8.5), 1.5)


def test_sequential_identifiers_can_be_named_beforehand() -> None:
    new_id = SequentialIds()
    assert [new_id(), new_id()] == [SequentialIds.nth(1), SequentialIds.nth(2)]
    assert re.fullmatch(ULID_PATTERN, SequentialIds.nth(2))
