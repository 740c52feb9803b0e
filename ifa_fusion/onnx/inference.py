"""Types and shapes of results, node by node in the graph's order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import onnx_ir as ir

Inference: TypeAlias = Callable[[ir.Node], None]

_INFERENCES: dict[tuple[str, str], Inference] = {}


def inference(*names: str, domain: str = "") -> Callable[[Inference], Inference]:
    """Enters a function that infers what the operators of these names give, where ONNX itself does not.

    The function takes the node and sets `dtype` and `shape` of its outputs as far as the inputs are known.
    """

    def enter(function: Inference) -> Inference:
        for name in names:
            _INFERENCES[domain, name] = function
        return function

    return enter


def inference_of(domain: str, name: str) -> Inference | None:
    """The function that infers what an operator gives, None if that is ONNX's task."""
    return _INFERENCES.get((domain, name))
