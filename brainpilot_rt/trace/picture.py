"""A drawing as SVG: no script, no font of its own, nothing loaded, readable in light and dark.

Text is measured with a table of letter widths that errs on the wide side, cut to its box and told
in full when one points at it. Equal drawings give equal bytes.
"""

import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Final
from xml.sax.saxutils import escape

from brainpilot_rt.trace.drawing import Box, Drawing
from brainpilot_rt.trace.layout import lay_out

MEDIA_TYPE: Final = "image/svg+xml"
TEXT_MAX: Final = 240.0
"""Pixels of text in a box."""
_TEXT_MIN: Final = 96.0
_PAD: Final = 10.0
_MARGIN: Final = 24.0
_LINE: Final = 16.0
_SIZE: Final = 12.0
_LABEL_HEIGHT: Final = 11.0
_HINT_CHARS_MAX: Final = 1_500
_BOLD: Final = 1.15
"""Bold letters are wider."""

_HUES: Final = {
    "letter": 215,
    "run": 38,
    "turn": 45,
    "aside": 50,
    "call": 190,
    "question": 350,
    "intent": 280,
    "plan": 280,
    "retrieval": 175,
    "memory": 300,
    "finding": 325,
    "task": 215,
    "decision": 265,
    "artifact": 140,
    "citation": 255,
    "file": 140,
    "gap": 5,
    "step": 20,
    "answer": 100,
}
_OTHER_HUES: Final = (215, 38, 140, 280, 5, 190, 330, 100, 255, 60)

_NARROW: Final = frozenset("iljtfrI.,:;'|!()[] -/")
_WIDE: Final = frozenset("mwMW@%—…")

_STYLE: Final = """
svg{color-scheme:light dark;--paper:#fff;--ink:#1c2430;--soft:#5a6675;--edge:#8a96a5;
--l:93%;--b:62%}
@media(prefers-color-scheme:dark){
svg{--paper:#14181f;--ink:#e8ecf2;--soft:#a5b0be;--edge:#6f7c8c;--l:21%;--b:48%}}
.paper{fill:var(--paper)}
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
fill:var(--ink)}
text.t{font-weight:600}text.s{fill:var(--soft)}text.name{font-size:15px;font-weight:600}
path.a{fill:none;stroke:var(--edge);stroke-width:1.3}#tip{fill:var(--edge)}
text.l{font-size:10px;fill:var(--soft);text-anchor:middle;stroke:var(--paper);stroke-width:3px;
paint-order:stroke}
rect.b{stroke-width:1.2}
""".strip()
_WIDTH_MIN: Final = 480.0


def svg(drawing: Drawing) -> str:
    """The picture."""
    kinds = list(dict.fromkeys(box.kind for box in drawing.boxes))
    sizes = [_size(box) for box in drawing.boxes]
    at = {box.id: number for number, box in enumerate(drawing.boxes)}
    arrows = [(at[one.source], at[one.target]) for one in drawing.arrows]
    layout = lay_out(sizes, arrows)
    inner = max(layout.width, _WIDTH_MIN)
    legend, head = _legend(kinds, inner)
    below = head + layout.height + _MARGIN
    width, height = inner + 2 * _MARGIN, below + _MARGIN + _LINE * len(drawing.notes)
    routes = [
        _anchored(route, sizes[source][1], sizes[target][1])
        for route, (source, target) in zip(layout.routes, arrows, strict=True)
    ]
    parts = [
        *_opening(drawing.name, kinds, width, height),
        *legend,
        f'<g transform="translate({(width - layout.width) / 2:.1f} {head:.1f})">',
        *(_arrow(one.label, way) for one, way in zip(drawing.arrows, routes, strict=True)),
    ]
    for box, size, centre in zip(drawing.boxes, sizes, layout.centres, strict=True):
        parts += _box(box, size, centre, kinds.index(box.kind))
    parts += [*_labels(drawing, routes), "</g>"]
    for number, note in enumerate(drawing.notes, 1):
        parts.append(_text("s", _MARGIN, below + _LINE * number, fitted(note, inner)))
    return "\n".join([*parts, "</svg>", ""])


# --- text ------------------------------------------------------------------------------------


def measured(text: str) -> float:
    """Pixels a line takes at most, at 12 px."""
    return sum(_advance(one) for one in text)


def _advance(one: str) -> float:
    if one in _NARROW:
        share = 0.4
    elif one in _WIDE:
        share = 0.98
    elif unicodedata.east_asian_width(one) in "WF":
        share = 1.02
    elif unicodedata.combining(one):
        share = 0.0
    elif one.isupper() or not one.isascii():
        share = 0.76
    else:
        share = 0.63
    return share * _SIZE


def fitted(text: str, width: float) -> str:
    """The text as one line, cut with an ellipsis to fit."""
    line = " ".join(text.split())
    if measured(line) <= width:
        return line
    room = width - _advance("…")
    for place, one in enumerate(line):
        room -= _advance(one)
        if room < 0:
            return line[:place].rstrip() + "…"
    return line


def _safe(text: str) -> str:
    """As the text of an element; what XML can not hold is left out."""
    return escape("".join(one for one in text if one in "\n\t" or _holds(one)))


def _holds(one: str) -> bool:
    return one >= " " and not "\ud800" <= one <= "\udfff" and one not in "\x7f\ufffe\uffff"


# --- parts -----------------------------------------------------------------------------------


def _size(box: Box) -> tuple[float, float]:
    widest = max(measured(" ".join(one.split())) * _BOLD for one in (box.title, *box.lines))
    width = min(max(widest, _TEXT_MIN), TEXT_MAX) + 2 * _PAD
    return width + 1, _PAD * 1.4 + _LINE * (1 + len(box.lines))


def _opening(name: str, kinds: Sequence[str], width: float, height: float) -> list[str]:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    tip = (
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z"/></marker>'
    )
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{_safe(name)}</title>",
        f"<style>{_STYLE}{_colours(kinds)}</style>",
        f"<defs>{tip}</defs>",
        '<rect class="paper" width="100%" height="100%"/>',
        _text("name", _MARGIN, _MARGIN + 8, fitted(name, (width - 2 * _MARGIN) * 0.75)),
    ]


def _text(style: str, x: float, y: float, text: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{_safe(text)}</text>'


def _box(box: Box, size: tuple[float, float], centre: tuple[float, float], kind: int) -> list[str]:
    (width, height), (x, y) = size, (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    hint = box.hint or "\n".join((box.title, *box.lines))
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    parts = [
        f"<g><title>{_safe(hint[:_HINT_CHARS_MAX])}</title>",
        f'<rect class="b k{kind}" {place} rx="6"/>',
    ]
    for number, text in enumerate((box.title, *box.lines)):
        bold = 1.0 if number else _BOLD
        shown = fitted(text, (width - 2 * _PAD) / bold)
        parts.append(
            _text(
                "s" if number else "t", x + _PAD, y + _PAD * 0.7 + _LINE * (number + 1) - 4, shown
            )
        )
    return [*parts, "</g>"]


def _legend(kinds: Sequence[str], width: float) -> tuple[list[str], float]:
    """Swatches with the names of the kinds, in lines; and where the drawing may begin."""
    x, y = _MARGIN, _MARGIN + 24
    parts: list[str] = []
    for number, kind in enumerate(kinds):
        name = fitted(kind, 120)
        step = measured(name) + 34
        if x + step > width and x > _MARGIN:
            x, y = _MARGIN, y + 20
        place = f'x="{x:.0f}" y="{y:.0f}" width="12" height="12"'
        parts.append(f'<rect class="b k{number}" {place} rx="3"/>')
        parts.append(_text("s", x + 17, y + 10, name))
        x += step
    return parts, y + 36


def _colours(kinds: Sequence[str]) -> str:
    rules: list[str] = []
    for number, kind in enumerate(kinds):
        hue = _HUES.get(kind, _OTHER_HUES[number % len(_OTHER_HUES)])
        fill, line = f"hsl({hue} 70% var(--l))", f"hsl({hue} 45% var(--b))"
        rules.append(f".k{number}{{fill:{fill};stroke:{line}}}")
    return "".join(rules)


def _anchored(
    route: Sequence[tuple[float, float]], source_height: float, target_height: float
) -> list[tuple[float, float]]:
    """The route from the lower edge of its source to the upper edge of its target."""
    (x0, y0), (x1, y1) = route[0], route[-1]
    return [(x0, y0 + source_height / 2), *route[1:-1], (x1, y1 - target_height / 2)]


def _arrow(label: str, points: Sequence[tuple[float, float]]) -> str:
    """A smooth line through the points that leaves and arrives straight down."""
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        path.append(f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}")
    line = f'<path class="a" marker-end="url(#tip)" d="{"".join(path)}">'
    return f"{line}<title>{_safe(label)}</title></path>"


def _labels(drawing: Drawing, routes: Sequence[Sequence[tuple[float, float]]]) -> list[str]:
    """What arrows mean, near their targets, where those of one source have parted.

    Once for each target, and only where there is room; the others are told by their arrows.
    """
    parts: list[str] = []
    said: set[tuple[str, str]] = set()
    taken: list[tuple[float, float, float]] = []
    for arrow, route in zip(drawing.arrows, routes, strict=True):
        if not arrow.label or (arrow.target, arrow.label) in said:
            continue
        text = fitted(arrow.label, 90)
        (x0, y0), (x1, y1) = route[-2], route[-1]
        x, y, half = x0 + (x1 - x0) * 0.72, y0 + (y1 - y0) * 0.66 + 3, measured(text) * 0.42 + 3
        if all(abs(y - v) > _LABEL_HEIGHT or abs(x - u) > half + w for u, v, w in taken):
            said.add((arrow.target, arrow.label))
            taken.append((x, y, half))
            parts.append(_text("l", x, y, text))
    return parts
