"""Writes an ONNX graph node by node. Knows nothing of decoders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

OPSET = 20
_IR_VERSION = 9  # of ONNX 1.15, the first with operator set 20

Operand = ir.Value | np.ndarray | None


class GraphWriter:
    """A graph to which nodes are added, each named after the part of the model that it belongs to."""

    def __init__(self, name: str) -> None:
        self._part = ""
        self._graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name=name)
        self._tape = Tape(self._graph)
        self._counts: dict[str, int] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is added within belongs to this part of the model."""
        before, self._part = self._part, f"/{name}"
        yield
        self._part = before

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
        """A new input; sizes that are strings are open and have that name."""
        value = ir.val(name, dtype, shape)
        self._graph.inputs.append(value)
        return value

    def output(self, name: str, value: ir.Value, dtype: ir.DataType, shape: Sequence[int | str]) -> None:
        """Make a value, of the type and shape given, the next output."""
        value.name, value.dtype, value.shape = name, dtype, ir.Shape(shape)
        self._graph.outputs.append(value)

    def weight(self, name: str, array: np.ndarray) -> ir.Value:
        """An initialiser with a name of its own."""
        return self._tape.initializer(ir.tensor(array, name=name))

    def op(self, operator: str, *operands: Operand, **attributes: int | Sequence[int] | str) -> ir.Value:
        """The output of a new node; arrays among its operands become initialisers, equal ones the same."""
        return self._tape.op(operator, self._values(operands), attributes, name=self._name(operator))

    def halves(self, value: ir.Value) -> Sequence[ir.Value]:
        """The two halves of the last axis."""
        attributes = {"axis": -1, "num_outputs": 2}
        return self._tape.op_multi_out("Split", [value], attributes, num_outputs=2, name=self._name("Split"))

    def model(self) -> ir.Model:
        """The model of the graph as it is now."""
        return ir.Model(self._graph, ir_version=_IR_VERSION, producer_name="ifa_fusion.models")

    def _name(self, operator: str) -> str:
        name = f"{self._part}/{operator}"
        count = self._counts[name] = self._counts.get(name, -1) + 1
        return f"{name}_{count}" if count else name

    def _values(self, operands: Sequence[Operand]) -> list[ir.Value | None]:
        return [self._constant(x) if isinstance(x, np.ndarray) else x for x in operands]

    def _constant(self, array: np.ndarray) -> ir.Value:
        key = array.dtype.name, array.shape, array.tobytes()
        if key not in self._constants:
            self._constants[key] = self.weight(f"constant_{len(self._constants)}", array)
        return self._constants[key]
