"""Pictures: nothing overlaps, text stays in its box, hostile text stays text."""

import re
from itertools import combinations
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.trace import TraceArtifact, TraceNode
from brainpilot_rt.trace.drawing import Arrow, Box, Drawing, dot, mermaid, of_causes, of_steps
from brainpilot_rt.trace.graph import place, relate
from brainpilot_rt.trace.layout import ROW_MAX, lay_out
from brainpilot_rt.trace.picture import TEXT_MAX, fitted, measured, svg
from tests.unit.trace.history import History, causes_of

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '</text><script>alert("x")</script>&\x00\x1b]] "--> 结论 \ud800'


def steps(*titles: str) -> list[TraceNode]:
    nodes: list[TraceNode] = []
    for number, title in enumerate(titles):
        node = TraceNode(id=f"n{number}", title=title, created_at="t", updated_at="t")
        nodes.append(place(nodes, node, None))
    return nodes


def long_session(runs: int) -> History:
    log = History()
    for number in range(runs):
        name = f"agent-{number % 7}"
        log.letter(f"l{number}", "user" if number == 0 else f"agent-{(number - 1) % 7}", name)
        log.run(f"r{number}", name, f"l{number}")
        for turn in range(4):
            log.turn(f"r{number}", name)
            log.call(f"r{number}", name, f"call_{number}_{turn}", "read", path=f"f{turn}.md")
    return log


@st.composite
def forward_arrows(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    count = draw(st.integers(1, 25))
    ends = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    pairs = draw(st.lists(ends, max_size=40))
    return count, sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})


@given(forward_arrows())
def test_boxes_do_not_overlap_and_arrows_lead_down(drawn: tuple[int, list[tuple[int, int]]]):
    count, arrows = drawn
    sizes = [(80.0 + 13 * (one % 7), 30.0 + 9 * (one % 3)) for one in range(count)]
    layout = lay_out(sizes, arrows)
    assert lay_out(sizes, arrows) == layout
    for (one, (x0, y0)), (other, (x1, y1)) in combinations(enumerate(layout.centres), 2):
        apart_x = abs(x0 - x1) >= (sizes[one][0] + sizes[other][0]) / 2
        apart_y = abs(y0 - y1) >= (sizes[one][1] + sizes[other][1]) / 2
        assert apart_x or apart_y
    for source, target in arrows:
        assert layout.centres[source][1] < layout.centres[target][1]
    for (x, y), (width, height) in zip(layout.centres, sizes, strict=True):
        assert width / 2 - 0.01 <= x <= layout.width - width / 2 + 0.01
        assert height / 2 <= y <= layout.height - height / 2 + 0.01
    rows = [y for _, y in layout.centres]
    assert max(rows.count(y) for y in rows) <= ROW_MAX


@given(st.text(max_size=200))
def test_a_text_is_cut_to_its_room(text: str):
    shown = fitted(text, 120)
    assert measured(shown) <= 120
    assert shown == " ".join(text.split()) or shown.endswith("…")


def test_a_picture_of_hostile_text_is_still_only_a_picture():
    nodes = steps(HOSTILE, "B")
    nodes[1] = relate(nodes, "n0", "n1", HOSTILE)
    drawing = of_steps(nodes, HOSTILE)
    root = ET.fromstring(svg(drawing))
    assert {one.tag.removeprefix(SVG) for one in root.iter()} == {
        *("svg", "title", "style", "defs", "marker", "path", "rect", "text", "g")
    }
    assert "alert" in "".join(root.itertext())
    assert svg(drawing) == svg(of_steps(nodes, HOSTILE))


def test_a_picture_names_its_kinds_and_tells_long_labels_in_full():
    title = "A very long title that no box of this picture has the room to show in full at all"
    node = TraceNode(id="a", title=title, type="finding", created_at="t", updated_at="t")
    files = (TraceArtifact(path="out/a.csv"), TraceArtifact(path="out/b.csv"))
    root = ET.fromstring(svg(of_steps([node.model_copy(update={"artifacts": files})], "s")))
    texts = [one.text or "" for one in root.iter(f"{SVG}text")]
    assert {"s", "finding", "finding, pending", "out/a.csv", "out/b.csv"} <= set(texts)
    [cut] = [one for one in texts if one.endswith("…")]
    assert measured(cut) <= TEXT_MAX
    assert title in [one.text for one in root.iter(f"{SVG}title")]


def test_few_things_are_drawn_turn_by_turn_and_many_run_by_run():
    few, many = long_session(2).log, long_session(30).log
    for log, kinds in ((few, {"turn", "call"}), (many, {"run"})):
        graph = causes_of(log)
        drawing = of_causes(graph, list(graph.nodes.values()), "s", full=None)
        drawn = {box.kind for box in drawing.boxes}
        assert kinds <= drawn
        assert (len(drawing.boxes) < len(graph.nodes)) == ("turn" not in drawn)
        ET.fromstring(svg(drawing))
    graph = causes_of(many)
    run = next(
        box
        for box in of_causes(graph, list(graph.nodes.values()), "s", full=False).boxes
        if box.kind == "run"
    )
    assert run.lines == ("4 turns: read x4", "20 tokens, $2.0000")


def test_who_waits_is_written_under_the_causes():
    log = History()
    log.letter("l1", "user", "a")
    opened = {"letter_id": "l1", "title": "look"}
    log.add("task_opened", task_id="t1", creator="a", assignee="b", **opened)
    log.add("task_opened", task_id="t2", creator="b", assignee="a", **opened)
    graph = causes_of(log.log)
    drawing = of_causes(graph, list(graph.nodes.values()), "s", full=None)
    assert drawing.notes == ("a waits for b: look", "b waits for a: look", "in a circle: a, b")
    assert "in a circle: a, b" in svg(drawing)


def test_the_textual_forms_name_every_box_and_quote_what_could_break_them():
    drawing = Drawing(
        "s",
        (Box("a", "letter", 'say "x" \\ ] }', ("two\nlines",)), Box("b", "file", "<b>")),
        (Arrow("a", "b", 'te"ll'),),
    )
    assert dot(drawing).splitlines()[2:5] == [
        '  n1 [label="say \\"x\\" \\\\ ] }\\ntwo lines", shape=note];',
        '  n2 [label="<b>", shape=folder];',
        '  n1 -> n2 [label="te\\"ll"];',
    ]
    lines = mermaid(drawing).splitlines()
    assert lines[2:] == ['  n2["#60;b#62;"]', "  n1 -->|te ll| n2"]
    assert re.fullmatch(r'  n1\["[^"\[\]{}<>\\]*<br/>two lines"\]', lines[1])


def test_nothing_at_all_is_a_picture_too():
    assert ET.fromstring(svg(Drawing("s", (), ()))).tag == f"{SVG}svg"
