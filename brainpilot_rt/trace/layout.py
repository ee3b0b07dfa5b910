"""Where boxes and arrows go: a layered layout, top down, the same for the same drawing.

The usual three steps: rows (every arrow leads down; a row holds at most `ROW_MAX` boxes), order in
a row (mean position of the neighbours, swept up and down), and places (each box as near to the mean
of its neighbours as the order and the gaps allow, which is a least-squares problem with an exact
answer by pooling). An arrow over several rows gets a narrow slot in each row it passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

ROW_MAX: Final = 9
GAP_X: Final = 28.0
GAP_Y: Final = 46.0
_SLOT: Final = 8.0
_SLOT_GAP: Final = 10.0
_SWEEPS: Final = 10


@dataclass(frozen=True, slots=True)
class Layout:
    """Centres of the boxes, the points of each arrow from box to box, and the whole size."""

    centres: tuple[tuple[float, float], ...]
    routes: tuple[tuple[tuple[float, float], ...], ...]
    width: float
    height: float


@dataclass(slots=True)
class _Net:
    """Boxes and, behind them, the slots of long arrows; `paths` holds each arrow's members."""

    widths: list[float]
    rows: list[list[int]]
    row_of: list[int]
    above: list[list[int]]
    below: list[list[int]]
    paths: list[list[int]]


def lay_out(sizes: Sequence[tuple[float, float]], arrows: Sequence[tuple[int, int]]) -> Layout:
    """Lay out boxes of these (width, height); every arrow leads to a larger number."""
    if not sizes:
        return Layout((), (), 0.0, 0.0)
    net = _net([width for width, _ in sizes], arrows, _rows(len(sizes), arrows))
    _order(net)
    xs = _places(net)
    heights = [max(sizes[one][1] for one in row if one < len(sizes)) for row in net.rows]
    tops = [0.0]
    for height in heights:
        tops.append(tops[-1] + height + GAP_Y)
    left = min(x - width / 2 for x, width in zip(xs, net.widths, strict=True))
    right = max(x + width / 2 for x, width in zip(xs, net.widths, strict=True))
    points = [
        (x - left, tops[row] + heights[row] / 2) for x, row in zip(xs, net.row_of, strict=True)
    ]
    return Layout(
        tuple(points[: len(sizes)]),
        tuple(_route(path, points, (tops, heights), net.row_of) for path in net.paths),
        right - left,
        tops[-1] - GAP_Y,
    )


def _route(
    path: list[int],
    points: list[tuple[float, float]],
    rows: tuple[list[float], list[float]],
    row_of: list[int],
) -> tuple[tuple[float, float], ...]:
    """From box to box, straight down through the rows between."""
    tops, heights = rows
    route = [points[path[0]]]
    for one in path[1:-1]:
        x, top = points[one][0], tops[row_of[one]]
        route += [(x, top), (x, top + heights[row_of[one]])]
    return (*route, points[path[-1]])


def _rows(count: int, arrows: Sequence[tuple[int, int]]) -> list[int]:
    sources: list[list[int]] = [[] for _ in range(count)]
    for source, target in arrows:
        sources[target].append(source)
    rows: list[int] = []
    taken: dict[int, int] = {}
    for one in range(count):
        row = max((rows[source] + 1 for source in sources[one]), default=0)
        while taken.get(row, 0) >= ROW_MAX:
            row += 1
        rows.append(row)
        taken[row] = taken.get(row, 0) + 1
    return _sunk(rows, sources, arrows, taken)


def _sunk(
    rows: list[int],
    sources: list[list[int]],
    arrows: Sequence[tuple[int, int]],
    taken: dict[int, int],
) -> list[int]:
    """What has no cause moves down to just above its first effect; rows left empty vanish."""
    first: dict[int, int] = {}
    for source, target in arrows:
        first[source] = min(first.get(source, rows[target]), rows[target])
    for one, effect in first.items():
        row = effect - 1
        if not sources[one] and row > rows[one] and taken.get(row, 0) < ROW_MAX:
            taken[rows[one]] -= 1
            taken[row] = taken.get(row, 0) + 1
            rows[one] = row
    kept = {row: number for number, row in enumerate(sorted(set(rows)))}
    return [kept[row] for row in rows]


def _net(widths: list[float], arrows: Sequence[tuple[int, int]], row_of: list[int]) -> _Net:
    paths: list[list[int]] = []
    for source, target in arrows:
        path = [source]
        for row in range(row_of[source] + 1, row_of[target]):
            path.append(len(row_of))
            row_of.append(row)
            widths.append(_SLOT)
        paths.append([*path, target])
    rows: list[list[int]] = [[] for _ in range(max(row_of) + 1)]
    for one, row in enumerate(row_of):
        rows[row].append(one)
    above: list[list[int]] = [[] for _ in row_of]
    below: list[list[int]] = [[] for _ in row_of]
    for path in paths:
        for upper, lower in pairwise(path):
            above[lower].append(upper)
            below[upper].append(lower)
    return _Net(widths, rows, row_of, above, below, paths)


def _order(net: _Net) -> None:
    """Sort each row by the mean position of its neighbours, down and up again; keep the best."""
    best, fewest = [list(row) for row in net.rows], _crossings(net)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        near = net.above if down else net.below
        at = _positions(net)
        for row in net.rows if down else reversed(net.rows):
            means = {
                one: sum(at[other] for other in near[one]) / len(near[one])
                if near[one]
                else at[one]
                for one in row
            }
            row.sort(key=lambda one: (means[one], at[one]))
            for place, one in enumerate(row):
                at[one] = (place + 0.5) / len(row)
        crossings = _crossings(net)
        if crossings < fewest:
            best, fewest = [list(row) for row in net.rows], crossings
    net.rows = best


def _positions(net: _Net) -> dict[int, float]:
    return {one: (at + 0.5) / len(row) for row in net.rows for at, one in enumerate(row)}


def _crossings(net: _Net) -> int:
    """How many arrows cross between neighbouring rows."""
    at = {one: place for row in net.rows for place, one in enumerate(row)}
    total = 0
    for row in net.rows:
        ends = [sorted(at[other] for other in net.below[one]) for one in row]
        passed: list[int] = []
        for mine in ends:
            total += sum(1 for end in mine for other in passed if other > end)
            passed += mine
    return total


def _places(net: _Net) -> list[float]:
    xs = [0.0] * len(net.row_of)
    for row in net.rows:
        _spread(row, net.widths, xs, [xs[one] for one in row])
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in net.rows if down else reversed(net.rows):
            wanted: list[float] = []
            for one in row:
                near = (net.above if down else net.below)[one] or (
                    net.below if down else net.above
                )[one]
                wanted.append(sum(xs[other] for other in near) / len(near) if near else xs[one])
            _spread(row, net.widths, xs, wanted)
    return xs


def _spread(row: list[int], widths: list[float], xs: list[float], wanted: list[float]) -> None:
    """Set the places of a row: nearest to those wanted, in order, without touching."""
    offsets = [0.0]
    for left, right in pairwise(row):
        gap = GAP_X if min(widths[left], widths[right]) > _SLOT else _SLOT_GAP
        offsets.append(offsets[-1] + (widths[left] + widths[right]) / 2 + gap)
    pools: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        mean, size = want - offset, 1
        while pools and pools[-1][0] > mean:
            other, count = pools.pop()
            mean = (mean * size + other * count) / (size + count)
            size += count
        pools.append((mean, size))
    means = [mean for mean, size in pools for _ in range(size)]
    for one, mean, offset in zip(row, means, offsets, strict=True):
        xs[one] = mean + offset
