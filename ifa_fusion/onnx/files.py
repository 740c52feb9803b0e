"""Reads ONNX files, which may be broken or hostile: what is not as it must be is an OnnxError of one sentence.

Of the disk nothing is read but the file itself and the files in its folder that hold its weights. Where the file is
reached by a link, the folder that it really lies in counts as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes

from ifa_fusion.onnx.errors import OnnxError, refused_as, shown

_OLDEST_OPSET = 11
_MOST_SMALL_BYTES = 1000
"""Of what onnx_ir hands to ONNX's checker; it leaves larger tensors out."""


def read(path: Path) -> ir.Model:
    """The model of a file, checked by ONNX's own checker; weights outside the file are mapped when they are used.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If the file, or one that it keeps its weights in, does not exist.
        OnnxError: If it is no ONNX file, breaks ONNX's rules, is cyclic, is of an operator set that is not supported,
            or names weights outside its folder.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with refused_as(f"{path} is not an ONNX file, or a part of it is missing"):
        proto = onnx.load_model_from_string(path.read_bytes())
        if not proto.HasField("graph"):
            raise OnnxError(f"{path} is not an ONNX file: it holds no graph")
        model = ir.serde.deserialize_model(proto)
    _follow_links(model.graph, path)
    for tensor in _tensors(model):
        _check_tensor(tensor, path.parent)
    _load_small(model.graph)
    _unify_domains(model)
    _check_opset(model)
    with refused_as(f"{path} is not a valid ONNX model"):
        passes.TopologicalSortPass()(model)
        passes.NameFixPass()(model)
        _check_rules(model)
    return model


def _follow_links(graph: ir.Graph, path: Path) -> None:
    """Has weights read from the folder that the model's file really lies in, by their names or by links into it.

    Hugging Face's cache is such: ``snapshots/X/decoder.onnx`` and ``decoder.onnx_data`` are links to two files in
    ``blobs``. What a hostile model's links lead to this way lies beside the model itself.
    """
    folder = path.resolve().parent
    for value in graph.initializers.values():
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        with refused_as(f"the tensor {shown(tensor.name)} is broken"):
            beside = path.parent / tensor.location
            if beside.is_file() and not beside.is_symlink():
                continue
            file = (beside if beside.is_symlink() else folder / tensor.location).resolve()
            if file.is_file() and file.parent == folder:
                place = file.name, tensor.offset, tensor.length, tensor.dtype
                value.const_value = ir.ExternalTensor(*place, shape=tensor.shape, name=tensor.name, base_dir=folder)


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """All tensors of the file: initialisers and attributes, those of subgraphs and functions included."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value
    for node in _nodes(model):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                yield attribute.as_tensor()
            elif attribute.type == ir.AttributeType.TENSORS and not attribute.is_ref():
                yield from attribute.as_tensors()


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    """All nodes, those of subgraphs and functions included."""
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def _check_tensor(tensor: ir.TensorProtocol, folder: Path) -> None:
    """Refuses a tensor whose data is not of its shape's size, or lies outside the folder."""
    what = f"the tensor {shown(tensor.name)}"
    with refused_as(f"{what} is broken"):
        sizes = tensor.shape.numpy()
        if any(size < 0 for size in sizes):
            raise OnnxError(f"{what} has a negative size: {sizes}")
        if isinstance(tensor, ir.ExternalTensor):
            _check_external(tensor, folder, what)
        elif tensor.dtype != ir.DataType.STRING and tensor.numpy().size != math.prod(sizes):
            raise OnnxError(f"{what} has the shape {sizes} but {tensor.numpy().size} elements")


def _check_external(tensor: ir.ExternalTensor, folder: Path, what: str) -> None:
    location = str(tensor.location)
    folder = Path(tensor.base_dir or folder)
    file = folder / location
    if Path(location).is_absolute() or not file.resolve().is_relative_to(folder.resolve()):
        raise OnnxError(
            f"{what} is kept in {shown(location)}, which is outside the model's folder: copy the file into it"
        )
    if not file.is_file():
        raise FileNotFoundError(f"{what} is kept in {shown(location)}, which is not in the model's folder")
    first, length = tensor.offset or 0, tensor.nbytes
    if tensor.length not in (None, length):
        raise OnnxError(f"{what} takes {length} bytes, but {tensor.length} are kept for it in {shown(location)}")
    if first < 0 or first + length > file.stat().st_size:
        raise OnnxError(f"{what} needs the bytes {first} to {first + length} of {shown(location)}, which is shorter")
    tensor.base_dir = folder


def _load_small(graph: ir.Graph) -> None:
    """Loads the small weights outside the file: ONNX's checker gets them, and looks for them in the current folder."""
    for value in graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= _MOST_SMALL_BYTES:
            with refused_as(f"the tensor {shown(tensor.name)} is broken"):
                value.const_value = ir.Tensor(tensor.numpy().copy(), tensor.dtype, name=tensor.name)


def _unify_domains(model: ir.Model) -> None:
    """Gives onnxruntime's own operators their domain where its tools leave it out, so that the checker passes them."""
    model.opset_imports.setdefault("", model.opset_imports.pop("ai.onnx", 0))
    for node in _nodes(model):
        if node.domain == "ai.onnx":
            node.domain = ""
        if node.domain == "" and (node.op_identifier() not in model.functions) and not onnx.defs.has(node.op_type, ""):
            node.domain = "com.microsoft"
            model.opset_imports.setdefault(node.domain, 1)


def _check_rules(model: ir.Model) -> None:
    """Runs ONNX's checker on all but the outputs, whose shapes it insists on and some exporters leave out."""
    graph = model.graph
    outputs = list(graph.outputs)
    for value in outputs:
        if value.producer() is None and not (value.is_graph_input() or value.is_initializer()):
            raise OnnxError(f"nothing computes the output {shown(value.name)}")
    graph.outputs.clear()
    passes.CheckerPass()(model)
    graph.outputs.extend(outputs)


def _check_opset(model: ir.Model) -> None:
    version, newest = model.opset_imports[""], onnx.defs.onnx_opset_version()
    if not _OLDEST_OPSET <= version <= newest:
        raise OnnxError(
            f"the model is of ONNX's operator set {version}; {_OLDEST_OPSET} to {newest} are supported "
            "(onnx.version_converter converts others)"
        )
