"""From an ONNX file to a network: read, simplify, write as code, and run what was written."""

from __future__ import annotations

import gc
import importlib.machinery
import importlib.util
import itertools
import os
import sys
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import CodeType

import mindspore as ms
import numpy as np
import onnx_ir as ir
from mindspore import Parameter, Tensor, nn
from mindspore.common.np_dtype import bfloat16

from ifa_fusion.onnx import types
from ifa_fusion.onnx.files import read
from ifa_fusion.onnx.module import write
from ifa_fusion.onnx.names import plain
from ifa_fusion.onnx.simplify import simplify

_MODULE_NUMBERS = itertools.count()


def load(
    path: str | os.PathLike[str],
    dims: Mapping[str, int] | None = None,
    source_dir: str | os.PathLike[str] | None = None,
) -> nn.Cell:
    """A network from an ONNX file: an `nn.Cell` whose code was written from the nodes of the file.

    Its `construct` takes the model's inputs in the model's order and returns one tensor, or a tuple, in the model's
    order; `input_names` and `output_names` are ONNX's names for them. Initialisers are Parameters under their ONNX
    names, with `requires_grad=False`. Sizes that are not bound stay dynamic.

    Args:
        path: The ONNX file, of operator set 11 or newer; weights outside the file must lie in its folder.
        dims: Sizes of named dimensions of the inputs, such as ``{"batch": 1, "sequence_length": 1}``. The query length
            should be bound to 1: attention is fused where that is known.
        source_dir: A folder, made where it is missing, that gets the code as ``decoder.py`` and the weights as
            ``decoder.ckpt``. With them the network runs without the ONNX file and without the package `onnx`:
            ``Decoder(mindspore.load_checkpoint("decoder.ckpt"))``.

    Returns:
        The network. Called with tensors of another shape or type than the model says, it raises a ValueError or a
        TypeError.

    Raises:
        FileNotFoundError: If the file, or one that it keeps its weights in, does not exist.
        OnnxError: If the file is broken or is no ONNX model, if `dims` names no dimension of it or shapes contradict
            each other, or if it holds what can't be imported: each such node is listed.
    """
    path = Path(path)
    model = read(path)
    simplify(model, dims or {})
    module = write(model, f"The network of {plain(path.stem)}.onnx, as code.")
    del model
    gc.collect()  # nodes and values of a graph hold each other, and with them the file's copy of the weights
    weights = {name: _parameter(name, module.weights.pop(name)) for name in list(module.weights)}
    if source_dir is not None:
        return _run(_keep(module.source, weights, Path(source_dir)), weights)
    folder = tempfile.TemporaryDirectory(prefix="ifa_fusion_onnx_")
    file = Path(folder.name, "decoder.py")
    file.write_text(module.source, encoding="ascii")
    network = _run(file, weights)
    weakref.finalize(network, folder.cleanup)
    return network


def _parameter(name: str, value: ir.TensorProtocol | np.ndarray) -> Parameter:
    tensor = ir.tensor(value) if isinstance(value, np.ndarray) else value
    array = np.ascontiguousarray(tensor.numpy())
    if tensor.dtype == ir.DataType.BFLOAT16:
        array = array.view(bfloat16)
    parameter = Parameter(Tensor(array, getattr(ms, types.name(tensor.dtype))), name=name, requires_grad=False)
    if isinstance(tensor, ir.ExternalTensor):
        del array
        tensor.release()  # each holds the weights' file open
    return parameter


def _keep(source: str, weights: Mapping[str, Parameter], folder: Path) -> Path:
    """Writes the code and the checkpoint of a network, each whole or not at all; returns the code's file."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        Path(beside, "decoder.py").write_text(source, encoding="ascii")
        ms.save_checkpoint([{"name": name, "data": value} for name, value in weights.items()], f"{beside}/decoder.ckpt")
        for name in ("decoder.ckpt", "decoder.py"):
            os.replace(Path(beside, name), folder / name)
    return folder / "decoder.py"


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the file as it is now: bytecode cached for an older one can look current."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _run(file: Path, weights: dict[str, Parameter]) -> nn.Cell:
    """The network of a module's file; the module is forgotten when the network is gone."""
    name = f"ifa_fusion_onnx_decoder_{next(_MODULE_NUMBERS)}"
    spec = importlib.util.spec_from_loader(name, _Loader(name, str(file)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # MindSpore looks names up here when it compiles
    spec.loader.exec_module(module)
    network = module.Decoder(weights)
    weakref.finalize(network, sys.modules.pop, name, None)
    return network
