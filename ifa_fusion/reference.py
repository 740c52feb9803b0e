"""The operator's meaning in float64 NumPy: what every kernel is tested against.

Written to be read, not to be fast: one sequence and one KV head at a time, in the order in which the operator
is defined. It validates nothing and knows nothing of MindSpore. NaN and Inf propagate as the formulas say; an
exact zero weight times Inf is NaN here too, except beyond the valid positions, which are never read. (The CPU
kernel leaves most masked positions unread as well; there a NaN or Inf among the values may or may not spread.)

Symbols: B batch, N query heads, kvN KV heads, G = N / kvN, S KV length, D head size, H = N * D, kvH = kvN *
D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MASKED_SCORE", "incre_flash_attention"]

Array = NDArray[np.generic]
Float64 = NDArray[np.float64]

MASKED_SCORE = -1e12
"""What a score is replaced by where the mask is not 0: finite, so that a row of nothing else is uniform."""


def incre_flash_attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    attn_mask: Array | None = None,
    actual_seq_lengths: Array | Sequence[int] | None = None,
    pse_shift: Array | None = None,
    quant_scale2: Array | None = None,
    quant_offset2: Array | None = None,
    antiquant_scale: Array | None = None,
    antiquant_offset: Array | None = None,
    block_table: Array | None = None,
    num_heads: int = 1,
    input_layout: str = "BSH",
    scale_value: float = 1.0,
    num_key_value_heads: int = 0,
    block_size: int = 0,
    kv_padding_size: int | None = None,
) -> Array:
    """Compute the operator in float64.

    Args:
        query: (B, 1, H) in layout BSH, (B, N, 1, D) in layout BNSD; any floating-point type, bfloat16 of
            ml_dtypes too.
        key: (B, S, kvH) or (B, kvN, S, D); with a block table a cache of blocks, (blocks, block_size, kvH) or
            (blocks, kvN, block_size, D). Floating-point, or int8 with ``antiquant_scale``.
        value: Like ``key``.
        attn_mask: (B, S), (B, 1, S) or (B, 1, 1, S); not 0 hides the position. Longer rows than S are cut.
        actual_seq_lengths: One length for all sequences, or one each.
        pse_shift: (1 or B, N, 1, S), added to the scaled scores. Longer rows than S are cut.
        quant_scale2: 1 value, or N * D values in any shape; makes the output int8.
        quant_offset2: Like ``quant_scale2``.
        antiquant_scale: Row 0 for key, row 1 for value: 2 values, or 2 * kvN * D in any shape.
        antiquant_offset: Like ``antiquant_scale``; added before the scale is applied.
        block_table: (B, blocks per sequence), the block that holds each run of ``block_size`` positions.
        num_heads: N.
        input_layout: ``"BSH"`` or ``"BNSD"``.
        scale_value: Multiplies the scores.
        num_key_value_heads: kvN; 0 means N.
        block_size: Positions in a block.
        kv_padding_size: Positions at the end of the cache that hold nothing. Used with lengths and without
            blocks only.

    Returns:
        float64 of the shape of ``query``, or int8 with ``quant_scale2``.
    """
    heads = num_heads
    kv_heads = num_key_value_heads or heads
    batch = query.shape[0]
    queries = _float64(query).reshape(batch, heads, -1)
    cache = _Cache(key, value, kv_heads, input_layout, block_table, block_size)
    lengths = _lengths(actual_seq_lengths, batch, cache.capacity)
    left_padded = kv_padding_size is not None and actual_seq_lengths is not None and block_table is None

    output = np.zeros_like(queries)
    for b in range(batch):
        start = cache.capacity - max(int(kv_padding_size or 0), 0) - lengths[b] if left_padded else 0
        if start < 0 or lengths[b] == 0:
            continue  # the row stays 0
        positions = slice(start, start + lengths[b])
        for h in range(kv_heads):
            group = slice(h * heads // kv_heads, (h + 1) * heads // kv_heads)
            keys, values = cache.read(b, h, positions)
            keys = _dequantised(keys, antiquant_scale, antiquant_offset, 0, h, kv_heads)
            values = _dequantised(values, antiquant_scale, antiquant_offset, 1, h, kv_heads)
            scores = queries[b, group] @ keys.T * scale_value
            if pse_shift is not None:
                scores = scores + _float64(pse_shift)[b if len(pse_shift) > 1 else 0, group, 0, positions]
            if attn_mask is not None:
                hidden = np.asarray(attn_mask)[b].reshape(-1)[positions] != 0
                scores = np.where(hidden, MASKED_SCORE, scores)
            output[b, group] = _softmax(scores) @ values
    if quant_scale2 is not None:
        return _quantised(output, quant_scale2, quant_offset2).reshape(query.shape)
    return output.reshape(query.shape)


@dataclass
class _Cache:
    """Keys and values, whatever their layout."""

    key: Array
    value: Array
    kv_heads: int
    input_layout: str
    block_table: Array | None
    block_size: int

    @property
    def capacity(self) -> int:
        """Positions that a sequence has room for: S."""
        if self.block_table is not None:
            return self.block_table.shape[1] * self.block_size
        return self.key.shape[1] if self.input_layout == "BSH" else self.key.shape[2]

    def read(self, sequence: int, kv_head: int, positions: slice) -> tuple[Float64, Float64]:
        """Return the keys and values of one sequence and KV head, each (positions, D)."""
        return (
            self._read(self.key, sequence, kv_head, positions),
            self._read(self.value, sequence, kv_head, positions),
        )

    def _read(self, cache: Array, sequence: int, kv_head: int, positions: slice) -> Float64:
        if self.block_table is None:
            return _float64(self._head(cache[sequence], kv_head)[positions])
        rows = []
        for position in range(positions.start, positions.stop):
            block = int(self.block_table[sequence, position // self.block_size])
            rows.append(self._head(cache[block], kv_head)[position % self.block_size])
        return _float64(np.stack(rows))

    def _head(self, rows: Array, kv_head: int) -> Array:
        """From (positions, kvH), or (kvN, positions, D), the (positions, D) of one head."""
        if rows.ndim == 3:
            return rows[kv_head]
        head_size = rows.shape[1] // self.kv_heads
        return rows[:, kv_head * head_size : (kv_head + 1) * head_size]


def _float64(array: Array) -> Float64:
    return np.asarray(array).astype(np.float64)


def _lengths(actual_seq_lengths: Array | Sequence[int] | None, batch: int, capacity: int) -> list[int]:
    if actual_seq_lengths is None:
        return [capacity] * batch
    lengths = [int(length) for length in np.asarray(actual_seq_lengths).reshape(-1)]
    return lengths * batch if len(lengths) == 1 else lengths


def _softmax(scores: Float64) -> Float64:
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def _dequantised(
    rows: Float64, scale: Array | None, offset: Array | None, tensor: int, kv_head: int, kv_heads: int
) -> Float64:
    """(rows + offset) * scale with the parameters of one tensor (0 key, 1 value) and KV head."""
    if scale is None:
        return rows
    shift = 0.0 if offset is None else _parameter(offset, tensor, kv_head, kv_heads)
    return (rows + shift) * _parameter(scale, tensor, kv_head, kv_heads)


def _parameter(parameter: Array, tensor: int, kv_head: int, kv_heads: int) -> Float64:
    """Return a parameter of one tensor and KV head: one value, or one for each channel."""
    per_tensor = _float64(parameter).reshape(2, -1)[tensor]
    return per_tensor if per_tensor.size == 1 else per_tensor.reshape(kv_heads, -1)[kv_head]


def _quantised(output: Float64, scale: Array, offset: Array | None) -> Array:
    """Round output * scale + offset half to even and saturate, NaN to 0; one parameter, or one per head and channel."""
    shift = np.zeros(1) if offset is None else _float64(offset)
    channels = output.shape[1:]
    scale_of, shift_of = (p.reshape(-1) if p.size == 1 else p.reshape(channels) for p in (_float64(scale), shift))
    return np.nan_to_num(np.clip(np.rint(output * scale_of + shift_of), -128, 127)).astype(np.int8)
