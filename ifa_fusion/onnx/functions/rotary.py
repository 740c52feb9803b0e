"""Rotary position embedding as ONNX's fused operators mean it."""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, ops


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
    """Turns pairs of channels by angles that depend on the position.

    Args:
        x: Shape (B, N, L, D).
        cos: The cosines, of the type of ``x`` and of shape (B or 1, L, R / 2); channels from R on stay as they are.
        sin: The sines, alike.
        interleaved: Whether a pair is (2 i, 2 i + 1) instead of (i, i + R / 2).

    Returns:
        A Tensor like ``x``.
    """
    # MindSpore's CPU slices no bfloat16.
    wide, cos, sin = (t.astype(ms.float32) if t.dtype == ms.bfloat16 else t for t in (x, cos, sin))
    cos, sin = ops.expand_dims(cos, 1), ops.expand_dims(sin, 1)
    half = cos.shape[-1]
    turned, rest = wide[..., : 2 * half], wide[..., 2 * half :]
    if interleaved:
        first, second = turned[..., 0::2], turned[..., 1::2]
    else:
        first, second = turned[..., :half], turned[..., half:]
    real, imaginary = first * cos - second * sin, first * sin + second * cos
    if interleaved:
        turned = ops.stack((real, imaginary), -1).reshape(turned.shape)
    else:
        turned = ops.concat((real, imaginary), -1)
    return (turned if x.shape[-1] == 2 * half else ops.concat((turned, rest), -1)).astype(x.dtype)


def rows_at(table: Tensor, positions: Tensor) -> Tensor:
    """The rows of a table (M, R / 2) at positions (B, L): shape (B, L, R / 2)."""
    wide = table.astype(ms.float32) if table.dtype == ms.bfloat16 else table  # MindSpore's CPU gathers no bfloat16
    return ops.gather(wide, positions, 0).astype(table.dtype)
