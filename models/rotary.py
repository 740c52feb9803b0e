"""Rotary positions: pairs of channels turn by an angle that is proportional to the token's position.

The families differ in which channels are a pair: channel i with i + D/2, or neighbours.
"""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype


class Rotary(nn.Cell):
    """Cosines and sines of one position's angles."""

    def __init__(self, channels: int, theta: float, dtype: mstype.Type, neighbours: bool = False) -> None:
        super().__init__()
        frequencies = theta ** -(np.arange(0, channels, 2, dtype=np.float64) / channels)
        by_channel = np.repeat(frequencies, 2) if neighbours else np.tile(frequencies, 2)
        self.frequencies = Tensor(by_channel.astype(np.float32))
        self.dtype = dtype

    def construct(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """position: int32 (). Cosine and sine for each channel, both (channels,)."""
        angles = ops.cast(position, mstype.float32) * self.frequencies
        return ops.cast(ops.cos(angles), self.dtype), ops.cast(ops.sin(angles), self.dtype)


def rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x (..., D), channel i together with channel i + D/2; cos and sin: (D,)."""
    first, second = ops.split(x, x.shape[-1] // 2, -1)
    return x * cos + ops.concat((-second, first), -1) * sin


def rotate_neighbours(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x (..., D), channel 2i together with channel 2i + 1; cos and sin: (D,)."""
    turned = ops.stack((-x[..., 1::2], x[..., ::2]), -1)
    return x * cos + ops.reshape(turned, x.shape) * sin
