"""The names and values of a network while its code is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from mindspore import nn

from ifa_fusion.onnx import types
from ifa_fusion.onnx.names import Names, plain
from ifa_fusion.onnx.operators.table import Numbers

_MOST_NUMBERS = 64
"""The most elements of a constant that is written into the code; a longer one is a Parameter."""

_LONGEST_KEY = 200
"""The longest name of a parameter in a checkpoint; MindSpore's own limit is some way above."""

_LITERAL_OPERANDS = frozenset(
    {
        ir.DataType.FLOAT16,
        ir.DataType.BFLOAT16,
        ir.DataType.FLOAT,
        ir.DataType.INT32,
        ir.DataType.INT64,
    }
)
"""The types that a MindSpore operator keeps when its other operand is a Python number."""


_LEAST_INTEGER = -(1 << 63)
"""MindSpore reads the minus apart, and what follows it is no int64."""


def _literal(value: Any) -> str:
    """Python code of numbers in nested lists; floats round to the same float again."""
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, float) and not np.isfinite(value):
        return f'float("{value}")'
    return repr(value)


class Scope:
    """What the code of a network can name: inputs, results, constants, parameters and functions.

    Attributes:
        lines: The statements of `construct` so far.
        members: The statements of `__init__` that make small constants.
        weights: By name in the checkpoint, the attribute of the cell and the value of each parameter.
        functions: The functions to import, by the name that the code calls them by.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.members: list[str] = []
        self.weights: dict[str, tuple[str, ir.TensorProtocol | np.ndarray]] = {}
        self.functions: dict[str, Callable[..., Any]] = {}
        self._names = Names(["Tensor", "Parameter", "Decoder", "float"])
        self._attributes = Names(dir(nn.Cell()))
        self._values: dict[ir.Value, str | Numbers] = {}
        self._named_numbers: dict[str, str] = {}

    def comment(self, *texts: str) -> None:
        """Writes a comment above the lines that follow; one that no line followed is replaced."""
        if self.lines and self.lines[-1].startswith("#"):
            self.lines.pop()
        self.lines.append(" ".join(["#", *filter(None, map(plain, texts))]))

    def input(self, value: ir.Value) -> None:
        """Enters an input of the network."""
        self._values[value] = self._names.new(value.name or "")

    def give_up(self, values: Iterable[ir.Value]) -> None:
        """Enters results that could not be written, so that what reads them can be looked at all the same."""
        self._values.update(dict.fromkeys(values, "None"))

    def result(self, value: ir.Value, code: str | Numbers) -> None:
        """Enters the result of a node, and writes the line that computes it."""
        name = (value.name or "").removesuffix("_output_0")
        if isinstance(code, str):
            self._values[value] = self.let(code, name)
        else:
            self._values[value] = Numbers(tuple(self._number(c, name) for c in code.codes), code.scalar)

    def _number(self, code: str, name: str) -> str:
        """An expression for a Python integer in few characters: a line names the longer ones, once."""
        if code.isidentifier() or code.lstrip("-").isdigit():
            return code
        if code not in self._named_numbers:
            self._named_numbers[code] = self.let(code, name)
        return self._named_numbers[code]

    def let(self, code: str, name: str) -> str:
        """Writes a line that names an intermediate result; returns the name that it got."""
        given = self._names.new(name)
        self.lines.append(f"{given} = {code}")
        return given

    def function(self, called: Callable[..., Any]) -> str:
        """Has a function imported into the module; returns the name to call it by."""
        for name, function in self.functions.items():
            if function is called:
                return name
        name = self._names.new(called.__name__)
        self.functions[name] = called
        return name

    def constant(self, value: ir.Value) -> np.ndarray | None:
        """The value if it is known while importing."""
        return None if value.const_value is None else value.const_value.numpy()

    def numbers(self, value: ir.Value) -> tuple[str, ...] | None:
        """The elements of an integer value of rank 0 or 1 as expressions for Python integers, None if a tensor."""
        held = self._values.get(value)
        if isinstance(held, Numbers):
            return held.codes
        constant = value.const_value
        if constant is None or not constant.dtype.is_integer() or len(constant.shape) > 1:
            return None
        return None if constant.size > _MOST_NUMBERS else tuple(str(n) for n in constant.numpy().reshape(-1).tolist())

    def tensor(self, value: ir.Value) -> str:
        """The expression of a value as a tensor."""
        held = self._values.get(value)
        if held is None:
            assert value.const_value is not None, "values are entered before they are read"
            held = self._values[value] = self.keep(value.const_value, value.name or "")
        if isinstance(held, str):
            return held
        elements = [
            f"ops.scalar_to_tensor({code}, {types.code(value.dtype or ir.DataType.INT64)})" for code in held.codes
        ]
        code = elements[0] if held.scalar else f"ops.stack(({', '.join(elements)},))"
        return self.let(code, value.name or "")

    def operand(self, value: ir.Value, others: Sequence[ir.Value]) -> str:
        """The expression of an operand: a Python number if that decides neither the type nor the rank of the result."""
        constant = value.const_value
        if constant is None or constant.size != 1 or constant.dtype not in _LITERAL_OPERANDS:
            return self.tensor(value)
        number = constant.numpy().item()
        decided = any(
            other.const_value is None
            and other.shape is not None
            and len(other.shape) >= len(constant.shape)
            and not isinstance(self._values.get(other), Numbers)
            for other in others
        )
        written = np.isfinite(number) and number != _LEAST_INTEGER
        return repr(number) if decided and written else self.tensor(value)

    def keep(self, value: ir.TensorProtocol | np.ndarray, name: str) -> str:
        """Keeps a constant as an attribute of the cell; returns its expression.

        One element, or few integers, are written into the code; all else becomes a parameter.
        """
        tensor = ir.tensor(value) if isinstance(value, np.ndarray) else value
        dtype = types.code(tensor.dtype)
        attribute = self._attributes.new(name)
        if tensor.size == 0:
            self.members.append(f"self.{attribute} = Tensor(np.zeros({tuple(tensor.shape.numpy())}), {dtype})")
        elif tensor.size == 1 or (tensor.size <= _MOST_NUMBERS and not tensor.dtype.is_floating_point()):
            self.members.append(f"self.{attribute} = Tensor({_literal(tensor.numpy().tolist())}, {dtype})")
        else:
            usable = 0 < len(name) <= _LONGEST_KEY and name.isascii() and name.isprintable()
            self.weights[name if usable and name not in self.weights else attribute] = (attribute, tensor)
        return f"self.{attribute}"
