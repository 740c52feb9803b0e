"""What the attention of several families shares: the heads of one token."""

from __future__ import annotations

from mindspore import Tensor, ops


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, 1, N * D) to (B, N, 1, D)."""
    return ops.transpose(ops.reshape(x, (x.shape[0], 1, heads, -1)), (0, 2, 1, 3))


def merge_heads(x: Tensor) -> Tensor:
    """(B, N, 1, D) to (B, 1, N * D)."""
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (x.shape[0], 1, -1))
