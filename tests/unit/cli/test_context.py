"""What a person sees of a context."""

from typing import Any

from brainpilot_rt.cli.context import context_lines, diff_lines, turn_lines


def part(name: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "tokens": 100, "budget": None, "items": 1, "leftOut": 0}
    return made | {"why": "", "digest": name, "text": f"text of {name}"} | more


def context(*sections: dict[str, Any], n: int = 2) -> dict[str, Any]:
    return {
        "n": n,
        "total": 3,
        "agent": "principal",
        "intent": "plan",
        "program": "plan_execute",
        "model": "offline:offline",
        "durationUs": 1_250,
        "at": "2026-01-02T03:04:05.000Z",
        "tokens": 1_300,
        "sections": list(sections),
    }


def test_a_context_is_a_table_with_what_was_left_out_and_why():
    lines = list(
        context_lines(
            context(
                part("persona"),
                part("memory", tokens=1_200, budget=1_200, items=4, leftOut=2, why="2 of 6"),
            )
        )
    )
    title = "turn 2 of 3 · principal · plan by plan_execute · offline:offline"
    assert lines == [
        f"{title}\n2026-01-02T03:04:05.000Z · assembled in 1.2 ms",
        "",
        "section             tokens               budget  items  left out",
        f"{'persona':<17} {100:>8}  {'':<10} {'':>8} {1:>6}",
        "memory               1,200  ██████████    1,200      4         2",
        "                  2 of 6",
        "together             1,300",
    ]


def test_texts_are_shown_when_asked_for_and_steer_no_terminal():
    lines = list(context_lines(context(part("soul", text="a\x1b[31mb")), text=True))
    assert lines[-2:] == ["--- soul ---", "a\\u001b[31mb"]


def test_a_difference_names_what_came_went_and_changed():
    before = context(part("soul"), part("memory", text="a\nb\nc"), part("skill"), n=1)
    after = context(
        part("soul"), part("memory", digest="new", text="a\nB\nc", items=2), part("working")
    )
    text = "\n".join(diff_lines(before, after))
    assert "since turn 1" in text
    assert "memory: 100 tokens, 1 items -> 100 tokens, 2 items" in text
    assert "\n  -b\n  +B\n" in text
    assert "working: none -> 100 tokens" in text
    assert "skill: 100 tokens, 1 items -> none" in text
    assert "soul" not in text
    assert list(diff_lines(after, after))[-1] == "nothing changed"


def test_turns_are_listed_one_on_a_line():
    [line] = turn_lines({"turns": [context() | {"costUsd": 0.5}]})
    assert "plan by plan_execute" in line
    assert line.endswith("1,300  $0.5000")
