"""Attention as ONNX's fused operators mean it: by the kernel where one position asks, else written out.

B is the batch size, N the number of query heads, kvN that of KV heads, L the number of query positions, S that of
keys, D the head size of queries and keys, Dv that of values. What MindSpore's CPU can't do in bfloat16 is done in
float32.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, ops


def split_heads(x: Tensor, heads: int) -> Tensor:
    """From (B, L, heads * D) to (B, heads, L, D)."""
    wide = x.astype(ms.float32) if x.dtype == ms.bfloat16 else x
    return ops.transpose(wide.reshape(x.shape[0], x.shape[1], heads, -1), (0, 2, 1, 3)).astype(x.dtype)


def merge_heads(x: Tensor) -> Tensor:
    """From (B, N, L, D) to (B, L, N * D)."""
    wide = x.astype(ms.float32) if x.dtype == ms.bfloat16 else x
    return ops.transpose(wide, (0, 2, 1, 3)).reshape(x.shape[0], x.shape[2], -1).astype(x.dtype)


def decode_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """Attention of one position, by the kernel.

    Args:
        query: Shape (B, N, 1, D); float16 or bfloat16, on a CPU float32 too.
        key: Shape (B, kvN, S, D), the type of ``query``.
        value: Like ``key``.
        scale: Multiplies the scores.
        mask: What is attended, bool, broadcastable to (B, 1, 1, S); None: everything.
        bias: Added to the scaled scores, broadcastable to (B, N, 1, S).
        lengths: How many keys of each sequence count, int32 or int64 of shape (B,); None: S.

    Returns:
        Shape (B, N, 1, D), the type of ``query``.
    """
    batch, heads, keys = query.shape[0], query.shape[1], key.shape[2]
    hidden, shift = None, None
    if mask is not None:
        hidden = ops.broadcast_to(ops.logical_not(mask), (batch, 1, 1, keys))
    if bias is not None:
        shift = ops.broadcast_to(bias.astype(ms.float32), (batch, heads, 1, keys)).astype(query.dtype)
    return ops.incre_flash_attention(
        query,
        [key],
        [value],
        hidden,
        lengths,
        shift,
        num_heads=heads,
        input_layout="BNSD",
        scale_value=scale,
        num_key_value_heads=key.shape[1],
    )


def zero_unseen(x: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
    """Results of shape (B, N, 1, D), with 0 for the queries that attend nothing: ONNX says so, the kernel does not.

    Args:
        x: What `decode_attention` returned.
        mask: As it was given there.
        bias: As it was given there.
    """
    wide = x.astype(ms.float32)
    if mask is not None:
        wide = ops.where(ops.any(mask, -1, True), wide, 0.0)
    if bias is not None:
        wide = ops.where(ops.any(bias.astype(ms.float32) > float("-inf"), -1, True), wide, 0.0)
    return wide.astype(x.dtype)


def attention_scores(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """The scaled products of queries (B, N, L, D) and keys (B, kvN, S, D): float32 of shape (B, N, L, S)."""
    if query.dtype == ms.bfloat16:
        query, key = query.astype(ms.float32), key.astype(ms.float32)
    key = _repeat_heads(key, query.shape[1])
    return ops.matmul(query * scale, ops.transpose(key, (0, 1, 3, 2))).astype(ms.float32)


def mask_scores(scores: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
    """Scores with a bias added, and -inf where a bool mask is False; both broadcast to the scores' shape."""
    if bias is not None:
        scores = scores + bias.astype(ms.float32)
    if mask is not None:
        scores = ops.where(mask, scores, float("-inf"))
    return scores


def zero_hidden(weights: Tensor, scores: Tensor) -> Tensor:
    """Weights with 0 where the score is -inf, which matters for queries that attend nothing."""
    return ops.where(scores == float("-inf"), 0.0, weights)


def with_sinks(scores: Tensor, sinks: Tensor) -> Tensor:
    """Scores (B, N, L, S) with a sink of each head, of shape (N,), behind them: shape (B, N, L, S + 1)."""
    sink = ops.broadcast_to(sinks.astype(ms.float32).reshape(1, -1, 1, 1), (*scores.shape[:3], 1))
    return ops.concat((scores, sink), -1)


def attend(weights: Tensor, value: Tensor) -> Tensor:
    """The sums of values (B, kvN, S, Dv) with weights (B, N, L, S): shape (B, N, L, Dv), the type of ``value``."""
    wide = value.astype(ms.float32) if value.dtype == ms.bfloat16 else value
    return ops.matmul(weights.astype(wide.dtype), _repeat_heads(wide, weights.shape[1])).astype(value.dtype)


def visible(queries: int, keys: int, offset: int | Tensor, left: int = -1, right: int = -1) -> Tensor:
    """Which keys a window around each query's own position shows.

    Args:
        queries: L.
        keys: S.
        offset: The position of the first query, or an integer Tensor of shape (B, 1, 1, 1).
        left: How many positions before its own a query sees; -1: all.
        right: How many positions behind its own a query sees; -1: all.

    Returns:
        Bool of shape (L, S), or (B, 1, L, S) where the offsets differ.
    """
    ahead = ops.range(0, keys, 1) - (ops.range(0, queries, 1).reshape(-1, 1) + offset)
    if left < 0:
        return ahead <= right
    if right < 0:
        return ahead >= -left
    return ops.logical_and(ahead <= right, ahead >= -left)


def lengthen_mask(mask: Tensor, keys: int, filling: bool | float) -> Tensor:
    """A mask (..., M) of M <= S keys with more of the filling behind, up to S of them."""
    return ops.concat((mask, ops.full((*mask.shape[:-1], keys - mask.shape[-1]), filling, dtype=mask.dtype)), -1)


def _repeat_heads(x: Tensor, heads: int) -> Tensor:
    batch, kv_heads, keys, size = x.shape
    if kv_heads == heads:
        return x
    groups = ops.broadcast_to(
        x.reshape(batch, kv_heads, 1, keys, size), (batch, kv_heads, heads // kv_heads, keys, size)
    )
    return groups.reshape(batch, heads, keys, size)
