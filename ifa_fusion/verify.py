"""Runs a network unfused and fused, and compares."""

from dataclasses import dataclass
from typing import Any

import mindspore as ms
import numpy as np

from ifa_fusion import _state
from ifa_fusion._compiling import Network, as_cell, compiled_for_now, parameters_of
from ifa_fusion._state import FusionState
from ifa_fusion.report import Collector, Report

# Fused and unfused differ in rounding only: the unfused one rounds scores and probabilities, the fused one the result.
# Relative to the largest value of an output, in units of what its type resolves, times the depth of a small network.
_TOLERANCE = {ms.float64: 1e-4, ms.float32: 1e-4, ms.float16: 1e-2, ms.bfloat16: 8e-2}
# Absolute: numbers that lie on both sides of a half by their rounding become neighbours in int8.
_INT8_STEP = 1.0


class VerificationError(AssertionError):
    """The fused network gives other results than the unfused one."""


@dataclass(frozen=True)
class VerificationResult:
    """What `verify` found.

    Attributes:
        report: The sites of the fused network.
        largest_difference: Over all outputs, absolute.
        relative_difference: The same, relative to the largest absolute value of that output.
        compared: The numbers that are finite, of all outputs. NaN and infinities stand in the same places unfused and
            fused, and have no difference.
    """

    report: Report
    largest_difference: float
    relative_difference: float
    compared: int


def verify(net: Network, *inputs: Any, tolerance: float | None = None, strict: bool = False) -> VerificationResult:
    """Runs a network in graph mode unfused and fused on the same inputs and compares every output.

    Parameters that the network changes (a KV cache) have the same values before both runs, and afterwards.

    Args:
        net: An `nn.Cell` or a function that takes and returns tensors.
        *inputs: Its inputs.
        tolerance: The largest difference allowed, relative to the largest absolute value of an output. By default
            1e-4 for fp32, 1e-2 for fp16 and 8e-2 for bf16; int8 may differ by 1, other types must be equal.
        strict: As for `enable`.

    Returns:
        The sites and the largest difference.

    Raises:
        VerificationError: If an output differs by more. Its message names the output and the difference.
        TypeError: If `net` is neither a cell nor a function, or `strict` is not a bool.
        ValueError: If `tolerance` is negative.
    """
    state = FusionState.checked(strict=strict)
    if tolerance is not None and tolerance < 0:
        raise ValueError(f"tolerance must be 0 or more, but got {tolerance}.")
    cell = as_cell(net)
    parameters = parameters_of(net)
    unfused = _run(cell, inputs, parameters, FusionState())
    with Collector() as seen:
        fused = _run(cell, inputs, parameters, state)
    differences = [_compare(index, a, b, tolerance) for index, (a, b) in enumerate(zip(unfused, fused, strict=True))]
    absolute, relative, compared = zip(*differences, strict=True) if differences else ((0.0,), (0.0,), (0,))
    return VerificationResult(seen.report, max(absolute), max(relative), sum(compared))


def _run(
    cell: ms.nn.Cell, inputs: tuple[Any, ...], parameters: list[ms.Parameter], state: FusionState
) -> list[ms.Tensor]:
    before = [parameter.asnumpy().copy() for parameter in parameters]
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        with _state.switched(state, fresh=True), compiled_for_now(cell):
            outputs = _flatten(cell(*inputs))
            for output in outputs:
                output.asnumpy()  # waits for the result before the parameters are put back
    finally:
        ms.set_context(mode=mode)
        for parameter, value in zip(parameters, before, strict=True):
            if parameter.asnumpy().tobytes() != value.tobytes():
                parameter.set_data(ms.Tensor(value, dtype=parameter.dtype))
    return outputs


def _flatten(outputs: Any) -> list[ms.Tensor]:
    if isinstance(outputs, list | tuple):
        return [tensor for output in outputs for tensor in _flatten(output)]
    return [outputs if isinstance(outputs, ms.Tensor) else ms.Tensor(outputs)]


def _compare(index: int, unfused: ms.Tensor, fused: ms.Tensor, tolerance: float | None) -> tuple[float, float, int]:
    """The largest difference, absolute and relative, and how many numbers were compared."""
    expected = unfused.asnumpy().astype(np.float64)
    got = fused.asnumpy().astype(np.float64)
    if expected.shape != got.shape:
        raise VerificationError(f"output {index} has shape {got.shape} fused and {expected.shape} unfused.")
    if not np.array_equal(np.isnan(expected), np.isnan(got)):
        raise VerificationError(f"output {index} is not NaN in the same places fused and unfused.")
    finite = np.isfinite(expected) & np.isfinite(got)
    if not np.array_equal(expected[~finite], got[~finite], equal_nan=True):
        raise VerificationError(f"output {index} is not infinite in the same places fused and unfused.")
    difference = float(np.max(np.abs(expected[finite] - got[finite]), initial=0.0))
    scale = float(np.max(np.abs(expected[finite]), initial=0.0))
    relative = difference / scale if scale else difference
    if tolerance is None and unfused.dtype == ms.int8:
        measured, allowed = difference, _INT8_STEP
    else:
        measured, allowed = relative, _TOLERANCE.get(unfused.dtype, 0.0) if tolerance is None else tolerance
    if measured > allowed:
        raise VerificationError(
            f"output {index} differs by {difference:.3g} ({relative:.3g} of its largest value {scale:.3g}) between the "
            f"unfused and the fused network; {allowed:.3g} is allowed."
        )
    return difference, relative, int(finite.sum())
