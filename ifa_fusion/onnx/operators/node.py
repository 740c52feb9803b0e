"""A node of the ONNX graph, as the functions of the table see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from ifa_fusion.onnx.operators.table import Unsupported

if TYPE_CHECKING:
    from ifa_fusion.onnx.scope import Scope


def is_used(value: ir.Value) -> bool:
    """Whether a node reads the value or the network returns it."""
    return bool(value.uses()) or value.is_graph_output()


class Node:
    """One node while it is written: its inputs as expressions, its attributes, and a place for intermediate lines.

    An input that is left out is asked for with `has` first. Types and ranks are of ONNX's shape inference; sizes that
    are not known while importing are written as ``x.shape[i]``, which MindSpore resolves when it compiles.
    """

    def __init__(self, node: ir.Node, version: int, scope: Scope) -> None:
        self._node = node
        self._scope = scope
        self.name: str = node.name or ""
        self.op_type: str = node.op_type
        self.version = version
        """Of the operator set that the model imports for the operator's domain."""

    def __len__(self) -> int:
        """The number of inputs, those left out in between included."""
        return len(self._node.inputs)

    @property
    def outputs(self) -> int:
        """The number of outputs that the node declares."""
        return len(self._node.outputs)

    def wants(self, index: int) -> bool:
        """Whether an output is used."""
        return index < self.outputs and is_used(self._node.outputs[index])

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self._node.inputs) and self._node.inputs[index] is not None

    def _input(self, index: int) -> ir.Value:
        value = self._node.inputs[index] if index < len(self._node.inputs) else None
        if value is None:
            raise Unsupported(f"its input {index} is left out")
        return value

    def dtype(self, index: int) -> ir.DataType:
        """The type of an input."""
        found = self._input(index).dtype
        if found is None:
            raise Unsupported(f"the type of its input {index} can't be inferred")
        return found

    def output_dtype(self, index: int = 0) -> ir.DataType:
        """The type of an output."""
        found = self._node.outputs[index].dtype
        if found is None:
            raise Unsupported(f"the type of its output {index} can't be inferred")
        return found

    def rank(self, index: int) -> int:
        """The number of dimensions of an input."""
        shape = self._input(index).shape
        if shape is None:
            raise Unsupported(f"the rank of its input {index} can't be inferred")
        return len(shape)

    def shape(self, index: int) -> tuple[int | None, ...]:
        """The shape of an input, None for the sizes that are not known."""
        self.rank(index)
        return tuple(size if isinstance(size, int) else None for size in self._input(index).shape or ())

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute as Python value (strings as str, tensors as NumPy arrays), or the default."""
        found = self._node.attributes.get(name)
        if found is None:
            return default
        return found.value.numpy() if found.type == ir.AttributeType.TENSOR else found.value

    def constant(self, index: int) -> np.ndarray | None:
        """An input's value if it is known while importing."""
        return self._scope.constant(self._input(index))

    def producer(self, index: int) -> str | None:
        """The type of the operator that computes an input, None for the network's inputs and for constants."""
        found = self._input(index).producer()
        return None if found is None else found.op_type

    def tensor(self, index: int) -> str:
        """The expression of an input as a tensor."""
        return self._scope.tensor(self._input(index))

    def operand(self, index: int) -> str:
        """The expression of an input of an elementwise operator: a Python number if it is a constant of one element.

        It stays a tensor where no other input of the node decides the type and the rank of the result.
        """
        others = [value for i, value in enumerate(self._node.inputs) if i != index and value is not None]
        return self._scope.operand(self._input(index), others)

    def numbers(self, index: int) -> tuple[str, ...]:
        """The elements of an integer input of rank 0 or 1, each as an expression for a Python integer."""
        found = self._scope.numbers(self._input(index))
        if found is None:
            raise Unsupported(f"its input {index} must be a constant or computed from shapes")
        return found

    def are_numbers(self, index: int) -> bool:
        """Whether an input is held as Python integers."""
        return self._scope.numbers(self._input(index)) is not None

    def let(self, expression: str, name: str) -> str:
        """Writes a line that names an intermediate result; returns the name that it got."""
        return self._scope.let(expression, name)

    def keep(self, array: np.ndarray, name: str) -> str:
        """Keeps a constant that was computed while importing; returns its expression."""
        return self._scope.keep(array, name)

    def function(self, called: Callable[..., Any]) -> str:
        """Imports a function of `ifa_fusion.onnx.functions` into the network; returns the name to call it by."""
        return self._scope.function(called)
