"""Turning fusion on and off."""

from collections.abc import Iterator
from contextlib import contextmanager

from ifa_fusion import _state
from ifa_fusion._state import FusionState

_ASCEND_KERNELS = ("cann", "ascendc")


def enable(*, strict: bool = False, ascend_kernel: str = "cann") -> None:
    """Fuses the decode attention of every graph that is compiled from now on, in this process.

    Graphs that were compiled before are compiled again when they are next called.

    Args:
        strict: Keep the value of rows in which every position is masked. They are unspecified otherwise.
        ascend_kernel: Which kernel runs the fused operator on Ascend: "cann", the built-in one.

    Raises:
        TypeError: If `strict` is not a bool.
        ValueError: If `ascend_kernel` is unknown.
        NotImplementedError: If `ascend_kernel` is "ascendc".
    """
    _state.switch(_checked(strict, ascend_kernel))


def disable() -> None:
    """Leaves every graph that is compiled from now on as it is."""
    _state.switch(FusionState())


@contextmanager
def fusion(*, strict: bool = False, ascend_kernel: str = "cann") -> Iterator[None]:
    """`enable` for the body of a ``with``; what was before returns at its end. It nests.

    Args:
        strict: As for `enable`.
        ascend_kernel: As for `enable`.
    """
    with _state.switched(_checked(strict, ascend_kernel)):
        yield


def _checked(strict: bool, ascend_kernel: str) -> FusionState:
    if not isinstance(strict, bool):
        raise TypeError(f"strict must be True or False, but got {strict!r}.")
    if ascend_kernel not in _ASCEND_KERNELS:
        raise ValueError(f"ascend_kernel must be one of {', '.join(_ASCEND_KERNELS)}, but got {ascend_kernel!r}.")
    if ascend_kernel == "ascendc":
        raise NotImplementedError('ascend_kernel="ascendc" is not supported yet; use "cann".')
    return FusionState(enabled=True, strict=strict)
