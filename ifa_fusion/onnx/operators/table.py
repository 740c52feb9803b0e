"""The table of ONNX operators: for each a small function that writes it as MindSpore code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ifa_fusion.onnx.errors import Unsupported as Unsupported

if TYPE_CHECKING:
    from ifa_fusion.onnx.operators.node import Node


@dataclass(frozen=True)
class Numbers:
    """A value that is Python integers in the network, not a tensor: a shape, and what is computed from shapes.

    Attributes:
        codes: An expression for each element.
        scalar: Whether ONNX sees a tensor of rank 0, with its one element, instead of rank 1.
    """

    codes: tuple[str, ...]
    scalar: bool = False


Result: TypeAlias = "str | Numbers | Sequence[str | Numbers]"
Writer: TypeAlias = "Callable[[Node], Result]"

_WRITERS: dict[tuple[str, str], Writer] = {}


def operator(*names: str, domain: str = "") -> Callable[[Writer], Writer]:
    """Enters a function into the table as the writer of the operators of these names.

    The function takes the node and returns the expression of its output, or, if the node has several outputs, a
    sequence of expressions, one for each output that the node declares, empty for those that nothing uses.
    """

    def enter(writer: Writer) -> Writer:
        for name in names:
            _WRITERS[domain, name] = writer
        return writer

    return enter


def writer_of(domain: str, name: str) -> Writer | None:
    """The writer of an operator, None if the table has none."""
    return _WRITERS.get(("" if domain == "ai.onnx" else domain, name))
