"""Arithmetic on the Python integers that shapes are made of.

What is known while importing is computed at once; the rest becomes expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.table import Numbers


def are_sizes(node: Node) -> bool:
    """Whether all inputs are Python integers, at least one of them not a constant."""
    indices = range(len(node))
    return all(node.are_numbers(i) for i in indices) and any(node.constant(i) is None for i in indices)


def value_of(code: str) -> int | None:
    """The integer that an expression is, None if it is known only in the network."""
    return int(code) if code.lstrip("-").isdigit() else None


def combined(node: Node, combine: Callable[..., str]) -> Numbers:
    """The elements of a node's inputs combined one by one, those of a single element stretched to the others."""
    inputs = [node.numbers(i) for i in range(len(node))]
    length = next((len(codes) for codes in inputs if len(codes) != 1), 1)
    rows = zip(*(codes * length if len(codes) == 1 else codes for codes in inputs), strict=True)
    return Numbers(tuple(combine(*row) for row in rows), all(node.rank(i) == 0 for i in range(len(node))))


def infix(sign: str, calculate: Callable[[int, int], int]) -> Callable[[str, str], str]:
    """How two integers are combined by a sign of Python's that calculates what the function does."""

    def combine(a: str, b: str) -> str:
        left, right = value_of(a), value_of(b)
        return f"{a} {sign} {b}" if left is None or right is None else str(calculate(left, right))

    return combine


def either(condition: str, a: str, b: str) -> str:
    """The first of two integers where a condition of the network holds. A branch would become control flow."""
    return f"{b} + ({a} - {b}) * {condition}"


def product(codes: Iterable[str]) -> str:
    """The product of integers."""
    known, factors = 1, list[str]()
    for code in codes:
        value = value_of(code)
        if value is None:
            factors.append(code)
        else:
            known *= value
    if known == 0:
        return "0"
    return " * ".join(factors if factors and known == 1 else [*factors, str(known)])


def size(node: Node, index: int, axis: int) -> str:
    """A size of an input: an integer, or the expression of what the network finds."""
    known = node.shape(index)[axis]
    return str(known) if known is not None else f"{node.tensor(index)}.shape[{axis % node.rank(index)}]"


def shape(node: Node, index: int) -> list[str]:
    """All sizes of an input."""
    return [size(node, index, axis) for axis in range(node.rank(index))]


def tuple_of(codes: Iterable[str]) -> str:
    """Python code of a tuple."""
    codes = list(codes)
    return f"({', '.join(codes)}{',' * (len(codes) == 1)})"
