"""Rotary positions: pairs of channels turn by an angle that is proportional to the token's position."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype


class Rotary(nn.Cell):
    """Cosines and sines of one position's angles."""

    def __init__(self, channels: int, theta: float, dtype: mstype.Type) -> None:
        super().__init__()
        frequencies = theta ** -(np.arange(0, channels, 2, dtype=np.float64) / channels)
        self.frequencies = Tensor(np.tile(frequencies, 2).astype(np.float32))
        self.dtype = dtype

    def construct(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """position: int32 (). Cosine and sine for each channel, both (channels,)."""
        angles = ops.cast(position, mstype.float32) * self.frequencies
        return ops.cast(ops.cos(angles), self.dtype), ops.cast(ops.sin(angles), self.dtype)


def rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x (..., D), channel i together with channel i + D/2; cos and sin: (D,)."""
    first, second = ops.split(x, x.shape[-1] // 2, -1)
    return x * cos + ops.concat((-second, first), -1) * sin
