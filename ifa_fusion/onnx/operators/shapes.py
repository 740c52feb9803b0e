"""Shapes: what they are, and tensors in other ones."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import onnx_ir as ir

from ifa_fusion.onnx import types
from ifa_fusion.onnx.functions.triangles import triangle_from
from ifa_fusion.onnx.operators.integers import are_sizes, either, product, shape, size, tuple_of, value_of
from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.precision import moved, narrowed, widened
from ifa_fusion.onnx.operators.table import Numbers, Unsupported, operator

_OPEN_END = 2**31 - 1
"""From here on the end of a slice means the end of the axis: what exporters write for it."""


def _held(node: Node) -> bool:
    """Whether the first input is Python integers that are known in the network alone."""
    return node.constant(0) is None and node.are_numbers(0)


@operator("Shape")
def shape_of(node: Node) -> Numbers:
    """The sizes of the axes, or of a range of them."""
    return Numbers(tuple(shape(node, 0)[node.attribute("start", 0) : node.attribute("end")]))


@operator("Size")
def size_of(node: Node) -> Numbers:
    """The number of elements."""
    return Numbers((product(shape(node, 0)),), scalar=True)


@operator("Reshape")
def reshape(node: Node) -> str | Numbers:
    """The same elements in another shape, in which 0 keeps a size and -1 is what remains."""
    target = node.numbers(1)
    if _held(node):
        return Numbers(node.numbers(0), scalar=not target)
    if not node.attribute("allowzero", 0):
        target = tuple(size(node, 0, i) if code == "0" else code for i, code in enumerate(target))
    return moved(node, f"ops.reshape({{0}}, {tuple_of(target)})")


@operator("Flatten")
def flatten(node: Node) -> str:
    """A matrix: the axes before one, and the others."""
    axis, sizes = node.attribute("axis", 1), shape(node, 0)
    axis += len(sizes) * (axis < 0)
    return moved(node, f"ops.reshape({{0}}, ({product(sizes[:axis])}, {product(sizes[axis:])}))")


@operator("Transpose")
def transpose(node: Node) -> str:
    """The axes in another order."""
    order = node.attribute("perm") or range(node.rank(0))[::-1]
    return moved(node, f"ops.transpose({{0}}, {tuple_of(map(str, order))})")


def _axes(node: Node, rank: int) -> list[int] | None:
    """Axes of an attribute (before operator set 13) or of the second input, from the first on; None if not given."""
    axes = [int(code) for code in node.numbers(1)] if node.has(1) else node.attribute("axes")
    return None if axes is None else sorted(axis % rank for axis in axes)


@operator("Squeeze")
def squeeze(node: Node) -> str | Numbers:
    """Without axes of size 1: the given ones, or all."""
    if _held(node):
        return Numbers(node.numbers(0), scalar=len(node.numbers(0)) == 1)
    axes = _axes(node, node.rank(0))
    if axes is None:
        if None in node.shape(0):
            raise Unsupported("which of its input's axes are of size 1 is not known")
        axes = [axis for axis, length in enumerate(node.shape(0)) if length == 1]
    return moved(node, f"ops.squeeze({{0}}, {tuple_of(map(str, axes))})" if axes else "{0}")


@operator("Unsqueeze")
def unsqueeze(node: Node) -> str | Numbers:
    """With axes of size 1 where they are asked for."""
    if _held(node) and node.rank(0) == 0:
        return Numbers(node.numbers(0))
    count = len(node.numbers(1)) if node.has(1) else len(node.attribute("axes"))
    code = "{0}"
    for axis in _axes(node, node.rank(0) + count) or ():
        code = f"ops.expand_dims({code}, {axis})"
    return moved(node, code)


@operator("Expand")
def expand(node: Node) -> str:
    """Repeated along axes of size 1, to the shape that results of broadcasting against the given one."""
    given, sizes = node.numbers(1), shape(node, 0)
    rank = max(len(given), len(sizes))
    pairs = zip(["1"] * (rank - len(sizes)) + sizes, ("1",) * (rank - len(given)) + given, strict=True)
    target = [_broadcast(*pair) for pair in pairs]
    return moved(node, "{0}" if target == sizes else f"ops.broadcast_to({{0}}, {tuple_of(target)})")


def _broadcast(a: str, b: str) -> str:
    """What results of two sizes that broadcast."""
    if a == b or value_of(b) == 1:
        return a
    if value_of(a) == 1 or (value_of(b) is not None and value_of(a) is None):
        return b
    return a if value_of(a) is not None else either(f"({a} == 1)", b, a)


@operator("Tile")
def tile(node: Node) -> str:
    """Repeated along each axis."""
    return moved(node, f"ops.tile({{0}}, {tuple_of(node.numbers(1))})")


@operator("Concat")
def concat(node: Node) -> str | Numbers:
    """Several tensors joined along an axis."""
    if are_sizes(node):
        return Numbers(tuple(code for i in range(len(node)) for code in node.numbers(i)))
    parts = [widened(node, node.tensor(i), node.dtype(i)) for i in range(len(node))]
    return narrowed(node, f"ops.concat({tuple_of(parts)}, {node.attribute('axis')})")


@operator("Split")
def split(node: Node) -> list[str] | list[Numbers]:
    """Parts along an axis, of given sizes or of equal ones, the last of which may be smaller."""
    axis = node.attribute("axis", 0) % node.rank(0)
    sizes = node.numbers(1) if node.has(1) else node.attribute("split")
    if sizes is None:
        whole = node.shape(0)[axis]
        if whole is None:
            raise Unsupported(f"the size of its input's axis {axis} is not known")
        part = math.ceil(whole / node.outputs)
        sizes = [max(0, min(part, whole - i * part)) for i in range(node.outputs)]
    codes = [str(code) for code in sizes]
    if _held(node):
        starts = np.cumsum([0, *map(int, codes)])
        return [Numbers(node.numbers(0)[a:b]) for a, b in itertools.pairwise(starts)]
    x = widened(node, node.tensor(0), node.dtype(0))
    parts = node.let(f"ops.split({x}, {tuple_of(codes)}, {axis})", "parts")
    return [narrowed(node, f"{parts}[{i}]", output=i) for i in range(node.outputs)]


@operator("Slice")
def slice_of(node: Node) -> str | Numbers:
    """A range of some axes, with steps that may be negative."""
    starts, ends = node.numbers(1), node.numbers(2)
    axes = [int(code) % node.rank(0) for code in (node.numbers(3) if node.has(3) else range(len(starts)))]
    steps = [int(code) for code in node.numbers(4)] if node.has(4) else [1] * len(starts)
    if _held(node):
        return Numbers(node.numbers(0)[int(starts[0]) : int(ends[0]) : steps[0]])
    subscripts, flipped = [":"] * node.rank(0), []
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 0:
            flipped.append(str(axis))
        subscripts[axis] = _range(start, end, step, node.shape(0)[axis])
    x = f"ops.flip({{0}}, {tuple_of(flipped)})" if flipped else "{0}"
    while subscripts and subscripts[-1] == ":":
        subscripts.pop()
    return moved(node, f"{x}[{', '.join(subscripts)}]" if subscripts else x)


def _range(start: str, end: str, step: int, length: int | None) -> str:
    """A range as a subscript; of the flipped axis where the step is negative."""
    first, last = value_of(start), value_of(end)
    if length is not None and first is not None and last is not None:
        first, last, _ = slice(first, last, step).indices(length)
        if step < 0:
            first, last = length - 1 - first, length - 1 - last
        last = max(first, last)
        start, end = str(first), "" if last == length else str(last)
    elif step < 0:
        if first is None or last is None or not (first == -1 or first >= _OPEN_END) or last > -_OPEN_END:
            raise Unsupported("it goes backwards over a part of an axis whose size is not known")
        start, end = "", ""
    elif last is not None and last >= _OPEN_END:
        end = ""
    start = "" if start == "0" else start
    return f"{start}:{end}" if abs(step) == 1 else f"{start}:{end}:{abs(step)}"


@operator("Pad")
def pad(node: Node) -> str:
    """Elements added (or, where negative, taken away) at both ends of axes."""
    rank, mode = node.rank(0), node.attribute("mode", "constant")
    given = node.numbers(1)
    axes = [int(code) % rank for code in (node.numbers(3) if node.has(3) else range(rank))]
    code = widened(node, node.tensor(0), node.dtype(0))
    for position, axis in enumerate(axes):
        ends = given[position], given[position + len(axes)]
        if ends != ("0", "0"):
            code = node.let(_padded(node, code, axis, ends, mode), "padded")
    return narrowed(node, code)


def _padded(node: Node, x: str, axis: int, ends: tuple[str, str], mode: Any) -> str:
    """One axis of a tensor padded; what is repeated is gathered by indices that are known while importing."""
    before, after = (value_of(code) for code in ends)
    length = node.shape(0)[axis]
    if mode != "constant":
        if before is None or after is None or length is None:
            raise Unsupported(f"it pads by {mode} an axis whose size is not known")
        taken = np.arange(length)[max(0, -before) : length - max(0, -after)]
        added = max(0, before), max(0, after)
        indices = np.pad(taken, added, mode)
        return f"ops.gather({x}, {node.keep(indices, 'indices')}, {axis})"
    colons = ":, " * axis
    parts = [x]
    if (before or 0) < 0 or (after or 0) < 0:
        start, end = (ends[0][1:] if (before or 0) < 0 else ""), (ends[1] if (after or 0) < 0 else "")
        parts = [f"{x}[{colons}{start}:{end}]"]
    sizes = [f"{x}.shape[{i}]" for i in range(node.rank(0))]
    value = _fill(node)
    for place, (known, code) in enumerate(zip((before, after), ends, strict=True)):
        if known is None or known > 0:
            full = f"ops.full({tuple_of([*sizes[:axis], code, *sizes[axis + 1 :]])}, {value}, dtype={x}.dtype)"
            parts.insert(0 if place == 0 else len(parts), full)
    return f"ops.concat({tuple_of(parts)}, {axis})" if len(parts) > 1 else parts[0]


def _fill(node: Node) -> str:
    """The constant that is padded with."""
    if not node.has(2):
        return "0"
    value = node.constant(2)
    if value is None:
        raise Unsupported("what it pads with is not a constant")
    return _python(value.item())


def _python(value: bool | int | float) -> str:
    """Python code of a number."""
    return repr(value) if math.isfinite(value) else f'float("{value}")'


@operator("ConstantOfShape")
def constant_of_shape(node: Node) -> str:
    """One value in a given shape."""
    value = node.attribute("value", np.zeros(1, np.float32))
    return f"ops.full({tuple_of(node.numbers(0))}, {_python(value.item())}, dtype={types.code(node.output_dtype())})"


@operator("Range")
def numbers_in_steps(node: Node) -> str:
    """Numbers from a first one on, in steps, up to a limit that is left out."""
    dtype = node.output_dtype()
    if dtype.is_floating_point():
        values = [value.item() for i in range(3) if (value := node.constant(i)) is not None]
        if len(values) < 3:
            raise Unsupported("its limits are floats that are not constants")
        return node.keep(np.arange(*values).astype(dtype.numpy()), "steps")
    code = f"ops.range({', '.join(node.numbers(i)[0] for i in range(3))})"
    return code if dtype == ir.DataType.INT64 else f"ops.cast({code}, {types.code(dtype)})"


@operator("Trilu")
def triangle(node: Node) -> str:
    """The upper or the lower triangle of matrices, zeros elsewhere."""
    diagonal, upper = node.numbers(1)[0] if node.has(1) else "0", bool(node.attribute("upper", 1))
    if 0 in node.shape(0):  # MindSpore's kernel refuses what has no elements
        return node.tensor(0)
    if value_of(diagonal) is not None:
        return moved(node, f"ops.{'triu' if upper else 'tril'}({{0}}, {diagonal})")
    return moved(node, f"{node.function(triangle_from)}({{0}}, {diagonal}, {upper})")


@operator("EyeLike")
def eye(node: Node) -> str:
    """Ones on a diagonal of a matrix, zeros elsewhere."""
    rows, columns = node.shape(0)
    if rows is None or columns is None:
        raise Unsupported("its size is not known")
    ones = np.eye(rows, columns, node.attribute("k", 0), dtype=node.output_dtype().numpy())
    return node.keep(ones, "eye")
