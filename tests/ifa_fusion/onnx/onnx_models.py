"""Small ONNX models for the tests of the importer, and onnxruntime's answers to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from mindspore import Tensor, nn
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str | None]

_HEADS, _KV_HEADS, _SIZE = 4, 2, 8


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Shape]],
    outputs: Mapping[str, tuple[int, Shape]],
    weights: Mapping[str, np.ndarray] | None = None,
    opset: int = 18,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model of one graph; inputs and outputs are given as (type, shape)."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in {f.domain for f in functions})]
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=10)


def linear(size: int = 3, batch: int | str = "batch") -> onnx.ModelProto:
    """y = x @ w + b, of a batch that is not bound."""
    random = np.random.default_rng(0)
    return model_of(
        [
            helper.make_node("MatMul", ["x", "fc.weight"], ["product"], name="/fc/MatMul"),
            helper.make_node("Add", ["product", "fc.bias"], ["y"], name="/fc/Add"),
        ],
        {"x": (TensorProto.FLOAT, [batch, size])},
        {"y": (TensorProto.FLOAT, [batch, 2])},
        {
            "fc.weight": random.standard_normal((size, 2)).astype(np.float32),
            "fc.bias": random.standard_normal(2).astype(np.float32),
        },
    )


def attention() -> onnx.ModelProto:
    """A decode attention: 4 query heads on 2 heads of a cache that grows; shapes are computed as exporters do it."""
    cache = [1, _KV_HEADS, "past", _SIZE]
    repeated = np.array([1, _KV_HEADS, _HEADS // _KV_HEADS, 1, _SIZE])

    def repeat(cached: str) -> list[onnx.NodeProto]:
        n = cached.replace(".", "_")
        return [
            helper.make_node("Shape", [cached], [f"{n}_shape"]),
            helper.make_node("Gather", [f"{n}_shape", "two"], [f"{n}_length"]),
            helper.make_node("Unsqueeze", [f"{n}_length", "zero"], [f"{n}_length_1"]),
            helper.make_node("Concat", ["front", f"{n}_length_1", "back"], [f"{n}_target"], axis=0),
            helper.make_node("Unsqueeze", [cached, "two_1"], [f"{n}_5d"]),
            helper.make_node("Expand", [f"{n}_5d", f"{n}_expand"], [f"{n}_expanded"]),
            helper.make_node("Reshape", [f"{n}_expanded", f"{n}_target"], [f"{n}_heads"]),
        ]

    nodes = [
        helper.make_node("Concat", ["past.key", "key"], ["present.key"], axis=2, name="/cache/Concat"),
        helper.make_node("Concat", ["past.value", "value"], ["present.value"], axis=2),
        *repeat("present.key"),
        *repeat("present.value"),
        helper.make_node("Transpose", ["present_key_heads"], ["key_t"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["query", "key_t"], ["scores"]),
        helper.make_node("Mul", ["scores", "scale"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["probabilities"], axis=-1),
        helper.make_node("MatMul", ["probabilities", "present_value_heads"], ["attended"], name="/attn/MatMul"),
    ]
    return model_of(
        nodes,
        {
            "query": (TensorProto.FLOAT, [1, _HEADS, 1, _SIZE]),
            "key": (TensorProto.FLOAT, [1, _KV_HEADS, 1, _SIZE]),
            "value": (TensorProto.FLOAT, [1, _KV_HEADS, 1, _SIZE]),
            "past.key": (TensorProto.FLOAT, cache),
            "past.value": (TensorProto.FLOAT, cache),
        },
        {
            "attended": (TensorProto.FLOAT, [1, _HEADS, 1, _SIZE]),
            "present.key": (TensorProto.FLOAT, [1, _KV_HEADS, "total", _SIZE]),
            "present.value": (TensorProto.FLOAT, [1, _KV_HEADS, "total", _SIZE]),
        },
        {
            "two": np.int64(2),
            "zero": np.array([0]),
            "two_1": np.array([2]),
            "front": np.array([1, _HEADS]),
            "back": np.array([_SIZE]),
            "present_key_expand": repeated,
            "present_value_expand": repeated,
            "scale": np.float32(_SIZE**-0.5),
        },
    )


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Writes a model to a file that ends in .onnx."""
    path.write_bytes(model.SerializeToString())
    return path


def session_of(path: Path | bytes) -> onnxruntime.InferenceSession:
    """A session of a file or its content that runs the nodes as they are.

    Optimised, it takes models that break their operators' rules.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)


def inputs_of(path: Path, sizes: Mapping[str, int], seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs for a model's file, by name; named dimensions get the sizes given."""
    random = np.random.default_rng(seed)
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
    found = {}
    for value in session_of(path).get_inputs():
        shape = [sizes.get(size, size) for size in value.shape]
        if value.type in types:
            found[value.name] = random.standard_normal(shape).astype(types[value.type])
        else:
            found[value.name] = random.integers(0, 2, shape).astype(
                {"tensor(bool)": np.bool_, "tensor(int32)": np.int32}.get(value.type, np.int64)
            )
    return found


def expected(path: Path, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """onnxruntime's outputs."""
    return session_of(path).run(None, dict(inputs))


def outputs_of(network: nn.Cell, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What an imported network gives for the inputs, by their names."""
    outputs = network(*[Tensor(inputs[name]) for name in network.input_names])
    return [output.asnumpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def assert_agree(network: nn.Cell, path: Path, sizes: Mapping[str, int], tolerance: float = 1e-5) -> None:
    """The network gives what onnxruntime gives."""
    inputs = inputs_of(path, sizes)
    wanted = expected(path, inputs)
    given = outputs_of(network, inputs)
    assert len(given) == len(wanted)
    for got, want in zip(given, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
