"""Makes a model small: dimensions bound, functions inlined, constants folded, types inferred."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript.optimizer._constant_folding import FoldConstantsPass

from ifa_fusion.onnx.inference import inference_of


class _Fold(FoldConstantsPass):
    def _do_inference(self, node: ir.Node) -> None:
        infer = inference_of(node.domain, node.op_type)
        if infer:
            infer(node)
        else:
            super()._do_inference(node)


def simplify(model: ir.Model, dims: Mapping[str, int]) -> None:
    """Simplifies a model in place."""
    for value in model.graph.inputs:
        value.shape = ir.Shape(
            [dims.get(d.value or "", d) if isinstance(d, ir.SymbolicDim) else d for d in value.shape or ()]
        )
    for node in model.graph.all_nodes():
        for value in node.outputs:
            value.shape = None
    passes.InlinePass()(model)
    _Fold(shape_inference=True, input_size_limit=8192, output_size_limit=512 * 512)(model)
    passes.IdentityEliminationPass()(model)
    passes.RemoveUnusedNodesPass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
