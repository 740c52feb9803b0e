"""Types for which MindSpore's CPU has no kernel, and the wider ones in which it then computes."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from ifa_fusion.onnx import types
from ifa_fusion.onnx.operators.node import Node

HALF = {ir.DataType.BFLOAT16: ir.DataType.FLOAT}
"""What nearly every kernel of MindSpore's CPU lacks, data movement included."""

SMALL = HALF | dict.fromkeys(
    (ir.DataType.INT8, ir.DataType.INT16, ir.DataType.UINT8, ir.DataType.BOOL), ir.DataType.INT32
)
"""What the kernels lack that are written for 32 and 64 bits alone."""

SUMS = HALF | {ir.DataType.FLOAT16: ir.DataType.FLOAT}
"""What is too coarse to add up many elements in."""


def is_number(code: str) -> bool:
    """Whether an operand is a Python number instead of a tensor."""
    return code.lstrip("-")[0].isdigit()


def widened(node: Node, code: str, dtype: ir.DataType, wider: Mapping[ir.DataType, ir.DataType] = HALF) -> str:
    """An operand of a type, cast by a line of its own where its type is to be replaced."""
    if dtype not in wider or is_number(code):
        return code
    wide = types.code(wider[dtype])
    return node.let(f"ops.cast({code}, {wide})", f"{code}_{wide}")


def narrowed(node: Node, code: str, wider: Mapping[ir.DataType, ir.DataType] = HALF, output: int = 0) -> str:
    """A result of the type that ONNX gives an output, from one that was computed in the type that replaces it."""
    dtype = node.output_dtype(output)
    return f"ops.cast({code}, {types.code(dtype)})" if dtype in wider else code


def computed(node: Node, call: str, wider: Mapping[ir.DataType, ir.DataType] = HALF) -> str:
    """Writes a call on all inputs of a node, which the text names ``{0}``, ``{1}``, ...

    Inputs that are constants of one element may get there as Python numbers.
    """
    operands = [widened(node, node.operand(i), node.dtype(i), wider) if node.has(i) else None for i in range(len(node))]
    return narrowed(node, call.format(*operands), wider)


def moved(node: Node, call: str, index: int = 0) -> str:
    """Writes a call that only moves or selects elements of one input, which the text names ``{0}``."""
    return narrowed(node, call.format(widened(node, node.tensor(index), node.dtype(index))))
