"""What is known of an argument: all of it in PyNative mode, what the compiler has inferred in graph mode.

The validation works on these descriptions, so that one set of rules serves both modes. It knows nothing of
the rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from mindspore import Tensor
from mindspore import dtype as mstype

UNKNOWN_DIMENSION = -1
_UNKNOWN_RANK = -2


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor's data type and shape; a dimension is -1, or the shape None, where only the run will tell."""

    dtype: Any
    shape: tuple[int, ...] | None

    def __str__(self) -> str:
        """Text for messages, such as ``Tensor[Float16] of shape (2, 1, 128)``."""
        shape = "unknown shape" if self.shape is None else f"shape {self.shape}"
        return f"Tensor[{self.dtype}] of {shape}"


def dimension(tensor: TensorSpec | None, index: int) -> int | None:
    """Return a dimension of a tensor; None: only the run will tell."""
    if tensor is None or tensor.shape is None or tensor.shape[index] == UNKNOWN_DIMENSION:
        return None
    return tensor.shape[index]


def known_dimensions(shape: tuple[int, ...]) -> tuple[int | None, ...]:
    """Return a shape with None where only the run will tell."""
    return tuple(None if size == UNKNOWN_DIMENSION else size for size in shape)


def agrees(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether a shape is the expected one, as far as both are known; None stands for any size."""
    return len(shape) == len(expected) and all(
        want is None or size in (want, UNKNOWN_DIMENSION) for size, want in zip(shape, expected, strict=True)
    )


@dataclass(frozen=True, slots=True)
class RuntimeValue:
    """A value other than a tensor that only the run will tell."""

    dtype: Any


Operand: TypeAlias = Any
"""A TensorSpec, a RuntimeValue, a tuple of operands (a list or tuple), or any other Python value as it is."""


def operand_of(argument: object) -> Operand:
    """Describe an argument as Python passes it."""
    if argument is None or isinstance(argument, int | float | str):
        return argument  # first, because asking whether something is a Tensor is slow
    if isinstance(argument, Tensor):
        return TensorSpec(argument.dtype, argument.shape)
    if isinstance(argument, list | tuple):
        return tuple(operand_of(element) for element in argument)
    return argument


def operand_of_inferred(inferred: dict[str, Any]) -> Operand:
    """Describe an argument as MindSpore's compiler passes it to ``__infer__``: its dtype, shape and value."""
    return _from_inference(inferred["dtype"], inferred["shape"], inferred["value"])


def _from_inference(dtype: Any, shape: Any, value: Any) -> Operand:
    if isinstance(dtype, mstype.TensorType):
        known_rank = shape is not None and _UNKNOWN_RANK not in shape
        return TensorSpec(dtype.element_type(), tuple(shape) if known_rank else None)
    if isinstance(dtype, list | tuple):
        if not isinstance(shape, list | tuple) or len(shape) != len(dtype):
            return RuntimeValue(dtype)
        values = value if isinstance(value, list | tuple) else [None] * len(dtype)
        return tuple(map(_from_inference, dtype, shape, values))
    if value is None and dtype is not None and not isinstance(dtype, mstype.NoneType):
        return RuntimeValue(dtype)
    return value
