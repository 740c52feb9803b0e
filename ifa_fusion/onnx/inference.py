"""Types and shapes of results, node by node in the graph's order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import onnx
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


class SchemaInference:
    """What ONNX infers of single nodes; the answer for one layer of a model serves all its layers."""

    def __init__(self) -> None:
        self._known: dict[Any, list[onnx.TypeProto | None]] = {}

    def infer(self, node: ir.Node, version: int) -> None:
        """Sets the types and shapes of a node's outputs; nothing if the type of an input is not known.

        Raises:
            onnx.shape_inference.InferenceError: If the inputs contradict each other.
        """
        if not onnx.defs.has(node.op_type, version, node.domain):
            return
        if any(value is not None and value.type is None for value in node.inputs):
            return
        key = (
            node.domain,
            node.op_type,
            len(node.outputs),
            tuple(_described(value) for value in node.inputs),
            tuple((name, str(attribute)) for name, attribute in sorted(node.attributes.items())),
        )
        if key not in self._known:
            self._known[key] = _inferred(node, version)
        for value, found in zip(node.outputs, self._known[key], strict=True):
            if found is not None:
                value.type = ir.serde.deserialize_type_proto_for_type(found)
                value.merge_shapes(ir.serde.deserialize_type_proto_for_shape(found))


_FEW = 64
"""Constants of at most so many elements can be shapes, axes and the like, which inference looks at."""


def _data(value: ir.Value) -> ir.TensorProtocol | None:
    return value.const_value if value.const_value is not None and value.const_value.size <= _FEW else None


def _described(value: ir.Value | None) -> tuple[Any, ...] | None:
    """What inference sees of an input."""
    if value is None:
        return None
    data = _data(value)
    return (value.type, str(value.shape), None if data is None else data.tobytes())


def _inferred(node: ir.Node, version: int) -> list[onnx.TypeProto | None]:
    types, data = {}, {}
    for value in node.inputs:
        if value is not None and value.type is not None:
            types[value.name] = ir.serde.serialize_type(value.type)
            if value.shape is not None:
                ir.serde.serialize_shape_into(types[value.name], value.shape)
            constant = _data(value)
            if constant is not None:
                data[value.name] = ir.serde.serialize_tensor(constant)
    schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    found = onnx.shape_inference.infer_node_outputs(schema, ir.serde.serialize_node(node), types, data)
    return [found.get(value.name) for value in node.outputs]
