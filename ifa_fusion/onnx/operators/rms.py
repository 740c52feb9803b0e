"""RMSNormalization, also under the names that onnxruntime gave it before ONNX had it."""

from __future__ import annotations

import onnx_ir as ir

from ifa_fusion.onnx.functions.rms import rms_normalisation
from ifa_fusion.onnx.inference import inference
from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.table import Unsupported, operator

_SIMPLIFIED = "SimplifiedLayerNormalization"


@operator("RMSNormalization", _SIMPLIFIED)
@operator(_SIMPLIFIED, domain="com.microsoft")
def rms_normalization(node: Node) -> str | list[str]:
    """Normalisation by the root mean square over an axis and all behind it."""
    if node.wants(1):
        raise Unsupported("its output inv_std_var is not supported")
    rank = node.rank(0)
    axes = tuple(range(node.attribute("axis", -1) % rank, rank))
    called = node.function(rms_normalisation)
    written = f"{called}({node.tensor(0)}, {node.tensor(1)}, {axes}, {node.attribute('epsilon', 1e-5)!r})"
    return written if node.outputs == 1 else [written]


@inference(_SIMPLIFIED)
@inference(_SIMPLIFIED, domain="com.microsoft")
def infer_rms_normalization(node: ir.Node) -> None:
    """The shape of the first input, the type of the second."""
    x, scale = node.inputs[:2]
    if x is not None and scale is not None and scale.dtype is not None:
        node.outputs[0].shape, node.outputs[0].dtype = x.shape, scale.dtype
