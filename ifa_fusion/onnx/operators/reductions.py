"""Reductions over axes, running sums, and the largest elements."""

from __future__ import annotations

import math

import onnx_ir as ir

from ifa_fusion.onnx import types
from ifa_fusion.onnx.functions.cumulative import cumulative_sum
from ifa_fusion.onnx.operators.integers import product, shape, tuple_of
from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.precision import HALF, SMALL, SUMS, narrowed, widened
from ifa_fusion.onnx.operators.table import Numbers, Unsupported, operator

_REDUCTIONS = {
    "ReduceL1": "ops.sum(ops.abs({x}), {axes}, {keep})",
    "ReduceL2": "ops.sqrt(ops.sum(ops.square({x}), {axes}, {keep}))",
    "ReduceLogSum": "ops.log(ops.sum({x}, {axes}, {keep}))",
    "ReduceLogSumExp": "ops.logsumexp({x}, {axes}, {keep})",
    "ReduceMax": "ops.amax({x}, {axes}, {keep})",
    "ReduceMean": "ops.mean({x}, {axes}, {keep})",
    "ReduceMin": "ops.amin({x}, {axes}, {keep})",
    "ReduceProd": "ops.prod({x}, {axes}, {keep})",
    "ReduceSum": "ops.sum({x}, {axes}, {keep})",
    "ReduceSumSquare": "ops.sum(ops.square({x}), {axes}, {keep})",
}

_OF_NOTHING = {
    "ReduceMax": -math.inf,
    "ReduceMin": math.inf,
    "ReduceProd": 1,
    "ReduceLogSum": -math.inf,
    "ReduceLogSumExp": -math.inf,
}
"""What a reduction gives of no elements, where it is not 0."""


@operator(*_REDUCTIONS)
def reduction(node: Node) -> str | Numbers:
    """A reduction over some axes, or over all."""
    axes = reduced_axes(node)
    keep = bool(node.attribute("keepdims", 1))
    if node.op_type == "ReduceProd" and node.are_numbers(0) and node.constant(0) is None:
        return Numbers((product(node.numbers(0)),), scalar=not keep)
    if not axes:
        return _of_single_elements(node)
    if any(node.shape(0)[axis] == 0 for axis in axes):
        return _of_nothing(node, axes, keep)
    wider = SMALL if node.op_type in ("ReduceMax", "ReduceMin") else HALF
    x = widened(node, node.tensor(0), node.dtype(0), wider)
    code = _REDUCTIONS[node.op_type].format(x=x, axes=tuple_of(map(str, axes)), keep=keep)
    # MindSpore sums integers in 64 bits
    wide = wider | ({} if node.dtype(0).is_floating_point() else {node.dtype(0): ir.DataType.INT64})
    return narrowed(node, code, wide)


def reduced_axes(node: Node) -> list[int]:
    """The axes of a reduction, counted from the first; of an attribute in older operator sets, else of an input."""
    rank = node.rank(0)
    axes = [int(axis) for axis in node.numbers(1)] if node.has(1) else node.attribute("axes")
    if not axes:
        return [] if node.attribute("noop_with_empty_axes", 0) else list(range(rank))
    return sorted({axis % rank for axis in axes})


def _of_single_elements(node: Node) -> str:
    """A reduction over no axes: of each element alone."""
    alone = {
        "ReduceL1": "ops.abs({0})",
        "ReduceL2": "ops.abs({0})",
        "ReduceLogSum": "ops.log({0})",
        "ReduceSumSquare": "ops.square({0})",
    }
    return narrowed(node, alone.get(node.op_type, "{0}").format(widened(node, node.tensor(0), node.dtype(0))))


def _of_nothing(node: Node, axes: list[int], keep: bool) -> str:
    """A reduction over axes without elements."""
    kept = [size for axis, size in enumerate(shape(node, 0)) if axis not in axes]
    sizes = ["1" if axis in axes else size for axis, size in enumerate(shape(node, 0))] if keep else kept
    dtype, value = node.dtype(0), _OF_NOTHING.get(node.op_type, 0)
    if dtype == ir.DataType.BOOL:
        value = node.op_type == "ReduceMin"
    elif math.isinf(value) and not dtype.is_floating_point():
        raise Unsupported("it reduces integers over an axis without elements")
    if node.op_type == "ReduceMean":
        value = math.nan
    written = repr(value) if math.isfinite(value) else f'float("{value}")'
    return f"ops.full({tuple_of(sizes)}, {written}, dtype={types.code(dtype)})"


@operator("ArgMax", "ArgMin")
def extreme_index(node: Node) -> str:
    """Where along an axis the largest or the smallest element is; of equals the first or the last."""
    axis, keep = node.attribute("axis", 0) % node.rank(0), bool(node.attribute("keepdims", 1))
    x = widened(node, node.tensor(0), node.dtype(0), SMALL)
    call = f"ops.{node.op_type.lower()}({{}}, {axis}, {keep})"
    if not node.attribute("select_last_index", 0):
        return f"ops.cast({call.format(x)}, ms.int64)"
    from_end = f"ops.cast({call.format(f'ops.flip({x}, ({axis},))')}, ms.int64)"
    return f"{x}.shape[{axis}] - 1 - {from_end}"


@operator("CumSum")
def running_sum(node: Node) -> str:
    """Sums of all elements up to each, along an axis."""
    (axis,) = node.numbers(1)
    x = widened(node, node.tensor(0), node.dtype(0), SUMS)
    exclusive, reverse = (bool(node.attribute(name, 0)) for name in ("exclusive", "reverse"))
    if not exclusive and not reverse:
        return narrowed(node, f"ops.cumsum({x}, {axis})", SUMS)
    return narrowed(node, f"{node.function(cumulative_sum)}({x}, {axis}, {exclusive}, {reverse})", SUMS)


@operator("TopK")
def largest(node: Node) -> list[str]:
    """The largest or the smallest elements along an axis, sorted, and where they are."""
    (count,) = node.numbers(1)
    axis, most = node.attribute("axis", -1) % node.rank(0), bool(node.attribute("largest", 1))
    x = widened(node, node.tensor(0), node.dtype(0), SMALL)
    found = node.let(f"ops.topk({x}, {count}, {axis}, {most})", "found")
    return [narrowed(node, f"{found}[0]", SMALL), f"ops.cast({found}[1], ms.int64)"]
