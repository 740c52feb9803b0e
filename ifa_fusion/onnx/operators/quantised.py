"""Linear quantisation and the matrix products of quantised numbers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ifa_fusion.onnx import types
from ifa_fusion.onnx.functions import quantisation as functions
from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.precision import widened
from ifa_fusion.onnx.operators.table import Unsupported, operator

_LEVELS = (ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16)


@operator("DequantizeLinear")
def dequantize_linear(node: Node) -> str:
    """(x - zero point) * scale, in the form that the pass folds into the kernel behind an int8 cache."""
    wanted = node.output_dtype()
    wide = f"{node.tensor(0)}.astype({types.code(_computed_in(wanted))})"
    if node.has(2) and not _is_zero(node, 2):
        wide = f"({wide} - {_spread(node, 2)}.astype({types.code(_computed_in(wanted))}))"
    scaled = f"{wide} * {_spread(node, 1)}.astype({types.code(_computed_in(wanted))})"
    return scaled if _computed_in(wanted) == wanted else f"({scaled}).astype({types.code(wanted)})"


@operator("QuantizeLinear")
def quantize_linear(node: Node) -> str:
    """Linear quantisation of a tensor, along an axis, or in blocks along one."""
    zero_point = "None" if not node.has(2) or _is_zero(node, 2) else _spread(node, 2)
    return _quantised(node, node.tensor(0), _spread(node, 1), zero_point, node.output_dtype())


@operator("DynamicQuantizeLinear")
def dynamic_quantize_linear(node: Node) -> list[str]:
    """Linear quantisation over the range of the values."""
    found = node.let(f"{node.function(functions.quantise_dynamically)}({node.tensor(0)})", "quantised")
    return [f"{found}[{i}]" for i in range(node.outputs)]


@operator("MatMulInteger")
def matmul_integer(node: Node) -> str:
    """The product of matrices of 8-bit integers."""
    operands = [_operand(node, i) for i in range(4)]
    return f"{node.function(functions.integer_matmul)}({', '.join(operands)})"


@operator("QLinearMatMul")
def qlinear_matmul(node: Node) -> str:
    """The product of quantised matrices, quantised again."""
    operands = ", ".join(_operand(node, i) for i in (0, 3, 2, 5))
    product = f"{node.function(functions.integer_matmul)}({operands})"
    a_scale = f"{node.function(functions.for_rows)}({node.tensor(1)}.astype(ms.float32))"
    scaled = node.let(f"{product}.astype(ms.float32) * ({a_scale} * {node.tensor(4)}.astype(ms.float32))", "product")
    zero_point = f"{node.function(functions.for_rows)}({node.tensor(7)})"
    scale = f"{node.function(functions.for_rows)}({_wide(node, 6)})"
    return _quantised(node, scaled, scale, zero_point, node.output_dtype())


def _quantised(node: Node, x: str, scale: str, zero_point: str, dtype: ir.DataType) -> str:
    if dtype not in _LEVELS:
        raise Unsupported(f"quantisation to {dtype.name} is not supported")
    return f"{node.function(functions.quantise)}({x}, {scale}, {zero_point}, {types.code(dtype)})"


def _operand(node: Node, index: int) -> str:
    return node.tensor(index) if node.has(index) else "None"


def _is_zero(node: Node, index: int) -> bool:
    value = node.constant(index)
    return value is not None and not np.any(value)


def _computed_in(dtype: ir.DataType) -> ir.DataType:
    """MindSpore's CPU has few kernels for bfloat16."""
    return ir.DataType.FLOAT if dtype == ir.DataType.BFLOAT16 else dtype


def _spread(node: Node, index: int) -> str:
    """A scale or zero point, so that it broadcasts to the first input."""
    rank, own = node.rank(0), node.shape(index)
    axis = node.attribute("axis", 1) % max(rank, 1)
    block = node.attribute("block_size", 0)
    if block:
        return _repeated(node, index, axis, block)
    if len(own) != 1 or axis == rank - 1 or own == (1,):
        return _wide(node, index)
    shape = [1] * rank
    shape[axis] = -1
    value = node.constant(index)
    if value is not None:
        return node.keep(value.reshape(shape), f"{node.name}_{('scale', 'zero_point')[index - 1]}")
    return f"{_wide(node, index)}.reshape({tuple(shape)})"


def _wide(node: Node, index: int) -> str:
    return widened(node, node.tensor(index), node.dtype(index))


def _repeated(node: Node, index: int, axis: int, block: int) -> str:
    value, size = node.constant(index), node.shape(0)[axis]
    if value is not None and size is not None:
        repeated = np.repeat(value, block, axis).take(range(size), axis)
        return node.keep(repeated, f"{node.name}_{('scale', 'zero_point')[index - 1]}")
    whole = node.let(f"ops.repeat_interleave({_wide(node, index)}, {block}, {axis})", "repeated")
    if size is not None and size == (node.shape(index)[axis] or 0) * block:
        return whole
    return f"mint.narrow({whole}, {axis}, 0, {node.tensor(0)}.shape[{axis}])"
