"""Makes a model small: dimensions bound, functions inlined, types inferred, constants folded, dead code removed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript.optimizer._constant_folding import FoldConstantsPass

from ifa_fusion.onnx.bounds import decide_extrema
from ifa_fusion.onnx.errors import OnnxError, refused_as, shown
from ifa_fusion.onnx.inference import SchemaInference, inference_of
from ifa_fusion.onnx.operators import writer_of
from ifa_fusion.onnx.transposes import merge_transposes

_MOST_NODES = 100_000
_MOST_ELEMENTS = 1 << 18
"""The most elements of a constant that folding computes."""
_ROUNDS = 3
"""Inference over the whole model finds shapes that were computed from shapes, which lets more be folded."""

_SUM_OF_NAMES = re.compile(r"[\w.]+(\s*[-+]\s*[\w.]+)*")


def simplify(model: ir.Model, dims: Mapping[str, int]) -> None:
    """Simplifies a checked model in place; afterwards types and ranks are known as far as they can be inferred.

    Args:
        model: A model as `read` gives it.
        dims: Sizes of named dimensions of the inputs.

    Raises:
        OnnxError: If a dimension is not one of the model's, or if shapes contradict each other.
    """
    declared = [(value.dtype, value.shape) for value in model.graph.outputs]
    _drop_overridable_defaults(model.graph)
    _bind(model.graph, dims)
    _forget_types(model)
    with refused_as("the model can't be simplified"):
        _inline(model)
        _check_splits(model.graph)
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        fold = _Fold()
        _remove_dead(fold(model).model)
        decide_extrema(model.graph)
        for _ in range(_ROUNDS):
            if _is_static(model.graph):
                break
            passes.ShapeInferencePass(check_type=False, strict_mode=False)(model)
            if not fold(model).modified:
                break
            _remove_dead(model)
        merge_transposes(model.graph)
        _remove_dead(model)
        passes.CommonSubexpressionEliminationPass()(model)
        passes.NameFixPass()(model)
    for value, (dtype, shape) in zip(model.graph.outputs, declared, strict=True):
        _compare(value, dtype, shape)


def _drop_overridable_defaults(graph: ir.Graph) -> None:
    """Takes initialisers from the inputs: older models list all of them there, none is meant to be given."""
    for value in [value for value in graph.inputs if value.is_initializer()]:
        graph.inputs.remove(value)


def _bind(graph: ir.Graph, dims: Mapping[str, int]) -> None:
    for name, size in dims.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise OnnxError(f"dims[{name!r}] must be an integer of 0 or more, not {size!r}")
    found: dict[str, None] = {}
    for value in graph.inputs:
        if value.shape is None:
            raise OnnxError(f"the input {shown(value.name)} has no shape")
        value.shape = ir.Shape([_bound(value, size, dims, found) for size in value.shape])
    unknown = [name for name in dims if name not in found]
    if unknown:
        names = ", ".join(map(shown, found)) or "all bound already"
        raise OnnxError(f"dims names {', '.join(map(repr, unknown))}; the model's dimensions are {names}")


def _bound(
    value: ir.Value, size: int | ir.SymbolicDim, dims: Mapping[str, int], found: dict[str, None]
) -> int | ir.SymbolicDim:
    """A dimension of an input after binding; the names in it are added to `found`."""
    if isinstance(size, ir.SymbolicDim):
        if not size.value:
            return ir.SymbolicDim(None)
        found[size.value] = None
        if size.value in dims:
            return dims[size.value]
        if not _SUM_OF_NAMES.fullmatch(size.value):
            return size
        found.update(dict.fromkeys(sorted(size.free_symbols())))
        size = size.evaluate(dims)
    if isinstance(size, int) and size < 0:
        raise OnnxError(f"the input {shown(value.name)} has a negative size: {size}")
    return size


def _forget_types(model: ir.Model) -> None:
    """Drops what the file says of results: it may be wrong, or true of other dimensions only."""
    for graph in model.graphs():
        for node in graph:
            for value in node.outputs:
                value.type = value.shape = None


def _remove_dead(model: ir.Model) -> None:
    passes.IdentityEliminationPass()(model)
    passes.RemoveUnusedNodesPass()(model)


def _is_static(graph: ir.Graph) -> bool:
    return all(value.shape is not None and value.shape.is_static() for node in graph for value in node.outputs)


def _inline(model: ir.Model) -> None:
    counts: dict[ir.OperatorIdentifier, int] = {}

    def nodes(body: ir.Graph | ir.Function) -> int:
        """How many nodes a body has after inlining."""
        return sum(count(node.op_identifier()) for node in body.all_nodes())

    def count(operator: ir.OperatorIdentifier) -> int:
        if operator not in model.functions:
            return 1
        if operator not in counts:
            counts[operator] = _MOST_NODES  # what calls itself is too large
            counts[operator] = nodes(model.functions[operator])
        return counts[operator]

    if nodes(model.graph) > _MOST_NODES:
        raise OnnxError(f"the model has more than {_MOST_NODES} nodes, or a function that calls itself")
    passes.InlinePass()(model)


def _check_splits(graph: ir.Graph) -> None:
    """Refuses a Split whose attribute and outputs contradict each other: ONNX's inference ends the process on it."""
    for node in graph.all_nodes():
        parts = node.attributes.get_int("num_outputs", len(node.outputs))
        if node.op_type == "Split" and parts != len(node.outputs):
            raise OnnxError(f"{shown(node.name)} (Split) has {len(node.outputs)} outputs, but num_outputs is {parts}")


class _Fold(FoldConstantsPass):
    """Folds constants, asks our own inferences for operators that are not ONNX's, and reports contradictions."""

    def __init__(self) -> None:
        super().__init__(
            shape_inference=True,
            input_size_limit=_MOST_ELEMENTS,
            output_size_limit=_MOST_ELEMENTS,
            should_fold=_may_fold,
        )
        self._schemas = SchemaInference()

    def _do_inference(self, node: ir.Node) -> None:
        infer = inference_of(node.domain, node.op_type)
        with refused_as(f"the shapes at node {shown(node.name)} ({shown(node.op_type)[1:-1]}) contradict each other"):
            if infer:
                infer(node)
            else:
                self._schemas.infer(node, self._opset_imports[node.domain])


def _may_fold(node: ir.Node) -> bool | None:
    """False for what would take long or give much, True for small fills, None for the folding's own rules."""
    if writer_of(node.domain, node.op_type) is None or node.op_type == "Einsum":
        return False
    if node.op_type in ("Transpose", "NonZero"):  # never larger than their operand, times its rank
        return None
    sizes = [
        value.shape.numpy() if value.shape is not None and value.shape.is_static() else None for value in node.outputs
    ]
    if any(size is None or math.prod(size) > _MOST_ELEMENTS for size in sizes):
        return False
    return True if node.op_type == "ConstantOfShape" else None


def _compare(value: ir.Value, dtype: ir.DataType | None, shape: ir.Shape | None) -> None:
    """Refuses an output that is not what the file says; names of dimensions are not compared."""
    if None not in (dtype, value.dtype) and dtype != value.dtype:
        raise OnnxError(f"the output {shown(value.name)} is declared {dtype} but is {value.dtype}")
    if shape is None or value.shape is None:
        return
    same = len(shape) == len(value.shape) and all(
        a == b for a, b in zip(shape, value.shape, strict=True) if isinstance(a, int) and isinstance(b, int)
    )
    if not same:
        raise OnnxError(f"the output {shown(value.name)} is declared with shape {shape} but has {value.shape}")
