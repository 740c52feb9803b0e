"""Shifts of bits by any number of places."""

from mindspore import Tensor, ops


def shifted_left(x: Tensor, places: Tensor, bits: int) -> Tensor:
    """Bits moved to the left; 0 where the number of places is negative or not below the number of bits.

    Args:
        x: Integers of any shape.
        places: Integers of the type of `x`; both broadcast.
        bits: The number of bits of the type.

    Returns:
        The type of `x`.
    """
    inside = ops.logical_and(places >= 0, places < bits)
    return ops.where(inside, ops.bitwise_left_shift(x, ops.where(inside, places, 0)), 0)


def shifted_right(x: Tensor, places: Tensor, bits: int) -> Tensor:
    """Bits moved to the right, the sign kept; only the sign where `shifted_left` gives 0.

    Args:
        x: Integers of any shape.
        places: Integers of the type of `x`; both broadcast.
        bits: The number of bits of the type.

    Returns:
        The type of `x`.
    """
    inside = ops.logical_and(places >= 0, places < bits)
    sign = ops.where(x < 0, -1, 0).astype(x.dtype)
    return ops.where(inside, ops.bitwise_right_shift(x, ops.where(inside, places, 0)), sign)
