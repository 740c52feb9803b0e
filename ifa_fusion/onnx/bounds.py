"""Bounds of integers that are computed from sizes, which decide a Max or Min before the sizes are known."""

from __future__ import annotations

import math
from typing import TypeAlias

import onnx_ir as ir

Bounds: TypeAlias = tuple[float, float]
"""The least and the largest that the elements of a value can be."""

_ANY: Bounds = (-math.inf, math.inf)
_SAME = ("Identity", "Reshape", "Squeeze", "Unsqueeze")
"""What gives its first operand's elements."""


def decide_extrema(graph: ir.Graph) -> None:
    """Replaces a Max or Min of two integers by the operand that it always is.

    The bias of MPT is sliced from `max(0, -1 - past_length)`, and only from a known start is its shape known.
    """
    known: dict[ir.Value, Bounds] = {}
    for node in graph:
        if node.domain:
            continue
        given = [_of(value, known) for value in node.inputs]
        known[node.outputs[0]] = _bounds(node, given)
        if node.op_type not in ("Max", "Min") or len(given) != 2 or node.outputs[0].is_graph_output():
            continue
        for mine, other in ((0, 1), (1, 0)):
            always = given[mine][0] >= given[other][1] if node.op_type == "Max" else given[mine][1] <= given[other][0]
            operand = node.inputs[mine]
            if always and operand is not None and _has_shape_of(operand, node.outputs[0]):
                node.outputs[0].replace_all_uses_with(operand)
                break


def _has_shape_of(operand: ir.Value, result: ir.Value) -> bool:
    return operand.shape is not None and operand.shape.is_static() and operand.shape == result.shape


def _of(value: ir.Value | None, known: dict[ir.Value, Bounds]) -> Bounds:
    if value is None:
        return _ANY
    constant = value.const_value
    if constant is None:
        return known.get(value, _ANY)
    if constant.size != 1 or constant.dtype != ir.DataType.INT64:
        return _ANY
    number = int(constant.numpy().item())
    return number, number


def _bounds(node: ir.Node, given: list[Bounds]) -> Bounds:
    """What the elements of a node's result can be, by those of its operands."""
    match node.op_type:
        case "Shape":
            return 0, math.inf
        case kind if kind in _SAME:
            return given[0]
        case "Add":
            return given[0][0] + given[1][0], given[0][1] + given[1][1]
        case "Sub":
            return given[0][0] - given[1][1], given[0][1] - given[1][0]
        case "Max" | "Min" as kind:
            pick = max if kind == "Max" else min
            return pick(low for low, _ in given), pick(high for _, high in given)
    return _ANY
