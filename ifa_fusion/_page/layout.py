"""Where the boxes of a layered drawing go, and the lines between them. Knows nothing of what is drawn.

Every box stands one layer above the lowest that it must be above (longest paths from the ends), in the order in which a
walk from the ends meets it: a tree is drawn without crossings. A line that passes a layer has a place of its own there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

Point: TypeAlias = tuple[float, float]

_GAP_ACROSS, _GAP_DOWN = 18.0, 30.0  # between boxes of a layer, and between layers; pixels, as all lengths here
_PASSAGE = 8.0  # the width of a line's place in a layer that it passes
_SWEEPS = 12  # rounds of pulling boxes towards their neighbours; more move nothing in graphs of this size


@dataclass(frozen=True)
class Edge:
    """A line from the bottom of one box to the top of another, `offset` to the right of its middle."""

    source: int
    target: int
    offset: float = 0.0


@dataclass(frozen=True)
class Arrangement:
    """The size of the drawing, the upper left corner of each box, and the points of each edge.

    Between the points of an edge, stretches straight down alternate with stretches across the gap between two layers.
    """

    width: float
    height: float
    corners: list[Point]
    routes: list[list[Point]]


@dataclass
class _Place:
    """What takes up room in a layer: a box, or a line that passes."""

    width: float
    height: float
    layer: int
    x: float = 0.0  # of the middle
    above: list[tuple["_Place", float]] = field(default_factory=list)  # with the offset at which the line arrives here
    below: list[tuple["_Place", float]] = field(default_factory=list)  # with the offset at which it arrives there


def arrange(sizes: Sequence[tuple[float, float]], edges: Sequence[Edge]) -> Arrangement:
    """Arranges boxes of these widths and heights.

    Args:
        sizes: Of the boxes, each after those that it has an edge from.
        edges: Those into one box from the left to the right.
    """
    boxes = [_Place(*size, layer) for size, layer in zip(sizes, _layers(len(sizes), edges), strict=True)]
    chains = [_chain(boxes, edge) for edge in edges]
    layers = _ordered(boxes)
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        for layer in layers if downwards else reversed(layers):
            _pull(layer, downwards)
    left = min((place.x - place.width / 2 for layer in layers for place in layer), default=0.0)
    for layer in layers:
        for place in layer:
            place.x -= left
    tops, bottoms = _rows(layers)
    return Arrangement(
        max((place.x + place.width / 2 for layer in layers for place in layer), default=0.0),
        bottoms[-1] if bottoms else 0.0,
        [(box.x - box.width / 2, tops[box.layer]) for box in boxes],
        [_route(chain, edge.offset, tops, bottoms) for chain, edge in zip(chains, edges, strict=True)],
    )


def _layers(count: int, edges: Sequence[Edge]) -> list[int]:
    """The layer of each box, counted from the top."""
    height = [0] * count
    for edge in sorted(edges, key=lambda edge: -edge.target):
        height[edge.source] = max(height[edge.source], height[edge.target] + 1)
    return [max(height) - own for own in height]


def _chain(boxes: list[_Place], edge: Edge) -> list[_Place]:
    """The box that an edge comes from, its places in the layers between, and the box that it goes to."""
    source, target = boxes[edge.source], boxes[edge.target]
    passages = [_Place(_PASSAGE, 0.0, layer) for layer in range(source.layer + 1, target.layer)]
    chain = [source, *passages, target]
    for upper, lower in pairwise(chain):
        offset = edge.offset if lower is target else 0.0
        upper.below.append((lower, offset))
        lower.above.append((upper, offset))
    return chain


def _ordered(boxes: list[_Place]) -> list[list[_Place]]:
    """The places of each layer from the left to the right."""
    layers: list[list[_Place]] = [[] for _ in range(max((box.layer for box in boxes), default=-1) + 1)]
    met: set[int] = set()

    def visit(place: _Place) -> None:
        if id(place) in met:
            return
        met.add(id(place))
        layers[place.layer].append(place)
        for upper, _ in place.above:
            visit(upper)

    for box in reversed(boxes):
        if not box.below:
            visit(box)
    return layers


def _pull(layer: list[_Place], downwards: bool) -> None:
    """Moves the places of a layer towards what they are connected with on one side, as far as their order allows."""
    wanted = [place.x if (x := _pulled_to(place, downwards)) is None else x for place in layer]
    rightwards, leftwards = list(wanted), list(wanted)
    for i in range(1, len(layer)):
        rightwards[i] = max(wanted[i], rightwards[i - 1] + _distance(layer[i - 1], layer[i]))
    for i in reversed(range(len(layer) - 1)):
        leftwards[i] = min(wanted[i], leftwards[i + 1] - _distance(layer[i], layer[i + 1]))
    for place, right, left in zip(layer, rightwards, leftwards, strict=True):
        place.x = (right + left) / 2  # both keep the distances, and so does their mean


def _pulled_to(place: _Place, downwards: bool) -> float | None:
    if downwards:
        return _mean(upper.x - offset for upper, offset in place.above)
    return _mean(lower.x + offset for lower, offset in place.below)


def _distance(left: _Place, right: _Place) -> float:
    return (left.width + right.width) / 2 + _GAP_ACROSS


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return sum(listed) / len(listed) if listed else None


def _rows(layers: list[list[_Place]]) -> tuple[list[float], list[float]]:
    """The tops and bottoms of the layers."""
    tops, bottoms, y = [], [], 0.0
    for layer in layers:
        tops.append(y)
        bottoms.append(y + max(place.height for place in layer))
        y = bottoms[-1] + _GAP_DOWN
    return tops, bottoms


def _route(chain: list[_Place], offset: float, tops: list[float], bottoms: list[float]) -> list[Point]:
    source, *passages, target = chain
    route = [(source.x, tops[source.layer] + source.height), (source.x, bottoms[source.layer])]
    for passage in passages:
        route += [(passage.x, tops[passage.layer]), (passage.x, bottoms[passage.layer])]
    return [*route, (target.x + offset, tops[target.layer])]
