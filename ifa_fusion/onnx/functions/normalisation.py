"""The logarithm of softmax, and normalisation, as ONNX defines them where MindSpore has no call of that form."""

import mindspore as ms
from mindspore import Tensor, ops


def log_softmax(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The logarithm of the softmax over axes, NaN where all elements are -inf.

    Args:
        x: Floats of any shape.
        axes: The axes whose probabilities add up to 1.

    Returns:
        The logarithms, of the shape and type of `x`.
    """
    shifted = x - ops.amax(x, axes, True)
    return shifted - ops.log(ops.sum(ops.exp(shifted), axes, True))


def standardised(x: Tensor, axes: tuple[int, ...], epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Elements less their mean, divided by their deviation.

    Args:
        x: float32 or float64 of any shape.
        axes: The axes of mean and deviation.
        epsilon: What is added to the variance.

    Returns:
        The elements, of the shape of `x`; the mean and the inverse deviation, of size 1 in the axes.
    """
    mean = ops.mean(x, axes, True)
    centred = x - mean
    inverse = ops.rsqrt(ops.mean(ops.square(centred), axes, True) + epsilon)
    return centred * inverse, mean, inverse


def layer_normalisation(
    x: Tensor, scale: Tensor, bias: Tensor | None, axis: int, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalisation over an axis and all behind it, computed in float32.

    Args:
        x: Floats of any shape.
        scale: The factor; it broadcasts to `x`.
        bias: What is added; it broadcasts to `x`.
        axis: The first of the axes, from 0 on.
        epsilon: What is added to the variance.

    Returns:
        The result, of the shape and type of `x`; the mean and the inverse deviation as float32.
    """
    axes = tuple(range(axis, x.ndim))
    result, mean, inverse = standardised(ops.cast(x, ms.float32), axes, epsilon)
    result = ops.cast(result, x.dtype) * scale
    return result if bias is None else result + bias, mean, inverse


def channels_scaled(x: Tensor, scale: Tensor, bias: Tensor, groups: int, epsilon: float) -> Tensor:
    """Normalisation of groups of channels, which are then scaled and shifted.

    Args:
        x: Floats of shape (batch, channels, ...).
        scale: A factor for each channel.
        bias: What is added to each channel.
        groups: The number of groups; it divides the number of channels.
        epsilon: What is added to the variance.

    Returns:
        The result, of the shape and type of `x`.
    """
    grouped = ops.reshape(ops.cast(x, ms.float32), (x.shape[0], groups, -1))
    result = ops.cast(ops.reshape(standardised(grouped, (2,), epsilon)[0], x.shape), x.dtype)
    per_channel = (x.shape[1],) + (1,) * (x.ndim - 2)
    return result * ops.reshape(scale, per_channel) + ops.reshape(bias, per_channel)
