"""Normalisation by the root mean square."""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, ops


def rms_normalisation(x: Tensor, scale: Tensor, axes: tuple[int, ...], epsilon: float) -> Tensor:
    """Elements divided by their root mean square, in float32, then scaled.

    Args:
        x: Floats of any shape.
        scale: Floats that broadcast to ``x``.
        axes: The axes of the mean.
        epsilon: What is added to the mean square.

    Returns:
        The shape of ``x``, the type of ``scale``.
    """
    wide = x.astype(ms.float32)
    inverse = ops.rsqrt(ops.mean(ops.square(wide), axes, True) + epsilon)
    return (wide * inverse).astype(scale.dtype) * scale
