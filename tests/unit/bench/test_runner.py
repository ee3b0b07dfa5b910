"""The bench compares arms of the same repetition, and says when a target is missed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import all_rows, as_json
from bench.runner import Meter, Place, Plan, Row, Sample, Target

ROOT = Path(__file__).parents[3]
HALF = Target("p50_us", "ours", 0.5, over="floor")


def fixed(*latencies: float, **extra: float):
    def arm(place: Place) -> Sample:
        assert list(place.folder.iterdir()) == []
        (place.folder / "left").touch()
        return Sample(list(latencies), seconds=sum(latencies), cpu_s=0.001, extra=extra)

    return arm


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(tmp_path, repetitions=3, quick=True, loop="asyncio")


def test_a_target_is_a_ratio_of_two_arms(plan: Plan):
    row = Row("X1", "x", {"floor": fixed(2e-6, 4e-6, 9e-6), "ours": fixed(1e-6, 2e-6)}, (HALF,))
    result = plan.measure(row)
    assert result.ratios[0].median == pytest.approx(1.5 / 4)
    assert result.missed() == []


def test_a_missed_target_is_told_and_slack_forgives_it(plan: Plan):
    result = plan.measure(Row("X1", "x", {"floor": fixed(4e-6), "ours": fixed(3e-6)}, (HALF,)))
    assert result.missed() == [HALF]
    assert result.missed(slack=2) == []
    assert as_json(result)["targets"][0]["met"] is False


def test_a_count_needs_no_floor_and_a_rate_must_reach_its_limit(plan: Plan):
    none_lost = Target("lost", "ours", 0)
    fast = Target("rate", "ours", 1000, at_least=True)
    arms = {"ours": fixed(1e-4, 1e-4, lost=1)}
    result = plan.measure(Row("X1", "x", arms, (none_lost, fast)))
    assert result.missed() == [none_lost]
    assert result.missed(slack=100) == [none_lost]


def test_every_arm_of_every_repetition_has_a_fresh_folder_and_nothing_is_deleted(
    plan: Plan, tmp_path: Path
):
    plan.measure(Row("X1", "x", {"floor": fixed(1.0), "ours": fixed(1.0)}))
    assert len(list(tmp_path.rglob("left"))) == 6


def test_a_meter_measures_only_what_is_under_it():
    meter = Meter()
    before = sum(range(200_000))
    with meter as sample:
        sample.latencies.append(1.0)
    assert before
    assert meter.sample.cpu_s < 1
    assert meter.sample.figures()["p50_us"] == pytest.approx(1e6)


def test_rows_have_ids_of_their_own_and_targets_that_name_their_arms():
    for row in all_rows().values():
        for target in row.targets:
            assert target.arm in row.arms
            assert target.over is None or target.over in row.arms


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_quick_run_prints_json_and_records_nothing(tmp_path: Path):
    record = ROOT / "bench" / "results.jsonl"
    before = record.read_bytes() if record.exists() else None
    command = [sys.executable, "-m", "bench", "--quick", "--json", "--repetitions", "1", "P14-log"]
    command += ["--dir", str(tmp_path)]
    report = json.loads(subprocess.check_output(command, cwd=ROOT))
    assert report["rows"][0]["row"] == "P14-log"
    assert set(report["rows"][0]["figures"]) == {"pages", "replay"}
    assert (record.read_bytes() if record.exists() else None) == before
    assert list(tmp_path.iterdir()) == []
