"""Normalisation over the last axis, computed in fp32 whatever the dtype of its input."""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from .weights import zeros


class RMSNorm(nn.Cell):
    """x / rms(x) * weight."""

    def __init__(self, size: int, epsilon: float, dtype: mstype.Type) -> None:
        super().__init__()
        self.weight = zeros((size,), dtype, "weight")
        self.epsilon = epsilon

    def construct(self, x: Tensor) -> Tensor:
        """x: (..., size); the result has its shape and dtype."""
        return ops.cast(over_rms(x, self.epsilon), x.dtype) * self.weight


class LayerNorm(nn.Cell):
    """(x - mean) / std * weight + bias."""

    def __init__(self, size: int, epsilon: float, dtype: mstype.Type) -> None:
        super().__init__()
        self.weight = zeros((size,), dtype, "weight")
        self.bias = zeros((size,), dtype, "bias")
        self.epsilon = epsilon

    def construct(self, x: Tensor) -> Tensor:
        """x: (..., size); the result has its shape and dtype."""
        wide = ops.cast(x, mstype.float32)
        normed = over_rms(wide - ops.mean(wide, -1, True), self.epsilon)
        return ops.cast(normed, x.dtype) * self.weight + self.bias


def over_rms(x: Tensor, epsilon: float) -> Tensor:
    """Divide x by its root mean square over the last axis; in fp32."""
    wide = ops.cast(x, mstype.float32)
    return wide * ops.rsqrt(ops.mean(wide * wide, -1, True) + epsilon)
