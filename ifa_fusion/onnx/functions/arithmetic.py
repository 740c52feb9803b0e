"""Arithmetic that MindSpore does differently."""

from mindspore import Tensor, ops


def floored_remainder(dividend: Tensor, divisor: Tensor) -> Tensor:
    """The remainder of a division that rounds down; it has the divisor's sign, exactly also for infinite operands.

    Args:
        dividend: Floats of any shape.
        divisor: Floats of the same type; both broadcast.

    Returns:
        The remainder, of the operands' type.
    """
    finite = ops.logical_not(ops.isinf(dividend))
    # MindSpore's CPU finds no remainder of a division by infinity: it is the dividend
    remainder = ops.where(ops.logical_and(ops.isinf(divisor), finite), dividend, ops.fmod(dividend, divisor))
    opposite = ops.logical_and(ops.not_equal(remainder, 0), ops.not_equal(remainder < 0, divisor < 0))
    return ops.where(opposite, remainder + divisor, remainder)
