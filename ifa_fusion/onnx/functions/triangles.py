"""Triangles of matrices."""

from mindspore import Tensor, ops


def triangle_from(x: Tensor, diagonal: int, upper: bool) -> Tensor:
    """The upper or the lower triangle of matrices, for a diagonal that is known when the network runs.

    Args:
        x: Any type, of shape (..., rows, columns).
        diagonal: The diagonal that the triangle reaches to, itself included; positive ones are above the main one.
        upper: Whether it is the upper triangle.

    Returns:
        The shape and type of `x`, with zeros outside of the triangle.
    """
    above = ops.range(0, x.shape[-1], 1) - ops.expand_dims(ops.range(0, x.shape[-2], 1), 1)
    return ops.where(above >= diagonal if upper else above <= diagonal, x, ops.zeros_like(x))
