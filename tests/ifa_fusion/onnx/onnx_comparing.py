"""Runs small models imported and in onnxruntime, and looks at what was imported."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mindspore as ms
import numpy as np
import onnx
import onnx.compose
import onnxruntime
from mindspore import Tensor, nn
from mindspore.train import mind_ir_pb2
from onnx import helper, numpy_helper

import ifa_fusion.onnx

MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Both:
    """A model's results.

    Attributes:
        network: The imported network.
        inputs: What it was called with.
        ours: Its outputs.
        theirs: onnxruntime's.
    """

    network: nn.Cell
    inputs: list[Tensor]
    ours: list[np.ndarray]
    theirs: list[np.ndarray]

    def assert_close(self, tolerance: float | None = None, only: Sequence[int] | None = None) -> None:
        """Compares shapes, types and numbers, by default as closely as the type allows."""
        assert len(self.ours) == len(self.theirs)
        for i in only or range(len(self.ours)):
            ours, theirs = self.ours[i], self.theirs[i]
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            bound = tolerance or {np.dtype(np.float32): 1e-5, np.dtype(np.float16): 4e-3}.get(ours.dtype, 0)
            np.testing.assert_allclose(ours.astype(np.float64), theirs.astype(np.float64), rtol=bound, atol=bound)

    def kernel_calls(self) -> int:
        """How often the network's code calls the kernel."""
        file = sys.modules[type(self.network).__module__].__file__
        return Path(str(file)).read_text().count("decode_attention(")

    def kernels_in_mindir(self, folder: Path) -> int:
        """The IncreFlashAttention nodes of the network's MindIR."""
        ms.export(self.network, *self.inputs, file_name=str(folder / "network"), file_format="MINDIR")
        model = mind_ir_pb2.ModelProto()
        model.ParseFromString((folder / "network.mindir").read_bytes())
        nodes = [node for graph in (model.graph, *model.functions) for node in graph.node]
        return sum("IncreFlashAttention" in node.op_type for node in nodes)


def model_of_nodes(
    nodes: Sequence[onnx.NodeProto],
    feeds: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    weights: Mapping[str, np.ndarray] | None = None,
    opset: int = 21,
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
) -> onnx.ModelProto:
    """A model with an input for each feed, of its type and shape but for the dynamic axes; output types are open."""
    inputs = []
    for name, array in feeds.items():
        named = (dynamic or {}).get(name, {})
        shape = [named.get(axis, size) for axis, size in enumerate(array.shape)]
        inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape))
    graph = helper.make_graph(
        nodes,
        "graph",
        inputs,
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def merged(models: Mapping[str, onnx.ModelProto]) -> onnx.ModelProto:
    """One model that computes what several of the same operator sets do, all names of each behind its own."""
    whole = onnx.ModelProto()
    whole.CopyFrom(next(iter(models.values())))
    whole.graph.Clear()
    whole.graph.name = "merged"
    for name, model in models.items():
        graph = onnx.compose.add_prefix(model, f"{name}/").graph
        for field in ("node", "input", "output", "initializer"):
            getattr(whole.graph, field).extend(getattr(graph, field))
    return whole


def run_ours(folder: Path, model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> Both:
    """The results of the imported network alone."""
    onnx.save(model, folder / "model.onnx")
    network = ifa_fusion.onnx.load(folder / "model.onnx")
    inputs = [Tensor(array) for array in feeds.values()]
    results = network(*inputs)
    return Both(network, inputs, [r.asnumpy() for r in (results if isinstance(results, tuple) else (results,))], [])


def run_both(folder: Path, model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> Both:
    """The results of the imported network and of onnxruntime."""
    ours = run_ours(folder, model, feeds)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return Both(ours.network, ours.inputs, ours.ours, session.run(None, dict(feeds)))


def run_together(
    folder: Path, cases: Mapping[str, tuple[onnx.ModelProto, Mapping[str, np.ndarray]]]
) -> dict[str, Both]:
    """The results of several models, by their names, which are compiled as one network."""
    feeds = {f"{name}/{key}": array for name, (_, fed) in cases.items() for key, array in fed.items()}
    both = run_both(folder, merged({name: model for name, (model, _) in cases.items()}), feeds)
    ours, theirs = iter(both.ours), iter(both.theirs)
    return {
        name: replace(
            both,
            ours=list(itertools.islice(ours, len(model.graph.output))),
            theirs=list(itertools.islice(theirs, len(model.graph.output))),
        )
        for name, (model, _) in cases.items()
    }
