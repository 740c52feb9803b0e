"""The nodes of one site as boxes with lines of text, and where each goes: all numbers that the page's SVG needs."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ifa_fusion._page.layout import Edge, Point, arrange

if TYPE_CHECKING:
    from ifa_fusion.report import Node

# Pixels. A character's width is that of the usual monospaced fonts, 0.6 of their size; the page sets the text to the
# width that is computed here, whatever the font.
_CHARACTER = 0.6
_TITLE, _SMALL = 13.0, 11.0  # the two sizes of text
_LINE = 15.0
_PADDING = 8.0
_BELOW = 3.0  # between a box and what goes out of it
_MARGIN = 2.0  # around the drawing, for outlines
_LONGEST = 30  # characters of a line

_KINDS = {
    "softmax": "core",
    "score matmul": "core",
    "value matmul": "core",
    "fused": "fused",
    "inserted": "inserted",
    "user": "other",
    "other": "other",
    "mask": "term",
    "bias": "term",
    "dequantisation": "term",
    "quantisation": "term",
}
_STEPS = ("view", "cast", "scale", "load", "KV repeat")


@dataclass(frozen=True)
class Text:
    """A line of text, by the middle of its baseline."""

    x: float
    y: float
    width: float
    size: float
    text: str
    style: str = "line"


@dataclass(frozen=True)
class Box:
    """A rectangle with its lines of text."""

    x: float
    y: float
    width: float
    height: float
    lines: list[Text]


@dataclass(frozen=True)
class DrawnNode:
    """A node: its box, and below it the box with what goes out of it."""

    node: Node
    kind: str
    refused: bool
    box: Box
    output: Box | None
    words: str


@dataclass(frozen=True)
class Drawing:
    """All of one SVG; `paths` are the lines between the boxes, as SVG writes them."""

    width: float
    height: float
    nodes: list[DrawnNode]
    paths: list[str]
    words: str


@dataclass(frozen=True)
class _Sketch:
    """A node with its size, before it has a place."""

    node: Node
    ports: list[str]
    body: list[tuple[str, str]]  # lines of text with their styles
    output: str

    @property
    def port_width(self) -> float:
        return max((_width(name, _SMALL) for name in self.ports), default=0.0) + 2 * _PADDING

    @property
    def box_size(self) -> tuple[float, float]:
        body = max(_width(text, _size(style)) for text, style in self.body) + 2 * _PADDING
        rows = len(self.body) + (1 if self.ports else 0)
        return max(body, self.port_width * len(self.ports)), rows * _LINE + _PADDING

    @property
    def output_size(self) -> tuple[float, float]:
        return (_width(self.output, _SMALL) + _PADDING, _LINE + _BELOW) if self.output else (0.0, 0.0)

    @property
    def size(self) -> tuple[float, float]:
        (width, height), (output_width, output_height) = self.box_size, self.output_size
        return max(width, output_width), height + output_height

    def port_offset(self, index: int) -> float:
        """From the middle of the box to where the line of an input arrives."""
        if not self.ports:
            return 0.0
        return self.box_size[0] * ((index + 0.5) / len(self.ports) - 0.5)


def draw(nodes: Sequence[Node], refused_at: int | None = None) -> Drawing:
    """Draws the nodes of a site, of which one may be marked."""
    sketches = [_sketch(node, node.id == refused_at) for node in nodes]
    edges = [
        Edge(taken.node, node.id, sketch.port_offset(index))
        for node, sketch in zip(nodes, sketches, strict=True)
        for index, taken in enumerate(node.inputs)
    ]
    arrangement = arrange([sketch.size for sketch in sketches], edges)
    drawn = [
        _drawn(sketch, corner, sketch.node.id == refused_at)
        for sketch, corner in zip(sketches, arrangement.corners, strict=True)
    ]
    return Drawing(
        arrangement.width + 2 * _MARGIN,
        arrangement.height + 2 * _MARGIN,
        drawn,
        [_path(route) for route in arrangement.routes],
        " ".join(f"{node.id}: {_in_words(node)}." for node in nodes),
    )


def type_and_shape(node: Node) -> str:
    """For example "float32 2 x ? x 8"; "" of what is no tensor."""
    if node.shape is None:
        return node.dtype
    sizes = " x ".join("?" if size < 0 else str(size) for size in node.shape)
    return f"{node.dtype} {sizes or 'scalar'}".strip()


def _sketch(node: Node, refused: bool) -> _Sketch:
    body = [(_shortened(node.operator), "title"), (_shortened(node.role), "role")]
    for attribute in node.attributes:
        body += [(line, "line") for line in textwrap.wrap(attribute, _LONGEST)[:3]]
    if refused:
        body.append(("refused because of this", "mark"))
    names = [_shortened(taken.name) for taken in node.inputs]
    ports = names if len(names) > 1 and any(names) else []
    return _Sketch(node, ports, body, _shortened(type_and_shape(node)))


def _drawn(sketch: _Sketch, corner: Point, refused: bool) -> DrawnNode:
    left, top = corner[0] + _MARGIN, corner[1] + _MARGIN
    middle = left + sketch.size[0] / 2
    width, height = sketch.box_size
    lines = [
        _text(middle + sketch.port_offset(index), top + _LINE - 2, name, "port")
        for index, name in enumerate(sketch.ports)
        if name
    ]
    first = top + _LINE * (2 if sketch.ports else 1)
    lines += [_text(middle, first + _LINE * row, text, style) for row, (text, style) in enumerate(sketch.body)]
    output = None
    if sketch.output:
        (across, down), under = sketch.output_size, top + height + _BELOW
        text = _text(middle, under + _LINE - 4, sketch.output, "line")
        output = Box(middle - across / 2, under, across, down - _BELOW, [text])
    box = Box(middle - width / 2, top, width, height, lines)
    return DrawnNode(sketch.node, _kind(sketch.node.role), refused, box, output, _in_words(sketch.node))


def _kind(role: str) -> str:
    return "step" if role in _STEPS else _KINDS.get(role, "operand")


def _in_words(node: Node) -> str:
    taken = ", ".join(f"{taken.name} {taken.node}".strip() for taken in node.inputs)
    said = [f"{node.operator} ({node.role})", *node.attributes, type_and_shape(node), f"from {taken}" if taken else ""]
    return ", ".join(part for part in said if part)


def _path(route: Sequence[Point]) -> str:
    (x, y), *rest = [(across + _MARGIN, down + _MARGIN) for across, down in route]
    path = [f"M{x:.1f} {y:.1f}"]
    for index, (across, down) in enumerate(rest):
        middle = (y + down) / 2
        straight = index % 2 == 0
        path.append(
            f"V{down:.1f}" if straight else f"C{x:.1f} {middle:.1f} {across:.1f} {middle:.1f} {across:.1f} {down:.1f}"
        )
        x, y = across, down
    return " ".join([*path, "m-4 -6 l4 6 l4 -6"])  # an arrow's head


def _text(x: float, y: float, text: str, style: str) -> Text:
    return Text(x, y, _width(text, _size(style)), _size(style), text, style)


def _size(style: str) -> float:
    return _TITLE if style == "title" else _SMALL


def _width(text: str, size: float) -> float:
    return size * _CHARACTER * sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
