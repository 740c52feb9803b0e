"""What would be fused in a network, and what would not, and why."""

from typing import Any

from ifa_fusion import _state
from ifa_fusion._compiling import Network, as_cell, compile_front_end
from ifa_fusion._state import FusionState
from ifa_fusion.report import Collector, Report


def explain(
    net: Network, *inputs: Any, strict: bool = False, target: str | None = None, ascend_kernel: str = "cann"
) -> Report:
    """Compiles a network with fusion on, without running it.

    Args:
        net: An `nn.Cell` (a loaded MindIR as `nn.GraphCell` too) or a function.
        *inputs: What it would be called with. Tensors with unknown sizes, ``Tensor(shape=[1, None], dtype=...)``, do.
        strict: As for `enable`.
        target: As for `enable`.
        ascend_kernel: As for `enable`.

    Returns:
        The sites of this network. Print it for a table.

    Raises:
        TypeError: If `net` is neither a cell nor a function, or `strict` is not a bool.
        ValueError: If `target` or `ascend_kernel` is unknown.
    """
    cell = as_cell(net)
    state = FusionState.checked(strict=strict, target=target, ascend_kernel=ascend_kernel)
    with Collector() as seen, _state.switched(state, fresh=True):
        compile_front_end(cell, *inputs)
    return seen.report
