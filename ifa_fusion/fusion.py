"""Turning fusion on and off."""

from collections.abc import Iterator
from contextlib import contextmanager

import mindspore as ms

from ifa_fusion import _ascend_kernel, _state
from ifa_fusion._state import FusionState


def enable(*, strict: bool = False, target: str | None = None, ascend_kernel: str = "cann") -> None:
    """Fuses the decode attention of every graph that is compiled from now on, in this process.

    Graphs that were compiled before are compiled again when they are next called.

    Args:
        strict: Keep the value of rows in which every position is masked. They are unspecified otherwise.
        target: The device that the graphs are meant for, "cpu" or "ascend"; by default the one that MindSpore runs on.
            With "ascend" only what the operator takes there is fused: float16 and bfloat16 within its limits. No device
            is needed to compile and to export.
        ascend_kernel: Whose kernel graphs for Ascend call: "cann", the one behind MindSpore's IncreFlashAttention, or
            "ascendc", this project's own, through the operator Custom_ifa_decode. Graphs for a CPU are the same.

    Raises:
        TypeError: If `strict` is not a bool.
        ValueError: If `target` or `ascend_kernel` is unknown.
        RuntimeError: If `ascend_kernel` is "ascendc", MindSpore's device is Ascend, and the operator package is not
            installed or can't be loaded.
    """
    _state.switch(_checked(strict, target, ascend_kernel))


def disable() -> None:
    """Leaves every graph that is compiled from now on as it is."""
    _state.switch(FusionState())


@contextmanager
def fusion(*, strict: bool = False, target: str | None = None, ascend_kernel: str = "cann") -> Iterator[None]:
    """`enable` for the body of a ``with``; what was before returns at its end. It nests.

    Args:
        strict: As for `enable`.
        target: As for `enable`.
        ascend_kernel: As for `enable`.
    """
    with _state.switched(_checked(strict, target, ascend_kernel)):
        yield


def _checked(strict: bool, target: str | None, ascend_kernel: str) -> FusionState:
    state = FusionState.checked(strict=strict, target=target, ascend_kernel=ascend_kernel)
    if ascend_kernel == "ascendc" and target != "cpu" and ms.get_context("device_target") == "Ascend":
        _ascend_kernel.register()
    return state
