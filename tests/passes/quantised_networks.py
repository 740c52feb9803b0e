"""Stages around int8 caches: the ways in which models write their dequantisation.

A parameter is a number, a Tensor, which is a constant of the graph, or a Parameter, which is not. Sizes are those
of `networks`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, mint, nn, ops
from mindspore.ops import operations as P
from networks import repeat_interleave, scores_by_matmul


def as_parameter(values: np.ndarray, dtype: Any = ms.float32) -> Parameter:
    return Parameter(Tensor(np.asarray(values)).astype(dtype))


class Scaled(nn.Cell):
    """x * scale"""

    def __init__(self, scale, dtype=ms.float32):
        super().__init__()
        self.scale = scale
        self.dtype = dtype

    def construct(self, x):
        return x.astype(self.dtype) * self.scale


class ScaleTimes(Scaled):
    def construct(self, x):
        return self.scale * ops.cast(x, self.dtype)


class ScaledUncast(Scaled):
    """MindSpore changes the type by itself."""

    def construct(self, x):
        return x * self.scale


class ScaledMint(Scaled):
    def construct(self, x):
        return mint.mul(x.to(self.dtype), self.scale)


class ScaledMethod(Scaled):
    def construct(self, x):
        return x.to(self.dtype).mul(self.scale)


class Divided(Scaled):
    def construct(self, x):
        return x.astype(self.dtype) / self.scale


class DividedOps(Scaled):
    def construct(self, x):
        return ops.div(x.astype(self.dtype), self.scale)


class DividedReal(Scaled):
    def construct(self, x):
        return P.RealDiv()(x.astype(self.dtype), self.scale)


class Shifted(nn.Cell):
    """(x + offset) * scale"""

    def __init__(self, offset, scale, dtype=ms.float32):
        super().__init__()
        self.offset = offset
        self.scale = scale
        self.dtype = dtype

    def construct(self, x):
        return (x.astype(self.dtype) + self.offset) * self.scale


class OffsetPlus(Shifted):
    def construct(self, x):
        return self.scale * (self.offset + x.astype(self.dtype))


class ShiftedMint(Shifted):
    def construct(self, x):
        return mint.mul(mint.add(x.to(self.dtype), self.offset), self.scale)


class ShiftedTwice(Shifted):
    """(x + offset + 1) * scale / 2"""

    def construct(self, x):
        return ((x.astype(self.dtype) + self.offset) + 1.0) * self.scale / 2.0


class ZeroPoint(Shifted):
    """(x - offset) * scale"""

    def construct(self, x):
        return (x.astype(self.dtype) - self.offset) * self.scale


class ZeroPointCast(Shifted):
    def construct(self, x):
        return (x.astype(self.dtype) - self.offset.astype(self.dtype)) * self.scale


class ZeroPointMint(Shifted):
    def construct(self, x):
        return mint.mul(mint.sub(x.to(self.dtype), self.offset), self.scale)


class ZeroPointMethod(Shifted):
    def construct(self, x):
        return x.to(self.dtype).sub(self.offset).mul(self.scale)


class ZeroPointInt8(Shifted):
    """(x - offset) * scale with a difference that wraps around"""

    def construct(self, x):
        return (x - self.offset).astype(self.dtype) * self.scale


class ZeroPointTwice(Shifted):
    """x - offset, added in part"""

    def construct(self, x):
        return mint.sub(x.to(self.dtype), self.offset, alpha=2) * self.scale


class ShiftedAfter(Shifted):
    """x * scale + offset"""

    def construct(self, x):
        return x.astype(self.dtype) * self.scale + self.offset


class ShiftedBetween(Shifted):
    """(x / 2 + offset) * scale"""

    def construct(self, x):
        return (x.astype(self.dtype) * 0.5 + self.offset) * self.scale


class Rotated(Scaled):
    """A rotary embedding of the dequantised keys."""

    def construct(self, x):
        x = x.astype(self.dtype) * self.scale
        angles = ops.arange(10).reshape(10, 1).astype(self.dtype) * ops.arange(1, 9).astype(self.dtype)
        halves = ops.concat((-x[..., 4:], x[..., :4]), -1)
        return x * ops.cos(angles) + halves * ops.sin(angles)


class RepeatedScale(Scaled):
    """x * scale, both with their heads repeated before."""

    def construct(self, x):
        return x.astype(self.dtype) * repeat_interleave(self.scale)


class After(nn.Cell):
    """A stage after another."""

    def __init__(self, first: Callable[..., Any], second: Callable[..., Any]):
        super().__init__()
        self.first = first
        self.second = second

    def construct(self, x):
        return self.second(self.first(x))


def in_float32(x):
    return x.astype(ms.float32)


def heads_of_bsh(x):
    """From (B, S, kvN * D)."""
    return x.reshape(2, 10, 2, 8).transpose(0, 2, 1, 3)


def channels_first(x):
    return x.transpose(0, 1, 3, 2)


class ScalesAsInputs(nn.Cell):
    """Scales of key and value come as inputs."""

    def construct(self, q, k, v, key_scale, value_scale):
        key = repeat_interleave(k.astype(ms.float32) * key_scale)
        value = repeat_interleave(v.astype(ms.float32) * value_scale)
        return ops.matmul(ops.softmax(scores_by_matmul(q, key), -1), value)


class NewToken(nn.Cell):
    """The past is int8, the new token is not."""

    def construct(self, q, k, v, new_key, new_value):
        key = ops.concat((k.astype(ms.float32) * 0.05, new_key), 2)
        value = ops.concat((v.astype(ms.float32) * 0.05, new_value), 2)
        return ops.matmul(ops.softmax(scores_by_matmul(q, repeat_interleave(key)), -1), repeat_interleave(value))


class ScaleWrittenBetween(nn.Cell):
    """The scale is read for the keys, overwritten, and read again for the values."""

    def __init__(self, scale):
        super().__init__()
        self.scale = Parameter(Tensor(scale, ms.float32), name="scale")

    def construct(self, q, k, v, new_scale):
        scores = scores_by_matmul(q, repeat_interleave(k.astype(ms.float32) * self.scale))
        ops.assign(self.scale, new_scale)
        value = repeat_interleave(v.astype(ms.float32) * self.scale)
        return ops.matmul(ops.softmax(scores, -1), value)


class Quantised(nn.Cell):
    """An output brought to int8: round(x * scale + offset), saturated."""

    def __init__(self, scale, offset=None):
        super().__init__()
        self.scale = scale
        self.offset = offset

    def construct(self, x):
        return ops.clamp(ops.round(self.affine(x)), -128, 127).astype(ms.int8)

    def affine(self, x):
        x = x * self.scale
        return x if self.offset is None else x + self.offset


class QuantisedClip(Quantised):
    def construct(self, x):
        return ops.clip_by_value(ops.round(self.affine(x)), -128.0, 127.0).astype(ms.int8)


class QuantisedMint(Quantised):
    def construct(self, x):
        x = mint.mul(x, self.scale)
        x = x if self.offset is None else mint.add(x, self.offset)
        return mint.clamp(mint.round(x), -128, 127).to(ms.int8)


class QuantisedMethods(Quantised):
    def construct(self, x):
        return self.affine(x).round().clamp(-128, 127).to(ms.int8)


class QuantisedClampFirst(Quantised):
    def construct(self, x):
        return ops.round(ops.clamp(self.affine(x), -128, 127)).astype(ms.int8)


class QuantisedInFloat32(Quantised):
    def construct(self, x):
        return ops.clamp(ops.round(self.affine(x.astype(ms.float32))), -128, 127).astype(ms.int8)


class QuantisedOver(Quantised):
    """round(x / scale - offset)"""

    def affine(self, x):
        return x / self.scale if self.offset is None else x / self.scale - self.offset


class QuantisedShiftedFirst(Quantised):
    """round((x + offset) * scale)"""

    def affine(self, x):
        return (x + self.offset) * self.scale


class QuantisedShiftedLast(Quantised):
    """round(x * scale) + offset, which differs at halves"""

    def construct(self, x):
        return ops.clamp(ops.round(x * self.scale) + self.offset, -128, 127).astype(ms.int8)


class QuantisedSymmetrically(Quantised):
    def construct(self, x):
        return ops.clamp(ops.round(self.affine(x)), -127, 127).astype(ms.int8)


class QuantisedUnrounded(Quantised):
    """The change of the type cuts towards 0."""

    def construct(self, x):
        return ops.clamp(self.affine(x), -128, 127).astype(ms.int8)


class QuantisedUnsaturated(Quantised):
    """The change of the type may wrap around."""

    def construct(self, x):
        return ops.round(x * (self.scale * 0.01)).astype(ms.int8)


class QuantisedAndUsed(Quantised):
    """The output itself is a result too."""

    def construct(self, x):
        return ops.clamp(ops.round(self.affine(x)), -128, 127).astype(ms.int8), x


class OutputScaleAsInput(nn.Cell):
    """The scale of the output comes as an input."""

    def construct(self, q, k, v, scale):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -1)
        output = ops.matmul(weights, repeat_interleave(v))
        return ops.clamp(ops.round(output * scale), -128, 127).astype(ms.int8)
