"""KV caches of a fixed length, into which each sequence writes where its own positions end."""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, ops


def write_cache(cache: Tensor, new: Tensor, starts: Tensor) -> Tensor:
    """A cache with new positions written over old ones.

    Args:
        cache: Shape (B, kvN, S, D).
        new: Shape (B, kvN, L, D), the type of ``cache``.
        starts: The position of the first of the L in each sequence, an integer Tensor of shape (B,).

    Returns:
        A Tensor like ``cache``.
    """
    shape = new.shape[:3]
    positions = starts.reshape(-1, 1, 1) + ops.range(0, shape[2], 1)
    batches = ops.range(0, shape[0], 1).reshape(-1, 1, 1)
    heads = ops.range(0, shape[1], 1).reshape(-1, 1)
    places = ops.stack([ops.broadcast_to(x.astype(ms.int64), shape) for x in (batches, heads, positions)], -1)
    if cache.dtype == ms.bfloat16:  # MindSpore's CPU scatters no bfloat16
        return ops.tensor_scatter_update(cache.astype(ms.float32), places, new.astype(ms.float32)).astype(cache.dtype)
    return ops.tensor_scatter_update(cache, places, new)
