"""Linear quantisation, and matrix products of quantised numbers."""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, ops


def quantise(x: Tensor, scale: Tensor, zero_point: Tensor | None, dtype: ms.Type) -> Tensor:
    """round(x / scale) + zero point, halves to even, saturated.

    Args:
        x: Floats or int32 of any shape.
        scale: Positive; broadcasts to ``x``.
        zero_point: Broadcasts to ``x``; None: 0.
        dtype: int8, uint8, int16 or uint16.

    Returns:
        A Tensor of the shape of ``x`` and of ``dtype``.
    """
    levels = ops.round(x.astype(ms.float32) / scale)
    if zero_point is not None:
        levels = levels + zero_point.astype(ms.float32)
    least, most = {ms.int8: (-128, 127), ms.uint8: (0, 255), ms.int16: (-32768, 32767), ms.uint16: (0, 65535)}[dtype]
    return ops.clamp(levels, least, most).astype(dtype)


def quantise_dynamically(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantisation to uint8 over the range of the values and 0.

    Args:
        x: float32 of any shape.

    Returns:
        The levels, uint8 of the shape of ``x``; the scale, float32, and the zero point, uint8, of shape ().
    """
    least, most = ops.minimum(x.min(), 0.0), ops.maximum(x.max(), 0.0)
    scale = (most - least) / 255.0
    scale = ops.where(scale == 0.0, 1.0, scale)
    zero_point = ops.clamp(ops.round(-least / scale), 0, 255)
    levels = ops.clamp(ops.round(x / scale) + zero_point, 0, 255)
    return levels.astype(ms.uint8), scale, zero_point.astype(ms.uint8)


def integer_matmul(a: Tensor, b: Tensor, a_zero_point: Tensor | None, b_zero_point: Tensor | None) -> Tensor:
    """(a - zero point) @ (b - zero point), exact in int32.

    Args:
        a: int8 or uint8 of shape (..., M, K).
        b: int8 or uint8 of shape (..., K, N).
        a_zero_point: Of one element, or one for each row: (M,) or (..., M, 1); None: 0.
        b_zero_point: Of one element, or one for each column: (N,) or (..., 1, N); None: 0.

    Returns:
        int32 of shape (..., M, N).
    """
    a, b = a.astype(ms.int32), b.astype(ms.int32)
    if a_zero_point is not None:
        a = a - for_rows(a_zero_point.astype(ms.int32))
    if b_zero_point is not None:
        b = b - b_zero_point.astype(ms.int32)
    return ops.matmul(a, b)


def for_rows(numbers: Tensor) -> Tensor:
    """Numbers for the rows of a matrix, (M,) or (..., M, 1), so that they broadcast to it."""
    return numbers.reshape(-1, 1) if numbers.ndim == 1 else numbers


def matmul_of_blocks(x: Tensor, levels: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
    """The product with a transposed weight that is quantised in blocks along its rows.

    Args:
        x: Floats of shape (..., K).
        levels: int8 of shape (N, blocks, block size), with blocks * block size >= K.
        scale: The type of ``x``, of shape (N, blocks, 1).
        zero_point: Like ``scale``; None: 0.

    Returns:
        The type of ``x``, of shape (..., N).
    """
    weight = levels.astype(ms.float32)
    if zero_point is not None:
        weight = weight - zero_point
    weight = (weight * scale).astype(x.dtype).reshape(levels.shape[0], -1)[:, : x.shape[-1]]
    return ops.matmul(x, weight.T)
