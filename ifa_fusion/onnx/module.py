"""Writes a simplified ONNX graph as a Python module with one nn.Cell."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from ifa_fusion.onnx import types
from ifa_fusion.onnx.errors import OnnxError
from ifa_fusion.onnx.names import plain
from ifa_fusion.onnx.operators import Node, Numbers, Unsupported, writer_of
from ifa_fusion.onnx.scope import Scope


@dataclass(frozen=True)
class Module:
    """A network as code, and the values that its constructor takes.

    Attributes:
        source: The text of the module.
        weights: The value of each parameter by its name.
    """

    source: str
    weights: dict[str, ir.TensorProtocol | np.ndarray]


def write(model: ir.Model, title: str) -> Module:
    """The module of a model whose operators the table has.

    Args:
        model: A simplified model: no functions, no constants as nodes, types inferred.
        title: What the module says it was made from.

    Raises:
        OnnxError: With a line for each node that can't be written.
    """
    scope = Scope()
    parameters = [scope.input(value) for value in model.graph.inputs]
    refused = []
    for node in model.graph:
        try:
            _write_node(node, model.opset_imports, scope)
        except Unsupported as reason:
            refused.append(f"{_title(node)}: {reason}")
    if refused:
        raise OnnxError("can't be imported:\n  " + "\n  ".join(refused))
    returned = ", ".join(scope.tensor(value) for value in model.graph.outputs)
    source = _source(model.graph, title, parameters, returned, scope)
    return Module(source, {name: value for name, (_, value) in scope.weights.items()})


def _title(node: ir.Node) -> str:
    operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    return f"{node.name or '(no name)'} ({operator})"


def _write_node(node: ir.Node, versions: dict[str, int], scope: Scope) -> None:
    writer = writer_of(node.domain, node.op_type)
    if writer is None:
        raise Unsupported("this operator is not supported")
    comment = f"# {plain(node.op_type)} {plain(node.name or '')}".rstrip()
    first = len(scope.lines)
    written = writer(Node(node, versions.get(node.domain, 1), scope))
    results = [written] if isinstance(written, str | Numbers) else list(written)
    if len(results) == 1 and isinstance(results[0], str) and len(node.outputs) > 1:
        raise AssertionError(f"the writer of {node.op_type} gives one result for {len(node.outputs)}")
    for value, result in zip(node.outputs, results, strict=False):
        scope.result(value, result)
    if len(scope.lines) > first:
        scope.lines.insert(first, comment)


def _source(graph: ir.Graph, title: str, parameters: list[str], returned: str, scope: Scope) -> str:
    inputs = [f"Tensor(shape={_shape(value)}, dtype={types.code(value.dtype)})" for value in graph.inputs]
    makes = [f"self.{attribute} = weights[{name!a}]" for name, (attribute, _) in scope.weights.items()]
    body = "\n".join(
        [
            "class Decoder(nn.Cell):",
            f'    """{title}"""',
            "",
            f"    input_names = {_strings(value.name for value in graph.inputs)}",
            f"    output_names = {_strings(value.name for value in graph.outputs)}",
            "",
            "    def __init__(self, weights: dict[str, Parameter]):",
            "        super().__init__(auto_prefix=False)",
            *(f"        {line}" for line in [*makes, *scope.members]),
            "        self.set_inputs(",
            *(f"            {line}," for line in inputs),
            "        )",
            "",
            f"    def construct({', '.join(['self', *parameters])}):",
            *(f"        {line}" for line in scope.lines),
            f"        return {returned}",
            "",
        ]
    )
    return f'"""{title}"""\n\n{_imports(body, scope.functions)}\n\n\n{body}'


def _imports(body: str, functions: dict[str, Callable[..., Any]]) -> str:
    used = [name for name in ("Parameter", "Tensor", "mint", "nn", "ops") if re.search(rf"\b{name}\b", body)]
    lines = ["import mindspore as ms"]
    if re.search(r"\bnp\.", body):
        lines.append("import numpy as np")
    lines.append(f"from mindspore import {', '.join(used)}")
    if functions:
        lines.append("")
    for name, function in sorted(functions.items()):
        rename = "" if name == function.__name__ else f" as {name}"
        lines.append(f"from {function.__module__} import {function.__name__}{rename}")
    return "\n".join(lines)


def _strings(names: Any) -> str:
    return f"({''.join(f'{name!a}, ' for name in names).strip()})"


def _shape(value: ir.Value) -> list[int | None]:
    return [size if isinstance(size, int) else None for size in value.shape or ()]
