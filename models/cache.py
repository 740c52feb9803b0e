"""Key/value caches of one attention layer: preallocated and written in place, or growing as graph inputs.

Both take the new token's key and value, (B, kvN, 1, D), and return all keys and values to attend to, (B, kvN,
S, D). They know nothing of how attention is computed.
"""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype


class StaticCache(nn.Cell):
    """Keys and values of `capacity` tokens, (batch, kv_heads, capacity, head_dim), written in place.

    A slot is set with two in-place scatters: times zero, then plus the new value. `ScatterNdUpdate` and slice
    assignment would say the same, but on a CPU both copy the whole cache on every step.
    """

    def __init__(self, batch: int, kv_heads: int, capacity: int, head_dim: int, dtype: mstype.Type) -> None:
        super().__init__()
        zeros = np.zeros((batch, kv_heads, capacity, head_dim), np.float32)
        self.key = Parameter(Tensor(zeros, dtype), name="key", requires_grad=False)
        self.value = Parameter(Tensor(zeros, dtype), name="value", requires_grad=False)
        self.multiply = ops.ScatterNdMul()
        self.add = ops.ScatterNdAdd()
        self.row_shape = (batch * kv_heads, head_dim)

    def construct(self, key: Tensor, value: Tensor, slot: Tensor, past: tuple) -> tuple[Tensor, Tensor]:
        """`slot`: int32 (B * kvN, 3), where the new token goes: batch, head, position. `past` is not used."""
        return self._write(self.key, key, slot), self._write(self.value, value, slot)

    def _write(self, cache: Parameter, new: Tensor, slot: Tensor) -> Tensor:
        row = ops.reshape(new, self.row_shape)
        cleared = self.multiply(cache, slot, ops.zeros_like(row))
        written = self.add(ops.depend(cache, cleared), slot, row)
        return ops.depend(cache, written)


class GrowingCache(nn.Cell):
    """Past keys and values come in as graph inputs and go out one token longer."""

    def construct(self, key: Tensor, value: Tensor, slot: None, past: tuple) -> tuple[Tensor, Tensor]:
        """`past`: key and value of the earlier tokens, each (B, kvN, S - 1, D). `slot` is not used."""
        return ops.concat((past[0], key), 2), ops.concat((past[1], value), 2)


def cache_slots(batch: int, kv_heads: int) -> Tensor:
    """The batch and head columns of a slot, int32 (batch * kv_heads, 2)."""
    return Tensor(np.indices((batch, kv_heads), np.int32).reshape(2, -1).T.copy())
