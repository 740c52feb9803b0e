"""From an ONNX file to a network: read, simplify, write, and run what was written."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import itertools
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

from ifa_fusion.onnx import types
from ifa_fusion.onnx.files import read
from ifa_fusion.onnx.module import write
from ifa_fusion.onnx.names import plain
from ifa_fusion.onnx.simplify import simplify

_MODULE_NUMBERS = itertools.count()


def load(path: str | Path, dims: Mapping[str, int] | None = None, source_dir: str | Path | None = None) -> nn.Cell:
    """A network from an ONNX file."""
    path = Path(path)
    model = read(path)
    simplify(model, dims or {})
    module = write(model, f"The network of {plain(path.stem)}.onnx.")
    weights = {name: _parameter(name, value) for name, value in module.weights.items()}
    del model
    folder = None
    if source_dir is None:
        folder = tempfile.TemporaryDirectory(prefix="ifa_fusion_onnx_")
        source_dir = folder.name
    target = Path(source_dir)
    target.mkdir(parents=True, exist_ok=True)
    file = target / "decoder.py"
    file.write_text(module.source)
    if folder is None:
        ms.save_checkpoint([{"name": n, "data": p} for n, p in weights.items()], str(target / "decoder.ckpt"))
    return _run(file, weights, folder)


def _parameter(name: str, value: ir.TensorProtocol | np.ndarray) -> Parameter:
    tensor = ir.tensor(value) if isinstance(value, np.ndarray) else value
    array = tensor.numpy()
    if tensor.dtype == ir.DataType.BFLOAT16:
        data = Tensor(array.astype(np.float32)).astype(ms.bfloat16)
    else:
        data = Tensor(np.ascontiguousarray(array), getattr(ms, types.name(tensor.dtype)))
    return Parameter(data, name=name, requires_grad=False)


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the file as it is now: bytecode cached for an older one can look current."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _run(file: Path, weights: dict[str, Parameter], folder: tempfile.TemporaryDirectory[str] | None) -> nn.Cell:
    """The network of a module's file; the module, and with it a temporary folder, goes when the network goes."""
    name = f"ifa_fusion_onnx_decoder_{next(_MODULE_NUMBERS)}"
    spec = importlib.util.spec_from_loader(name, _Loader(name, str(file)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # MindSpore looks names up here when it compiles
    spec.loader.exec_module(module)
    network = module.Decoder(weights)
    module.__dict__["folder"] = folder
    weakref.finalize(network, sys.modules.pop, name, None)
    return network
