"""The report of the proof: what was run again stands in it, and says so."""

from proof.report import Header, Ran, as_json, render, with_kept
from proof.stage import Number, Outcome, Stage


def stage(name: str) -> Stage:
    return Stage(name, f"About {name}", lambda _: Outcome())


def header(commit: str, seed: int = 1) -> Header:
    return Header(commit, seed, "nightly", 1.0, "2026-01-01 00:00 UTC", 60.0, "scripts/prove", {})


KILLS, POWER = stage("kills"), stage("power")


def test_a_stage_that_was_run_again_takes_its_place_and_says_what_it_had_found():
    first = [
        Ran(KILLS, Outcome(numbers=[Number("kills", "0", "0 of 9")]), 1.0),
        Ran(POWER, Outcome(failures=["a lost letter"]), 2.0),
    ]
    figures = as_json(header("aaaa"), first)
    again = [Ran(POWER, Outcome(numbers=[Number("power", "0", "0 of 7")]), 3.0)]
    stages = {one.name: one for one in (KILLS, POWER)}
    top, ran = with_kept(figures, again, header("bbbb"), stages)
    text = render(top, ran, {})
    assert "| commit | `aaaa` |" in text
    assert "0 of 9" in text
    assert "0 of 7" in text
    assert "Run again after the others, on `bbbb`" in text
    assert "a lost letter" in text
    assert "Every promise held." in text
    assert with_kept(as_json(top, ran), [], header("cccc"), stages) == (top, ran)


def test_a_run_with_another_seed_stands_beside_the_first():
    figures = as_json(header("aaaa"), [Ran(KILLS, Outcome(text="nine"), 1.0)])
    more = [Ran(KILLS, Outcome(text="seven"), 2.0)]
    top, ran = with_kept(figures, more, header("bbbb", seed=2), {"kills": KILLS})
    text = render(top, ran, {})
    assert "nine" in text
    assert "seven" in text
    assert "Stage `kills with seed 2`: held, 2 s. Run once more with seed 2, on `bbbb`" in text
    assert as_json(*with_kept(as_json(top, ran), [], header("cccc"), {"kills": KILLS})) == as_json(
        top, ran
    )
