"""Paged caches: the numbers of a contiguous one, in blocks that a table finds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .case import Shape
from .ring import Array


def shuffled_table(shape: Shape, block_size: int) -> NDArray[np.int32]:
    """(B, S / block_size): every block once, in random order, as a long-running server leaves them."""
    blocks = shape.batch * shape.kv_length // block_size
    return np.random.default_rng(1).permutation(blocks).astype(np.int32).reshape(shape.batch, -1)


def paged(cache: Array, table: NDArray[np.int32], block_size: int) -> Array:
    """(B, kvN, S, D) as (blocks, kvN, block_size, D), where ``table`` finds the same positions."""
    batch, kv_heads, _, head_size = cache.shape
    in_order = cache.reshape(batch, kv_heads, -1, block_size, head_size).swapaxes(1, 2)
    blocks = np.empty((table.size, *in_order.shape[2:]), cache.dtype)
    blocks[table] = in_order
    return blocks
