from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.models.bandit import Known, Tally
from brainpilot_rt.models.routing import (
    EVEN_SHARE,
    THOMPSON_FROM,
    Arm,
    Choice,
    Held,
    NoModelLeft,
    Turn,
    choose,
    switch_price,
)


def ref(name: str) -> ModelRef:
    return ModelRef(provider="p", model=name)


def knowing(**arms: Known) -> dict[ModelRef, Known]:
    return {ref(name): known for name, known in arms.items()}


A, B, C = map(ref, "abc")
FEW = knowing(
    a=Known(Tally(30, 0.8, 0.3)), b=Known(Tally(30, 0.6, 0.3)), c=Known(Tally(30, 0.4, 0.3))
)
MANY = knowing(
    a=Known(Tally(300, 0.8, 3)), b=Known(Tally(300, 0.7, 3)), c=Known(Tally(300, 0.4, 3))
)


def turn(models: Sequence[ModelRef] = (A, B, C)) -> Turn:
    return Turn(task_class="chat", arms=[Arm(model=model) for model in models])


def without(start: Turn, model: ModelRef, why: str) -> Turn:
    arms = [replace(arm, excluded=why) if arm.model == model else arm for arm in start.arms]
    return replace(start, arms=arms)


def loop(model: ModelRef) -> Held:
    return Held(model=model, task_class="plan", in_loop=True, cached_share=0.9)


def often(start: Turn, known: dict[ModelRef, Known], times: int = 300) -> list[Choice]:
    rng = Random(11)
    return [choose(start, known, rng) for _ in range(times)]


def shares(choices: list[Choice]) -> dict[str, float]:
    counts = Counter(one.model.model for one in choices)
    return {name: counts[name] / len(choices) for name in "abc"}


def reasons(choice: Choice) -> dict[str, str]:
    return {one.model.model: one.excluded for one in choice.candidates}


def test_a_pinned_model_is_chosen_whatever_the_others_gave() -> None:
    chosen = choose(replace(turn(), pinned=C), MANY, Random(1))
    assert (chosen.model, chosen.phase, chosen.propensity) == (C, "pinned", None)


@pytest.mark.parametrize(
    "start",
    [
        without(replace(turn(), pinned=C), C, "its circuit is open"),
        replace(turn(), pinned=C, failed=[C]),
    ],
)
def test_a_pinned_model_that_cannot_be_asked_is_an_error_and_not_another_model(start: Turn) -> None:
    with pytest.raises(NoModelLeft, match="p:c"):
        choose(start, MANY, Random(1))


def test_nothing_to_choose_from_says_why_model_by_model() -> None:
    start = without(replace(turn([A, B]), failed=[B]), A, "its budget is used up")
    with pytest.raises(NoModelLeft, match=r"p:a: its budget is used up; p:b: it failed"):
        choose(start, MANY, Random(1))
    with pytest.raises(NoModelLeft, match="none is configured"):
        choose(turn([]), {}, Random(1))


def test_one_candidate_is_chosen_without_dice() -> None:
    chosen = choose(without(turn([A, B]), A, "denied"), {}, Random(1))
    assert (chosen.model, chosen.phase, chosen.propensity) == (B, "only", None)
    assert reasons(chosen)["a"] == "denied"


def test_an_arm_nobody_tried_comes_first_each_as_likely() -> None:
    found = often(turn(), knowing(a=MANY[A]))
    assert {one.phase for one in found} == {"unsampled"}
    even = EVEN_SHARE / 3
    assert {one.propensity for one in found if one.model != A} == {even + (1 - EVEN_SHARE) / 2}
    assert shares(found)["b"] == pytest.approx(0.5, abs=0.1)
    assert found[0].reason == "exploration: unsampled arm"


def test_ucb1_decides_until_the_window_has_enough_samples() -> None:
    found = often(turn(), FEW)
    assert {one.phase for one in found} == {"ucb1"}
    usual = [one for one in found if one.model == A and one.reason == "highest reward"]
    assert len(usual) > 280
    assert usual[0].propensity == pytest.approx(1 - EVEN_SHARE + EVEN_SHARE / 3)
    evenly = [one for one in found if one.model != A]
    assert {one.reason for one in evenly} == {"exploration: drawn evenly"}
    assert {one.propensity for one in evenly} == {EVEN_SHARE / 3}


def test_thompson_decides_after_that_and_says_what_it_drew() -> None:
    assert sum(one.samples for one in MANY.values()) >= THOMPSON_FROM
    chosen = choose(turn(), MANY, Random(3))
    assert chosen.phase == "thompson"
    score = next(one.score for one in chosen.candidates if one.model == chosen.model)
    assert chosen.reason == f"thompson sample {score:.2f}"


def test_the_logged_propensity_weighs_rewards_right() -> None:
    close = knowing(
        a=Known(Tally(300, 0.50, 60)), b=Known(Tally(300, 0.48, 60)), c=Known(Tally(9, 0.4, 1))
    )
    found = often(turn(), close, 3_000)
    for model in (A, B, C):
        weights = [1 / (one.propensity or 0) for one in found if one.model == model]
        assert sum(weights) / len(found) == pytest.approx(1, abs=0.1)


def test_an_arm_below_a_floor_is_dropped_and_the_log_says_so() -> None:
    poor = MANY | knowing(a=replace(MANY[A], validity=0.4), b=replace(MANY[B], quality=0.2))
    chosen = choose(turn(), poor, Random(1))
    assert (chosen.model, chosen.phase) == (C, "only")
    assert reasons(chosen) == {
        "a": "validity 0.40 is below 0.5",
        "b": "quality 0.20 is below 0.3",
        "c": "",
    }


def test_validity_counts_from_ten_samples_on() -> None:
    young = FEW | knowing(a=Known(Tally(9, 0.8, 0.1), validity=0.1))
    assert choose(turn(), young, Random(1)).model == A


def test_floors_that_would_drop_everybody_drop_nobody() -> None:
    poor = {model: replace(known, quality=0.1) for model, known in MANY.items()}
    chosen = choose(turn(), poor, Random(1))
    assert set(reasons(chosen).values()) == {""}


def test_inside_a_tool_loop_the_model_stays() -> None:
    found = often(replace(turn(), held=loop(C)), MANY, 50)
    assert {(one.model, one.phase, one.propensity) for one in found} == {(C, "held", None)}
    assert found[0].task_class == "plan"


@pytest.mark.parametrize(
    ("start", "known", "why"),
    [
        (without(turn(), C, "its circuit is open"), MANY, "its circuit is open"),
        (replace(turn(), failed=[C]), MANY, "it failed in this turn"),
        (turn(), MANY | knowing(c=replace(MANY[C], quality=0.1)), "quality 0.10 is below 0.3"),
        (turn([A, B]), MANY, "it is no longer offered"),
    ],
)
def test_a_loop_changes_its_model_with_a_cause_and_names_it(
    start: Turn, known: dict[ModelRef, Known], why: str
) -> None:
    chosen = choose(replace(start, held=loop(C)), known, Random(1))
    assert chosen.model != C
    assert chosen.reason.endswith(f"p:c could not go on: {why}")


def test_after_a_failure_the_next_best_is_asked_until_none_is_left() -> None:
    start = turn()
    asked: list[ModelRef] = []
    for _ in range(3):
        chosen = choose(replace(start, failed=asked), MANY, Random(5))
        assert chosen.instead_of == (asked[-1] if asked else None)
        assert (chosen.phase == "fallback") is bool(asked)
        asked.append(chosen.model)
    assert asked == [A, B, C]
    with pytest.raises(NoModelLeft):
        choose(replace(start, failed=asked), MANY, Random(5))


def test_a_small_gain_is_not_worth_the_prompt_cache() -> None:
    arms = [
        Arm(model=model, warm_usd=Decimal("0.01"), cold_usd=Decimal("0.04")) for model in (A, B, C)
    ]
    held = Held(model=B, task_class="chat", in_loop=False, cached_share=0.9)
    start = Turn(task_class="chat", arms=arms, held=held)
    stays = often(start, MANY)
    assert shares(stays)["b"] > 0.95
    assert stays[0].switch_cost_usd == Decimal("0.03")
    assert shares(often(replace(start, held=replace(held, cached_share=0.0)), MANY))["a"] > 0.9
    goes = often(replace(start, held=replace(held, model=C)), MANY)
    assert shares(goes)["a"] > 0.9


def test_a_new_model_is_not_tried_at_the_price_of_a_cache_it_can_hardly_win_back() -> None:
    held = Held(model=A, task_class="chat", in_loop=False, cached_share=1.0)
    arms = [Arm(model=model, warm_usd=Decimal(1), cold_usd=Decimal(10)) for model in (A, B, C)]
    start = Turn(task_class="chat", arms=arms, held=held)
    known = knowing(a=MANY[A], b=MANY[B])
    chosen = choose(start, known, Random(1))
    assert chosen.phase == "thompson"
    assert reasons(chosen)["c"] == "not worth the prompt cache it would cost"
    assert choose(replace(start, held=None), known, Random(1)).phase == "unsampled"


def test_where_the_price_is_not_known_the_tokens_say_what_a_cache_is_worth() -> None:
    held = Held(model=B, task_class="chat", in_loop=False, cached_share=0.5)
    unknown = switch_price(Arm(model=A), held)
    free = switch_price(Arm(model=A, warm_usd=Decimal(0), cold_usd=Decimal(0)), held)
    assert unknown == free > 0
    assert switch_price(Arm(model=B), held) == 0
    assert switch_price(Arm(model=A), None) == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.floats(0, 1), st.floats(0, 1), st.booleans()),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 7),
    st.integers(0, 2**32),
)
def test_what_is_chosen_could_be_chosen(
    arms: list[tuple[int, float, float, bool]], held: int, seed: int
) -> None:
    models = [ref(str(at)) for at in range(len(arms))]
    known = {
        model: Known(Tally(samples, mean, samples * 0.01), quality=quality)
        for model, (samples, mean, quality, _) in zip(models, arms, strict=True)
    }
    start = Turn(
        task_class="chat",
        arms=[
            Arm(model=model, excluded="out" if out else "")
            for model, (_, _, _, out) in zip(models, arms, strict=True)
        ],
        held=loop(ref(str(held))),
    )
    if all(out for *_, out in arms):
        with pytest.raises(NoModelLeft):
            choose(start, known, Random(seed))
        return
    chosen = choose(start, known, Random(seed))
    assert reasons(chosen)[chosen.model.model] == ""
    assert chosen.propensity is None or EVEN_SHARE / len(arms) <= chosen.propensity <= 1 + 1e-9
    assert choose(start, known, Random(seed)) == chosen
