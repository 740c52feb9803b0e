"""Key/value caches of one attention layer: preallocated and written in place, whole or in blocks, or growing as inputs.

All take the new token's key and value, (B, kvN, 1, D), and return all keys and values to attend to, (B, kvN,
S, D). They know nothing of how attention is computed.
"""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype


class InPlaceCache(nn.Cell):
    """Writes rows into a cache without a copy of it.

    A row is set with two in-place scatters: times zero, then plus the new value. `ScatterNdUpdate` and slice
    assignment would say the same, but on a CPU both copy the whole cache on every step.
    """

    def __init__(self, row_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.multiply = ops.ScatterNdMul()
        self.add = ops.ScatterNdAdd()
        self.row_shape = row_shape

    def write(self, cache: Parameter, new: Tensor, slot: Tensor) -> Tensor:
        """`cache` with `new`, in the shape `row_shape`, where `slot` says: int32, a row's first indices each."""
        row = ops.reshape(new, self.row_shape)
        cleared = self.multiply(cache, slot, ops.zeros_like(row))
        written = self.add(ops.depend(cache, cleared), slot, row)
        return ops.depend(cache, written)


class StaticCache(InPlaceCache):
    """Keys and values of `capacity` tokens, (batch, kv_heads, capacity, head_dim)."""

    def __init__(self, batch: int, kv_heads: int, capacity: int, head_dim: int, dtype: mstype.Type) -> None:
        super().__init__((batch * kv_heads, head_dim))
        shape = (batch, kv_heads, capacity, head_dim)
        self.key, self.value = empty(shape, dtype, "key"), empty(shape, dtype, "value")

    def construct(self, key: Tensor, value: Tensor, slot: Tensor, past: tuple) -> tuple[Tensor, Tensor]:
        """`slot`: int32 (B * kvN, 3), where the new token goes: batch, head, position. `past` is not used."""
        return self.write(self.key, key, slot), self.write(self.value, value, slot)


class PagedCache(InPlaceCache):
    """Keys and values in blocks of any order, which a table collects for each sequence."""

    def __init__(self, batch: int, kv_heads: int, head_dim: int) -> None:
        super().__init__((batch, kv_heads, head_dim))

    def construct(self, key: Tensor, value: Tensor, slot: Tensor, past: tuple) -> tuple[Tensor, Tensor]:
        """`slot`: int32 (B, 2), where the new token goes: block, position in it.

        `past`: blocks of keys and of values, parameters (blocks, block_size, kvN, D), and the table, int32 (B, M): the
        numbers of the blocks that hold a sequence's M * block_size positions.
        """
        keys, values, table = past
        return self._collect(self.write(keys, key, slot), table), self._collect(self.write(values, value, slot), table)

    def _collect(self, blocks: Tensor, table: Tensor) -> Tensor:
        batch, kv_heads, head_dim = self.row_shape
        rows = ops.reshape(ops.gather(blocks, table, 0), (batch, -1, kv_heads, head_dim))
        return ops.transpose(rows, (0, 2, 1, 3))


class GrowingCache(nn.Cell):
    """Past keys and values come in as graph inputs and go out one token longer."""

    def construct(self, key: Tensor, value: Tensor, slot: None, past: tuple) -> tuple[Tensor, Tensor]:
        """`past`: key and value of the earlier tokens, each (B, kvN, S - 1, D). `slot` is not used."""
        return ops.concat((past[0], key), 2), ops.concat((past[1], value), 2)


def cache_slots(batch: int, kv_heads: int) -> Tensor:
    """The batch and head columns of a slot, int32 (batch * kv_heads, 2)."""
    return Tensor(np.indices((batch, kv_heads), np.int32).reshape(2, -1).T.copy())


def empty(shape: tuple[int, ...], dtype: mstype.Type, name: str) -> Parameter:
    """What a cache holds before the first token: zeros."""
    return Parameter(Tensor(np.zeros(shape, np.float32), dtype), name=name, requires_grad=False)
