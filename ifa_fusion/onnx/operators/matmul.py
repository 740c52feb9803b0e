"""Matrix products."""

from __future__ import annotations

import re

from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.precision import HALF, narrowed, widened
from ifa_fusion.onnx.operators.table import Unsupported, operator


@operator("MatMul")
def matmul(node: Node) -> str:
    """The product of two stacks of matrices, as NumPy's."""
    a, b = (widened(node, node.tensor(i), node.dtype(i)) for i in range(2))
    return narrowed(node, f"ops.matmul({a}, {b})")


@operator("Gemm")
def gemm(node: Node) -> str:
    """``alpha * A @ B + beta * C``, with A and B transposed on demand."""
    a, b = (widened(node, node.tensor(i), node.dtype(i)) for i in range(2))
    transposed = tuple(bool(node.attribute(name, 0)) for name in ("transA", "transB"))
    code = f"ops.MatMul{transposed}({a}, {b})" if any(transposed) else f"ops.matmul({a}, {b})"
    alpha, beta = (_factor(node, name) for name in ("alpha", "beta"))
    code = code if alpha == 1 else f"{alpha!r} * {code}"
    if node.has(2) and beta != 0:
        added = widened(node, node.tensor(2), node.dtype(2))
        code = f"{code} + {added if beta == 1 else f'{beta!r} * {added}'}"
    return narrowed(node, code)


def _factor(node: Node, name: str) -> float | int:
    value = node.attribute(name, 1.0)
    return value if node.dtype(0).is_floating_point() or value % 1 else int(value)


@operator("Einsum")
def einsum(node: Node) -> str:
    """Einstein's summation."""
    equation = node.attribute("equation").replace(" ", "")
    if not re.fullmatch(r"[A-Za-z.,]*(->[A-Za-z.]*)?", equation):
        raise Unsupported("its equation has other characters than letters")
    operands = [widened(node, node.tensor(i), node.dtype(i), HALF) for i in range(len(node))]
    return narrowed(node, f'mint.einsum("{equation}", {", ".join(operands)})')
