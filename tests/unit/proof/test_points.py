"""The names of the failpoints: all are found in the source, and each belongs to a phase."""

import re
from pathlib import Path

import brainpilot_rt
from brainpilot_rt.aiokit import failpoints
from proof import points


def test_every_name_handed_to_hit_as_a_literal_is_a_declared_point() -> None:
    package = Path(brainpilot_rt.__file__).parent
    source = "\n".join(one.read_text() for one in package.rglob("*.py") if one.stem != "failpoints")
    names = re.findall(r"\bhit\(\"([^\"]+)\"\)", source)
    assert len(names) > 50
    assert set(names) <= points.declared()
    assert not re.findall(r"\bhit\(f\"", source)


def test_every_declared_point_has_a_phase_and_fits_into_a_trace(tmp_path: Path) -> None:
    failpoints.configure(f"*=trace:{tmp_path}/trace")
    try:
        for name in points.declared():
            points.phase_of(name)
            failpoints.hit(name)
    finally:
        failpoints.reset()
    assert points.reached(tmp_path / "trace").keys() == points.declared()


def test_every_phase_of_the_daemon_has_a_point() -> None:
    phases = {points.phase_of(name) for name in points.declared()}
    assert phases == {
        "write", "consume", "turn", "tool", "commit", "recovery", "checkpoint", "stop"
    }  # fmt: skip
