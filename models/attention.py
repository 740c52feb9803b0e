"""What the attention of several families shares: heads of one token, repeated KV heads, grouped attention.

The latter as Hugging Face spells it; families that spell it in their own way do so in their files.
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from .config import ModelConfig


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, 1, N * D) to (B, N, 1, D)."""
    return ops.transpose(ops.reshape(x, (x.shape[0], 1, heads, -1)), (0, 2, 1, 3))


def merge_heads(x: Tensor) -> Tensor:
    """(B, N, 1, D) to (B, 1, N * D)."""
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (x.shape[0], 1, -1))


def repeat_heads(x: Tensor, groups: int) -> Tensor:
    """(B, kvN, S, D) to (B, kvN * groups, S, D), each head followed by its copies."""
    batch, heads, _, size = x.shape
    copies = ops.broadcast_to(ops.expand_dims(x, 2), (-1, -1, groups, -1, -1))
    return ops.reshape(copies, (batch, heads * groups, -1, size))


class RepeatedAttend(nn.Cell):
    """Scores, softmax and mix over KV heads that are repeated by broadcasting."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.groups = config.group_size
        self.scale = config.head_dim**-0.5

    def construct(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """query: (B, N, 1, D); keys, values: (B, kvN, S, D); mask: additive (1, 1, 1, S) or None."""
        keys, values = repeat_heads(keys, self.groups), repeat_heads(values, self.groups)
        scores = ops.matmul(query, ops.transpose(keys, (0, 1, 3, 2))) * self.scale
        if mask is not None:
            scores = scores + mask
        weights = ops.cast(ops.softmax(ops.cast(scores, mstype.float32), -1), query.dtype)
        return ops.matmul(weights, values)
