"""Inputs made up for a network that is known from a file: seeded, and of the kind that their names tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mindspore as ms
import numpy as np

_PAST, _OTHER = 8, 8
_BYTES = (ms.int8, ms.uint8)
_INTEGERS = (*_BYTES, ms.int16, ms.uint16, ms.int32, ms.uint32, ms.int64, ms.uint64)
_TOKENS = 4
"""Token ids, positions and lengths are below it: every vocabulary, and every cache worth the name, has as many."""


@dataclass(frozen=True)
class Declared:
    """What a file says of an input.

    Attributes:
        name: Its name.
        dtype: Its type.
        shape: Its sizes, and names for those that are open.
    """

    name: str
    dtype: Any
    shape: tuple[int | str, ...]

    @classmethod
    def of(cls, name: str, tensor: ms.Tensor, names: Sequence[str] = ()) -> Declared:
        """The input for a tensor without data; an open size without a name of its own is called INPUT.AXIS."""
        shape: list[int | str] = []
        for axis, size in enumerate(tensor.shape):
            given = names[axis] if axis < len(names) else ""
            shape.append(size if size is not None and size >= 0 else given or f"{name}.{axis}")
        return cls(name, tensor.dtype, tuple(shape))

    def bound(self, sizes: Mapping[str, int]) -> Declared:
        """The same with sizes for those that are open."""
        return replace(
            self, shape=tuple(sizes.get(size, size) if isinstance(size, str) else size for size in self.shape)
        )

    def tensor(self) -> ms.Tensor:
        """A tensor without data."""
        shape = [None if isinstance(size, str) else size for size in self.shape]
        return ms.Tensor(shape=shape, dtype=self.dtype, init=None if None in shape else 0)


def default_size(name: str) -> int:
    """A size for an open dimension: one sequence, one token, a past of some, and a mask over all."""
    name = name.lower()
    if name.endswith(".0"):
        return 1
    if any(word in name for word in ("total", "+", "mask")):
        return _PAST + 1
    if "past" in name or "cache" in name:
        return _PAST
    if any(word in name for word in ("batch", "seq", "query", "ids")):
        return 1
    return _OTHER


def made_up(inputs: Sequence[Declared]) -> list[ms.Tensor]:
    """Numbers for inputs without open sizes, the same in every run."""
    random = np.random.default_rng(0)
    return [ms.Tensor(_numbers(random, entry), entry.dtype) for entry in inputs]


def _numbers(random: np.random.Generator, entry: Declared) -> np.ndarray:
    """Masks leave something to attend to, whichever of their values hides it."""
    shape = [size for size in entry.shape if isinstance(size, int)]
    if entry.dtype == ms.bool_:
        return np.asarray(np.indices(shape).sum(axis=0) % 2 == 0)
    if "mask" in entry.name.lower():
        return np.full(shape, entry.dtype in _INTEGERS)
    if entry.dtype in _INTEGERS:
        return np.asarray(random.integers(0, 100 if entry.dtype in _BYTES else _TOKENS, shape))
    return np.asarray(random.standard_normal(shape))
