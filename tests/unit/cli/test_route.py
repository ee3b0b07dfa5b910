"""The tables of `route`: each model once, each policy beside what was, and a word of caution."""

from typing import Any

from brainpilot_rt.cli.route import THIN, replay_lines, status_lines


def estimate(**more: Any) -> dict[str, Any]:
    return {
        "policy": "uniform",
        "turns": 1200,
        "effective": 310.4,
        "loggedReward": 0.71,
        "reward": 0.55,
        "interval": [0.5, 0.6],
        "loggedUsd": 0.002,
        "usd": 0.0005,
    } | more


def test_a_class_is_named_once_and_what_nobody_measured_is_a_dash():
    tried = {"provider": "p", "model": "good", "samples": 12, "mean_reward": 0.8123}
    models = [tried | {"avg_latency_ms": 1500.0}, {"provider": "p", "model": "new", "samples": 0}]
    _, first, second = status_lines({"rankings": [{"task_type": "chat", "models": models}]})
    assert first.split() == ["chat", "p:good", "12", "0.812", "1.50"]
    assert second.split() == ["p:new", "0", "-", "-"]


def test_policies_stand_beside_what_was_logged():
    _, logged, uniform = replay_lines({"estimates": [estimate()]})
    assert logged.split() == ["as", "it", "was", "1,200", "1,200", "0.710", "0.002000"]
    assert " ".join(uniform.split()) == "uniform 1,200 310.4 0.550 0.500 to 0.600 0.000500"
    assert max(map(len, (logged, uniform))) <= 80


def test_an_estimate_on_few_turns_comes_with_a_warning():
    lines = list(replay_lines({"estimates": [estimate(effective=THIN - 1.0)]}))
    assert "Do not trust" in lines[-1]


def test_without_a_drawn_turn_there_is_no_figure():
    nothing = dict.fromkeys(("loggedReward", "reward", "interval", "loggedUsd", "usd"))
    *_, last = replay_lines({"estimates": [estimate(turns=0, effective=100.0, **nothing)]})
    assert last.split() == ["uniform", "0", "100.0", "-", "-"]
