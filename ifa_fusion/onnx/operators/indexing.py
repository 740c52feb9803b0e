"""Elements taken from places, and put to places."""

from __future__ import annotations

import numpy as np

from ifa_fusion.onnx.functions import indexing
from ifa_fusion.onnx.operators.integers import size
from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.precision import SMALL, moved, narrowed, widened
from ifa_fusion.onnx.operators.table import Numbers, Unsupported, operator


@operator("Gather")
def gather(node: Node) -> str | Numbers:
    """Slices of an axis, by indices that may count from the end."""
    axis = node.attribute("axis", 0) % node.rank(0)
    known = node.constant(1)
    if node.constant(0) is None and node.are_numbers(0) and known is not None:
        codes = node.numbers(0)
        return Numbers(tuple(codes[i] for i in known.reshape(-1)), scalar=known.ndim == 0)
    if known is not None and known.ndim == 0:
        return moved(node, f"{{0}}[{':, ' * axis}{known}]")
    return moved(node, f"ops.gather({{0}}, {_counted_from_start(node, axis)}, {axis})")


def _counted_from_start(node: Node, axis: int) -> str:
    """The indices of the second input, none of them negative: MindSpore takes those for out of range."""
    known, length = node.constant(1), node.shape(0)[axis]
    if known is not None and (known >= 0).all():
        return node.tensor(1)
    if known is not None and length is not None:
        return node.keep(np.where(known < 0, known + length, known), "indices")
    indices = node.tensor(1)
    return f"ops.where({indices} < 0, {indices} + {size(node, 0, axis)}, {indices})"


@operator("GatherElements")
def gather_elements(node: Node) -> str:
    """Single elements along an axis."""
    axis = node.attribute("axis", 0) % node.rank(0)
    return moved(node, f"ops.gather_elements({{0}}, {axis}, {_counted_from_start(node, axis)})")


@operator("GatherND")
def gather_nd(node: Node) -> str:
    """Slices by indices of several axes, alike in each element of the batch."""
    function, batch = node.function(indexing.gather_nd), node.attribute("batch_dims", 0)
    return moved(node, f"{function}({{0}}, {node.tensor(1)}, {batch})")


@operator("ScatterElements")
def scatter_elements(node: Node) -> str:
    """Single elements replaced, or added to, along an axis."""
    reduction = node.attribute("reduction", "none")
    if reduction not in ("none", "add"):
        raise Unsupported(f"MindSpore's CPU has no scatter with the reduction '{reduction}'")
    axis = node.attribute("axis", 0) % node.rank(0)
    x, updates = (widened(node, node.tensor(i), node.dtype(i)) for i in (0, 2))
    indices = _counted_from_start(node, axis)
    return narrowed(node, f'ops.tensor_scatter_elements({x}, {indices}, {updates}, {axis}, "{reduction}")')


_SCATTERS = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


@operator("ScatterND")
def scatter_nd(node: Node) -> str:
    """Slices replaced, or combined with others, by indices of several axes."""
    x, updates = (widened(node, node.tensor(i), node.dtype(i), SMALL) for i in (0, 2))
    indices = f"{node.function(indexing.counted_from_start)}({node.tensor(1)}, {x}.shape)"
    function = f"ops.tensor_scatter_{_SCATTERS[node.attribute('reduction', 'none')]}"
    return narrowed(node, f"{function}({x}, {indices}, {updates})", SMALL)


@operator("TensorScatter")
def scatter_cache(node: Node) -> str:
    """A cache with an update written over a range of one axis, which begins elsewhere in each sequence."""
    cache, update = (widened(node, node.tensor(i), node.dtype(i)) for i in range(2))
    starts = node.tensor(2) if node.has(2) else f"ops.zeros(({size(node, 0, 0)},), ms.int64)"
    axis, circular = node.attribute("axis", -2) % node.rank(0), node.attribute("mode", "linear") == "circular"
    return narrowed(node, f"{node.function(indexing.scatter_range)}({cache}, {update}, {starts}, {axis}, {circular})")


@operator("NonZero")
def nonzero(node: Node) -> str:
    """Where elements are not zero, an axis in each row."""
    return f"ops.transpose(ops.nonzero({widened(node, node.tensor(0), node.dtype(0))}), (1, 0))"


@operator("Compress")
def compress(node: Node) -> str:
    """Those slices of an axis, or those elements, for which a constant condition holds."""
    condition = node.constant(1)
    if condition is None:
        raise Unsupported("its condition is not a constant")
    indices, axis = node.keep(np.flatnonzero(condition), "indices"), node.attribute("axis")
    if axis is None:
        return moved(node, f"ops.gather(ops.reshape({{0}}, (-1,)), {indices}, 0)")
    return moved(node, f"ops.gather({{0}}, {indices}, {axis % node.rank(0)})")


@operator("OneHot")
def one_hot(node: Node) -> str:
    """A new axis with one value at an index and another one elsewhere."""
    known = node.constant(1)  # of any type
    depth = node.numbers(1)[0] if known is None else str(int(known.item()))
    indices, values = node.tensor(0), widened(node, node.tensor(2), node.dtype(2))
    axis = node.attribute("axis", -1) % (node.rank(0) + 1)
    return narrowed(node, f"{node.function(indexing.one_hot)}({indices}, {depth}, {values}, {axis})")
