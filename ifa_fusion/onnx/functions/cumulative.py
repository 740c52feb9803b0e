"""Running sums."""

from mindspore import Tensor, ops


def cumulative_sum(x: Tensor, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    """The sum of all elements up to each, along an axis.

    Args:
        x: Numbers of any shape.
        axis: The axis, which may count from the end.
        exclusive: Whether an element is left out of its own sum.
        reverse: Whether the sums begin at the end.

    Returns:
        The sums, of the shape and type of `x`.
    """
    axis = axis % x.ndim
    if reverse:
        x = ops.flip(x, (axis,))
    if exclusive:
        x = ops.narrow(x, axis, 0, x.shape[axis] - 1)
        first = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
        x = ops.concat((ops.zeros(first, x.dtype), x), axis)
    x = ops.cumsum(x, axis)
    return ops.flip(x, (axis,)) if reverse else x
