"""Writes a simplified ONNX graph as a Python module with one nn.Cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from ifa_fusion.onnx import types
from ifa_fusion.onnx.errors import OnnxError, refused_as, shown
from ifa_fusion.onnx.operators import Node, Numbers, Unsupported, writer_of
from ifa_fusion.onnx.operators.node import is_used
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
    refused: list[str] = []
    for value in model.graph.inputs:
        scope.input(value)
        try:
            _dtype(value)
        except Unsupported as reason:
            refused.append(f"the input {shown(value.name)}: {reason}")
    for node in model.graph:
        try:
            with refused_as("it breaks the rules of its operator"):
                _write_node(node, model.opset_imports, scope)
        except (Unsupported, OnnxError) as reason:
            scope.give_up(node.outputs)
            follows = bool(refused) and any(value is not None and value.type is None for value in node.inputs)
            if not follows or writer_of(node.domain, node.op_type) is None:
                refused.append(f"{_title(node)}: {reason}")
    if refused:
        raise OnnxError("the model can't be imported:\n" + "\n".join(f"  {line}" for line in refused))
    returned = ", ".join(scope.tensor(value) for value in model.graph.outputs)
    source = _source(model.graph, title, returned, scope)
    return Module(source, {name: value for name, (_, value) in scope.weights.items()})


def _title(node: ir.Node) -> str:
    operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    return f"{shown(node.name)} ({shown(operator)[1:-1]})"


def _write_node(node: ir.Node, versions: dict[str, int], scope: Scope) -> None:
    if all(value.const_value is not None for value in node.outputs):
        return  # what reads the constant writes it
    writer = writer_of(node.domain, node.op_type)
    if writer is None:
        raise Unsupported("this operator is not supported")
    scope.comment(node.op_type, node.name or "")
    written = writer(Node(node, versions.get(node.domain, 1), scope))
    results = [written] if isinstance(written, str | Numbers) else written
    for value, result in zip(node.outputs, results, strict=len(results) > 1):
        if result and is_used(value):
            scope.result(value, result)


def _source(graph: ir.Graph, title: str, returned: str, scope: Scope) -> str:
    inputs = [f"{_expected(value)}," for value in graph.inputs]
    members = [f"self.{attribute} = weights[{_quoted(name)}]" for name, (attribute, _) in scope.weights.items()]
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
            *(f"        {line}" for line in [*members, *scope.members]),
            *(["        self.set_inputs(", *(f"            {line}" for line in inputs), "        )"] if inputs else []),
            "",
            f"    def construct({', '.join(['self', *(scope.tensor(value) for value in graph.inputs)])}):",
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


def _dtype(value: ir.Value) -> str:
    return types.code(value.dtype or ir.DataType.UNDEFINED)


def _expected(value: ir.Value) -> str:
    """A tensor of an input's type and shape without data, which MindSpore would make at once for a static shape."""
    shape = [size if isinstance(size, int) else None for size in value.shape or ()]
    init = "" if None in shape else ", init=0"
    return f"Tensor(shape={shape}, dtype={_dtype(value)}{init})"


def _strings(names: Iterable[str | None]) -> str:
    return f"({' '.join(f'{_quoted(name)},' for name in names)})"


def _quoted(text: str | None) -> str:
    """The literal of a string; what is not a plain name is escaped by Python itself."""
    return f'"{text}"' if re.fullmatch(r"[\w.:/ -]*", text or "", re.ASCII) else ascii(text)
