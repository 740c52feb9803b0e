"""Compare a network unfused and fused: what validation and the demo share.

`ifa_fusion` is imported only where it is used, so that the models work without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ifa_fusion import Report


def take_report() -> Report:
    """The attention sites seen since the last call."""
    import ifa_fusion

    return ifa_fusion.report(reset=True)


def is_complete(report: Report, expected: int) -> bool:
    """Whether each of the `expected` attentions of a network was fused."""
    return len(report.fused) == expected and not report.refused


def largest_difference(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> float:
    """The largest absolute difference of two sequences of arrays; infinite where one holds a NaN."""
    worst = max(float(np.abs(a - b).max()) for a, b in zip(left, right, strict=True))
    return worst if np.isfinite(worst) else float("inf")
